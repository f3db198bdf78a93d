//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ctl"
	"github.com/uringfs/uringfs/internal/supervise"
)

// roleEnv makes this program play a helper process: see play.
const roleEnv = "URINGFS_E2E_ROLE"

// mounted is a running `uringfs mount`.
type mounted struct {
	backing, mnt string
	child        *supervise.Child
	ctl          string
}

// mountOptions say how to start it.
type mountOptions struct {
	command    string // "mount" when empty
	engine     string
	backing    string // made when empty
	mnt        string // made when empty
	args       []string
	credential *syscall.Credential
	noRing     bool // io_uring is refused, as by a container's seccomp filter
	maxFiles   int  // RLIMIT_NOFILE of the server, soft and hard; 0: as it is
	keep       bool // the test itself ends the server and judges its exit
}

// mountArgs is the command line for o.
func mountArgs(o mountOptions) []string {
	return serving(append([]string{o.command, o.backing, o.mnt, "--engine", o.engine, "--log", "warn"}, o.args...)...)
}

// startMount mounts, and takes the mount down at the end of the test: the server must then exit with 0 and without races.
func startMount(t *testing.T, o mountOptions) *mounted {
	t.Helper()
	m, err := tryMount(t, o)
	require.NoError(t, err)
	return m
}

// tryMount is startMount for tests that expect a refusal.
func tryMount(t *testing.T, o mountOptions) (*mounted, error) {
	t.Helper()
	if o.command == "" {
		o.command = "mount"
	}
	if o.engine == "" {
		o.engine = "syscall"
	}
	if o.backing == "" {
		o.backing = publicDir(t)
	}
	if o.mnt == "" {
		o.mnt = publicDir(t)
	}
	m := &mounted{backing: o.backing, mnt: o.mnt}
	path, args, env := binary, mountArgs(o), append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	if o.noRing {
		path, args, env = withoutRing(t, args, env)
	}
	if o.maxFiles > 0 {
		args = append([]string{"-c", `ulimit -n "$1"; shift; exec "$@"`, "sh", strconv.Itoa(o.maxFiles), binary}, args...)
		path = "/bin/sh"
	}
	var err error
	m.child, err = supervise.Start(t.Context(), supervise.Command{
		Path: path, Args: args, Credential: o.credential, Dir: "/",
		Env: env, Stderr: logWriter{t},
	})
	if err != nil {
		return nil, err
	}
	// Whatever happened to the server, the mount goes, and with it whoever still waits for an answer.
	t.Cleanup(func() { assert.NoError(t, supervise.Clear(m.mnt)) })
	if o.keep {
		t.Cleanup(func() { _ = m.child.Kill() })
	} else {
		t.Cleanup(func() { m.stop(t) })
	}
	var ready struct{ Mnt, Ctl string }
	require.NoError(t, json.Unmarshal(m.child.Ready(), &ready))
	require.Equal(t, m.mnt, ready.Mnt)
	m.ctl = ready.Ctl
	return m, nil
}

// stop ends the server as a user would, and judges it.
func (m *mounted) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	assert.NoError(t, m.child.Stop(ctx), "the server ends with 0 at SIGTERM")
	assert.NotContains(t, m.child.Stderr(), "DATA RACE")
	assert.NotContains(t, m.child.Stderr(), "panic")
	_, err := supervise.MountAt(m.mnt)
	assert.ErrorIs(t, err, supervise.ErrNotMounted, "no mount is left")
}

// status asks the server how it is.
func (m *mounted) status(t *testing.T) ctl.Status {
	t.Helper()
	st, err := ctl.Get(t.Context(), m.ctl)
	require.NoError(t, err)
	require.NotNil(t, st.Fuse)
	return st
}

// path is a file on the mount.
func (m *mounted) path(name string) string { return filepath.Join(m.mnt, name) }

// under is the same file on the backing directory.
func (m *mounted) under(name string) string { return filepath.Join(m.backing, name) }

// publicDir is a fresh directory that other users can reach, unlike those of t.TempDir.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "uringfs-mount-") //nolint:usetesting // those of t.TempDir are closed to other users
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	t.Cleanup(func() {
		// Never into a mount: that would delete the backing files of a test that still looks at them.
		if _, err := supervise.MountAt(dir); errors.Is(err, supervise.ErrNotMounted) {
			assert.NoError(t, os.RemoveAll(dir))
		}
	})
	return dir
}

// logWriter shows a child's standard error in the test's log.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("server: %s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

// startRole starts a helper process that plays role; see roles.
func startRole(t *testing.T, role string, credential *syscall.Credential, args ...string) *supervise.Child {
	t.Helper()
	c, err := supervise.Start(t.Context(), roleCommand(t, role, credential, args...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Kill() })
	return c
}

// roleCommand lets a copy of this program play role.
func roleCommand(t *testing.T, role string, credential *syscall.Credential, args ...string) supervise.Command {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	if credential != nil {
		// The test binary lies where only its builder can read.
		public := filepath.Join(filepath.Dir(binary), "mount-helper")
		if _, err := os.Stat(public); err != nil {
			b, err := os.ReadFile(self)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(public, b, 0o755))
			require.NoError(t, os.Chmod(public, 0o755)) // whatever the test's umask is
		}
		self = public
	}
	return supervise.Command{
		Path: self, Args: args, Dir: "/", Credential: credential,
		Env: append(os.Environ(), roleEnv+"="+role), Stderr: logWriter{t},
	}
}

// runRole runs a helper to its end and returns what it said in its ready line.
func runRole(t *testing.T, role string, credential *syscall.Credential, args ...string) string {
	t.Helper()
	c := startRole(t, role, credential, args...)
	require.NoError(t, c.Wait(), role)
	var said string
	require.NoError(t, json.Unmarshal(c.Ready(), &said))
	return said
}

// other is an unprivileged user.
func other() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

// sayReady is the ready line of a helper.
func sayReady(what string) {
	b, _ := json.Marshal(what) //nolint:errchkjson // a string always has a JSON form
	fmt.Fprintf(os.Stdout, "ready %s\n", b)
}

// errnoName is how a helper reports an errno.
func errnoName(err error) string {
	if err == nil {
		return "OK"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// errorIs is errors.Is that knows that nil is nil.
func errorIs(err, target error) bool {
	if target == nil {
		return err == nil
	}
	return errors.Is(err, target)
}
