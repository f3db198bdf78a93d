//go:build linux

package supervise_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/supervise"
)

const modeEnv = "SUPERVISE_TEST_CHILD"

// TestMain runs the test binary as one of the children below when the environment asks for it.
func TestMain(m *testing.M) {
	mode := os.Getenv(modeEnv)
	if mode == "" {
		os.Exit(m.Run())
	}
	term := make(chan os.Signal, 1)
	switch mode {
	case "polite": // serves until SIGTERM
		signal.Notify(term, syscall.SIGTERM)
		fmt.Fprintln(os.Stdout, "noise before the ready line")
		fmt.Fprintln(os.Stdout, `ready {"answer":42}`)
		fmt.Fprintln(os.Stdout, "output after it")
		<-term
		os.Exit(0)
	case "stubborn": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stdout, `ready {}`)
		select {}
	case "failing": // never gets ready
		fmt.Fprintln(os.Stderr, "no backing directory")
		os.Exit(4)
	case "silent": // neither ready nor gone
		signal.Notify(term, syscall.SIGTERM)
		<-term
		os.Exit(0)
	case "counting": // shows that it runs
		fmt.Fprintln(os.Stdout, `ready {}`)
		for i := 0; ; i++ {
			if _, err := fmt.Fprintln(os.Stdout, i); err != nil {
				os.Exit(1)
			}
		}
	case "parent": // starts a child, says its pid, and waits to be killed
		c, err := supervise.Start(context.Background(), self("polite"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintf(os.Stdout, "ready {\"pid\":%d}\n", c.Pid())
		select {}
	}
	fmt.Fprintln(os.Stderr, "unknown mode", mode)
	os.Exit(2)
}

func self(mode string) supervise.Command {
	return supervise.Command{Path: "/proc/self/exe", Env: append(os.Environ(), modeEnv+"="+mode)}
}

func start(t *testing.T, c supervise.Command) *supervise.Child {
	t.Helper()
	child, err := supervise.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = child.Kill() })
	return child
}

func TestStartReturnsTheReadyLine(t *testing.T) {
	var out lockedBuffer
	cmd := self("polite")
	cmd.Stdout = &out
	c := start(t, cmd)
	assert.JSONEq(t, `{"answer":42}`, string(c.Ready()))
	assert.Equal(t, -1, c.ExitCode(), "it still runs")

	require.NoError(t, c.Stop(t.Context()))
	assert.NoError(t, c.Wait(), "waiting again is allowed")
	assert.Equal(t, 0, c.ExitCode())
	assert.Equal(t, "noise before the ready line\noutput after it\n", out.String())
	assert.ErrorIs(t, c.Signal(syscall.SIGTERM), os.ErrProcessDone, "a reaped child is never signalled")
	assert.ErrorIs(t, c.Pause(), os.ErrProcessDone)
}

func TestStartExplainsAFailure(t *testing.T) {
	_, err := supervise.Start(t.Context(), self("failing"))
	require.ErrorIs(t, err, supervise.ErrNotReady)
	assert.ErrorContains(t, err, "exit status 4")
	assert.ErrorContains(t, err, "no backing directory")
}

func TestStartGivesUpWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := supervise.Start(ctx, self("silent"))
	require.ErrorIs(t, err, supervise.ErrNotReady)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestStartOfNothing(t *testing.T) {
	_, err := supervise.Start(t.Context(), supervise.Command{Path: "/nonexistent/program"})
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestStopKillsAStubbornChild(t *testing.T) {
	c := start(t, self("stubborn"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := c.Stop(ctx)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
}

func TestStopWakesAPausedChild(t *testing.T) {
	c := start(t, self("polite"))
	require.NoError(t, c.Pause())
	require.NoError(t, c.Stop(t.Context()))
}

func TestPauseStopsTheChild(t *testing.T) {
	r, w := io.Pipe()
	cmd := self("counting")
	cmd.Stdout = w
	c := start(t, cmd)
	// ends when the pipe is closed by the cleanup; waited by nobody, it touches nothing of the test
	go io.Copy(io.Discard, r)
	t.Cleanup(func() { r.Close() })

	for range 3 {
		require.NoError(t, c.Pause())
		threads, err := supervise.Threads(c.Pid())
		require.NoError(t, err)
		require.NotEmpty(t, threads)
		for _, th := range threads {
			assert.Equal(t, "T", string(th.State), th.String())
		}
		require.NoError(t, c.Resume())
	}
	assert.Empty(t, supervise.Uninterruptible(c.Pid()))
	require.Error(t, c.Kill())
	assert.Empty(t, supervise.Uninterruptible(c.Pid()), "a process that is gone has no threads")
}

// TestChildDiesWithItsParent kills a parent without giving it a chance to clean up.
func TestChildDiesWithItsParent(t *testing.T) {
	parent := start(t, self("parent"))
	var grandchild int
	_, err := fmt.Sscanf(string(parent.Ready()), `{"pid":%d}`, &grandchild)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(grandchild, 0))

	require.Error(t, parent.Kill())
	assert.Eventually(t, func() bool {
		// Orphans are reaped by somebody else, so a zombie counts as gone.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", grandchild))
		return errors.Is(err, os.ErrNotExist) || err == nil && strings.Contains(string(b), ") Z ")
	}, 5*time.Second, 10*time.Millisecond)
}

func TestNoReady(t *testing.T) {
	var out lockedBuffer
	c := start(t, supervise.Command{Path: "/bin/echo", Args: []string{"hello"}, Stdout: &out, NoReady: true})
	require.NoError(t, c.Wait())
	assert.Equal(t, "hello\n", out.String())
	assert.Nil(t, c.Ready())
}

func TestStandardErrorIsForwardedAndItsEndKept(t *testing.T) {
	var errs lockedBuffer
	c := start(t, supervise.Command{
		Path: "/bin/sh", Args: []string{"-c", "for i in $(seq 4000); do echo line $i >&2; done"}, Stderr: &errs, NoReady: true,
	})
	require.NoError(t, c.Wait())
	lines := bufio.NewScanner(strings.NewReader(errs.String()))
	n := 0
	for lines.Scan() {
		n++
	}
	assert.Equal(t, 4000, n)
	assert.Len(t, c.Stderr(), 8<<10)
	assert.True(t, strings.HasSuffix(c.Stderr(), "line 4000\n"))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
