//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// withoutRing is the command line that starts the binary under a filter that refuses io_uring: see execWithoutRing.
func withoutRing(t *testing.T, args, env []string) (path string, newArgs, newEnv []string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return self, append([]string{binary}, args...), append(env, roleEnv+"=without-ring")
}

// execWithoutRing becomes args, the path first, under a filter as container runtimes install it: io_uring_setup,
// io_uring_enter and io_uring_register answer EPERM. The thread that has the filter is the one that survives the exec.
func execWithoutRing(args []string) error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		below  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		above  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	// struct seccomp_data begins with the number of the call; the three follow each other.
	code := []unix.SockFilter{
		{Code: load, K: 0},
		{Code: below, Jt: 0, Jf: 2, K: unix.SYS_IO_URING_SETUP},
		{Code: above, Jt: 1, Jf: 0, K: unix.SYS_IO_URING_REGISTER},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return unix.Exec(args[0], args, os.Environ())
}

// TestRingRefused: where io_uring is refused, probe says so and who is likely to have done it, the server works by system
// calls and says why, and whoever insists on the ring is told what to do.
func TestRingRefused(t *testing.T) {
	run := func(t *testing.T, args ...string) (stdout, stderr string, code int) {
		t.Helper()
		path, args, env := withoutRing(t, args, os.Environ())
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = env
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if cmd.ProcessState == nil {
			require.NoError(t, err)
		}
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}

	t.Run("probe", func(t *testing.T) {
		out, errs, code := run(t, "probe", "--json")
		require.Zero(t, code, "%s", errs)
		type ability struct{ Ability, Answer, Why, Fallback string }
		rows := map[string]ability{}
		for d := json.NewDecoder(bytes.NewBufferString(out)); d.More(); {
			var row ability
			require.NoError(t, d.Decode(&row))
			rows[row.Ability] = row
		}
		ring := rows["io_uring"]
		assert.Equal(t, "unknown", ring.Answer, "refused is not absent: %+v", ring)
		assert.Contains(t, ring.Why, "operation not permitted")
		assert.Contains(t, ring.Why, "seccomp")
		assert.NotEmpty(t, ring.Fallback)
		for name, row := range rows {
			if name != "io_uring" && row.Answer == "yes" {
				assert.NotContains(t, name, "io_uring.op.", "nothing of the ring can be known")
			}
		}
		text, _, code := run(t, "probe")
		require.Zero(t, code)
		assert.Regexp(t, `(?m)^io_uring +unknown .*seccomp`, text)
	})

	t.Run("auto", func(t *testing.T) {
		s := startServe(t, mountOptions{engine: "auto", noRing: true})
		data := pattern(3<<20 + 5)
		require.NoError(t, os.WriteFile(s.path("f"), data, 0o644))
		local := t.TempDir()
		s.ok(t, "lcd "+local+"; get f; mkdir d; put f d/g; ls d/*")
		for _, name := range []string{local + "/f", s.path("d/g"), s.under("d/g")} {
			got, err := os.ReadFile(name)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got), "%s", name)
		}
		st := s.mounted.status(t)
		assert.Equal(t, "syscall", st.Engine.Name)
		assert.Contains(t, st.Engine.Reason, "seccomp")
		assert.Empty(t, st.Engine.Ring)
		assert.Positive(t, st.Engine.Syscall["write_at"])
		assert.Contains(t, s.mounted.child.Stderr(), "no io_uring, using system calls")
		assert.Contains(t, s.mounted.child.Stderr(), "seccomp")
	})

	t.Run("ring", func(t *testing.T) {
		out, errs, code := run(t, serving("serve", t.TempDir(), t.TempDir(), "--guest", "--listen", "127.0.0.1:0", "--engine", "ring")...)
		assert.Equal(t, 4, code, "%s", errs)
		assert.Empty(t, out, "it never was ready")
		for _, part := range []string{"io_uring engine not available", "operation not permitted", "seccomp", "uringfs probe", "--engine auto"} {
			assert.Contains(t, errs, part)
		}
	})
}
