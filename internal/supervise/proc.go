//go:build linux

package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Thread is one thread of a process and what the scheduler says about it, proc_pid_stat(5).
type Thread struct {
	TID   int
	Name  string
	State byte   // R, S, D, T, Z, …
	Where string // kernel function it sleeps in; empty when the kernel does not tell
}

// Threads lists the threads of pid. A process that is gone gives an error that is fs.ErrNotExist.
func Threads(pid int) ([]Thread, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("threads of %d: %w", pid, err)
	}
	var ts []Thread
	for _, e := range entries {
		stat, err := os.ReadFile(filepath.Join(dir, e.Name(), "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		t := Thread{}
		fmt.Sscan(e.Name(), &t.TID) //nolint:errcheck // a directory of numbers
		// The name is in parentheses and may contain anything: its end is the last parenthesis.
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		if open < 0 || end < open || end+2 >= len(stat) {
			continue
		}
		t.Name, t.State = string(stat[open+1:end]), stat[end+2]
		if w, err := os.ReadFile(filepath.Join(dir, e.Name(), "wchan")); err == nil && string(w) != "0" {
			t.Where = string(w)
		}
		ts = append(ts, t)
	}
	return ts, nil
}

// Uninterruptible lists the threads of pid that are in state D: waiting in the kernel for something that no signal ends.
// A process that is gone has none.
func Uninterruptible(pid int) []Thread {
	ts, err := Threads(pid)
	if err != nil {
		return nil
	}
	var d []Thread
	for _, t := range ts {
		if t.State == 'D' {
			d = append(d, t)
		}
	}
	return d
}

// String is "tid name state where".
func (t Thread) String() string { return fmt.Sprintf("%d %s %c %s", t.TID, t.Name, t.State, t.Where) }

func describeThreads(pid int) string {
	ts, err := Threads(pid)
	if err != nil {
		return err.Error()
	}
	var s []string
	for _, t := range ts {
		s = append(s, t.String())
	}
	return "[" + strings.Join(s, "; ") + "]"
}
