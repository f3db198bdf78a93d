//go:build linux

package e2e_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountServesReadsAndWrites: with passthrough, which go-fuse asks for silently when it runs as root, the server would
// see neither, and no test of our data path would test anything.
func TestMountServesReadsAndWrites(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		require.NoError(t, os.WriteFile(m.path("f"), data, 0o644))
		got, err := os.ReadFile(m.path("f"))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got))

		ops := m.status(t).Fuse.Ops
		assert.GreaterOrEqual(t, ops["WRITE"], int64(len(data)>>20), "every byte came in a WRITE of at most 1 MiB")
		assert.GreaterOrEqual(t, ops["READ"], int64(1))

		before := ops["READ"]
		f, err := os.OpenFile(m.path("f"), os.O_RDONLY|unix.O_DIRECT, 0)
		require.NoError(t, err)
		defer f.Close()
		buf := aligned(4096)
		n, err := f.ReadAt(buf, 8192)
		require.NoError(t, err)
		assert.Equal(t, data[8192:8192+4096], buf[:n])
		assert.Equal(t, before+1, m.status(t).Fuse.Ops["READ"], "one direct read is one READ")
	})
}

// aligned is a buffer for direct I/O.
func aligned(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return b
}

// TestMountAppendLosesNothing: the kernel sends the offset at which it believes the end to be, and another writer of the
// backing file has moved it.
func TestMountAppendLosesNothing(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, coherence := range []string{"strict", "cached"} {
			t.Run(coherence, func(t *testing.T) {
				m := startMount(t, mountOptions{engine: engine, args: []string{"--coherence", coherence}})
				ours, err := os.OpenFile(m.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
				require.NoError(t, err)
				defer ours.Close()
				theirs, err := os.OpenFile(m.under("log"), os.O_WRONLY|os.O_APPEND, 0)
				require.NoError(t, err)
				defer theirs.Close()

				var want []byte
				for i := range 50 {
					for f, line := range map[*os.File]string{ours: "ours\n", theirs: "theirs, which is longer\n"} {
						_, err := io.WriteString(f, line)
						require.NoError(t, err, "round %d", i)
						want = append(want, line...)
					}
				}
				got, err := os.ReadFile(m.under("log"))
				require.NoError(t, err)
				assert.Equal(t, string(want), string(got), "in the order of the writes, none over another")
			})
		}
	})
}

// TestMountMappingOfAnAppendingFile: pages that the kernel writes back go where they belong, whatever flags the handle has
// that it happens to use.
func TestMountMappingOfAnAppendingFile(t *testing.T) {
	for name, flag := range map[string]int{"append": os.O_APPEND, "direct": unix.O_DIRECT, "both": os.O_APPEND | unix.O_DIRECT} {
		t.Run(name, func(t *testing.T) {
			m := startMount(t, mountOptions{})
			require.NoError(t, os.WriteFile(m.path("f"), bytes.Repeat([]byte("x"), 5000), 0o644))
			f, err := os.OpenFile(m.path("f"), os.O_RDWR|flag, 0)
			require.NoError(t, err)
			defer f.Close()
			p, err := unix.Mmap(int(f.Fd()), 0, 5000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			require.NoError(t, err)
			copy(p[4990:], "0123456789")
			require.NoError(t, unix.Msync(p, unix.MS_SYNC))
			require.NoError(t, unix.Munmap(p))
			got, err := os.ReadFile(m.under("f"))
			require.NoError(t, err)
			require.Len(t, got, 5000)
			assert.Equal(t, "xxxxx0123456789", string(got[4985:]))
		})
	}
}

// TestMountUnalignedDirect: FUSE has no alignment rules, whatever the backing file system has.
func TestMountUnalignedDirect(t *testing.T) {
	m := startMount(t, mountOptions{})
	f, err := os.OpenFile(m.path("f"), os.O_CREATE|os.O_RDWR|unix.O_DIRECT, 0o644)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("seven b"), 3)
	require.NoError(t, err)
	buf := make([]byte, 20)
	n, err := f.ReadAt(buf, 1)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, "\x00\x00seven b", string(buf[:n]))
}

