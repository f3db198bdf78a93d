//go:build linux

package enginetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var queueCases = []Case{
	{"QueueReads", testQueueReads},
	{"QueuePolled", testQueuePolled},
	{"QueueChain", testQueueChain},
	{"QueueCancel", testQueueCancel},
	{"QueueWaitEnds", testQueueWaitEnds},
	{"QueueClose", testQueueClose},
	{"QueueDrain", testQueueDrain},
	{"QueueDirect", testQueueDirect},
}

func queue(t *testing.T, e uringbackend.Engine, cfg uringbackend.QueueConfig) *uringbackend.Queue {
	t.Helper()
	q, err := e.NewQueue(cfg)
	require.NoError(t, err)
	t.Cleanup(q.Close)
	return q
}

// testQueueReads: many times as many ops as the queue has room for, each reported once with its tag.
func testQueueReads(t *testing.T, e uringbackend.Engine) {
	queueReads(t, e, uringbackend.QueueConfig{Entries: 16})
}

// testQueuePolled: a thread of the kernel submits, and falls asleep between two rounds.
func testQueuePolled(t *testing.T, e uringbackend.Engine) {
	if e.Name() == "ring" {
		Require(t, e.Features().SQPoll)
	}
	for range 3 {
		queueReads(t, e, uringbackend.QueueConfig{Entries: 16, SQPoll: time.Millisecond})
	}
}

func queueReads(t *testing.T, e uringbackend.Engine, cfg uringbackend.QueueConfig) {
	t.Helper()
	const total, size = 500, 100
	fd, _ := file(t, patterned(total*size), unix.O_RDONLY)
	q := queue(t, e, cfg)
	defer q.Close()
	bufs := make([][]byte, total)
	seen := make([]int, total)
	next, got := 0, 0
	for got < total {
		for next < total {
			bufs[next] = make([]byte, size)
			err := q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: bufs[next], Offset: int64(next * size)}, uint64(next))
			if err == unix.EAGAIN { //nolint:errorlint // engines return bare errnos
				assert.Equal(t, cfg.Entries, q.InFlight())
				break
			}
			require.NoError(t, err)
			next++
		}
		n, err := q.Wait(background(), 1)
		require.NoError(t, err)
		require.Positive(t, n)
		for c, ok := q.Next(); ok; c, ok = q.Next() {
			require.NoError(t, c.Err)
			require.False(t, c.More)
			want := make([]byte, size)
			pattern(want, int64(c.Tag)*size)
			require.Equal(t, want, bufs[c.Tag][:c.N])
			seen[c.Tag]++
			got++
		}
	}
	for i, n := range seen {
		require.Equal(t, 1, n, "op %d", i)
	}
	assert.Zero(t, q.InFlight())
	n, err := q.Wait(background(), 1)
	assert.NoError(t, err, "nothing can come")
	assert.Zero(t, n)
}

// results waits for n completions and returns them by tag.
func results(t *testing.T, q *uringbackend.Queue, n int) map[uint64]uringbackend.Completion {
	t.Helper()
	m := map[uint64]uringbackend.Completion{}
	within(t, "queue", func() {
		for len(m) < n {
			_, err := q.Wait(background(), 1)
			require.NoError(t, err)
			for c, ok := q.Next(); ok; c, ok = q.Next() {
				require.NotContains(t, m, c.Tag)
				m[c.Tag] = c
			}
		}
	})
	return m
}

func testQueueChain(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, nil, unix.O_RDWR)
	q := queue(t, e, uringbackend.QueueConfig{})
	write := func(text string, off int64) uringbackend.Op {
		return uringbackend.Op{Kind: uringbackend.KindWriteAt, FD: fd, Buf: []byte(text), Offset: off, Link: true}
	}
	got := make([]byte, 8)
	for tag, op := range []uringbackend.Op{
		write("one", 0), write("two", 3),
		{Kind: uringbackend.KindReadAt, FD: fd, Buf: got[:6]}, // the chain's end: it sees both
		{Kind: uringbackend.KindReadAt, FD: -1, Buf: make([]byte, 1), Link: true},
		write("never", 0),
	} {
		require.NoError(t, q.Prepare(op, uint64(tag)))
	}
	m := results(t, q, 5)
	assert.Equal(t, "onetwo", string(got[:m[2].N]))
	assert.Equal(t, unix.EBADF, m[3].Err)
	assert.Equal(t, unix.ECANCELED, m[4].Err)
}

func testQueueCancel(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	r2, w2 := pipe(t)
	q := queue(t, e, uringbackend.QueueConfig{})
	read := func(fd int, tag uint64) []byte {
		buf := make([]byte, 8)
		require.NoError(t, q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, Unbounded: true, FD: fd, Buf: buf, Offset: -1}, tag))
		return buf
	}
	read(r, 1)
	left := read(r2, 2)
	read(r2, 3)
	assert.Equal(t, 1, q.Cancel(1))
	assert.Equal(t, unix.ECANCELED, results(t, q, 1)[1].Err)
	assert.Zero(t, q.Cancel(1))
	assert.Equal(t, 1, q.Cancel(3))
	results(t, q, 1)
	_, err := unix.Write(w2, []byte("left"))
	require.NoError(t, err)
	m := results(t, q, 1)
	assert.Equal(t, "left", string(left[:m[2].N]))
	read(r2, 4)
	read(r2, 5)
	assert.Equal(t, 2, q.CancelFD(r2))
	for _, c := range results(t, q, 2) {
		assert.Equal(t, unix.ECANCELED, c.Err)
	}
	_, err = unix.Write(w, []byte("kept"))
	require.NoError(t, err)
	assert.Equal(t, "kept", string(drain(t, r, 0)))
}

