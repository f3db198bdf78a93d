//go:build linux

package e2e_test

import (
	enc "encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountUnlinkedButOpen: operations by descriptor need no name.
func TestMountUnlinkedButOpen(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		f, err := os.Create(m.path("f"))
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteString("still here")
		require.NoError(t, err)
		require.NoError(t, os.Remove(m.path("f")))

		require.NoError(t, f.Chmod(0o640))
		require.NoError(t, f.Chown(12, 34))
		require.NoError(t, f.Truncate(5))
		stamp := time.Unix(1_000_000_000, 5000)
		tv := []unix.Timeval{unix.NsecToTimeval(stamp.UnixNano()), unix.NsecToTimeval(stamp.UnixNano())}
		require.NoError(t, unix.Futimes(int(f.Fd()), tv))
		require.NoError(t, unix.Fsetxattr(int(f.Fd()), "user.k", []byte("v"), 0))
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(int(f.Fd()), &st))
		assert.EqualValues(t, unix.S_IFREG|0o640, st.Mode)
		assert.Equal(t, [3]uint64{12, 34, 0}, [3]uint64{uint64(st.Uid), uint64(st.Gid), uint64(st.Nlink)})
		assert.EqualValues(t, 5, st.Size)
		assert.Equal(t, stamp.Unix(), st.Mtim.Sec)
		v := make([]byte, 8)
		n, err := unix.Fgetxattr(int(f.Fd()), "user.k", v)
		require.NoError(t, err)
		assert.Equal(t, "v", string(v[:n]))
		n, err = f.ReadAt(v, 0)
		assert.Equal(t, "still", string(v[:n]), err)

		require.NoError(t, os.Mkdir(m.path("d"), 0o755))
		d, err := os.Open(m.path("d"))
		require.NoError(t, err)
		defer d.Close()
		require.NoError(t, os.Remove(m.path("d")))
		require.NoError(t, unix.Fstat(int(d.Fd()), &st))
		require.NoError(t, d.Chmod(0o700))
		_, err = d.Readdirnames(0)
		assert.ErrorIs(t, err, unix.ENOENT, "as of any removed directory")
	})
}

// TestMountBackingRenames: open files and directories, and working directories, follow what is renamed behind the mount.
func TestMountBackingRenames(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		require.NoError(t, os.MkdirAll(m.path("a/sub"), 0o755))
		require.NoError(t, os.WriteFile(m.path("a/f"), []byte("content"), 0o644))
		dir, err := os.Open(m.path("a"))
		require.NoError(t, err)
		defer dir.Close()
		f, err := os.OpenFile(m.path("a/f"), os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()

		require.NoError(t, os.Rename(m.under("a"), m.under("b")))
		require.NoError(t, os.Mkdir(m.under("a"), 0o755))
		require.NoError(t, os.WriteFile(m.under("a/f"), []byte("an impostor"), 0o644))

		_, err = f.WriteAt([]byte("C"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Chmod(0o600))
		fd, err := unix.Openat(int(dir.Fd()), "f", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		buf := make([]byte, 20)
		n, err := unix.Read(fd, buf)
		require.NoError(t, err)
		assert.Equal(t, "Content", string(buf[:n]))
		require.NoError(t, unix.Mkdirat(int(dir.Fd()), "made", 0o755))
		assert.DirExists(t, m.under("b/made"))
		b, err := os.ReadFile(m.path("a/f"))
		require.NoError(t, err)
		assert.Equal(t, "an impostor", string(b))
		st, err := os.Stat(m.under("b/f"))
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, st.Mode().Perm())
	})
}

// TestMountTmpfile: a file without a name gets one.
func TestMountTmpfile(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		m := startMount(t, mountOptions{engine: engine})
		fd, err := unix.Open(m.mnt, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
		require.NoError(t, err)
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte("nameless"))
		require.NoError(t, err)
		entries, err := os.ReadDir(m.under("."))
		require.NoError(t, err)
		require.Empty(t, entries)
		for _, name := range []string{"first", "second"} {
			require.NoError(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, m.path(name), unix.AT_SYMLINK_FOLLOW))
			b, err := os.ReadFile(m.under(name))
			require.NoError(t, err)
			assert.Equal(t, "nameless", string(b))
		}
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(fd, &st))
		assert.EqualValues(t, 2, st.Nlink)
		assert.EqualValues(t, 0o640, st.Mode&0o777)

		excl, err := unix.Open(m.mnt, unix.O_TMPFILE|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		require.NoError(t, err)
		defer unix.Close(excl)
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", excl), unix.AT_FDCWD, m.path("never"), unix.AT_SYMLINK_FOLLOW)
		assert.ErrorIs(t, err, unix.ENOENT)
	})
}

