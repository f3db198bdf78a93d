//go:build linux

package uringbackend_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

func TestGoldenParseFaults(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  uringbackend.Faults
		print string
	}{
		{"", uringbackend.Faults{}, "seed=0"},
		{"seed=7", uringbackend.Faults{Seed: 7}, "seed=7"},
		{
			"seed=18446744073709551615,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.25",
			uringbackend.Faults{Seed: 1<<64 - 1, Rules: []uringbackend.FaultRule{
				{Kind: uringbackend.KindReadAt, Fault: uringbackend.FaultErrno, Errno: unix.EIO, Probability: 0.01},
				{Kind: uringbackend.KindWriteAt, Fault: uringbackend.FaultErrno, Errno: unix.ENOSPC, Probability: 0.005},
				{Fault: uringbackend.FaultShort, Probability: 0.25},
			}},
			"seed=18446744073709551615,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.25",
		},
		{
			"close=EIO:1,EOPNOTSUPP:1e-6,readv_at=short:1,seed=1",
			uringbackend.Faults{Seed: 1, Rules: []uringbackend.FaultRule{
				{Kind: uringbackend.KindClose, Fault: uringbackend.FaultErrno, Errno: unix.EIO, Probability: 1},
				{Fault: uringbackend.FaultErrno, Errno: unix.EOPNOTSUPP, Probability: 1e-6},
				{Kind: uringbackend.KindReadvAt, Fault: uringbackend.FaultShort, Probability: 1},
			}},
			"seed=1,close=EIO:1,ENOTSUP:1e-06,readv_at=short:1",
		},
	} {
		got, err := uringbackend.ParseFaults(c.text)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, c.text)
		assert.Equal(t, c.print, got.String())
	}
	for _, text := range []string{
		",", "seed=", "seed=-1", "seed=x", "read_at", "read_at=EIO", "read_at=EIO:", "read_at=EIO:0", "read_at=EIO:2",
		"read_at=EIO:-1", "read_at=EIO:NaN", "read_at=EWHAT:1", "reed_at=EIO:1", "read_at=:1", "fsync=short:1", ":1", "=EIO:1 ",
	} {
		_, err := uringbackend.ParseFaults(text)
		assert.ErrorIs(t, err, uringbackend.ErrFaults, text)
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("seed=7,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.01")
	f.Add("EAGAIN:1,close=EIO:1e-300")
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := uringbackend.ParseFaults(text)
		if err != nil {
			require.ErrorIs(t, err, uringbackend.ErrFaults)
			return
		}
		again, err := uringbackend.ParseFaults(plan.String())
		require.NoError(t, err, "%q prints %q", text, plan)
		require.Equal(t, plan, again)
	})
}

// faultLog runs reads and writes under a plan and notes what became of each.
func faultLog(t *testing.T, text string, n int) (log []string) {
	t.Helper()
	plan, err := uringbackend.ParseFaults(text)
	require.NoError(t, err)
	base, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{Strict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	e := uringbackend.Faulty(base, plan)
	fd, err := unix.MemfdCreate("faults", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	ctx, buf := context.Background(), make([]byte, 100)
	note := func(n int, err error) {
		switch {
		case err != nil:
			log = append(log, unix.ErrnoName(func() unix.Errno {
				var target unix.Errno
				_ = errors.As(err, &target)
				return target
			}()))
		case n < len(buf):
			require.Positive(t, n)
			log = append(log, "short")
		default:
			log = append(log, "ok")
		}
	}
	_, err = base.WriteAt(ctx, fd, buf, 0, 0)
	require.NoError(t, err)
	for range n {
		note(e.WriteAt(ctx, fd, buf, 0, 0))
		note(e.ReadAt(ctx, fd, buf, 0))
		note(e.ReadvAt(ctx, fd, [][]byte{buf[:1], nil, buf[1:50], buf[50:]}, 0))
	}
	return log
}

func TestFaultsRepeat(t *testing.T) {
	const plan = "seed=3,read_at=EIO:0.1,write_at=ENOSPC:0.1,short:0.2"
	a, b := faultLog(t, plan, 500), faultLog(t, plan, 500)
	assert.Equal(t, a, b, "one seed, two runs")
	assert.NotEqual(t, a, faultLog(t, "seed=4,read_at=EIO:0.1,write_at=ENOSPC:0.1,short:0.2", 500))
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	assert.InDelta(t, 50, count["EIO"], 30)
	assert.InDelta(t, 50, count["ENOSPC"], 30)
	assert.InDelta(t, 280, count["short"], 100)
	for _, s := range faultLog(t, "seed=3", 100) {
		require.Equal(t, "ok", s)
	}
}

// TestFaultOnClose: the error is reported, and the descriptor is gone, as with close(2).
func TestFaultOnClose(t *testing.T) {
	base, err := uringbackend.Open("syscall", uringbackend.Features{}, uringbackend.Config{Strict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	e := uringbackend.Faulty(base, uringbackend.Faults{Rules: []uringbackend.FaultRule{{Fault: uringbackend.FaultErrno, Errno: unix.EIO, Probability: 1}}})
	fd, err := unix.MemfdCreate("faults", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	_, err = e.ReadAt(context.Background(), fd, make([]byte, 1), 0)
	assert.Equal(t, unix.EIO, err)
	assert.Equal(t, unix.EIO, e.CloseFD(context.Background(), fd))
	assert.Equal(t, unix.EBADF, base.CloseFD(context.Background(), fd))
	assert.Equal(t, map[string]uringbackend.Count{"close": {Syscall: 2}}, e.Counts(), "an op with a fault is not carried out")
}
