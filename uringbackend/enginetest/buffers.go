//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var bufferCases = []Case{
	{"FixedRead", testFixedRead},
	{"FixedWrite", testFixedWrite},
	{"FixedVectored", testFixedVectored},
	{"FixedStream", testFixedStream},
	{"FixedOutside", testFixedOutside},
	{"FixedBatch", testFixedBatch},
	{"FixedConcurrent", testFixedConcurrent},
	{"ArenaOrder", testArenaOrder},
	{"ArenaWait", testArenaWait},
	{"ArenaClose", testArenaClose},
}

// arena makes an arena that is closed when the case ends, and by then has all its buffers back.
func arena(t *testing.T, e uringbackend.Engine, cfg uringbackend.ArenaConfig) *uringbackend.Arena {
	t.Helper()
	a, err := e.NewArena(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.Close(), "arena") })
	return a
}

func get(t *testing.T, a *uringbackend.Arena) *uringbackend.Buffer {
	t.Helper()
	b := a.Get()
	require.NotNil(t, b)
	return b
}

// testFixedRead: what a plain read answers, a read into an arena answers too, and it writes nowhere else.
func testFixedRead(t *testing.T, e uringbackend.Engine) {
	content := patterned(30000)
	fd, _ := file(t, content, unix.O_RDONLY)
	for _, huge := range []bool{false, true} {
		a := arena(t, e, uringbackend.ArenaConfig{Chunk: 10000, Count: 3, Huge: huge})
		var all [3]*uringbackend.Buffer
		for i := range all {
			all[i] = get(t, a)
		}
		for _, c := range []struct {
			name     string
			from, to int
			off      int64
		}{
			{"whole buffer", 0, 10000, 0},
			{"a part", 100, 300, 7},
			{"across pages of both", 4000, 9000, 12345},
			{"the last byte", 9999, 10000, 29999},
			{"short before the end", 0, 10000, 25000},
			{"at the end", 0, 10, 30000},
			{"beyond the end", 0, 10, 1 << 40},
			{"nothing", 50, 50, 0},
			{"nothing, after the end of the buffer", 10000, 10000, 0},
		} {
			for _, b := range all {
				copy(b.Bytes(), bytes.Repeat([]byte{0xee}, 10000))
			}
			b := all[1]
			want := make([]byte, c.to-c.from)
			wantN, err := e.ReadAt(background(), fd, want, c.off)
			require.NoError(t, err, c.name)
			n, err := e.ReadFixed(background(), fd, b, c.from, c.to, c.off)
			require.NoError(t, err, c.name)
			require.Equal(t, wantN, n, c.name)
			mem := b.Bytes()
			require.Len(t, mem, 10000)
			assert.True(t, bytes.Equal(want[:n], mem[c.from:c.from+n]), c.name)
			for _, rest := range [][]byte{mem[:c.from], mem[c.from+n:], all[0].Bytes(), all[2].Bytes()} {
				assert.Equal(t, len(rest), bytes.Count(rest, []byte{0xee}), "%s: wrote where it should not", c.name)
			}
		}
		for _, b := range all {
			b.Release()
		}
	}
}

func testFixedWrite(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	a := arena(t, e, uringbackend.ArenaConfig{Chunk: 8192, Count: 1})
	b := get(t, a)
	defer b.Release()
	pattern(b.Bytes(), 0)
	want := make([]byte, 20000)
	for _, w := range []struct {
		from, to int
		off      int64
	}{{0, 8192, 100}, {5000, 5001, 0}, {1, 8192, 11809}, {77, 77, 50}} {
		n, err := e.WriteFixed(background(), fd, b, w.from, w.to, w.off)
		require.NoError(t, err)
		require.Equal(t, w.to-w.from, n)
		copy(want[w.off:], b.Bytes()[w.from:w.to])
	}
	n, err := e.Do(background(), uringbackend.Op{
		Kind: uringbackend.KindWriteAt, FD: fd, Buf: b.Bytes()[:10], Fixed: a, Flags: unix.RWF_APPEND,
	})
	require.NoError(t, err)
	require.Equal(t, 10, n)
	want = append(want, b.Bytes()[:10]...)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	ro, _ := file(t, nil, unix.O_RDONLY)
	_, err = e.WriteFixed(background(), ro, b, 0, 10, 0)
	assert.Equal(t, unix.EBADF, err)
	_, err = e.ReadFixed(background(), ro, b, 0, 10, -5)
	assert.Equal(t, unix.EINVAL, err)
}

