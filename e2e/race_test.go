//go:build linux

package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/supervise"
)

// cell is a line of `race --json`, as far as these tests read it.
type cell struct {
	Case, Path, Plan, Mutation, Mutator, Verdict, Claim string
	Expect                                              []string
	Proof                                               struct{ Open bool }
}

// race runs the lab and returns its lines and exit code.
func race(t *testing.T, args ...string) (raw []map[string]any, cells []cell, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, serving(append([]string{"race", "--json"}, args...)...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		require.NoError(t, err)
	}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		var m map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &m), "%s", lines.Text())
		var c cell
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		raw, cells = append(raw, m), append(cells, c)
	}
	if code != 0 {
		t.Logf("exit %d: %s", code, errs.String())
	}
	return raw, cells, code
}

// TestRaceTable is the claim of the project: unsafe-splice sends bytes written after the READ was answered, for every mutator and
// with proof; copy never does. The same seed gives the same table on either engine.
func TestRaceTable(t *testing.T) {
	var tables [][]map[string]any
	for _, engine := range engines {
		for range 2 {
			raw, cells, code := race(t, "--engine", engine, "--seed", "1")
			require.Zero(t, code)
			require.NotEmpty(t, cells)
			changed := map[string]bool{}
			for _, c := range cells {
				assert.True(t, c.Proof.Open, "%s", c.Case)
				assert.Equal(t, c.Path, c.Plan, "%s: another path served it", c.Case)
				require.NotEmpty(t, c.Expect, "%s", c.Case)
				assert.Contains(t, c.Expect, c.Verdict, "%s", c.Case)
				switch {
				case c.Path == "copy" || c.Mutation == "none":
					assert.Equal(t, "OLD", c.Verdict, "%s", c.Case)
				case c.Mutation == "overwrite":
					assert.Equal(t, "NEW", c.Verdict, "%s", c.Case)
					changed[c.Mutator] = true
				}
			}
			assert.Len(t, changed, 3, "mount, backing and smb: %v", changed)
			for _, m := range raw {
				for _, name := range []string{
					"case", "target", "path", "plan", "fs", "cache", "size", "mutator", "mutation", "window", "claim", "verdict", "expect",
					"pages", "proof", "attempts", "seed", "times",
				} {
					require.Contains(t, m, name, "scripts read it")
				}
				for _, varies := range []string{"times", "proof", "attempts"} {
					delete(m, varies)
				}
			}
			tables = append(tables, raw)
		}
	}
	for _, other := range tables[1:] {
		assert.Equal(t, tables[0], other)
	}
}

func TestRaceOneCase(t *testing.T) {
	_, all, code := race(t, "--paths", "unsafe-splice")
	require.Zero(t, code)
	i := slices.IndexFunc(all, func(c cell) bool { return c.Mutation == "overwrite" && c.Mutator == "mount" })
	require.GreaterOrEqual(t, i, 0)
	_, one, code := race(t, "--case", all[i].Case)
	require.Zero(t, code)
	require.Len(t, one, 1)
	assert.Equal(t, all[i].Verdict, one[0].Verdict)

	_, none, code := race(t, "--case", "target=uringfs:no-such-path")
	assert.Equal(t, 2, code)
	assert.Empty(t, none)
}

// startRace starts a run in dir and waits until its first cell is done: the line for it is the only sign of progress that does
// not wait for the end.
func startRace(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	cmd := exec.CommandContext(t.Context(), binary, serving("race", "--json", "--dir", dir)...)
	cmd.Stdout = w
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Minute)))
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "{"), "%s", line)
	return cmd
}

