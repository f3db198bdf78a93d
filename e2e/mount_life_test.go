//go:build linux

package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/supervise"
)

// TestMountKilledUnderLoad: after kill -9 of the server, alone or with SMB over the same Volume, its clients are free, the stale
// mount is explained, and one command of that explanation makes the next start work.
func TestMountKilledUnderLoad(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		t.Run("mount", func(t *testing.T) { killUnderLoad(t, mountOptions{command: "mount", engine: engine, keep: true}) })
		t.Run("serve", func(t *testing.T) {
			killUnderLoad(t, mountOptions{command: "serve", engine: engine, keep: true, args: []string{"--guest", "--listen", "127.0.0.1:0"}})
		})
	})
}

func killUnderLoad(t *testing.T, o mountOptions) {
	t.Helper()
	m := startMount(t, o)
	o.backing, o.mnt = m.backing, m.mnt
	var clients []*supervise.Child
	for range 4 {
		clients = append(clients, startRole(t, "load", nil, m.mnt))
	}
	loaded := func() bool { return m.status(t).Fuse.Ops["WRITE"] > 100 }
	if o.command == "serve" {
		clients = append(clients, startSMBLoad(t, endpointOf(t, m.child)))
		mounted := loaded
		loaded = func() bool { return m.status(t).SMB.Requests["WRITE"] > 10 && mounted() }
	}
	require.Eventually(t, loaded, 20*time.Second, 20*time.Millisecond)
	require.Error(t, m.child.Kill())

	for _, c := range clients {
		select {
		case <-c.Done():
		case <-time.After(5 * time.Second):
			t.Errorf("client %d still runs: %v", c.Pid(), supervise.Uninterruptible(c.Pid()))
		}
		assert.Empty(t, supervise.Uninterruptible(c.Pid()))
	}
	assert.Empty(t, supervise.Uninterruptible(m.child.Pid()))

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	stale, err := supervise.Stale(ctx, m.mnt)
	require.NoError(t, err)
	require.True(t, stale, "a killed server leaves its mount behind")
	_, err = tryMount(t, o)
	require.ErrorContains(t, err, "is a stale mount")
	require.ErrorContains(t, err, "fusermount3 -u "+m.mnt)
	require.ErrorContains(t, err, "umount -l "+m.mnt)

	require.NoError(t, supervise.Unmount(m.mnt))
	o.keep = false
	again := startMount(t, o)
	require.NoError(t, os.WriteFile(again.path("works"), []byte("again"), 0o644))
}

// TestMountPausedServerCanBeKilled: clients of a server that does not answer end with it.
func TestMountPausedServerCanBeKilled(t *testing.T) {
	m := startMount(t, mountOptions{keep: true})
	client := startRole(t, "load", nil, m.mnt)
	require.NoError(t, m.child.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := supervise.Stale(ctx, m.mnt)
	require.ErrorIs(t, err, context.DeadlineExceeded, "a paused server is neither stale nor answering")
	require.NoError(t, supervise.AbortMount(m.mnt))
	select {
	case <-client.Done():
	case <-time.After(5 * time.Second):
		t.Errorf("client %d still runs: %v", client.Pid(), supervise.Uninterruptible(client.Pid()))
	}
	require.NoError(t, supervise.Unmount(m.mnt))
	require.NoError(t, m.child.Resume())
	select {
	case <-m.child.Done():
		assert.Equal(t, 0, m.child.ExitCode(), "a server whose mount was taken away ends")
	case <-time.After(20 * time.Second):
		t.Error("the server did not notice that its mount is gone")
	}
}

// TestMountEndsAtOnceWhileBusy: SIGTERM takes the mount away although files are open, and loses no byte of a mapping.
func TestMountEndsAtOnceWhileBusy(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		require.NoError(t, os.WriteFile(m.path("held"), make([]byte, 4096), 0o644))
		f, err := os.OpenFile(m.path("held"), os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		holder := startRole(t, "hold", nil, m.path("held"))

		require.NoError(t, m.child.Signal(syscall.SIGTERM))
		require.Eventually(t, func() bool { _, err := supervise.MountAt(m.mnt); return err != nil }, 5*time.Second, 10*time.Millisecond)
		_, err = os.Lstat(m.path("held"))
		assert.ErrorIs(t, err, os.ErrNotExist, "the mount point is the empty directory again")
		require.NoError(t, m.child.Wait(), "exit code 0")
		_, err = f.WriteAt([]byte("too late"), 0)
		assert.Error(t, err, "an open file is cut off")

		b, err := os.ReadFile(m.under("held"))
		require.NoError(t, err)
		assert.Equal(t, "mapped", string(b[:6]), "dirty pages of the mapping were written back first")
		require.Error(t, holder.Kill())
		assert.Empty(t, supervise.Uninterruptible(holder.Pid()))
	})
}

