//go:build linux

package uring

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxPbufs is the largest PbufRing.
const MaxPbufs = 32768

// PbufRing is a ring of buffers that the kernel takes from as data arrives, struct io_uring_buf_ring. It is not safe for
// concurrent use; the kernel's side of it is.
type PbufRing struct {
	group uint16
	mask  uint16
	first uint16 // id in the first place
	tail  uint16 // next place to fill, published or not
	bufs  []Buf
	mem   []byte
}

// RegisterPbufRing makes a ring of entries places (a power of two up to MaxPbufs) and registers it as buffer group group,
// which SQE.BufIndex names together with SQEBufferSelect. flags: PbufRingInc (6.12); the memory is made here, so not
// PbufRingMmap. IORING_REGISTER_PBUF_RING, 5.19; EEXIST: the group is in use; EINVAL: a wrong size.
func (r *Ring) RegisterPbufRing(group uint16, entries uint32, flags uint16) (*PbufRing, error) {
	if bits.OnesCount32(entries) != 1 || entries > MaxPbufs || flags&PbufRingMmap != 0 {
		return nil, unix.EINVAL
	}
	// Anonymous memory is page-aligned, as the kernel demands, and zero, as the first tail must be.
	mem, err := unix.Mmap(-1, 0, int(entries)*int(unsafe.Sizeof(Buf{})), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, err
	}
	reg := BufReg{RingAddr: address(unsafe.Pointer(&mem[0])), RingEntries: entries, Group: group, Flags: flags}
	if err := r.register(RegisterPbufRing, unsafe.Pointer(&reg), 1); err != nil {
		_ = unix.Munmap(mem) // the first error is the one to report
		return nil, err
	}
	return &PbufRing{
		group: group, mask: uint16(entries - 1), mem: mem,
		bufs: unsafe.Slice((*Buf)(unsafe.Pointer(&mem[0])), entries),
	}, nil
}

// UnregisterPbufRing removes the group and frees the ring's memory. Receives that wait for data are not ended: they get
// ENOBUFS when it comes. 5.19; EINVAL: no such group.
func (r *Ring) UnregisterPbufRing(p *PbufRing) error {
	reg := BufReg{Group: p.group}
	if err := r.register(UnregisterPbufRing, unsafe.Pointer(&reg), 1); err != nil {
		return err
	}
	mem := p.mem
	p.mem, p.bufs = nil, nil
	return unix.Munmap(mem)
}

// PbufHead is the kernel's count, modulo 65536, of the places of p that it has used; Tail minus that is what it still
// has. IORING_REGISTER_PBUF_STATUS, 6.8; ENOENT or EINVAL: not registered here.
func (r *Ring) PbufHead(p *PbufRing) (uint16, error) {
	st := BufStatus{Group: uint32(p.group)}
	err := r.register(RegisterPbufStatus, unsafe.Pointer(&st), 1)
	return uint16(st.Head), err //nolint:gosec // the head is a 16-bit counter
}

// Group is the buffer group.
func (p *PbufRing) Group() uint16 { return p.group }

// Len is the number of places.
func (p *PbufRing) Len() int { return len(p.bufs) }

// Tail counts the Adds, modulo 65536.
func (p *PbufRing) Tail() uint16 { return p.tail }

// Add writes a buffer into the next place; the kernel sees it after Advance. From then until a completion names the id the
// memory is the kernel's, and the caller keeps it alive and in place. The caller sees to it that no more than Len buffers
// are with the kernel: one more would overwrite one that it has not used.
func (p *PbufRing) Add(addr unsafe.Pointer, length uint32, id uint16) {
	b := &p.bufs[p.tail&p.mask]
	b.Addr, b.Len = address(addr), length
	if p.tail&p.mask == 0 {
		p.first = id // written by Advance: the tail is in the same word
	} else {
		b.ID = id
	}
	p.tail++
}

// Length is how many bytes the kernel takes the buffer of Add number i, modulo 65536, to hold: it writes a smaller number
// when it expects less data than that (io_ring_buffers_peek, io_uring/kbuf.c), and a bundle then goes on in the next buffer
// after so many. Add sets it anew.
func (p *PbufRing) Length(i uint16) uint32 {
	// Pairs with WRITE_ONCE(buf->len) there, which comes before the completion that the caller has seen.
	return atomic.LoadUint32(&p.bufs[i&p.mask].Len)
}

// Advance gives the kernel the buffers of all Adds so far.
func (p *PbufRing) Advance() {
	// The tail is the upper half, in memory order, of the word that begins with the first place's id; both are written
	// by this side only.
	var half [4]byte
	binary.NativeEndian.PutUint16(half[:2], p.first)
	binary.NativeEndian.PutUint16(half[2:], p.tail)
	// Pairs with smp_load_acquire(&br->tail) in io_ring_buffer_select, io_uring/kbuf.c: the places are written before
	// the kernel sees the tail.
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&p.bufs[0].ID)), binary.NativeEndian.Uint32(half[:]))
}
