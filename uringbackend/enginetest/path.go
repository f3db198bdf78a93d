//go:build linux

package enginetest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var pathCases = []Case{
	{"Openat2", testOpenat2},
	{"Openat2Beneath", testOpenat2Beneath},
	{"Openat2Create", testOpenat2Create},
	{"Close", testClose},
	{"Statx", testStatx},
	{"EndedContext", testEndedContext},
}

func testOpenat2(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, os.WriteFile(filepath.Join(path, "f"), []byte("hello"), 0o600))
	fd, err := e.Openat2(background(), dir, "f", unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC})
	require.NoError(t, err)
	own(t, fd)
	buf := make([]byte, 10)
	n, err := e.ReadAt(background(), fd, buf, 0)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(buf[:n]))
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.Equal(t, unix.FD_CLOEXEC, flags)

	for _, c := range []struct {
		name string
		path string
		how  unix.OpenHow
		want unix.Errno
	}{
		{"missing", "none", unix.OpenHow{}, unix.ENOENT},
		{"empty", "", unix.OpenHow{}, unix.ENOENT},
		{"through a file", "f/x", unix.OpenHow{}, unix.ENOTDIR},
		{"NUL", "f\x00g", unix.OpenHow{}, unix.EINVAL},
		{"long name", strings.Repeat("n", 256), unix.OpenHow{}, unix.ENAMETOOLONG},
		{"long path", strings.Repeat("n/", 2100), unix.OpenHow{}, unix.ENAMETOOLONG},
		{"unknown flag", "f", unix.OpenHow{Flags: 1 << 40}, unix.EINVAL},
		{"unknown resolution", "f", unix.OpenHow{Resolve: 1 << 40}, unix.EINVAL},
		{"mode without create", "f", unix.OpenHow{Mode: 0o600}, unix.EINVAL},
		{"file as directory", "f", unix.OpenHow{Flags: unix.O_DIRECTORY}, unix.ENOTDIR},
		{"directory for writing", ".", unix.OpenHow{Flags: unix.O_WRONLY}, unix.EISDIR},
	} {
		fd, err := e.Openat2(background(), dir, c.path, c.how)
		assert.Equal(t, c.want, err, c.name)
		if err == nil {
			own(t, fd)
		}
	}
	_, err = e.Openat2(background(), 1<<20, "f", unix.OpenHow{})
	assert.Equal(t, unix.EBADF, err)
	_, err = e.Do(background(), uringbackend.Op{Kind: uringbackend.KindOpenat2, FD: dir, Path: "f"})
	assert.Equal(t, unix.EFAULT, err, "no How")
}

func testOpenat2Beneath(t *testing.T, e uringbackend.Engine) {
	root, path := directory(t)
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(path, "d"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(path, "d", "in"), nil, 0o600))
	for name, target := range map[string]string{
		"abs": outside, "up": "../" + filepath.Base(filepath.Dir(outside)) + "/secret", "ok": "d/in",
		"d/back": "../d/in", "d/out": "../../secret", "loop": "loop", "proc": "/proc/self/root",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(path, name)))
	}
	beneath := uint64(unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS)
	for _, c := range []struct {
		path    string
		resolve uint64
		want    error
	}{
		{"ok", beneath, nil},
		{"d/back", beneath, nil},
		{"d/../d/in", beneath, nil},
		{".", beneath, nil},
		{"..", beneath, unix.EXDEV},
		{"d/../..", beneath, unix.EXDEV},
		{"abs", beneath, unix.EXDEV},
		{"up", beneath, unix.EXDEV},
		{"d/out", beneath, unix.EXDEV},
		{"proc", beneath, unix.EXDEV},
		{outside, beneath, unix.EXDEV},
		{"loop", beneath, unix.ELOOP},
		{"ok", beneath | unix.RESOLVE_NO_SYMLINKS, unix.ELOOP},
		{"d/in", beneath | unix.RESOLVE_NO_XDEV, nil},
	} {
		fd, err := e.Openat2(background(), root, c.path, unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: c.resolve,
		})
		if c.want == nil {
			if assert.NoError(t, err, c.path) {
				own(t, fd)
			}
			continue
		}
		assert.Equal(t, c.want, err, c.path)
	}
}

func testOpenat2Create(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	how := unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: 0o604}
	fd, err := e.Openat2(background(), dir, "new", how)
	require.NoError(t, err)
	own(t, fd)
	_, err = e.Openat2(background(), dir, "new", how)
	assert.Equal(t, unix.EEXIST, err)
	st, err := os.Stat(filepath.Join(path, "new"))
	require.NoError(t, err)
	umask := unix.Umask(0)
	unix.Umask(umask)
	assert.Equal(t, os.FileMode(0o604&^umask), st.Mode())

	_, err = e.WriteAt(background(), fd, []byte("long"), 0, 0)
	require.NoError(t, err)
	again, err := e.Openat2(background(), dir, "new", unix.OpenHow{Flags: unix.O_WRONLY | unix.O_TRUNC | unix.O_CLOEXEC})
	require.NoError(t, err)
	own(t, again)
	st, err = os.Stat(filepath.Join(path, "new"))
	require.NoError(t, err)
	assert.Zero(t, st.Size())
}

