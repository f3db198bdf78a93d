//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var verbCases = []Case{
	{"Metadata", testMetadata},
	{"Space", testSpace},
	{"SpaceErrors", testSpaceErrors},
	{"CopyFileRange", testCopyFileRange},
	{"Getdents", testGetdents},
	{"FileSystem", testFileSystem},
	{"Handles", testHandles},
	{"InodeFlags", testInodeFlags},
	{"Flock", testFlock},
	{"OFDLock", testOFDLock},
}

func in(dir int, name string) uringbackend.At { return uringbackend.At{Dir: dir, Name: name} }

// testMetadata: mode, owner and times by descriptor, whatever the descriptor is good for.
func testMetadata(t *testing.T, e uringbackend.Engine) {
	_, path := directory(t)
	ctx := background()
	name := filepath.Join(path, "f")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	link := filepath.Join(path, "l")
	require.NoError(t, os.Symlink("f", link))
	for i, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		own(t, fd)
		mode := uint32(0o640 + i)
		require.NoError(t, e.Fchmod(ctx, fd, mode))
		access, modification := unix.Timespec{Sec: 1000 + int64(i), Nsec: 5}, unix.Timespec{Sec: 2000, Nsec: 999999999}
		require.NoError(t, e.Utimens(ctx, fd, access, modification))
		require.NoError(t, e.Fchown(ctx, fd, os.Getuid(), -1))
		var st unix.Stat_t
		require.NoError(t, unix.Stat(name, &st))
		assert.Equal(t, mode, st.Mode&0o7777)
		assert.Equal(t, access, st.Atim)
		assert.Equal(t, modification, st.Mtim)
		require.NoError(t, e.Utimens(ctx, fd, unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}))
		require.NoError(t, unix.Stat(name, &st))
		assert.Equal(t, access, st.Atim)
		assert.Greater(t, st.Mtim.Sec, int64(2000))
	}
	fd, err := unix.Open(link, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, fd)
	require.NoError(t, e.Utimens(ctx, fd, unix.Timespec{Sec: 7}, unix.Timespec{Sec: 8}))
	require.NoError(t, e.Fchown(ctx, fd, os.Getuid(), os.Getgid()))
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(link, &st))
	assert.Equal(t, unix.Timespec{Sec: 8}, st.Mtim, "of the link, not of what it points at")
	assert.Equal(t, unix.EBADF, e.Fchmod(ctx, 1<<20, 0o600))
	assert.Equal(t, unix.EBADF, e.Fchown(ctx, 1<<20, 0, 0))
	assert.Equal(t, unix.EBADF, e.Utimens(ctx, 1<<20, unix.Timespec{}, unix.Timespec{}))
}

func testSpace(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, patterned(100), unix.O_RDWR)
	ctx := background()
	size := func() int64 {
		st, err := os.Stat(path)
		require.NoError(t, err)
		return st.Size()
	}
	require.NoError(t, e.Ftruncate(ctx, fd, 50))
	assert.EqualValues(t, 50, size())
	require.NoError(t, e.Ftruncate(ctx, fd, 1<<20))
	assert.EqualValues(t, 1<<20, size())
	assert.Equal(t, unix.EINVAL, e.Ftruncate(ctx, fd, -1))
	require.NoError(t, e.Fallocate(ctx, fd, 0, 1<<20, 4096))
	assert.EqualValues(t, 1<<20+4096, size())
	require.NoError(t, e.Fallocate(ctx, fd, unix.FALLOC_FL_KEEP_SIZE, 1<<21, 4096))
	assert.EqualValues(t, 1<<20+4096, size())
	require.NoError(t, e.Fallocate(ctx, fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 10))
	buf := make([]byte, 20)
	_, err := e.ReadAt(ctx, fd, buf, 0)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 10), buf[:10])
	assert.Equal(t, byte(10), buf[10])

	pos, err := e.Seek(ctx, fd, 0, unix.SEEK_DATA)
	require.NoError(t, err)
	assert.Zero(t, pos)
	pos, err = e.Seek(ctx, fd, 0, unix.SEEK_HOLE)
	require.NoError(t, err)
	assert.Positive(t, pos)
	_, err = e.Seek(ctx, fd, 1<<30, unix.SEEK_DATA)
	assert.Equal(t, unix.ENXIO, err)
}

