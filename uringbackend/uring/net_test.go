//go:build linux

package uring_test

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

const group = 7

// provide registers count buffers of size bytes with ids from 0, and gives all to the kernel.
func provide(t *testing.T, r *uring.Ring, count, size int, flags uint16) (*uring.PbufRing, []byte) {
	t.Helper()
	p, err := r.RegisterPbufRing(group, uint32(count), flags)
	since := "5.19"
	if flags&uring.PbufRingInc != 0 {
		since = "6.12"
	}
	need(t, err, since)
	b := mem(t, count*size)
	for i := range count {
		p.Add(unsafe.Pointer(&b[i*size]), uint32(size), uint16(i))
	}
	p.Advance()
	return p, b
}

func recvMulti(fd int, bundle uint16) uring.SQE {
	return uring.SQE{
		Opcode: uring.OpRecv, Flags: uring.SQEBufferSelect, IOPrio: uring.RecvMultishot | bundle, FD: int32(fd), BufIndex: group,
		UserData: stream,
	}
}

func TestPbufRing(t *testing.T) {
	r := open(t, 4, 0)
	for _, bad := range []uint32{0, 3, 65536} {
		_, err := r.RegisterPbufRing(group, bad, 0)
		require.ErrorIs(t, err, unix.EINVAL)
	}
	_, err := r.RegisterPbufRing(group, 4, uring.PbufRingMmap)
	require.ErrorIs(t, err, unix.EINVAL)
	p, err := r.RegisterPbufRing(group, uring.MaxPbufs, 0)
	need(t, err, "5.19")
	_, err = r.RegisterPbufRing(group, 4, 0)
	require.ErrorIs(t, err, unix.EEXIST)
	assert.Equal(t, uring.MaxPbufs, p.Len())
	assert.EqualValues(t, group, p.Group())
	require.NoError(t, r.UnregisterPbufRing(p))
	require.Error(t, r.UnregisterPbufRing(p), "gone")
}

// TestPbufWrapsAround: single receives, more than 65536 of them, with every id passing through the first place, which
// shares a word with the tail.
func TestPbufWrapsAround(t *testing.T) {
	r := open(t, 4, 0)
	a, b := socketpair(t)
	const size = 8
	p, buf := provide(t, r, 4, size, 0)
	out := []byte("12345678")
	used := 0
	const rounds = 1<<16 + 100
	for i := range rounds {
		n, err := unix.Write(b, out[:1+i%size])
		require.NoError(t, err)
		push(t, r, uring.SQE{Opcode: uring.OpRecv, Flags: uring.SQEBufferSelect, FD: int32(a), BufIndex: group, Len: size})
		_, e := r.Enter(1, uring.EnterGetEvents)
		require.Zero(t, e)
		c := next(t, r)
		id, ok := c.Buffer()
		if int(c.Res) != n || !ok || !bytes.Equal(buf[int(id)*size:][:n], out[:n]) {
			t.Fatalf("round %d: %+v", i, c)
		}
		// Give back three at a time, so that the ids wander over the places.
		if used++; used == 3 || i == rounds-1 {
			used = 0
			head, err := r.PbufHead(p)
			need(t, err, "6.8")
			require.Equal(t, uint16(i+1), head)
		}
		p.Add(unsafe.Pointer(&buf[int(id)*size]), size, id)
		if used == 0 {
			p.Advance()
		}
	}
	require.Equal(t, uint16((rounds+4)%65536), p.Tail())
}

func TestRecvMultishot(t *testing.T) {
	r := open(t, 4, 0)
	a, b := socketpair(t)
	p, buf := provide(t, r, 4, 16, 0)
	ops, err := uring.ProbeOpcodes(r.FD())
	require.NoError(t, err)
	submit(t, r, recvMulti(a, 0))
	for _, text := range []string{"one", "two", "three", "four"} {
		write(t, b, text)
		c := next(t, r)
		if c.Res == errno(unix.EINVAL) && !ops.Has(uring.OpSendZC) {
			need(t, unix.EINVAL, "6.0")
		}
		id, ok := c.Buffer()
		require.True(t, ok)
		require.True(t, c.More())
		require.EqualValues(t, len(text), c.Res)
		assert.Equal(t, text, string(buf[int(id)*16:][:c.Res]))
	}
	// No buffer is left: that ends it, and the data stays in the socket.
	write(t, b, "five")
	c := next(t, r)
	assert.Equal(t, errno(unix.ENOBUFS), c.Res)
	assert.False(t, c.More())
	p.Add(unsafe.Pointer(&buf[0]), 16, 0)
	p.Advance()
	submit(t, r, recvMulti(a, 0))
	c = next(t, r)
	require.EqualValues(t, 4, c.Res)
	assert.Equal(t, "five", string(buf[:4]))
	p.Add(unsafe.Pointer(&buf[0]), 16, 0)
	p.Advance()
	require.NoError(t, unix.Shutdown(b, unix.SHUT_WR))
	c = next(t, r)
	assert.Zero(t, c.Res, "the end")
	assert.False(t, c.More())
}

