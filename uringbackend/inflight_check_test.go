//go:build linux

// Inside the package: the invariants of the range table and its cost can only be seen from here.
package uringbackend

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/seed"
)

func newRangeVolume() *Volume {
	v := new(Volume)
	v.ranges.init()
	return v
}

func TestRangeBounds(t *testing.T) {
	const inf = int64(1<<63 - 1)
	for _, c := range []struct {
		name       string
		r          Range
		start, end int64
	}{
		{"nothing is empty", Range{100, 0}, 0, 0},
		{"one byte is a page", Range{4097, 1}, 4096, 8192},
		{"a whole page is itself", Range{4096, 4096}, 4096, 8192},
		{"across a boundary is two", Range{4095, 2}, 0, 8192},
		{"negative length is infinite", Range{5000, -1}, 4096, inf},
		{"an end past the largest offset is infinite", Range{8192, inf - 8192}, 8192, inf},
		{"a negative offset is empty", Range{-1, 5}, 0, 0},
	} {
		start, end := c.r.bounds(4096)
		assert.Equal(t, c.start, start, c.name)
		assert.Equal(t, c.end, end, c.name)
	}
}

func TestChangesExcludeAndSharesShare(t *testing.T) {
	ctx := t.Context()
	v := newRangeVolume()
	id := FileID{1, 2, 3}
	one, err := v.BeginShare(ctx, id, Range{0, 4096})
	require.NoError(t, err)
	two, err := v.BeginShare(ctx, id, Range{0, 8192})
	require.NoError(t, err)
	_, ok := v.TryBeginChange(OriginLab, id, ChangeWrite, Range{100, 1})
	assert.False(t, ok, "a change under a share")
	c, ok := v.TryBeginChange(OriginLab, id, ChangeWrite, Range{8192, 1})
	require.True(t, ok, "a change beside the shares")
	_, ok = v.TryBeginChange(OriginLab, id, ChangeTruncate, Range{0, -1})
	assert.False(t, ok)
	_, ok = v.TryBeginChange(OriginLab, FileID{1, 2, 4}, ChangeTruncate, Range{0, -1})
	assert.True(t, ok, "another generation is another file")
	a, ok := v.TryBeginChange(OriginLab, id, ChangeAttr, Range{})
	require.True(t, ok, "attributes exclude nobody")
	require.NoError(t, v.ranges.check())
	a.End(nil)
	c.End(nil)
	one.End()
	two.End()
	assert.Panics(t, func() { two.End() })
	assert.Panics(t, func() { c.End(nil) })
}

// A stream of shares must not starve a change, nor a stream of changes a share: arrival order rules.
func TestWaitersAreServedInOrder(t *testing.T) {
	ctx := t.Context()
	v := newRangeVolume()
	id := FileID{1, 2, 3}
	first, err := v.BeginShare(ctx, id, Range{0, -1})
	require.NoError(t, err)

	changed := make(chan *Change)
	// ends when the change is granted; waited by the receive below
	go func() {
		c, err := v.BeginChange(ctx, OriginLab, id, ChangeTruncate, Range{0, -1})
		assert.NoError(t, err)
		changed <- c
	}()
	waiting := func(n int) func() bool {
		return func() bool {
			s := v.ranges.shard(id)
			s.mu.Lock()
			defer s.mu.Unlock()
			got := 0
			if in := s.inodes[id]; in != nil {
				for c := in.waiting.first; c != nil; c = c.next {
					got++
				}
			}
			return got == n
		}
	}
	require.Eventually(t, waiting(1), 5*time.Second, time.Millisecond)

	shared := make(chan *ByRef)
	// ends when the share is granted; waited by the receive below
	go func() {
		s, err := v.BeginShare(ctx, id, Range{0, 1})
		assert.NoError(t, err)
		shared <- s
	}()
	require.Eventually(t, waiting(2), 5*time.Second, time.Millisecond, "a late share queues behind the waiting change")
	require.NoError(t, v.ranges.check())

	first.End()
	c := <-changed
	select {
	case <-shared:
		t.Fatal("share granted together with a change")
	default:
	}
	c.End(nil)
	(<-shared).End()
	require.NoError(t, v.ranges.check())
}

