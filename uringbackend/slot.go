//go:build linux

package uringbackend

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// maxResubmits bounds how often an op is submitted again after a completion that says it did not run.
const maxResubmits = 8

// slot is the place of one op in a ring. It owns what the kernel reads besides the op's own memory, and its
// generation tells a completion of this op from one of an op before it.
//
// INVARIANT: busy from the submission until the op's last completion; gen is never 0, which marks completions of
// cancellations.
type slot struct {
	op          *Op
	index       int // the op's index in its Submit call
	gen         uint32
	busy        bool
	missed      bool // a cancellation did not find the op, and it has not completed
	retries     uint8
	personality uint16 // the op's credentials, as the ring knows them
	iov         []unix.Iovec
	path        []byte
	how         unix.OpenHow
	sqe         uring.SQE // built here, then copied into the queue
}

// take begins a use of the slot.
func (s *slot) take(op *Op, index int) {
	s.op, s.index, s.retries, s.missed = op, index, 0, false
	s.busy = true
	s.next()
}

// prepare builds the record of the op for this generation. Its memory stays the op's and the slot's.
func (s *slot) prepare(i int) error {
	half := &verbs[s.op.Kind].ring
	s.sqe = uring.SQE{Opcode: half.opcode, UserData: userData(i, s.gen), Personality: s.personality}
	return half.prep(s, s.op, &s.sqe)
}

// next begins a new generation.
func (s *slot) next() {
	if s.gen++; s.gen == 0 {
		s.gen = 1
	}
}

// release ends a use of the slot: it lets go of what the op pointed at, and keeps the scratch arrays unless they
// are large.
func (s *slot) release() {
	s.op = nil
	s.busy = false
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

// userData is what travels through the kernel: which slot, and which of its uses. Never a pointer: the collector
// cannot see it there.
func userData(index int, gen uint32) uint64 { return uint64(gen)<<32 | uint64(uint32(index)) }

func splitUserData(v uint64) (index int, gen uint32) { return int(uint32(v)), uint32(v >> 32) }

// cancelGen marks completions of cancellations; the index is that of the slot to be cancelled.
const cancelGen = 0

// cancellation is the record that gives up a use of slot i; its completion says ENOENT if the op was not found,
// EALREADY if it is running and has been interrupted.
func cancellation(i int, gen uint32) *uring.SQE {
	return &uring.SQE{Opcode: uring.OpAsyncCancel, FD: -1, Addr: userData(i, gen), UserData: userData(i, cancelGen)}
}

// cancelledErr is what an op reports that failed after its cancellation: a worker that was interrupted says EINTR.
func cancelledErr(err error) error {
	if errors.Is(err, unix.EINTR) {
		return unix.ECANCELED
	}
	return err
}

// doneFunc is Submit's done.
type doneFunc = func(i, n int, more bool, err error)

// maxEnterTries bounds how often io_uring_enter is tried when the kernel has no memory for a request, about a
// second in all.
const maxEnterTries = 24

// pause waits a little, longer with each try: 0.1 ms to 50 ms.
func pause(try int) {
	d := min(100*time.Microsecond<<min(try, 9), 50*time.Millisecond)
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
	if s.op.Kind == KindClose || s.retries >= maxResubmits {
		return false
	}
	if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECANCELED) && !errors.Is(err, unix.EFAULT) {
		return false
	}
	s.retries++
	return true
}
