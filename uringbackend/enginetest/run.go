//go:build linux

package enginetest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// Case is one test of the suite.
type Case struct {
	Name string
	Run  func(t *testing.T, e uringbackend.Engine)
}

// All lists the suite in the order of its files.
func All() []Case {
	var all []Case
	for _, part := range [][]Case{
		fileCases, directCases, pathCases, nameCases, verbCases, xattrCases, streamCases, spliceCases, bufferCases, lifeCases,
		queueCases, credsCases, Ordered(), sockCases, pollCases,
	} {
		all = append(all, part...)
	}
	return all
}

// Run runs the suite. open returns a new engine each time, which Run closes; it should be strict.
func Run(t *testing.T, open func(t *testing.T) uringbackend.Engine) {
	t.Helper()
	RunCases(t, open, All())
}

// RunCases is Run for a part of the suite, or for cases that are not in it. After each case the process must have the
// descriptors and goroutines that it had before, and the engine's detectors must have found nothing.
func RunCases(t *testing.T, open func(t *testing.T) uringbackend.Engine, cases []Case) {
	t.Helper()
	warmUp(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			before, goroutines := openFDs(t), runtime.NumGoroutine()
			e := open(t)
			// Cleanups run last in, first out: descriptors made by the case are closed before this.
			t.Cleanup(func() {
				within(t, "Close", func() { assert.NoError(t, e.Close()) })
				healthy(t, e)
				assertFallbacks(t, e)
				assert.Equal(t, before, openFDs(t), "descriptors of the process")
				assert.LessOrEqual(t, settled(goroutines), goroutines, "goroutines of the process")
			})
			c.Run(t, e)
		})
	}
}

// assertFallbacks: only verbs whose opcode the kernel lacks may have fallen back to a system call.
func assertFallbacks(t *testing.T, e uringbackend.Engine) {
	t.Helper()
	f, fallbacks := e.Features(), e.Fallbacks()
	for _, k := range uringbackend.Kinds() {
		if f.Opcode(k).Answer == uringbackend.Yes {
			assert.Zero(t, fallbacks[k.String()], "%s fell back to a system call", k)
		}
	}
}

// healthy demands that the detectors of a closed engine have found nothing.
func healthy(t *testing.T, e uringbackend.Engine) {
	t.Helper()
	h := e.Health()
	assert.Zero(t, h.InFlight, "ops in flight after Close")
	assert.Zero(t, h.Rings, "rings after Close")
	assert.Zero(t, h.Stale, "completions that belong to no op")
	assert.Zero(t, h.Overflows, "completion queue overflowed")
	assert.Zero(t, h.Buffers, "buffers not released")
	assert.Empty(t, e.Leaks(), "descriptors still owned")
}

// settled counts the goroutines, giving those that are about to end the time for it.
func settled(most int) (n int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if n = runtime.NumGoroutine(); n <= most {
			return n
		}
		<-tick.C
	}
	return n
}

// limit is how long anything in the suite may take before it counts as hung. Generous: CI machines stall.
const limit = 60 * time.Second

// within fails with all stacks if f does not return in time.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	over := make(chan struct{})
	watchdog := time.AfterFunc(limit, func() {
		select {
		case <-over:
		default:
			buf := make([]byte, 1<<20)
			// A hung op cannot be unwound, so there is nothing to go on with.
			panic("enginetest: " + what + " hangs\n" + string(buf[:runtime.Stack(buf, true)]))
		}
	})
	defer watchdog.Stop()
	defer close(over)
	f()
}

// warmUp lets the runtime open what it keeps open, so that descriptors can be counted.
func warmUp(t *testing.T) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, w.Close())
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func background() context.Context { return context.Background() }

// own closes fd when the case ends, unless the case has closed it.
func own(t *testing.T, fd int) int {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, unix.Close(fd), "fd %d", fd) })
	return fd
}

// file makes a file with this content in a new directory and opens it.
func file(t *testing.T, content []byte, flags int) (fd int, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o640))
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	return own(t, fd), path
}

// directory opens a new directory, O_PATH.
func directory(t *testing.T) (fd int, path string) {
	t.Helper()
	path = t.TempDir()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	return own(t, fd), path
}

// pipe makes a pipe that blocks.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	return own(t, p[0]), own(t, p[1])
}

// pattern is what a file holds at each place, so that any piece tells where it belongs. The period is a prime, and
// no multiple of it is a block.
func pattern(p []byte, off int64) {
	for i := range p {
		p[i] = byte((off + int64(i)) % 251)
	}
}

// address is where b is, for questions of alignment.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func patterned(n int) []byte {
	p := make([]byte, n)
	pattern(p, 0)
	return p
}