// leavesNothing returns a check that there are as many mounts as now, and that dir is empty.
func leavesNothing(t *testing.T, dir string) (check func()) {
	t.Helper()
	before, err := supervise.Mounts()
	require.NoError(t, err)
	return func() {
		t.Helper()
		after, err := supervise.Mounts()
		require.NoError(t, err)
		assert.Len(t, after, len(before))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

// TestRaceInterrupted leaves nothing behind: no mount, and so no loop device, no child.
func TestRaceInterrupted(t *testing.T) {
	dir := t.TempDir()
	check := leavesNothing(t, dir)
	cmd := startRace(t, dir)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, 130, exit.ExitCode())
	check()
}

// TestRaceKilled kills the lab itself with a cell under way: its target ends with it, and the next run clears what is left.
func TestRaceKilled(t *testing.T) {
	dir := t.TempDir()
	check := leavesNothing(t, dir)
	cmd := startRace(t, dir)
	target := childOf(t, cmd.Process.Pid)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", target))
		return os.IsNotExist(err)
	}, 5*time.Second, 10*time.Millisecond, "the target outlives the lab: %v", supervise.Uninterruptible(target))
	_, cells, code := race(t, "--dir", dir, "--paths", "copy")
	require.Zero(t, code)
	require.NotEmpty(t, cells)
	check()
}

// childOf is the only child of a process, proc_pid_task_children(5).
func childOf(t *testing.T, pid int) (child int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	var found []string
	for _, file := range tasks {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		found = append(found, strings.Fields(string(b))...)
	}
	require.Len(t, found, 1)
	child, err = strconv.Atoi(found[0])
	require.NoError(t, err)
	return child
}

// TestCommandLine holds the exit codes and messages of wrong use.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such command":         {[]string{"nonsense"}, 2, "unknown command"},
		"no such flag":            {[]string{"smb", dir, "--nonsense"}, 2, "--help"},
		"missing argument":        {[]string{"serve", dir}, 2, "usage"},
		"nobody may log on":       {[]string{"smb", dir}, 2, "--passwd-file"},
		"no such directory":       {[]string{"smb", dir + "/no", "--guest"}, 4, "no such file"},
		"no such engine":          {[]string{"smb", dir, "--guest", "--engine", "fast"}, 2, "auto, ring or syscall"},
		"no such read path":       {[]string{"smb", dir, "--guest", "--read-path", "fast"}, 2, "unsafe-splice"},
		"no such write path":      {[]string{"smb", dir, "--guest", "--write-path", "fast"}, 2, "copy"},
		"no such coherence":       {[]string{"mount", dir, dir, "--coherence", "fast"}, 2, "strict"},
		"no such fault":           {[]string{"smb", dir, "--guest", "--faults", "fly=EIO:1"}, 2, "--faults"},
		"mount point in backing":  {[]string{"mount", dir, dir}, 4, "mount"},
		"no such password file":   {[]string{"smb", dir, "--passwd-file", dir + "/no"}, 4, "password file"},
		"unknown user":            {[]string{"passwd", "--file", dir + "/users", "delete", "eve"}, 1, "no such user"},
		"no benchmark like it":    {[]string{"bench", "--only", "no/such"}, 1, "--list"},
		"no server to ask":        {[]string{"ctl", "status", "--socket", dir + "/no"}, 4, "control socket"},
		"passthrough is not here": {[]string{"mount", dir, dir, "--passthrough"}, 4, "passthrough"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), binary, c.args...).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s", out)
			assert.Equal(t, c.code, exit.ExitCode(), "%s", out)
			assert.Contains(t, string(out), c.says)
		})
	}
	for _, args := range [][]string{{"probe"}, {"probe", "--json"}, {"bench", "--list"}, {"--help"}} {
		out, err := exec.CommandContext(t.Context(), binary, args...).Output()
		require.NoError(t, err)
		assert.NotEmpty(t, out)
	}
}

// TestFaultsReachTheClient injects an error at every read: the client gets a status, the server lives.
func TestFaultsReachTheClient(t *testing.T) {
	s := startSMB(t, "ring", "--faults", "seed=1,read_at=EIO:1")
	require.NoError(t, os.WriteFile(s.dir+"/f", pattern(100_000), 0o644))
	out, _ := s.smbclient(t, "get f /dev/null")
	assert.Contains(t, out, "NT_STATUS_IO_DEVICE_ERROR")
	s.ok(t, "ls; put /etc/hostname g")
}
