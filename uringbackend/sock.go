//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Sockets. All of these may wait for a peer, so they are Unbounded. The descriptor must not be O_NONBLOCK, as those of
// Go's net package are: io_uring takes that for a wish and reports EAGAIN at once. MSG_NOSIGNAL is always added: nobody
// wants SIGPIPE.

// Multishot in Op.Mask of KindAccept and in Op.Flags of KindPoll asks for more reports than one. The kernel may end
// them at any time with a last report that is like the others; whoever wants more asks again.
const Multishot = 1

// Send sends p on the stream socket fd, all of it with MSG_WAITALL in flags. A short count is returned as it is.
func (e Engine) Send(ctx context.Context, fd int, p []byte, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindSend, Unbounded: true, FD: fd, Buf: p, Flags: flags})
}

// Recv receives into p from fd; 0 bytes is the end of the stream. With MSG_WAITALL it waits until p is full or the
// stream ends; an op that is given up before reports what has come.
func (e Engine) Recv(ctx context.Context, fd int, p []byte, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindRecv, Unbounded: true, FD: fd, Buf: p, Flags: flags})
}

// Sendmsg is Send of several buffers in turn, as one message.
func (e Engine) Sendmsg(ctx context.Context, fd int, bufs [][]byte, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindSendmsg, Unbounded: true, FD: fd, Bufs: bufs, Flags: flags})
}

// Recvmsg is Recv into several buffers in turn.
func (e Engine) Recvmsg(ctx context.Context, fd int, bufs [][]byte, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindRecvmsg, Unbounded: true, FD: fd, Bufs: bufs, Flags: flags})
}

// SendZC sends p without copying it, if the kernel can, and returns as soon as the count is known: with MSG_WAITALL in
// flags all of p, or an error. The kernel may read p until it calls release, on a goroutine of the engine, which may be
// much later: when the peer has acknowledged the last byte. copied says that the kernel copied after all (loopback
// always does), so that a plain Send would have cost less. release is called exactly once, also after an error.
// fixed, if not nil, is the arena that p is part of.
func (e Engine) SendZC(
	ctx context.Context, fd int, p []byte, flags int, fixed *Arena, release func(copied bool),
) (n int, err error) {
	first := make(chan struct{}, 1)
	told, sent := false, 0 // of the goroutine that reports, one at a time
	e.Submit(ctx, []Op{{Kind: KindSendZC, Unbounded: true, FD: fd, Buf: p, Flags: flags, Fixed: fixed, Creds: e.creds}},
		func(_, m int, more bool, failure error) {
			if !told {
				told, sent = true, m
				n, err = m, failure
				first <- struct{}{}
			}
			if !more {
				release(failure == nil && m == 1 && sent > 0)
			}
		})
	<-first
	return n, err
}

// RecvMulti receives from fd into b until the stream ends, the buffers are full, or ctx ends. report is called on a
// goroutine of the engine each time data has come, which is then in b, and a last time with more false: n is 0 at the end
// of the stream; ENOBUFS, or data with more false, that it can be asked again when buffers have been given back.
func (e Engine) RecvMulti(ctx context.Context, fd int, b *BufRing, report func(n int, more bool, err error)) {
	e.Submit(ctx, []Op{{Kind: KindRecvMulti, Unbounded: true, FD: fd, Provided: b}}, func(_, n int, more bool, err error) {
		report(n, more, err)
	})
}

// Accept takes a connection from the listening socket fd; the descriptor is the caller's, close-on-exec and blocking.
func (e Engine) Accept(ctx context.Context, fd int) (int, error) {
	return e.Do(ctx, Op{Kind: KindAccept, Unbounded: true, FD: fd})
}

// Shutdown ends one or both directions (unix.SHUT_RD, SHUT_WR, SHUT_RDWR) of the socket fd.
func (e Engine) Shutdown(ctx context.Context, fd, how int) error {
	_, err := e.Do(ctx, Op{Kind: KindShutdown, FD: fd, Mask: how})
	return err
}

// alwaysWaits says that ops of the verb wait for a peer by their nature, whether or not they say so.
func (k Kind) alwaysWaits() bool {
	switch k {
	case KindPoll, KindAccept, KindRecvMulti, KindSendZC, KindSendmsgZC:
		return true
	default:
		return false
	}
}

func prepSend(_ *slot, op *Op, sqe *uring.SQE) error {
	prepBuf(op, sqe)
	sqe.OpFlags |= unix.MSG_NOSIGNAL
	return nil
}

func prepRecv(_ *slot, op *Op, sqe *uring.SQE) error {
	prepBuf(op, sqe)
	return nil
}

func prepBuf(op *Op, sqe *uring.SQE) {
	sqe.FD = int32(op.FD)
	sqe.Addr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(op.Buf))))
	sqe.Len = uint32(min(len(op.Buf), maxTransfer))
	sqe.OpFlags = uint32(op.Flags)
}

func prepSendmsg(s *slot, op *Op, sqe *uring.SQE) error {
	prepMsg(s, op, sqe)
	sqe.OpFlags |= unix.MSG_NOSIGNAL
	return nil
}

func prepRecvmsg(s *slot, op *Op, sqe *uring.SQE) error {
	prepMsg(s, op, sqe)
	return nil
}

func prepMsg(s *slot, op *Op, sqe *uring.SQE) {
	s.iovecs(op.Bufs)
	s.msg = unix.Msghdr{Iov: unsafe.SliceData(s.iov)}
	s.msg.SetIovlen(len(s.iov))
	sqe.FD = int32(op.FD)
	sqe.Addr = uint64(uintptr(unsafe.Pointer(&s.msg)))
	sqe.Len = 1
	sqe.OpFlags = uint32(op.Flags)
}

