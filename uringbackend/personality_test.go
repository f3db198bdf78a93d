//go:build linux

package uringbackend_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// exactModes gives the process the umask 0, so that a ring may make names with credentials.
func exactModes(t *testing.T) {
	t.Helper()
	old := unix.Umask(0)
	t.Cleanup(func() { unix.Umask(old) })
}

// self are the process's own credentials, which anybody may put on.
func self(t *testing.T) *Creds {
	t.Helper()
	c := &Creds{Valid: true, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	groups, err := unix.Getgroups()
	require.NoError(t, err)
	for _, g := range groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// TestCredsConformance runs the suite's cases where it is the ring that carries names' credentials, with a cache that is
// always too small, and where the kernel lacks personalities.
func TestCredsConformance(t *testing.T) {
	exactModes(t)
	features := Probe(t.TempDir())
	enginetest.Require(t, features.Personality)
	old := features
	old.Personality = Ability{Answer: No}
	for name, c := range map[string]struct {
		features Features
		cfg      Config
	}{
		"umask 0":               {features, Config{Strict: true}},
		"two personalities":     {features, Config{Strict: true, Personalities: 2}},
		"one ring":              {features, Config{Strict: true, Personalities: 1, Rings: 1, Entries: 4}},
		"without personalities": {old, Config{Strict: true}},
	} {
		for _, row := range enginetest.All() {
			if !strings.HasPrefix(row.Name, "Creds") {
				continue
			}
			t.Run(name+"/"+row.Name, func(t *testing.T) {
				e, err := Open("ring", c.features, c.cfg)
				require.NoError(t, err)
				t.Cleanup(func() {
					require.NoError(t, e.Close())
					h := e.Health()
					assert.Zero(t, h.InFlight)
					assert.Zero(t, h.Stale)
					assert.Empty(t, h.Umask)
					if c.features.Personality.Answer != Yes {
						assert.Zero(t, h.Personalities)
					} else {
						assert.Empty(t, e.Fallbacks())
					}
				})
				row.Run(t, e)
			})
		}
	}
}

// TestCredsRoads says which way ops with credentials go, and that the counts show it.
func TestCredsRoads(t *testing.T) {
	for _, c := range []struct {
		name       string
		umask      int
		old        func(f *Features)
		want       Count // of two creations
		fallbacks  uint64
		registered uint64
	}{
		{"personality", 0, func(*Features) {}, Count{Ring: 2}, 0, 1},
		{"umask", 0o022, func(*Features) {}, Count{Syscall: 2}, 0, 0},
		{"no personality", 0, func(f *Features) { f.Personality = Ability{Answer: No} }, Count{Syscall: 2}, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := unix.Umask(c.umask)
			defer unix.Umask(old)
			e := openEngine(t, "ring", c.old)
			dir, err := unix.Open(t.TempDir(), unix.O_PATH|unix.O_CLOEXEC, 0)
			require.NoError(t, err)
			defer func() { require.NoError(t, unix.Close(dir)) }()
			for i := range 2 {
				how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_CLOEXEC, Mode: 0o666}
				fd, err := e.As(self(t)).Openat2(t.Context(), dir, fmt.Sprint(i), how)
				require.NoError(t, err)
				var st unix.Stat_t
				require.NoError(t, unix.Fstat(fd, &st))
				assert.EqualValues(t, 0o666, st.Mode&0o777)
				require.NoError(t, unix.Close(fd))
			}
			assert.Equal(t, c.want, e.Counts()["openat2"])
			assert.Equal(t, c.fallbacks, e.Fallbacks()["openat2"])
			assert.Equal(t, c.registered, e.Health().Personalities)
		})
	}
}

// TestCredsThroughFaults: what makes names with credentials passes the seam, where plans of faults see it.
func TestCredsThroughFaults(t *testing.T) {
	for _, name := range []string{"syscall", "ring"} {
		plan, err := ParseFaults("mkdirat=ENOSPC:1,mknodat=EDQUOT:1,symlinkat=EIO:1")
		require.NoError(t, err)
		w := openTree(t, Faulty(openEngine(t, name, func(*Features) {}), plan), VolumeConfig{})
		mk := makers(w)
		for verb, want := range map[string]error{"mkdir": unix.ENOSPC, "fifo": unix.EDQUOT, "symlink": unix.EIO} {
			_, err := mk[verb](w.root(), "n", *self(t))
			assert.ErrorIs(t, err, want, verb)
		}
		_, err = mk["create"](w.root(), "n", *self(t))
		assert.NoError(t, err)
	}
}

