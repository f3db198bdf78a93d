//go:build linux

package uringbackend_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// traceLine is a line of a JSON trace.
type traceLine struct {
	Verb    string  `json:"verb"`
	Ring    int     `json:"ring"`
	StartNS int64   `json:"start_ns"`
	EndNS   int64   `json:"end_ns"`
	N       int     `json:"n"`
	Bytes   int64   `json:"bytes"`
	FD      int     `json:"fd"`
	Offset  int64   `json:"offset"`
	More    int     `json:"more"`
	Errno   string  `json:"errno"`
	Written *uint64 `json:"written"`
	Lost    uint64  `json:"lost"`
	End     bool    `json:"end"`
}

// readTrace splits a JSON trace into ops and counts.
func readTrace(t *testing.T, r io.Reader) (ops, counts []traceLine) {
	t.Helper()
	s := bufio.NewScanner(r)
	for s.Scan() {
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		var l traceLine
		require.NoError(t, d.Decode(&l), "%s", s.Text())
		if l.Written != nil {
			counts = append(counts, l)
		} else {
			ops = append(ops, l)
		}
	}
	require.NoError(t, s.Err())
	return ops, counts
}

func newTracer(t *testing.T, w io.Writer, f uringbackend.TraceFormat, cfg uringbackend.TraceConfig) *uringbackend.Tracer {
	t.Helper()
	tr, err := uringbackend.NewTracer(w, f, cfg)
	require.NoError(t, err)
	return tr
}

func TestTraceJSONSaysWhatItWasTold(t *testing.T) {
	var out bytes.Buffer
	tr := newTracer(t, &out, uringbackend.TraceJSON, uringbackend.TraceConfig{})
	tr.Observe(uringbackend.OpEvent{
		Kind: uringbackend.KindReadAt, Ring: 3, Start: 10, End: 25, N: 4096, FD: 7, Offset: 1 << 40, More: 2, Bytes: 8192,
	})
	tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindOpenat2, Ring: -1, Start: 30, End: 31, Err: unix.ENOENT, FD: -100, Offset: -1})
	tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindClose, Err: errors.New("a \"quoted\"\x01\nerror")})
	require.NoError(t, tr.Close())
	tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindClose})
	require.NoError(t, tr.Close(), "a second Close")
	ops, counts := readTrace(t, &out)
	assert.Equal(t, []traceLine{
		{Verb: "read_at", Ring: 3, StartNS: 10, EndNS: 25, N: 4096, Bytes: 8192, FD: 7, Offset: 1 << 40, More: 2},
		{Verb: "openat2", Ring: -1, StartNS: 30, EndNS: 31, Errno: "ENOENT", FD: -100, Offset: -1},
		{Verb: "close", Errno: "a \"quoted\"\x01\nerror"},
	}, ops)
	three := uint64(3)
	assert.Equal(t, []traceLine{{Written: &three, End: true}}, counts)
	assert.Zero(t, tr.Lost())
}

func TestTraceRefusesAFormatThatIsNone(t *testing.T) {
	_, err := uringbackend.NewTracer(io.Discard, 0, uringbackend.TraceConfig{})
	require.ErrorIs(t, err, unix.EINVAL)
}

// gatedWriter announces each Write and lets it go on when told.
type gatedWriter struct {
	entered chan struct{}
	leave   chan struct{}
	mu      sync.Mutex
	buf     bytes.Buffer
}

func (g *gatedWriter) Write(b []byte) (int, error) {
	g.entered <- struct{}{}
	<-g.leave
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(b)
}

// A writer that hangs costs events, which the trace counts, and never holds Observe up.
func TestTraceCountsWhatItLoses(t *testing.T) {
	g := &gatedWriter{entered: make(chan struct{}), leave: make(chan struct{})}
	tr := newTracer(t, g, uringbackend.TraceJSON, uringbackend.TraceConfig{Buffer: 4})
	ev := uringbackend.OpEvent{Kind: uringbackend.KindReadAt}
	tr.Observe(ev)
	<-g.entered // the writer has taken the first event
	for range 10 {
		tr.Observe(ev) // 4 find room
	}
	assert.Equal(t, uint64(6), tr.Lost())
	g.leave <- struct{}{}
	<-g.entered // the other 4, and a count
	tr.Observe(ev)
	g.leave <- struct{}{}
	<-g.entered
	g.leave <- struct{}{}
	closed := make(chan error)
	go func() { closed <- tr.Close() }()
	<-g.entered
	g.leave <- struct{}{}
	require.NoError(t, <-closed)
	ops, counts := readTrace(t, &g.buf)
	assert.Len(t, ops, 6)
	require.Len(t, counts, 2, "one when the loss was noticed, one at the end")
	assert.Equal(t, uint64(5), *counts[0].Written)
	assert.Equal(t, uint64(6), counts[0].Lost)
	assert.False(t, counts[0].End)
	assert.Equal(t, uint64(6), *counts[1].Written)
	assert.Equal(t, uint64(6), counts[1].Lost)
	assert.True(t, counts[1].End)
}

