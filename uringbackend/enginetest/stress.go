//go:build linux

package enginetest

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// stressStream is a pipe or a socket pair that many read and write at a time, and what they say they have moved.
type stressStream struct {
	r, w int
	// Atomic: bytes of ops that reported success, and the sum of their values.
	in, inSum, out, outSum atomic.Int64
}

// StressCancel lets many goroutines read and write a few streams by about ops operations, whose contexts end at random
// moments. Each op must report once; what reads report and what is left must be, byte for byte, what writes report; the
// engine's detectors must find nothing. Errors in injected, and ETIME, mean that an op did nothing.
func StressCancel(
	t *testing.T, open func(t *testing.T) uringbackend.Engine, dice *rand.Rand, ops int, injected ...unix.Errno,
) {
	t.Helper()
	warmUp(t)
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	e := open(t)
	streams := make([]*stressStream, 6)
	var close []int
	for i := range streams {
		var p [2]int
		var err error
		if i%2 == 0 {
			err = unix.Pipe2(p[:], unix.O_CLOEXEC)
		} else if p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.SetsockoptInt(p[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 4096) // so that writers wait too
		}
		require.NoError(t, err)
		streams[i] = &stressStream{r: p[0], w: p[1]}
		close = append(close, p[:]...)
	}
	const workers = 16
	var group sync.WaitGroup
	var started, stopped atomic.Int64
	for i := range workers {
		own := rand.New(rand.NewPCG(dice.Uint64(), uint64(i)))
		group.Go(func() {
			for started.Load() < int64(ops) {
				n := 1 + own.IntN(4)
				started.Add(int64(n))
				stopped.Add(stressBatch(t, e, own, streams, n, injected))
			}
		})
	}
	within(t, "cancellation stress", group.Wait)
	for i, s := range streams {
		left := drain(t, s.r, 0)
		in, sum := s.in.Load()+int64(len(left)), s.inSum.Load()
		for _, b := range left {
			sum += int64(b)
		}
		assert.Equal(t, s.out.Load(), in, "stream %d: bytes that were written against bytes that came out", i)
		assert.Equal(t, s.outSum.Load(), sum, "stream %d: sum of the bytes", i)
	}
	within(t, "Close", func() { assert.NoError(t, e.Close()) })
	healthy(t, e)
	for _, fd := range close {
		assert.NoError(t, unix.Close(fd))
	}
	assert.Equal(t, fds, openFDs(t), "descriptors of the process")
	assert.LessOrEqual(t, settled(goroutines), goroutines, "goroutines of the process")
	var moved int64
	for _, s := range streams {
		moved += s.out.Load()
	}
	assert.Positive(t, moved)
	assert.Positive(t, stopped.Load(), "no op was cancelled")
	t.Logf("%d ops, %d of them given up, %d bytes moved", started.Load(), stopped.Load(), moved)
}

// stressBatch runs n ops under one context that ends at some moment, and returns how many were given up.
func stressBatch(
	t *testing.T, e uringbackend.Engine, dice *rand.Rand, streams []*stressStream, n int, injected []unix.Errno,
) (stopped int64) {
	ops := make([]uringbackend.Op, n)
	of := make([]*stressStream, n)
	for i := range ops {
		of[i] = streams[dice.IntN(len(streams))]
		p := make([]byte, 1+dice.IntN(512)) // within PIPE_BUF: a write of a pipe is whole or not at all
		if dice.IntN(2) == 0 {
			for j := range p {
				p[j] = byte(dice.Uint32())
			}
			ops[i] = uringbackend.Op{Kind: uringbackend.KindWriteAt, FD: of[i].w, Buf: p, Unbounded: true, Offset: -1}
		} else {
			ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: of[i].r, Buf: p, Unbounded: true, Offset: -1}
		}
		if dice.IntN(4) == 0 { // the same through a vector of two
			cut := dice.IntN(len(p))
			ops[i].Kind += uringbackend.KindReadvAt - uringbackend.KindReadAt
			ops[i].Bufs, ops[i].Buf = [][]byte{p[:cut], p[cut:]}, nil
		}
	}
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	var left sync.WaitGroup
	left.Add(n)
	reports := make([]atomic.Int32, n)
	var given atomic.Int64
	how := dice.IntN(4)
	if how == 0 {
		cancel() // before it starts
	}
	e.Submit(ctx, ops, func(i, n int, more bool, err error) {
		if !assert.False(t, more) || !assert.EqualValues(t, 1, reports[i].Add(1), "reports of one op") {
			return
		}
		defer left.Done()
		op := &ops[i]
		if err != nil {
			assert.Zero(t, n)
			assert.Contains(t, append([]unix.Errno{unix.ECANCELED, unix.ETIME}, injected...), err)
			given.Add(1)
			return
		}
		var sum int64
		rest := n
		for _, b := range append(op.Bufs, op.Buf) {
			for _, v := range b[:min(len(b), rest)] {
				sum += int64(v)
			}
			rest -= min(len(b), rest)
		}
		assert.Zero(t, rest, "more bytes than were asked for")
		if op.Kind == uringbackend.KindWriteAt || op.Kind == uringbackend.KindWritevAt {
			of[i].out.Add(int64(n))
			of[i].outSum.Add(sum)
		} else {
			of[i].in.Add(int64(n))
			of[i].inSum.Add(sum)
		}
	})
	var stop *time.Timer
	switch how {
	case 1:
		for range dice.IntN(20) {
			runtime.Gosched()
		}
		cancel()
	default:
		stop = time.AfterFunc(time.Duration(dice.IntN(500))*time.Microsecond, cancel)
		defer stop.Stop()
	}
	left.Wait()
	return given.Load()
}

