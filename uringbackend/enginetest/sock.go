//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var sockCases = []Case{
	{"SendRecv", testSendRecv},
	{"RecvWaitAll", testRecvWaitAll},
	{"RecvCancelled", testRecvCancelled},
	{"Sendmsg", testSendmsg},
	{"SendWaits", testSendWaits},
	{"SendZC", testSendZC},
	{"SendZCFixed", testSendZCFixed},
	{"SendZCFails", testSendZCFails},
	{"RecvMulti", testRecvMulti},
	{"RecvMultiCancelled", testRecvMultiCancelled},
	{"Accept", testAccept},
	{"AcceptMultishot", testAcceptMultishot},
	{"Shutdown", testShutdown},
}

// unixPair is a connected pair of blocking stream sockets.
func unixPair(t *testing.T) (a, b int) {
	t.Helper()
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	return own(t, s[0]), own(t, s[1])
}

// tcp is a connected pair of blocking TCP sockets on the loopback.
func tcp(t *testing.T) (a, b int) {
	t.Helper()
	listener, addr := listen(t)
	a, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, a)
	require.NoError(t, unix.Connect(a, addr))
	b, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	return a, own(t, b)
}

// listen is a blocking socket that listens on the loopback.
func listen(t *testing.T) (fd int, addr *unix.SockaddrInet4) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}))
	require.NoError(t, unix.Listen(fd, 16))
	name, err := unix.Getsockname(fd)
	require.NoError(t, err)
	return fd, name.(*unix.SockaddrInet4)
}

func testSendRecv(t *testing.T, e uringbackend.Engine) {
	for name, pair := range map[string]func(*testing.T) (int, int){"unix": unixPair, "tcp": tcp} {
		a, b := pair(t)
		n, err := e.Send(background(), a, []byte("hello"), 0)
		require.NoError(t, err, name)
		assert.Equal(t, 5, n, name)
		buf := make([]byte, 16)
		n, err = e.Recv(background(), b, buf, 0)
		require.NoError(t, err, name)
		assert.Equal(t, "hello", string(buf[:n]), name)
		require.NoError(t, e.Shutdown(background(), a, unix.SHUT_WR))
		n, err = e.Recv(background(), b, buf, 0)
		require.NoError(t, err, name)
		assert.Zero(t, n, "%s: the end of the stream", name)
		_, err = e.Send(background(), a, []byte("late"), 0)
		assert.Equal(t, unix.EPIPE, err, "%s: and no SIGPIPE", name)
	}
	fd, _ := file(t, nil, unix.O_RDWR)
	_, err := e.Recv(background(), fd, make([]byte, 1), 0)
	assert.Equal(t, unix.ENOTSOCK, err)
	_, err = e.Send(background(), -1, []byte("x"), 0)
	assert.Equal(t, unix.EBADF, err)
}

// received is what a Recv on a goroutine of its own reports.
type received struct {
	n   int
	err error
}

func recv(ctx context.Context, e uringbackend.Engine, fd int, p []byte, flags int) chan received {
	c := make(chan received, 1)
	// ends when the receive does; waited by the receiver of c
	go func() {
		n, err := e.Recv(ctx, fd, p, flags)
		c <- received{n, err}
	}()
	return c
}

func waiting(t *testing.T, e uringbackend.Engine, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return e.Health().InFlight == n }, limit, time.Millisecond)
}

func testRecvWaitAll(t *testing.T, e uringbackend.Engine) {
	a, b := tcp(t)
	buf := make([]byte, 9)
	c := recv(background(), e, b, buf, unix.MSG_WAITALL)
	for _, part := range []string{"one", "two", "six"} {
		waiting(t, e, 1)
		_, err := unix.Write(a, []byte(part))
		require.NoError(t, err)
	}
	within(t, "MSG_WAITALL", func() { assert.Equal(t, received{9, nil}, <-c) })
	assert.Equal(t, "onetwosix", string(buf))

	c = recv(background(), e, b, buf, unix.MSG_WAITALL)
	_, err := unix.Write(a, []byte("end"))
	require.NoError(t, err)
	require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
	within(t, "MSG_WAITALL at the end", func() { assert.Equal(t, received{3, nil}, <-c) })
	assert.Equal(t, "end", string(buf[:3]))
}

// testRecvCancelled: what has come before an op is given up is reported, or still there.
func testRecvCancelled(t *testing.T, e uringbackend.Engine) {
	for _, flags := range []int{0, unix.MSG_WAITALL} {
		for i := range 200 {
			a, b := unixPair(t)
			ctx, cancel := context.WithCancel(background())
			buf := make([]byte, 8)
			c := recv(ctx, e, b, buf, flags)
			if i%2 == 0 {
				waiting(t, e, 1)
			}
			_, err := unix.Write(a, []byte("data"))
			require.NoError(t, err)
			cancel()
			var got received
			within(t, "cancelled receive", func() { got = <-c })
			if got.err != nil {
				require.Equal(t, unix.ECANCELED, got.err)
				got.n = 0
			}
			require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
			rest, err := io.ReadAll(reader(b))
			require.NoError(t, err)
			require.Equal(t, "data", string(buf[:got.n])+string(rest))
		}
	}
}

