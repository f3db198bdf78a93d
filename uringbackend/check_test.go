//go:build linux

package uringbackend

// These tests are inside the package because they test invariants of the tables and of a ring's slots, which nothing
// outside can see.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

func TestVerbTableIsComplete(t *testing.T) {
	names := map[string]Kind{}
	for k := kindInvalid + 1; k < kinds; k++ {
		v := verbs[k]
		assert.NotEmpty(t, v.name, "verb %d has no name", k)
		assert.Zero(t, names[v.name], "%s names two verbs", v.name)
		names[v.name] = k
		assert.Equal(t, k, kindNamed(v.name))
		assert.NotEqual(t, v.direct == nil, v.held == nil, "%s has no syscall half, or two", v.name)
		if v.ring.absent == "" {
			assert.NotNil(t, v.ring.prep, "%s has no ring half and does not say so", v.name)
			assert.NotZero(t, v.ring.opcode, "%s has no opcode", v.name)
			assert.NotEmpty(t, ringAbilityName(&Features{}, k), "%s: no ability says whether the kernel has its opcode", v.name)
		} else {
			assert.Nil(t, v.ring.prep, "%s has a ring half and says it has not", v.name)
		}
	}
	assert.Equal(t, verb{}, verbs[kindInvalid].comparable())
	assert.Len(t, Kinds(), int(kinds)-1)
	assert.Equal(t, "kind(0)", kindInvalid.String())
}

// comparable is v without its functions, which cannot be compared.
func (v verb) comparable() verb {
	v.ring.prep, v.ring.suits, v.direct, v.held = nil, nil, nil, nil
	return v
}

// ringAbilityName finds the row that ringAbility takes its answer from.
func ringAbilityName(f *Features, k Kind) string {
	for a := range allAbilities() {
		g := *f
		a.of(&g).Answer = Yes
		if g.Opcode(k).Answer == Yes {
			return a.name
		}
	}
	return ""
}

// TestPrepLeavesTheRest: who submits has the flags, the personality and the user data of a record in his hands.
func TestPrepLeavesTheRest(t *testing.T) {
	for _, k := range Kinds() {
		if !k.RingHalf() {
			continue
		}
		half := verbs[k].ring
		sqe := uring.SQE{Opcode: half.opcode, Flags: uring.SQEAsync | uring.SQEIOLink, Personality: 7, UserData: 9}
		op := &Op{Kind: k, Path: "p", Path2: "q", How: new(unix.OpenHow), Statx: new(unix.Statx_t), Buf: make([]byte, 1)}
		require.NoError(t, half.prep(new(slot), op, &sqe), k)
		assert.Equal(t, half.opcode, sqe.Opcode, k)
		assert.Equal(t, uring.SQEAsync|uring.SQEIOLink, sqe.Flags&^uring.SQEBufferSelect, k)
		assert.EqualValues(t, 7, sqe.Personality, k)
		assert.EqualValues(t, 9, sqe.UserData, k)
	}
}

func TestDIOAlign(t *testing.T) {
	yes := Ability{Answer: Yes}
	const both = unix.STATX_DIOALIGN | unix.STATX_DIO_READ_ALIGN
	for _, c := range []struct {
		name  string
		tells Ability
		st    unix.Statx_t
		want  DIOAlign
	}{
		{"an old kernel", Ability{Answer: No}, unix.Statx_t{Mask: unix.STATX_DIOALIGN, Dio_mem_align: 4}, DIOAlign{4096, 4096, 4096}},
		{"a file system that does not tell", yes, unix.Statx_t{}, DIOAlign{4096, 4096, 4096}},
		{"no direct I/O", yes, unix.Statx_t{Mask: both}, DIOAlign{}},
		{"one for all", yes, unix.Statx_t{Mask: unix.STATX_DIOALIGN, Dio_mem_align: 4, Dio_offset_align: 512}, DIOAlign{4, 512, 512}},
		{"a field not asked for", yes, unix.Statx_t{
			Mask: unix.STATX_DIOALIGN, Dio_mem_align: 4, Dio_offset_align: 4096, Dio_read_offset_align: 512,
		}, DIOAlign{4, 4096, 4096}},
		{"reads in smaller pieces", yes, unix.Statx_t{
			Mask: both, Dio_mem_align: 4, Dio_offset_align: 4096, Dio_read_offset_align: 512,
		}, DIOAlign{4, 4096, 512}},
		{"reads as writes", yes, unix.Statx_t{Mask: both, Dio_mem_align: 4, Dio_offset_align: 512}, DIOAlign{4, 512, 512}},
	} {
		assert.Equal(t, c.want, dioAlign(c.tells, &c.st), c.name)
	}
}

