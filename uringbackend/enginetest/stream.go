//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var streamCases = []Case{
	{"Stream", testStream},
	{"StreamWrite", testStreamWrite},
	{"CancelRead", testCancelRead},
	{"CancelRace", testCancelRace},
	{"CancelWrite", testCancelWrite},
	{"CancelSplice", testCancelSplice},
	{"IdleReadersDoNotStarve", testIdleReaders},
	{"StackGrowth", testStackGrowth},
}

func testStream(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	type got struct {
		n   int
		err error
	}
	read := func(p []byte) chan got {
		c := make(chan got, 1)
		// ends when the read is done; waited by the receive from c
		go func() {
			n, err := e.Read(background(), r, p)
			c <- got{n, err}
		}()
		return c
	}
	buf := make([]byte, 10)
	c := read(buf)
	_, err := unix.Write(w, []byte("first"))
	require.NoError(t, err)
	within(t, "read of a pipe", func() { assert.Equal(t, got{5, nil}, <-c) })
	assert.Equal(t, "first", string(buf[:5]))

	var a, b [2]byte
	_, err = unix.Write(w, []byte("next"))
	require.NoError(t, err)
	n, err := e.Do(background(), uringbackend.Op{
		Kind: uringbackend.KindReadvAt, Unbounded: true, FD: r, Bufs: [][]byte{a[:], b[:]}, Offset: -1,
	})
	require.NoError(t, err)
	assert.Equal(t, "next"[:n], string(a[:])+string(b[:]))

	// End of the stream: the last writer goes while a reader waits.
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	own(t, p[0])
	r = p[0]
	c = read(buf)
	require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, limit, time.Millisecond)
	require.NoError(t, unix.Close(p[1]))
	within(t, "end of a pipe", func() { assert.Equal(t, got{0, nil}, <-c) })

	_, err = e.Read(background(), 1<<20, buf)
	assert.Equal(t, unix.EBADF, err)

	var s [2]int
	s, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, s[0])
	own(t, s[1])
	n, err = e.Write(background(), s[0], []byte("socket"))
	require.NoError(t, err)
	require.Equal(t, 6, n)
	n, err = e.Read(background(), s[1], buf)
	require.NoError(t, err)
	assert.Equal(t, "socket", string(buf[:n]))
}

func testStreamWrite(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	fill(t, w)
	data := []byte("after")
	c := make(chan error, 1)
	// ends when there is room in the pipe; waited by the receive from c
	go func() {
		for at := 0; at < len(data); {
			n, err := e.Write(background(), w, data[at:])
			if err != nil {
				c <- err
				return
			}
			at += n
		}
		c <- nil
	}()
	require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, limit, time.Millisecond)
	select {
	case err := <-c:
		t.Fatal("write to a full pipe returned", err)
	default:
	}
	got := drain(t, r, 1)
	within(t, "write to a pipe with room", func() { require.NoError(t, <-c) })
	got = append(got, drain(t, r, 0)...)
	assert.True(t, bytes.HasSuffix(got, data))
}

// fill writes to a pipe until it is full.
func fill(t *testing.T, w int) {
	t.Helper()
	require.NoError(t, unix.SetNonblock(w, true))
	for _, size := range []int{4096, 1} {
		for {
			if _, err := unix.Write(w, make([]byte, size)); err != nil {
				require.ErrorIs(t, err, unix.EAGAIN)
				break
			}
		}
	}
	require.NoError(t, unix.SetNonblock(w, false))
}

// drain reads what is in a pipe, or at least a page of it if some is to be left.
func drain(t *testing.T, r, pages int) (all []byte) {
	t.Helper()
	require.NoError(t, unix.SetNonblock(r, true))
	buf := make([]byte, 4096)
	for i := 0; pages == 0 || i < pages; i++ {
		n, err := unix.Read(r, buf)
		if err != nil {
			require.ErrorIs(t, err, unix.EAGAIN)
			break
		}
		all = append(all, buf[:n]...)
	}
	require.NoError(t, unix.SetNonblock(r, false))
	return all
}

