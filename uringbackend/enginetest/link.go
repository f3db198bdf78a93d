//go:build linux

package enginetest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// Ordered lists the cases about ops of one Submit that have to do with each other, and about ops given up by time:
// Link, Drain, Timeout, Async.
func Ordered() []Case {
	return []Case{
		{"Link", testLink},
		{"LinkErrorBreaks", testLinkErrorBreaks},
		{"LinkShortBreaks", testLinkShortBreaks},
		{"LinkChainsAreIndependent", testLinkIndependent},
		{"LinkUnbounded", testLinkUnbounded},
		{"LinkLength", testLinkLength},
		{"LinkCancelled", testLinkCancelled},
		{"Drain", testDrain},
		{"DrainUnbounded", testDrainUnbounded},
		{"DrainChain", testDrainChain},
		{"DrainClose", testDrainClose},
		{"Timeout", testTimeout},
		{"TimeoutInTime", testTimeoutInTime},
		{"TimeoutBreaksChain", testTimeoutBreaksChain},
		{"Async", testAsync},
	}
}

// result is the last report of an op.
type result struct {
	N   int
	Err error
}

// call is one Submit and what it has reported.
type call struct {
	mu      sync.Mutex
	results []result
	order   []int // indexes, as they reported
	left    sync.WaitGroup
}

// start submits ops and returns when Submit does. An op that reports twice fails the test.
func start(ctx context.Context, t *testing.T, e uringbackend.Engine, ops []uringbackend.Op) *call {
	t.Helper()
	c := &call{results: make([]result, len(ops))}
	c.left.Add(len(ops))
	seen := make([]bool, len(ops))
	given := append([]uringbackend.Op(nil), ops...)
	e.Submit(ctx, given, func(i, n int, more bool, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !assert.False(t, seen[i], "op %d reported after its last report", i) || more {
			return
		}
		seen[i] = true
		c.results[i] = result{n, err}
		c.order = append(c.order, i)
		c.left.Done()
	})
	clear(given) // the slice was only borrowed
	return c
}

// reported is how many ops have reported so far.
func (c *call) reported() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.order)
}

// wait returns the results and the order in which they came.
func (c *call) wait(t *testing.T) ([]result, []int) {
	t.Helper()
	within(t, "call", c.left.Wait)
	return c.results, c.order
}

func all(ctx context.Context, t *testing.T, e uringbackend.Engine, ops []uringbackend.Op) ([]result, []int) {
	t.Helper()
	return start(ctx, t, e, ops).wait(t)
}

// linked joins ops to a chain.
func linked(ops ...uringbackend.Op) []uringbackend.Op {
	for i := range len(ops) - 1 {
		ops[i].Link = true
	}
	return ops
}

func readOp(fd, n int, off int64) uringbackend.Op {
	return uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, n), Offset: off}
}

func writeOp(fd int, data string, off int64) uringbackend.Op {
	return uringbackend.Op{Kind: uringbackend.KindWriteAt, FD: fd, Buf: []byte(data), Offset: off}
}

// streamOp makes an op of a stream of it.
func streamOp(op uringbackend.Op) uringbackend.Op {
	op.Unbounded, op.Offset = true, -1
	return op
}

func content(t *testing.T, path string) string {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(got)
}

var cancelled = result{0, unix.ECANCELED}

func testLink(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	extra, err := unix.Dup(fd)
	require.NoError(t, err)
	var st unix.Statx_t
	ops := linked(
		writeOp(fd, "hello", 0),
		uringbackend.Op{Kind: uringbackend.KindFsync, FD: fd},
		uringbackend.Op{Kind: uringbackend.KindCopyFileRange, FD: fd, FD2: fd, Offset2: 5, Length: 5},
		readOp(fd, 10, 0),
		uringbackend.Op{Kind: uringbackend.KindReadvAt, FD: fd, Bufs: [][]byte{make([]byte, 3), nil, make([]byte, 4)}, Offset: 3},
		readOp(fd, 0, 0), // nothing asked for, nothing missing
		uringbackend.Op{Kind: uringbackend.KindStatx, FD: unix.AT_FDCWD, Path: path, Mask: unix.STATX_SIZE, Statx: &st},
		uringbackend.Op{Kind: uringbackend.KindClose, FD: extra},
	)
	ops[len(ops)-1].Link = true // to nothing
	results, order := all(background(), t, e, ops)
	assert.Equal(t, []result{{5, nil}, {}, {5, nil}, {10, nil}, {7, nil}, {}, {}, {}}, results)
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7}, order)
	assert.Equal(t, "hellohello", string(ops[3].Buf))
	assert.Equal(t, "lohello", string(ops[4].Bufs[0])+string(ops[4].Bufs[2]))
	assert.EqualValues(t, 10, st.Size)
	assert.Equal(t, unix.EBADF, e.CloseFD(background(), extra))
}

