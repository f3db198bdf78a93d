//go:build linux

package uring_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// has skips on a kernel older than since without the opcode.
func has(t *testing.T, r *uring.Ring, op uring.Opcode, since string) {
	t.Helper()
	ops, err := uring.ProbeOpcodes(r.FD())
	require.NoError(t, err)
	if !ops.Has(op) {
		need(t, unix.EINVAL, since)
	}
}

func TestMsgRing(t *testing.T) {
	from, to := open(t, 4, 0), open(t, 4, 0)
	has(t, from, uring.OpMsgRing, "5.18")
	msg := func(kind uint64, s uring.SQE) uring.SQE {
		s.Opcode, s.FD, s.Addr, s.UserData = uring.OpMsgRing, int32(to.FD()), kind, 1
		return s
	}
	submit(t, from, msg(uring.MsgData, uring.SQE{Len: 55, Off: 66}))
	assert.Equal(t, map[uint64]int32{1: 0}, collect(t, from, 1))
	assert.Equal(t, uring.CQE{UserData: 66, Res: 55}, next(t, to))
	submit(t, from, msg(uring.MsgData, uring.SQE{Off: 67, OpFlags: uring.MsgRingFlagsPass, FileIndex: 1 << 9}))
	assert.Equal(t, map[uint64]int32{1: 0}, collect(t, from, 1))
	assert.Equal(t, uring.CQE{UserData: 67, Flags: 1 << 9}, next(t, to))

	// A file out of one table into the other.
	need(t, from.RegisterFileTable(2), "5.19")
	need(t, to.RegisterFileTable(4), "5.19")
	fd, _ := file(t, "sent over")
	_, err := from.UpdateFiles(1, []int32{int32(fd)})
	require.NoError(t, err)
	submit(t, from, msg(uring.MsgSendFD, uring.SQE{Addr3: 1, FileIndex: 3 + 1, OpFlags: uring.MsgRingCQESkip}))
	assert.Equal(t, map[uint64]int32{1: 0}, collect(t, from, 1))
	assert.Zero(t, to.Ready())
	b := mem(t, 16)
	submit(t, to, uring.SQE{Opcode: uring.OpRead, Flags: uring.SQEFixedFile, FD: 3, Addr: addr(b), Len: 9})
	require.EqualValues(t, 9, next(t, to).Res)
	assert.Equal(t, "sent over", string(b[:9]))
}

func TestFixedFDInstall(t *testing.T) {
	r := open(t, 4, 0)
	has(t, r, uring.OpFixedFDInstall, "6.8")
	fd, _ := file(t, "x")
	require.NoError(t, r.RegisterFileTable(2))
	_, err := r.UpdateFiles(0, []int32{int32(fd)})
	require.NoError(t, err)
	for flags, cloexec := range map[uint32]int{0: unix.FD_CLOEXEC, uring.FixedFDNoCloexec: 0} {
		submit(t, r, uring.SQE{Opcode: uring.OpFixedFDInstall, Flags: uring.SQEFixedFile, OpFlags: flags})
		c := next(t, r)
		require.Positive(t, c.Res)
		got, err := unix.FcntlInt(uintptr(c.Res), unix.F_GETFD, 0)
		require.NoError(t, err)
		assert.Equal(t, cloexec, got)
		require.NoError(t, unix.Close(int(c.Res)))
	}
}

func TestSkippedCompletions(t *testing.T) {
	r := open(t, 4, 0)
	if r.Features()&uring.FeatCQESkip == 0 {
		need(t, unix.EINVAL, "5.17")
	}
	s := nop(1)
	s.Flags = uring.SQECQESkip
	submit(t, r, s, uring.SQE{Opcode: uring.OpClose, FD: -1, Flags: uring.SQECQESkip, UserData: 2}, nop(3))
	assert.Equal(t, map[uint64]int32{2: errno(unix.EBADF), 3: 0}, collect(t, r, 2), "success is silent, failure is not")
	quiet(t, r)
}