func TestCancelledWaiterUnblocksThoseBehind(t *testing.T) {
	v := newRangeVolume()
	id := FileID{1, 2, 3}
	first, err := v.BeginShare(t.Context(), id, Range{0, 4096})
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	// ends when cancelled; waited by the receive below
	go func() {
		_, err := v.BeginChange(ctx, OriginLab, id, ChangeWrite, Range{0, 4096})
		failed <- err
	}()
	s := v.ranges.shard(id)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.inodes[id].waiting.first != nil
	}, 5*time.Second, time.Millisecond)
	shared := make(chan *ByRef)
	// ends when the share is granted; waited by the receive below
	go func() {
		s, err := v.BeginShare(t.Context(), id, Range{0, 4096})
		assert.NoError(t, err)
		shared <- s
	}()
	cancel()
	require.ErrorIs(t, <-failed, unix.ECANCELED)
	(<-shared).End()
	first.End()
	require.NoError(t, v.ranges.check())
	assert.Empty(t, s.inodes)
}

func TestRangeStress(t *testing.T) {
	rnd := seed.FromTest(t)
	v := newRangeVolume()
	const pages = 16
	ids := []FileID{{1, 1, 1}, {1, 2, 1}, {1, 2, 2}}
	var readers, writers [3][pages]atomic.Int32
	deadline := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	var done, cancelled atomic.Int64
	for range 12 {
		own := seed.New(rnd.Uint64())
		// ends at the deadline; waited by wg.Wait
		wg.Go(func() {
			for time.Now().Before(deadline) {
				f := own.IntN(len(ids))
				from := own.Int64N(pages)
				n := own.Int64N(pages-from) + 1
				r := Range{from*v.ranges.page + 1, n*v.ranges.page - 1}
				if own.IntN(8) == 0 {
					r.Length, n = -1, pages-from
				}
				ctx, cancel := context.WithCancel(context.Background())
				if own.IntN(4) == 0 {
					time.AfterFunc(time.Duration(own.IntN(200))*time.Microsecond, cancel)
				}
				if own.IntN(2) == 0 {
					if s, err := v.BeginShare(ctx, ids[f], r); err == nil {
						for p := from; p < from+n; p++ {
							readers[f][p].Add(1)
							assert.Zero(t, writers[f][p].Load())
						}
						for p := from; p < from+n; p++ {
							readers[f][p].Add(-1)
						}
						s.End()
						done.Add(1)
					} else {
						assert.ErrorIs(t, err, unix.ECANCELED)
						cancelled.Add(1)
					}
				} else if c, err := v.BeginChange(ctx, OriginLab, ids[f], ChangeWrite, r); err == nil {
					for p := from; p < from+n; p++ {
						assert.EqualValues(t, 1, writers[f][p].Add(1))
						assert.Zero(t, readers[f][p].Load())
					}
					for p := from; p < from+n; p++ {
						writers[f][p].Add(-1)
					}
					c.End(nil)
					done.Add(1)
				} else {
					assert.ErrorIs(t, err, unix.ECANCELED)
					cancelled.Add(1)
				}
				cancel()
				if own.IntN(64) == 0 {
					assert.NoError(t, v.ranges.check())
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, v.ranges.check())
	for i := range v.ranges.shards {
		assert.Empty(t, v.ranges.shards[i].inodes)
	}
	assert.Positive(t, done.Load())
	t.Logf("%d granted, %d cancelled", done.Load(), cancelled.Load())
}

func BenchmarkChange(b *testing.B) {
	v := newRangeVolume()
	ctx := context.Background()
	id := FileID{1, 2, 3}
	b.ReportAllocs()
	for b.Loop() {
		c, err := v.BeginChange(ctx, OriginLab, id, ChangeWrite, Range{4096, 4096})
		if err != nil {
			b.Fatal(err)
		}
		c.End(nil)
	}
}