// reader reads a blocking descriptor by system calls.
type reader int

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	n, err := unix.Read(int(r), p)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

func testSendmsg(t *testing.T, e uringbackend.Engine) {
	a, b := tcp(t)
	n, err := e.Sendmsg(background(), a, [][]byte{[]byte("head"), nil, []byte("payload")}, unix.MSG_WAITALL)
	require.NoError(t, err)
	assert.Equal(t, 11, n)
	bufs := [][]byte{make([]byte, 4), make([]byte, 7)}
	n, err = e.Recvmsg(background(), b, bufs, unix.MSG_WAITALL)
	require.NoError(t, err)
	assert.Equal(t, 11, n)
	assert.Equal(t, "head", string(bufs[0]))
	assert.Equal(t, "payload", string(bufs[1]))
}

// testSendWaits: more than the socket's buffers hold, to a peer that reads later; given up half way, the count is true.
func testSendWaits(t *testing.T, e uringbackend.Engine) {
	a, b := unixPair(t)
	data := patterned(4 << 20)
	c := make(chan received, 1)
	send := func(ctx context.Context) {
		// ends when the send does; waited by the receive from c
		go func() {
			n, err := e.Send(ctx, a, data, unix.MSG_WAITALL)
			c <- received{n, err}
		}()
	}
	send(background())
	waiting(t, e, 1)
	got := make([]byte, len(data))
	_, err := io.ReadFull(reader(b), got)
	require.NoError(t, err)
	within(t, "send", func() { assert.Equal(t, received{len(data), nil}, <-c) })
	assert.True(t, bytes.Equal(data, got))

	ctx, cancel := context.WithCancel(background())
	send(ctx)
	waiting(t, e, 1)
	require.Eventually(t, func() bool { // the socket is full
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(a), Events: unix.POLLOUT}}, 0)
		return err == nil && n == 0
	}, limit, time.Millisecond)
	cancel()
	var sent received
	within(t, "cancelled send", func() { sent = <-c })
	require.NoError(t, sent.err)
	require.Positive(t, sent.n)
	require.Less(t, sent.n, len(data))
	require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
	rest, err := io.ReadAll(reader(b))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data[:sent.n], rest), "%d bytes came of %d that were said to be sent", len(rest), sent.n)
}

func testSendZC(t *testing.T, e uringbackend.Engine) {
	a, b := tcp(t)
	data := patterned(1 << 20)
	var released sync.WaitGroup
	var copied [2]bool
	got := make([]byte, len(data))
	for i := range copied {
		released.Add(1)
		over := make(chan received, 1)
		// ends when the send does; waited by the receive from over
		go func() {
			n, err := e.SendZC(background(), a, data, unix.MSG_WAITALL, nil, func(c bool) {
				copied[i] = c
				released.Done()
			})
			over <- received{n, err}
		}()
		_, err := io.ReadFull(reader(b), got)
		require.NoError(t, err)
		within(t, "zero-copy send", func() { assert.Equal(t, received{len(data), nil}, <-over) })
		within(t, "its second report", released.Wait)
		assert.True(t, bytes.Equal(data, got))
		clear(data) // it is ours again
		pattern(data, 0)
	}
	assert.Equal(t, [2]bool{true, true}, copied, "loopback copies, and so does an engine without the opcode")
}

// testSendZCFixed: a buffer of an arena goes back to it only after the second report.
func testSendZCFixed(t *testing.T, e uringbackend.Engine) {
	arena, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 64 << 10, Count: 1})
	require.NoError(t, err)
	defer func() { assert.NoError(t, arena.Close()) }()
	a, b := tcp(t)
	for i := range 4 {
		buf := arena.Get()
		require.NotNil(t, buf)
		pattern(buf.Bytes(), int64(i))
		released := make(chan struct{})
		n, err := e.SendZC(background(), a, buf.Bytes(), unix.MSG_WAITALL, arena, func(bool) {
			buf.Release()
			close(released)
		})
		require.NoError(t, err)
		assert.Equal(t, 64<<10, n)
		got, want := make([]byte, n), make([]byte, n)
		_, err = io.ReadFull(reader(b), got)
		require.NoError(t, err)
		pattern(want, int64(i))
		assert.True(t, bytes.Equal(want, got))
		within(t, "release", func() { <-released })
	}
}

func testSendZCFails(t *testing.T, e uringbackend.Engine) {
	released := make(chan struct{})
	_, err := e.SendZC(background(), -1, []byte("x"), 0, nil, func(copied bool) {
		assert.False(t, copied, "nothing was")
		close(released)
	})
	assert.Equal(t, unix.EBADF, err)
	within(t, "release after an error", func() { <-released })
}

