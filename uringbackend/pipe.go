//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Read reads from a pipe, FIFO, socket or terminal into p, waiting as long as it takes or until ctx ends.
// 0 bytes is the end of the stream.
func (e Engine) Read(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindReadAt, Unbounded: true, FD: fd, Buf: p, Offset: -1})
}

// Write writes p to a pipe, FIFO, socket or terminal, waiting as long as it takes or until ctx ends.
func (e Engine) Write(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindWriteAt, Unbounded: true, FD: fd, Buf: p, Offset: -1})
}

// Splice moves up to length bytes by reference; one side is a pipe, whose offset is -1. The count may be short.
//
// Without unbounded the call is carried out at once, as flags say: without SPLICE_F_NONBLOCK a full or an empty pipe
// makes it wait, by a system call on the caller's thread, through a ring on a worker of the kernel, where a splice
// always goes, with the caller waiting for it. On a socket that is O_NONBLOCK it reports EAGAIN when the socket is not
// ready: a splice is never polled for by the kernel. With unbounded it is polled for, waits for both sides as long as
// it takes, and can be cancelled.
func (e Engine) Splice(ctx context.Context, from, to FileRange, length int64, flags int, unbounded bool) (int, error) {
	return e.Do(ctx, Op{
		Kind: KindSplice, Unbounded: unbounded, FD: from.FD, Offset: from.Offset,
		FD2: to.FD, Offset2: to.Offset, Length: length, Flags: flags,
	})
}

// Tee duplicates up to length bytes of the pipe from into the pipe to, by reference: both then hold the same pages. It
// consumes nothing, so that repeating it duplicates the same bytes again. flags and unbounded are as for Splice.
func (e Engine) Tee(ctx context.Context, from, to int, length int64, flags int, unbounded bool) (int, error) {
	return e.Do(ctx, Op{Kind: KindTee, Unbounded: unbounded, FD: from, FD2: to, Length: length, Flags: flags})
}

// SpliceAll moves length bytes by reference, one side being a pipe, and goes on after short splices until all are moved
// or from ends. flags are SPLICE_F_*; unbounded is as for Splice.
//
// moved is how many bytes were moved, also with an error. left matters when that is less than length, and is 0
// otherwise: how many bytes are in the pipe then (in the source, if both sides are pipes), whoever put them there. A pipe
// that is used again must be empty, or the next transfer begins with bytes of this one.
func (e Engine) SpliceAll(ctx context.Context, from, to FileRange, length int64, flags int, unbounded bool) (moved, left int64, err error) {
	for moved < length {
		n, err := e.Splice(ctx, from.after(moved), to.after(moved), length-moved, flags, unbounded)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		moved += int64(n)
		if err != nil || n == 0 {
			left, perr := inPipe(from, to)
			if err == nil {
				err = perr
			}
			return moved, left, err
		}
	}
	return moved, 0, nil
}

// Pipe is a pair of descriptors of one pipe, borrowed.
type Pipe struct{ R, W int }

// SpliceThrough moves length bytes by reference from a file or socket through p, which is empty, to another file or
// socket, as much at a time as fits into the pipe, until all are moved or from ends. flags are SPLICE_F_*, for both
// halves.
//
// moved is how many bytes have arrived, also with an error; left is how many are in the pipe then: they have been taken
// from the source and have not arrived. Without an error it is 0.
func (e Engine) SpliceThrough(ctx context.Context, from FileRange, p Pipe, to FileRange, length int64, flags int, unbounded bool) (moved, left int64, err error) {
	for moved < length {
		n, err := e.Splice(ctx, from.after(moved), FileRange{FD: p.W, Offset: -1}, length-moved, flags, unbounded)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return moved, 0, err
		}
		out, in, err := e.SpliceAll(ctx, FileRange{FD: p.R, Offset: -1}, to.after(moved), int64(n), flags, unbounded)
		moved += out
		if err == nil && out < int64(n) {
			err = unix.EIO // the pipe says it is at its end, although its writing end is open
		}
		if err != nil {
			return moved, in, err
		}
	}
	return moved, 0, nil
}

// after is the place n bytes further on.
func (r FileRange) after(n int64) FileRange {
	if r.Offset != -1 {
		r.Offset += n
	}
	return r
}

func (r FileRange) isPipe() bool {
	if r.Offset != -1 {
		return false
	}
	_, err := unix.FcntlInt(uintptr(r.FD), unix.F_GETPIPE_SZ, 0)
	return err == nil
}

// inPipe is how many bytes are in the pipe of a splice.
func inPipe(from, to FileRange) (int64, error) {
	fd := to.FD
	if from.isPipe() {
		fd = from.FD
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ) // FIONREAD
	return int64(n), err
}

// suitsSplice: a worker would be held while the op waits, and a non-blocking descriptor would not be waited for.
func suitsSplice(op *Op) bool { return !op.Unbounded && op.Length >= 0 }

func prepSplice(_ *slot, op *Op, sqe *uring.SQE) error {
	if op.Flags&^spliceFlags != 0 {
		return unix.EINVAL
	}
	sqe.FD = int32(op.FD2)
	sqe.FileIndex = uint32(op.FD)
	sqe.Addr = uint64(op.Offset)
	sqe.Off = uint64(op.Offset2)
	sqe.Len = uint32(min(op.Length, maxTransfer))
	sqe.OpFlags = uint32(op.Flags)
	return nil
}

func prepTee(_ *slot, op *Op, sqe *uring.SQE) error {
	if op.Flags&^spliceFlags != 0 {
		return unix.EINVAL
	}
	sqe.FD = int32(op.FD2)
	sqe.FileIndex = uint32(op.FD)
	sqe.Len = uint32(min(op.Length, maxTransfer))
	sqe.OpFlags = uint32(op.Flags)
	return nil
}

// spliceFlags is SPLICE_F_ALL; the opcodes know one more, which is the ring's business.
const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MORE | unix.SPLICE_F_GIFT

func directTee(_ *Features, op *Op) (int, error) {
	for {
		n, err := unix.Tee(op.FD, op.FD2, int(min(op.Length, maxTransfer)), op.Flags)
		if !errors.Is(err, unix.EINTR) {
			return int(max(n, 0)), err
		}
	}
}

func directSplice(_ *Features, op *Op) (int, error) {
	for {
		from, to := op.Offset, op.Offset2
		n, err := unix.Splice(op.FD, position(&from), op.FD2, position(&to), int(min(op.Length, maxTransfer)), op.Flags)
		if !errors.Is(err, unix.EINTR) {
			return int(max(n, 0)), err
		}
	}
}
