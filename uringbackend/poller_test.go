//go:build linux

package uringbackend_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// TestWaitingOpsHaveNoGoroutine: thousands may wait for their peers by system calls too.
func TestWaitingOpsHaveNoGoroutine(t *testing.T) {
	const n = 2000
	e := opener("syscall", "", uringbackend.Config{Unbounded: n})(t)
	r, _ := newPipe(t)
	before := runtime.NumGoroutine()
	var left sync.WaitGroup
	left.Add(n)
	for range n {
		e.Submit(context.Background(), []uringbackend.Op{{
			Kind: uringbackend.KindReadAt, FD: r, Buf: make([]byte, 1), Offset: -1, Unbounded: true,
		}}, func(_, _ int, _ bool, err error) {
			assert.Equal(t, unix.ECANCELED, err)
			left.Done()
		})
	}
	assert.EqualValues(t, n, e.Health().InFlight)
	assert.LessOrEqual(t, runtime.NumGoroutine(), before+1)
	require.NoError(t, e.Close())
	left.Wait()
}

// TestWaitingOpsAreServedInOrder: the first reader of a pipe gets the first bytes.
func TestWaitingOpsAreServedInOrder(t *testing.T) {
	e := faultyEngine(t, "")
	r, w := newPipe(t)
	ops := make([]uringbackend.Op, 100)
	for i := range ops {
		ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: r, Buf: make([]byte, 1), Offset: -1, Unbounded: true}
	}
	done := make(chan int, len(ops))
	e.Submit(context.Background(), ops, func(i, _ int, _ bool, err error) {
		assert.NoError(t, err)
		done <- i
	})
	for i := 0; i < len(ops); i += 10 {
		for j := i; j < i+10; j++ {
			_, err := unix.Write(w, []byte{byte(j)})
			require.NoError(t, err)
		}
		for j := i; j < i+10; j++ {
			require.Equal(t, j, <-done)
			require.Equal(t, byte(j), ops[j].Buf[0])
		}
	}
}

// TestWaitingBothWays: readers and writers of one socket do not wait for each other.
func TestWaitingBothWays(t *testing.T) {
	e := faultyEngine(t, "")
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	defer func() { _, _ = unix.Close(s[0]), unix.Close(s[1]) }()
	full := 0
	for {
		n, err := unix.Write(s[0], make([]byte, 4096))
		if err != nil {
			require.Equal(t, unix.EAGAIN, err)
			break
		}
		full += n
	}
	var group sync.WaitGroup
	for _, order := range []bool{true, false} {
		read := func() {
			buf := make([]byte, 4)
			n, err := e.Read(context.Background(), s[0], buf)
			assert.NoError(t, err)
			assert.Equal(t, "data", string(buf[:n]))
		}
		write := func() {
			n, err := e.Write(context.Background(), s[0], []byte("more"))
			assert.NoError(t, err)
			assert.Equal(t, 4, n)
		}
		if !order {
			read, write = write, read
		}
		group.Go(read)
		require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, 10*time.Second, time.Millisecond)
		group.Go(write)
		require.Eventually(t, func() bool { return e.Health().InFlight == 2 }, 10*time.Second, time.Millisecond)
		_, err = unix.Write(s[1], []byte("data"))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, 10*time.Second, time.Millisecond)
		buf := make([]byte, 1<<20)
		for got := 0; got < full; {
			n, err := unix.Read(s[1], buf)
			require.NoError(t, err)
			got += n
		}
		group.Wait()
		n, err := unix.Read(s[1], buf)
		require.NoError(t, err)
		require.Equal(t, "more", string(buf[:n]))
		full = 0
		for n, err = unix.Write(s[0], buf[:4096]); err == nil; n, err = unix.Write(s[0], buf[:4096]) {
			full += n
		}
	}
}

// TestWaitingForRegularFile: a file that cannot be polled for is always ready, in the cache or not.
func TestWaitingForRegularFile(t *testing.T) {
	e := faultyEngine(t, "")
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	require.NoError(t, unix.Fsync(fd))
	require.NoError(t, unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
	var ops []uringbackend.Op
	for i := range 64 {
		kind := uringbackend.KindReadAt
		if i%2 == 0 {
			kind = uringbackend.KindWriteAt
		}
		ops = append(ops, uringbackend.Op{Kind: kind, FD: fd, Buf: make([]byte, 4096), Offset: int64(i*7%250) * 4096, Unbounded: true})
	}
	for _, r := range submit(context.Background(), e, ops) {
		assert.NoError(t, r.Err)
		assert.Equal(t, 4096, r.N)
	}
}

// TestWaitingDescriptorReuse: once an op has reported, its descriptor may be closed, and the number be another file's.
func TestWaitingDescriptorReuse(t *testing.T) {
	e := faultyEngine(t, "")
	for i := range 500 {
		var p [2]int
		require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
		ctx, cancel := context.WithCancel(context.Background())
		got := make(chan error, 1)
		e.Submit(ctx, []uringbackend.Op{{
			Kind: uringbackend.KindReadAt, FD: p[0], Buf: make([]byte, 1), Offset: -1, Unbounded: true,
		}}, func(_, _ int, _ bool, err error) { got <- err })
		if i%2 == 0 {
			cancel()
			require.Equal(t, unix.ECANCELED, <-got)
		} else {
			_, err := unix.Write(p[1], []byte("x"))
			require.NoError(t, err)
			require.NoError(t, <-got)
		}
		cancel()
		require.NoError(t, unix.Close(p[0]))
		require.NoError(t, unix.Close(p[1]))
	}
}
