//go:build linux

package uringbackend_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// recorder keeps what it observes.
type recorder struct {
	mu     sync.Mutex
	events []uringbackend.OpEvent
}

func (r *recorder) Observe(ev uringbackend.OpEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *recorder) take() []uringbackend.OpEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func TestObserversLeaveOutNil(t *testing.T) {
	assert.Nil(t, uringbackend.Observers())
	assert.Nil(t, uringbackend.Observers(nil, nil))
	var a, b recorder
	assert.Same(t, &a, uringbackend.Observers(nil, &a))
	both := uringbackend.Observers(&a, nil, &b)
	both.Observe(uringbackend.OpEvent{N: 7})
	assert.Equal(t, []uringbackend.OpEvent{{N: 7}}, a.take())
	assert.Equal(t, []uringbackend.OpEvent{{N: 7}}, b.take())
}

// TestEnginesTellTheirObserver: each op once, before done, with its times, result and road.
func TestEnginesTellTheirObserver(t *testing.T) {
	features := uringbackend.Probe(t.TempDir())
	for _, name := range []string{"ring", "syscall"} {
		t.Run(name, func(t *testing.T) {
			if name == "ring" {
				enginetest.Require(t, features.Ring)
			}
			rec := &recorder{}
			e, err := uringbackend.Open(name, features, uringbackend.Config{Strict: true, Observer: rec, Policy: "ring"})
			require.NoError(t, err)
			closed := false
			defer func() {
				if !closed {
					require.NoError(t, e.Close())
				}
			}()
			ctx := t.Context()
			last := int64(0)
			one := func() uringbackend.OpEvent {
				t.Helper()
				events := rec.take()
				require.Len(t, events, 1)
				ev := events[0]
				assert.LessOrEqual(t, last, ev.Start)
				assert.LessOrEqual(t, ev.Start, ev.End)
				last = ev.End
				if name == "syscall" || !ev.Kind.RingHalf() || closed { // the rings of a closed engine are gone
					assert.Equal(t, -1, ev.Ring, ev.Kind)
				} else {
					assert.GreaterOrEqual(t, ev.Ring, 0, ev.Kind)
				}
				return ev
			}
			dir := t.TempDir()
			fd, err := e.Openat2(ctx, unix.AT_FDCWD, filepath.Join(dir, "f"), unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC, Mode: 0o600})
			require.NoError(t, err)
			ev := one()
			assert.Equal(t, uringbackend.KindOpenat2, ev.Kind)
			assert.Equal(t, fd, ev.N)
			assert.Equal(t, unix.AT_FDCWD, ev.FD)
			assert.Zero(t, ev.Bytes, "an open moves no data")

			_, err = e.WriteAt(ctx, fd, make([]byte, 1000), 24, 0)
			require.NoError(t, err)
			ev = one()
			assert.Equal(t, uringbackend.KindWriteAt, ev.Kind)
			assert.Equal(t, []int64{1000, 1000, 24, int64(fd)}, []int64{int64(ev.N), ev.Bytes, ev.Offset, int64(ev.FD)})

			_, err = e.Openat2(ctx, unix.AT_FDCWD, filepath.Join(dir, "none"), unix.OpenHow{Flags: unix.O_RDONLY})
			require.ErrorIs(t, err, unix.ENOENT)
			ev = one()
			require.ErrorIs(t, ev.Err, unix.ENOENT)
			assert.Zero(t, ev.N)

			_, _ = e.Do(ctx, uringbackend.Op{Kind: uringbackend.KindGetdents, FD: fd, Buf: make([]byte, 4096)})
			ev = one()
			require.ErrorIs(t, ev.Err, unix.ENOTDIR)

			ops := make([]uringbackend.Op, 10)
			for i := range ops {
				ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, 100), Offset: int64(100 * i)}
			}
			var done int
			e.Submit(ctx, ops, func(int, int, bool, error) {
				done++
				rec.mu.Lock()
				defer rec.mu.Unlock()
				assert.GreaterOrEqual(t, len(rec.events), done, "Observe comes before done")
			})
			events := rec.take()
			require.Len(t, events, len(ops))
			offsets := map[int64]bool{}
			for _, ev := range events {
				offsets[ev.Offset] = true
				assert.Equal(t, int64(100), ev.Bytes)
			}
			assert.Len(t, offsets, len(ops))
			last = 0

			// An op that waits, until its context ends.
			r, _ := newPipe(t)
			cancelled, cancel := context.WithCancel(ctx)
			reported := make(chan error, 1)
			e.Submit(cancelled, []uringbackend.Op{{Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: make([]byte, 1), Offset: -1}},
				func(_, _ int, _ bool, err error) { reported <- err })
			assert.Empty(t, rec.take(), "nothing is reported yet")
			cancel()
			require.ErrorIs(t, <-reported, unix.ECANCELED)
			ev = one()
			require.ErrorIs(t, ev.Err, unix.ECANCELED)

			bytes := e.Bytes()
			assert.Equal(t, map[string]uint64{"write_at": 1000, "read_at": 1000}, bytes)
			require.NoError(t, e.Close())
			closed = true
			require.NoError(t, e.CloseFD(ctx, fd))
			ev = one()
			assert.Equal(t, uringbackend.KindClose, ev.Kind)
		})
	}
}

// With an observer a read allocates no more than without one: nothing.
func TestObservedReadAllocatesNothing(t *testing.T) {
	var h uringbackend.Histograms
	e := openRing(t, uringbackend.Config{Observer: &h})
	file := filepath.Join(t.TempDir(), "f")
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	defer unix.Close(fd)
	_, err = unix.Pwrite(fd, make([]byte, 4096), 0)
	require.NoError(t, err)
	buf := make([]byte, 4096)
	ctx := context.Background()
	assert.Zero(t, testing.AllocsPerRun(200, func() { _, _ = e.ReadAt(ctx, fd, buf, 0) }))
	all := h.Snapshot()
	require.Len(t, all, 1)
	assert.Equal(t, uint64(201), all[0].Ops)
	assert.Equal(t, uint64(201*4096), all[0].Bytes)
}

// A read that the page cache answers in part is counted once, by whichever roads it took.
func TestBytesOfAShortRead(t *testing.T) {
	rec := &recorder{}
	e := openRing(t, uringbackend.Config{Observer: rec})
	fd, err := unix.Open(filepath.Join(t.TempDir(), "f"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	defer unix.Close(fd)
	_, err = unix.Pwrite(fd, make([]byte, 1000), 0)
	require.NoError(t, err)
	n, err := e.ReadAt(t.Context(), fd, make([]byte, 4096), 0)
	require.NoError(t, err)
	assert.Equal(t, 1000, n)
	assert.Equal(t, map[string]uint64{"read_at": 1000}, e.Bytes())
	var observed int64
	for _, ev := range rec.take() {
		assert.Equal(t, uringbackend.KindReadAt, ev.Kind)
		observed += ev.Bytes
	}
	assert.Equal(t, int64(1000), observed)
}
