package smbserver

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/internal/smb2"
)

// Inside the package: the mapping of names is an invariant that no message shows whole.

func TestNamesOnTheWire(t *testing.T) {
	for _, c := range []struct{ disk, wire string }{
		{"plain.txt", "plain.txt"},
		{"Üñí 日本 \U0001F600", "Üñí 日本 \U0001F600"},
		{"a:b", "a\uF022b"},
		{`"*:<>?\|`, "\uF020\uF021\uF022\uF023\uF024\uF025\uF026\uF027"},
		{"\x01\x1f\x7f", "\uF001\uF01F\x7f"},
		{"dot.", "dot\uF029"},
		{"dots...", "dots..\uF029"},
		{"space ", "space\uF028"},
		{". .", ". \uF029"},
		{"...", "..\uF029"},
		{" lead", " lead"},
		{"\uF022 literally", "\uF02A\uF022 literally"},
		{"\uF028in", "\uF02A\uF028in"},
		{"end\uF029", "end\uF02A\uF029"},
		{"\uF02A", "\uF02A\uF02A"},
		{"\uF000\uF02B", "\uF000\uF02B"},
		{"\uFFFD", "\uFFFD"},
		{"bad \xff\xfe", "bad \xff\xfe"},
	} {
		assert.Equal(t, c.wire, toWire(c.disk), "%q", c.disk)
		back, err := fromWire(c.wire)
		require.NoError(t, err, "%q", c.wire)
		assert.Equal(t, c.disk, back, "%q", c.wire)
	}
}

func TestNamesThatNoFileHas(t *testing.T) {
	for _, wire := range []string{
		"", ".", "..", "\uF029", ".\uF029", "a/b", "a:b", "a*", "a?", `a"`, "a<", "a>", "a|", "a\x00", "a\x1f", "\uF02A", "\uF02Ax", "x\uF02A",
		strings.Repeat("n", 256), strings.Repeat("\U0001F600", 128),
	} {
		_, err := fromWire(wire)
		assert.ErrorIs(t, err, smb2.StatusObjectNameInvalid, "%q", wire)
	}
	_, err := fromWire(strings.Repeat("n", 255))
	assert.NoError(t, err)
}

// Every disk name comes back from the wire as it was, through the bytes of UTF-16 too, and is legal there.
func TestNamesAreReversible(t *testing.T) {
	r := seed.FromTest(t)
	alphabet := []string{
		"a", "B", ".", " ", "*", ":", "?", "\\", "|", "<", ">", "\"", "\x01", "\x1f", "é", "e\u0301", "\uF001", "\uF020", "\uF022", "\uF028",
		"\uF029", "\uF02A", "\uF02B", "\uF000", "\U0001F600", "\xff", "\xed\xa0\x80", "\xef", "\x80", "\xef\x80", "\uFFFD",
	}
	seen := make(map[string]string)
	for range 50_000 {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(alphabet[r.IntN(len(alphabet))])
		}
		disk := b.String()
		if disk == "." || disk == ".." {
			continue
		}
		wire := toWire(disk)
		back, err := fromWire(wire)
		require.NoError(t, err, "%q as %q", disk, wire)
		require.Equal(t, disk, back, "through %q", wire)
		if other, ok := seen[wire]; ok {
			require.Equal(t, other, disk, "two names became %q", wire)
		}
		seen[wire] = disk
		decoded, err := fscc.DecodeUTF16(fscc.EncodeUTF16(nil, wire))
		require.NoError(t, err, "%q", wire)
		require.Equal(t, wire, decoded)
		require.NotContains(t, []string{".", " "}, wire[len(wire)-1:], "%q", wire)
		require.False(t, strings.ContainsAny(wire, "\"*/:<>?\\|\x00\x01\x1f"), "%q", wire)
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		wire, path string
		err        error
	}{
		{"", "", nil},
		{"file", "file", nil},
		{`dir\sub\file`, "dir/sub/file", nil},
		{`dir\`, "dir", nil},
		{"file::$DATA", "file", nil},
		{`dir\file::$data`, "dir/file", nil},
		{"trailing.", "trailing.", nil},
		{"a\uF022b", "a:b", nil},
		{`\file`, "", smb2.StatusInvalidParameter},
		{`\`, "", smb2.StatusInvalidParameter},
		{`dir\\file`, "", smb2.StatusObjectNameInvalid},
		{`dir\\`, "", smb2.StatusObjectNameInvalid},
		{"dir/file", "", smb2.StatusObjectNameInvalid},
		{"file:stream", "", smb2.StatusObjectNameInvalid},
		{"file:stream:$DATA", "", smb2.StatusObjectNameInvalid},
		{"::$DATA", "", smb2.StatusObjectNameInvalid},
		{"file::$INDEX_ALLOCATION", "", smb2.StatusObjectNameInvalid},
		{`a:b\c`, "", smb2.StatusObjectNameInvalid},
		{"..", "", smb2.StatusObjectPathSyntaxBad},
		{`..\x`, "", smb2.StatusObjectPathSyntaxBad},
		{`dir\..\..\x`, "", smb2.StatusObjectPathSyntaxBad},
		{`dir\.`, "", smb2.StatusObjectPathSyntaxBad},
		{".\uF029", "", smb2.StatusObjectNameInvalid},
		{"a\x00b", "", smb2.StatusObjectNameInvalid},
		{strings.Repeat(`d\`, 1025) + "f", "", smb2.StatusObjectNameInvalid},
	} {
		path, err := parsePath(c.wire)
		if c.err != nil {
			assert.ErrorIs(t, err, c.err, "%q", c.wire)
			continue
		}
		assert.NoError(t, err, "%q", c.wire)
		assert.Equal(t, c.path, path, "%q", c.wire)
	}
	assert.Equal(t, "a\uF022b\\c", wirePath("a:b/c"))
	assert.Empty(t, wirePath(""))
}

// Whatever a client writes, the path stays beneath the root: no empty, "." or ".." component, no NUL.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"", "a", `a\b`, `..\a`, "a::$DATA", ".\uF029\\x", "\uF029", "\uF02A\uF022", "a\xff", `\\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		path, err := parsePath(wire)
		if err != nil || path == "" {
			return
		}
		for c := range strings.SplitSeq(path, "/") {
			if c == "" || c == "." || c == ".." || strings.ContainsRune(c, 0) {
				t.Fatalf("%q became %q", wire, path)
			}
		}
		again, err := parsePath(wirePath(path))
		// Escapes may make a component longer than a name can be; nothing else may go wrong.
		if err == nil && again != path {
			t.Fatalf("%q became %q, then %q", wire, path, again)
		}
	})
}
