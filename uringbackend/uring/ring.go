//go:build linux

package uring

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is one io_uring instance, mapped. It has two sides. The submission side is Push, Unsubmitted, SpaceLeft, Drop,
// Enter, EnterTimeout and SQWait; the completion side is Next, Ready, Wait and WaitTimeout. Each side belongs to one
// goroutine at a time, and the two may run at once. FD, Features, Flags, SQEntries, CQEntries, Overflowed, NeedWakeup,
// NeedTaskrun and Lost may be called by anyone until Close. Resize and Close need both sides to themselves. With
// SetupSingleIssuer the kernel wants one thread to do all entering and registering, and after RegisterRingFD only the
// registering thread may enter: its goroutine is locked to it.
type Ring struct {
	fd       int
	features uint32
	setup    uint32 // flags given to io_uring_setup

	enterFD    int    // fd, or the registered index
	enterFlags uint32 // EnterRegisteredRing for the latter
	enterTID   int    // the thread that the index belongs to

	rings []byte // mapping of both queues; of the submission queue alone without FeatSingleMmap
	cring []byte // mapping of the completion queue without FeatSingleMmap, else nil
	sqmem []byte // mapping of the SQE array

	sqHead, sqTail, sqFlags    *uint32
	cqHead, cqTail, cqOverflow *uint32
	sqMask, cqMask             uint32
	sqEntries, cqEntries       uint32
	sqShift, cqShift           uint8 // 1 if a record takes two places: SetupSQE128, SetupCQE32
	sqes                       []SQE
	cqes                       []CQE

	tail uint32 // submission queue's tail, including records not published yet

	// Arguments of EnterTimeout and WaitTimeout: the kernel gets their addresses, so they lie in this heap object
	// and not on a stack that moves; one each because the two sides may wait at once.
	enterArg, waitArg timeoutArg
}

// Setup is io_uring_setup(2). Params is filled in; the descriptor is the caller's.
func Setup(entries uint32, p *Params) (int, error) {
	fd, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// Config is what Open makes.
type Config struct {
	Entries      uint32 // submissions that the queue holds; becomes a power of two
	CQEntries    uint32 // completions that the queue holds; 0: twice the entries
	Flags        uint32 // Setup flags; SetupCQSize is added where CQEntries is given
	SQThreadIdle uint32 // SetupSQPoll: milliseconds without work until the polling thread sleeps; 0: the kernel's 1000
	SQThreadCPU  uint32 // SetupSQPoll with SetupSQAff: the processor it stays on
	WQFD         int    // SetupAttachWQ: a ring whose workers are shared; borrowed
}

// New is Open with sizes and flags alone.
func New(entries, cqEntries, flags uint32) (*Ring, error) {
	return Open(Config{Entries: entries, CQEntries: cqEntries, Flags: flags})
}

// Open makes a ring. Errors wrap the errno with the call it came from: EINVAL for flags that the kernel does not know or
// that do not go together, EPERM where io_uring is switched off (/proc/sys/kernel/io_uring_disabled, 6.6) or filtered,
// ENOMEM for too little locked memory before 5.12. SetupNoMmap and SetupRegisteredFDOnly are refused with EINVAL: they
// have no mapping or descriptor to make a Ring of.
func Open(cfg Config) (*Ring, error) {
	p := Params{Flags: cfg.Flags, SQThreadIdle: cfg.SQThreadIdle, SQThreadCPU: cfg.SQThreadCPU}
	if cfg.Flags&(SetupNoMmap|SetupRegisteredFDOnly) != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", unix.EINVAL)
	}
	if cfg.CQEntries != 0 {
		p.Flags |= SetupCQSize
		p.CQEntries = cfg.CQEntries
	}
	if cfg.Flags&SetupAttachWQ != 0 {
		p.WQFD = uint32(cfg.WQFD) //nolint:gosec // a wrong descriptor is the kernel's to refuse
	}
	fd, err := Setup(cfg.Entries, &p)
	if err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	r := &Ring{fd: fd, enterFD: fd, features: p.Features, setup: p.Flags}
	if p.Flags&SetupSQE128 != 0 {
		r.sqShift = 1
	}
	if p.Flags&SetupCQE32 != 0 {
		r.cqShift = 1
	}
	if err := r.mmap(&p); err != nil {
		_ = r.Close() // the first error is the one to report
		return nil, fmt.Errorf("mmap of ring: %w", err)
	}
	return r, nil
}