func TestAbilityTableHoldsEveryField(t *testing.T) {
	var f Features
	v := reflect.ValueOf(&f).Elem()
	fields := map[*Ability]string{}
	for i := range v.NumField() {
		fields[v.Field(i).Addr().Interface().(*Ability)] = v.Type().Field(i).Name
	}
	names := map[string]bool{}
	for a := range allAbilities() {
		field := a.of(&f)
		assert.NotEmpty(t, fields[field], "%s: field named twice", a.name)
		delete(fields, field)
		assert.False(t, names[a.name], "%s twice", a.name)
		names[a.name] = true
		assert.Regexp(t, `^(\d+\.\d+|none)`, a.since, a.name)
		assert.NotEmpty(t, a.usedBy, a.name)
	}
	assert.Empty(t, fields, "fields without a row")
}

func TestSlotGenerations(t *testing.T) {
	s := slot{place: 7, gen: ^uint32(0) - 1}
	op := &Op{Kind: KindReadAt}
	seen := map[uint64]bool{}
	for range 4 {
		s.take(op, 0, nil)
		for _, m := range []mark{markOp, markCancel, markTimeout} {
			data := userData(s.place, s.gen, m)
			assert.False(t, seen[data], "user data %x twice", data)
			seen[data] = true
			place, gen, got := splitUserData(data)
			assert.Equal(t, 7, place)
			assert.Equal(t, s.gen, gen)
			assert.Equal(t, m, got)
		}
		s.release()
	}
}

func TestResultOfCompletion(t *testing.T) {
	for _, c := range []struct {
		res int32
		n   int
		err error
	}{
		{0, 0, nil},
		{4096, 4096, nil},
		{-5, 0, unix.EIO},
		{-512, 0, unix.EINTR}, // ERESTARTSYS
		{-516, 0, unix.EINTR}, // ERESTART_RESTARTBLOCK
		{-517, 0, unix.Errno(517)},
		{-521, 0, unix.Errno(521)}, // EBADHANDLE, as NFS says
	} {
		n, err := result(c.res)
		assert.Equal(t, c.n, n)
		assert.Equal(t, c.err, err)
	}
}

func checkCore(strict bool) *core {
	return &core{strict: strict, longest: 64, features: Probe("")}
}

func TestStaleCompletionIsFound(t *testing.T) {
	c := checkCore(false)
	p, err := newPooledRing(c, 4)
	require.NoError(t, err)
	defer p.close()
	p.run(context.Background(), []Op{{Kind: KindFsync, FD: -1}}, 0, func(int, int, bool, error) {}) // makes slot 0
	nop := uring.SQE{}                                                                              // opcode 0 is the no-op
	for _, data := range []uint64{
		userData(0, 1, markOp),    // the slot is not busy
		userData(1000, 1, markOp), // there is no such slot
	} {
		nop.UserData = data
		p.pushRecord(&nop)
		p.enter(1)
		p.reap()
	}
	assert.EqualValues(t, 2, c.stats.stale.Load())
	c.strict = true
	p.pushRecord(&nop)
	p.enter(1)
	assert.Panics(t, func() { p.reap() })
}

