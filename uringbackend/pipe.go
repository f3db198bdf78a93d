//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
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

// Splice moves up to length bytes by reference; one side is a pipe, whose offset is -1. Without unbounded the
// call is carried out at once, as flags say: a full or empty pipe then blocks its thread unless SPLICE_F_NONBLOCK
// is among them. With unbounded it waits for both sides and can be cancelled; the count may be short.
func (e Engine) Splice(ctx context.Context, from, to FileRange, length int64, flags int, unbounded bool) (int, error) {
	return e.Do(ctx, Op{
		Kind: KindSplice, Unbounded: unbounded, FD: from.FD, Offset: from.Offset,
		FD2: to.FD, Offset2: to.Offset, Length: length, Flags: flags,
	})
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
