package smb2

import (
	"encoding/binary"
	"fmt"

	"github.com/uringfs/uringfs/internal/fscc"
)

// ErrMalformed is wrapped by every error of a Parse function. It is the same value as fscc.ErrMalformed.
var ErrMalformed = fscc.ErrMalformed

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

var le = binary.LittleEndian

// fixedPart returns the first n bytes of the body of msg after checking its StructureSize.
func fixedPart(msg []byte, what string, n int, structureSize uint16) ([]byte, error) {
	if len(msg) < HeaderLen+n {
		return nil, malformed("%s of %d bytes", what, len(msg))
	}
	b := msg[HeaderLen:][:n:n]
	if size := le.Uint16(b); size != structureSize {
		return nil, malformed("%s StructureSize %d", what, size)
	}
	return b, nil
}

// region returns msg[off:off+n], which must not begin before byte start. With n == 0 it is nil and off is ignored.
func region(msg []byte, what string, start int, off, n uint32) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	end := uint64(off) + uint64(n)
	if uint64(off) < uint64(start) || end > uint64(len(msg)) { //nolint:gosec // start is a small constant
		return nil, malformed("%s at %d+%d of %d bytes", what, off, n, len(msg))
	}
	return msg[off:end:end], nil
}

// nameRegion is region for a UTF-16LE name.
func nameRegion(msg []byte, what string, start int, off, n uint32) (string, error) {
	b, err := region(msg, what, start, off, n)
	if err != nil {
		return "", err
	}
	s, err := DecodeUTF16(b)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return s, nil
}

const (
	maxLen16  = 1<<16 - 1
	maxName16 = 1<<16 - 2 // an even number of bytes
)

// cut16 bounds b to what a 16-bit length field can say.
func cut16(b []byte) []byte { return b[:min(len(b), maxLen16)] }

// len16 is the length of a slice that cut16 has bounded.
func len16(b []byte) uint16 { return uint16(min(len(b), maxLen16)) }

// len32 bounds a length to what a 32-bit field can say; longer slices do not exist in front of a 24-bit frame length.
func len32(n int) uint32 { return uint32(min(max(n, 0), 1<<32-1)) }

func appendZeros(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// alignFrom pads b with zeros until its distance from start is a multiple of 8.
func alignFrom(b []byte, start int) []byte { return appendZeros(b, -(len(b)-start)&7) }

// appendBuffer appends data, or the one zero byte that an odd StructureSize counts for an empty variable part.
func appendBuffer(b, data []byte) []byte {
	if len(data) == 0 {
		return append(b, 0)
	}
	return append(b, data...)
}

// encodeName16 returns s in UTF-16LE, bounded for a 16-bit length field.
func encodeName16(s string) []byte {
	b := EncodeUTF16(make([]byte, 0, 2*len(s)), s)
	return b[:min(len(b), maxName16)]
}
