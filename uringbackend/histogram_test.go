//go:build linux

package uringbackend_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

func event(kind uringbackend.Kind, took time.Duration) uringbackend.OpEvent {
	return uringbackend.OpEvent{Kind: kind, Start: 1000, End: 1000 + int64(took)}
}

func TestHistogramBucketsHoldTheirLatencies(t *testing.T) {
	var empty uringbackend.Histograms
	assert.Empty(t, empty.Snapshot())
	cases := []struct{ took, upper time.Duration }{
		{-5, 256},
		{0, 256},
		{256, 256},
		{257, 320},
		{320, 320},
		{321, 384},
		{449, 512},
		{512, 512},
		{513, 640},
		{time.Microsecond, 1024},
		{1025, 1280},
		{time.Second, 1 << 30},
		{1 << 36, 1 << 36},
	}
	for _, c := range cases {
		var h uringbackend.Histograms
		h.Observe(event(uringbackend.KindReadAt, c.took))
		all := h.Snapshot()
		require.Len(t, all, 1)
		for _, b := range all[0].Buckets {
			want := uint64(0)
			if b.Upper == c.upper {
				want = 1
			}
			assert.Equal(t, want, b.Ops, "%v in the bucket up to %d ns", c.took, b.Upper)
		}
	}
}

func TestHistogramBoundsGrowAndHitPowersOfTwo(t *testing.T) {
	var h uringbackend.Histograms
	h.Observe(event(uringbackend.KindFsync, 2*time.Minute)) // beyond the last bound
	all := h.Snapshot()
	require.Len(t, all, 1)
	assert.Equal(t, uint64(1), all[0].Ops)
	bounds := map[time.Duration]bool{}
	last := time.Duration(0)
	for _, b := range all[0].Buckets {
		assert.Greater(t, b.Upper, last)
		assert.Zero(t, b.Ops)
		last = b.Upper
		bounds[b.Upper] = true
	}
	for d := time.Duration(256); d <= 1<<36; d *= 2 {
		assert.True(t, bounds[d], "%v", d)
	}
	assert.Equal(t, time.Duration(1<<36), all[0].Quantile(1), "what is beyond the bounds is at least the last")
}

func TestHistogramCounts(t *testing.T) {
	var h uringbackend.Histograms
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				ev := event(uringbackend.KindWriteAt, time.Duration(i+1)*time.Microsecond)
				ev.Bytes = 10
				if i%10 == 0 {
					ev.Err, ev.Bytes = unix.EIO, 0
				}
				h.Observe(ev)
			}
		})
	}
	wg.Wait()
	h.Observe(uringbackend.OpEvent{}) // no verb
	h.Observe(uringbackend.OpEvent{Kind: 255})
	all := h.Snapshot()
	require.Len(t, all, 1)
	l := all[0]
	assert.Equal(t, "write_at", l.Verb)
	assert.Equal(t, uint64(4000), l.Ops)
	assert.Equal(t, uint64(400), l.Errors)
	assert.Equal(t, uint64(36000), l.Bytes)
	assert.Equal(t, 4*500500*time.Microsecond, l.Total)
	for _, q := range []float64{0.1, 0.5, 0.9, 0.99} {
		want := q * 1000
		assert.InDelta(t, want, float64(l.Quantile(q).Microseconds()), want/4, "quantile %v", q)
	}
	assert.LessOrEqual(t, l.Quantile(-1), l.Quantile(2))
	assert.Zero(t, uringbackend.Latencies{}.Quantile(0.5))
}

func TestHistogramObserveAllocatesNothing(t *testing.T) {
	var h uringbackend.Histograms
	ev := event(uringbackend.KindReadAt, time.Microsecond)
	assert.Zero(t, testing.AllocsPerRun(1000, func() { h.Observe(ev) }))
}

func BenchmarkHistogramObserve(b *testing.B) {
	var h uringbackend.Histograms
	ev := event(uringbackend.KindReadAt, time.Microsecond)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.Observe(ev)
		}
	})
}