func testSpaceErrors(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	fd, path := file(t, patterned(100), unix.O_RDWR)
	ro, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, ro)
	byPath, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, byPath)
	r, w := pipe(t)
	for _, c := range []struct {
		name   string
		fd     int
		length int64
		want   unix.Errno
	}{
		{"negative", fd, -1, unix.EINVAL},
		{"negative, not open", 1 << 20, -1, unix.EINVAL},
		{"not open", 1 << 20, 1, unix.EBADF},
		{"not writable", ro, 1, unix.EINVAL},
		{"O_PATH", byPath, 1, unix.EBADF},
		{"pipe", w, 1, unix.EINVAL},
	} {
		assert.Equal(t, c.want, e.Ftruncate(ctx, c.fd, c.length), "ftruncate: %s", c.name)
	}
	for _, c := range []struct {
		name        string
		fd, mode    int
		off, length int64
		want        unix.Errno
	}{
		{"nothing", fd, 0, 0, 0, unix.EINVAL},
		{"negative length", fd, 0, 0, -1, unix.EINVAL},
		{"negative offset", fd, 0, -1, 10, unix.EINVAL},
		{"unknown mode", fd, 1 << 20, 0, 10, unix.EOPNOTSUPP},
		{"hole that grows the file", fd, unix.FALLOC_FL_PUNCH_HOLE, 0, 10, unix.EOPNOTSUPP},
		{"too large", fd, 0, 1<<63 - 10, 100, unix.EFBIG},
		{"not open", 1 << 20, 0, 0, 10, unix.EBADF},
		{"not writable", ro, 0, 0, 10, unix.EBADF},
		{"O_PATH", byPath, 0, 0, 10, unix.EBADF},
		{"pipe", r, 0, 0, 10, unix.EBADF},
		{"writable pipe", w, 0, 0, 10, unix.ESPIPE},
	} {
		assert.Equal(t, c.want, e.Fallocate(ctx, c.fd, c.mode, c.off, c.length), "fallocate: %s", c.name)
	}
}

func testCopyFileRange(t *testing.T, e uringbackend.Engine) {
	content := patterned(10000)
	from, path := file(t, content, unix.O_RDONLY)
	to, err := unix.Open(filepath.Join(filepath.Dir(path), "to"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	own(t, to)
	n, err := e.CopyFileRange(background(), uringbackend.FileRange{FD: from, Offset: 100}, uringbackend.FileRange{FD: to, Offset: 7}, 1<<40)
	require.NoError(t, err)
	require.Equal(t, len(content)-100, n, "short at the end of the file")
	got := make([]byte, n+7)
	_, err = e.ReadAt(background(), to, got, 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content[100:], got[7:]))
	_, err = e.CopyFileRange(background(), uringbackend.FileRange{FD: from}, uringbackend.FileRange{FD: from}, 10)
	assert.Equal(t, unix.EBADF, err, "not writable")
}

func testGetdents(t *testing.T, e uringbackend.Engine) {
	_, path := directory(t)
	want := map[string]bool{".": true, "..": true}
	for _, name := range []string{"one", "two", "three"} {
		require.NoError(t, os.WriteFile(filepath.Join(path, name), nil, 0o600))
		want[name] = true
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, fd)
	got := map[string]bool{}
	buf := make([]byte, 64) // a few entries at a time
	for {
		n, err := e.Getdents(background(), fd, buf)
		require.NoError(t, err)
		if n == 0 {
			break
		}
		for rest := buf[:n]; len(rest) > 0; {
			// struct linux_dirent64: u64 ino, s64 off, u16 length, u8 type, name
			length := int(rest[16]) | int(rest[17])<<8
			got[unix.ByteSliceToString(rest[19:length])] = true
			rest = rest[length:]
		}
	}
	assert.Equal(t, want, got)
	_, err = e.Seek(background(), fd, 0, unix.SEEK_SET)
	require.NoError(t, err)
	_, err = e.Getdents(background(), fd, buf[:8])
	assert.Equal(t, unix.EINVAL, err, "no room for one entry")
	plain, _ := file(t, nil, unix.O_RDONLY)
	_, err = e.Getdents(background(), plain, buf)
	assert.Equal(t, unix.ENOTDIR, err)
}

func testFileSystem(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	var got, want unix.Statfs_t
	require.NoError(t, e.Fstatfs(background(), dir, &got), "of O_PATH")
	require.NoError(t, unix.Statfs(path, &want))
	assert.Equal(t, want.Type, got.Type)
	assert.Equal(t, want.Bsize, got.Bsize)
	assert.Equal(t, want.Fsid, got.Fsid)
	assert.Equal(t, unix.EBADF, e.Fstatfs(background(), 1<<20, &got))
	fd, _ := file(t, nil, unix.O_RDONLY)
	require.NoError(t, e.Syncfs(background(), fd))
}

func testHandles(t *testing.T, e uringbackend.Engine) {
	RequireHere(t, e.Features().NameToHandle)
	dir, path := directory(t)
	require.NoError(t, os.WriteFile(filepath.Join(path, "f"), []byte("by handle"), 0o600))
	h, mount, err := e.NameToHandle(background(), in(dir, "f"), 0)
	require.NoError(t, err)
	same, _, err := e.NameToHandle(background(), in(dir, "./f"), 0)
	require.NoError(t, err)
	assert.Equal(t, h.Bytes(), same.Bytes())
	assert.Positive(t, mount)
	_, _, err = e.NameToHandle(background(), in(dir, "none"), 0)
	assert.Equal(t, unix.ENOENT, err)

	RequireHere(t, e.Features().OpenByHandle)
	root, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, root)
	require.NoError(t, os.Rename(filepath.Join(path, "f"), filepath.Join(path, "g")))
	fd, err := e.OpenByHandle(background(), root, h, unix.O_RDONLY|unix.O_CLOEXEC)
	require.NoError(t, err)
	own(t, fd)
	buf := make([]byte, 20)
	n, err := e.ReadAt(background(), fd, buf, 0)
	require.NoError(t, err)
	assert.Equal(t, "by handle", string(buf[:n]))
	_, err = e.OpenByHandle(background(), root, unix.NewFileHandle(h.Type(), make([]byte, h.Size())), unix.O_RDONLY|unix.O_CLOEXEC)
	assert.Equal(t, unix.ESTALE, err)
}

