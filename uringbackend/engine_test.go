//go:build linux

package uringbackend_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// openRing opens a strict ring engine, which is closed and checked at the end.
func openRing(t *testing.T, cfg uringbackend.Config) uringbackend.Engine {
	t.Helper()
	f := uringbackend.Probe("")
	enginetest.Require(t, f.Ring)
	cfg.Strict = true
	cfg.Policy = "ring"
	e, err := uringbackend.Open("ring", f, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, e.Close())
		h := e.Health()
		assert.Zero(t, h.InFlight)
		assert.Zero(t, h.Rings)
	})
	return e
}

func newPipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	t.Cleanup(func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) })
	return p[0], p[1]
}

func TestOpenNames(t *testing.T) {
	_, err := uringbackend.Open("turbo", uringbackend.Features{}, uringbackend.Config{})
	require.ErrorContains(t, err, "turbo")

	// A kernel about which nothing is known has no ring: auto says why, ring refuses.
	e, err := uringbackend.Open("auto", uringbackend.Features{}, uringbackend.Config{})
	require.NoError(t, err)
	assert.Equal(t, "syscall", e.Name())
	assert.Contains(t, e.Reason(), "io_uring")
	require.NoError(t, e.Close())
	_, err = uringbackend.Open("ring", uringbackend.Features{}, uringbackend.Config{})
	require.ErrorIs(t, err, uringbackend.ErrNoRing)
}

// TestOldKernel plays a kernel without two opcodes: the verbs work, and each use is counted.
func TestOldKernel(t *testing.T) {
	f := uringbackend.Probe("")
	enginetest.Require(t, f.Ring)
	missing := uringbackend.Ability{Answer: uringbackend.No, Since: "5.6", Why: unix.EOPNOTSUPP}
	f.OpStatx, f.OpOpenat2 = missing, missing
	f.Fchmodat2, f.UtimensatEmptyPath, f.LinkatEmptyPath, f.RWFNoWait = missing, missing, missing, missing
	e, err := uringbackend.Open("ring", f, uringbackend.Config{Strict: true, Policy: "ring"})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	ctx := context.Background()
	dir, err := e.Openat2(ctx, unix.AT_FDCWD, t.TempDir(), unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	require.NoError(t, err)
	var st unix.Statx_t
	for range 2 {
		require.NoError(t, e.Statx(ctx, dir, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st))
	}
	require.NoError(t, e.Mkdirat(ctx, uringbackend.At{Dir: dir, Name: "d"}, 0o700))
	require.NoError(t, e.CloseFD(ctx, dir))
	assert.Equal(t, map[string]uint64{"openat2": 1, "statx": 2}, e.Fallbacks())
	assert.Equal(t, map[string]uringbackend.Count{
		"openat2": {Syscall: 1}, "statx": {Syscall: 2}, "mkdirat": {Ring: 1}, "close": {Ring: 1},
	}, e.Counts())
}

// TestOldKernelConformance: what replaces missing calls passes the suite too. No ring verb is taken away, since the
// suite forbids fallbacks.
func TestOldKernelConformance(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) uringbackend.Engine {
		f := uringbackend.Probe("")
		missing := uringbackend.Ability{Answer: uringbackend.No, Why: unix.ENOSYS}
		f.Fchmodat2, f.UtimensatEmptyPath, f.LinkatEmptyPath, f.RWFNoWait = missing, missing, missing, missing
		e, err := uringbackend.Open("syscall", f, uringbackend.Config{Strict: true})
		require.NoError(t, err)
		return e
	})
}

// TestNoOpcodesConformance: a ring that knows no opcodes but the oldest passes the suite, and each other verb is a fallback.
// A queue needs those four: what it carries out by a system call, in Prepare, is in no chain and knows no places.
func TestNoOpcodesConformance(t *testing.T) {
	f := uringbackend.Probe(t.TempDir())
	enginetest.Require(t, f.Ring)
	read, write, open, closes := f.OpRead, f.OpWrite, f.OpOpenat2, f.OpClose
	f = withoutOpcodes(f)
	f.OpRead, f.OpWrite, f.OpOpenat2, f.OpClose = read, write, open, closes
	kept := map[string]bool{"read_at": true, "write_at": true, "openat2": true, "close": true}
	enginetest.Run(t, func(t *testing.T) uringbackend.Engine {
		e, err := uringbackend.Open("ring", f, uringbackend.Config{Strict: true})
		require.NoError(t, err)
		t.Cleanup(func() {
			for name, c := range e.Counts() {
				assert.True(t, c.Ring == 0 || kept[name], name)
			}
		})
		return e
	})
}