// testFixedVectored reads and writes parts of several buffers by one op.
func testFixedVectored(t *testing.T, e uringbackend.Engine) {
	content := patterned(20000)
	fd, path := file(t, content, unix.O_RDWR)
	a := arena(t, e, uringbackend.ArenaConfig{Chunk: 4096, Count: 8})
	var bufs [][]byte
	for i := range 8 {
		b := get(t, a)
		defer b.Release()
		bufs = append(bufs, b.Bytes()[i*100:4096-i])
	}
	require.Less(t, 10, len(bufs[0]))
	op := uringbackend.Op{Kind: uringbackend.KindReadvAt, FD: fd, Bufs: bufs, Offset: 1000, Fixed: a}
	n, err := e.Do(background(), op)
	require.NoError(t, err)
	require.Equal(t, 19000, n)
	got := bytes.Join(bufs, nil)
	assert.True(t, bytes.Equal(content[1000:], got[:n]))

	op = uringbackend.Op{Kind: uringbackend.KindWritevAt, FD: fd, Bufs: [][]byte{bufs[3][:50], bufs[1], bufs[0][7:8]}, Offset: 3, Fixed: a}
	want := bytes.Join(op.Bufs, nil)
	n, err = e.Do(background(), op)
	require.NoError(t, err)
	require.Equal(t, len(want), n)
	copy(content[3:], want)
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, now))
}

// testFixedStream: the same memory serves pipes, which wait.
func testFixedStream(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	a := arena(t, e, uringbackend.ArenaConfig{Chunk: 4096, Count: 2})
	in, out := get(t, a), get(t, a)
	defer in.Release()
	defer out.Release()
	pattern(out.Bytes(), 0)
	var n int
	var err error
	over := make(chan struct{})
	// ends when the pipe has data; waited by the receive from over
	go func() {
		defer close(over)
		n, err = e.Do(background(), uringbackend.Op{
			Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: in.Bytes(), Offset: -1, Fixed: a,
		})
	}()
	m, werr := e.Do(background(), uringbackend.Op{
		Kind: uringbackend.KindWriteAt, Unbounded: true, FD: w, Buf: out.Bytes()[5:900], Offset: -1, Fixed: a,
	})
	require.NoError(t, werr)
	require.Equal(t, 895, m)
	within(t, "read of a pipe", func() { <-over })
	require.NoError(t, err)
	require.Equal(t, 895, n)
	assert.True(t, bytes.Equal(out.Bytes()[5:900], in.Bytes()[:n]))
}

