package dcerpc

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

// reader is a cursor over NDR data with a sticky error: read on, ask once at the end.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.b)-r.off) {
		r.err = malformed("NDR needs %d bytes at %d of %d", n, r.off, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	b := r.b[r.off:][:n]
	r.off += n
	return b
}

func (r *reader) align(n int) { r.take(-r.off & (n - 1)) }

func (r *reader) uint8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	r.align(2)
	if b := r.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	r.align(4)
	if b := r.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

// maxString bounds a string, in UTF-16 units with the NUL.
const maxString = 4096

// str reads a conformant and varying string of UTF-16 that ends in a NUL.
func (r *reader) str() string {
	_ = r.uint32() // maximum count: what the peer reserved, of no meaning here
	offset, n := r.uint32(), r.uint32()
	if r.err == nil && (offset != 0 || n == 0 || n > maxString) {
		r.err = malformed("NDR string of %d units at %d", n, offset)
	}
	if r.err != nil {
		return ""
	}
	b := r.take(2 * int(n))
	if r.err != nil {
		return ""
	}
	if b[len(b)-1]|b[len(b)-2] != 0 {
		r.err = malformed("NDR string without NUL")
		return ""
	}
	s, err := fscc.DecodeUTF16(b[:len(b)-2])
	if err != nil {
		r.err = fmt.Errorf("NDR string: %w", err)
	}
	return s
}

// A unique pointer is a 32-bit referent id, 0 for null; any other number is as good as the next.
func (r *reader) pointer() bool { return r.uint32() != 0 }

// writer appends NDR data; alignment counts from start.
type writer struct {
	b        []byte
	start    int
	referent uint32
}

func newWriter(b []byte) *writer { return &writer{b: b, start: len(b), referent: 0x00020000} }

func (w *writer) align(n int) {
	for (len(w.b)-w.start)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) uint16(v uint16) {
	w.align(2)
	w.b = le.AppendUint16(w.b, v)
}

func (w *writer) uint32(v uint32) {
	w.align(4)
	w.b = le.AppendUint32(w.b, v)
}

func (w *writer) pointer(present bool) {
	if !present {
		w.uint32(0)
		return
	}
	w.uint32(w.referent)
	w.referent += 4
}

// str writes a string; what is longer than maxString units is cut.
func (w *writer) str(s string) {
	w.align(4)
	at := len(w.b)
	w.b = append(w.b, make([]byte, 12)...)
	w.b = fscc.EncodeUTF16(w.b, s)
	w.b = append(w.b[:min(len(w.b), at+12+2*(maxString-1))], 0, 0)
	n := uint32((len(w.b) - at - 12) / 2) //nolint:gosec // at most maxString
	le.PutUint32(w.b[at:], n)
	le.PutUint32(w.b[at+8:], n)
}