func testInodeFlags(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, nil, unix.O_RDONLY)
	flags, err := e.IoctlGetFlags(background(), fd)
	if errors.Is(err, unix.ENOTTY) {
		RequireHere(t, uringbackend.Ability{Answer: uringbackend.No, Since: "any release", Why: err})
	}
	require.NoError(t, err)
	const noDump = 0x40 // FS_NODUMP_FL
	require.NoError(t, e.IoctlSetFlags(background(), fd, flags|noDump))
	got, err := e.IoctlGetFlags(background(), fd)
	require.NoError(t, err)
	assert.Equal(t, flags|noDump, got)
	r, _ := pipe(t)
	_, err = e.IoctlGetFlags(background(), r)
	assert.Equal(t, unix.ENOTTY, err)
}

func testFlock(t *testing.T, e uringbackend.Engine) {
	a, path := file(t, nil, unix.O_RDWR)
	b, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, b)
	set := func(ctx context.Context, fd, how int, wait bool) error { return e.Flock(ctx, fd, how, wait) }
	testLocks(t, func(ctx context.Context, second, exclusive, unlock, wait bool) error {
		fd, how := a, unix.LOCK_SH
		if second {
			fd = b
		}
		if exclusive {
			how = unix.LOCK_EX
		}
		if unlock {
			how = unix.LOCK_UN
		}
		return set(ctx, fd, how, wait)
	})
}

func testOFDLock(t *testing.T, e uringbackend.Engine) {
	a, path := file(t, nil, unix.O_RDWR)
	b, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, b)
	testLocks(t, func(ctx context.Context, second, exclusive, unlock, wait bool) error {
		fd, lk := a, unix.Flock_t{Type: unix.F_RDLCK, Whence: unix.SEEK_SET, Start: 10, Len: 10}
		if second {
			fd, lk.Start = b, 15
		}
		if exclusive {
			lk.Type = unix.F_WRLCK
		}
		if unlock {
			lk.Type = unix.F_UNLCK
		}
		return e.OFDSetlk(ctx, fd, lk, wait)
	})
	want := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: 10, Len: 10}
	require.NoError(t, e.OFDSetlk(background(), a, want, false))
	got, err := e.OFDGetlk(background(), b, unix.Flock_t{Type: unix.F_RDLCK, Whence: unix.SEEK_SET})
	require.NoError(t, err)
	want.Pid = -1
	assert.Equal(t, want, got)
	got, err = e.OFDGetlk(background(), b, unix.Flock_t{Type: unix.F_RDLCK, Whence: unix.SEEK_SET, Start: 20})
	require.NoError(t, err)
	assert.EqualValues(t, unix.F_UNLCK, got.Type)
}

// testLocks: what holds for each kind of lock between two open files.
func testLocks(t *testing.T, set func(ctx context.Context, second, exclusive, unlock, wait bool) error) {
	t.Helper()
	ctx := background()
	require.NoError(t, set(ctx, false, false, false, false))
	require.NoError(t, set(ctx, true, false, false, false), "shared twice")
	require.NoError(t, set(ctx, true, false, true, false))
	assert.Equal(t, unix.EAGAIN, set(ctx, true, true, false, false))

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	assert.Equal(t, unix.ECANCELED, set(short, true, true, false, true), "waiting ends with its context")

	c := make(chan error, 1)
	// ends when the lock is had; waited by the receive from c
	go func() { c <- set(ctx, true, true, false, true) }()
	require.NoError(t, set(ctx, false, false, true, false))
	within(t, "lock given up by another", func() { require.NoError(t, <-c) })
	assert.Equal(t, unix.EAGAIN, set(ctx, false, false, false, false))
	require.NoError(t, set(ctx, true, true, true, false))
}
