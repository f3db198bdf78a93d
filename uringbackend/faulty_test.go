//go:build linux

package uringbackend_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

func TestGoldenParseFaults(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  uringbackend.Faults
		print string
	}{
		{"", uringbackend.Faults{}, "seed=0"},
		{"seed=7", uringbackend.Faults{Seed: 7}, "seed=7"},
		{
			"seed=18446744073709551615,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.25",
			uringbackend.Faults{Seed: 1<<64 - 1, Rules: []uringbackend.FaultRule{
				{Kind: uringbackend.KindReadAt, Fault: uringbackend.FaultErrno, Errno: unix.EIO, Probability: 0.01},
				{Kind: uringbackend.KindWriteAt, Fault: uringbackend.FaultErrno, Errno: unix.ENOSPC, Probability: 0.005},
				{Fault: uringbackend.FaultShort, Probability: 0.25},
			}},
			"seed=18446744073709551615,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.25",
		},
		{
			"close=EIO:1,EOPNOTSUPP:1e-6,readv_at=short:1,seed=1",
			uringbackend.Faults{Seed: 1, Rules: []uringbackend.FaultRule{
				{Kind: uringbackend.KindClose, Fault: uringbackend.FaultErrno, Errno: unix.EIO, Probability: 1},
				{Fault: uringbackend.FaultErrno, Errno: unix.EOPNOTSUPP, Probability: 1e-6},
				{Kind: uringbackend.KindReadvAt, Fault: uringbackend.FaultShort, Probability: 1},
			}},
			"seed=1,close=EIO:1,ENOTSUP:1e-06,readv_at=short:1",
		},
		{
			"read_at=delay(2ms):0.1,delay(200us):0.05,late:0.1,splice=late(1.5s):1,reorder:0.2,seed=3,write_at=EDQUOT:1",
			uringbackend.Faults{Seed: 3, Rules: []uringbackend.FaultRule{
				{Kind: uringbackend.KindReadAt, Fault: uringbackend.FaultDelay, Delay: 2 * time.Millisecond, Probability: 0.1},
				{Fault: uringbackend.FaultDelay, Delay: 200 * time.Microsecond, Probability: 0.05},
				{Fault: uringbackend.FaultLate, Delay: 5 * time.Millisecond, Probability: 0.1},
				{Kind: uringbackend.KindSplice, Fault: uringbackend.FaultLate, Delay: 1500 * time.Millisecond, Probability: 1},
				{Fault: uringbackend.FaultReorder, Probability: 0.2},
				{Kind: uringbackend.KindWriteAt, Fault: uringbackend.FaultErrno, Errno: unix.EDQUOT, Probability: 1},
			}},
			"seed=3,read_at=delay(2ms):0.1,delay(200us):0.05,late(5ms):0.1,splice=late(1.5s):1,reorder:0.2,write_at=EDQUOT:1",
		},
	} {
		got, err := uringbackend.ParseFaults(c.text)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, c.text)
		assert.Equal(t, c.print, got.String())
	}
	for _, text := range []string{
		",", "seed=", "seed=-1", "seed=x", "read_at", "read_at=EIO", "read_at=EIO:", "read_at=EIO:0", "read_at=EIO:2",
		"read_at=EIO:-1", "read_at=EIO:NaN", "read_at=EWHAT:1", "reed_at=EIO:1", "read_at=:1", "fsync=short:1", ":1", "=EIO:1 ",
		"delay:1", "delay():1", "delay(1):1", "delay(0s):1", "delay(-1s):1", "delay(11s):1", "delay(1s:1", "delay(1s)", "late(:1",
		"short(1s):1", "EIO(1s):1", "reorder(1s):1", "read_at=reorder:1", "reorder", "Delay(1s):1",
	} {
		_, err := uringbackend.ParseFaults(text)
		assert.ErrorIs(t, err, uringbackend.ErrFaults, text)
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("seed=7,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.01")
	f.Add("EAGAIN:1,close=EIO:1e-300")
	f.Add("read_at=delay(2ms):0.1,delay(0.2us):0.05,late:0.1,late(1m):1,reorder:0.2")
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := uringbackend.ParseFaults(text)
		if err != nil {
			require.ErrorIs(t, err, uringbackend.ErrFaults)
			return
		}
		again, err := uringbackend.ParseFaults(plan.String())
		require.NoError(t, err, "%q prints %q", text, plan)
		require.Equal(t, plan, again)
	})
}

