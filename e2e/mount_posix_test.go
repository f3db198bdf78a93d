//go:build linux

package e2e_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountPosix runs the conformance suite of go-fuse, whole, on both engines.
func TestMountPosix(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		// Attributes of 8 KiB do not fit an inode of ext4, and the suite would skip: that one runs over tmpfs.
		large := startMount(t, mountOptions{engine: engine, backing: tmpfs(t)})
		for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
			t.Run(name, func(t *testing.T) {
				dir := m.path(name)
				if name == "XAttrLarge" {
					dir = large.path(name)
				}
				require.NoError(t, os.Mkdir(dir, 0o755))
				t.Cleanup(func() {
					assert.False(t, t.Skipped(), "a skipped test is a failed one")
					assert.NoError(t, os.RemoveAll(dir))
				})
				posixtest.All[name](t, dir)
			})
		}
		st := m.status(t)
		assert.NotZero(t, st.Fuse.Ops["SETLK"], "locks reach the server")
		checkRoads(t, st, engine)
		if engine == "ring" {
			assert.NotZero(t, st.Engine.Ring["write_at"], "writes took the ring")
		}
	})
}

// tmpfs is a directory on a tmpfs of its own.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir := publicDir(t)
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=777"))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}
