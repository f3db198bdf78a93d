//go:build linux

package enginetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// Model runs steps random ops, one at a time and in batches of independent ones, on a new directory and on a model of a
// file system in memory, and demands the same results, to the errno. It fails with the smallest history that it finds
// to show a difference. An op that reports one of injected is taken to have done nothing, except a close, and with any
// of them transfers may be short; so it tests engines behind Faulty.
func Model(
	t *testing.T, open func(t *testing.T) uringbackend.Engine, dice *rand.Rand, steps int, injected ...unix.Errno,
) {
	t.Helper()
	require.NoError(t, TryModel(t, open, dice, steps, injected...))
}

// TryModel is Model that returns the difference as an error instead.
func TryModel(
	t *testing.T, open func(t *testing.T) uringbackend.Engine, dice *rand.Rand, steps int, injected ...unix.Errno,
) error {
	t.Helper()
	tr := &trial{t: t, open: open, base: modelDir(t), injected: injected}
	tr.xattr = unix.Setxattr(tr.base, "user.probe", []byte("x"), 0) == nil
	history, stats, err := tr.run(steps, func(m *tree, _ int) step { return tr.generate(m, dice) })
	t.Logf("%d steps, of which %d ops succeeded, %d failed as they should, %d were not modelled, %d had an injected error",
		len(history), stats.succeeded, stats.failed, stats.skipped, stats.injected)
	if err == nil {
		return nil
	}
	small := tr.shrink(history)
	_, _, smallErr := tr.repeat(small)
	return fmt.Errorf("step %d: %w\nthe steps before:\n%s\nthe smallest history found with a difference, %d steps: %w\n%s",
		len(history), err, list(history[max(0, len(history)-10):]), len(small), smallErr, list(small))
}

func list(steps []step) string {
	var b strings.Builder
	for i := range steps {
		fmt.Fprintf(&b, "  %s\n", &steps[i])
	}
	return b.String()
}

// modelDir is on tmpfs where there is one.
func modelDir(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if unix.Statfs(shm, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		if dir, err := os.MkdirTemp(shm, "uringfs-model-"); err == nil { //nolint:usetesting // TempDir is seldom on tmpfs
			t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
			return dir
		}
	}
	return t.TempDir()
}

// trial is a test of one engine.
type trial struct {
	t        *testing.T
	open     func(t *testing.T) uringbackend.Engine
	base     string
	xattr    bool // the file system has user attributes
	injected []unix.Errno
}

type trialStats struct{ succeeded, failed, skipped, injected int }

// subject is one file system under test and its model.
type subject struct {
	*trial
	e     uringbackend.Engine
	m     *tree
	fds   [slots]int
	stats trialStats
}

// run runs n steps on a new engine and directory, each drawn when its turn comes, and returns those that were run. The
// error is the first difference.
func (tr *trial) run(n int, next func(m *tree, i int) step) (history []step, stats trialStats, err error) {
	root, err := os.MkdirTemp(tr.base, "root-")
	require.NoError(tr.t, err)
	defer func() { assert.NoError(tr.t, os.RemoveAll(root)) }()
	s := &subject{trial: tr, e: tr.open(tr.t), m: newTree()}
	defer func() { assert.NoError(tr.t, s.e.Close()) }()
	for i := range s.fds {
		s.fds[i] = -1
	}
	s.fds[0], err = unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(tr.t, err)
	defer func() {
		for _, fd := range s.fds {
			if fd >= 0 {
				assert.NoError(tr.t, unix.Close(fd))
			}
		}
	}()
	for i := range n {
		st := next(s.m, i)
		history = append(history, st)
		if err := s.step(&st); err != nil {
			return history, s.stats, err
		}
	}
	return history, s.stats, compare(s.m.root, root)
}

func (tr *trial) repeat(history []step) ([]step, trialStats, error) {
	return tr.run(len(history), func(_ *tree, i int) step { return history[i] })
}

// shrink makes a history with a difference small: it removes steps as long as a difference remains, then takes batches
// apart, if it is not them that make it, and removes again.
func (tr *trial) shrink(history []step) []step {
	deadline := time.Now().Add(20 * time.Second)
	history = tr.remove(history, deadline)
	var flat []step
	for _, st := range history {
		if st.batch == nil {
			flat = append(flat, st)
		}
		flat = append(flat, st.batch...)
	}
	if run, _, err := tr.repeat(flat); err != nil && len(flat) > len(history) {
		history = tr.remove(run, deadline)
	}
	return history
}

// remove removes steps while it can: halves, quarters, and so on down to single steps.
func (tr *trial) remove(history []step, deadline time.Time) []step {
	for size := (len(history) + 1) / 2; size > 0; {
		removed := false
		for at := 0; at < len(history) && time.Now().Before(deadline); {
			rest := slices.Concat(history[:at], history[min(at+size, len(history)):])
			run, _, err := tr.repeat(rest)
			if err != nil {
				history, removed = run, true // what comes after the difference is cut off too
			} else {
				at += size
			}
		}
		if size == 1 && !removed || time.Now().After(deadline) {
			break
		}
		size = max(size/2, 1)
	}
	return history
}

func (s *subject) fd(slot int) int { return s.fds[slot] }