// testFixedOutside: an op that names an arena and points elsewhere is refused, whatever the engine.
func testFixedOutside(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, patterned(100), unix.O_RDWR)
	a := arena(t, e, uringbackend.ArenaConfig{Chunk: 4096, Count: 2})
	neighbour := arena(t, e, uringbackend.ArenaConfig{Chunk: 4096, Count: 1})
	b, nb := get(t, a), get(t, neighbour)
	defer b.Release()
	defer nb.Release()
	other, err := uringbackend.Open("syscall", e.Features(), uringbackend.Config{Strict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	foreign := arena(t, other, uringbackend.ArenaConfig{Chunk: 4096, Count: 1})
	fb := get(t, foreign)
	defer fb.Release()

	elsewhere := make([]byte, 10)
	for _, c := range []struct {
		name string
		op   uringbackend.Op
	}{
		{"heap", uringbackend.Op{Kind: uringbackend.KindReadAt, Buf: elsewhere, Fixed: a}},
		{"heap, write", uringbackend.Op{Kind: uringbackend.KindWriteAt, Buf: elsewhere, Fixed: a}},
		{"another arena", uringbackend.Op{Kind: uringbackend.KindReadAt, Buf: nb.Bytes(), Fixed: a}},
		{"one of several", uringbackend.Op{Kind: uringbackend.KindReadvAt, Bufs: [][]byte{b.Bytes()[:1], elsewhere}, Fixed: a}},
		{"one of several, write", uringbackend.Op{Kind: uringbackend.KindWritevAt, Bufs: [][]byte{elsewhere, b.Bytes()[:1]}, Fixed: a}},
		{"another engine's arena", uringbackend.Op{Kind: uringbackend.KindReadAt, Buf: fb.Bytes(), Fixed: foreign}},
		{"waiting", uringbackend.Op{Kind: uringbackend.KindReadAt, Unbounded: true, Buf: elsewhere, Fixed: a}},
	} {
		c.op.FD = fd
		_, err := e.Do(background(), c.op)
		assert.Equal(t, unix.EINVAL, err, c.name)
	}
	for _, r := range [][2]int{{-1, 5}, {5, 4}, {0, 4097}, {4097, 4097}} {
		_, err := e.ReadFixed(background(), fd, b, r[0], r[1], 0)
		assert.Equal(t, unix.EINVAL, err, "range %v", r)
		_, err = e.WriteFixed(background(), fd, b, r[0], r[1], 0)
		assert.Equal(t, unix.EINVAL, err, "range %v", r)
	}
	// A verb that does not read Fixed does not mind it.
	_, err = e.Do(background(), uringbackend.Op{Kind: uringbackend.KindFsync, FD: fd, Fixed: a})
	assert.NoError(t, err)
	for _, cfg := range []uringbackend.ArenaConfig{{Chunk: 0, Count: 1}, {Chunk: 1, Count: 0}, {Chunk: -1, Count: 1}, {Chunk: 1 << 62, Count: 1 << 62}} {
		_, err := e.NewArena(cfg)
		assert.Equal(t, unix.EINVAL, err)
	}
}

// testFixedBatch: ops of two arenas and of none in one batch larger than a ring.
func testFixedBatch(t *testing.T, e uringbackend.Engine) {
	content := patterned(200 * 100)
	fd, _ := file(t, content, unix.O_RDONLY)
	as := []*uringbackend.Arena{
		arena(t, e, uringbackend.ArenaConfig{Chunk: 100, Count: 100}),
		arena(t, e, uringbackend.ArenaConfig{Chunk: 100, Count: 100}),
	}
	ops := make([]uringbackend.Op, 200)
	for i := range ops {
		ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Offset: int64(i * 100)}
		if i%3 == 2 {
			ops[i].Buf = make([]byte, 100)
			continue
		}
		b := get(t, as[i%3])
		defer b.Release()
		ops[i].Buf, ops[i].Fixed = b.Bytes(), b.Arena()
	}
	var reports int
	e.Submit(background(), ops, func(_, n int, more bool, err error) {
		reports++
		assert.False(t, more)
		assert.NoError(t, err)
		assert.Equal(t, 100, n)
	})
	require.Equal(t, len(ops), reports)
	for i := range ops {
		require.True(t, bytes.Equal(content[i*100:][:100], ops[i].Buf), "op %d", i)
	}
}

// testFixedConcurrent: more callers than buffers, on as many rings as they like.
func testFixedConcurrent(t *testing.T, e uringbackend.Engine) {
	content := patterned(1 << 20)
	fd, _ := file(t, content, unix.O_RDONLY)
	a := arena(t, e, uringbackend.ArenaConfig{Chunk: 5000, Count: 3, Huge: true})
	var group sync.WaitGroup
	for seed := range uint64(8) {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, 4))
			for range 100 {
				b, err := a.GetWait(background())
				if !assert.NoError(t, err) {
					return
				}
				off := random.IntN(len(content) - 5000)
				from := random.IntN(5000)
				to := from + random.IntN(5001-from)
				n, err := e.ReadFixed(background(), fd, b, from, to, int64(off))
				assert.NoError(t, err)
				assert.Equal(t, to-from, n)
				assert.True(t, bytes.Equal(content[off:off+n], b.Bytes()[from:to]))
				b.Release()
			}
		})
	}
	within(t, "reads", group.Wait)
	assert.Zero(t, a.Out())
}

