//go:build linux

package uringbackend

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// BufRing is a set of equal buffers for one stream of received data: the receiver fills them in turn, the consumer
// reads them in the order of the stream and gives them back. On a ring that is a provided buffer ring, and one
// multishot receive fills as many buffers as there are; elsewhere an engine receives into the same buffers one by
// one. When all are full the receive ends: with ENOBUFS, or, with bundles, by a last report that has data, since the
// bundle which takes the last buffer is the last. It is started again once some have been given back.
//
// One receive at a time fills a BufRing, and one goroutine consumes it. The two may run at the same time.
type BufRing struct {
	// Immutable after NewBufRing.
	size  int
	count uint32 // a power of two

	mu sync.Mutex
	// +checklocks:mu
	mem []byte // the buffers; nil once unmapped
	// +checklocks:mu
	turns []uint16 // ids of empty buffers in the receiver's order, by counter modulo count
	// +checklocks:mu
	head uint32 // buffers taken by the receiver
	// +checklocks:mu
	tail uint32 // buffers offered to the receiver
	// +checklocks:mu
	segs []segment // filled buffers, by counter modulo count
	// +checklocks:mu
	first uint32 // oldest filled buffer
	// +checklocks:mu
	last uint32 // one after the newest filled buffer
	// +checklocks:mu
	bytes int // in filled buffers, not consumed
	// +checklocks:mu
	ring *uring.Ring // that has it, nil: none
	// +checklocks:mu
	shared *uring.PbufRing // what the kernel sees of turns
	// +checklocks:mu
	closed bool
}

// segment is what one receive put into one buffer.
type segment struct {
	bid    uint16
	off, n int // consumed up to off of n bytes
}

// BufRingConfig says what a BufRing holds.
type BufRingConfig struct {
	Size  int // bytes of each buffer
	Count int // buffers, a power of two, at most 32768
}

// NewBufRing makes a BufRing, the caller's to Close. EINVAL: a size that is not positive or too large, a count that
// is not allowed; otherwise the errno of mmap(2).
func NewBufRing(cfg BufRingConfig) (*BufRing, error) {
	if cfg.Size <= 0 || cfg.Size > maxTransfer || cfg.Count <= 0 || cfg.Count > uring.MaxPbufs || cfg.Count&(cfg.Count-1) != 0 {
		return nil, unix.EINVAL
	}
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	mem, err := unix.Mmap(-1, 0, cfg.Size*cfg.Count, prot, flags)
	if err != nil {
		return nil, err
	}
	b := &BufRing{
		size: cfg.Size, count: uint32(cfg.Count), mem: mem,
		turns: make([]uint16, cfg.Count), segs: make([]segment, cfg.Count),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range cfg.Count {
		b.offerLocked(uint16(i))
	}
	return b, nil
}

// Next lends the oldest bytes that were received and not consumed, as far as they lie in one buffer, until Consume
// has passed them. False: there are none.
func (b *BufRing) Next() (seg []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == b.last {
		return nil, false
	}
	return b.bytesLocked(b.first), true
}

// Segments appends to dst all bytes that were received and not consumed, oldest first, and lends them as Next does.
func (b *BufRing) Segments(dst [][]byte) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := b.first; i != b.last; i++ {
		dst = append(dst, b.bytesLocked(i))
	}
	return dst
}

// +checklocks:b.mu
func (b *BufRing) bytesLocked(i uint32) []byte {
	s := &b.segs[i&(b.count-1)]
	start := int(s.bid) * b.size
	return b.mem[start+s.off : start+s.n : start+s.n]
}

// Consume gives back the oldest n bytes, which must not be used any more. Buffers without bytes go back to the
// receiver, in the order in which they were filled. It panics if n is more than there are.
func (b *BufRing) Consume(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < 0 || n > b.bytes {
		panic(fmt.Sprintf("uringbackend: consuming %d of %d received bytes", n, b.bytes))
	}
	b.bytes -= n
	for n > 0 {
		s := &b.segs[b.first&(b.count-1)]
		part := min(n, s.n-s.off)
		s.off += part
		n -= part
		if s.off == s.n {
			b.first++
			b.offerLocked(s.bid)
		}
	}
	b.publishLocked()
}

// Buffered is how many bytes were received and not consumed.
func (b *BufRing) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// Free is how many buffers the receiver may still fill. 0: a receive would end with ENOBUFS.
func (b *BufRing) Free() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(b.tail - b.head)
}