// testCancelRead: a cancelled read returns at once, and what comes later is neither consumed nor written to the
// buffer, whose memory is the caller's again.
func testCancelRead(t *testing.T, e uringbackend.Engine) {
	const rounds = 1000
	r, w := pipe(t)
	buf, want := bytes.Repeat([]byte{0xaa}, 64), bytes.Repeat([]byte{0xaa}, 64)
	start := time.Now()
	for i := range rounds {
		ctx, cancel := context.WithCancel(background())
		c := make(chan error, 1)
		// ends when the read is cancelled; waited by the receive from c
		go func() {
			_, err := e.Read(ctx, r, buf)
			c <- err
		}()
		for range i % 8 { // cancel sooner and later
			runtime.Gosched()
		}
		cancel()
		within(t, "cancelled read", func() { require.Equal(t, unix.ECANCELED, <-c) })
		_, err := unix.Write(w, []byte("late"))
		require.NoError(t, err)
		var late [8]byte
		n, err := unix.Read(r, late[:])
		require.NoError(t, err)
		require.Equal(t, "late", string(late[:n]), "round %d: a cancelled read consumed data", i)
		require.True(t, bytes.Equal(want, buf), "round %d: a cancelled read wrote to its buffer", i)
	}
	t.Logf("%d cancellations in %v", rounds, time.Since(start))
}

// testCancelRace: data and cancellation meet; either the read has it or the pipe has, never both or none.
func testCancelRace(t *testing.T, e uringbackend.Engine) {
	const rounds = 500
	r, w := pipe(t)
	had := 0
	for i := range rounds {
		buf := make([]byte, 8)
		ctx, cancel := context.WithCancel(background())
		var n int
		var err error
		var group sync.WaitGroup
		group.Go(func() { n, err = e.Read(ctx, r, buf) })
		group.Go(func() {
			if i%2 == 0 {
				runtime.Gosched()
			}
			_, werr := unix.Write(w, []byte("data"))
			assert.NoError(t, werr)
		})
		group.Go(func() {
			if i%3 == 0 {
				runtime.Gosched()
			}
			cancel()
		})
		within(t, "read against its cancellation", group.Wait)
		if err == nil {
			had++
			require.Equal(t, "data", string(buf[:n]))
			continue
		}
		require.Equal(t, unix.ECANCELED, err)
		require.Equal(t, make([]byte, 8), buf)
		require.Equal(t, "data", string(drain(t, r, 0)), "round %d: data lost", i)
	}
	t.Logf("%d of %d reads came before their cancellation", had, rounds)
}

func testCancelWrite(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	fill(t, w)
	for range 50 {
		ctx, cancel := context.WithCancel(background())
		c := make(chan error, 1)
		// ends when the write is cancelled; waited by the receive from c
		go func() {
			_, err := e.Write(ctx, w, []byte("never"))
			c <- err
		}()
		require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, limit, 100*time.Microsecond)
		cancel()
		within(t, "cancelled write", func() { require.Equal(t, unix.ECANCELED, <-c) })
	}
	assert.NotContains(t, string(drain(t, r, 0)), "never")
}

func testCancelSplice(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, s[0])
	own(t, s[1])
	for range 50 {
		ctx, cancel := context.WithCancel(background())
		c := make(chan error, 1)
		// ends when the splice is cancelled; waited by the receive from c
		go func() {
			_, err := e.Splice(ctx, uringbackend.FileRange{FD: r, Offset: -1}, uringbackend.FileRange{FD: s[0], Offset: -1}, 100, 0, true)
			c <- err
		}()
		require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, limit, 100*time.Microsecond)
		cancel()
		within(t, "cancelled splice", func() { require.Equal(t, unix.ECANCELED, <-c) })
	}
	_, err = unix.Write(w, []byte("through"))
	require.NoError(t, err)
	n, err := e.Splice(background(), uringbackend.FileRange{FD: r, Offset: -1}, uringbackend.FileRange{FD: s[0], Offset: -1}, 100, 0, true)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	buf := make([]byte, 10)
	n, err = unix.Read(s[1], buf)
	require.NoError(t, err)
	assert.Equal(t, "through", string(buf[:n]))
}