func testClose(t *testing.T, e uringbackend.Engine) {
	open := func() int {
		fd, err := e.Openat2(background(), unix.AT_FDCWD, "/dev/null", unix.OpenHow{Flags: unix.O_RDWR | unix.O_CLOEXEC})
		require.NoError(t, err)
		return fd
	}
	fd := open()
	require.NoError(t, e.CloseFD(background(), fd))
	assert.Equal(t, unix.EBADF, e.CloseFD(background(), fd), "closed twice")
	_, err := e.ReadAt(background(), fd, make([]byte, 1), 0)
	assert.Equal(t, unix.EBADF, err)
	assert.Equal(t, unix.EBADF, e.CloseFD(background(), -1))

	ended, cancel := context.WithCancel(background())
	cancel()
	fd = open()
	require.NoError(t, e.CloseFD(ended, fd), "a close is never cancelled")
	assert.Equal(t, unix.EBADF, e.CloseFD(background(), fd))

	owned := e.Own(open())
	n := owned.Num()
	require.NoError(t, owned.Close(ended))
	require.NoError(t, owned.Close(ended), "an owner closes once")
	assert.Equal(t, -1, owned.Num())
	assert.Equal(t, unix.EBADF, e.CloseFD(background(), n))
	owned = e.Own(open())
	assert.Equal(t, int64(1), e.Health().OpenFDs)
	require.NoError(t, e.CloseFD(background(), owned.Disown()))
	require.NoError(t, owned.Close(background()), "a disowned descriptor is another's to close")
	assert.Zero(t, e.Health().OpenFDs)
}

func testStatx(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	name := filepath.Join(path, "f")
	require.NoError(t, os.WriteFile(name, patterned(12345), 0o640))
	require.NoError(t, os.Symlink("f", filepath.Join(path, "l")))
	var want unix.Stat_t
	require.NoError(t, unix.Stat(name, &want))
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, fd)
	for _, c := range []struct {
		name  string
		dir   int
		path  string
		flags int
	}{
		{"by name", dir, "f", 0},
		{"by descriptor", fd, "", unix.AT_EMPTY_PATH},
		{"through a link", dir, "l", 0},
		{"without a sync", dir, "f", unix.AT_STATX_DONT_SYNC},
	} {
		var st unix.Statx_t
		require.NoError(t, e.Statx(background(), c.dir, c.path, c.flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st), c.name)
		assert.Equal(t, uint64(12345), st.Size, c.name)
		assert.Equal(t, want.Ino, st.Ino, c.name)
		assert.Equal(t, uint16(want.Mode), st.Mode, c.name)
		assert.Equal(t, want.Uid, st.Uid, c.name)
		assert.Equal(t, want.Gid, st.Gid, c.name)
		assert.EqualValues(t, want.Nlink, st.Nlink, c.name)
		assert.EqualValues(t, want.Blocks, st.Blocks, c.name)
		assert.Equal(t, want.Mtim.Sec, st.Mtime.Sec, c.name)
		assert.EqualValues(t, want.Mtim.Nsec, st.Mtime.Nsec, c.name)
		assert.Equal(t, want.Dev, unix.Mkdev(st.Dev_major, st.Dev_minor), c.name)
		assert.EqualValues(t, unix.STATX_BASIC_STATS, st.Mask&unix.STATX_BASIC_STATS, c.name)
	}
	var st unix.Statx_t
	require.NoError(t, e.Statx(background(), dir, "l", unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st))
	assert.EqualValues(t, unix.S_IFLNK, st.Mode&unix.S_IFMT)
	assert.Equal(t, unix.ENOENT, e.Statx(background(), dir, "none", 0, unix.STATX_BASIC_STATS, &st))
	assert.Equal(t, unix.ENOENT, e.Statx(background(), dir, "", 0, unix.STATX_BASIC_STATS, &st))
	assert.Equal(t, unix.EINVAL, e.Statx(background(), dir, "f", 1<<30, unix.STATX_BASIC_STATS, &st))
	assert.Equal(t, unix.EBADF, e.Statx(background(), 1<<20, "f", 0, unix.STATX_BASIC_STATS, &st))
	assert.Equal(t, unix.EFAULT, e.Statx(background(), dir, "f", 0, unix.STATX_BASIC_STATS, nil))
}

func testEndedContext(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	fd, _ := file(t, []byte("old"), unix.O_RDWR)
	ended, cancel := context.WithCancel(background())
	cancel()
	_, err := e.Openat2(ended, dir, "new", unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_CLOEXEC, Mode: 0o600})
	assert.Equal(t, unix.ECANCELED, err)
	assert.NoFileExists(t, filepath.Join(path, "new"), "not started")
	_, err = e.WriteAt(ended, fd, []byte("new"), 0, 0)
	assert.Equal(t, unix.ECANCELED, err)
	assert.Equal(t, unix.ECANCELED, e.Mkdirat(ended, uringbackend.At{Dir: dir, Name: "d"}, 0o700))
	assert.NoDirExists(t, filepath.Join(path, "d"), "not started")
	r, _ := pipe(t)
	_, err = e.Read(ended, r, make([]byte, 1))
	assert.Equal(t, unix.ECANCELED, err)
	buf := make([]byte, 3)
	_, err = e.ReadAt(background(), fd, buf, 0)
	require.NoError(t, err)
	assert.Equal(t, "old", string(buf))
}