// TestMountUnmountedFromOutside: umount(8) is as good as a signal.
func TestMountUnmountedFromOutside(t *testing.T) {
	m := startMount(t, mountOptions{keep: true})
	require.NoError(t, os.WriteFile(m.path("f"), []byte("x"), 0o644))
	require.NoError(t, supervise.UnmountIdle(m.mnt))
	select {
	case <-m.child.Done():
		assert.Equal(t, 0, m.child.ExitCode())
	case <-time.After(10 * time.Second):
		t.Error("the server goes on without a mount")
	}
}

// TestMountRefusesItself: a mount point within the backing directory, or the reverse, by any path.
func TestMountRefusesItself(t *testing.T) {
	top := publicDir(t)
	for _, d := range []string{"data/sub/mnt", "outside/mnt", "bind", "rebind"} {
		require.NoError(t, os.MkdirAll(filepath.Join(top, d), 0o755))
	}
	bind := func(from, to string) {
		t.Helper()
		to = filepath.Join(top, to)
		require.NoError(t, unix.Mount(filepath.Join(top, from), to, "", unix.MS_BIND, ""))
		t.Cleanup(func() { assert.NoError(t, unix.Unmount(to, unix.MNT_DETACH)) })
	}
	bind("data/sub", "bind")
	bind("data", "rebind")
	require.NoError(t, os.Symlink("data/sub", filepath.Join(top, "link")))
	for _, test := range []struct{ name, backing, mnt, message string }{
		{"beneath", "data", "data/sub/mnt", "lies within the backing directory"},
		{"the same", "data", "data", "lies within the backing directory"},
		{"reverse", "data/sub", "data", "choose a mount point"},
		{"by a bind mount of a part", "data", "bind/mnt", "lies within the backing directory"},
		{"the bind mount itself", "data", "bind", "lies within the backing directory"},
		{"backing by a bind mount", "rebind", "data/sub/mnt", "lies within the backing directory"},
		{"reverse, by a bind mount", "bind", "rebind", "choose a mount point"},
		{"by a symlink", "data", "link/mnt", "lies within the backing directory"},
		{"the root as backing", "/", "outside/mnt", "lies within the backing directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := mountOptions{backing: filepath.Join(top, test.backing), mnt: filepath.Join(top, test.mnt)}
			if test.backing == "/" {
				o.backing = "/"
			}
			_, err := tryMount(t, o)
			require.Error(t, err)
			assert.ErrorContains(t, err, test.message)
			assert.ErrorContains(t, err, "choose a mount point")
		})
	}
	m := startMount(t, mountOptions{backing: filepath.Join(top, "data"), mnt: filepath.Join(top, "outside/mnt")})
	assert.DirExists(t, m.path("sub/mnt"), "neighbours are no overlap")
	_, err := tryMount(t, mountOptions{backing: m.backing, mnt: m.mnt})
	assert.ErrorContains(t, err, "already mounted")
	_, err = tryMount(t, mountOptions{backing: m.backing, mnt: filepath.Join(top, "nowhere")})
	assert.ErrorContains(t, err, "create the directory first")
}

// TestMountUnprivileged: through fusermount3, as another user.
func TestMountUnprivileged(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		openFuseDevice(t)
		user, stranger := other(), &syscall.Credential{Uid: 12345, Gid: 12345} // fusermount3 wants a user with a name
		backing, mnt := publicDir(t), publicDir(t)
		for _, dir := range []string{backing, mnt} {
			require.NoError(t, os.Chown(dir, int(user.Uid), int(user.Gid)))
		}
		m := startMount(t, mountOptions{engine: engine, credential: user, backing: backing, mnt: mnt})
		assert.Equal(t, "OK", runRole(t, "touch", user, m.path("f")))
		b, err := os.ReadFile(m.under("f"))
		require.NoError(t, err)
		assert.Equal(t, "hello", string(b))
		at, err := supervise.MountAt(m.mnt)
		require.NoError(t, err)
		assert.Equal(t, "fuse.uringfs", at.FSType)
		assert.Contains(t, at.SuperOptions, "user_id="+strconv.Itoa(int(user.Uid)))
		assert.Equal(t, unix.EACCES.Error(), runRole(t, "touch", stranger, m.path("g")), "nobody else gets in")
		_, err = os.Stat(m.path("f"))
		assert.ErrorIs(t, err, unix.EACCES, "not even root")
		st := m.status(t)
		assert.NotZero(t, st.Fuse.Ops["WRITE"])
		assert.NotZero(t, st.Fuse.Ops["READ"])
	})
}

