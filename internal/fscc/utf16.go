package fscc

import (
	"unicode/utf8"
)

const (
	surrogateMin = 0xD800
	surrogateLow = 0xDC00
	surrogateMax = 0xDFFF
	// A byte of a name that is not valid UTF-8 (0x80…0xFF) travels as the unpaired low surrogate 0xDC00 + byte.
	escapeMin = surrogateLow + 0x80
	escapeMax = surrogateLow + 0xFF
)

// EncodeUTF16 appends s as UTF-16LE. It is total and injective: each byte of s that is not part of valid UTF-8 becomes
// the unpaired surrogate 0xDC00+byte, which [DecodeUTF16] turns back, so two different names never become one.
func EncodeUTF16(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			b = append(b, c, 0)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, c, surrogateLow>>8)
		case r >= 0x10000:
			r -= 0x10000
			b = le.AppendUint16(b, uint16(surrogateMin+(r>>10)&0x3FF))
			b = le.AppendUint16(b, uint16(surrogateLow+r&0x3FF))
		default:
			b = le.AppendUint16(b, uint16(r)) //nolint:gosec // below 0x10000
		}
	}
	return b
}

// UTF16Len returns the number of bytes that [EncodeUTF16] appends for s.
func UTF16Len(s string) int {
	n := 0
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			n += 2
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		n += 2
		if r >= 0x10000 {
			n += 2
		}
	}
	return n
}

// DecodeUTF16 is the inverse of [EncodeUTF16]. It accepts exactly what EncodeUTF16 produces and refuses the rest with
// [ErrMalformed]: an odd length, an unpaired surrogate outside 0xDC80…0xDCFF, and escaped bytes that would together
// form valid UTF-8, because such a name would be a second spelling of another one.
func DecodeUTF16(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", malformed("UTF-16 of %d bytes", len(b))
	}
	out := make([]byte, 0, len(b)/2+8)
	escaped := false
	for i := 0; i < len(b); i += 2 {
		u := rune(le.Uint16(b[i:]))
		switch {
		case u < utf8.RuneSelf:
			out = append(out, byte(u))
		case u < surrogateMin || u > surrogateMax:
			out = utf8.AppendRune(out, u)
		case u >= escapeMin && u <= escapeMax:
			out = append(out, byte(u)) //nolint:gosec // the escaped byte is the low half by design
			escaped = true
		case u < surrogateLow && i+2 < len(b):
			low := rune(le.Uint16(b[i+2:]))
			if low < surrogateLow || low > surrogateMax {
				return "", malformed("unpaired surrogate %#x", u)
			}
			out = utf8.AppendRune(out, 0x10000+(u-surrogateMin)<<10+(low-surrogateLow))
			i += 2
		default:
			return "", malformed("unpaired surrogate %#x", u)
		}
	}
	s := string(out)
	if escaped && string(EncodeUTF16(nil, s)) != string(b) {
		return "", malformed("escaped bytes form valid UTF-8")
	}
	return s, nil
}
