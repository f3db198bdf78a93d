//go:build linux

package uring

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type timeoutArg struct {
	arg GetEventsArg
	ts  Timespec
}

// Enter publishes the pushed records and calls io_uring_enter(2): submits them and, with flags EnterGetEvents, waits
// until wait completions are there. It returns what the kernel returned: the number of records taken; an error only if
// that is none.
//
// With SetupSQPoll the polling thread takes the records, and the system call is made only to wake it and for what flags
// ask. The number is then that of the records published by this call, taken or not.
func (r *Ring) Enter(wait, flags uint32) (int, syscall.Errno) {
	n, flags := r.publish(flags)
	if flags == 0 && r.setup&SetupSQPoll != 0 {
		return int(n), 0
	}
	return r.enter(n, wait, flags, nil)
}

// EnterTimeout is Enter that waits no longer than timeout (negative: without limit; 0: not at all) and then reports ETIME,
// but only if it has taken no record and no completion at all is there: fewer than wait are success. EnterGetEvents is
// added to flags. IORING_FEAT_EXT_ARG, 5.11; EINVAL before.
func (r *Ring) EnterTimeout(wait, flags uint32, timeout time.Duration) (int, syscall.Errno) {
	n, flags := r.publish(flags | EnterGetEvents)
	return r.enter(n, wait, flags, r.enterArg.set(timeout))
}

// Wait is Enter with EnterGetEvents that submits nothing. It belongs to the completion side: one goroutine may Wait and
// take completions while another, under a lock of their own, fills and Enters.
func (r *Ring) Wait(wait uint32) syscall.Errno {
	_, errno := r.enter(0, wait, EnterGetEvents, nil)
	return errno
}

// WaitTimeout is Wait for no longer than timeout (negative: without limit; 0: not at all), then ETIME if no completion is
// there. 5.11.
func (r *Ring) WaitTimeout(wait uint32, timeout time.Duration) syscall.Errno {
	_, errno := r.enter(0, wait, EnterGetEvents, r.waitArg.set(timeout))
	return errno
}

// SQWait waits until the polling thread has made room in a full submission queue, or a signal comes: Push says which.
// SetupSQPoll only, 5.10.
func (r *Ring) SQWait() syscall.Errno {
	flags := EnterSQWait
	if r.NeedWakeup() {
		flags |= EnterSQWakeup
	}
	_, errno := r.enter(0, 0, flags, nil)
	return errno
}

// publish lets the kernel see the pushed records. It returns how many there are to submit and the flags for the call.
func (r *Ring) publish(flags uint32) (uint32, uint32) {
	if r.setup&SetupSQPoll == 0 {
		// Pairs with smp_load_acquire(&rings->sq.tail) in io_sqring_entries: the records are written before the
		// kernel sees the tail.
		atomic.StoreUint32(r.sqTail, r.tail)
		return r.Unsubmitted(), flags
	}
	n := r.tail - atomic.LoadUint32(r.sqTail) // only this side writes it
	// The store of the tail comes before the load of the flags in the one order of all atomic operations that Go
	// promises. Pairs with smp_mb__after_atomic between setting NEED_WAKEUP and io_sqring_entries in io_sq_thread,
	// io_uring/sqpoll.c: either the thread sees the new tail or this side sees that it sleeps.
	atomic.StoreUint32(r.sqTail, r.tail)
	if r.NeedWakeup() {
		flags |= EnterSQWakeup
	}
	return n, flags
}

func (r *Ring) enter(submit, wait, flags uint32, arg *timeoutArg) (int, syscall.Errno) {
	var argp unsafe.Pointer
	size := uintptr(0)
	if arg != nil {
		argp, size = unsafe.Pointer(&arg.arg), unsafe.Sizeof(arg.arg)
		flags |= EnterExtArg
	}
	n, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFD), uintptr(submit), uintptr(wait),
		uintptr(flags|r.enterFlags), uintptr(argp), size)
	runtime.KeepAlive(r) // arg points into it
	return int(n), errno
}

// set fills the argument. The receiver lies in a Ring, which the garbage collector does not move.
func (a *timeoutArg) set(timeout time.Duration) *timeoutArg {
	a.arg = GetEventsArg{}
	if timeout >= 0 {
		a.ts = TimespecOf(timeout)
		a.arg.TS = uint64(uintptr(unsafe.Pointer(&a.ts)))
	}
	return a
}

// RegisterRingFD gives the calling thread an index for the ring, which Enter and Wait use from here on and which saves the
// kernel the look-up of a descriptor. The index is the thread's: the goroutine must be locked to it, and only it may enter
// until UnregisterRingFD. On another thread the index may name another ring. IORING_REGISTER_RING_FDS, 5.18; EBUSY if the
// thread has used all 16.
func (r *Ring) RegisterRingFD() error {
	if r.enterFlags != 0 {
		return unix.EEXIST
	}
	u := RsrcUpdate{Offset: ^uint32(0), Data: uint64(r.fd)} //nolint:gosec // a descriptor is not negative
	if _, err := Register(r.fd, RegisterRingFDs, unsafe.Pointer(&u), 1); err != nil {
		return err
	}
	r.enterFD, r.enterFlags, r.enterTID = int(u.Offset), EnterRegisteredRing, unix.Gettid()
	return nil
}

// UnregisterRingFD gives the index back; on the thread that made it. ENOENT: there is none.
func (r *Ring) UnregisterRingFD() error {
	if r.enterFlags == 0 {
		return unix.ENOENT
	}
	u := RsrcUpdate{Offset: uint32(r.enterFD)} //nolint:gosec // an index below 16
	if _, err := Register(r.fd, UnregisterRingFDs, unsafe.Pointer(&u), 1); err != nil {
		return err
	}
	r.enterFD, r.enterFlags, r.enterTID = r.fd, 0, 0
	return nil
}
