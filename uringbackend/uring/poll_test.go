//go:build linux

package uring_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

func pollAdd(fd int, events, flags uint32) uring.SQE {
	return uring.SQE{Opcode: uring.OpPollAdd, FD: int32(fd), OpFlags: events, Len: flags, UserData: poll}
}

// TestPollMultishot is what the comment of PollAddLevel says.
func TestPollMultishot(t *testing.T) {
	r := open(t, 4, 32)
	a, b := socketpair(t)
	const events = unix.POLLIN | unix.POLLRDHUP
	expect := func(events int32, why string) {
		t.Helper()
		c := next(t, r)
		require.EqualValues(t, poll, c.UserData, why)
		require.Equal(t, events, c.Res, why)
		require.True(t, c.More(), why)
	}
	again := func() {
		t.Helper()
		submit(t, r, uring.SQE{Opcode: uring.OpPollRemove, FD: -1, Addr: poll, OpFlags: events, Len: uring.PollUpdEvents, UserData: 1})
	}

	write(t, b, "ready")
	submit(t, r, pollAdd(a, events, uring.PollAddMulti))
	expect(unix.POLLIN, "ready from the start")
	quiet(t, r)
	write(t, b, "more")
	expect(unix.POLLIN, "a wake-up")
	quiet(t, r)
	var some [2]byte
	_, err := unix.Read(a, some[:])
	require.NoError(t, err)
	quiet(t, r) // it stays ready

	again()
	got := map[uint64]uring.CQE{}
	for range 2 {
		c := next(t, r)
		got[c.UserData] = c
	}
	require.Equal(t, map[uint64]uring.CQE{
		1: {UserData: 1}, poll: {UserData: poll, Res: unix.POLLIN, Flags: uring.CQEMore},
	}, got, "asked again, and still ready")

	var rest [16]byte
	_, err = unix.Read(a, rest[:])
	require.NoError(t, err)
	again()
	require.Equal(t, uring.CQE{UserData: 1}, next(t, r))
	quiet(t, r) // asked again, and not ready
	require.NoError(t, unix.Shutdown(b, unix.SHUT_WR))
	expect(unix.POLLIN|unix.POLLRDHUP, "the peer ends")

	// Hung up for good: nothing tells of it again, unless asked.
	quiet(t, r)
	submit(t, r, cancel(2, 0, -1, poll))
	require.Equal(t, map[uint64]int32{2: 0, poll: errno(unix.ECANCELED)}, collect(t, r, 2))
}

// TestPollLevelIsRefused holds for every kernel so far; when it fails, the comment of PollAddLevel is out of date.
func TestPollLevelIsRefused(t *testing.T) {
	r := open(t, 4, 0)
	a, _ := socketpair(t)
	for _, flags := range []uint32{uring.PollAddLevel, uring.PollAddLevel | uring.PollAddMulti} {
		submit(t, r, pollAdd(a, unix.POLLIN, flags))
		assert.Equal(t, errno(unix.EINVAL), next(t, r).Res)
	}
}

// TestPollOverflow: completions that the queue has no room for end a multishot poll; the last one says so.
func TestPollOverflow(t *testing.T) {
	r := open(t, 4, 4)
	a, b := socketpair(t)
	submit(t, r, pollAdd(a, unix.POLLIN, uring.PollAddMulti))
	writes := 0
	for !r.Overflowed() {
		write(t, b, "x")
		writes++
		_, e := r.Enter(0, 0) // the wake-up's work is done on the way out of the kernel
		require.Zero(t, e)
		require.Less(t, writes, 1000)
	}
	for {
		c := next(t, r)
		require.EqualValues(t, unix.POLLIN, c.Res)
		if !c.More() {
			break
		}
	}
	quiet(t, r)
	write(t, b, "x")
	quiet(t, r)
}
