package ctl_test

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ctl"
)

func TestStatusOverSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	want := ctl.Status{PID: 7, Backing: "b", Reads: map[string]ctl.Count{"copy": {PDUs: 1, Bytes: 2}}}
	s, err := ctl.Listen(path, func() ctl.Status { return want })
	require.NoError(t, err)
	got, err := ctl.Get(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, want.Reads, got.Reads)
	assert.Equal(t, 7, got.PID)
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), st.Mode().Perm())
	dir, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), dir.Mode().Perm())

	_, err = ctl.Listen(path, nil)
	require.ErrorContains(t, err, "running server")
	require.NoError(t, s.Close())
	_, err = os.Stat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = ctl.Get(context.Background(), path)
	require.Error(t, err)
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close()) // as a killed server leaves it
	s, err := ctl.Listen(path, func() ctl.Status { return ctl.Status{PID: 1} })
	require.NoError(t, err)
	defer s.Close()
	_, err = ctl.Get(t.Context(), path)
	require.NoError(t, err)
}

func TestRunningLeavesOutTheDead(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s, err := ctl.Listen(ctl.Path(1), func() ctl.Status { return ctl.Status{PID: 1} })
	require.NoError(t, err)
	defer s.Close()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: ctl.Path(2)})
	require.NoError(t, err)
	dead.SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())
	running, err := ctl.Running()
	require.NoError(t, err)
	assert.Equal(t, []string{ctl.Path(1)}, running)
	_, err = os.Stat(ctl.Path(2))
	require.ErrorIs(t, err, fs.ErrNotExist)
}
