package smbserver

import (
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/smbserver/datapath"
)

// frame is one reply frame under construction: the transport header, then one response or a compound of them, in one
// pooled buffer that is sent as it is. Data of a READ is read to its final place in it.
//
// It belongs to one goroutine. Signing happens when an element's last byte is known, which for all but the last is when
// the next one begins: NextCommand and padding are part of what is signed.
type frame struct {
	pool    *datapath.Pool
	b       []byte
	start   int              // of the current element
	count   int              // elements begun
	signer  *smbcrypt.Signer // of the current element; nil: unsigned
	payload Payload          // goes out behind b; taken
}

func newFrame(pool *datapath.Pool) *frame {
	return &frame{pool: pool, b: pool.Take(smb2.FrameLen)}
}

// begin starts another element: room for its header, to be written by end.
func (f *frame) begin() {
	if f.count > 0 {
		f.reserve(8)
		f.adopt(smb2.PadCompound(f.b, f.start))
		f.seal()
	}
	f.count++
	f.start = len(f.b)
	f.b = f.pool.Grow(f.b, len(f.b)+smb2.HeaderLen)
}

// reserve makes sure that n bytes can be appended in place.
func (f *frame) reserve(n int) {
	have := len(f.b)
	f.b = f.pool.Grow(f.b, have+n)[:have]
}

// room returns the next n bytes of the current element, which are not part of it until something is appended there. Their
// old contents are whatever the buffer held.
func (f *frame) room(n int) []byte {
	f.reserve(n)
	return f.b[len(f.b) : len(f.b)+n]
}

// adopt takes over the result of an append to b.
func (f *frame) adopt(b []byte) {
	if &b[0] != &f.b[0] {
		f.pool.Put(f.b)
	}
	f.b = b
}

// body appends the body of the current element.
func (f *frame) body(r reply) { f.adopt(r.Append(f.b)) }

// end writes the header of the current element, whose body is complete, and remembers who signs it.
func (f *frame) end(h smb2.Header, signer *smbcrypt.Signer) {
	if signer != nil {
		h.Flags |= smb2.FlagSigned
	}
	h.Append(f.b[:f.start])
	f.signer = signer
}

// seal signs the current element over the bytes that will be sent.
func (f *frame) seal() {
	if f.signer != nil {
		f.signer.Sign(f.b[f.start:])
		f.signer = nil
	}
}

// element is the current element as it will be sent.
func (f *frame) element() []byte { return f.b[f.start:] }

// finish seals the last element and writes the transport header.
func (f *frame) finish() error {
	f.seal()
	n := len(f.b) - smb2.FrameLen
	if f.payload != nil {
		n += f.payload.Len()
	}
	return smb2.PutFrame(f.b, n)
}

// release gives everything back, sent or not.
func (f *frame) release() {
	if f.payload != nil {
		f.payload.Release()
		f.payload = nil
	}
	f.pool.Put(f.b)
	f.b = nil
}