// opcodeField matches the fields of Features that are opcodes.
var opcodeField = regexp.MustCompile("^Op[A-Z]")

// withoutOpcodes plays a kernel whose rings can do nothing that a verb asks for.
func withoutOpcodes(f uringbackend.Features) uringbackend.Features {
	missing := uringbackend.Ability{Answer: uringbackend.No, Why: unix.EOPNOTSUPP}
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; opcodeField.MatchString(name) && name != "OpAsyncCancel" {
			v.Field(i).Set(reflect.ValueOf(missing))
		}
	}
	return f
}

// TestFewRings: all callers on one ring of 8 entries.
func TestFewRings(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) uringbackend.Engine {
		f := uringbackend.Probe("")
		enginetest.Require(t, f.Ring)
		e, err := uringbackend.Open("ring", f, uringbackend.Config{Rings: 1, Entries: 8, Strict: true, Policy: "ring"})
		require.NoError(t, err)
		return e
	})
}

func TestUnboundedLimit(t *testing.T) {
	for _, name := range []string{"syscall", "ring"} {
		t.Run(name, func(t *testing.T) {
			e, err := uringbackend.Open(name, uringbackend.Probe(""), uringbackend.Config{Unbounded: 3, Strict: true})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			r, w := newPipe(t)
			var group sync.WaitGroup
			for range 3 {
				group.Go(func() {
					_, err := e.Read(context.Background(), r, make([]byte, 1))
					assert.NoError(t, err)
				})
			}
			require.Eventually(t, func() bool { return e.Health().InFlight == 3 }, 10*time.Second, time.Millisecond)
			_, err = e.Read(context.Background(), r, make([]byte, 1))
			assert.Equal(t, unix.EAGAIN, err)
			_, err = unix.Write(w, make([]byte, 3))
			require.NoError(t, err)
			group.Wait()
		})
	}
}

// TestCancelBounded: an op on a pooled ring that waits after all is given up when its context ends.
func TestCancelBounded(t *testing.T) {
	e := openRing(t, uringbackend.Config{Rings: 1})
	r, w := newPipe(t)
	for range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		ops := make([]uringbackend.Op, 5)
		for i := range ops {
			ops[i] = uringbackend.Op{Kind: uringbackend.KindReadAt, FD: r, Buf: make([]byte, 4), Offset: -1}
		}
		var got []error
		over := make(chan struct{})
		// ends when the batch has been cancelled; waited by the receive from over
		go func() {
			defer close(over)
			e.Submit(ctx, ops, func(_, _ int, _ bool, err error) { got = append(got, err) })
		}()
		runtime.Gosched()
		cancel()
		<-over
		require.Len(t, got, len(ops))
		for _, err := range got {
			require.Equal(t, unix.ECANCELED, err)
		}
		_, err := unix.Write(w, []byte("late"))
		require.NoError(t, err)
		var late [8]byte
		n, err := unix.Read(r, late[:])
		require.NoError(t, err)
		require.Equal(t, "late", string(late[:n]))
	}
	// A caller that waits for the only ring gives up too.
	ctx, cancel := context.WithCancel(context.Background())
	var holder sync.WaitGroup
	holder.Go(func() {
		_, err := e.ReadAt(context.Background(), r, make([]byte, 1), -1)
		assert.NoError(t, err)
	})
	require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, 10*time.Second, time.Millisecond)
	time.AfterFunc(5*time.Millisecond, cancel)
	_, err := e.ReadAt(ctx, r, make([]byte, 1), -1)
	assert.Equal(t, unix.ECANCELED, err)
	_, err = unix.Write(w, []byte("x"))
	require.NoError(t, err)
	holder.Wait()
}