func (r *Ring) mmap(p *Params) (err error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	r.sqEntries, r.cqEntries = p.SQEntries, p.CQEntries
	records, completions := p.SQEntries<<r.sqShift, p.CQEntries<<r.cqShift
	sqSize := int(p.SQOff.Array + p.SQEntries*4)
	cqSize := int(p.CQOff.CQEs + completions*uint32(unsafe.Sizeof(CQE{})))
	single := r.features&FeatSingleMmap != 0
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
	if r.sqmem, err = unix.Mmap(r.fd, offSQEs, int(records)*int(unsafe.Sizeof(SQE{})), prot, flags); err != nil {
		return err
	}
	word := func(mem []byte, off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&mem[off])) }
	r.sqHead, r.sqTail = word(r.rings, p.SQOff.Head), word(r.rings, p.SQOff.Tail)
	r.sqFlags = word(r.rings, p.SQOff.Flags)
	r.sqMask = atomic.LoadUint32(word(r.rings, p.SQOff.RingMask))
	r.cqHead, r.cqTail = word(cq, p.CQOff.Head), word(cq, p.CQOff.Tail)
	r.cqOverflow = word(cq, p.CQOff.Overflow)
	r.cqMask = atomic.LoadUint32(word(cq, p.CQOff.RingMask))
	r.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&r.sqmem[0])), records)
	r.cqes = unsafe.Slice((*CQE)(unsafe.Pointer(&cq[p.CQOff.CQEs])), completions)
	r.tail = atomic.LoadUint32(r.sqTail)
	if r.setup&SetupNoSQArray != 0 {
		return nil
	}
	// The index array between the queue and the records stays the identity for the ring's life.
	array := unsafe.Slice(word(r.rings, p.SQOff.Array), p.SQEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return nil
}

// Close unmaps the ring and closes its descriptor. Operations in flight are cancelled by the kernel, but later than
// this returns: the caller lets them complete first. An index made by RegisterRingFD is given back if this is its thread;
// otherwise the kernel keeps the ring until that thread ends.
func (r *Ring) Close() error {
	first := r.unmap()
	if r.fd >= 0 {
		if r.enterFlags != 0 && r.enterTID == unix.Gettid() {
			first = cmp.Or(first, r.UnregisterRingFD())
		}
		first = cmp.Or(first, unix.Close(r.fd))
		r.fd, r.enterFD, r.enterFlags = -1, -1, 0
	}
	return first
}

func (r *Ring) unmap() (first error) {
	for _, m := range []*[]byte{&r.sqmem, &r.cring, &r.rings} {
		if *m != nil {
			first = cmp.Or(first, unix.Munmap(*m))
			*m = nil
		}
	}
	r.sqes, r.cqes = nil, nil
	return first
}

// FD lends the ring's descriptor.
func (r *Ring) FD() int { return r.fd }

// Features are the FEAT bits of the kernel.
func (r *Ring) Features() uint32 { return r.features }

// Flags are the Setup flags that the ring was made with.
func (r *Ring) Flags() uint32 { return r.setup }

// SQEntries is the number of submissions that fit in the queue.
func (r *Ring) SQEntries() int { return int(r.sqEntries) }

// CQEntries is the number of completions that fit in the queue.
func (r *Ring) CQEntries() int { return int(r.cqEntries) }

// Push copies a record into the queue, where it takes part in the next Enter. False: the queue is full.
func (r *Ring) Push(sqe *SQE) bool {
	if r.SpaceLeft() == 0 {
		return false
	}
	i := r.tail & r.sqMask << r.sqShift
	r.sqes[i] = *sqe
	if r.sqShift != 0 {
		r.sqes[i+1] = SQE{}
	}
	r.tail++
	return true
}

// SpaceLeft is how many records Push takes before the queue is full.
func (r *Ring) SpaceLeft() uint32 {
	// Unsubmitted's load pairs with smp_store_release(&rings->sq.head) in io_commit_sqring, io_uring/io_uring.c: the
	// kernel has read the records before the head, so they may be written again.
	return r.sqEntries - r.Unsubmitted()
}

// Unsubmitted is how many records the kernel has not taken yet.
func (r *Ring) Unsubmitted() uint32 {
	// Pairs with smp_store_release(&rings->sq.head) in io_commit_sqring.
	return r.tail - atomic.LoadUint32(r.sqHead)
}

// Drop takes back the records that the kernel has not taken and returns their UserData, oldest first. With SetupSQPoll
// these are the ones pushed since the last Enter, as the polling thread may be reading the others.
func (r *Ring) Drop() []uint64 {
	at := r.tail - r.Unsubmitted()
	if r.setup&SetupSQPoll != 0 {
		at = atomic.LoadUint32(r.sqTail) // only this side writes it
	}
	keep := at
	var dropped []uint64
	for ; at != r.tail; at++ {
		dropped = append(dropped, r.sqes[at&r.sqMask<<r.sqShift].UserData)
	}
	r.tail = keep
	// Pairs with smp_load_acquire(&rings->sq.tail) in io_sqring_entries: without a polling thread the kernel reads the
	// tail only inside enter, so it never sees the value go back; with one the value does not change.
	atomic.StoreUint32(r.sqTail, r.tail)
	return dropped
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
	c := r.cqes[head&r.cqMask<<r.cqShift]
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

// NeedWakeup says that the polling thread of SetupSQPoll sleeps; Enter wakes it by itself.
func (r *Ring) NeedWakeup() bool {
	// Pairs with atomic_or(IORING_SQ_NEED_WAKEUP, &rings->sq_flags) in io_sq_thread, io_uring/sqpoll.c.
	return atomic.LoadUint32(r.sqFlags)&SQNeedWakeup != 0
}

// NeedTaskrun says that finished work waits for an enter with EnterGetEvents. Only with SetupTaskrunFlag.
func (r *Ring) NeedTaskrun() bool {
	// Pairs with atomic_or(IORING_SQ_TASKRUN, &rings->sq_flags) in io_req_local_work_add and io_req_normal_work_add.
	return atomic.LoadUint32(r.sqFlags)&SQTaskrun != 0
}
