//go:build linux

package uring_test

import (
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

func nop(data uint64) uring.SQE { return uring.SQE{Opcode: uring.OpNop, UserData: data} }

func TestSpaceLeftAndFlags(t *testing.T) {
	r := openCfg(t, uring.Config{Entries: 3, Flags: uring.SetupClamp}, "5.6")
	assert.EqualValues(t, 4, r.SpaceLeft())
	push(t, r, nop(1), nop(2), nop(3))
	assert.EqualValues(t, 1, r.SpaceLeft())
	_, errno := r.Enter(3, uring.EnterGetEvents)
	require.Zero(t, errno)
	assert.EqualValues(t, 4, r.SpaceLeft())
	assert.Equal(t, uring.SetupClamp, r.Flags())
	_, err := uring.Open(uring.Config{Entries: 4, Flags: uring.SetupNoMmap})
	assert.ErrorIs(t, err, unix.EINVAL)
}

// TestRecordSizes: rings with other sizes of records and without the index array work the same.
func TestRecordSizes(t *testing.T) {
	for name, c := range map[string]struct {
		flags uint32
		since string
	}{
		"wide submissions": {uring.SetupSQE128, "5.19"},
		"wide completions": {uring.SetupCQE32, "5.19"},
		"both":             {uring.SetupSQE128 | uring.SetupCQE32, "5.19"},
		"no index array":   {uring.SetupNoSQArray, "6.6"},
		"all":              {uring.SetupSQE128 | uring.SetupCQE32 | uring.SetupNoSQArray, "6.6"},
	} {
		t.Run(name, func(t *testing.T) {
			r := openCfg(t, uring.Config{Entries: 4, CQEntries: 8, Flags: c.flags}, c.since)
			var sent, got uint64
			for round := range 30 {
				n := 1 + round%4
				for range n {
					push(t, r, nop(sent))
					sent++
				}
				_, errno := r.Enter(uint32(n), uring.EnterGetEvents)
				require.Zero(t, errno)
				for range n {
					require.Equal(t, got, next(t, r).UserData)
					got++
				}
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	r := open(t, 4, 0)
	require.NotZero(t, r.Features()&uring.FeatExtArg)
	start := time.Now()
	e := unix.EINTR
	for e == unix.EINTR { // the runtime's own signals
		e = r.WaitTimeout(1, 30*time.Millisecond)
	}
	require.Equal(t, unix.ETIME, e)
	assert.GreaterOrEqual(t, time.Since(start), 30*time.Millisecond)
	_, e = r.EnterTimeout(1, 0, 0)
	assert.Equal(t, unix.ETIME, e, "no time at all")

	push(t, r, nop(1))
	n, e := r.EnterTimeout(2, 0, time.Millisecond)
	require.Zero(t, e, "records taken hide that the time is over")
	assert.Equal(t, 1, n)
	assert.EqualValues(t, 1, next(t, r).UserData)

	push(t, r, nop(2))
	_, e = r.EnterTimeout(1, 0, -1)
	require.Zero(t, e, "without limit")
	assert.EqualValues(t, 2, next(t, r).UserData)
	assert.Equal(t, uring.Timespec{Sec: 2, Nsec: 500}, uring.TimespecOf(2*time.Second+500))
}

func TestSQPoll(t *testing.T) {
	r := openCfg(t, uring.Config{Entries: 4, Flags: uring.SetupSQPoll, SQThreadIdle: 20}, "5.11")
	// The first enter wakes a thread that has gone to sleep meanwhile, or is none.
	push(t, r, nop(1), nop(2))
	n, e := r.Enter(0, 0)
	require.Zero(t, e)
	assert.Equal(t, 2, n, "what this call published")
	assert.Equal(t, map[uint64]int32{1: 0, 2: 0}, collect(t, r, 2))
	n, e = r.Enter(0, 0)
	require.Zero(t, e)
	assert.Zero(t, n)

	require.Eventually(t, r.NeedWakeup, 10*time.Second, time.Millisecond, "idle for 20 ms")
	push(t, r, nop(3))
	assert.Equal(t, []uint64{3}, r.Drop(), "not published")
	push(t, r, nop(4))
	_, e = r.Enter(0, 0)
	require.Zero(t, e)
	assert.Equal(t, map[uint64]int32{4: 0}, collect(t, r, 1))

	// A full queue: wait for room, then go on.
	const many = 200
	got := map[uint64]bool{}
	take := func() {
		for c, ok := r.Next(); ok; c, ok = r.Next() {
			require.False(t, got[c.UserData], "twice")
			got[c.UserData] = true
		}
	}
	for i := range uint64(many) {
		s := nop(1000 + i)
		for !r.Push(&s) {
			_, e = r.Enter(0, 0)
			require.Zero(t, e)
			require.Zero(t, r.SQWait())
			take()
		}
	}
	_, e = r.Enter(0, 0)
	require.Zero(t, e)
	for len(got) < many {
		c := next(t, r)
		require.False(t, got[c.UserData], "twice")
		got[c.UserData] = true
	}
	quiet(t, r)
}

// TestSQPollWithoutEnter: records are taken from the published tail alone. The ring is awake as long as it has work, so
// the second record goes without a system call; the completion is looked for without one too.
func TestSQPollWithoutEnter(t *testing.T) {
	r := openCfg(t, uring.Config{Entries: 8, Flags: uring.SetupSQPoll, SQThreadIdle: 60_000}, "5.11")
	push(t, r, nop(1))
	_, e := r.Enter(0, 0)
	require.Zero(t, e)
	require.Eventually(t, func() bool { return r.Ready() == 1 }, 10*time.Second, time.Millisecond)
	require.False(t, r.NeedWakeup(), "a minute of patience")
	// A call on a descriptor that is no ring would fail, which shows that none was made.
	onlyIndex(t, r, func() {
		push(t, r, nop(2), nop(3))
		n, e := r.Enter(0, 0)
		require.Zero(t, e)
		require.Equal(t, 2, n)
		require.Eventually(t, func() bool { return r.Ready() == 3 }, 10*time.Second, time.Millisecond)
	})
	assert.Equal(t, map[uint64]int32{1: 0, 2: 0, 3: 0}, collect(t, r, 3))
}

func TestDeferTaskrun(t *testing.T) {
	lock(t)
	flags := uring.SetupSingleIssuer | uring.SetupDeferTaskrun | uring.SetupTaskrunFlag
	r := openCfg(t, uring.Config{Entries: 4, Flags: flags}, "6.1")
	a, b := socketpair(t)
	buf := mem(t, 16)
	submit(t, r, uring.SQE{Opcode: uring.OpRecv, FD: int32(a), Addr: addr(buf), Len: 16, UserData: 5})
	write(t, b, "hello")
	require.True(t, r.NeedTaskrun(), "the receive waits for its thread")
	require.Zero(t, r.Ready())
	_, e := r.Enter(0, uring.EnterGetEvents)
	require.Zero(t, e)
	require.EqualValues(t, 1, r.Ready())
	assert.False(t, r.NeedTaskrun())
	assert.Equal(t, map[uint64]int32{5: 5}, collect(t, r, 1))
	assert.Equal(t, "hello", string(buf[:5]))

	// Another thread may not enter. The goroutine runs elsewhere, as this one keeps its thread.
	other := make(chan error, 1)
	push(t, r, nop(6))
	// ends when the enter returns; waited by the receive
	go func() {
		_, e := r.Enter(0, 0)
		other <- e
	}()
	require.ErrorIs(t, <-other, unix.EEXIST)
	_, e = r.Enter(1, uring.EnterGetEvents)
	require.Zero(t, e)
	assert.Equal(t, map[uint64]int32{6: 0}, collect(t, r, 1))
}

func TestRegisteredRing(t *testing.T) {
	lock(t)
	r := open(t, 4, 0)
	require.ErrorIs(t, r.UnregisterRingFD(), unix.ENOENT)
	need(t, r.RegisterRingFD(), "5.18")
	require.ErrorIs(t, r.RegisterRingFD(), unix.EEXIST)
	// It is the index that is used: the descriptor may be another file.
	onlyIndex(t, r, func() {
		push(t, r, nop(1))
		n, e := r.Enter(1, uring.EnterGetEvents)
		require.Zero(t, e)
		require.Equal(t, 1, n)
		require.Zero(t, r.WaitTimeout(2, time.Millisecond), "one is there")
	})
	assert.EqualValues(t, 1, next(t, r).UserData)

	// The index is the thread's.
	other := make(chan error, 1)
	// ends when the wait returns; waited by the receive
	go func() {
		runtime.LockOSThread() // and ends with the goroutine
		other <- r.Wait(0)
	}()
	require.Error(t, <-other)
	require.NoError(t, r.UnregisterRingFD())
	require.Zero(t, r.Wait(0))

	// Close gives the index back: sixteen are all that a thread has.
	for range 40 {
		s, err := uring.New(1, 0, 0)
		require.NoError(t, err)
		require.NoError(t, s.RegisterRingFD())
		require.NoError(t, s.Close())
	}
}

// onlyIndex runs f while /dev/null stands in the place of the ring's descriptor.
func onlyIndex(t *testing.T, r *uring.Ring, f func()) {
	t.Helper()
	keep, err := unix.FcntlInt(uintptr(r.FD()), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Dup3(null, r.FD(), unix.O_CLOEXEC))
	require.NoError(t, unix.Close(null))
	defer func() { require.NoError(t, unix.Close(keep)) }()
	defer func() { require.NoError(t, unix.Dup3(keep, r.FD(), unix.O_CLOEXEC)) }()
	f()
}

func TestDisabledRing(t *testing.T) {
	lock(t)
	r := openCfg(t, uring.Config{Entries: 4, Flags: uring.SetupRDisabled | uring.SetupSingleIssuer}, "6.0")
	push(t, r, nop(1))
	_, e := r.Enter(0, 0)
	require.Equal(t, unix.EBADFD, e, "not started")
	require.NoError(t, r.EnableRings())
	require.ErrorIs(t, r.EnableRings(), unix.EBADFD)
	_, e = r.Enter(1, uring.EnterGetEvents)
	require.Zero(t, e)
	assert.Equal(t, map[uint64]int32{1: 0}, collect(t, r, 1))
}

func TestAttachWQ(t *testing.T) {
	a := open(t, 4, 0)
	b := openCfg(t, uring.Config{Entries: 4, Flags: uring.SetupAttachWQ, WQFD: a.FD()}, "5.6")
	submit(t, b, uring.SQE{Opcode: uring.OpNop, Flags: uring.SQEAsync, UserData: 4})
	assert.Equal(t, map[uint64]int32{4: 0}, collect(t, b, 1))
	_, err := uring.Open(uring.Config{Entries: 4, Flags: uring.SetupAttachWQ, WQFD: -1})
	require.ErrorIs(t, err, unix.ENXIO, "no ring")
}

func TestResize(t *testing.T) {
	lock(t)
	const resizable = uring.SetupSingleIssuer | uring.SetupDeferTaskrun | uring.SetupNoSQArray
	r := openCfg(t, uring.Config{Entries: 4, CQEntries: 8, Flags: resizable}, "6.6")
	for i := range uint64(6) { // completions to carry over, and the places not at the start
		push(t, r, nop(i))
		_, e := r.Enter(1, uring.EnterGetEvents)
		require.Zero(t, e)
		if i < 3 {
			require.Equal(t, i, next(t, r).UserData)
		}
	}
	push(t, r, nop(6), nop(7)) // submissions to carry over
	need(t, r.Resize(16, 64), "6.13")
	require.Equal(t, 16, r.SQEntries())
	require.Equal(t, 64, r.CQEntries())
	assert.EqualValues(t, 2, r.Unsubmitted())
	assert.EqualValues(t, 3, r.Ready())
	for i := uint64(8); i < 16; i++ {
		push(t, r, nop(i))
	}
	n, e := r.Enter(1, uring.EnterGetEvents)
	require.Zero(t, e)
	require.Equal(t, 10, n)
	for i := uint64(3); i < 16; i++ {
		require.Equal(t, i, next(t, r).UserData)
	}
	require.NoError(t, r.Resize(2, 0), "smaller")
	push(t, r, nop(16))
	_, e = r.Enter(1, uring.EnterGetEvents)
	require.Zero(t, e)
	require.EqualValues(t, 16, next(t, r).UserData)

	for i := range uint64(3) {
		push(t, r, nop(i))
		_, e = r.Enter(0, uring.EnterGetEvents)
		require.Zero(t, e)
	}
	require.ErrorIs(t, r.Resize(2, 2), unix.EOVERFLOW)
	require.Len(t, collect(t, r, 3), 3, "nothing changed")
	require.ErrorIs(t, open(t, 4, 0).Resize(8, 0), unix.EINVAL, "a plain ring")
}

// TestLayoutOfArguments: include/uapi/linux/io_uring.h.
func TestLayoutOfArguments(t *testing.T) {
	for name, c := range map[string]struct{ want, got uintptr }{
		"params":           {120, unsafe.Sizeof(uring.Params{})},
		"params.sq_off":    {40, unsafe.Offsetof(uring.Params{}.SQOff)},
		"params.cq_off":    {80, unsafe.Offsetof(uring.Params{}.CQOff)},
		"params.wq_fd":     {24, unsafe.Offsetof(uring.Params{}.WQFD)},
		"sq_off":           {40, unsafe.Sizeof(uring.SQOffsets{})},
		"sq_off.array":     {24, unsafe.Offsetof(uring.SQOffsets{}.Array)},
		"cq_off":           {40, unsafe.Sizeof(uring.CQOffsets{})},
		"cq_off.cqes":      {20, unsafe.Offsetof(uring.CQOffsets{}.CQEs)},
		"timespec":         {16, unsafe.Sizeof(uring.Timespec{})},
		"getevents":        {24, unsafe.Sizeof(uring.GetEventsArg{})},
		"getevents.min":    {12, unsafe.Offsetof(uring.GetEventsArg{}.MinWaitUsec)},
		"getevents.ts":     {16, unsafe.Offsetof(uring.GetEventsArg{}.TS)},
		"sync_cancel":      {64, unsafe.Sizeof(uring.SyncCancelReg{})},
		"sync_cancel.time": {16, unsafe.Offsetof(uring.SyncCancelReg{}.Timeout)},
		"sync_cancel.op":   {32, unsafe.Offsetof(uring.SyncCancelReg{}.Opcode)},
		"rsrc_register":    {32, unsafe.Sizeof(uring.RsrcRegister{})},
		"rsrc_reg.data":    {16, unsafe.Offsetof(uring.RsrcRegister{}.Data)},
		"rsrc_update":      {16, unsafe.Sizeof(uring.RsrcUpdate{})},
		"rsrc_update.data": {8, unsafe.Offsetof(uring.RsrcUpdate{}.Data)},
		"rsrc_update2":     {32, unsafe.Sizeof(uring.RsrcUpdate2{})},
		"rsrc_update2.nr":  {24, unsafe.Offsetof(uring.RsrcUpdate2{}.Nr)},
		"clone":            {32, unsafe.Sizeof(uring.CloneBuffersReg{})},
		"clone.nr":         {16, unsafe.Offsetof(uring.CloneBuffersReg{}.Nr)},
		"file_range":       {16, unsafe.Sizeof(uring.FileIndexRange{})},
		"buf_reg":          {40, unsafe.Sizeof(uring.BufReg{})},
		"buf_reg.bgid":     {12, unsafe.Offsetof(uring.BufReg{}.Group)},
		"buf_reg.flags":    {14, unsafe.Offsetof(uring.BufReg{}.Flags)},
		"buf_status":       {40, unsafe.Sizeof(uring.BufStatus{})},
		"buf":              {16, unsafe.Sizeof(uring.Buf{})},
		"buf.bid":          {12, unsafe.Offsetof(uring.Buf{}.ID)},
		"buf.tail":         {14, unsafe.Offsetof(uring.Buf{}.Resv)},
		"recvmsg_out":      {16, unsafe.Sizeof(uring.RecvmsgOut{})},
	} {
		assert.Equal(t, c.want, c.got, name)
	}
}