// TestRecvBundle: one completion for several buffers that follow each other.
func TestRecvBundle(t *testing.T) {
	r := open(t, 4, 0)
	if r.Features()&uring.FeatRecvSendBundle == 0 {
		need(t, unix.EINVAL, "6.10")
	}
	a, b := socketpair(t)
	p, buf := provide(t, r, 8, 16, 0)
	text := strings.Repeat("0123456789abcdef", 3) + "tail"
	write(t, b, text)
	submit(t, r, recvMulti(a, uring.RecvSendBundle))
	got := 0
	for got < len(text) {
		c := next(t, r)
		require.Positive(t, c.Res)
		id, ok := c.Buffer()
		require.True(t, ok)
		require.Equal(t, text[got:got+int(c.Res)], string(buf[int(id)*16:][:c.Res]))
		got += int(c.Res)
	}
	head, err := r.PbufHead(p)
	need(t, err, "6.8")
	assert.EqualValues(t, 4, head, "buffers used")
	require.Zero(t, r.Ready())
}

// TestRecvIncremental: a large buffer is used bit by bit.
func TestRecvIncremental(t *testing.T) {
	r := open(t, 4, 0)
	a, b := socketpair(t)
	_, buf := provide(t, r, 1, 64, uring.PbufRingInc)
	submit(t, r, recvMulti(a, 0))
	at := 0
	for _, text := range []string{"first", "second"} {
		write(t, b, text)
		c := next(t, r)
		id, ok := c.Buffer()
		require.True(t, ok)
		require.Zero(t, id)
		require.NotZero(t, c.Flags&uring.CQEBufMore)
		require.Equal(t, text, string(buf[at:at+int(c.Res)]))
		at += int(c.Res)
	}
}

// TestSendZC: two completions; the second says that the memory is free and, as asked, whether the kernel copied. Loopback
// always copies.
func TestSendZC(t *testing.T) {
	r := open(t, 4, 0)
	ops, err := uring.ProbeOpcodes(r.FD())
	require.NoError(t, err)
	if !ops.Has(uring.OpSendZC) {
		need(t, unix.EINVAL, "6.0")
	}
	need(t, r.RegisterBufferTable(1), "5.19")
	b := mem(t, 16384)
	copy(b, bytes.Repeat([]byte("zero copy "), 1638))
	_, err = r.UpdateBuffers(0, []unix.Iovec{iovec(b)}, nil)
	require.NoError(t, err)

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	peer, err := l.Accept()
	require.NoError(t, err)
	defer func() { require.NoError(t, peer.Close()) }()
	f, err := conn.(*net.TCPConn).File()
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	defer func() { require.NoError(t, f.Close()) }()

	for name, fixed := range map[string]uint16{"plain": 0, "fixed": uring.RecvSendFixedBuf} {
		t.Run(name, func(t *testing.T) {
			submit(t, r, uring.SQE{
				Opcode: uring.OpSendZC, FD: int32(f.Fd()), Addr: addr(b), Len: uint32(len(b)), OpFlags: unix.MSG_WAITALL,
				IOPrio: uring.SendZCReportUsage | fixed, UserData: 3,
			})
			first := next(t, r)
			require.Equal(t, uring.CQE{UserData: 3, Res: int32(len(b)), Flags: uring.CQEMore}, first)
			got := make([]byte, len(b))
			for n := 0; n < len(got); {
				k, err := peer.Read(got[n:])
				require.NoError(t, err)
				n += k
			}
			require.True(t, bytes.Equal(b, got))
			second := next(t, r)
			assert.EqualValues(t, 3, second.UserData)
			assert.Equal(t, uring.CQENotif, second.Flags)
			assert.Equal(t, uring.NotifUsageZCCopied, uint32(second.Res))
		})
	}
	// A send that fails may have a second completion too; CQEMore decides, not the result.
	submit(t, r, uring.SQE{Opcode: uring.OpSendZC, FD: -1, Addr: addr(b), Len: 1, UserData: 4})
	c := next(t, r)
	assert.Equal(t, errno(unix.EBADF), c.Res)
	if c.More() {
		assert.Equal(t, uring.CQENotif, next(t, r).Flags)
	}
	quiet(t, r)
}
