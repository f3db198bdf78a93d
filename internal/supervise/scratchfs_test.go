//go:build linux

package supervise_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/supervise"
)

// TestScratchFS mounts one of each kind and takes it away again; who may not, or has not the tool, is told so.
func TestScratchFS(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "fs")
			require.NoError(t, os.Mkdir(dir, 0o700))
			s := supervise.ScratchFS{Kind: kind, Image: filepath.Join(top, "image"), Size: 512 << 20, DirectIO: true}
			_, err := supervise.MountScratch(t.Context(), s, dir)
			if err != nil {
				require.ErrorIs(t, err, supervise.ErrLacking, "and no other error")
				_, err = supervise.MountAt(dir)
				require.ErrorIs(t, err, supervise.ErrNotMounted)
				return
			}
			m, err := supervise.MountAt(dir)
			if assert.NoError(t, err) {
				assert.Equal(t, kind, m.FSType)
			}
			assert.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600))
			require.NoError(t, supervise.UnmountScratch(dir))
			_, err = supervise.MountAt(dir)
			assert.ErrorIs(t, err, supervise.ErrNotMounted)
		})
	}
}

func TestScratchFSOfNoKind(t *testing.T) {
	dir := t.TempDir()
	_, err := supervise.MountScratch(t.Context(), supervise.ScratchFS{Kind: "floppy", Image: filepath.Join(dir, "image"), Size: 1 << 20}, dir)
	require.ErrorIs(t, err, supervise.ErrLacking)
	assert.ErrorContains(t, err, "floppy")
	assert.NoFileExists(t, filepath.Join(dir, "image"))
}