// step runs a step on both, and compares.
func (s *subject) step(st *step) error {
	if st.batch == nil {
		return s.one(st)
	}
	together := s.m.independent(st.batch)
	want := make([]expected, len(st.batch))
	ops := make([]uringbackend.Op, len(st.batch))
	for i := range st.batch {
		want[i] = s.m.expect(&st.batch[i])
		ops[i] = st.batch[i].op(s.fd)
		together = together && !want[i].skip
	}
	if !together { // a history without some step
		for i := range st.batch {
			if err := s.one(&st.batch[i]); err != nil {
				return err
			}
		}
		return nil
	}
	results := make([]result, len(ops))
	var left sync.WaitGroup
	left.Add(len(ops))
	s.e.Submit(background(), ops, func(i, n int, _ bool, err error) {
		results[i] = result{n, err}
		left.Done()
	})
	left.Wait()
	for i := range ops {
		if err := s.judge(&st.batch[i], want[i], &ops[i], int64(results[i].N), bare(results[i].Err)); err != nil {
			return err
		}
	}
	return nil
}

func (s *subject) one(st *step) error {
	want := s.m.expect(st)
	if st.kind == uringbackend.KindCopyFileRange && want.errno == unix.EINVAL && len(s.injected) > 0 {
		want.skip = true // ranges that overlap do not any more when the copy has been cut short
	}
	if want.skip {
		s.stats.skipped++
		return nil
	}
	op := st.op(s.fd)
	var n int
	var err error
	switch {
	case st.kind == uringbackend.KindGetdents && want.errno == 0:
		op.Buf, err = s.names(op.FD)
	default:
		for range 64 {
			n, err = s.e.Do(background(), op)
			// ".." makes the kernel give up when anything is renamed anywhere meanwhile.
			if st.resolve == 0 || !errors.Is(err, unix.EAGAIN) || slices.Contains(s.injected, unix.EAGAIN) {
				break
			}
		}
	}
	return s.judge(st, want, &op, int64(n), bare(err))
}

// bare is the errno that an engine returns as its error. Another error is none that any model says.
func bare(err error) unix.Errno {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		return ^unix.Errno(0)
	}
	return errno
}

// judge compares the result of a step, and does to the model what it did.
func (s *subject) judge(st *step, want expected, op *uringbackend.Op, n int64, errno unix.Errno) error {
	failed, closes := errno != 0, st.kind == uringbackend.KindClose && want.errno == 0
	switch {
	case slices.Contains(s.injected, errno):
		s.stats.injected++
		if !closes {
			return nil
		}
		n = 0 // the descriptor is gone all the same
	case errno != want.errno:
		return fmt.Errorf("%s: %s (%d), the model says %s", st, or(errno), n, or(want.errno))
	case failed && n != 0:
		return fmt.Errorf("%s: %s with a count of %d", st, or(errno), n)
	case failed:
		s.stats.failed++
		return nil //nolint:nilerr // the model says so too
	}
	short := len(s.injected) > 0 || st.kind == uringbackend.KindCopyFileRange // which may stop at any page
	part := want.part && short && n > 0 && n < want.n
	if want.n >= 0 && n != want.n && !part {
		return fmt.Errorf("%s: result %d, the model says %d", st, n, want.n)
	}
	s.stats.succeeded++
	if want.check != nil {
		if err := want.check(n, op); err != nil {
			return fmt.Errorf("%s: %w", st, err)
		}
	}
	if want.commit != nil {
		want.commit(n, op)
	}
	switch st.kind {
	case uringbackend.KindOpenat2:
		s.fds[st.out] = int(n)
	case uringbackend.KindClose:
		s.fds[st.slot] = -1
	default:
	}
	return nil
}

// names lists a directory: its names, sorted, joined by NUL.
func (s *subject) names(fd int) ([]byte, error) {
	if _, err := s.e.Seek(background(), fd, 0, unix.SEEK_SET); err != nil {
		return nil, err
	}
	var names []string
	for {
		buf := make([]byte, 512)
		n, err := s.e.Do(background(), uringbackend.Op{Kind: uringbackend.KindGetdents, FD: fd, Buf: buf})
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		for buf = buf[:n]; len(buf) > 0; {
			const header = 19 // struct linux_dirent64: d_ino, d_off, d_reclen, d_type
			size := binary.NativeEndian.Uint16(buf[16:])
			names = append(names, unix.ByteSliceToString(buf[header:size]))
			buf = buf[size:]
		}
	}
	slices.Sort(names)
	return []byte(strings.Join(names, "\x00")), nil
}

// compare holds a directory against its model, by system calls of its own.
func compare(n *inode, path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, n.names()) {
		return fmt.Errorf("in the end %s has %q, the model %q", path, names, n.names())
	}
	for _, name := range names {
		child, below := n.entries[name], filepath.Join(path, name)
		switch child.kind {
		case unix.S_IFDIR:
			err = compare(child, below)
		case unix.S_IFLNK:
			var target string
			if target, err = os.Readlink(below); err == nil {
				err = differ([]byte(target), []byte(child.target))
			}
		default:
			var got []byte
			if got, err = os.ReadFile(below); err == nil {
				err = differ(got, child.data)
			}
		}
		if err != nil {
			return fmt.Errorf("in the end %s: %w", below, err)
		}
	}
	return nil
}
