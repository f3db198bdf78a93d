//go:build linux

package uring_test

import (
	"maps"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

func recv(fd int, b []byte, data uint64) uring.SQE {
	return uring.SQE{Opcode: uring.OpRecv, FD: int32(fd), Addr: addr(b), Len: uint32(len(b)), UserData: data}
}

func linked(s uring.SQE) uring.SQE {
	s.Flags |= uring.SQEIOLink
	return s
}

func timespec(t *testing.T, d time.Duration) uint64 {
	t.Helper()
	m := mem(t, int(unsafe.Sizeof(uring.Timespec{})))
	*(*uring.Timespec)(unsafe.Pointer(&m[0])) = uring.TimespecOf(d)
	return addr(m)
}

// TestLinks: the failure of one cancels the rest of its chain and nothing behind it; a hard link goes on.
func TestLinks(t *testing.T) {
	bad := func(data uint64) uring.SQE { return uring.SQE{Opcode: uring.OpClose, FD: -1, UserData: data} }
	hard := func(s uring.SQE) uring.SQE { s.Flags |= uring.SQEIOHardlink; return s }
	cancelled, ebadf := errno(unix.ECANCELED), errno(unix.EBADF)
	for name, c := range map[string]struct {
		sqes []uring.SQE
		want map[uint64]int32
	}{
		"all succeed":        {[]uring.SQE{linked(nop(1)), linked(nop(2)), nop(3), nop(4)}, map[uint64]int32{1: 0, 2: 0, 3: 0, 4: 0}},
		"the first fails":    {[]uring.SQE{linked(bad(1)), linked(nop(2)), nop(3), nop(4)}, map[uint64]int32{1: ebadf, 2: cancelled, 3: cancelled, 4: 0}},
		"one amid fails":     {[]uring.SQE{linked(nop(1)), linked(bad(2)), nop(3), nop(4)}, map[uint64]int32{1: 0, 2: ebadf, 3: cancelled, 4: 0}},
		"hard links":         {[]uring.SQE{hard(bad(1)), hard(nop(2)), nop(3), nop(4)}, map[uint64]int32{1: ebadf, 2: 0, 3: 0, 4: 0}},
		"two chains":         {[]uring.SQE{linked(bad(1)), nop(2), linked(nop(3)), nop(4)}, map[uint64]int32{1: ebadf, 2: cancelled, 3: 0, 4: 0}},
		"the end of a batch": {[]uring.SQE{nop(1), nop(2), nop(3), linked(nop(4))}, map[uint64]int32{1: 0, 2: 0, 3: 0, 4: 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, 4, 0)
			submit(t, r, c.sqes...)
			assert.Equal(t, c.want, collect(t, r, len(c.sqes)))
		})
	}
}

// TestLinkTimeout: the operation before it is cancelled after the time, or the timeout is when that comes first.
func TestLinkTimeout(t *testing.T) {
	r := open(t, 8, 0)
	a, b := socketpair(t)
	buf := mem(t, 16)
	timeout := func(d time.Duration, data uint64) uring.SQE {
		return uring.SQE{Opcode: uring.OpLinkTimeout, FD: -1, Addr: timespec(t, d), Len: 1, UserData: data}
	}
	submit(t, r, linked(recv(a, buf, 1)), timeout(20*time.Millisecond, 2))
	assert.Equal(t, map[uint64]int32{1: errno(unix.ECANCELED), 2: errno(unix.ETIME)}, collect(t, r, 2))
	submit(t, r, linked(recv(a, buf, 3)), timeout(time.Hour, 4))
	write(t, b, "in time")
	assert.Equal(t, map[uint64]int32{3: 7, 4: errno(unix.ECANCELED)}, collect(t, r, 2))
}

func TestTimeoutOp(t *testing.T) {
	r := open(t, 4, 0)
	start := time.Now()
	submit(t, r, uring.SQE{Opcode: uring.OpTimeout, FD: -1, Addr: timespec(t, 20*time.Millisecond), Len: 1, UserData: 1})
	assert.Equal(t, map[uint64]int32{1: errno(unix.ETIME)}, collect(t, r, 1))
	assert.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
	submit(t, r, uring.SQE{Opcode: uring.OpTimeout, FD: -1, Addr: timespec(t, time.Hour), Len: 1, UserData: 2})
	submit(t, r, uring.SQE{Opcode: uring.OpTimeoutRemove, FD: -1, Addr: 2, UserData: 3})
	assert.Equal(t, map[uint64]int32{2: errno(unix.ECANCELED), 3: 0}, collect(t, r, 2))
}

// TestDrain: what is behind a drain waits for all that is before it.
func TestDrain(t *testing.T) {
	r := open(t, 8, 0)
	a, b := socketpair(t)
	buf := mem(t, 16)
	drain := nop(2)
	drain.Flags = uring.SQEIODrain
	submit(t, r, recv(a, buf, 1), drain, nop(3))
	quiet(t, r)
	write(t, b, "x")
	for want := range uint64(3) {
		assert.Equal(t, want+1, next(t, r).UserData)
	}
}

func cancel(data uint64, flags uint32, fd int, target uint64) uring.SQE {
	return uring.SQE{Opcode: uring.OpAsyncCancel, FD: int32(fd), Addr: target, OpFlags: flags, UserData: data}
}

// TestCancelByFD: everything that waits on one descriptor, and nothing else.
func TestCancelByFD(t *testing.T) {
	r := open(t, 8, 0)
	a, b := socketpair(t)
	c, d := socketpair(t)
	buf := mem(t, 16)
	submit(t, r, recv(a, buf, 1), recv(a, buf, 2), recv(c, buf, 3),
		uring.SQE{Opcode: uring.OpPollAdd, FD: int32(a), OpFlags: unix.POLLIN, UserData: 4})
	submit(t, r, cancel(9, uring.CancelFD|uring.CancelAll, a, 0))
	got := collect(t, r, 1)
	if got[9] == errno(unix.EINVAL) {
		need(t, unix.EINVAL, "5.19")
	}
	maps.Copy(got, collect(t, r, 3))
	stop := errno(unix.ECANCELED)
	assert.Equal(t, map[uint64]int32{1: stop, 2: stop, 4: stop, 9: 3}, got)
	write(t, b, "unread")
	quiet(t, r)
	write(t, d, "heard")
	assert.Equal(t, map[uint64]int32{3: 5}, collect(t, r, 1))
	submit(t, r, cancel(10, uring.CancelFD|uring.CancelAll, c, 0), cancel(11, uring.CancelFD, c, 0), cancel(12, 0, -1, 77))
	none := errno(unix.ENOENT)
	assert.Equal(t, map[uint64]int32{10: 0, 11: none, 12: none}, collect(t, r, 3), "nothing to cancel")
}

func TestCancelPoll(t *testing.T) {
	r := open(t, 8, 0)
	a, _ := socketpair(t)
	for name, flags := range map[string]uint32{"one shot": 0, "multishot": uring.PollAddMulti} {
		t.Run(name, func(t *testing.T) {
			submit(t, r, uring.SQE{Opcode: uring.OpPollAdd, FD: int32(a), OpFlags: unix.POLLIN, Len: flags, UserData: poll})
			submit(t, r, cancel(1, 0, -1, poll))
			assert.Equal(t, map[uint64]int32{1: 0, poll: errno(unix.ECANCELED)}, collect(t, r, 2))
			quiet(t, r)
		})
	}
}
