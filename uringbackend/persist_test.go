//go:build linux

package uringbackend_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

// faultyTree opens a Volume whose engine meets the faults of plan, and says what it serves.
func faultyTree(t *testing.T, plan string) (w *View, dir string) {
	t.Helper()
	faults, err := ParseFaults(plan)
	require.NoError(t, err)
	e, err := Open("syscall", Probe(""), Config{Strict: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.Close()) })
	dir = t.TempDir()
	v, err := OpenVolume(t.Context(), dir, VolumeConfig{Engine: Faulty(e, faults)})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, v.Close()) })
	return v.View(OriginLab), dir
}

// TestVolumeDoesNotPassInterruptionsOn: nothing that only has to be tried again reaches a client.
func TestVolumeDoesNotPassInterruptionsOn(t *testing.T) {
	w, dir := faultyTree(t, "seed=3,EINTR:0.4,statx=EAGAIN:0.2,openat2=EAGAIN:0.2,fsync=EAGAIN:0.2,read_at=EAGAIN:0.2,write_at=EAGAIN:0.2,read_at=short:0.5,write_at=short:0.5")
	ctx := t.Context()
	root := w.Root()
	defer root.Release()
	data := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	for range 20 {
		h, r, _, err := w.Create(ctx, root, "f", unix.O_RDWR|unix.O_EXCL, 0o644, Creds{})
		require.NoError(t, err)
		n, err := h.WriteAt(ctx, data, 0, WriteOptions{})
		require.NoError(t, err)
		assert.Equal(t, len(data), n)
		got := make([]byte, len(data))
		n, err = h.ReadAt(ctx, got, 0)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got[:n]))
		require.NoError(t, h.Sync(ctx, false))
		require.NoError(t, h.Truncate(ctx, 7))
		require.NoError(t, h.Flush(ctx))
		require.NoError(t, h.Close(ctx), "an interrupted close is a close")
		require.NoError(t, w.Rename(ctx, root, "f", root, "g", 0))
		left, err := os.ReadFile(filepath.Join(dir, "g"))
		require.NoError(t, err)
		assert.Equal(t, string(data[:7]), string(left))
		require.NoError(t, w.Unlink(ctx, root, "g"))
		r.Release()
	}
}

// TestVolumeGivesUp: what never gets through is an error that nobody waits or tries again for. EAGAIN is passed on where
// it is an answer.
func TestVolumeGivesUp(t *testing.T) {
	w, dir := faultyTree(t, "seed=1,write_at=EINTR:1,fsync=EAGAIN:1,flock=EAGAIN:1,close=EIO:1")
	ctx := t.Context()
	root := w.Root()
	defer root.Release()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	r, _, err := w.Lookup(ctx, root, "f")
	require.NoError(t, err)
	defer r.Release()
	h, err := w.Open(ctx, r, unix.O_RDWR)
	require.NoError(t, err)
	_, err = h.WriteAt(ctx, []byte("x"), 0, WriteOptions{})
	require.ErrorIs(t, err, unix.EIO)
	require.ErrorIs(t, h.Sync(ctx, false), unix.EIO)
	require.ErrorIs(t, h.Flock(ctx, unix.LOCK_EX, false), unix.EAGAIN)
	require.ErrorIs(t, h.Close(ctx), unix.EIO)
}

// TestDirectIOCutInsideASector: a short transfer in the middle of the file is not taken for its end.
func TestDirectIOCutInsideASector(t *testing.T) {
	w, dir := faultyTree(t, "seed=1,read_at=short:0.5")
	ctx := t.Context()
	root := w.Root()
	defer root.Release()
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096) // 64 KiB
	data = append(data, "tail"...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), data, 0o600))
	r, _, err := w.Lookup(ctx, root, "f")
	require.NoError(t, err)
	defer r.Release()
	h, err := w.Open(ctx, r, unix.O_RDONLY|unix.O_DIRECT)
	require.NoError(t, err)
	closeLater(t, h)
	memory, err := unix.Mmap(-1, 0, 1<<17, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(memory)) }()
	for range 30 {
		clear(memory)
		n, err := h.ReadAt(ctx, memory, 0)
		if err != nil { // what is left is not aligned as this file system wants it: told, not hidden
			require.ErrorIs(t, err, unix.EINVAL)
			continue
		}
		require.True(t, bytes.Equal(data, memory[:n]), "%d bytes", n)
	}
}