// testArenaOrder: last in, first out; a reference more keeps a buffer.
func testArenaOrder(t *testing.T, e uringbackend.Engine) {
	a := arena(t, e, uringbackend.ArenaConfig{Chunk: 10, Count: 3})
	x, y, z := get(t, a), get(t, a), get(t, a)
	assert.Nil(t, a.Get())
	assert.Equal(t, 3, a.Out())
	assert.EqualValues(t, 3, e.Health().Buffers)
	require.Len(t, x.Bytes(), 10)
	require.Equal(t, 10, cap(x.Bytes()), "no way into the neighbour")
	y.Release()
	x.Retain()
	x.Release()
	assert.Equal(t, 2, a.Out())
	x.Release()
	assert.Same(t, x, get(t, a))
	assert.Same(t, y, get(t, a))
	x.Release()
	y.Release()
	z.Release()
	assert.Zero(t, e.Health().Buffers)
}

func testArenaWait(t *testing.T, e uringbackend.Engine) {
	a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 10, Count: 1})
	require.NoError(t, err)
	b, err := a.GetWait(background())
	require.NoError(t, err)
	short, cancel := context.WithTimeout(background(), 5*time.Millisecond)
	defer cancel()
	_, err = a.GetWait(short)
	assert.Equal(t, unix.ECANCELED, err)

	// Each waiter gets it in turn; Close sends the rest away.
	var served atomic.Int32
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			b, err := a.GetWait(background())
			if assert.NoError(t, err) {
				served.Add(1)
				b.Release()
			}
		})
	}
	b.Release()
	within(t, "waiters", group.Wait)
	assert.EqualValues(t, 5, served.Load())

	b = get(t, a)
	refused := make(chan error, 1)
	// ends when the arena is closed; waited by the receive from refused
	go func() {
		_, err := a.GetWait(background())
		refused <- err
	}()
	assert.ErrorIs(t, a.Close(), unix.EBUSY)
	within(t, "waiter of a closed arena", func() { assert.Equal(t, unix.ECANCELED, <-refused) })
	_, err = a.GetWait(background())
	assert.Equal(t, unix.ECANCELED, err)
	b.Release()
	assert.NoError(t, a.Close())
}

// testArenaClose closes an arena that many rings know, while a buffer is out, and uses what comes after it.
func testArenaClose(t *testing.T, e uringbackend.Engine) {
	content := patterned(4096)
	fd, _ := file(t, content, unix.O_RDONLY)
	for range 40 { // more than there are places
		a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 5})
		require.NoError(t, err)
		read := func(b *uringbackend.Buffer) {
			n, err := e.ReadFixed(background(), fd, b, 0, 4096, 0)
			assert.NoError(t, err)
			assert.Equal(t, 4096, n)
			assert.True(t, bytes.Equal(content, b.Bytes()))
		}
		var group sync.WaitGroup
		for range 4 {
			b := get(t, a)
			group.Go(func() {
				read(b)
				b.Release()
			})
		}
		group.Wait()
		b := get(t, a)
		err = a.Close()
		require.ErrorIs(t, err, unix.EBUSY)
		assert.ErrorContains(t, err, "1 of 5 buffers")
		assert.Nil(t, a.Get(), "closed")
		read(b) // is valid until it is released
		b.Release()
		require.NoError(t, a.Close())
		_, err = e.Do(background(), uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, 1), Fixed: a})
		assert.Equal(t, unix.EINVAL, err)
	}
	assert.Empty(t, e.Health().Unregistered)
}
