//go:build linux

package uringbackend_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// memory makes an anonymous file with this content.
func memory(t *testing.T, content []byte) (fd int) {
	t.Helper()
	fd, err := unix.MemfdCreate("content", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	n, err := unix.Pwrite(fd, content, 0)
	require.NoError(t, err)
	require.Equal(t, len(content), n)
	return fd
}

// roundTrip reads and writes the same bytes by every verb that takes an arena.
func roundTrip(t *testing.T, e uringbackend.Engine, a *uringbackend.Arena) {
	t.Helper()
	ctx := context.Background()
	content := bytes.Repeat([]byte("0123456789abcdef"), 256) // 4096 bytes
	fd := memory(t, content)
	b := a.Get()
	require.NotNil(t, b)
	defer b.Release()
	half := len(b.Bytes()) / 2
	n, err := e.ReadFixed(ctx, fd, b, 1, half, 5)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content[5:5+n], b.Bytes()[1:1+n]))
	n, err = e.WriteFixed(ctx, fd, b, 1, half, 4096)
	require.NoError(t, err)
	require.Equal(t, half-1, n)
	bufs := [][]byte{b.Bytes()[half : half+7], b.Bytes()[half+9:]}
	op := uringbackend.Op{Kind: uringbackend.KindReadvAt, FD: fd, Bufs: bufs, Offset: 4096, Fixed: a}
	n, err = e.Do(ctx, op)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b.Bytes()[1:1+n], bytes.Join(bufs, nil)[:n]))
	op.Kind, op.Offset = uringbackend.KindWritevAt, 100
	n, err = e.Do(ctx, op)
	require.NoError(t, err)
	got := make([]byte, n)
	_, err = unix.Pread(fd, got, 100)
	require.NoError(t, err)
	require.True(t, bytes.Equal(bytes.Join(bufs, nil), got))
}

var everyFixed = map[string]uint64{"read_at": 1, "write_at": 1, "readv_at": 1, "writev_at": 1}

// TestArenaOldKernel: the same bytes on each kernel, and what went without registered memory is counted.
func TestArenaOldKernel(t *testing.T) {
	missing := uringbackend.Ability{Answer: uringbackend.No, Since: "9.9", Why: unix.EOPNOTSUPP}
	for _, c := range []struct {
		name         string
		old          func(f *uringbackend.Features)
		fixed        map[string]uint64
		fallbacks    map[string]uint64
		unregistered string
	}{
		{"this", func(*uringbackend.Features) {}, everyFixed, map[string]uint64{}, ""},
		{"no clone", func(f *uringbackend.Features) { f.CloneBuffers = missing }, everyFixed, map[string]uint64{}, ""},
		{
			"no table", func(f *uringbackend.Features) { f.BuffersSparse, f.CloneBuffers = missing, missing },
			map[string]uint64{},
			map[string]uint64{"read_at fixed": 1, "write_at fixed": 1, "readv_at fixed": 1, "writev_at fixed": 1},
			"table of registered buffers: no: operation not supported",
		},
		{
			"no READV_FIXED", func(f *uringbackend.Features) { f.OpReadvFixed, f.OpWritevFixed = missing, missing },
			map[string]uint64{"read_at": 1, "write_at": 1},
			map[string]uint64{"readv_at fixed": 1, "writev_at fixed": 1},
			"",
		},
		{
			"no READ_FIXED", func(f *uringbackend.Features) { f.OpReadFixed = missing },
			map[string]uint64{"write_at": 1, "readv_at": 1, "writev_at": 1},
			map[string]uint64{"read_at fixed": 1},
			"",
		},
		{
			"no WRITE_FIXED and no WRITE", func(f *uringbackend.Features) { f.OpWriteFixed, f.OpWrite = missing, missing },
			map[string]uint64{"read_at": 1, "readv_at": 1, "writev_at": 1},
			map[string]uint64{"write_at": 1},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := uringbackend.Probe("")
			for _, need := range []uringbackend.Ability{f.Ring, f.BuffersSparse, f.OpReadvFixed} {
				enginetest.Require(t, need)
			}
			c.old(&f)
			e, err := uringbackend.Open("ring", f, uringbackend.Config{Strict: true, Policy: "ring"})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			for _, huge := range []bool{false, true} {
				a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 2, Huge: huge})
				require.NoError(t, err)
				roundTrip(t, e, a)
				assert.Equal(t, c.unregistered == "", a.Unregistered() == "")
				assert.Contains(t, a.Unregistered(), c.unregistered)
				assert.Equal(t, a.Unregistered(), e.Health().Unregistered)
				require.NoError(t, a.Close())
			}
			twice := func(m map[string]uint64) map[string]uint64 {
				doubled := map[string]uint64{}
				for k, n := range m {
					doubled[k] = 2 * n
				}
				return doubled
			}
			assert.Equal(t, twice(c.fixed), e.Fixed())
			assert.Equal(t, twice(c.fallbacks), e.Fallbacks())
		})
	}
}

