//go:build linux

package supervise

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readyLimit bounds the wait for a ready line when the context has no deadline.
	readyLimit = 30 * time.Second
	// reapLimit is how long a killed child may take to disappear before it counts as stuck in the kernel.
	reapLimit = 5 * time.Second
	// termGrace is what Stop waits between SIGTERM and SIGKILL when the context has no earlier deadline.
	termGrace = 10 * time.Second
	// readyPrefix begins the line by which a child announces that everything is served.
	readyPrefix = "ready "
)

// ErrNotReady is wrapped by Start when a child ended or time ran out before its ready line.
var ErrNotReady = errors.New("child is not ready")

// ErrStuck is wrapped by Stop and Kill when a child outlives SIGKILL: some thread waits in the kernel, most likely for a
// FUSE server that does not answer. AbortMount ends that.
var ErrStuck = errors.New("child survives SIGKILL")

// Command says what to start.
type Command struct {
	Path string   // executable; no search in PATH
	Args []string // arguments after the name
	Env  []string // whole environment; nil: the parent's
	Dir  string   // working directory; empty: the parent's. Never beneath a mount that the child serves
	// Stdin is given to the child; nil: an empty input.
	Stdin io.Reader
	// Stdout receives what follows the ready line (all of the output with NoReady); nil: discarded.
	Stdout io.Writer
	// Stderr receives standard error; nil: discarded. Its end is kept for error messages either way.
	Stderr io.Writer
	// ExtraFiles become descriptors 3, 4, … of the child. Borrowed until Start returns.
	ExtraFiles []*os.File
	// Credential runs the child as another user.
	Credential *syscall.Credential
	// DeathSignal is sent when the parent ends; 0: SIGTERM.
	DeathSignal syscall.Signal
	// NoReady is for children that announce nothing: Start returns as soon as the process runs.
	NoReady bool
}

// Child is a started process. All methods are safe for concurrent use.
type Child struct {
	cmd   *exec.Cmd
	name  string
	tail  *tail
	ready json.RawMessage

	done chan struct{} // closed once the process is reaped and its output is drained
	err  error         // what exec's Wait returned; set before done is closed
}

// Start starts c and waits for its ready line. ctx bounds that wait only, never the life of the child; without a deadline
// the wait ends after 30 s.
func Start(ctx context.Context, c Command) (*Child, error) {
	stdoutR, stdoutW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("stdout pipe: %w", err)
	}
	sig := c.DeathSignal
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	t := &tail{next: c.Stderr}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.ExtraFiles = c.Env, c.Dir, c.Stdin, c.ExtraFiles
	cmd.Stdout, cmd.Stderr = stdoutW, t
	cmd.WaitDelay = reapLimit // a grandchild may hold standard error open for ever
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: sig, Setpgid: true, Credential: c.Credential}
	child := &Child{cmd: cmd, name: strings.Join(append([]string{c.Path}, c.Args...), " "), tail: t, done: make(chan struct{})}

	line := make(chan string, 1)
	var output sync.WaitGroup
	// ends when every holder of the write end has closed it or the read end is closed; waited by the reaper below.
	output.Go(func() {
		child.copyOutput(stdoutR, c.Stdout, c.NoReady, line)
	})

	started := make(chan error, 1)
	// ends when the child is reaped; waited by Wait, Stop and Kill through done.
	go func() {
		// Not unlocked on purpose before the child is reaped: the parent-death signal follows this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		stdoutW.Close()
		started <- err
		if err != nil {
			output.Wait()
			stdoutR.Close()
			return
		}
		child.err = cmd.Wait()
		// A grandchild that kept standard output open must not hold us.
		stdoutR.SetReadDeadline(time.Now().Add(reapLimit)) //nolint:errcheck // a pipe from os.Pipe has deadlines
		output.Wait()
		stdoutR.Close()
		close(child.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	if c.NoReady {
		return child, nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readyLimit)
		defer cancel()
	}
	select {
	case l, ok := <-line:
		if ok {
			child.ready = json.RawMessage(l)
			return child, nil
		}
		// Standard output ended; the exit status tells more, if it comes soon.
		err = ErrNotReady
		soon := time.NewTimer(time.Second)
		defer soon.Stop()
		select {
		case <-child.done:
		case <-soon.C:
		}
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrNotReady, ctx.Err())
	}
	exit := child.Kill()
	return nil, fmt.Errorf("%s: %w (%w)%s", child.name, err, exit, child.tail.quote())
}

