//go:build linux

package racelab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reading is one look at the two ends of a connection, in bytes. Expected is the
// length of the whole reply, framing and header included; 0 as long as its head is
// not there to tell.
type Reading struct {
	FIONREAD int `json:"fionread"` // in the client's receive queue, not yet read
	SIOCOUTQ int `json:"siocoutq"` // in the server's send queue, not yet acknowledged
	Expected int `json:"expected"`
	// Handed is what the server has handed to the kernel since the request; -1 where
	// the kernel does not tell.
	Handed int `json:"handed"`
}

// Proof is what the kernel said just before and just after the mutation.
type Proof struct {
	Before Reading `json:"before"`
	After  Reading `json:"after"`
	Open   bool    `json:"open"` // both satisfy the window's predicate
}

// open is the window's predicate.
//
// In the receiver's queue every byte of the reply is on the client's side and
// acknowledged. In the sender's queue something is not, and the server has handed
// over the whole reply, so that nothing is left in its memory or pipe. Bytes that
// were received and not yet acknowledged count in both queues, so their sum alone
// is no proof; it must do where the kernel does not tell more.
func (w Window) open(r Reading) bool {
	if r.Expected == 0 {
		return false // the head of the reply has not arrived
	}
	switch w {
	case WindowReceiver:
		return r.FIONREAD == r.Expected && r.SIOCOUTQ == 0
	case WindowSender:
		if r.Handed < 0 {
			return r.SIOCOUTQ > 0 && r.FIONREAD+r.SIOCOUTQ == r.Expected
		}
		return r.SIOCOUTQ > 0 && r.Handed == r.Expected
	default:
		return false
	}
}

// receiveBuffer is the SO_RCVBUF that opens the window: room for any reply with
// the kernel's overhead, or as little as there is.
func (w Window) receiveBuffer() int {
	if w == WindowSender {
		return 4096
	}
	return 8 * MaxSize
}

const (
	// windowWait bounds how long a window may take to open. A delayed
	// acknowledgement takes 40 ms, a loaded machine more.
	windowWait = time.Second
	// windowPoll is the time between two looks.
	windowPoll = 200 * time.Microsecond
)

// await looks at the connection until the window is open. Without an error the
// reading satisfies the predicate; errWindow carries the last one that did not.
func (w Window) await(ctx context.Context, look func() (Reading, error)) (Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, windowWait)
	defer cancel()
	tick := time.NewTicker(windowPoll)
	defer tick.Stop()
	for {
		r, err := look()
		if err != nil {
			return r, err
		}
		if w.open(r) {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("%w: %d B in client's queue, %d unsent, of %d", errWindow, r.FIONREAD, r.SIOCOUTQ, r.Expected)
		case <-tick.C:
		}
	}
}

var errWindow = errors.New("window not open")

// wire is a TCP connection under observation.
type wire struct {
	conn          *net.TCPConn
	local, remote netip.AddrPort // as the client sees them
	diag          *sockDiag      // borrowed
	written       uint64         // by the server when mark was called
}

// mark makes this moment, at which nothing is in flight, the one since which
// [Reading.Handed] counts.
func (w *wire) mark() error {
	q, err := w.diag.queues(w.remote, w.local)
	w.written = q.written
	return err
}

// dialWire connects to addr with SO_RCVBUF set before the handshake, because the
// window scale is fixed by then. 0 leaves the kernel's default.
func dialWire(ctx context.Context, addr string, receiveBuffer int, diag *sockDiag) (*wire, error) {
	dialer := net.Dialer{}
	if receiveBuffer > 0 {
		dialer.ControlContext = func(_ context.Context, _, _ string, c syscall.RawConn) error {
			return setReceiveBuffer(c, receiveBuffer)
		}
	}
	conn, err := dialer.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the target: %w", err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to the target: %T is no TCP connection", conn), conn.Close())
	}
	return &wire{
		conn:   tcp,
		local:  unmapped(tcp.LocalAddr()),
		remote: unmapped(tcp.RemoteAddr()),
		diag:   diag,
	}, nil
}

func unmapped(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// look reads both queues. framing says how long the whole reply is, from the
// bytes at the head of the client's queue; they stay there.
//
// Bytes only ever move from the server's queue to the client's, so the server's is
// read first: what moves in between counts twice, and nothing is missed.
func (w *wire) look(framing func(head []byte) (int, error)) (Reading, error) {
	r := Reading{Handed: -1}
	q, err := w.diag.queues(w.remote, w.local)
	if err != nil {
		return r, err
	}
	r.SIOCOUTQ = q.send
	if q.written > 0 {
		r.Handed = int(q.written - w.written) // #nosec G115 -- one reply
	}
	head := make([]byte, replyHead)
	err = w.control(func(fd int) error {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil {
			return fmt.Errorf("FIONREAD: %w", err)
		}
		r.FIONREAD = n
		if n < len(head) {
			head = nil
			return nil
		}
		// Peeking copies the header only: the payload's pages stay by reference.
		if n, _, err = unix.Recvfrom(fd, head, unix.MSG_PEEK|unix.MSG_DONTWAIT); err != nil {
			return fmt.Errorf("peek at the reply: %w", err)
		}
		head = head[:n]
		return nil
	})
	if err != nil || head == nil {
		return r, err
	}
	r.Expected, err = framing(head)
	return r, err
}

// widen gives a client with a narrow window room to receive at full speed.
func (w *wire) widen() error {
	return w.control(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, WindowReceiver.receiveBuffer())
	})
}

// control runs f on the socket without receiving from it.
func (w *wire) control(f func(fd int) error) error {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return inner
}

// setReceiveBuffer asks for size bytes, beyond net.core.rmem_max where allowed.
func setReceiveBuffer(c syscall.RawConn, size int) error {
	var inner error
	err := c.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return fmt.Errorf("SO_RCVBUF: %w", err)
	}
	return nil
}