// TestPersonalitiesAreForgotten: the one not used for longest goes.
func TestPersonalitiesAreForgotten(t *testing.T) {
	needRoot(t, "setfsuid(2)")
	features := Probe("")
	enginetest.Require(t, features.Personality)
	e, err := Open("ring", features, Config{Strict: true, Rings: 1, Personalities: 2, Policy: "ring"})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	registered := uint64(0)
	for i, c := range []struct {
		creds Creds
		known bool
	}{
		{Creds{Valid: true, UID: 1}, false},
		{Creds{Valid: true, UID: 1}, true},
		{Creds{Valid: true, UID: 2}, false},
		{Creds{Valid: true, UID: 1}, true},
		{Creds{Valid: true, UID: 3}, false}, // 2 goes
		{Creds{Valid: true, UID: 1}, true},
		{Creds{Valid: true, UID: 2}, false}, // 3 goes
		{Creds{Valid: true, UID: 1, GID: 1}, false},
		{Creds{Valid: true, UID: 1, GID: 1, Groups: []uint32{5, 4}}, false},
		{Creds{Valid: true, UID: 1, GID: 1, Groups: []uint32{4, 5, 4}}, true},
		{Creds{Valid: true, UID: 1, GID: 1, Groups: []uint32{4, 5}, Checked: true}, false},
		{Creds{Valid: true, UID: 0, Checked: true}, false},
		{Creds{Valid: true, UID: 0}, true},
		{Creds{}, true}, // not of the ring's business
	} {
		var st unix.Statx_t
		require.NoError(t, e.As(&c.creds).Statx(t.Context(), unix.AT_FDCWD, "/", 0, unix.STATX_BASIC_STATS, &st))
		if !c.known {
			registered++
		}
		require.Equal(t, registered, e.Health().Personalities, "row %d: %+v", i, c.creds)
	}
	assert.EqualValues(t, 14, e.Counts()["statx"].Ring)
}

// TestCredentialThreads: they are bounded, waiting for one ends with the context, none is the main thread, and they end
// with the engine.
func TestCredentialThreads(t *testing.T) {
	e, err := Open("syscall", Features{}, Config{Strict: true})
	require.NoError(t, err)
	const bound = 16
	var threads []int
	release, lent := make(chan struct{}), make(chan int)
	done := make(chan error, bound)
	for range bound {
		// ends when release is closed; waited by the receives from done
		go func() {
			done <- e.LendForTest(context.Background(), &Creds{}, func() { lent <- unix.Gettid(); <-release })
		}()
	}
	for range bound {
		threads = append(threads, <-lent)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var st unix.Statx_t
	err = e.As(self(t)).Statx(ctx, unix.AT_FDCWD, "/", 0, unix.STATX_BASIC_STATS, &st)
	assert.Equal(t, unix.ECANCELED, err, "all are busy")
	close(release)
	for range bound {
		require.NoError(t, <-done)
	}
	require.NoError(t, e.As(self(t)).Statx(t.Context(), unix.AT_FDCWD, "/", 0, unix.STATX_BASIC_STATS, &st))
	require.NoError(t, e.Close())
	assert.NotContains(t, threads, unix.Getpid())
	for _, tid := range threads {
		assert.Eventually(t, func() bool {
			_, err := os.Stat(fmt.Sprint("/proc/self/task/", tid))
			return os.IsNotExist(err)
		}, 10*time.Second, time.Millisecond)
	}
}

// TestRestoredOrDies: a thread that cannot get the process's credentials back takes the process with it. The child's call
// gives up for good what would be needed for that.
func TestRestoredOrDies(t *testing.T) {
	needRoot(t, "setfsuid(2)")
	const variable = "URINGBACKEND_TEST_CHILD"
	losses := map[string]func() unix.Errno{
		"capabilities": func() unix.Errno {
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&none)), 0)
			return errno
		},
		"user": func() unix.Errno {
			_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 1001, 1001, 1001)
			return errno
		},
		"nothing": func() unix.Errno { return 0 },
	}
	if loss := losses[os.Getenv(variable)]; loss != nil {
		e, err := Open("syscall", Features{}, Config{})
		require.NoError(t, err)
		c := &Creds{Valid: true, UID: 1001, GID: 1002, Groups: []uint32{1003}}
		if os.Getenv(variable) == "user" {
			c.UID = 0 // with the capability to change it
		}
		err = e.LendForTest(t.Context(), c, func() {
			if errno := loss(); errno != 0 {
				panic(errno)
			}
		})
		t.Log("goes on:", err)
		return
	}
	for name := range losses {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestRestoredOrDies$", "-test.v")
		cmd.Env = append(os.Environ(), variable+"="+name)
		out, err := cmd.CombinedOutput()
		if name == "nothing" {
			require.NoError(t, err, "%s", out)
			assert.Contains(t, string(out), "goes on: <nil>")
			continue
		}
		require.Error(t, err, name)
		assert.Contains(t, string(out), "did not get the credentials of the process back", name)
		assert.NotContains(t, string(out), "goes on", name)
	}
}
