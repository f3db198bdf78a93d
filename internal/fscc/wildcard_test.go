package fscc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
)

// TestGoldenWildcards follows [MS-FSA] 2.1.4.4, with ParsePattern as it is used.
func TestGoldenWildcards(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"", "a", "a.b", ".x"}, nil},
		{"", []string{"a", "a.b"}, nil},
		{"a", []string{"a", "A"}, []string{"", "aa", "b"}},
		{"ÄÖ.txt", []string{"äö.TXT"}, []string{"ao.txt"}},
		{"S", []string{"s"}, []string{"ſ"}},
		{"*.txt", []string{"a.txt", ".txt", "a.b.TXT"}, []string{"atxt", "a.txt.", "a.tx"}},
		{"*a*b*", []string{"ab", "xaxxbx", "aab"}, []string{"ba", "a", "b"}},
		{"?", []string{"a", ".", "\U0001F600", "\xff"}, []string{"", "ab"}},
		{"a?c", []string{"abc", "a.c"}, []string{"ac", "abbc"}},
		{"??", []string{"ab"}, []string{"a", "abc"}},
		// "*.*" and "*." of DOS arrive as `<"*` and `<`
		{`<"*`, []string{"a", "a.b", "a.b.c", ".x"}, nil},
		{"<", []string{"a", "abc", ""}, []string{"a.b", "a."}},
		{"<.b", []string{"a.b", "a.c.b", ".b"}, []string{"a.b.c", "b"}},
		{"<b", []string{"ab", "b"}, []string{"a.x", "a.xb"}},
		// ">" is "?" of DOS: one character, or nothing before a dot and at the end
		{">>>", []string{"", "a", "ab", "abc"}, []string{"abcd", "a.b"}},
		{">>>.txt", []string{"a.txt", "abc.txt", ".txt"}, []string{"abcd.txt"}},
		{"a>", []string{"a", "ab"}, []string{"abc", "a."}},
		// `"` is "." of DOS: a dot, or nothing at the end
		{`a"`, []string{"a", "a."}, []string{"ab"}},
		{`a"b`, []string{"a.b"}, []string{"ab", "a"}},
		{`a"">`, []string{"a", "a.", "a.."}, []string{"ab"}},
		{"\xff", []string{"\xff"}, []string{"\xfe", "\uFFFD", "ÿ"}},
		{"\xef", []string{"\xef"}, []string{"\uFFFD"}},
	} {
		p, err := fscc.ParsePattern(tt.pattern)
		require.NoError(t, err)
		for _, name := range tt.yes {
			assert.True(t, p.Match(name), "%q in %q", name, tt.pattern)
		}
		for _, name := range tt.no {
			assert.False(t, p.Match(name), "%q not in %q", name, tt.pattern)
		}
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"*", "a?", "<", ">", `"`} {
		p, err := fscc.ParsePattern(s)
		require.NoError(t, err)
		assert.True(t, p.HasWildcards(), s)
		assert.Equal(t, s == "*", p.MatchesAll())
	}
	p, err := fscc.ParsePattern("name")
	require.NoError(t, err)
	assert.False(t, p.HasWildcards())
	assert.True(t, fscc.Pattern{}.Match(""))

	_, err = fscc.ParsePattern(strings.Repeat("a", fscc.MaxPattern+1))
	require.ErrorIs(t, err, fscc.ErrMalformed)
	p, err = fscc.ParsePattern("?" + strings.Repeat("*", fscc.MaxPattern-1))
	require.NoError(t, err)
	assert.True(t, p.Match(strings.Repeat("a", fscc.MaxMatched)))
	assert.False(t, p.Match(strings.Repeat("a", fscc.MaxMatched+1)))
}

// worstCases are patterns and a name that make a backtracking matcher take exponential time.
func worstCases() map[string]string {
	name := strings.Repeat("a.", 127)
	return map[string]string{
		strings.Repeat("*<", 127) + "b":  name,
		strings.Repeat("*a", 127) + "b":  strings.Repeat("a", 255),
		strings.Repeat("<.", 127) + "b":  name,
		strings.Repeat(">*", 127) + "b":  name,
		strings.Repeat(`"*`, 127) + "b":  name,
		strings.Repeat("*?", 127) + "b":  name,
		strings.Repeat("<a<.", 63) + "b": name,
	}
}

// TestWildcardWorstCase asserts the bound, on the best of several runs so that a busy machine does not fail it: one match of
// 255 by 255 characters is below a millisecond (five with the race detector's overhead).
func TestWildcardWorstCase(t *testing.T) {
	for pattern, name := range worstCases() {
		p, err := fscc.ParsePattern(pattern)
		require.NoError(t, err)
		best := time.Hour
		for range 20 {
			start := time.Now()
			require.False(t, p.Match(name))
			best = min(best, time.Since(start))
		}
		assert.Less(t, best, 5*time.Millisecond, pattern)
	}
}

func BenchmarkWildcard(b *testing.B) {
	for _, tt := range []struct{ name, pattern, text string }{
		{"case=suffix", "*.txt", "file000123.txt"},
		{"case=worst", strings.Repeat("*<", 127) + "b", strings.Repeat("a.", 127)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			p, err := fscc.ParsePattern(tt.pattern)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				p.Match(tt.text)
			}
		})
	}
}

// matchSlow is the definition, by recursion on both strings, for short inputs.
func matchSlow(pattern, name []rune, lastDot int) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	rest := pattern[1:]
	end := len(name) == 0
	switch c := pattern[0]; c {
	case '*':
		return matchSlow(rest, name, lastDot) || !end && matchSlow(pattern, name[1:], lastDot-1)
	case '<':
		return matchSlow(rest, name, lastDot) || !end && lastDot != 0 && matchSlow(pattern, name[1:], lastDot-1)
	case '>':
		if end || name[0] == '.' {
			return matchSlow(rest, name, lastDot)
		}
		return matchSlow(rest, name[1:], lastDot-1)
	case '"':
		return end && matchSlow(rest, name, lastDot) || !end && name[0] == '.' && matchSlow(rest, name[1:], lastDot-1)
	case '?':
		return !end && matchSlow(rest, name[1:], lastDot-1)
	default:
		return !end && c == name[0] && matchSlow(rest, name[1:], lastDot-1)
	}
}

// FuzzPattern compares ParsePattern and Match with the recursive definition over a small alphabet.
func FuzzPattern(f *testing.F) {
	f.Add([]byte(`<.a`), []byte("a.a"))
	f.Add([]byte(`>>"*`), []byte("a..a"))
	f.Add([]byte(`*<?>`), []byte("...."))
	f.Fuzz(func(t *testing.T, patternBytes, nameBytes []byte) {
		const alphabet, letters = `*?<>".AB`, `.AB`
		pattern, name := make([]rune, 0, 8), make([]rune, 0, 8)
		for _, c := range patternBytes[:min(len(patternBytes), 8)] {
			pattern = append(pattern, rune(alphabet[int(c)%len(alphabet)]))
		}
		for _, c := range nameBytes[:min(len(nameBytes), 8)] {
			name = append(name, rune(letters[int(c)%len(letters)]))
		}
		p, err := fscc.ParsePattern(string(pattern))
		require.NoError(t, err)
		want := len(pattern) == 0 || matchSlow(pattern, name, strings.LastIndexByte(string(name), '.'))
		require.Equal(t, want, p.Match(string(name)), "%s in %s", string(name), string(pattern))

		p, err = fscc.ParsePattern(string(patternBytes))
		if err != nil {
			require.ErrorIs(t, err, fscc.ErrMalformed)
			return
		}
		p.Match(string(nameBytes))
	})
}
