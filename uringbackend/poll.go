//go:build linux

package uringbackend

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Poll waits until one of events (unix.POLLIN, POLLOUT, …) holds for fd, and returns which do. POLLERR, POLLHUP and
// POLLRDHUP are always waited for: io_uring does so (IO_POLL_UNMASK), and so does an engine without it. It may be given up by ctx, by CancelFD, and by closing fd through the engine: then
// it reports ECANCELED before the number is free.
func (e Engine) Poll(ctx context.Context, fd, events int) (revents int, err error) {
	return e.Do(ctx, Op{Kind: KindPoll, Unbounded: true, FD: fd, Mask: events})
}

// PollLevel calls ready with what holds of events for fd, again as long as it returns true and something holds:
// level-triggered, as poll(2) is. It returns when ready says false (nil), or with the errno of Poll.
//
// No released kernel has a level-triggered multishot poll: IORING_POLL_ADD_LEVEL is in the header since 6.0 and refused
// with EINVAL. A poll that is armed anew reports at once while its condition holds, which is the same thing, at the
// price of one submission a report; and it does not report again before ready has returned.
func (e Engine) PollLevel(ctx context.Context, fd, events int, ready func(revents int) (again bool)) error {
	for {
		revents, err := e.Poll(ctx, fd, events)
		if err != nil {
			return err
		}
		if !ready(revents) {
			return nil
		}
	}
}

func prepPoll(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.OpFlags = uint32(op.Mask)
	if op.Flags&Multishot != 0 {
		sqe.Len = uring.PollAddMulti
	}
	return nil
}

// directPoll looks once and does not wait; EAGAIN: nothing holds.
func directPoll(_ *Features, op *Op) (int, error) {
	set := []unix.PollFd{{Fd: int32(op.FD), Events: int16(op.Mask) | unix.POLLRDHUP}}
	n, err := unix.Poll(set, 0)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, unix.EAGAIN
	case set[0].Revents&unix.POLLNVAL != 0:
		return 0, unix.EBADF
	default:
		return int(set[0].Revents), nil
	}
}
