//go:build linux

package uringbackend

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// maxResubmits bounds how often an op is submitted again after a completion that says it did not run.
const maxResubmits = 8

// slot is the place of one op in a ring. It owns what the kernel reads besides the op's own memory, and its
// generation tells a completion of this op from one of an op before it.
//
// INVARIANT: busy from the submission until the op's last completion, and until that of its timeout.
type slot struct {
	place int // in requests.slots

	op    *Op
	index int // what done is told: the op's index in its Submit call; in a Queue the slot's place
	done  doneFunc
	began int64 // for observers
	bytes int64 // moved by the reports so far
	w     *waitOp
	tag   uint64 // of a Queue's op

	gen       uint32
	retries   uint8
	busy      bool
	linked    bool // comes after an op with Link: it starts when that one allows
	last      bool // nothing is linked to it, although it may have Link
	cancelled bool // somebody asked for it to be given up
	missed    bool // a cancellation did not find the op, and it has not completed
	timer     bool // its timeout has not completed
	expired   bool // its timeout came first
	held      bool // n and err wait for the timeout's completion
	n         int
	err       error
	doomed    error // the op could not be prepared; its record fails in its place
	more      int   // reports so far

	personality uint16 // the op's credentials, as the ring knows them
	own         Op     // of owners whose callers' memory does not last: op points here
	iov         []unix.Iovec
	path        []byte
	path2       []byte
	how         unix.OpenHow
	group       uint16 // of provided buffers
	bundles     bool   // one completion may be of several of them
	ts          uring.Timespec
	msg         unix.Msghdr
	sqe         uring.SQE // built here, then copied into the queue
}

// take begins a use of the slot.
func (s *slot) take(op *Op, index int, done doneFunc) {
	s.op, s.index, s.done = op, index, done
	s.retries, s.more, s.bytes = 0, 0, 0
	s.busy, s.linked, s.last, s.cancelled, s.missed, s.timer, s.expired, s.held = true, false, false, false, false, false, false, false
	s.next()
}

// prepare builds the record of the op for this generation. Its memory stays the op's and the slot's.
func (s *slot) prepare() error {
	half := &verbs[s.op.Kind].ring
	s.sqe = uring.SQE{Opcode: half.opcode, UserData: userData(s.place, s.gen, markOp), Personality: s.personality}
	if err := half.prep(s, s.op, &s.sqe); err != nil {
		return err
	}
	s.flag()
	return nil
}

// flag marks the record as the op wishes.
func (s *slot) flag() {
	if s.op.Link || s.op.Timeout > 0 {
		s.sqe.Flags |= uring.SQEIOLink
	}
	if s.op.Async {
		s.sqe.Flags |= uring.SQEAsync
	}
}

// unlink makes the op the last of its chain, whatever it says: what is pushed next is not linked to it.
func (s *slot) unlink() {
	s.last = true
	if s.op.Timeout == 0 {
		s.sqe.Flags &^= uring.SQEIOLink
	}
}

// records is how many places in the submission queue an op takes.
func (op *Op) records() int {
	if op.Timeout > 0 {
		return 2
	}
	return 1
}

func (s *slot) records() int { return s.op.records() }

// linkTimeout is the record that limits the op before it. The link goes on behind it.
func (s *slot) linkTimeout() *uring.SQE {
	sqe := &uring.SQE{
		Opcode: uring.OpLinkTimeout, Addr: uint64(uintptr(unsafe.Pointer(&s.ts))), Len: 1,
		UserData: userData(s.place, s.gen, markTimeout),
	}
	if s.op.Link && !s.last {
		sqe.Flags = uring.SQEIOLink
	}
	return sqe
}

// next begins a new generation.
func (s *slot) next() { s.gen++ }

// release ends a use of the slot: it lets go of what the op pointed at, and keeps the scratch arrays unless they
// are large.
func (s *slot) release() {
	s.op, s.done, s.w, s.err, s.doomed = nil, nil, nil, nil, nil
	s.busy = false
	if s.own.Kind != kindInvalid {
		s.own = Op{}
	}
	s.msg = unix.Msghdr{}
	if len(s.iov) > 0 {
		clear(s.iov)
		if cap(s.iov) > 64 {
			s.iov = nil
		}
		s.iov = s.iov[:0]
	}
}