// testIdleReaders: ops that wait for peers hold nothing that file I/O needs.
func testIdleReaders(t *testing.T, e uringbackend.Engine) {
	const readers, reads = 200, 2000
	fd, _ := file(t, patterned(1<<20), unix.O_RDONLY)
	type stream struct{ r, w int }
	streams := make([]stream, readers)
	bufs := make([][]byte, readers)
	var idle sync.WaitGroup
	for i := range streams {
		streams[i].r, streams[i].w = pipe(t)
		bufs[i] = make([]byte, 4)
		idle.Go(func() {
			n, err := e.Read(background(), streams[i].r, bufs[i])
			assert.NoError(t, err)
			assert.Equal(t, 1, n)
		})
	}
	require.Eventually(t, func() bool { return e.Health().InFlight == readers }, limit, time.Millisecond)

	start := time.Now()
	var hot sync.WaitGroup
	for g := range 4 {
		hot.Go(func() {
			buf, want := make([]byte, 4096), make([]byte, 4096)
			for i := range reads {
				off := int64((i*7+g)%255) * 4096
				n, err := e.ReadAt(background(), fd, buf, off)
				pattern(want, off)
				if !assert.NoError(t, err) || !assert.Equal(t, 4096, n) || !assert.True(t, bytes.Equal(want, buf)) {
					return
				}
			}
		})
	}
	within(t, "file reads beside idle readers", hot.Wait)
	assert.EqualValues(t, readers, e.Health().InFlight, "an idle reader returned")
	t.Logf("%d reads beside %d idle readers in %v", 4*reads, readers, time.Since(start))

	for i := range streams {
		_, err := unix.Write(streams[i].w, []byte{byte(i)})
		require.NoError(t, err)
	}
	within(t, "idle readers with data", idle.Wait)
	for i := range bufs {
		assert.Equal(t, byte(i), bufs[i][0])
	}
}

// testStackGrowth: a buffer declared in a function may not live on its stack while an op uses it, since a stack
// moves when it grows, and the kernel would write to where it was.
func testStackGrowth(t *testing.T, e uringbackend.Engine) {
	for range 20 {
		var group sync.WaitGroup
		group.Go(func() { // a goroutine of its own begins with a small stack
			var buf [32]byte
			var st unix.Statx_t
			r, w := rawPipe(t)
			done := make(chan int, 1)
			e.Submit(background(), []uringbackend.Op{{
				Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: buf[:], Offset: -1,
			}}, func(_, n int, _ bool, err error) {
				assert.NoError(t, err)
				done <- n
			})
			before := deep(2000) // about a megabyte of stack: it moves several times
			_, err := unix.Write(w, []byte("kernel"))
			assert.NoError(t, err)
			n := <-done
			assert.Equal(t, before, deep(2000))
			assert.Equal(t, "kernel", string(buf[:n]))

			// The same with an op that completes on this goroutine, and an out-structure.
			assert.NoError(t, e.Statx(background(), unix.AT_FDCWD, "/", 0, unix.STATX_BASIC_STATS, &st))
			assert.Equal(t, before, deep(3000)-1000)
			assert.NotZero(t, st.Ino)
			assert.NoError(t, unix.Close(r))
			assert.NoError(t, unix.Close(w))
		})
		within(t, "stack growth", group.Wait)
	}
}

func rawPipe(t *testing.T) (r, w int) {
	var p [2]int
	assert.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	return p[0], p[1]
}

//go:noinline
func deep(n int) int {
	var pad [512]byte
	pad[n%len(pad)] = 1
	if n == 0 {
		return int(pad[0]) - 1
	}
	return deep(n-1) + int(pad[n%len(pad)])
}