// StressClose closes an engine that has n ops in flight: each must report once, no byte of a stream may be lost, and
// descriptors, goroutines and memory must come back. open makes an engine for so many ops with Unbounded set.
func StressClose(t *testing.T, open func(t *testing.T, unbounded int) uringbackend.Engine, n int) {
	t.Helper()
	warmUp(t)
	fds, goroutines, heap := openFDs(t), runtime.NumGoroutine(), heapInUse()
	stressClose(t, open(t, n), n)
	assert.Equal(t, fds, openFDs(t), "descriptors of the process")
	assert.LessOrEqual(t, settled(goroutines), goroutines, "goroutines of the process")
	const slack = 4 << 20 // the ops alone had more
	after := heapInUse()
	assert.LessOrEqual(t, after, heap+slack, "heap of the process")
	t.Logf("%d ops in flight at Close; heap %d KiB before, %d KiB after", n, heap>>10, after>>10)
}

func stressClose(t *testing.T, e uringbackend.Engine, n int) {
	const pipes, size, ready = 4, 1024, 100
	var r, w [pipes]int
	for i := range pipes {
		r[i], w[i] = rawPipe(t)
	}
	defer func() {
		for i := range pipes {
			assert.NoError(t, unix.Close(r[i]))
			assert.NoError(t, unix.Close(w[i]))
		}
	}()
	fill(t, w[1])
	reports := make([]atomic.Int32, n)
	var reported, read atomic.Int64
	for at := 0; at < n; {
		ops := make([]uringbackend.Op, min(n-at, 1+at%150))
		for i := range ops {
			p := (at + i) % pipes
			ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: r[p], Buf: make([]byte, size), Unbounded: true, Offset: -1}
			if p == 1 { // nobody reads this one
				ops[i].Kind, ops[i].FD = uringbackend.KindWriteAt, w[p]
			}
		}
		base := at
		e.Submit(background(), ops, func(i, n int, more bool, err error) {
			reported.Add(1)
			if !assert.False(t, more) || !assert.EqualValues(t, 1, reports[base+i].Add(1), "reports of one op") {
				return
			}
			if err != nil {
				assert.Equal(t, unix.ECANCELED, err)
				return
			}
			assert.Equal(t, 2, (base+i)%pipes, "a pipe without data or room")
			read.Add(int64(n))
		})
		at += len(ops)
	}
	require.Eventually(t, func() bool { return e.Health().InFlight == int64(n) }, limit, 5*time.Millisecond)
	require.Zero(t, reported.Load())
	t.Logf("%d goroutines", runtime.NumGoroutine())
	_, err := unix.Write(w[2], make([]byte, ready)) // which races with Close
	require.NoError(t, err)
	begin := time.Now()
	within(t, "Close with ops in flight", func() { require.NoError(t, e.Close()) })
	t.Logf("Close took %v", time.Since(begin))
	assert.EqualValues(t, n, reported.Load(), "Close returned before all ops had reported")
	assert.EqualValues(t, ready, read.Load()+int64(len(drain(t, r[2], 0))), "bytes lost")
	healthy(t, e)
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC() // twice: sync.Pool keeps what it has for one more
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
