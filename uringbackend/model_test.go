//go:build linux

package uringbackend_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// opener opens engines of one kind, behind a fault plan unless that is empty.
func opener(name, faults string, cfg uringbackend.Config) func(t *testing.T) uringbackend.Engine {
	return func(t *testing.T) uringbackend.Engine {
		t.Helper()
		features := uringbackend.Probe("")
		if name == "ring" {
			enginetest.Require(t, features.Ring)
		}
		cfg.Strict = true
		e, err := uringbackend.Open(name, features, cfg)
		require.NoError(t, err)
		if faults == "" {
			return e
		}
		plan, err := uringbackend.ParseFaults(faults)
		require.NoError(t, err)
		return uringbackend.Faulty(e, plan)
	}
}

func TestOrdered(t *testing.T) {
	for _, c := range []struct{ name, engine, faults string }{
		{"syscall", "syscall", ""},
		{"faulty", "syscall", "seed=1,reorder:1e-9"},
		{"faulty-held", "syscall", "seed=1,delay(50us):1,reorder:0.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			enginetest.RunCases(t, opener(c.engine, c.faults, uringbackend.Config{}), enginetest.Ordered())
		})
	}
	for _, engine := range []string{"syscall", "ring"} {
		t.Run("short-"+engine, func(t *testing.T) {
			enginetest.RunCases(t, opener(engine, "", uringbackend.Config{Entries: 8}), enginetest.Ordered())
		})
	}
}

// TestFaultyConformance: an engine whose reports are late and in another order is still a right one.
func TestFaultyConformance(t *testing.T) {
	for _, engine := range []string{"ring", "syscall"} {
		t.Run(engine, func(t *testing.T) {
			enginetest.Run(t, opener(engine, "delay(20us):0.1,late(1ms):0.1,reorder:0.5", uringbackend.Config{}))
		})
	}
}

func TestStressCancel(t *testing.T) {
	for _, c := range []struct{ name, engine, faults string }{
		{"syscall", "syscall", ""},
		{"ring", "ring", ""},
		{"faulty", "ring", "read_at=EIO:0.02,EINTR:0.02,short:0.1,delay(100us):0.1,late(2ms):0.3,reorder:0.3"},
		{"faulty-syscall", "syscall", "write_at=ENOSPC:0.02,EAGAIN:0.02,short:0.1,delay(100us):0.1,late(2ms):0.3,reorder:0.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			enginetest.StressCancel(t, opener(c.engine, c.faults, uringbackend.Config{}), seed.FromTest(t), 6000,
				unix.EIO, unix.EINTR, unix.ENOSPC, unix.EAGAIN)
		})
	}
}

func TestStressClose(t *testing.T) {
	for _, c := range []struct{ name, engine, faults string }{
		{"ring", "ring", ""},
		{"faulty", "ring", "late(10s):0.5,delay(10s):0.5"},
		{"syscall", "syscall", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			enginetest.StressClose(t, func(t *testing.T, unbounded int) uringbackend.Engine {
				t.Helper()
				return opener(c.engine, c.faults, uringbackend.Config{Unbounded: unbounded})(t)
			}, 10000)
		})
	}
}

func TestModel(t *testing.T) {
	const steps = 5000
	for _, c := range []struct {
		name, engine, faults string
		injected             []unix.Errno
	}{
		{"syscall", "syscall", "", nil},
		{"ring", "ring", "", nil},
		{
			"faulty", "ring",
			"seed=5,EIO:0.01,write_at=ENOSPC:0.05,writev_at=EDQUOT:0.05,EINTR:0.01,EAGAIN:0.01,short:0.1,delay(20us):0.01,reorder:0.3",
			[]unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.EINTR, unix.EAGAIN},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			enginetest.Model(t, opener(c.engine, c.faults, uringbackend.Config{}), seed.FromTest(t), steps, c.injected...)
		})
	}
}

// liar is a Submitter with a bug.
type liar struct {
	uringbackend.Submitter
	lie func(op *uringbackend.Op, n int, err error) (int, error)
}

func (l liar) Submit(ctx context.Context, ops []uringbackend.Op, done func(i, n int, more bool, err error)) {
	own := slices.Clone(ops)
	l.Submitter.Submit(ctx, ops, func(i, n int, more bool, err error) {
		n, err = l.lie(&own[i], n, err)
		done(i, n, more, err)
	})
}

// TestModelFindsBugs: each bug is found, and explained by a few steps.
func TestModelFindsBugs(t *testing.T) {
	for _, c := range []struct {
		name string
		lie  func(op *uringbackend.Op, n int, err error) (int, error)
	}{
		{"a read that claims a byte too few", func(op *uringbackend.Op, n int, err error) (int, error) {
			if op.Kind == uringbackend.KindReadAt && n > 5000 {
				n--
			}
			return n, err
		}},
		{"bytes that are not the file's", func(op *uringbackend.Op, n int, err error) (int, error) {
			if op.Kind == uringbackend.KindReadAt && n > 100 {
				op.Buf[50] ^= 1
			}
			return n, err
		}},
		{"another errno", func(op *uringbackend.Op, n int, err error) (int, error) {
			if op.Kind == uringbackend.KindUnlinkat && errors.Is(err, unix.ENOTEMPTY) {
				err = unix.EEXIST
			}
			return n, err
		}},
		{"an error that is swallowed", func(op *uringbackend.Op, n int, err error) (int, error) {
			if op.Kind == uringbackend.KindFallocate && errors.Is(err, unix.EINVAL) {
				err = nil
			}
			return n, err
		}},
		{"a wrong link count", func(op *uringbackend.Op, n int, err error) (int, error) {
			if op.Kind == uringbackend.KindStatx && op.Statx.Nlink > 3 {
				op.Statx.Nlink--
			}
			return n, err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := enginetest.TryModel(t, func(t *testing.T) uringbackend.Engine {
				t.Helper()
				return opener("syscall", "", uringbackend.Config{})(t).Wrap(func(s uringbackend.Submitter) uringbackend.Submitter {
					return liar{s, c.lie}
				})
			}, seed.FromTest(t), 2000)
			require.Error(t, err)
			var steps int
			t.Log(err)
			_, scanErr := fmt.Sscanf(regexp.MustCompile(`difference, \d+`).FindString(err.Error()), "difference, %d", &steps)
			require.NoError(t, scanErr)
			assert.LessOrEqual(t, steps, 10, err)
		})
	}
}