// iovecs fills s.iov, whose pointers keep the buffers alive.
func (s *slot) iovecs(bufs [][]byte) {
	s.iov = s.iov[:0]
	for _, b := range bufs {
		var v unix.Iovec
		if len(b) > 0 {
			v.Base = &b[0]
		}
		v.SetLen(len(b))
		s.iov = append(s.iov, v)
	}
}

// cstring copies path into the slot, ended by NUL.
func (s *slot) cstring(path string) (*byte, error) {
	if hasNUL(path) {
		return nil, unix.EINVAL
	}
	s.path = append(append(s.path[:0], path...), 0)
	return &s.path[0], nil
}

// cstring2 is cstring for a second path, or the name of an attribute.
func (s *slot) cstring2(path string) (*byte, error) {
	if hasNUL(path) {
		return nil, unix.EINVAL
	}
	s.path2 = append(append(s.path2[:0], path...), 0)
	return &s.path2[0], nil
}

// userData is what travels through the kernel: which slot, which of its uses, and whose completion it is. Never a
// pointer: the collector cannot see it there.
func userData(place int, gen uint32, m mark) uint64 {
	return uint64(gen)<<32 | uint64(m)<<markShift | uint64(uint32(place))
}

func splitUserData(v uint64) (place int, gen uint32, m mark) {
	return int(uint32(v) & (1<<markShift - 1)), uint32(v >> 32), mark(uint32(v) >> markShift)
}

// mark says what a completion is of.
type mark uint8

const (
	markOp mark = iota
	markCancel
	markTimeout
	markBell

	markShift = 30
)

// cancellation is the record that gives up this use of the slot; its completion says ENOENT if the op was not found,
// EALREADY if it is running and has been interrupted.
func (s *slot) cancellation() *uring.SQE {
	return &uring.SQE{
		Opcode: uring.OpAsyncCancel, FD: -1, Addr: userData(s.place, s.gen, markOp), UserData: userData(s.place, s.gen, markCancel),
	}
}

// interrupted is what an op reports that failed after it was given up, as: a worker that was interrupted says EINTR.
func interrupted(err error, as unix.Errno) error {
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECANCELED) {
		return as
	}
	return err
}

// doneFunc is Submit's done.
type doneFunc = func(i, n int, more bool, err error)

// maxEnterTries bounds how often io_uring_enter is tried when the kernel has no memory for a request, about a
// second in all.
const maxEnterTries = 24

// patience is how long to wait before another try: 0.1 ms to 50 ms.
func patience(try int) time.Duration {
	return min(100*time.Microsecond<<min(try, 9), 50*time.Millisecond)
}

// pause waits a little, longer with each try.
func pause(try int) { pauseFor(patience(try)) }

func pauseFor(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// Errnos that never leave the kernel by a system call, but may stand in a completion of an op whose worker got a
// signal: include/linux/errno.h.
const (
	erestartsys          = 512
	erestartRestartblock = 516
)

// result reads a completion.
func result(res int32) (int, error) {
	if res >= 0 {
		return int(res), nil
	}
	if errno := unix.Errno(-res); errno < erestartsys || errno > erestartRestartblock {
		return 0, errno
	}
	return 0, unix.EINTR
}

// again says whether a completion means that the op did not run although nobody cancelled it, so that it may be
// submitted once more: a signal came first (EINTR), or the thread that submitted it has exited before it could go on.
// The kernel then completes it from a work queue, with ECANCELED or EFAULT (io_req_task_submit, io_poll_task_func); an
// EFAULT of another origin comes again and is reported in the end.
func (s *slot) again(err error) bool {
	if s.op.Kind == KindClose || s.linked || s.op.Link && !s.last || s.more > 0 || s.retries >= maxResubmits {
		return false // in a chain an ECANCELED may be the link's
	}
	if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECANCELED) && !errors.Is(err, unix.EFAULT) {
		return false
	}
	s.retries++
	return true
}