func prepSendZC(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.IOPrio = uring.SendZCReportUsage
	return prepSend(s, op, sqe)
}

func prepSendmsgZC(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.IOPrio = uring.SendZCReportUsage
	return prepSendmsg(s, op, sqe)
}

func prepRecvMulti(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Flags |= uring.SQEBufferSelect
	sqe.BufIndex = s.group
	sqe.IOPrio = uring.RecvMultishot
	if s.bundles {
		sqe.IOPrio |= uring.RecvSendBundle
	}
	return nil
}

func prepAccept(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.OpFlags = unix.SOCK_CLOEXEC
	if op.Mask&Multishot != 0 {
		sqe.IOPrio = uring.AcceptMultishot
	}
	return nil
}

func prepShutdown(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Len = uint32(op.Mask)
	return nil
}

func directSend(_ *Features, op *Op) (int, error) {
	n, err := unix.SendmsgN(op.FD, op.Buf, nil, nil, op.Flags|unix.MSG_NOSIGNAL)
	return max(n, 0), err
}

func directRecv(_ *Features, op *Op) (int, error) {
	n, _, _, _, err := unix.RecvmsgBuffers(op.FD, [][]byte{op.Buf}, nil, op.Flags)
	return max(n, 0), err
}

func directSendmsg(_ *Features, op *Op) (int, error) {
	n, err := unix.SendmsgBuffers(op.FD, op.Bufs, nil, nil, op.Flags|unix.MSG_NOSIGNAL)
	return max(n, 0), err
}

func directRecvmsg(_ *Features, op *Op) (int, error) {
	n, _, _, _, err := unix.RecvmsgBuffers(op.FD, op.Bufs, nil, op.Flags)
	return max(n, 0), err
}

// directRecvMulti is one receive: into the buffer whose turn it is.
func directRecvMulti(_ *Features, op *Op) (int, error) {
	if op.Provided == nil {
		return 0, unix.EINVAL
	}
	bid, buf, ok := op.Provided.take()
	if !ok {
		return 0, unix.ENOBUFS
	}
	n, _, _, _, err := unix.RecvmsgBuffers(op.FD, [][]byte{buf}, nil, op.Flags)
	if n = max(n, 0); n > 0 {
		if err := op.Provided.arrived(bid, n); err != nil {
			return 0, unix.EIO
		}
	}
	return n, err
}

func directAccept(_ *Features, op *Op) (int, error) {
	fd, _, err := unix.Accept4(op.FD, unix.SOCK_CLOEXEC)
	return max(fd, 0), err
}

func directShutdown(_ *Features, op *Op) (int, error) { return 0, unix.Shutdown(op.FD, op.Mask) }

// socketTry makes an attempt at a socket op that does not wait. report tells of what has come before the last report;
// total is what an op that wants all of its bytes has moved so far.
func (s *syscalls) socketTry(op *Op, total *int, report func(n int, err error)) func(bool) (int, error) {
	own := *op
	own.Flags |= unix.MSG_DONTWAIT
	verb := verbs[op.Kind].direct
	switch op.Kind {
	case KindRecvMulti:
		return func(bool) (int, error) {
			for {
				n, err := verb(&s.core.features, &own)
				if err != nil || n == 0 {
					return n, err
				}
				report(n, nil)
			}
		}
	case KindAccept:
		return func(bool) (int, error) {
			for {
				// A listening socket cannot be told for one call not to wait.
				if ready, err := unix.Poll([]unix.PollFd{{Fd: int32(op.FD), Events: unix.POLLIN}}, 0); err == nil && ready == 0 {
					return 0, unix.EAGAIN
				}
				n, err := verb(&s.core.features, op)
				if err != nil || op.Mask&Multishot == 0 {
					return n, err
				}
				report(n, nil)
			}
		}
	case KindSendZC, KindSendmsgZC:
		// Sent by copying: the count first, then that it was copied.
		return func(bool) (int, error) {
			n, err := whole(&s.core.features, verb, &own, total)
			if errors.Is(err, unix.EAGAIN) {
				return n, err
			}
			report(n, err)
			return 1, nil
		}
	default:
		return func(bool) (int, error) { return whole(&s.core.features, verb, &own, total) }
	}
}

// whole goes on with a transfer, to its end if it has MSG_WAITALL; what has been moved is cut off the op's buffers.
func whole(f *Features, verb func(f *Features, op *Op) (int, error), op *Op, total *int) (int, error) {
	all := op.Flags&unix.MSG_WAITALL != 0
	for {
		n, err := verb(f, op)
		*total += n
		switch {
		case errors.Is(err, unix.EAGAIN):
			return 0, err
		case err != nil && *total > 0:
			return *total, nil // the next one meets the error
		case err != nil || n == 0 || !all:
			return *total, err
		}
		if op.advance(n); op.empty() {
			return *total, nil
		}
	}
}

// advance cuts n bytes off the front of the op's buffers.
func (op *Op) advance(n int) {
	if op.Bufs == nil {
		op.Buf = op.Buf[n:]
		return
	}
	bufs := make([][]byte, 0, len(op.Bufs))
	for _, b := range op.Bufs {
		cut := min(n, len(b))
		n -= cut
		if cut < len(b) {
			bufs = append(bufs, b[cut:])
		}
	}
	op.Bufs = bufs
}

func (op *Op) empty() bool { return len(op.Buf) == 0 && len(op.Bufs) == 0 }