// TestArenaPlaces: more arenas than a ring has room for. The late ones work all the same, and a place is used again
// once its arena is closed.
func TestArenaPlaces(t *testing.T) {
	e := openRing(t, uringbackend.Config{Policy: "ring"})
	enginetest.Require(t, e.Features().BuffersSparse)
	var all []*uringbackend.Arena
	for i := range 18 {
		a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 1})
		require.NoError(t, err)
		all = append(all, a)
		roundTrip(t, e, a)
		assert.Equal(t, i < 16, a.Unregistered() == "", "arena %d: %s", i, a.Unregistered())
	}
	assert.EqualValues(t, 16, e.Fixed()["read_at"])
	assert.EqualValues(t, 2, e.Fallbacks()["read_at fixed"])
	require.NoError(t, all[3].Close())
	a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 1})
	require.NoError(t, err)
	roundTrip(t, e, a)
	assert.Empty(t, a.Unregistered())
	assert.EqualValues(t, 17, e.Fixed()["read_at"])
	for i, other := range append(all, a) {
		if i != 3 {
			roundTrip(t, e, other)
		}
		require.NoError(t, other.Close())
	}
}

// TestArenaOutlivesEngine: the memory is the arena's, whatever became of the rings.
func TestArenaOutlivesEngine(t *testing.T) {
	for _, name := range []string{"ring", "syscall"} {
		e, err := uringbackend.Open(name, uringbackend.Probe(""), uringbackend.Config{Strict: true})
		require.NoError(t, err)
		a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 2})
		require.NoError(t, err)
		roundTrip(t, e, a)
		b := a.Get()
		require.NoError(t, e.Close())
		copy(b.Bytes(), "still here")
		_, err = e.ReadFixed(context.Background(), 0, b, 0, 1, 0)
		assert.Equal(t, unix.ECANCELED, err)
		assert.Equal(t, "still here", string(b.Bytes()[:10]))
		b.Release()
		require.NoError(t, a.Close())
	}
}

// TestDoubleRelease: found at once in a strict engine, counted in another, and never gives one buffer out twice.
func TestDoubleRelease(t *testing.T) {
	for _, strict := range []bool{true, false} {
		e, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{Strict: strict})
		require.NoError(t, err)
		a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 16, Count: 2})
		require.NoError(t, err)
		b := a.Get()
		copy(b.Bytes(), "secret")
		b.Release()
		if strict {
			assert.PanicsWithValue(t, "uringbackend: buffer 0 released once more than it was retained", b.Release)
			assert.PanicsWithValue(t, "uringbackend: buffer 0 retained after its last release", b.Retain)
			assert.Equal(t, bytes.Repeat([]byte{0xdb}, 16), b.Bytes(), "a late reader sees that it is late")
		} else {
			b.Release()
			b.Retain()
			assert.EqualValues(t, 2, e.Health().Stale)
		}
		first, second := a.Get(), a.Get()
		assert.NotSame(t, first, second)
		assert.Nil(t, a.Get())
		assert.ErrorIs(t, a.Close(), unix.EBUSY)
		require.NoError(t, e.Close())
	}
}

// TestArenaPages: what is said about pages is so.
func TestArenaPages(t *testing.T) {
	e, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	for _, huge := range []bool{false, true} {
		a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 1 << 20, Count: 5, Huge: huge})
		require.NoError(t, err)
		kpages := func() (n int) {
			smaps, err := os.ReadFile("/proc/self/smaps")
			require.NoError(t, err)
			for line := range strings.Lines(string(smaps)) {
				var kib int
				for _, field := range []string{"AnonHugePages: %d", "Private_Hugetlb: %d"} {
					if _, err := fmt.Sscanf(line, field, &kib); err == nil {
						n += kib >> 10
					}
				}
			}
			return n
		}
		for range 5 {
			b := a.Get()
			clear(b.Bytes()) // hugetlb pages come when they are touched
			defer b.Release()
		}
		if huge {
			assert.Contains(t, []uringbackend.Pages{uringbackend.PagesSmall, uringbackend.PagesTransparent, uringbackend.PagesHugetlb}, a.Pages())
		} else {
			assert.Equal(t, uringbackend.PagesSmall, a.Pages())
		}
		if a.Pages() != uringbackend.PagesSmall {
			assert.GreaterOrEqual(t, kpages(), 4, a.Pages())
		}
		assert.ErrorIs(t, a.Close(), unix.EBUSY)
	}
}

