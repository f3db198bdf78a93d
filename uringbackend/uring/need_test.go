//go:build linux

package uring_test

import (
	"errors"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
	"github.com/uringfs/uringfs/uringbackend/uring"
)

// need demands that err is nil. A refusal that a kernel older than since would give is enginetest.Require's to judge.
func need(t *testing.T, err error, since string) {
	t.Helper()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		enginetest.Require(t, uringbackend.Ability{Answer: uringbackend.No, Since: since, Why: err})
	}
	require.NoError(t, err)
}

func openCfg(t *testing.T, cfg uring.Config, since string) *uring.Ring {
	t.Helper()
	r, err := uring.Open(cfg)
	need(t, err, since)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// lock keeps the test on its thread until it ends.
func lock(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
}

func push(t *testing.T, r *uring.Ring, sqes ...uring.SQE) {
	t.Helper()
	for i := range sqes {
		require.True(t, r.Push(&sqes[i]), "room in the queue")
	}
}

// submit pushes and enters.
func submit(t *testing.T, r *uring.Ring, sqes ...uring.SQE) {
	t.Helper()
	push(t, r, sqes...)
	n, errno := r.Enter(0, 0)
	require.Zero(t, errno)
	require.Equal(t, len(sqes), n)
}

// next waits for one completion; what does not come in ten seconds fails the test.
func next(t *testing.T, r *uring.Ring) uring.CQE {
	t.Helper()
	for {
		if c, ok := r.Next(); ok {
			return c
		}
		if errno := r.WaitTimeout(1, 10*time.Second); errno != unix.EINTR {
			require.Zero(t, errno)
		}
	}
}

// collect waits for n completions and returns their results by user data.
func collect(t *testing.T, r *uring.Ring, n int) map[uint64]int32 {
	t.Helper()
	got := map[uint64]int32{}
	for range n {
		c := next(t, r)
		require.NotContains(t, got, c.UserData, "two completions")
		got[c.UserData] = c.Res
	}
	return got
}

// quiet demands that no completion is there or comes with the work that waits.
func quiet(t *testing.T, r *uring.Ring) {
	t.Helper()
	e := unix.EINTR
	for e == unix.EINTR { // the runtime's own signals
		e = r.WaitTimeout(1, 20*time.Millisecond)
	}
	require.Equal(t, unix.ETIME, e)
	require.Zero(t, r.Ready())
}

// mem is memory outside the Go heap.
func mem(t *testing.T, size int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(m)) })
	return m
}

func addr(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// cstr is a path in memory outside the Go heap.
func cstr(t *testing.T, s string) uint64 {
	t.Helper()
	m := mem(t, len(s)+1)
	copy(m, s)
	return addr(m)
}

func socketpair(t *testing.T) (int, int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, fd := range p {
			require.NoError(t, unix.Close(fd))
		}
	})
	return p[0], p[1]
}

func write(t *testing.T, fd int, s string) {
	t.Helper()
	n, err := unix.Write(fd, []byte(s))
	require.NoError(t, err)
	require.Len(t, s, n)
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

const poll, stream = 77, 78 // user data of long operations

func errno(e unix.Errno) int32 { return -int32(e) }