func TestNopInjectsResult(t *testing.T) {
	r := open(t, 4, 0)
	s := nop(1)
	s.OpFlags, s.Len = uring.NopInjectResult, 42
	submit(t, r, s)
	c := next(t, r)
	if c.Res == errno(unix.EINVAL) || c.Res == 0 { // before 6.10 the flags are not looked at
		need(t, unix.EINVAL, "6.10")
	}
	assert.EqualValues(t, 42, c.Res)
}

func TestTimeoutFlags(t *testing.T) {
	r := open(t, 8, 0)
	timeout := func(d time.Duration, flags uint32, data uint64) uring.SQE {
		return uring.SQE{Opcode: uring.OpTimeout, FD: -1, Addr: timespec(t, d), Len: 1, OpFlags: flags, UserData: data}
	}
	// A new time for one that runs.
	submit(t, r, timeout(time.Hour, 0, 1))
	submit(t, r, uring.SQE{
		Opcode: uring.OpTimeoutRemove, FD: -1, Addr: 1, Off: timespec(t, time.Millisecond), OpFlags: uring.TimeoutUpdate, UserData: 2,
	})
	assert.Equal(t, map[uint64]int32{1: errno(unix.ETIME), 2: 0}, collect(t, r, 2))

	// A point in time, and the chain goes on.
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	at := time.Duration(now.Nano()) + time.Millisecond
	submit(t, r, linked(timeout(at, uring.TimeoutAbs|uring.TimeoutETimeSuccess, 3)), nop(4))
	assert.Equal(t, map[uint64]int32{3: errno(unix.ETIME), 4: 0}, collect(t, r, 2))
	submit(t, r, linked(timeout(time.Millisecond, 0, 5)), nop(6))
	assert.Equal(t, map[uint64]int32{5: errno(unix.ETIME), 6: errno(unix.ECANCELED)}, collect(t, r, 2))

	// Three times.
	s := timeout(time.Millisecond, uring.TimeoutMultishot, 7)
	s.Off = 3
	submit(t, r, s)
	for left := 2; left >= 0; left-- {
		c := next(t, r)
		if c.Res == errno(unix.EINVAL) {
			need(t, unix.EINVAL, "6.4")
		}
		require.Equal(t, errno(unix.ETIME), c.Res)
		require.Equal(t, left > 0, c.More())
	}

	// A new time for a link's timeout.
	a, _ := socketpair(t)
	link := timeout(time.Hour, 0, 9)
	link.Opcode = uring.OpLinkTimeout
	submit(t, r, linked(recv(a, mem(t, 8), 8)), link)
	submit(t, r, uring.SQE{
		Opcode: uring.OpTimeoutRemove, FD: -1, Addr: 9, Off: timespec(t, time.Millisecond), OpFlags: uring.TimeoutUpdate | uring.TimeoutLinkUpdate, UserData: 10,
	})
	assert.Equal(t, map[uint64]int32{8: errno(unix.ECANCELED), 9: errno(unix.ETIME), 10: 0}, collect(t, r, 3))
}

func TestCancelFlags(t *testing.T) {
	r := open(t, 16, 0)
	need(t, r.RegisterFileTable(4), "5.19")
	a, _ := socketpair(t)
	_, err := r.UpdateFiles(2, []int32{int32(a)})
	require.NoError(t, err)
	buf, stop := mem(t, 8), errno(unix.ECANCELED)
	fixed := recv(2, buf, 1)
	fixed.Flags = uring.SQEFixedFile
	arm := func() {
		t.Helper()
		submit(t, r, fixed, recv(a, buf, 2), pollAdd(a, unix.POLLIN, 0))
	}

	arm()
	submit(t, r, cancel(9, uring.CancelFD|uring.CancelFDFixed|uring.CancelAll, 2, 0))
	// Both names stand for one file, and it is the file that is compared.
	assert.Equal(t, map[uint64]int32{9: 3, 1: stop, 2: stop, poll: stop}, collect(t, r, 4))

	arm()
	op := cancel(9, uring.CancelOp|uring.CancelAll, -1, 0)
	op.Len = uint32(uring.OpPollAdd)
	submit(t, r, op)
	c := next(t, r)
	if c.Res == errno(unix.EINVAL) {
		need(t, unix.EINVAL, "6.6")
	}
	got := collect(t, r, 1)
	got[c.UserData] = c.Res
	assert.Equal(t, map[uint64]int32{9: 1, poll: stop}, got)
	submit(t, r, cancel(9, uring.CancelFD|uring.CancelUserData|uring.CancelAll, a, 2))
	assert.Equal(t, map[uint64]int32{9: 1, 2: stop}, collect(t, r, 2))
	submit(t, r, cancel(9, uring.CancelAny|uring.CancelAll, -1, 0))
	assert.Equal(t, map[uint64]int32{9: 1, 1: stop}, collect(t, r, 2))
	quiet(t, r)
}