func testLinkErrorBreaks(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, []byte("old"), unix.O_RDWR)
	extra, err := unix.Dup(fd)
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		op   uringbackend.Op
		want unix.Errno
	}{
		{"a ring verb", readOp(1<<20, 1, 0), unix.EBADF},
		{"a syscall verb", uringbackend.Op{Kind: uringbackend.KindFlistxattr, FD: 1 << 20}, unix.EBADF},
		{"no verb", uringbackend.Op{}, unix.EINVAL},
		{"a path that cannot be", uringbackend.Op{
			Kind: uringbackend.KindStatx, FD: unix.AT_FDCWD, Path: "a\x00b", Statx: new(unix.Statx_t),
		}, unix.EINVAL},
	} {
		ops := linked(writeOp(fd, "new", 0), c.op, writeOp(fd, "never", 0), uringbackend.Op{Kind: uringbackend.KindClose, FD: extra})
		ops = append(ops, readOp(fd, 3, 0))
		results, _ := all(background(), t, e, ops)
		assert.Equal(t, []result{{3, nil}, {0, c.want}, cancelled, cancelled}, results[:4], c.name)
		assert.Equal(t, result{3, nil}, results[4], "%s: an op after the chain is not of it", c.name)
	}
	assert.Equal(t, "new", content(t, path))
	require.NoError(t, e.CloseFD(background(), extra), "a close in a broken chain is not carried out")
}

func testLinkShortBreaks(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, []byte("0123456789"), unix.O_RDWR)
	empty, _ := file(t, nil, unix.O_RDWR)
	for _, c := range []struct {
		name string
		op   uringbackend.Op
		n    int
	}{
		{"read", readOp(fd, 4, 7), 3},
		{"read at the end", readOp(fd, 1, 10), 0},
		{"readv", uringbackend.Op{
			Kind: uringbackend.KindReadvAt, FD: fd, Bufs: [][]byte{make([]byte, 8), make([]byte, 3)},
		}, 10},
		{"copy_file_range", uringbackend.Op{Kind: uringbackend.KindCopyFileRange, FD: fd, Offset: 5, FD2: empty, Length: 6}, 5},
	} {
		results, order := all(background(), t, e, linked(c.op, writeOp(fd, "never", 0), readOp(fd, 1, 0)))
		assert.Equal(t, []result{{c.n, nil}, cancelled, cancelled}, results, c.name)
		assert.Equal(t, []int{0, 1, 2}, order, c.name)
	}
	assert.Equal(t, "0123456789", content(t, path))
	results, _ := all(background(), t, e, linked(readOp(fd, 3, 7), writeOp(fd, "x", 0)))
	assert.Equal(t, []result{{3, nil}, {1, nil}}, results, "up to the end is full")
}

func testLinkIndependent(t *testing.T, e uringbackend.Engine) {
	const chains = 20
	fd, _ := file(t, patterned(chains*8), unix.O_RDWR)
	var ops []uringbackend.Op
	for i := range chains {
		bad := fd
		if i%3 == 0 {
			bad = 1 << 20
		}
		at := int64(i) * 8
		ops = append(ops, linked(writeOp(fd, string(rune('a'+i)), at), readOp(bad, 1, at), writeOp(fd, "!", at+1))...)
		ops = append(ops, readOp(fd, 1, at+7))
	}
	results, _ := all(background(), t, e, ops)
	for i := range chains {
		want, mark := []result{{1, nil}, {1, nil}, {1, nil}, {1, nil}}, byte('!')
		if i%3 == 0 {
			want[1], want[2] = result{0, unix.EBADF}, cancelled
			mark = byte(i*8 + 1)
		}
		assert.Equal(t, want, results[4*i:4*i+4], "chain %d", i)
		got := make([]byte, 2)
		_, err := unix.Pread(fd, got, int64(i)*8)
		require.NoError(t, err)
		assert.Equal(t, []byte{byte('a' + i), mark}, got)
	}
}

