//go:build linux

package uring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is one io_uring instance, mapped. It is not safe for concurrent use, apart from what Wait says.
type Ring struct {
	fd       int
	features uint32

	rings []byte // mapping of both queues; of the submission queue alone without FeatSingleMmap
	cring []byte // mapping of the completion queue without FeatSingleMmap, else nil
	sqmem []byte // mapping of the SQE array

	sqHead, sqTail, sqFlags    *uint32
	cqHead, cqTail, cqOverflow *uint32
	sqMask, cqMask             uint32
	sqEntries, cqEntries       uint32
	sqes                       []SQE
	cqes                       []CQE

	tail uint32 // submission queue's tail, including records not published yet
}

// Setup is io_uring_setup(2). Params is filled in; the descriptor is the caller's.
func Setup(entries uint32, p *Params) (int, error) {
	fd, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// New makes a ring with room for entries submissions and cqEntries completions (0: twice the entries). Sizes
// become powers of two. Errors wrap the errno with the call it came from.
func New(entries, cqEntries, flags uint32) (*Ring, error) {
	p := Params{Flags: flags}
	if cqEntries != 0 {
		p.Flags |= SetupCQSize
		p.CQEntries = cqEntries
	}
	fd, err := Setup(entries, &p)
	if err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	r := &Ring{fd: fd, features: p.Features, sqEntries: p.SQEntries, cqEntries: p.CQEntries}
	if err := r.mmap(&p); err != nil {
		_ = r.Close() // the first error is the one to report
		return nil, fmt.Errorf("mmap of ring: %w", err)
	}
	return r, nil
}

func (r *Ring) mmap(p *Params) (err error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	sqSize := int(p.SQOff.Array + p.SQEntries*4)
	cqSize := int(p.CQOff.CQEs + p.CQEntries*uint32(unsafe.Sizeof(CQE{})))
	single := p.Features&FeatSingleMmap != 0
	if single {
		sqSize = max(sqSize, cqSize)
	}
	if r.rings, err = unix.Mmap(r.fd, offSQRing, sqSize, prot, flags); err != nil {
		return err
	}
	cq := r.rings
	if !single {
		if r.cring, err = unix.Mmap(r.fd, offCQRing, cqSize, prot, flags); err != nil {
			return err
		}
		cq = r.cring
	}
	if r.sqmem, err = unix.Mmap(r.fd, offSQEs, int(p.SQEntries)*int(unsafe.Sizeof(SQE{})), prot, flags); err != nil {
		return err
	}
	word := func(mem []byte, off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&mem[off])) }
	r.sqHead, r.sqTail = word(r.rings, p.SQOff.Head), word(r.rings, p.SQOff.Tail)
	r.sqFlags = word(r.rings, p.SQOff.Flags)
	r.sqMask = atomic.LoadUint32(word(r.rings, p.SQOff.RingMask))
	r.cqHead, r.cqTail = word(cq, p.CQOff.Head), word(cq, p.CQOff.Tail)
	r.cqOverflow = word(cq, p.CQOff.Overflow)
	r.cqMask = atomic.LoadUint32(word(cq, p.CQOff.RingMask))
	r.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&r.sqmem[0])), p.SQEntries)
	r.cqes = unsafe.Slice((*CQE)(unsafe.Pointer(&cq[p.CQOff.CQEs])), p.CQEntries)
	r.tail = atomic.LoadUint32(r.sqTail)
	// The index array between the queue and the records stays the identity for the ring's life.
	array := unsafe.Slice(word(r.rings, p.SQOff.Array), p.SQEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return nil
}

// Close unmaps the ring and closes its descriptor. Operations in flight are cancelled by the kernel, but later than
// this returns: the caller lets them complete first.
func (r *Ring) Close() error {
	var first error
	for _, m := range []*[]byte{&r.sqmem, &r.cring, &r.rings} {
		if *m != nil {
			if err := unix.Munmap(*m); err != nil && first == nil {
				first = err
			}
			*m = nil
		}
	}
	r.sqes, r.cqes = nil, nil
	if r.fd >= 0 {
		if err := unix.Close(r.fd); err != nil && first == nil {
			first = err
		}
		r.fd = -1
	}
	return first
}

// FD lends the ring's descriptor.
func (r *Ring) FD() int { return r.fd }

// Features are the FEAT bits of the kernel.
func (r *Ring) Features() uint32 { return r.features }