// multi consumes a multishot receive until the stream ends, asking again when it ends for want of buffers.
func multi(ctx context.Context, e uringbackend.Engine, fd int, b *uringbackend.BufRing, into *bytes.Buffer) error {
	for {
		type report struct {
			n    int
			more bool
			err  error
		}
		reports := make(chan report, 1<<12)
		e.RecvMulti(ctx, fd, b, func(n int, more bool, err error) { reports <- report{n, more, err} })
		for more := true; more; {
			r := <-reports
			for seg, ok := b.Next(); ok; seg, ok = b.Next() {
				into.Write(seg)
				b.Consume(len(seg))
			}
			if more = r.more; more {
				continue
			}
			switch {
			case r.err != nil && !errors.Is(r.err, unix.ENOBUFS):
				return r.err
			case r.err == nil && r.n == 0:
				return nil
			}
		}
	}
}

func testRecvMulti(t *testing.T, e uringbackend.Engine) {
	for _, cfg := range []uringbackend.BufRingConfig{{Size: 64, Count: 4}, {Size: 4096, Count: 16}} {
		a, b := tcp(t)
		ring, err := uringbackend.NewBufRing(cfg)
		require.NoError(t, err)
		data := patterned(300_000)
		// ends when all is written; waited by the end of the stream
		go func() {
			for left := data; len(left) > 0; {
				n := min(1+len(left)%977, len(left))
				m, err := unix.Write(a, left[:n])
				if err != nil {
					return // the receiver's check fails
				}
				left = left[m:]
			}
			_ = unix.Shutdown(a, unix.SHUT_WR)
		}()
		var got bytes.Buffer
		within(t, "multishot receive", func() { err = multi(background(), e, b, ring, &got) })
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got.Bytes()), "%d bytes of %d", got.Len(), len(data))
		ring.Close()
	}
	ring, err := uringbackend.NewBufRing(uringbackend.BufRingConfig{Size: 64, Count: 4})
	require.NoError(t, err)
	defer ring.Close()
	failed := make(chan error, 1)
	e.RecvMulti(background(), -1, ring, func(_ int, more bool, err error) {
		assert.False(t, more)
		failed <- err
	})
	within(t, "receive from nothing", func() { assert.Equal(t, unix.EBADF, <-failed) })
}

// testRecvMultiCancelled: given up at any moment, no byte is lost: it is in the buffers or in the socket.
func testRecvMultiCancelled(t *testing.T, e uringbackend.Engine) {
	for i := range 100 {
		a, b := unixPair(t)
		ring, err := uringbackend.NewBufRing(uringbackend.BufRingConfig{Size: 16, Count: 4})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(background())
		if i%2 == 0 {
			cancel()
		}
		// ends when it has written; waited by the end of the stream
		go func() {
			_, _ = unix.Write(a, []byte("some data"))
			cancel()
			_ = unix.Shutdown(a, unix.SHUT_WR)
		}()
		var got bytes.Buffer
		within(t, "cancelled multishot receive", func() { err = multi(ctx, e, b, ring, &got) })
		if err != nil {
			require.Equal(t, unix.ECANCELED, err)
		}
		rest, err := io.ReadAll(reader(b))
		require.NoError(t, err)
		require.Equal(t, "some data", got.String()+string(rest))
		ring.Close()
		cancel()
	}
}

func testAccept(t *testing.T, e uringbackend.Engine) {
	listener, addr := listen(t)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, client)
	require.NoError(t, unix.Connect(client, addr))
	fd, err := e.Accept(background(), listener)
	require.NoError(t, err)
	own(t, fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	require.NoError(t, err)
	assert.Zero(t, flags&unix.O_NONBLOCK)
	cloexec, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.Equal(t, unix.FD_CLOEXEC, cloexec)

	ctx, cancel := context.WithTimeout(background(), 10*time.Millisecond)
	defer cancel()
	_, err = e.Accept(ctx, listener)
	assert.Equal(t, unix.ECANCELED, err)
}

func testAcceptMultishot(t *testing.T, e uringbackend.Engine) {
	listener, addr := listen(t)
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	accepted, over := make(chan int, 16), make(chan error, 1)
	e.Submit(ctx, []uringbackend.Op{{Kind: uringbackend.KindAccept, Unbounded: true, FD: listener, Mask: uringbackend.Multishot}},
		func(_, n int, more bool, err error) {
			if more {
				accepted <- n
				return
			}
			over <- err
		})
	for range 5 {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		own(t, client)
		require.NoError(t, unix.Connect(client, addr))
		within(t, "accept", func() { own(t, <-accepted) })
	}
	cancel()
	within(t, "cancelled accept", func() { assert.Equal(t, unix.ECANCELED, <-over) })
}

func testShutdown(t *testing.T, e uringbackend.Engine) {
	_, b := tcp(t)
	c := recv(background(), e, b, make([]byte, 1), 0)
	waiting(t, e, 1)
	require.NoError(t, e.Shutdown(background(), b, unix.SHUT_RDWR))
	within(t, "receive from a socket that was shut down", func() { assert.Equal(t, received{0, nil}, <-c) })
	assert.Equal(t, unix.EBADF, e.Shutdown(background(), -1, unix.SHUT_RDWR))
}
