package fscc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error of a Parse function: the bytes are not a valid structure of that kind.
var ErrMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// need checks that b holds at least n bytes of the structure called what.
func need(b []byte, n int, what string) error {
	if len(b) < n {
		return malformed("%s of %d bytes, need %d", what, len(b), n)
	}
	return nil
}

// name decodes the n bytes of UTF-16LE at b[off:].
func name(b []byte, off int, n uint32, what string) (string, error) {
	if off > len(b) || uint64(n) > uint64(len(b)-off) { //nolint:gosec // not negative: checked first
		return "", malformed("%s name of %d bytes in %d", what, n, len(b))
	}
	s, err := DecodeUTF16(b[off:][:n])
	if err != nil {
		return "", fmt.Errorf("%s name: %w", what, err)
	}
	return s, nil
}

var le = binary.LittleEndian

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendZeros(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// appendName32 writes a 32-bit byte length, then s. 4 GiB of name cannot exist in memory-bounded callers; it is
// cut at the limit of the field all the same, so that the length is always true.
func appendName32(b []byte, s string) []byte {
	at := len(b)
	b = EncodeUTF16(appendZeros(b, 4), s)
	n := min(uint64(len(b)-at-4), 1<<32-2) //nolint:gosec // not negative: at is inside
	le.PutUint32(b[at:], uint32(n))
	return b
}