// TestSubmittingThreadExits: an op that waits can go on only on the thread that submitted it; when that has exited, the
// kernel completes the op with an error instead. It did not run, and nobody cancelled it, so it is submitted again.
func TestSubmittingThreadExits(t *testing.T) {
	c := checkCore(true)
	p, err := newPooledRing(c, 4)
	require.NoError(t, err)
	defer p.close()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	defer func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }()
	op := &Op{Kind: KindReadAt, FD: fds[0], Buf: make([]byte, 8), Offset: -1}
	reported := 0
	done := func(_, n int, _ bool, err error) {
		reported++
		assert.NoError(t, err)
		assert.Equal(t, "data", string(op.Buf[:n]))
	}
	s, err := p.begin(op, 0, done)
	require.NoError(t, err)
	p.push(s)
	task := fmt.Sprintf("/proc/self/task/%d", onDyingThread(func() { p.submit() }))
	require.Eventually(t, func() bool {
		_, err := os.Stat(task)
		return errors.Is(err, os.ErrNotExist)
	}, 10*time.Second, time.Millisecond)
	_, err = unix.Write(fds[1], []byte("data"))
	require.NoError(t, err)
	for p.pending > 0 {
		p.enter(1)
		p.reap()
	}
	assert.EqualValues(t, 1, c.stats.resubmitted.Load())
	assert.Equal(t, 1, reported)
}

// onDyingThread runs f on a thread that then exits, and returns the thread's number. Never the main thread, which the
// runtime parks instead.
func onDyingThread(f func()) int {
	thread := make(chan int)
	// ends at once, and its thread with it, because it stays locked; waited by the receive
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			thread <- onDyingThread(f) // this thread is taken, so it is another
			runtime.UnlockOSThread()
			return
		}
		f()
		thread <- unix.Gettid()
	}()
	return <-thread
}

// TestDroppedSubmissions: what the kernel would not take is reported and leaves nothing behind.
func TestDroppedSubmissions(t *testing.T) {
	c := checkCore(true)
	p, err := newPooledRing(c, 4)
	require.NoError(t, err)
	defer p.close()
	ops := []Op{{Kind: KindFsync, FD: -1}, {Kind: KindFsync, FD: -1}}
	var got []error
	done := func(_, _ int, _ bool, err error) { got = append(got, err) }
	for i := range ops {
		s, err := p.begin(&ops[i], i, done)
		require.NoError(t, err)
		p.push(s)
	}
	p.drop(unix.EAGAIN)
	assert.Equal(t, []error{unix.EAGAIN, unix.EAGAIN}, got)
	assert.Zero(t, p.pending)
	got = nil
	p.run(context.Background(), ops, 0, done)
	assert.Equal(t, []error{unix.EBADF, unix.EBADF}, got, "the ring goes on")
}

func TestGate(t *testing.T) {
	var g gate
	g.init()
	require.True(t, g.enter())
	g.shut()
	require.False(t, g.enter())
	select {
	case <-g.drained:
		t.Fatal("drained with an op in flight")
	default:
	}
	g.leave()
	g.drain()
	g.shut()
	g.drain()

	var empty gate
	empty.init()
	empty.shut()
	empty.drain()
}

// TestWorkersAreLimited: the kernel knows the limits of each ring, so that a slow file system gets no more threads.
func TestWorkersAreLimited(t *testing.T) {
	c := checkCore(true)
	if c.features.IOWQMaxWorkers.Answer != Yes {
		assert.NotPanics(t, func() { c.limitWorkers(nil, 8) }, "nothing is asked of a kernel that cannot")
		return
	}
	p, err := newPooledRing(c, 8)
	require.NoError(t, err)
	defer p.close()
	limits, err := p.r.SetWorkers(uring.Workers{})
	require.NoError(t, err)
	assert.Equal(t, uring.Workers{Bounded: 8, Unbounded: 16}, limits)
}