// testLinkUnbounded: a chain that waits for a peer does so elsewhere, its bounded ops included.
func testLinkUnbounded(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	r, w := pipe(t)
	ops := linked(writeOp(fd, "1", 0), streamOp(readOp(r, 4, -1)), writeOp(fd, "2", 1))
	c := start(background(), t, e, ops)
	require.Eventually(t, func() bool { return c.reported() == 1 }, limit, time.Millisecond)
	assert.Equal(t, "1", content(t, path))
	_, err := unix.Write(w, []byte("full"))
	require.NoError(t, err)
	results, order := c.wait(t)
	assert.Equal(t, []result{{1, nil}, {4, nil}, {1, nil}}, results)
	assert.Equal(t, []int{0, 1, 2}, order)
	assert.Equal(t, "full", string(ops[1].Buf))
	assert.Equal(t, "12", content(t, path))

	c = start(background(), t, e, linked(streamOp(readOp(r, 9, -1)), writeOp(fd, "never", 0)))
	require.Zero(t, c.reported())
	_, err = unix.Write(w, []byte("short"))
	require.NoError(t, err)
	results, _ = c.wait(t)
	assert.Equal(t, []result{{5, nil}, cancelled}, results)
	assert.Equal(t, "12", content(t, path))
}

func testLinkLength(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	n := e.MaxChain()
	ops := make([]uringbackend.Op, n)
	for i := range ops {
		ops[i] = writeOp(fd, string(rune('a'+i%26)), int64(i))
	}
	results, _ := all(background(), t, e, linked(ops...))
	for i := range results {
		require.Equal(t, result{1, nil}, results[i], "op %d of the longest chain", i)
	}
	require.Len(t, content(t, path), n)

	ops = append(linked(append(ops, writeOp(fd, "never", 0))...), readOp(fd, 1, 0))
	results, _ = all(background(), t, e, ops)
	for i := range results[:n+1] {
		require.Equal(t, result{0, unix.EINVAL}, results[i], "op %d of a chain that is too long", i)
	}
	assert.Equal(t, result{1, nil}, results[n+1], "an op after it")
}

func testLinkCancelled(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	r, w := pipe(t)
	for range 20 {
		ctx, cancel := context.WithCancel(background())
		c := start(ctx, t, e, linked(streamOp(readOp(r, 1, -1)), writeOp(fd, "never", 0), readOp(fd, 1, 0)))
		cancel()
		results, _ := c.wait(t)
		assert.Equal(t, []result{cancelled, cancelled, cancelled}, results)
	}
	_, err := unix.Write(w, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(drain(t, r, 0)))
	assert.Empty(t, content(t, path))
}

func testDrain(t *testing.T, e uringbackend.Engine) {
	const n = 100 // more than a ring has entries
	fd, _ := file(t, nil, unix.O_RDWR)
	var ops []uringbackend.Op
	for i := range n {
		ops = append(ops, writeOp(fd, "x", int64(i)))
	}
	last := readOp(fd, 2*n, 0)
	last.Drain = true
	results, order := all(background(), t, e, append(ops, last))
	assert.Equal(t, result{n, nil}, results[n], "it starts after all writes before it")
	assert.Equal(t, n, order[n])

	first := readOp(fd, 1, 0)
	first.Drain = true // there is nothing before it
	results, _ = all(background(), t, e, []uringbackend.Op{first})
	assert.Equal(t, []result{{1, nil}}, results)
}

func testDrainUnbounded(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	r, w := pipe(t)
	late := writeOp(fd, "late", 0)
	late.Drain = true
	c := start(background(), t, e, []uringbackend.Op{streamOp(readOp(r, 1, -1)), streamOp(readOp(r, 1, -1)), late})
	require.Eventually(t, func() bool { return e.Health().InFlight >= 2 }, limit, time.Millisecond)
	for range 2 {
		require.Empty(t, content(t, path), "started before an op before it had reported")
		_, err := unix.Write(w, []byte("x"))
		require.NoError(t, err)
	}
	results, order := c.wait(t)
	assert.Equal(t, []result{{1, nil}, {1, nil}, {4, nil}}, results)
	assert.Equal(t, 2, order[2])
	assert.Equal(t, "late", content(t, path))
}

// testDrainChain: a chain waits as a whole, whichever of its ops drains.
func testDrainChain(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	r, w := pipe(t)
	chain := linked(writeOp(fd, "1", 0), writeOp(fd, "2", 1))
	chain[1].Drain = true
	c := start(background(), t, e, append([]uringbackend.Op{streamOp(readOp(r, 1, -1))}, chain...))
	require.Eventually(t, func() bool { return e.Health().InFlight >= 1 }, limit, time.Millisecond)
	require.Zero(t, c.reported())
	require.Empty(t, content(t, path))
	_, err := unix.Write(w, []byte("x"))
	require.NoError(t, err)
	results, order := c.wait(t)
	assert.Equal(t, []result{{1, nil}, {1, nil}, {1, nil}}, results)
	assert.Equal(t, []int{0, 1, 2}, order)
	assert.Equal(t, "12", content(t, path))
}