// lockLittle makes the process one of an ordinary user, who may lock a MiB. Locked memory is counted by user, so uid
// is one that nobody else is likely to be.
func lockLittle(t *testing.T, uid int) {
	t.Helper()
	const limit = 1 << 20
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}))
	if os.Getuid() == 0 { // all capabilities go with uid 0
		require.NoError(t, syscall.Setgroups(nil))
		require.NoError(t, syscall.Setgid(uid))
		require.NoError(t, syscall.Setuid(uid))
	}
}

// TestMemlock runs itself as an ordinary user who may lock little memory: an arena that fits is registered, one that
// does not is read into all the same.
func TestMemlock(t *testing.T) {
	f := uringbackend.Probe("")
	enginetest.Require(t, f.Ring)
	enginetest.Require(t, f.BuffersSparse)
	if !child(t) {
		return
	}
	fd := memory(t, bytes.Repeat([]byte("x"), 1<<20)) // nothing else here needs a path
	lockLittle(t, 654321)
	for _, clone := range []bool{true, false} {
		if !clone {
			f.CloneBuffers = uringbackend.Ability{Answer: uringbackend.No, Since: "6.13", Why: unix.EINVAL}
		}
		e, err := uringbackend.Open("ring", f, uringbackend.Config{Strict: true, Policy: "ring", Rings: 2, Entries: 8})
		require.NoError(t, err)
		small, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 16})
		require.NoError(t, err)
		roundTrip(t, e, small)
		assert.Empty(t, small.Unregistered())
		assert.Equal(t, everyFixed, e.Fixed())
		assert.Empty(t, e.Fallbacks())

		large, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 1 << 20, Count: 2})
		require.NoError(t, err)
		b := large.Get()
		// Both rings, so that each has its own way of finding out.
		var group sync.WaitGroup
		for half := range 2 {
			group.Go(func() {
				for range 10 {
					n, err := e.ReadFixed(context.Background(), fd, b, half<<19, (half+1)<<19, 0)
					assert.NoError(t, err)
					assert.Equal(t, 1<<19, n)
				}
			})
		}
		group.Wait()
		assert.Equal(t, 1<<20, bytes.Count(b.Bytes(), []byte("x")))
		assert.Contains(t, large.Unregistered(), "cannot allocate memory")
		assert.Equal(t, large.Unregistered(), e.Health().Unregistered)
		assert.Equal(t, map[string]uint64{"read_at fixed": 20}, e.Fallbacks())
		assert.Equal(t, everyFixed, e.Fixed())
		b.Release()
		require.NoError(t, large.Close())
		require.NoError(t, small.Close())
		require.NoError(t, e.Close())
	}
}

// TestCloneAccountsOnce: with clones many rings share what one registration pinned; without, each ring pins for
// itself. Only ordinary users have a limit, so the child is one.
func TestCloneAccountsOnce(t *testing.T) {
	f := uringbackend.Probe("")
	enginetest.Require(t, f.Ring)
	enginetest.Require(t, f.CloneBuffers)
	if !child(t) {
		return
	}
	r, w := newPipe(t)
	lockLittle(t, 654322)
	for _, clone := range []bool{true, false} {
		if !clone {
			f.CloneBuffers = uringbackend.Ability{Answer: uringbackend.No, Since: "6.13", Why: unix.EINVAL}
		}
		e, err := uringbackend.Open("ring", f, uringbackend.Config{Strict: true, Policy: "ring", Rings: 4, Entries: 4})
		require.NoError(t, err)
		// Five eighths of the limit, on four rings at once: each holds its ring until the pipe has data. The rings'
		// own memory counts too.
		a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 160 << 10, Count: 4})
		require.NoError(t, err)
		var group sync.WaitGroup
		for range 4 {
			b := a.Get()
			group.Go(func() {
				defer b.Release()
				n, err := e.Do(context.Background(), uringbackend.Op{
					Kind: uringbackend.KindReadAt, FD: r, Buf: b.Bytes()[:1], Offset: -1, Fixed: a,
				})
				assert.NoError(t, err)
				assert.Equal(t, 1, n)
				assert.Equal(t, byte('y'), b.Bytes()[0])
			})
		}
		require.Eventually(t, func() bool { return e.Health().InFlight == 4 }, 10*time.Second, time.Millisecond)
		_, err = unix.Write(w, []byte("yyyy"))
		require.NoError(t, err)
		group.Wait()
		if clone {
			assert.Equal(t, map[string]uint64{"read_at": 4}, e.Fixed())
			assert.Empty(t, a.Unregistered())
		} else {
			assert.Equal(t, map[string]uint64{"read_at": 1}, e.Fixed())
			assert.Equal(t, map[string]uint64{"read_at fixed": 3}, e.Fallbacks())
		}
		require.NoError(t, a.Close())
		require.NoError(t, e.Close())
	}
}

