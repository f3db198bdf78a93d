//go:build linux

package uringbackend_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

func wlock(owner uint64, start, length int64) Lock {
	return Lock{Type: unix.F_WRLCK, Start: start, Length: length, Owner: owner, PID: uint32(1000 + owner)}
}

func rlock(owner uint64, start, length int64) Lock {
	return Lock{Type: unix.F_RDLCK, Start: start, Length: length, Owner: owner, PID: uint32(1000 + owner)}
}

func unlock(owner uint64, start, length int64) Lock {
	return Lock{Type: unix.F_UNLCK, Start: start, Length: length, Owner: owner}
}

func TestLocksBelongToOwners(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "content")
		one, two := w.open("f", unix.O_RDWR), w.open("f", unix.O_RDWR)
		require.NoError(t, one.SetLock(ctx, wlock(1, 0, 10), false))
		require.NoError(t, two.SetLock(ctx, wlock(1, 5, 10), false), "an owner is one, whatever the handle")
		require.ErrorIs(t, one.SetLock(ctx, rlock(2, 9, 1), false), unix.EAGAIN, "owners differ, whatever the handle")
		require.NoError(t, one.SetLock(ctx, rlock(2, 15, 0), false))
		require.NoError(t, two.SetLock(ctx, rlock(3, 15, 0), false), "readers share")

		got, err := one.GetLock(ctx, wlock(2, 12, 1))
		require.NoError(t, err)
		assert.Equal(t, Lock{Type: unix.F_WRLCK, Start: 0, Length: 15, Owner: 1, PID: 1001}, got)
		got, err = one.GetLock(ctx, wlock(2, 20, 1))
		require.NoError(t, err)
		assert.Equal(t, Lock{Type: unix.F_RDLCK, Start: 15, Owner: 3, PID: 1003}, got)
		got, err = one.GetLock(ctx, rlock(2, 20, 1))
		require.NoError(t, err)
		assert.EqualValues(t, unix.F_UNLCK, got.Type)

		// Other processes see them, and theirs count.
		stranger, err := os.OpenFile(w.path("f"), os.O_RDWR, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, stranger.Close()) }()
		set := func(typ int16, start int64) error {
			return unix.FcntlFlock(stranger.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ, Start: start, Len: 1})
		}
		require.ErrorIs(t, set(unix.F_WRLCK, 3), unix.EAGAIN)
		require.NoError(t, one.SetLock(ctx, unlock(1, 2, 2), false))
		require.NoError(t, set(unix.F_WRLCK, 3))
		require.ErrorIs(t, one.SetLock(ctx, rlock(2, 3, 1), false), unix.EAGAIN)
		got, err = one.GetLock(ctx, rlock(2, 3, 1))
		require.NoError(t, err)
		assert.Equal(t, Lock{Type: unix.F_WRLCK, Start: 3, Length: 1}, got)

		require.NoError(t, one.ReleaseLocks(ctx, 1))
		require.NoError(t, one.SetLock(ctx, wlock(4, 5, 10), false))
		require.NoError(t, one.SetLock(ctx, unlock(5, 0, 0), false), "nothing to unlock")
		require.ErrorIs(t, one.SetLock(ctx, Lock{Type: 9}, false), unix.EINVAL)
		require.ErrorIs(t, one.SetLock(ctx, rlock(1, -1, 0), false), unix.EINVAL)

		// Closing the only handle of an owner releases what it has.
		require.NoError(t, one.Close(ctx))
		require.NoError(t, two.SetLock(ctx, wlock(6, 5, 10), false))
		require.NoError(t, two.SetLock(ctx, unlock(6, 0, 0), false))
		require.NoError(t, two.ReleaseLocks(ctx, 3))
		assert.Zero(t, w.v.LocksForTest())
	})
}

func TestLockWaiters(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "content")
		h, other := w.open("f", unix.O_RDWR), w.open("f", unix.O_RDONLY)
		lock := func(ctx context.Context, h *Handle, l Lock) chan error {
			result := make(chan error, 1)
			// ends when the lock is had or refused; waited by a receive of the result
			go func() { result <- h.SetLock(ctx, l, true) }()
			return result
		}
		require.NoError(t, h.SetLock(ctx, wlock(1, 0, 0), true))

		interrupted, cancel := context.WithCancel(ctx)
		waits := lock(interrupted, h, wlock(2, 0, 1))
		assert.Empty(t, waits)
		cancel()
		require.ErrorIs(t, <-waits, unix.ECANCELED)

		waits = lock(ctx, h, wlock(2, 0, 1))
		require.NoError(t, h.SetLock(ctx, unlock(1, 0, 0), false))
		require.NoError(t, <-waits)
		waits = lock(ctx, h, rlock(3, 0, 1))
		require.NoError(t, h.ReleaseLocks(ctx, 2))
		require.NoError(t, <-waits)
		require.NoError(t, h.ReleaseLocks(ctx, 3))

		stranger, err := os.OpenFile(w.path("f"), os.O_RDWR, 0)
		require.NoError(t, err)
		require.NoError(t, unix.FcntlFlock(stranger.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
		waits = lock(ctx, h, rlock(4, 0, 1))
		require.NoError(t, stranger.Close())
		require.NoError(t, <-waits, "another process gave its lock back")

		waits = lock(ctx, other, wlock(5, 0, 1))
		require.NoError(t, other.Close(ctx), "a waiter does not hold up Close")
		require.ErrorIs(t, <-waits, unix.EBADF)
		require.NoError(t, h.ReleaseLocks(ctx, 4))
		assert.Zero(t, w.v.LocksForTest())
	})
}

func TestFlock(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "content")
		one, two := w.open("f", unix.O_RDONLY), w.open("f", unix.O_RDONLY)
		require.NoError(t, one.Flock(ctx, unix.LOCK_EX, false))
		require.NoError(t, one.Flock(ctx, unix.LOCK_EX|unix.LOCK_NB, false), "again is no conflict")
		require.ErrorIs(t, two.Flock(ctx, unix.LOCK_SH, false), unix.EAGAIN)
		interrupted, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, two.Flock(interrupted, unix.LOCK_SH, true), unix.ECANCELED)
		waits := make(chan error, 1)
		// ends when the lock is had; waited by the receive below
		go func() { waits <- two.Flock(ctx, unix.LOCK_EX, true) }()
		require.NoError(t, one.Close(ctx))
		require.NoError(t, <-waits)
		require.NoError(t, two.Flock(ctx, unix.LOCK_UN, false))
		assert.Zero(t, w.v.LocksForTest())
	})
}