// faultLog runs reads and writes under a plan and notes what became of each.
func faultLog(t *testing.T, text string, n int) (log []string) {
	t.Helper()
	plan, err := uringbackend.ParseFaults(text)
	require.NoError(t, err)
	base, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{Strict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	e := uringbackend.Faulty(base, plan)
	fd, err := unix.MemfdCreate("faults", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	ctx, buf := context.Background(), make([]byte, 100)
	note := func(n int, err error) {
		switch {
		case err != nil:
			log = append(log, unix.ErrnoName(func() unix.Errno {
				var target unix.Errno
				_ = errors.As(err, &target)
				return target
			}()))
		case n < len(buf):
			require.Positive(t, n)
			log = append(log, "short")
		default:
			log = append(log, "ok")
		}
	}
	_, err = base.WriteAt(ctx, fd, buf, 0, 0)
	require.NoError(t, err)
	for range n {
		note(e.WriteAt(ctx, fd, buf, 0, 0))
		note(e.ReadAt(ctx, fd, buf, 0))
		note(e.ReadvAt(ctx, fd, [][]byte{buf[:1], nil, buf[1:50], buf[50:]}, 0))
	}
	return log
}

func TestFaultsRepeat(t *testing.T) {
	const plan = "seed=3,read_at=EIO:0.1,write_at=ENOSPC:0.1,short:0.2"
	a, b := faultLog(t, plan, 500), faultLog(t, plan, 500)
	assert.Equal(t, a, b, "one seed, two runs")
	assert.NotEqual(t, a, faultLog(t, "seed=4,read_at=EIO:0.1,write_at=ENOSPC:0.1,short:0.2", 500))
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	assert.InDelta(t, 50, count["EIO"], 30)
	assert.InDelta(t, 50, count["ENOSPC"], 30)
	assert.InDelta(t, 280, count["short"], 100)
	for _, s := range faultLog(t, "seed=3", 100) {
		require.Equal(t, "ok", s)
	}
}

// TestFaultOnClose: the error is reported, and the descriptor is gone, as with close(2).
func TestFaultOnClose(t *testing.T) {
	base, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{Strict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	e := uringbackend.Faulty(base, uringbackend.Faults{Rules: []uringbackend.FaultRule{{Fault: uringbackend.FaultErrno, Errno: unix.EIO, Probability: 1}}})
	fd, err := unix.MemfdCreate("faults", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	_, err = e.ReadAt(context.Background(), fd, make([]byte, 1), 0)
	assert.Equal(t, unix.EIO, err)
	assert.Equal(t, unix.EIO, e.CloseFD(context.Background(), fd))
	assert.Equal(t, unix.EBADF, base.CloseFD(context.Background(), fd))
	assert.Equal(t, map[string]uringbackend.Count{"close": {Syscall: 2}}, e.Counts(), "an op with a fault is not carried out")
}

// faultyEngine opens a syscall engine behind a plan; it is closed at the end.
func faultyEngine(t *testing.T, text string) uringbackend.Engine {
	t.Helper()
	e := opener("syscall", text, uringbackend.Config{})(t)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func memfd(t *testing.T, content string) int {
	t.Helper()
	fd, err := unix.MemfdCreate("faults", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	_, err = unix.Write(fd, []byte(content))
	require.NoError(t, err)
	return fd
}

// report is one call of done.
type report struct {
	I, N int
	More bool
	Err  error
}

// submit runs a call until all its ops have reported.
func submit(ctx context.Context, e uringbackend.Engine, ops []uringbackend.Op) []report {
	var mu sync.Mutex
	var all []report
	var left sync.WaitGroup
	left.Add(len(ops))
	e.Submit(ctx, ops, func(i, n int, more bool, err error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, report{i, n, more, err})
		if !more {
			left.Done()
		}
	})
	left.Wait()
	return all
}

func byIndex(all []report) []report {
	return slices.SortedFunc(slices.Values(all), func(a, b report) int { return a.I - b.I })
}

// TestEachErrno: each errno that matters arrives as it is named, and its op is not carried out.
func TestEachErrno(t *testing.T) {
	for _, errno := range []unix.Errno{
		unix.EINTR, unix.EAGAIN, unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.ENOMEM, unix.EBADF, unix.EROFS, unix.ECANCELED,
	} {
		name := unix.ErrnoName(errno)
		e := faultyEngine(t, "write_at="+name+":1")
		fd := memfd(t, "old")
		n, err := e.WriteAt(context.Background(), fd, []byte("new"), 0, 0)
		assert.Equal(t, errno, err)
		assert.Zero(t, n)
		buf := make([]byte, 3)
		_, err = e.ReadAt(context.Background(), fd, buf, 0)
		require.NoError(t, err)
		assert.Equal(t, "old", string(buf), name)
		assert.Equal(t, map[string]uringbackend.Count{"read_at": {Syscall: 1}}, e.Counts(), name)
	}
}

// TestFaultBreaksChain: an injected fault breaks a chain as one of the kernel's does, and only then happens if the
// chain has come so far.
func TestFaultBreaksChain(t *testing.T) {
	const cancelled = unix.ECANCELED
	for _, c := range []struct {
		name, plan string
		readFD     int // of the second op; 0: the file
		want       []error
		content    string
	}{
		{"no fault", "fsync=EIO:1e-300", 0, []error{nil, nil, nil, nil}, "newer"},
		{"at the head", "write_at=ENOSPC:1", 0, []error{unix.ENOSPC, cancelled, cancelled, cancelled}, "01234"},
		{"in the middle", "read_at=EIO:1", 0, []error{nil, unix.EIO, cancelled, cancelled}, "new34"},
		{"a short transfer at the head", "write_at=short:1", 0, []error{nil, cancelled, cancelled, cancelled}, ""},
		{"a short transfer in the middle", "read_at=short:1", 0, []error{nil, nil, cancelled, cancelled}, "new34"},
		{"of an op that does not start", "fsync=EIO:1", 1 << 20, []error{nil, unix.EBADF, cancelled, cancelled}, "new34"},
		{"at the end", "fsync=EDQUOT:1", 0, []error{nil, nil, nil, unix.EDQUOT}, "newer"},
		{"with a delay", "write_at=delay(1ms):1,read_at=EIO:1", 0, []error{nil, unix.EIO, cancelled, cancelled}, "new34"},
	} {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/unbounded=%t", c.name, waits), func(t *testing.T) {
				e := faultyEngine(t, c.plan)
				fd := memfd(t, "01234")
				ops := []uringbackend.Op{
					{Kind: uringbackend.KindWriteAt, FD: fd, Buf: []byte("new"), Link: true, Unbounded: waits},
					{Kind: uringbackend.KindReadAt, FD: cmp.Or(c.readFD, fd), Buf: make([]byte, 3), Link: true},
					{Kind: uringbackend.KindWritevAt, FD: fd, Bufs: [][]byte{[]byte("er")}, Offset: 3, Link: true},
					{Kind: uringbackend.KindFsync, FD: fd},
				}
				all := submit(context.Background(), e, ops)
				for i, r := range all {
					require.Equal(t, i, r.I, "reports of a chain keep their order")
					assert.Equal(t, c.want[i], r.Err, "op %d", i)
				}
				if c.content != "" {
					buf := make([]byte, 5)
					_, err := unix.Pread(fd, buf, 0)
					require.NoError(t, err)
					assert.Equal(t, c.content, string(buf))
				} else {
					assert.Less(t, all[0].N, 3)
				}
			})
		}
	}
}

// TestFaultOnCloseInChain: the close is carried out, its error breaks the chain behind it; in a broken chain it is not.
func TestFaultOnCloseInChain(t *testing.T) {
	e := faultyEngine(t, "close=EIO:1")
	fd, other := memfd(t, "x"), memfd(t, "x")
	ops := []uringbackend.Op{
		{Kind: uringbackend.KindClose, FD: fd, Link: true},
		{Kind: uringbackend.KindReadAt, FD: other, Buf: make([]byte, 1), Link: true},
		{Kind: uringbackend.KindClose, FD: other},
	}
	assert.Equal(t, []report{{0, 0, false, unix.EIO}, {1, 0, false, unix.ECANCELED}, {2, 0, false, unix.ECANCELED}},
		submit(context.Background(), e, ops))
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	assert.Equal(t, unix.EBADF, err)
	_, err = unix.FcntlInt(uintptr(other), unix.F_GETFD, 0)
	assert.NoError(t, err)
}

// instant reports each op at once, in full. The thread of a real engine would keep a bubble of synctest awake.
type instant struct{ closed atomic.Bool }

func (s *instant) Submit(_ context.Context, ops []uringbackend.Op, done func(i, n int, more bool, err error)) {
	for i := range ops {
		if s.closed.Load() {
			done(i, 0, false, unix.ECANCELED)
		} else {
			done(i, len(ops[i].Buf), false, nil)
		}
	}
}

// CloseHeld implements uringbackend.Holder.
func (s *instant) CloseHeld(inner func() error) error {
	s.closed.Store(true)
	return inner()
}

// faultyInstant is an instant engine behind a plan.
func faultyInstant(t *testing.T, text string) uringbackend.Engine {
	t.Helper()
	plan, err := uringbackend.ParseFaults(text)
	require.NoError(t, err)
	e := opener("syscall", "", uringbackend.Config{})(t)
	return uringbackend.Faulty(e.Wrap(func(uringbackend.Submitter) uringbackend.Submitter { return new(instant) }), plan)
}

// TestFaultDelay: the report of a bounded op keeps Submit, that of another comes later; delays run side by side, and a
// context or Close ends them.
func TestFaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 2 * time.Second
		const fd = -1
		e := faultyInstant(t, "read_at=delay(2s):1")
		read := uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, 7)}
		begin := time.Now()
		all := submit(context.Background(), e, []uringbackend.Op{read, read, {Kind: uringbackend.KindFsync, FD: fd}})
		assert.Equal(t, delay, time.Since(begin), "two delays side by side")
		assert.Equal(t, []report{{2, 0, false, nil}, {0, 7, false, nil}, {1, 7, false, nil}}, all)

		ctx, cancel := context.WithTimeout(context.Background(), delay/2)
		defer cancel()
		begin = time.Now()
		assert.Equal(t, []report{{0, 7, false, nil}}, submit(ctx, e, []uringbackend.Op{read}), "it completed all the same")
		assert.Equal(t, delay/2, time.Since(begin))

		stream := read
		stream.Unbounded = true
		begin = time.Now()
		late := make(chan report, 3)
		e.Submit(context.Background(), []uringbackend.Op{stream}, func(i, n int, more bool, err error) {
			late <- report{i, n, more, err}
		})
		assert.Zero(t, time.Since(begin), "Submit does not wait")
		assert.Equal(t, report{0, 7, false, nil}, <-late)
		assert.Equal(t, delay, time.Since(begin))

		drain := uringbackend.Op{Kind: uringbackend.KindFsync, FD: fd, Drain: true}
		begin = time.Now()
		all = submit(context.Background(), e, []uringbackend.Op{read, stream, drain})
		assert.Equal(t, delay, time.Since(begin))
		assert.Equal(t, 2, all[2].I, "it waits for reports that are held")

		begin = time.Now()
		e.Submit(context.Background(), []uringbackend.Op{stream, stream, drain}, func(i, n int, more bool, err error) {
			late <- report{i, n, more, err}
		})
		synctest.Wait()
		require.NoError(t, e.Close())
		assert.Zero(t, time.Since(begin), "Close waits, but not for the delay")
		require.Len(t, late, 3)
		close(late)
		all = byIndex(slices.Collect(func(yield func(report) bool) {
			for r := range late {
				_ = yield(r)
			}
		}))
		assert.Equal(t, []report{{0, 7, false, nil}, {1, 7, false, nil}, {2, 0, false, unix.ECANCELED}}, all)

		require.NoError(t, e.Close())
		n, err := e.ReadAt(context.Background(), fd, read.Buf, 0)
		assert.Equal(t, unix.ECANCELED, err)
		assert.Zero(t, n)
		assert.Zero(t, time.Since(begin))
	})
}