// TestArenaAllocs: a buffer's way out and back, and an op on it, allocate nothing.
func TestArenaAllocs(t *testing.T) {
	e, err := uringbackend.Open("auto", uringbackend.Probe(""), uringbackend.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 4})
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		b := a.Get()
		b.Retain()
		b.Release()
		b.Release()
	}))
	fd := memory(t, make([]byte, 4096))
	b := a.Get()
	defer b.Release()
	ctx := context.Background()
	allocs := testing.AllocsPerRun(1000, func() {
		if n, err := e.ReadFixed(ctx, fd, b, 0, 4096, 0); n != 4096 || err != nil {
			panic(err)
		}
	})
	assert.Less(t, allocs, 0.5, "the pool of calls may be emptied by the collector now and then")
}

// BenchmarkFixed is what a read through the ring costs into ordinary and into registered memory: cached, and past the
// cache. Both take turns in short blocks, and the thread's processor time is counted instead of the clock's, so that a
// busy machine shifts neither: the metrics are medians over the blocks.
func BenchmarkFixed(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	const fileSize = 64 << 20
	require.NoError(b, os.WriteFile(path, make([]byte, fileSize), 0o600))
	e, err := uringbackend.Open("ring", uringbackend.Probe(""), uringbackend.Config{Policy: "ring"})
	require.NoError(b, err)
	defer func() { require.NoError(b, e.Close()) }()
	for _, mode := range []struct {
		name  string
		flags int
	}{{"hot", 0}, {"direct", unix.O_DIRECT}} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|mode.flags, 0)
		require.NoError(b, err)
		for _, huge := range []bool{false, true} {
			for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
				a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: size, Count: 4, Huge: huge})
				require.NoError(b, err)
				buf := a.Get()
				clear(buf.Bytes())
				b.Run(fmt.Sprintf("mode=%s/pages=%s/size=%d", mode.name, a.Pages(), size), func(b *testing.B) {
					benchmarkFixed(b, e, buf, uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: buf.Bytes()}, mode.flags != 0)
				})
				buf.Release()
				require.NoError(b, a.Close())
			}
		}
		require.NoError(b, unix.Close(fd))
	}
}

// benchmarkFixed does one block of each kind in each round. move: reads each block of the file's first 64 MiB in turn.
func benchmarkFixed(b *testing.B, e uringbackend.Engine, buf *uringbackend.Buffer, op uringbackend.Op, move bool) {
	b.Helper()
	runtime.LockOSThread() // its time is what counts
	defer runtime.UnlockOSThread()
	reads := max(4, min(64, 4<<20/len(op.Buf)))
	var ns [2][]float64
	for b.Loop() {
		for kind, fixed := range []*uringbackend.Arena{nil, buf.Arena()} {
			op.Fixed = fixed
			var from, to unix.Timespec
			require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from))
			for range reads {
				if n, err := e.Do(context.Background(), op); n != len(op.Buf) || err != nil {
					b.Fatal(n, err)
				}
				if move {
					op.Offset = (op.Offset + int64(len(op.Buf))) % (64 << 20)
				}
			}
			require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to))
			ns[kind] = append(ns[kind], float64(to.Nano()-from.Nano())/float64(reads))
		}
	}
	for kind := range ns {
		slices.Sort(ns[kind])
	}
	plain, fixed := ns[0][len(ns[0])/2], ns[1][len(ns[1])/2]
	b.ReportMetric(plain, "plain-cpu-ns/read")
	b.ReportMetric(fixed, "fixed-cpu-ns/read")
	b.ReportMetric(fixed/plain, "fixed/plain")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkArena is the price of handing a buffer out and taking it back.
func BenchmarkArena(b *testing.B) {
	e, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{})
	require.NoError(b, err)
	defer func() { require.NoError(b, e.Close()) }()
	a, err := e.NewArena(uringbackend.ArenaConfig{Chunk: 4096, Count: 4})
	require.NoError(b, err)
	defer func() { require.NoError(b, a.Close()) }()
	b.ReportAllocs()
	for b.Loop() {
		a.Get().Release()
	}
}