// TestMountLargeDirectory reads 10,000 entries, and again from each position that it was told.
func TestMountLargeDirectory(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		for _, coherence := range []string{"strict", "cached"} { // READDIR and READDIRPLUS
			t.Run(coherence, func(t *testing.T) {
				m := startMount(t, mountOptions{engine: engine, args: []string{"--coherence", coherence}})
				const count = 10_000
				for i := range count {
					fd, err := unix.Open(m.under("f"+strconv.Itoa(i)), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
					require.NoError(t, err)
					unix.Close(fd)
				}
				fd, err := unix.Open(m.mnt, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				require.NoError(t, err)
				defer unix.Close(fd)
				all := readDirents(t, fd, 0)
				assert.Len(t, all, count+2)
				names := map[string]int{}
				for i, e := range all {
					_, twice := names[e.name]
					assert.False(t, twice, e.name)
					names[e.name] = i
				}
				assert.Contains(t, names, ".")
				assert.Contains(t, names, "..")
				// Going on after an entry gives the entry that came after it, whichever was read last.
				for i := len(all) - 2; i >= 0; i -= 997 {
					rest := readDirents(t, fd, all[i].cookie)
					require.Len(t, rest, len(all)-1-i, "after entry %d", i)
					assert.Equal(t, all[i+1], rest[0])
				}
				var st unix.Stat_t
				require.NoError(t, unix.Stat(m.under("f77"), &st))
				assert.Equal(t, st.Ino, all[names["f77"]].ino)
				assert.EqualValues(t, unix.DT_REG, all[names["f77"]].typ)
				op := map[string]string{"strict": "READDIR", "cached": "READDIRPLUS"}[coherence]
				assert.NotZero(t, m.status(t).Fuse.Ops[op])
			})
		}
	})
}

type dirent struct {
	name   string
	ino    uint64
	typ    uint8
	cookie int64
}

// readDirents reads from cookie to the end with getdents64, in small pieces.
func readDirents(t *testing.T, fd int, cookie int64) []dirent {
	t.Helper()
	_, err := unix.Seek(fd, cookie, io.SeekStart)
	require.NoError(t, err)
	var out []dirent
	buf := make([]byte, 4096)
	for {
		n, err := unix.Getdents(fd, buf)
		require.NoError(t, err)
		if n == 0 {
			return out
		}
		for b := buf[:n]; len(b) > 0; {
			size := enc.NativeEndian.Uint16(b[16:])
			name := b[19:size]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			out = append(out, dirent{
				name: string(name), ino: enc.NativeEndian.Uint64(b), cookie: int64(enc.NativeEndian.Uint64(b[8:])), typ: b[18],
			})
			b = b[size:]
		}
	}
}