// Close frees the memory, or lets the ring that uses it do so at its detach. The receive must have made its last
// report and what Next lent is no longer valid. A second Close does nothing.
func (b *BufRing) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	b.first, b.bytes = b.last, 0
	if b.ring == nil {
		b.unmapLocked()
	}
}

// +checklocks:b.mu
func (b *BufRing) unmapLocked() {
	if err := unix.Munmap(b.mem); err != nil {
		panic("uringbackend: munmap of memory that NewBufRing mapped: " + err.Error())
	}
	b.mem = nil
}

// offerLocked makes a buffer the last in the receiver's turn. The kernel sees it at the next publishLocked.
// +checklocks:b.mu
func (b *BufRing) offerLocked(bid uint16) {
	b.turns[b.tail&(b.count-1)] = bid
	b.tail++
	if b.shared != nil {
		b.addLocked(bid)
	}
}

// +checklocks:b.mu
func (b *BufRing) addLocked(bid uint16) {
	b.shared.Add(unsafe.Pointer(&b.mem[int(bid)*b.size]), uint32(b.size), bid)
}

// publishLocked lets the kernel see what has been offered.
// +checklocks:b.mu
func (b *BufRing) publishLocked() {
	if b.shared != nil {
		b.shared.Advance()
	}
}

// attach registers the buffers with a ring as the given group, a number that nothing else on that ring uses; a ring
// that has them already keeps the number it has. EBUSY: another ring has them; ECANCELED: they are closed. Called by
// the thread that owns r, with no receive into b in flight.
func (b *BufRing) attach(r *uring.Ring, group uint16) (uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, unix.ECANCELED
	case b.ring == r:
		return b.shared.Group(), nil
	case b.ring != nil:
		return 0, unix.EBUSY
	}
	shared, err := r.RegisterPbufRing(group, b.count, 0)
	if err != nil {
		return 0, err
	}
	b.ring, b.shared = r, shared
	// The kernel counts from 0, and so does this side while it is attached.
	free := make([]uint16, 0, b.count)
	for i := b.head; i != b.tail; i++ {
		free = append(free, b.turns[i&(b.count-1)])
	}
	b.head, b.tail = 0, 0
	for _, bid := range free {
		b.offerLocked(bid)
	}
	b.publishLocked()
	return group, nil
}

// detach takes the buffers off their ring, and frees them if they have been closed meanwhile; what was received
// stays. Without a ring it does nothing. Called by the thread that owns the ring, which is still open, when the
// receive has made its last report. The group's number is free again.
func (b *BufRing) detach() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ring == nil {
		return nil
	}
	if err := b.ring.UnregisterPbufRing(b.shared); err != nil {
		return err // the kernel may still use the buffers, so they stay
	}
	b.ring, b.shared = nil, nil
	if b.closed {
		b.unmapLocked()
	}
	return nil
}

// arrive notes a completion of a receive: n bytes, and its flags, which name the first buffer; a bundle goes on in
// those after it. Without a buffer in the flags nothing has arrived. An error says that the kernel and this side
// disagree about whose turn it is.
func (b *BufRing) arrive(flags uint32, n int) error {
	if flags&uring.CQEBuffer == 0 {
		return nil
	}
	return b.arrived(uint16(flags>>uring.CQEBufferShift), n)
}

func (b *BufRing) arrived(bid uint16, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil // nobody will read it
	}
	for covered := 0; ; covered++ {
		if b.head == b.tail {
			return fmt.Errorf("%d more bytes than the %d buffers offered hold: %w", n, covered, unix.EPROTO)
		}
		turn := b.turns[b.head&(b.count-1)]
		if covered == 0 && turn != bid {
			return fmt.Errorf("buffer %d filled when %d had its turn: %w", bid, turn, unix.EPROTO)
		}
		room := b.size
		if b.shared != nil {
			room = int(b.shared.Length(uint16(b.head)))
		}
		part := min(n, room)
		b.head++
		if part == 0 { // taken for nothing, at the end of the stream
			b.offerLocked(turn)
			b.publishLocked()
			return nil
		}
		b.segs[b.last&(b.count-1)] = segment{bid: turn, n: part}
		b.last++
		b.bytes += part
		if n -= part; n == 0 {
			return nil
		}
	}
}

// take lends the buffer whose turn it is, for a plain receive of up to its length, which arrived then notes; one
// that received nothing needs no note. False: all are full.
func (b *BufRing) take() (bid uint16, buf []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.head == b.tail {
		return 0, nil, false
	}
	bid = b.turns[b.head&(b.count-1)]
	start := int(bid) * b.size
	return bid, b.mem[start : start+b.size : start+b.size], true
}
