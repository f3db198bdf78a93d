//go:build linux

package enginetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var lifeCases = []Case{
	{"Batch", testBatch},
	{"BatchCancelled", testBatchCancelled},
	{"CloseInFlight", testCloseInFlight},
	{"CloseTwice", testCloseTwice},
	{"Counts", testCounts},
}

// testBatch: ops of all sorts in one Submit; each reports once, the bounded ones before Submit returns.
func testBatch(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, patterned(64<<10), unix.O_RDWR)
	r, w := pipe(t)
	var ops []uringbackend.Op
	for i := range 300 { // more than a ring has entries
		switch i % 6 {
		case 0, 1:
			ops = append(ops, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, 100), Offset: int64(i) * 100})
		case 2:
			ops = append(ops, uringbackend.Op{
				Kind: uringbackend.KindStatx, FD: unix.AT_FDCWD, Path: path, Mask: unix.STATX_BASIC_STATS,
				Statx: new(unix.Statx_t),
			})
		case 3:
			ops = append(ops, uringbackend.Op{Kind: uringbackend.KindFstatfs, FD: fd, Statfs: new(unix.Statfs_t)})
		case 4:
			ops = append(ops, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: r, Unbounded: true, Buf: make([]byte, 1), Offset: -1})
		case 5:
			ops = append(ops, uringbackend.Op{}) // no verb
		}
	}
	reports := make([]atomic.Int32, len(ops))
	var waiting sync.WaitGroup
	waiting.Add(len(ops))
	e.Submit(background(), ops, func(i, n int, more bool, err error) {
		assert.False(t, more)
		assert.EqualValues(t, 1, reports[i].Add(1), "op %d reported twice", i)
		switch i % 6 {
		case 0, 1:
			want := make([]byte, 100)
			pattern(want, int64(i)*100)
			assert.NoError(t, err)
			assert.Equal(t, want, ops[i].Buf[:n])
		case 2:
			assert.NoError(t, err)
			assert.EqualValues(t, 64<<10, ops[i].Statx.Size)
		case 3:
			assert.NoError(t, err)
			assert.NotZero(t, ops[i].Statfs.Bsize)
		case 4:
			assert.NoError(t, err)
			assert.Equal(t, 1, n)
		case 5:
			assert.Equal(t, unix.EINVAL, err)
		}
		waiting.Done()
	})
	for i := range ops {
		if i%6 != 4 {
			assert.EqualValues(t, 1, reports[i].Load(), "bounded op %d not reported when Submit returned", i)
		} else {
			assert.Zero(t, reports[i].Load(), "op %d reported without data", i)
		}
	}
	_, err := unix.Write(w, make([]byte, len(ops)/6))
	require.NoError(t, err)
	within(t, "batch", waiting.Wait)
}

// testBatchCancelled: one context for many waiting ops; all report, and the pipe keeps its data.
func testBatchCancelled(t *testing.T, e uringbackend.Engine) {
	const n = 150
	r, w := pipe(t)
	ops := make([]uringbackend.Op, n)
	for i := range ops {
		ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: r, Unbounded: true, Buf: make([]byte, 1), Offset: -1}
	}
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	var waiting sync.WaitGroup
	waiting.Add(n)
	e.Submit(ctx, ops, func(_, _ int, _ bool, err error) {
		assert.Equal(t, unix.ECANCELED, err)
		waiting.Done()
	})
	require.Eventually(t, func() bool { return e.Health().InFlight == n }, limit, time.Millisecond)
	cancel()
	within(t, "cancelled batch", waiting.Wait)
	_, err := unix.Write(w, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(drain(t, r, 0)))
}

// testCloseInFlight: Close cancels what waits, lets the rest end, and loses nothing.
func testCloseInFlight(t *testing.T, e uringbackend.Engine) {
	const waiting, busy = 300, 32
	fd, _ := file(t, patterned(64<<10), unix.O_RDWR)
	r, w := pipe(t)
	var group sync.WaitGroup
	var reported atomic.Int64
	group.Add(waiting)
	for range waiting {
		e.Submit(background(), []uringbackend.Op{{
			Kind: uringbackend.KindReadAt, FD: r, Unbounded: true, Buf: make([]byte, 1), Offset: -1,
		}}, func(_, _ int, _ bool, err error) {
			assert.Equal(t, unix.ECANCELED, err)
			reported.Add(1)
			group.Done()
		})
	}
	var started sync.WaitGroup
	started.Add(busy)
	for i := range busy {
		group.Go(func() {
			buf := make([]byte, 512)
			for first := true; ; first = false {
				n, err := e.ReadAt(background(), fd, buf, int64(i)*512)
				if first {
					started.Done()
				}
				if err != nil {
					assert.Equal(t, unix.ECANCELED, err)
					return
				}
				if !assert.Equal(t, 512, n) {
					return
				}
			}
		})
	}
	within(t, "first reads", started.Wait)
	within(t, "Close", func() { require.NoError(t, e.Close()) })
	assert.EqualValues(t, waiting, reported.Load(), "Close returned before waiting ops had reported")
	within(t, "ops after Close", group.Wait)

	_, err := e.ReadAt(background(), fd, make([]byte, 1), 0)
	assert.Equal(t, unix.ECANCELED, err)
	_, err = e.Read(background(), r, make([]byte, 1))
	assert.Equal(t, unix.ECANCELED, err)
	assert.Equal(t, unix.ECANCELED, e.Mkdirat(background(), uringbackend.At{Dir: unix.AT_FDCWD, Name: t.TempDir() + "/d"}, 0o700))
	extra, err := unix.Dup(fd)
	require.NoError(t, err)
	require.NoError(t, e.CloseFD(background(), extra), "a descriptor is closed by a closed engine too")
	assert.Equal(t, unix.EBADF, e.CloseFD(background(), extra))
	_, err = unix.Write(w, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(drain(t, r, 0)), "a cancelled read consumed data")
}

func testCloseTwice(t *testing.T, e uringbackend.Engine) {
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
}

func testCounts(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, []byte("x"), unix.O_RDWR)
	for range 3 {
		_, err := e.ReadAt(background(), fd, make([]byte, 1), 0)
		require.NoError(t, err)
	}
	_, err := e.Seek(background(), fd, 0, unix.SEEK_SET)
	require.NoError(t, err)
	counts := e.Counts()
	assert.Len(t, counts, 2)
	assert.EqualValues(t, 3, counts["read_at"].Ring+counts["read_at"].Syscall)
	assert.Equal(t, uringbackend.Count{Syscall: 1}, counts["seek"])
}
