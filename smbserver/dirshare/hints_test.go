//go:build linux

package dirshare_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/dirshare"
	"github.com/uringfs/uringfs/uringbackend"
)

// counted is a share whose engine the test can ask.
func counted(t *testing.T, engine, dir string) (*dirshare.Share, func(verb string) int) {
	t.Helper()
	e, err := uringbackend.Open(engine, uringbackend.Probe(dir), uringbackend.Config{Strict: true})
	require.NoError(t, err)
	v, err := uringbackend.OpenVolume(t.Context(), dir, uringbackend.VolumeConfig{Engine: e})
	require.NoError(t, err)
	s := dirshare.New(v.View(uringbackend.OriginServer), e, dirshare.Config{})
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		assert.NoError(t, v.Close())
		assert.NoError(t, e.Close())
	})
	return s, func(verb string) int { c := e.Counts()[verb]; return int(c.Ring + c.Syscall) }
}

// TestHintsReachTheEngine: how a file will be used is told to the kernel once at its open, and a file that is opened to be
// durable makes a new length so too.
func TestHintsReachTheEngine(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		s, ops := counted(t, engine, dir)
		for _, c := range []struct {
			pattern smbserver.AccessPattern
			through bool
			advised int
			syncs   int
		}{
			{smbserver.PatternUnknown, false, 0, 0},
			{smbserver.PatternSequential, false, 1, 0},
			{smbserver.PatternRandom, true, 1, 1},
		} {
			for _, create := range []bool{true, false} {
				advised, syncs := ops("fadvise"), ops("fsync")
				f, err := s.Open(t.Context(), smbserver.OpenParams{
					Path: fmt.Sprintf("f%d", c.pattern), Read: true, Write: true, Create: create, Pattern: c.pattern, Through: c.through,
				})
				require.NoError(t, err)
				size := int64(5)
				require.NoError(t, f.SetAttr(t.Context(), smbserver.SetAttr{Size: &size}))
				n, err := f.(smbserver.Uncacher).ReadUncached(t.Context(), make([]byte, 10), 0)
				require.NoError(t, err)
				assert.Equal(t, 5, n)
				require.NoError(t, f.Close())
				assert.Equal(t, c.advised, ops("fadvise")-advised)
				assert.Equal(t, c.syncs, ops("fsync")-syncs)
			}
		}
	})
}

// TestListingLooksAhead: attributes of a listing come from batches and are those of single questions; a search for one
// name looks up one.
func TestListingLooksAhead(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		const count = 200
		for i := range count {
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), make([]byte, i), 0o600))
		}
		require.NoError(t, os.Symlink("f7", filepath.Join(dir, "link")))
		require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "outside")))
		s, ops := counted(t, engine, dir)
		root := open(t, s, "", true)
		list := func(want func(name string) bool) map[string]smbserver.Attr {
			got := make(map[string]smbserver.Attr)
			require.NoError(t, root.ReadDir(t.Context(), 0, func(e smbserver.DirEntry) bool {
				if want(e.Name) {
					if a, err := e.Attr(t.Context()); assert.Equal(t, e.Name == "outside", err != nil) && err == nil {
						got[e.Name] = a
					}
				}
				return true
			}))
			return got
		}
		before := ops("openat2")
		one := list(func(name string) bool { return name == "f42" })
		require.Contains(t, one, "f42")
		assert.LessOrEqual(t, ops("openat2")-before, 4, "one name, the directory itself, and what tells about the file system")
		all := list(func(string) bool { return true })
		assert.Len(t, all, count+1)
		for name, a := range all {
			want, err := open(t, s, name, false).Attr(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, a, name)
		}
		assert.Len(t, list(func(name string) bool { return len(name) == 3 }), 90, "every other")
	})
}
