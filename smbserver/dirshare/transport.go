//go:build linux

package dirshare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// Transport is for smbserver.Config: a TCP connection gains the ability to send a payload by reference. Other
// connections are returned as they are.
func (s *Share) Transport(c net.Conn) smbserver.Transport {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	return &tcp{TCPConn: t, engine: s.engine}
}

// tcp is a TCP connection that can send pipes.
type tcp struct {
	*net.TCPConn
	engine uringbackend.Engine
}

var _ smbserver.PayloadSender = (*tcp)(nil)

// SendPayload implements smbserver.PayloadSender: the header with MSG_MORE, then each pipe spliced into the socket.
// Waiting is the Go netpoller's, so the connection's write deadline counts and no thread blocks.
func (t *tcp) SendPayload(ctx context.Context, header []byte, p smbserver.Payload) error {
	own, ok := p.(*payload)
	if !ok {
		return fmt.Errorf("payload of another share: %w", unix.EINVAL)
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	more := 0
	if own.n > 0 {
		more = unix.MSG_MORE
	}
	var failure error
	err = raw.Write(func(fd uintptr) bool {
		for len(header) > 0 {
			n, err := unix.SendmsgN(int(fd), header, nil, nil, more|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case errors.Is(err, unix.EINTR):
			case err != nil:
				failure = fmt.Errorf("send header: %w", err)
				return true
			default:
				header = header[n:]
			}
		}
		return true
	})
	if err = errors.Join(err, failure); err != nil {
		return err
	}
	left := own.n
	for _, q := range own.pipes {
		for q.held > 0 {
			n, err := t.drain(ctx, raw, q, left > q.held)
			if err != nil {
				return fmt.Errorf("splice to the socket: %w", err)
			}
			left -= n
		}
	}
	return nil
}

// maxInterrupted bounds how often a splice is tried again.
const maxInterrupted = 64

// drain moves what one splice can from q to the socket, waiting until it takes something.
func (t *tcp) drain(ctx context.Context, raw syscall.RawConn, q *pipe, more bool) (n int, err error) {
	flags := unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE
	if more {
		flags |= unix.SPLICE_F_MORE
	}
	werr := raw.Write(func(fd uintptr) bool {
		for try := 0; ; try++ {
			n, err = t.engine.Splice(ctx, uringbackend.FileRange{FD: q.r.Num(), Offset: -1},
				uringbackend.FileRange{FD: int(fd), Offset: -1}, int64(q.held), flags, false)
			if !errors.Is(err, unix.EINTR) || try == maxInterrupted {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if werr != nil {
		return 0, werr
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF // the pipe holds less than was put into it
	}
	if err != nil {
		return 0, err
	}
	q.held -= n
	return n, nil
}
