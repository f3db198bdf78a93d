//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountSeesServerChanges: with everything cached for an hour, what an SMB client does through the same Volume shows on
// the mount, mappings included, because the kernel is told. In strict mode it is told of what it would not ask for: pages of
// mappings.
func TestMountSeesServerChanges(t *testing.T) {
	for _, coherence := range []string{"server", "strict"} {
		t.Run(coherence, func(t *testing.T) {
			m := startMount(t, mountOptions{command: "serve", engine: "ring", args: []string{
				"--coherence", coherence, "--guest", "--listen", "127.0.0.1:0", "--share", "share",
			}})
			at, local := endpointOf(t, m.child), t.TempDir()
			smb := func(commands string) {
				t.Helper()
				out, err := at.smbclient(t, "share", "-N", "-c", "lcd "+local+"; "+commands)
				require.NoError(t, err, "%s", out)
				require.NotContains(t, out, "NT_STATUS")
			}
			put := func(name, content string) {
				t.Helper()
				require.NoError(t, os.WriteFile(filepath.Join(local, name), []byte(content), 0o644))
				smb("put " + name)
			}
			soon := func(what string, check func() bool) {
				t.Helper()
				assert.Eventually(t, check, 5*time.Second, 10*time.Millisecond, what)
			}
			content := func(name string) string {
				b, err := os.ReadFile(m.path(name))
				if err != nil {
					return err.Error()
				}
				return string(b)
			}

			before := strings.Repeat("old. ", 2000)
			after := strings.Repeat("new! ", 2000)
			require.NoError(t, os.WriteFile(m.path("f"), []byte(before), 0o644))
			require.NoError(t, os.Chmod(m.path("f"), 0o666))
			f, err := os.Open(m.path("f"))
			require.NoError(t, err)
			defer f.Close()
			p, err := unix.Mmap(int(f.Fd()), 0, len(before), unix.PROT_READ, unix.MAP_SHARED)
			require.NoError(t, err)
			defer unix.Munmap(p)
			require.Equal(t, before, string(p), "the mapping is populated")
			require.Equal(t, before, content("f"))

			put("f", after)
			soon("the mapping", func() bool { return string(p) == after })
			soon("a new open", func() bool { return content("f") == after })
			put("f", "short")
			soon("the size", func() bool { st, err := os.Stat(m.path("f")); return err == nil && st.Size() == 5 })
			assert.Equal(t, "short", content("f"))

			put("made", "by the server")
			soon("a new name", func() bool { return content("made") == "by the server" })
			smb("rename made moved")
			soon("its new name", func() bool { return content("moved") == "by the server" })
			soon("its old name is gone", func() bool { _, err := os.Lstat(m.path("made")); return os.IsNotExist(err) })
			smb("rm moved")
			soon("a removed name is gone", func() bool { _, err := os.Lstat(m.path("moved")); return os.IsNotExist(err) })
			smb("mkdir d")
			soon("a new directory", func() bool { st, err := os.Stat(m.path("d")); return err == nil && st.IsDir() })

			if coherence == "server" {
				before := m.status(t).Fuse.Ops
				for range 100 {
					_, err := os.Stat(m.path("f"))
					require.NoError(t, err)
				}
				after := m.status(t).Fuse.Ops
				assert.Less(t, after["LOOKUP"]+after["GETATTR"], before["LOOKUP"]+before["GETATTR"]+10, "nothing is asked twice")
			}
		})
	}
}