// TestFaultLate: the real result comes just after the cancellation, or after the time given; a context that cannot end
// is left alone.
func TestFaultLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := faultyInstant(t, "late(5s):1")
		defer func() { assert.NoError(t, e.Close()) }()
		for _, waits := range []bool{false, true} {
			op := []uringbackend.Op{{Kind: uringbackend.KindReadAt, Buf: make([]byte, 7), Unbounded: waits}}
			for _, c := range []struct{ cancel, want time.Duration }{
				{time.Second, time.Second}, {time.Hour, 5 * time.Second},
			} {
				begin := time.Now()
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(c.cancel, cancel)
				var ended error
				e.Submit(ctx, op, func(_, n int, _ bool, err error) {
					ended = ctx.Err()
					assert.NoError(t, err)
					assert.Equal(t, 7, n)
				})
				synctest.Wait()
				if waits {
					<-time.After(c.want)
					synctest.Wait()
				}
				assert.Equal(t, c.want, time.Since(begin))
				if c.cancel == c.want {
					assert.ErrorIs(t, ended, context.Canceled, "the report comes after the end of the context")
				}
				cancel()
			}
			begin := time.Now()
			submit(context.Background(), e, op)
			assert.Zero(t, time.Since(begin))
		}
	})
}

// TestFaultReorder: one seed, one order; chains stay together, drains wait, and each op reports once.
func TestFaultReorder(t *testing.T) {
	orders := func(plan string) (all [][]int) {
		e := faultyEngine(t, plan)
		fd := memfd(t, "content")
		for range 50 {
			var ops []uringbackend.Op
			for i := range 12 {
				ops = append(ops, uringbackend.Op{
					Kind: uringbackend.KindReadAt, FD: fd, Buf: make([]byte, 7), Link: i == 3 || i == 4, Drain: i == 9,
				})
			}
			var order []int
			for _, r := range submit(context.Background(), e, ops) {
				require.NoError(t, r.Err)
				require.Equal(t, 7, r.N)
				order = append(order, r.I)
			}
			at := slices.Index(order, 3)
			require.Equal(t, []int{3, 4, 5}, order[at:at+3])
			drained := slices.Index(order, 9)
			for i := range 9 {
				require.Less(t, slices.Index(order, i), drained)
			}
			all = append(all, order)
		}
		return all
	}
	a := orders("seed=2,reorder:1")
	assert.Equal(t, a, orders("seed=2,reorder:1"))
	assert.NotEqual(t, a, orders("seed=3,reorder:1"))
	moved := 0
	for _, order := range orders("seed=2,reorder:0.3") {
		if !slices.IsSorted(order) {
			moved++
		}
	}
	assert.InDelta(t, 15, moved, 12)
}

