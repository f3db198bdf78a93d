//go:build linux

package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountLocks: POSIX locks between processes, and who holds what.
func TestMountLocks(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		path := m.path("f")
		require.NoError(t, os.WriteFile(path, []byte("0123456789"), 0o666))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		want := func() unix.Flock_t { return unix.Flock_t{Type: unix.F_WRLCK, Len: 1} }
		try := func() error { lk := want(); return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk) }

		holder := startRole(t, "lock", nil, path, "write", "now")
		require.Equal(t, `"OK"`, string(holder.Ready()))
		assert.ErrorIs(t, try(), unix.EAGAIN)
		lk := want()
		require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk))
		assert.EqualValues(t, unix.F_WRLCK, lk.Type)
		assert.EqualValues(t, holder.Pid(), lk.Pid, "the holder is named")

		// A waiting locker is freed by the holder's end, not before.
		waiter := startRole(t, "lock", nil, path, "write", "wait")
		require.Error(t, holder.Kill())
		select {
		case <-waiter.Done():
			assert.Equal(t, 0, waiter.ExitCode())
		case <-time.After(10 * time.Second):
			t.Error("the waiter never got the lock")
		}
		require.NoError(t, try(), "the waiter's end gave it back")

		// Read locks are shared.
		lk = unix.Flock_t{Type: unix.F_RDLCK, Len: 1}
		require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk))
		reader := startRole(t, "lock", nil, path, "read", "now")
		assert.Equal(t, `"OK"`, string(reader.Ready()))
		writer := startRole(t, "lock", nil, path, "write", "now")
		assert.Equal(t, `"resource temporarily unavailable"`, string(writer.Ready()))
	})
}

// TestMountLockWaitEndsWithTheSignal: a process that waits for a lock dies when it is killed, although nobody unlocks.
func TestMountLockWaitEndsWithTheSignal(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		path := m.path("f")
		require.NoError(t, os.WriteFile(path, []byte("0"), 0o666))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		lk := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
		require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk))

		waiter := startRole(t, "lock", nil, path, "write", "wait")
		require.Eventually(t, func() bool { return m.status(t).Fuse.Ops["SETLKW"] > 0 }, 5*time.Second, 20*time.Millisecond)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err = waiter.Stop(ctx)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal(), "SIGTERM was enough")
		assert.Less(t, time.Since(begin), 3*time.Second)

		// Nothing of it stays behind.
		lk = unix.Flock_t{Type: unix.F_UNLCK, Len: 1}
		require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk))
		lk = unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
		require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk))
		assert.EqualValues(t, unix.F_UNLCK, lk.Type)
	})
}

// TestMountFlock: flock(2) locks belong to open files.
func TestMountFlock(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		require.NoError(t, os.WriteFile(m.path("f"), nil, 0o666))
		var f [3]*os.File
		for i := range f {
			var err error
			f[i], err = os.OpenFile(m.path("f"), os.O_RDWR, 0)
			require.NoError(t, err)
			defer f[i].Close()
		}
		require.NoError(t, unix.Flock(int(f[0].Fd()), unix.LOCK_SH|unix.LOCK_NB))
		require.NoError(t, unix.Flock(int(f[1].Fd()), unix.LOCK_SH|unix.LOCK_NB))
		assert.ErrorIs(t, unix.Flock(int(f[2].Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
		require.NoError(t, unix.Flock(int(f[0].Fd()), unix.LOCK_UN))
		f[1].Close()
		assert.Eventually(t, func() bool {
			return unix.Flock(int(f[2].Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
		}, 5*time.Second, 10*time.Millisecond, "closing gives the lock back")

		// A program on the backing directory meets the same lock.
		b, err := os.OpenFile(m.under("f"), os.O_RDWR, 0)
		require.NoError(t, err)
		defer b.Close()
		assert.ErrorIs(t, unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	})
}