// testDrainClose: the close of a descriptor that ops before it use comes when they are over, cancelled or not.
func testDrainClose(t *testing.T, e uringbackend.Engine) {
	r, _ := pipe(t)
	for range 50 {
		fd, err := unix.Dup(r)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(background())
		c := start(ctx, t, e, []uringbackend.Op{
			streamOp(readOp(fd, 1, -1)), {Kind: uringbackend.KindClose, FD: fd, Drain: true},
		})
		cancel()
		results, order := c.wait(t)
		require.Equal(t, []result{cancelled, {}}, results)
		require.Equal(t, []int{0, 1}, order)
		_, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		require.Equal(t, unix.EBADF, err)
	}
}

func testTimeout(t *testing.T, e uringbackend.Engine) {
	const timeout = 20 * time.Millisecond
	r, w := pipe(t)
	op := streamOp(readOp(r, 4, -1))
	op.Timeout = timeout
	begin := time.Now()
	n, err := e.Do(background(), op)
	assert.Equal(t, unix.ETIME, err)
	assert.Zero(t, n)
	assert.GreaterOrEqual(t, time.Since(begin), timeout)
	_, err = unix.Write(w, []byte("late"))
	require.NoError(t, err)
	assert.Equal(t, "late", string(drain(t, r, 0)), "an op that was given up consumed data")

	fill(t, w)
	op = streamOp(writeOp(w, "never", -1))
	op.Timeout = timeout
	_, err = e.Do(background(), op)
	assert.Equal(t, unix.ETIME, err)
	assert.NotContains(t, string(drain(t, r, 0)), "never")

	// A context that ends sooner wins.
	ctx, cancel := context.WithTimeout(background(), time.Millisecond)
	defer cancel()
	op = streamOp(readOp(r, 4, -1))
	op.Timeout = limit
	_, err = e.Do(ctx, op)
	assert.Equal(t, unix.ECANCELED, err)
}

func testTimeoutInTime(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	op := streamOp(readOp(r, 4, -1))
	op.Timeout = limit
	c := start(background(), t, e, []uringbackend.Op{op})
	require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, limit, time.Millisecond)
	_, err := unix.Write(w, []byte("data"))
	require.NoError(t, err)
	results, _ := c.wait(t)
	assert.Equal(t, []result{{4, nil}}, results)

	fd, _ := file(t, []byte("x"), unix.O_RDWR)
	op = readOp(fd, 1, 0)
	op.Timeout = limit
	results, _ = all(background(), t, e, []uringbackend.Op{op, op})
	assert.Equal(t, []result{{1, nil}, {1, nil}}, results, "what does not wait")
}

func testTimeoutBreaksChain(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	r, _ := pipe(t)
	op := streamOp(readOp(r, 4, -1))
	op.Timeout = 5 * time.Millisecond
	ops := append(linked(op, writeOp(fd, "never", 0)), readOp(fd, 1, 0))
	results, _ := all(background(), t, e, ops)
	assert.Equal(t, []result{{0, unix.ETIME}, cancelled, {}}, results)
	assert.Empty(t, content(t, path))
}

// testAsync: a hint changes no result.
func testAsync(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, []byte("content"), unix.O_RDWR)
	r, w := pipe(t)
	_, err := unix.Write(w, []byte("data"))
	require.NoError(t, err)
	ops := []uringbackend.Op{
		readOp(fd, 7, 0), writeOp(fd, "!", 7), streamOp(readOp(r, 4, -1)), readOp(1<<20, 1, 0),
		{Kind: uringbackend.KindStatx, FD: unix.AT_FDCWD, Path: path, Mask: unix.STATX_SIZE, Statx: new(unix.Statx_t)},
		{Kind: uringbackend.KindFsync, FD: fd},
	}
	for i := range ops {
		ops[i].Async = true
	}
	results, _ := all(background(), t, e, ops)
	assert.Equal(t, []result{{7, nil}, {1, nil}, {4, nil}, {0, unix.EBADF}, {}, {}}, results)
	assert.Equal(t, "content", string(ops[0].Buf))
	assert.Equal(t, "data", string(ops[2].Buf))

	ctx, cancel := context.WithCancel(background())
	wait := streamOp(readOp(r, 4, -1))
	wait.Async = true
	c := start(ctx, t, e, []uringbackend.Op{wait})
	cancel()
	results, _ = c.wait(t)
	assert.Equal(t, []result{cancelled}, results)
}