// TestCancelOpenOfFIFO: an open with O_CREAT runs on a worker of the kernel, which is interrupted.
func TestCancelOpenOfFIFO(t *testing.T) {
	e := openRing(t, uringbackend.Config{})
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	for _, unbounded := range []bool{true, false} {
		for range 20 {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
			_, err := e.Do(ctx, uringbackend.Op{
				Kind: uringbackend.KindOpenat2, Unbounded: unbounded, FD: unix.AT_FDCWD, Path: path,
				How: &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CREAT | unix.O_CLOEXEC, Mode: 0o600},
			})
			cancel()
			require.Equal(t, unix.ECANCELED, err)
		}
	}
}

// TestDescriptorsRunOut: without descriptors for more rings, callers share those that there are. In a child, because
// the limit is the process's.
func TestDescriptorsRunOut(t *testing.T) {
	if !child(t) {
		return
	}
	e, err := uringbackend.Open("ring", uringbackend.Probe(""), uringbackend.Config{Strict: true})
	require.NoError(t, err)
	r, w := newPipe(t)
	// The runtime opens its poller with the first file or timer, and dies if it cannot.
	pr, pw, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, pr.Close())
	require.NoError(t, pw.Close())
	top, err := unix.Dup(r)
	require.NoError(t, err)
	require.NoError(t, unix.Close(top))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(top) + 2, Max: uint64(top) + 2}))
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			n, err := e.ReadAt(context.Background(), r, make([]byte, 1), -1) // each holds its ring
			assert.NoError(t, err)
			assert.Equal(t, 1, n)
		})
	}
	require.Eventually(t, func() bool { return e.Health().Shrunk != "" }, 10*time.Second, time.Millisecond)
	assert.LessOrEqual(t, e.Health().Rings, int64(4))
	_, err = unix.Write(w, make([]byte, 20))
	require.NoError(t, err)
	group.Wait()
	require.NoError(t, e.Close())
}

// TestSeccompRefusesRing: under a filter as container runtimes install it, auto takes the syscall engine and says why.
func TestSeccompRefusesRing(t *testing.T) {
	if !child(t) {
		return
	}
	refuseRing(t)
	f := uringbackend.Probe("")
	assert.Equal(t, uringbackend.Unknown, f.Ring.Answer)
	require.ErrorIs(t, f.Ring.Why, unix.EPERM)
	assert.Contains(t, f.Ring.Why.Error(), "seccomp")
	assert.Equal(t, uringbackend.Unknown, f.OpRead.Answer)
	assert.Equal(t, uringbackend.Yes, f.Openat2Beneath.Answer, "the rest is known all the same")
	_, err := uringbackend.Open("ring", f, uringbackend.Config{})
	require.ErrorIs(t, err, uringbackend.ErrNoRing)
	require.ErrorIs(t, err, unix.EPERM)
	e, err := uringbackend.Open("auto", f, uringbackend.Config{})
	require.NoError(t, err)
	assert.Equal(t, "syscall", e.Name())
	assert.Contains(t, e.Reason(), "seccomp")
	fd, err := e.Openat2(context.Background(), unix.AT_FDCWD, "/dev/zero", unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC})
	require.NoError(t, err)
	n, err := e.ReadAt(context.Background(), fd, make([]byte, 10), 0)
	require.NoError(t, err)
	assert.Equal(t, 10, n)
	require.NoError(t, e.CloseFD(context.Background(), fd))
	require.NoError(t, e.Close())
}

const childEnv = "URINGBACKEND_TEST_CHILD"

// child runs the calling test once more in a process of its own, and reports that process's result. It is true in
// that process.
func child(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childEnv) != "" {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "child:\n%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// refuseRing makes io_uring_setup fail with EPERM in all threads of the process, for good.
func refuseRing(t *testing.T) {
	t.Helper()
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	// struct seccomp_data begins with the number of the call.
	code := []unix.SockFilter{
		{Code: load, K: 0},
		{Code: equal, Jt: 0, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	require.Zero(t, errno)
}