// TestMountOwnersAndModes: new names get what the caller's own call on the backing directory would have given them.
func TestMountOwnersAndModes(t *testing.T) {
	m := startMount(t, mountOptions{args: []string{"-o", "allow_other"}})
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)

	check := func(path string, mode os.FileMode, uid, gid uint32) {
		t.Helper()
		st, err := os.Lstat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, st.Mode(), path)
		sys := st.Sys().(*syscall.Stat_t)
		assert.Equal(t, [2]uint32{uid, gid}, [2]uint32{sys.Uid, sys.Gid}, path)
	}
	// The umask is the caller's.
	require.NoError(t, os.WriteFile(m.path("f"), nil, 0o666))
	require.NoError(t, os.Mkdir(m.path("d"), 0o777))
	require.NoError(t, unix.Mkfifo(m.path("p"), 0o666))
	check(m.under("f"), 0o640, 0, 0)
	check(m.under("d"), os.ModeDir|0o750, 0, 0)
	check(m.under("p"), os.ModeNamedPipe|0o640, 0, 0)

	// A directory's default ACL beats the umask: user::rwx, group::rwx, other::r-x.
	require.NoError(t, os.Mkdir(m.path("acl"), 0o777))
	acl := []byte{2, 0, 0, 0}
	for _, e := range [][2]uint16{{0x01, 7}, {0x04, 7}, {0x20, 5}} {
		acl = enc.LittleEndian.AppendUint16(acl, e[0])
		acl = enc.LittleEndian.AppendUint16(acl, e[1])
		acl = enc.LittleEndian.AppendUint32(acl, 0xffffffff)
	}
	require.NoError(t, unix.Setxattr(m.path("acl"), "system.posix_acl_default", acl, 0))
	require.NoError(t, os.WriteFile(m.path("acl/f"), nil, 0o666))
	check(m.under("acl/f"), 0o664, 0, 0)

	// Another user's names are theirs, but take the group of a set-gid directory.
	require.NoError(t, os.Mkdir(m.under("pub"), 0o777))
	require.NoError(t, os.Chmod(m.under("pub"), 0o777))
	require.NoError(t, os.Mkdir(m.under("grp"), 0o777))
	require.NoError(t, os.Chown(m.under("grp"), 0, 4242))
	require.NoError(t, os.Chmod(m.under("grp"), os.ModeSetgid|0o777))
	assert.Equal(t, "OK", runRole(t, "touch", other(), m.path("pub/f")))
	assert.Equal(t, "OK", runRole(t, "touch", other(), m.path("grp/f")))
	check(m.under("pub/f"), 0o640, other().Uid, other().Gid)
	check(m.under("grp/f"), 0o640, other().Uid, 4242)

	// And permissions are checked.
	assert.Equal(t, unix.EACCES.Error(), runRole(t, "touch", other(), m.path("d/f")))
	assert.Equal(t, unix.EACCES.Error(), runRole(t, "append", other(), m.path("f")))

	// A supplementary group is enough to write into a directory.
	require.NoError(t, os.Mkdir(m.under("team"), 0o777))
	require.NoError(t, os.Chown(m.under("team"), 0, 777))
	require.NoError(t, os.Chmod(m.under("team"), 0o770))
	member := other()
	assert.Equal(t, unix.EACCES.Error(), runRole(t, "touch", member, m.path("team/f")))
	member.Groups = []uint32{777}
	assert.Equal(t, "OK", runRole(t, "touch", member, m.path("team/f")))
	check(m.under("team/f"), 0o640, member.Uid, member.Gid)
}

// TestMountNodesAndSpecials: kinds of files, and attributes that only some have.
func TestMountNodesAndSpecials(t *testing.T) {
	m := startMount(t, mountOptions{})
	require.NoError(t, unix.Mknod(m.path("dev"), unix.S_IFCHR|0o600, int(unix.Mkdev(259, 70000))))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(m.path("dev"), &st))
	assert.Equal(t, unix.Mkdev(259, 70000), st.Rdev)
	require.NoError(t, unix.Stat(m.under("dev"), &st))
	assert.Equal(t, unix.Mkdev(259, 70000), st.Rdev)

	require.NoError(t, os.WriteFile(m.path("x"), []byte("x"), 0o644))
	require.NoError(t, os.WriteFile(m.path("y"), []byte("y"), 0o644))
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, m.path("x"), unix.AT_FDCWD, m.path("y"), unix.RENAME_EXCHANGE))
	b, err := os.ReadFile(m.under("x"))
	require.NoError(t, err)
	assert.Equal(t, "y", string(b))
	assert.ErrorIs(t, unix.Renameat2(unix.AT_FDCWD, m.path("x"), unix.AT_FDCWD, m.path("y"), unix.RENAME_NOREPLACE), unix.EEXIST)

	var on, back unix.Statx_t
	require.NoError(t, unix.Statx(unix.AT_FDCWD, m.path("x"), 0, unix.STATX_ALL, &on))
	require.NoError(t, unix.Statx(unix.AT_FDCWD, m.under("x"), 0, unix.STATX_ALL, &back))
	assert.Equal(t, back.Btime, on.Btime, "birth time")
	assert.Equal(t, back.Mtime, on.Mtime)

	require.NoError(t, unix.Setxattr(m.path("x"), "trusted.secret", []byte("s"), 0))
	n, err := unix.Listxattr(m.path("x"), make([]byte, 100))
	require.NoError(t, err)
	assert.Equal(t, len("trusted.secret")+1, n)
	assert.NoError(t, unix.Removexattr(m.path("x"), "trusted.secret"))
	assert.ErrorIs(t, unix.Removexattr(m.path("x"), "trusted.secret"), unix.ENODATA)

	f, err := os.Open(filepath.Dir(m.path("x")))
	require.NoError(t, err)
	defer f.Close()
	assert.NoError(t, f.Sync(), "fsync of a directory")
}