func testQueueWaitEnds(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	q := queue(t, e, uringbackend.QueueConfig{})
	buf := make([]byte, 8)
	require.NoError(t, q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: buf, Offset: -1}, 7))
	for range 3 {
		ctx, cancel := context.WithTimeout(background(), 5*time.Millisecond)
		n, err := q.Wait(ctx, 1)
		cancel()
		assert.Equal(t, unix.ECANCELED, err)
		assert.Zero(t, n)
	}
	assert.Equal(t, 1, q.InFlight())
	_, err := unix.Write(w, []byte("late"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	n, err := q.Wait(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	c, _ := q.Next()
	assert.Equal(t, "late", string(buf[:c.N]))
}

// testQueueClose: what waits is given up, and no byte is lost.
func testQueueClose(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	q, err := e.NewQueue(uringbackend.QueueConfig{Entries: 64})
	require.NoError(t, err)
	for i := range 64 {
		require.NoError(t, q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: make([]byte, 8), Offset: -1}, uint64(i)))
	}
	assert.Equal(t, unix.EAGAIN, q.Prepare(uringbackend.Op{Kind: uringbackend.KindFsync, FD: r}, 64))
	q.Submit()
	within(t, "Close of a queue", q.Close)
	assert.Zero(t, q.InFlight())
	_, err = unix.Write(w, []byte("kept"))
	require.NoError(t, err)
	assert.Equal(t, "kept", string(drain(t, r, 0)))
	_, err = e.NewQueue(uringbackend.QueueConfig{Entries: 3})
	assert.Error(t, err)
}

// testQueueDrain: an op with Drain starts after all before it.
func testQueueDrain(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	fd, _ := file(t, []byte("content"), unix.O_RDWR)
	q := queue(t, e, uringbackend.QueueConfig{})
	require.NoError(t, q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: make([]byte, 1), Offset: -1}, 0))
	require.NoError(t, q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, 7), Drain: true}, 1))
	ctx, cancel := context.WithTimeout(background(), 20*time.Millisecond)
	defer cancel()
	n, err := q.Wait(ctx, 1)
	assert.Equal(t, unix.ECANCELED, err)
	assert.Zero(t, n, "the drained op ran before the one before it")
	_, err = unix.Write(w, []byte("x"))
	require.NoError(t, err)
	m := results(t, q, 2)
	assert.Equal(t, 7, m[1].N)
}

// testQueueDirect: open, read and close without a descriptor of the process, as one chain.
func testQueueDirect(t *testing.T, e uringbackend.Engine) {
	_, path := file(t, []byte("content"), unix.O_RDWR)
	q := queue(t, e, uringbackend.QueueConfig{Direct: 4})
	before := openFDs(t)
	buf := make([]byte, 16)
	prepare := func(tag uint64, op uringbackend.Op) {
		t.Helper()
		require.NoError(t, q.Prepare(op, tag))
	}
	open := uringbackend.Op{
		Kind: uringbackend.KindOpenat2, FD: unix.AT_FDCWD, Path: path, How: &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC},
		FD2: uringbackend.Direct(3), Link: true,
	}
	prepare(0, open)
	prepare(1, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: uringbackend.Direct(3), Buf: buf})
	m := results(t, q, 2)
	require.NoError(t, m[0].Err)
	assert.Zero(t, m[0].N)
	require.NoError(t, m[1].Err)
	assert.Equal(t, "content", string(buf[:m[1].N]))
	// The table lives as long as the queue.
	prepare(2, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: uringbackend.Direct(3), Buf: buf, Offset: 3})
	prepare(3, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: uringbackend.Direct(2), Buf: buf})
	prepare(4, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: uringbackend.Direct(4), Buf: buf})
	m = results(t, q, 3)
	assert.Equal(t, 4, m[2].N)
	assert.Equal(t, unix.EBADF, m[3].Err, "an empty place")
	assert.Equal(t, unix.EBADF, m[4].Err, "no such place")
	prepare(5, uringbackend.Op{Kind: uringbackend.KindClose, FD: uringbackend.Direct(3)})
	assert.NoError(t, results(t, q, 1)[5].Err)
	prepare(6, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: uringbackend.Direct(3), Buf: buf})
	assert.Equal(t, unix.EBADF, results(t, q, 1)[6].Err)
	open.Link = false
	prepare(7, open) // left open
	require.NoError(t, results(t, q, 1)[7].Err)
	q.Close()
	assert.LessOrEqual(t, openFDs(t), before, "descriptors")
}