// multi reports each op three times, the last one later than Submit if it waits.
type multi struct{}

func (multi) Submit(_ context.Context, ops []uringbackend.Op, done func(i, n int, more bool, err error)) {
	for i := range ops {
		done(i, 1, true, nil)
		done(i, 2, true, nil)
		done(i, 3, false, nil)
	}
}

// TestFaultyForwardsMore: reports before the last one pass, in order, and only the last is held.
func TestFaultyForwardsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := opener("syscall", "", uringbackend.Config{})(t).Wrap(func(uringbackend.Submitter) uringbackend.Submitter { return multi{} })
		plan, err := uringbackend.ParseFaults("delay(1s):1")
		require.NoError(t, err)
		e = uringbackend.Faulty(e, plan)
		defer func() { assert.NoError(t, e.Close()) }()
		for _, waits := range []bool{false, true} {
			begin := time.Now()
			all := submit(context.Background(), e, []uringbackend.Op{{Kind: uringbackend.KindReadAt, Unbounded: waits}})
			assert.Equal(t, []report{{0, 1, true, nil}, {0, 2, true, nil}, {0, 3, false, nil}}, all)
			assert.Equal(t, time.Second, time.Since(begin))
		}
	})
}

// TestFaultsOfConcurrentCallers: whoever comes, the faults of a verb are the same in number.
func TestFaultsOfConcurrentCallers(t *testing.T) {
	count := func(callers int) int64 {
		e := faultyEngine(t, "seed=9,read_at=EIO:0.2,delay(10us):0.01")
		fd := memfd(t, "x")
		var failed atomic.Int64
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range 1200 / callers {
					if _, err := e.ReadAt(context.Background(), fd, make([]byte, 1), 0); err != nil {
						assert.Equal(t, unix.EIO, err)
						failed.Add(1)
					}
				}
			})
		}
		group.Wait()
		return failed.Load()
	}
	one := count(1)
	assert.Positive(t, one)
	assert.Equal(t, one, count(8))
}
