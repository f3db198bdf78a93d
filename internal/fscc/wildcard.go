package fscc

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// Limits of the matcher, in runes. A component of NTFS or Linux has at most 255.
const (
	MaxPattern = 512
	MaxMatched = 1024
)

// Wildcards in a pattern, [MS-FSA] 2.1.4.3; `<`, `>` and `"` are what Windows makes of `*`, `?` and `.` in DOS patterns.
const (
	wildStar    = '*' // any number of characters
	wildAny     = '?' // one character
	wildDOSStar = '<' // any number of characters, but not the last dot
	wildDOSAny  = '>' // one character, or nothing before a dot and at the end
	wildDOSDot  = '"' // a dot, or nothing at the end
)

// Upcase folds a character for comparing names, close to the NTFS table: simple upper case within the basic plane, and
// never from outside ASCII into it, so that "ſ" and "ı" stay different from "S" and "I".
func Upcase(r rune) rune {
	switch {
	case r < 0x80:
		if 'a' <= r && r <= 'z' {
			return r - ('a' - 'A')
		}
		return r
	case r > 0xFFFF:
		return r
	}
	if u := unicode.ToUpper(r); u >= 0x80 && u <= 0xFFFF {
		return u
	}
	return r
}

// EqualFold tells whether two names are equal under [Upcase]. Bytes that are not UTF-8 equal only themselves.
func EqualFold(a, b string) bool {
	return slices.Equal(foldRunes(nil, a), foldRunes(nil, b))
}

// foldRunes appends the upcased characters of s; a byte that is not UTF-8 becomes a negative value of its own.
func foldRunes(out []rune, s string) []rune {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			r = -rune(s[i])
		}
		out = append(out, Upcase(r))
		i += n
	}
	return out
}

// Pattern is a compiled search pattern. The zero value matches only the empty name.
type Pattern struct {
	runes []rune
	wild  bool
}

// ParsePattern compiles the pattern of QUERY_DIRECTORY. An empty pattern is `*`. A longer one than [MaxPattern] runes is refused.
func ParsePattern(s string) (Pattern, error) {
	if s == "" {
		s = "*"
	}
	if len(s) > 4*MaxPattern {
		return Pattern{}, malformed("pattern of %d bytes", len(s))
	}
	p := Pattern{runes: foldRunes(nil, s)}
	if len(p.runes) > MaxPattern {
		return Pattern{}, malformed("pattern of %d characters", len(p.runes))
	}
	for _, r := range p.runes {
		switch r {
		case wildStar, wildAny, wildDOSStar, wildDOSAny, wildDOSDot:
			p.wild = true
		}
	}
	return p, nil
}

// HasWildcards tells whether the pattern may match more than one name (compared by [EqualFold]).
func (p Pattern) HasWildcards() bool { return p.wild }

// MatchesAll tells whether the pattern is `*`.
func (p Pattern) MatchesAll() bool { return len(p.runes) == 1 && p.runes[0] == wildStar }

// Match tells whether name is in the pattern, [MS-FSA] 2.1.4.4, without regard to case. It simulates a nondeterministic
// automaton over the pattern, one set of states a character: time is the product of both lengths, whatever the pattern.
// A name longer than [MaxMatched] runes never matches. The details follow what FsRtlIsNameInExpression does:
// `<` never takes the last dot of the name itself.
func (p Pattern) Match(name string) bool {
	if p.MatchesAll() {
		return true
	}
	if len(name) > 4*MaxMatched {
		return false
	}
	var nameBuf [256]rune
	text := foldRunes(nameBuf[:0], name)
	if len(text) > MaxMatched {
		return false
	}
	if !p.wild {
		return slices.Equal(text, p.runes)
	}
	lastDot := -1
	for i, r := range text {
		if r == '.' {
			lastDot = i
		}
	}

	n := len(p.runes)
	var bufs [2][MaxPattern + 1]bool
	now, next := bufs[0][:n+1], bufs[1][:n+1]
	now[0] = true
	for i, r := range text {
		alive := false
		clear(next)
		for s := range n { // steps without a character only go forward, so one pass reaches all states
			if !now[s] {
				continue
			}
			to := -1
			switch c := p.runes[s]; c {
			case wildStar:
				now[s+1], to = true, s
			case wildDOSStar:
				now[s+1] = true
				if i != lastDot {
					to = s
				}
			case wildDOSAny:
				if r == '.' {
					now[s+1] = true
				} else {
					to = s + 1
				}
			case wildAny:
				to = s + 1
			case wildDOSDot:
				if r == '.' {
					to = s + 1
				}
			default:
				if r == c {
					to = s + 1
				}
			}
			if to >= 0 {
				next[to], alive = true, true
			}
		}
		if !alive {
			return false
		}
		now, next = next, now
	}
	for s := range n { // at the end of the name all wildcards but `?` may stand for nothing
		if now[s] {
			switch p.runes[s] {
			case wildStar, wildDOSStar, wildDOSAny, wildDOSDot:
				now[s+1] = true
			}
		}
	}
	return now[n]
}