// SQEntries is the number of submissions that fit in the queue.
func (r *Ring) SQEntries() int { return int(r.sqEntries) }

// CQEntries is the number of completions that fit in the queue.
func (r *Ring) CQEntries() int { return int(r.cqEntries) }

// Push copies a record into the queue, where it takes part in the next Enter. False: the queue is full.
func (r *Ring) Push(sqe *SQE) bool {
	// Pairs with smp_store_release(&rings->sq.head) in io_commit_sqring, io_uring/io_uring.c: the kernel has
	// read the records before the head, so they may be written again.
	if r.tail-atomic.LoadUint32(r.sqHead) >= r.sqEntries {
		return false
	}
	r.sqes[r.tail&r.sqMask] = *sqe
	r.tail++
	return true
}

// Unsubmitted is how many records the kernel has not taken yet.
func (r *Ring) Unsubmitted() uint32 {
	// Pairs with smp_store_release(&rings->sq.head) in io_commit_sqring.
	return r.tail - atomic.LoadUint32(r.sqHead)
}

// Drop takes back the records that the kernel has not taken and returns their UserData, oldest first. Only valid
// while no Enter is running.
func (r *Ring) Drop() []uint64 {
	var dropped []uint64
	for at := r.tail - r.Unsubmitted(); at != r.tail; at++ {
		dropped = append(dropped, r.sqes[at&r.sqMask].UserData)
	}
	r.tail -= uint32(len(dropped)) //nolint:gosec // at most the ring's size
	// Pairs with smp_load_acquire(&rings->sq.tail) in io_sqring_entries: the kernel reads the tail only inside
	// enter, so it never sees the value go back.
	atomic.StoreUint32(r.sqTail, r.tail)
	return dropped
}

// Enter publishes the pushed records and calls io_uring_enter(2): submits them and, with flags EnterGetEvents, waits
// until wait completions are there. It returns what the kernel returned.
func (r *Ring) Enter(wait, flags uint32) (int, syscall.Errno) {
	// Pairs with smp_load_acquire(&rings->sq.tail) in io_sqring_entries: the records are written before the
	// kernel sees the tail.
	atomic.StoreUint32(r.sqTail, r.tail)
	n, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.Unsubmitted()), uintptr(wait),
		uintptr(flags), 0, 0)
	return int(n), errno
}

// Wait is Enter without submitting: it touches nothing on the submission side, so that one goroutine may Wait and
// take completions while another, under a lock of their own, fills and Enters.
func (r *Ring) Wait(wait uint32) syscall.Errno {
	_, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, uintptr(wait), uintptr(EnterGetEvents), 0, 0)
	return errno
}

// Next takes the oldest completion, if there is one.
func (r *Ring) Next() (CQE, bool) {
	head := atomic.LoadUint32(r.cqHead) // only this side writes it
	// Pairs with smp_store_release(&rings->cq.tail) in io_commit_cqring, io_uring/io_uring.c: the records before
	// the tail are complete.
	if head == atomic.LoadUint32(r.cqTail) {
		return CQE{}, false
	}
	// The record itself is plain memory: the kernel does not write it again until the head has passed it.
	c := r.cqes[head&r.cqMask]
	// Pairs with READ_ONCE(rings->cq.head) in io_fill_cqe's room check (__io_cqring_events): the copy above is
	// done before the kernel may use the place again.
	atomic.StoreUint32(r.cqHead, head+1)
	return c, true
}

// Ready is how many completions are waiting to be taken.
func (r *Ring) Ready() uint32 {
	// Pairs with smp_store_release(&rings->cq.tail) in io_commit_cqring.
	return atomic.LoadUint32(r.cqTail) - atomic.LoadUint32(r.cqHead)
}

// Overflowed says that completions wait inside the kernel for room; Enter with EnterGetEvents moves them over.
func (r *Ring) Overflowed() bool {
	// Pairs with atomic_or(IORING_SQ_CQ_OVERFLOW, &rings->sq_flags) in io_cqring_add_overflow.
	return atomic.LoadUint32(r.sqFlags)&SQCQOverflow != 0
}

// Lost is the kernel's count of completions it could not keep.
func (r *Ring) Lost() uint32 {
	// Pairs with WRITE_ONCE(rings->cq_overflow) in io_account_cq_overflow.
	return atomic.LoadUint32(r.cqOverflow)
}