// TestMountHolesAreThoseOfTheBacking compares SEEK_DATA and SEEK_HOLE on both sides.
func TestMountHolesAreThoseOfTheBacking(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		f, err := os.Create(m.path("sparse"))
		require.NoError(t, err)
		defer f.Close()
		for _, off := range []int64{1 << 20, 5 << 20} {
			_, err := f.WriteAt(bytes.Repeat([]byte("d"), 64<<10), off)
			require.NoError(t, err)
		}
		require.NoError(t, f.Truncate(8<<20))
		require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 16<<10))
		require.NoError(t, f.Sync())
		b, err := os.Open(m.under("sparse"))
		require.NoError(t, err)
		defer b.Close()
		seen := map[int64]bool{}
		for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
			for _, off := range []int64{0, 1 << 20, 1<<20 + 20<<10, 2 << 20, 5<<20 + 1, 6 << 20, 8<<20 - 1, 8 << 20, 9 << 20} {
				got, gotErr := unix.Seek(int(f.Fd()), off, whence)
				want, wantErr := unix.Seek(int(b.Fd()), off, whence)
				assert.Equal(t, wantErr, gotErr, "whence %d at %d", whence, off)
				assert.Equal(t, want, got, "whence %d at %d", whence, off)
				seen[want] = true
			}
		}
		assert.True(t, seen[1<<20+16<<10], "the punched hole ends where data begins: the comparison saw real holes")
	})
}

// TestMountStrictSeesBackingChanges: what happens on the backing directory shows at the next look.
func TestMountStrictSeesBackingChanges(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		require.NoError(t, os.WriteFile(m.path("f"), []byte("old content"), 0o644))
		f, err := os.Open(m.path("f"))
		require.NoError(t, err)
		defer f.Close()
		read := func() string {
			b := make([]byte, 100)
			n, _ := f.ReadAt(b, 0)
			return string(b[:n])
		}
		require.Equal(t, "old content", read())
		require.NoError(t, os.WriteFile(m.under("f"), []byte("new content, longer"), 0o644))
		st, err := os.Stat(m.path("f"))
		require.NoError(t, err)
		assert.EqualValues(t, 19, st.Size())
		assert.Equal(t, "new content, longer", read(), "through a descriptor from before")
		require.NoError(t, os.Truncate(m.under("f"), 3))
		assert.Equal(t, "new", read())

		require.NoError(t, os.WriteFile(m.under("g"), []byte("another file"), 0o644))
		require.NoError(t, os.Rename(m.under("g"), m.under("f")))
		b, err := os.ReadFile(m.path("f"))
		require.NoError(t, err)
		assert.Equal(t, "another file", string(b), "a file renamed over it")
		assert.Equal(t, "new", read(), "the open file is still the old one")
		require.NoError(t, os.Remove(m.under("f")))
		_, err = os.Stat(m.path("f"))
		assert.ErrorIs(t, err, os.ErrNotExist)
	})
}