// copyOutput finds the ready line, closes line, and forwards the rest. It runs on the output goroutine.
func (c *Child) copyOutput(r io.Reader, w io.Writer, noReady bool, line chan<- string) {
	defer close(line)
	if w == nil {
		w = io.Discard
	}
	br := bufio.NewReader(r)
	for !noReady {
		s, err := br.ReadString('\n')
		if rest, ok := strings.CutPrefix(s, readyPrefix); ok && json.Valid([]byte(rest)) {
			line <- strings.TrimSpace(rest)
			break
		}
		if s != "" {
			io.WriteString(w, s) //nolint:errcheck // the reader of the output went away; the child must not block on us
		}
		if err != nil {
			return
		}
	}
	if _, err := io.Copy(w, br); err != nil {
		io.Copy(io.Discard, br) //nolint:errcheck // keeps the child from blocking on a full pipe
	}
}

// Ready is the JSON of the ready line; nil with NoReady.
func (c *Child) Ready() json.RawMessage { return c.ready }

// Pid is the process id. It may belong to a stranger once Done is closed.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Done is closed when the child is reaped and its output is drained.
func (c *Child) Done() <-chan struct{} { return c.done }

// Stderr is the end (at most 8 KiB) of what the child wrote to standard error so far.
func (c *Child) Stderr() string { return c.tail.String() }

// Wait waits for the child to end: nil after exit code 0, else *exec.ExitError. Safe to call more than once.
func (c *Child) Wait() error {
	<-c.done
	return c.err
}

// ExitCode is the exit code of an ended child, −1 when a signal ended it or it still runs.
func (c *Child) ExitCode() int {
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Signal sends sig. A child that has already been reaped gives os.ErrProcessDone.
func (c *Child) Signal(sig syscall.Signal) error { return c.cmd.Process.Signal(sig) }

// Stop ends the child politely: SIGTERM (and SIGCONT, for a paused child), then SIGKILL when ctx ends or 10 s have passed.
// It returns what Wait returns; a child that had to be killed is an *exec.ExitError, one that cannot be, ErrStuck.
func (c *Child) Stop(ctx context.Context) error {
	if err := c.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("terminate %d: %w", c.Pid(), err)
	}
	c.Signal(syscall.SIGCONT) //nolint:errcheck // only fails for a child that has ended
	grace := time.NewTimer(termGrace)
	defer grace.Stop()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	case <-grace.C:
	}
	return c.Kill()
}

// Kill sends SIGKILL and waits up to 5 s for the child to be gone. It returns what Wait returns, or ErrStuck.
func (c *Child) Kill() error {
	if err := c.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %d: %w", c.Pid(), err)
	}
	limit := time.NewTimer(2 * reapLimit) // cmd.WaitDelay and the drain each may take reapLimit
	defer limit.Stop()
	select {
	case <-c.done:
		return c.err
	case <-limit.C:
		return fmt.Errorf("%s: %w: pid %d, threads %s", c.name, ErrStuck, c.Pid(), describeThreads(c.Pid()))
	}
}

// Pause stops the child with SIGSTOP and returns when it no longer runs. A child that ended meanwhile gives
// os.ErrProcessDone.
func (c *Child) Pause() error {
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	// WNOWAIT leaves the status for the reaper; the kernel clears a stop at SIGCONT, so an older stop is never seen.
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.Pid(), &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return os.ErrProcessDone
		case err != nil:
			return fmt.Errorf("wait for stop of %d: %w", c.Pid(), err)
		case info.Code != cldStopped:
			return os.ErrProcessDone
		}
		return nil
	}
}

// Resume lets a paused child run again.
func (c *Child) Resume() error { return c.Signal(syscall.SIGCONT) }

const cldStopped = 5 // CLD_STOPPED, waitid(2)

// tail forwards what is written and keeps the end of it.
type tail struct {
	next io.Writer

	mu  sync.Mutex
	buf []byte // +checklocks:mu
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	t.mu.Unlock()
	if t.next != nil {
		t.next.Write(p) //nolint:errcheck // a reader that went away must not make the child fail
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

func (t *tail) quote() string {
	s := bytes.TrimSpace([]byte(t.String()))
	if len(s) == 0 {
		return "; it wrote nothing to standard error"
	}
	return "; its standard error ends with:\n" + string(s)
}
