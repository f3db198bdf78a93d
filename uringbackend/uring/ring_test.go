//go:build linux

package uring_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

func open(t *testing.T, entries, cqEntries uint32) *uring.Ring {
	t.Helper()
	r, err := uring.New(entries, cqEntries, uring.SetupClamp)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestLayout(t *testing.T) {
	// include/uapi/linux/io_uring.h
	var s uring.SQE
	assert.EqualValues(t, 64, unsafe.Sizeof(s))
	for offset, got := range map[uintptr]uintptr{
		4: unsafe.Offsetof(s.FD), 8: unsafe.Offsetof(s.Off), 16: unsafe.Offsetof(s.Addr), 24: unsafe.Offsetof(s.Len),
		28: unsafe.Offsetof(s.OpFlags), 32: unsafe.Offsetof(s.UserData), 40: unsafe.Offsetof(s.BufIndex),
		42: unsafe.Offsetof(s.Personality), 44: unsafe.Offsetof(s.FileIndex), 48: unsafe.Offsetof(s.Addr3),
	} {
		assert.Equal(t, offset, got)
	}
	assert.EqualValues(t, 64, unsafe.Sizeof(uring.SyncCancelReg{}))
}

func TestWrapsAround(t *testing.T) {
	r := open(t, 4, 8)
	require.Equal(t, 4, r.SQEntries())
	require.Equal(t, 8, r.CQEntries())
	var sent, got uint64
	for round := range 100 {
		n := 1 + round%4
		for range n {
			require.True(t, r.Push(&uring.SQE{Opcode: uring.OpNop, UserData: sent}))
			sent++
		}
		submitted, errno := r.Enter(uint32(n), uring.EnterGetEvents)
		require.Zero(t, errno)
		require.Equal(t, n, submitted)
		require.EqualValues(t, n, r.Ready())
		for range n {
			c, ok := r.Next()
			require.True(t, ok)
			require.Equal(t, got, c.UserData)
			got++
		}
		_, ok := r.Next()
		require.False(t, ok)
	}
}

func TestFullQueueAndDrop(t *testing.T) {
	r := open(t, 2, 0)
	require.True(t, r.Push(&uring.SQE{UserData: 10}))
	require.True(t, r.Push(&uring.SQE{UserData: 11}))
	require.False(t, r.Push(&uring.SQE{UserData: 12}), "a full queue")
	assert.EqualValues(t, 2, r.Unsubmitted())
	assert.Equal(t, []uint64{10, 11}, r.Drop())
	assert.Zero(t, r.Unsubmitted())
	require.True(t, r.Push(&uring.SQE{UserData: 13}))
	_, errno := r.Enter(1, uring.EnterGetEvents)
	require.Zero(t, errno)
	c, ok := r.Next()
	require.True(t, ok)
	assert.EqualValues(t, 13, c.UserData, "a dropped record does not come back")
	assert.Zero(t, r.Ready())
}

// TestOverflowLosesNothing: more completions than the queue holds wait in the kernel.
func TestOverflowLosesNothing(t *testing.T) {
	for name, flags := range map[string]uint32{"plain": 0, "deferred": uring.SetupSingleIssuer | uring.SetupDeferTaskrun} {
		t.Run(name, func(t *testing.T) {
			lock(t)
			r := openCfg(t, uring.Config{Entries: 4, CQEntries: 4, Flags: flags}, "6.1")
			require.NotZero(t, r.Features()&uring.FeatNoDrop)
			const n = 500
			for i := range uint64(n) {
				s := nop(i)
				s.Flags = uring.SQEAsync * uint8(i%2) // half of them by a worker, which comes when it comes
				push(t, r, s)
				if r.SpaceLeft() == 0 {
					_, errno := r.Enter(0, uring.EnterGetEvents)
					require.Zero(t, errno)
				}
			}
			for range 1000 { // full: it returns at once, and has let the workers' results in
				require.Zero(t, r.Wait(1))
				if r.Overflowed() {
					break
				}
			}
			require.True(t, r.Overflowed())
			got := map[uint64]bool{}
			for len(got) < n {
				c := next(t, r)
				require.False(t, got[c.UserData], "twice")
				got[c.UserData] = true
			}
			quiet(t, r)
			assert.False(t, r.Overflowed())
			assert.Zero(t, r.Lost())
		})
	}
}

func TestReadsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("by ring"), 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	r := open(t, 4, 0)
	buf := new([32]byte)
	require.True(t, r.Push(&uring.SQE{
		Opcode: uring.OpRead, FD: int32(f.Fd()), Addr: uint64(uintptr(unsafe.Pointer(buf))), Len: 32, Off: 3, UserData: 9,
	}))
	_, errno := r.Enter(1, uring.EnterGetEvents)
	require.Zero(t, errno)
	c, ok := r.Next()
	require.True(t, ok)
	assert.Equal(t, uring.CQE{UserData: 9, Res: 4}, c)
	assert.Equal(t, "ring", string(buf[:c.Res]))
	runtime.KeepAlive(buf)
}

func TestProbeOpcodes(t *testing.T) {
	r := open(t, 2, 0)
	ops, err := uring.ProbeOpcodes(r.FD())
	require.NoError(t, err)
	assert.True(t, ops.Has(uring.OpNop))
	assert.True(t, ops.Has(uring.OpReadv))
	assert.False(t, ops.Has(255))
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { require.NoError(t, null.Close()) }()
	_, err = uring.ProbeOpcodes(int(null.Fd()))
	assert.ErrorIs(t, err, unix.EOPNOTSUPP, "not a ring")
}

func TestErrors(t *testing.T) {
	_, err := uring.New(0, 0, 0)
	require.ErrorIs(t, err, unix.EINVAL)
	_, err = uring.New(4, 0, 1<<31)
	require.ErrorIs(t, err, unix.EINVAL)
	r, err := uring.New(4, 0, 0)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "closed twice")
}