// TestMountPrivilegesAreKilled: who may not set a file's set-uid bit may not keep it while changing the file.
func TestMountPrivilegesAreKilled(t *testing.T) {
	m := startMount(t, mountOptions{args: []string{"-o", "allow_other"}})
	const all = os.ModeSetuid | os.ModeSetgid | 0o777
	for _, test := range []struct {
		name string
		cap  bool
		act  func(t *testing.T, path string)
		want os.FileMode
	}{
		{"write by another user", false, func(t *testing.T, p string) {
			assert.Equal(t, "OK", runRole(t, "append", other(), p))
		}, 0o777},
		{"write by another user, capability", true, func(t *testing.T, p string) {
			assert.Equal(t, "OK", runRole(t, "append", other(), p))
		}, 0o777},
		{"write by root", false, func(t *testing.T, p string) {
			assert.Equal(t, "OK", runRole(t, "append", nil, p))
		}, all},
		{"truncating open by another user", false, func(t *testing.T, p string) {
			assert.Equal(t, "OK", runRole(t, "touch", other(), p))
		}, 0o777},
		{"chown", false, func(t *testing.T, p string) { require.NoError(t, os.Chown(p, 1, 1)) }, 0o777},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := "suid"
			require.NoError(t, os.WriteFile(m.under(name), []byte("program"), 0o644))
			require.NoError(t, os.Chmod(m.under(name), all))
			if test.cap {
				// struct vfs_ns_cap_data, version 2: cap_net_raw, permitted and effective.
				capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
				require.NoError(t, unix.Setxattr(m.under(name), "security.capability", capability, 0))
			}
			test.act(t, m.path(name))
			for _, path := range []string{m.under(name), m.path(name)} {
				st, err := os.Stat(path)
				require.NoError(t, err)
				assert.Equal(t, test.want, st.Mode(), path)
				_, err = unix.Getxattr(path, "security.capability", nil)
				assert.ErrorIs(t, err, unix.ENODATA, path)
			}
			require.NoError(t, os.Remove(m.path(name)))
		})
	}
	before := m.status(t).Fuse.Ops["GETXATTR"]
	f, err := os.Create(m.path("many"))
	require.NoError(t, err)
	defer f.Close()
	for range 100 {
		_, err := f.Write([]byte("x"))
		require.NoError(t, err)
	}
	assert.Less(t, m.status(t).Fuse.Ops["GETXATTR"]-before, int64(10), "the kernel does not ask before each write")
}

// nodump is FS_NODUMP_FL of linux/fs.h.
const nodump = 0x40

// TestMountIoctls: flags and projects of the backing file through the mount; everything else is refused.
func TestMountIoctls(t *testing.T) {
	m := startMount(t, mountOptions{})
	require.NoError(t, os.WriteFile(m.path("f"), []byte("x"), 0o644))
	for _, path := range []string{"f", "."} {
		on, err := os.Open(m.path(path))
		require.NoError(t, err)
		defer on.Close()
		back, err := os.Open(m.under(path))
		require.NoError(t, err)
		defer back.Close()
		got, err := unix.IoctlGetInt(int(on.Fd()), unix.FS_IOC_GETFLAGS)
		require.NoError(t, err, path)
		want, err := unix.IoctlGetInt(int(back.Fd()), unix.FS_IOC_GETFLAGS)
		require.NoError(t, err)
		assert.Equal(t, want, got, path)
	}
	on, err := os.Open(m.path("f"))
	require.NoError(t, err)
	defer on.Close()
	flags, err := unix.IoctlGetInt(int(on.Fd()), unix.FS_IOC_GETFLAGS)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(on.Fd()), unix.FS_IOC_SETFLAGS, flags|nodump))
	back, err := os.Open(m.under("f"))
	require.NoError(t, err)
	defer back.Close()
	got, err := unix.IoctlGetInt(int(back.Fd()), unix.FS_IOC_GETFLAGS)
	require.NoError(t, err)
	assert.Equal(t, flags|nodump, got)
	_, err = unix.IoctlGetInt(int(on.Fd()), 0x80086687) // a number nobody has
	assert.ErrorIs(t, err, unix.ENOTTY)
}

// TestMountCopyFileRange: the server copies, also between files.
func TestMountCopyFileRange(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		data := bytes.Repeat([]byte("copy me "), 100_000)
		require.NoError(t, os.WriteFile(m.path("src"), data, 0o644))
		src, err := os.Open(m.path("src"))
		require.NoError(t, err)
		defer src.Close()
		dst, err := os.Create(m.path("dst"))
		require.NoError(t, err)
		defer dst.Close()
		in, out := int64(8), int64(16)
		for copied := 0; copied < len(data)-8; {
			n, err := unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, len(data)-8-copied, 0)
			require.NoError(t, err)
			require.NotZero(t, n)
			copied += n
		}
		got, err := os.ReadFile(m.path("dst"))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(append(make([]byte, 16), data[8:]...), got))
		assert.NotZero(t, m.status(t).Fuse.Ops["COPY_FILE_RANGE"])
	})
}