func TestAcceptMultishot(t *testing.T) {
	r := open(t, 4, 0)
	need(t, r.RegisterFileTable(3), "5.19")
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(l)) }()
	require.NoError(t, unix.Bind(l, &unix.SockaddrUnix{})) // a name of the kernel's choice
	require.NoError(t, unix.Listen(l, 8))
	name, err := unix.Getsockname(l)
	require.NoError(t, err)
	submit(t, r, uring.SQE{
		Opcode: uring.OpAccept, FD: int32(l), IOPrio: uring.AcceptMultishot, FileIndex: uring.FileIndexAlloc, UserData: stream,
	})
	b := mem(t, 8)
	for want := range int32(3) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, unix.Close(fd)) }()
		require.NoError(t, unix.Connect(fd, name))
		c := next(t, r)
		require.Equal(t, want, c.Res)
		require.True(t, c.More())
		write(t, fd, "hi")
		s := recv(int(want), b, 5)
		s.Flags = uring.SQEFixedFile
		submit(t, r, s)
		require.EqualValues(t, 2, next(t, r).Res)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	require.NoError(t, unix.Connect(fd, name))
	c := next(t, r)
	assert.Equal(t, errno(unix.ENFILE), c.Res, "the table is full")
	assert.False(t, c.More())
}

func TestRecvmsgMultishot(t *testing.T) {
	r := open(t, 4, 0)
	has(t, r, uring.OpSendZC, "6.0") // of the same release
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(p[0])) }()
	defer func() { require.NoError(t, unix.Close(p[1])) }()
	_, buf := provide(t, r, 2, 128, 0)
	m := mem(t, int(unsafe.Sizeof(unix.Msghdr{})))
	msg := (*unix.Msghdr)(unsafe.Pointer(&m[0]))
	msg.Namelen = 8
	s := recvMulti(p[0], 0)
	s.Opcode, s.Addr, s.Len = uring.OpRecvmsg, addr(m), 1
	submit(t, r, s)
	for i, text := range []string{"first", "second one"} {
		write(t, p[1], text)
		c := next(t, r)
		id, ok := c.Buffer()
		require.True(t, ok)
		require.EqualValues(t, i, id)
		head := int(unsafe.Sizeof(uring.RecvmsgOut{})) + int(msg.Namelen)
		require.EqualValues(t, head+len(text), c.Res)
		at := int(id) * 128
		out := *(*uring.RecvmsgOut)(unsafe.Pointer(&buf[at]))
		assert.Equal(t, uring.RecvmsgOut{PayloadLen: uint32(len(text))}, out)
		assert.Equal(t, text, string(buf[at+head:][:len(text)]))
	}
}

// TestSpliceFromTable: SpliceFDInFixed takes the source from the file table.
func TestSpliceFromTable(t *testing.T) {
	r := open(t, 4, 0)
	need(t, r.RegisterFileTable(2), "5.19")
	fd, _ := file(t, "through a pipe")
	_, err := r.UpdateFiles(1, []int32{int32(fd)})
	require.NoError(t, err)
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	defer func() { require.NoError(t, unix.Close(p[0])) }()
	defer func() { require.NoError(t, unix.Close(p[1])) }()
	submit(t, r, uring.SQE{
		Opcode: uring.OpSplice, FD: int32(p[1]), Off: ^uint64(0), FileIndex: 1, Addr: 8, Len: 100, OpFlags: uring.SpliceFDInFixed,
	})
	require.EqualValues(t, 6, next(t, r).Res)
	var b [16]byte
	n, err := unix.Read(p[0], b[:])
	require.NoError(t, err)
	assert.Equal(t, "a pipe", "a "+string(b[2:n]))
}