// brokenWriter fails all but the first Writes.
type brokenWriter struct {
	good  int
	short bool
	calls int
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	b.calls++
	switch {
	case b.calls <= b.good:
		return len(p), nil
	case b.short:
		return len(p) - 1, nil
	default:
		return 0, unix.ENOSPC
	}
}

func TestTraceReportsTheFirstWriteError(t *testing.T) {
	for name, c := range map[string]struct {
		w    *brokenWriter
		want error
	}{
		"error": {&brokenWriter{}, unix.ENOSPC},
		"short": {&brokenWriter{short: true}, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracer(t, c.w, uringbackend.TraceJSON, uringbackend.TraceConfig{})
			const n = 5000
			for range n {
				tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindReadAt})
			}
			require.ErrorIs(t, tr.Close(), c.want)
			assert.Equal(t, 1, c.w.calls, "nothing is written after an error")
			assert.Equal(t, uint64(n), tr.Lost())
		})
	}
}

// Many goroutines, a writer that keeps up: every event is there or counted, once.
func TestTraceUnderLoadLosesNothingSilently(t *testing.T) {
	for name, f := range map[string]uringbackend.TraceFormat{"json": uringbackend.TraceJSON, "perfetto": uringbackend.TracePerfetto} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			tr := newTracer(t, &out, f, uringbackend.TraceConfig{Buffer: 256})
			const workers, each = 8, 2000
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := range each {
						tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindWriteAt, Ring: w, Start: int64(i), End: int64(i + 3), N: w*each + i})
					}
				})
			}
			wg.Wait()
			require.NoError(t, tr.Close())
			seen := map[int]bool{}
			var lost uint64
			if f == uringbackend.TraceJSON {
				ops, counts := readTrace(t, &out)
				for _, l := range ops {
					seen[l.N] = true
				}
				lost = counts[len(counts)-1].Lost
				assert.Len(t, seen, len(ops), "an event was written twice")
			} else {
				p := decodePerfetto(t, out.Bytes())
				p.check(t)
				for _, s := range p.slices {
					seen[int(s.notes["n"].(int64))] = true
				}
				lost = uint64(p.lost[len(p.lost)-1])
				assert.Len(t, seen, len(p.slices), "an event was written twice")
			}
			assert.Equal(t, uint64(workers*each), uint64(len(seen))+lost)
			assert.Equal(t, tr.Lost(), lost)
		})
	}
}

func TestTraceObserveAllocatesNothing(t *testing.T) {
	for name, f := range map[string]uringbackend.TraceFormat{"json": uringbackend.TraceJSON, "perfetto": uringbackend.TracePerfetto} {
		t.Run(name, func(t *testing.T) {
			tr := newTracer(t, io.Discard, f, uringbackend.TraceConfig{Buffer: 64})
			ev := uringbackend.OpEvent{Kind: uringbackend.KindReadAt, Ring: 1, N: 4096, Bytes: 4096, FD: 5, Err: unix.EIO}
			observe := func() {
				ev.Start, ev.End = ev.Start+100, ev.End+100
				tr.Observe(ev)
			}
			for range 1000 {
				observe() // the encoder's scratch grows to its size
			}
			// Mallocs of all goroutines are counted, the writer's too.
			assert.Zero(t, testing.AllocsPerRun(5000, observe))
			require.NoError(t, tr.Close())
		})
	}
}

func BenchmarkTracerObserve(b *testing.B) {
	for name, f := range map[string]uringbackend.TraceFormat{"json": uringbackend.TraceJSON, "perfetto": uringbackend.TracePerfetto} {
		b.Run(name, func(b *testing.B) {
			tr, err := uringbackend.NewTracer(io.Discard, f, uringbackend.TraceConfig{})
			require.NoError(b, err)
			b.RunParallel(func(pb *testing.PB) {
				ev := uringbackend.OpEvent{Kind: uringbackend.KindReadAt, N: 4096, FD: 5}
				for pb.Next() {
					ev.Start, ev.End = ev.Start+100, ev.End+100
					tr.Observe(ev)
				}
			})
			b.ReportMetric(float64(tr.Lost())/float64(b.N), "lost/op")
			require.NoError(b, tr.Close())
		})
	}
}