// openFuseDevice gives /dev/fuse the mode that udev gives it everywhere, 0666, for the length of the test: fusermount3 opens
// the device as its caller. Minimal containers create it for root only.
func openFuseDevice(t *testing.T) {
	t.Helper()
	st, err := os.Stat("/dev/fuse")
	require.NoError(t, err)
	if st.Mode().Perm()&0o006 == 0o006 {
		return
	}
	require.NoError(t, os.Chmod("/dev/fuse", 0o666))
	t.Cleanup(func() { assert.NoError(t, os.Chmod("/dev/fuse", st.Mode().Perm())) })
}

// TestMountFewDescriptors: more nodes than descriptors are no matter, more open files are an error, and it passes.
func TestMountFewDescriptors(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine, maxFiles: 128})
		const count = 500
		name := func(i int) string { return m.path("f" + strconv.Itoa(i)) }
		var dirs []int
		for i := range count {
			require.NoError(t, os.WriteFile(name(i), []byte(strconv.Itoa(i)), 0o644))
			// Keeps the kernel from forgetting the node, and takes no descriptor of the server's.
			fd, err := unix.Open(name(i), unix.O_PATH|unix.O_CLOEXEC, 0)
			require.NoError(t, err)
			dirs = append(dirs, fd)
		}
		var st unix.Stat_t
		for i, fd := range dirs {
			require.NoError(t, unix.Fstat(fd, &st), "node %d", i)
			require.EqualValues(t, len(strconv.Itoa(i)), st.Size)
		}
		var open []*os.File
		failed := 0
		for i := range count {
			f, err := os.Open(name(i))
			if err != nil {
				require.ErrorIs(t, err, unix.EMFILE)
				failed++
				continue
			}
			open = append(open, f)
		}
		assert.NotZero(t, failed, "the limit was reached")
		assert.NotEmpty(t, open)
		for _, f := range open {
			require.NoError(t, f.Close())
		}
		for _, fd := range dirs {
			unix.Close(fd)
		}
		assert.Eventually(t, func() bool {
			b, err := os.ReadFile(name(count - 1))
			return err == nil && string(b) == strconv.Itoa(count-1)
		}, 5*time.Second, 20*time.Millisecond, "once files are closed others open again")
	})
}

// TestMountServesNoPathOfItsOwn: the server process has nothing open beneath its mount, and its threads never wait for it.
func TestMountServesNoPathOfItsOwn(t *testing.T) {
	m := startMount(t, mountOptions{})
	require.NoError(t, os.WriteFile(m.path("f"), []byte("x"), 0o644))
	at, err := supervise.MountAt(m.mnt)
	require.NoError(t, err)
	dir := filepath.Join("/proc", strconv.Itoa(m.child.Pid()), "fdinfo")
	fds, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, fds)
	for _, fd := range fds {
		b, err := os.ReadFile(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		assert.NotContains(t, string(b), "mnt_id:\t"+strconv.Itoa(at.ID)+"\n", fd.Name())
	}
	threads, err := supervise.Threads(m.child.Pid())
	require.NoError(t, err)
	for _, th := range threads {
		assert.NotContains(t, th.Where, "fuse_get_req")
		assert.NotContains(t, th.Where, "request_wait_answer")
	}
}

// TestMountStress: eight processes at once, each with a directory that must at any time be what it knows it to be.
func TestMountStress(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, coherence := range []string{"strict", "cached"} {
			t.Run(coherence, func(t *testing.T) {
				m := startMount(t, mountOptions{engine: engine, args: []string{"--coherence", coherence}})
				require.NoError(t, os.Mkdir(m.path("shared"), 0o755))
				var workers []*supervise.Child
				for i := range 8 {
					c := roleCommand(t, "stress", nil, m.mnt, strconv.Itoa(i+1))
					c.NoReady = true
					w, err := supervise.Start(t.Context(), c)
					require.NoError(t, err)
					t.Cleanup(func() { _ = w.Kill() })
					workers = append(workers, w)
				}
				for i, w := range workers {
					assert.NoError(t, w.Wait(), "worker %d (repeat with seed %d): %s", i, i+1, w.Stderr())
				}
				require.NoError(t, os.RemoveAll(m.path("shared")))
			})
		}
	})
}
