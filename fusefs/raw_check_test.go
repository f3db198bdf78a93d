//go:build linux

package fusefs

// Internal: the raw file system is driven without a mount, so that what the kernel never sends can be sent, and by any user.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// newRaw is a raw file system over a fresh directory. At the end everything it holds must have been given back.
func newRaw(t *testing.T) (*rawFS, string) {
	t.Helper()
	dir := t.TempDir()
	engine, err := uringbackend.Open("syscall", uringbackend.Probe(dir), uringbackend.Config{})
	require.NoError(t, err)
	log := discard()
	vol, err := uringbackend.OpenVolume(t.Context(), dir, uringbackend.VolumeConfig{Engine: engine, Logger: log})
	require.NoError(t, err)
	fs := newRawFS(Config{Volume: vol, View: vol.View(uringbackend.OriginMount), Coherence: CoherenceStrict, Logger: log})
	t.Cleanup(func() {
		fs.closeAll()
		fs.nodes.clear()
		assert.NoError(t, vol.Close())
		assert.NoError(t, engine.Close())
		assert.Empty(t, engine.Leaks())
	})
	return fs, dir
}

// caller is a request header by this process.
func caller(node uint64) fuse.InHeader {
	h := fuse.InHeader{NodeId: node}
	h.Uid, h.Gid, h.Pid = uint32(os.Geteuid()), uint32(os.Getegid()), uint32(os.Getpid())
	return h
}

// create makes the file f.
func create(t *testing.T, fs *rawFS, flags int) *fuse.CreateOut {
	t.Helper()
	out := new(fuse.CreateOut)
	in := &fuse.CreateIn{InHeader: caller(fuse.FUSE_ROOT_ID), Flags: uint32(flags), Mode: unix.S_IFREG | 0o666, Umask: 0o022}
	require.Equal(t, fuse.OK, fs.Create(nil, in, "f", out))
	return out
}

func write(fs *rawFS, out *fuse.CreateOut, off uint64, data string, flags uint32) (uint32, fuse.Status) {
	return fs.Write(nil, &fuse.WriteIn{InHeader: caller(out.NodeId), Fh: out.Fh, Offset: off, WriteFlags: flags}, []byte(data))
}

func TestRawCreateWriteRead(t *testing.T) {
	fs, dir := newRaw(t)
	out := create(t, fs, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK)
	assert.EqualValues(t, unix.S_IFREG|0o644, out.Mode, "the request's umask is applied")
	n, code := write(fs, out, 5, "hello", 0)
	require.Equal(t, fuse.OK, code)
	assert.EqualValues(t, 5, n)

	buf := make([]byte, 100)
	result, code := fs.Read(nil, &fuse.ReadIn{InHeader: caller(out.NodeId), Fh: out.Fh, Size: 100}, buf)
	require.Equal(t, fuse.OK, code)
	got, code := result.Bytes(nil)
	require.Equal(t, fuse.OK, code)
	assert.Equal(t, "\x00\x00\x00\x00\x00hello", string(got))
	assert.Same(t, &buf[0], &got[0], "the lent buffer itself is the reply: no further copy")

	var attr fuse.AttrOut
	in := &fuse.GetAttrIn{InHeader: caller(out.NodeId)}
	require.Equal(t, fuse.OK, fs.GetAttr(nil, in, &attr))
	assert.EqualValues(t, 10, attr.Size)
	assert.Zero(t, attr.Timeout(), "strict: believed for no time at all")
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(dir, "f"), &st))
	assert.Equal(t, st.Ino, attr.Ino)

	s := fs.stats()
	assert.Equal(t, map[string]uint64{"CREATE": 1, "WRITE": 1, "READ": 1, "GETATTR": 1}, s.Requests)
	assert.EqualValues(t, 5, s.BytesWritten)
	assert.EqualValues(t, 10, s.BytesRead)
	assert.Equal(t, 2, s.Nodes)
	assert.Equal(t, 1, s.OpenFiles)
}

// TestRawAppendAndPageWriteback: an appending handle appends, but not pages of a mapping.
func TestRawAppendAndPageWriteback(t *testing.T) {
	fs, dir := newRaw(t)
	out := create(t, fs, unix.O_RDWR|unix.O_APPEND)
	for range 2 {
		_, code := write(fs, out, 0, "abcd", 0)
		require.Equal(t, fuse.OK, code)
	}
	_, code := write(fs, out, 2, "MM", fuse.WRITE_CACHE)
	require.Equal(t, fuse.OK, code)
	b, err := os.ReadFile(filepath.Join(dir, "f"))
	require.NoError(t, err)
	assert.Equal(t, "abMMabcd", string(b))
}

// TestRawUnknowns: ids that this server never gave out are errors, not panics.
func TestRawUnknowns(t *testing.T) {
	fs, _ := newRaw(t)
	const id = 0xdeadbeef
	h := caller(id)
	stat := func(f func() fuse.Status) fuse.Status { return f() }
	for name, f := range map[string]func() fuse.Status{
		"LOOKUP":  func() fuse.Status { return fs.Lookup(nil, &h, "x", new(fuse.EntryOut)) },
		"GETATTR": func() fuse.Status { return fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: h}, new(fuse.AttrOut)) },
		"SETATTR": func() fuse.Status {
			return fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: h}}, new(fuse.AttrOut))
		},
		"STATX":    func() fuse.Status { return fs.Statx(nil, &fuse.StatxIn{InHeader: h}, new(fuse.StatxOut)) },
		"READLINK": func() fuse.Status { _, c := fs.Readlink(nil, &h); return c },
		"MKNOD":    func() fuse.Status { return fs.Mknod(nil, &fuse.MknodIn{InHeader: h}, "x", new(fuse.EntryOut)) },
		"MKDIR":    func() fuse.Status { return fs.Mkdir(nil, &fuse.MkdirIn{InHeader: h}, "x", new(fuse.EntryOut)) },
		"SYMLINK":  func() fuse.Status { return fs.Symlink(nil, &h, "t", "x", new(fuse.EntryOut)) },
		"UNLINK":   func() fuse.Status { return fs.Unlink(nil, &h, "x") },
		"RMDIR":    func() fuse.Status { return fs.Rmdir(nil, &h, "x") },
		"RENAME":   func() fuse.Status { return fs.Rename(nil, &fuse.RenameIn{InHeader: h, Newdir: 1}, "x", "y") },
		"LINK": func() fuse.Status {
			return fs.Link(nil, &fuse.LinkIn{InHeader: caller(1), Oldnodeid: id}, "x", new(fuse.EntryOut))
		},
		"OPEN":       func() fuse.Status { return fs.Open(nil, &fuse.OpenIn{InHeader: h}, new(fuse.OpenOut)) },
		"OPENDIR":    func() fuse.Status { return fs.OpenDir(nil, &fuse.OpenIn{InHeader: h}, new(fuse.OpenOut)) },
		"CREATE":     func() fuse.Status { return fs.Create(nil, &fuse.CreateIn{InHeader: h}, "x", new(fuse.CreateOut)) },
		"TMPFILE":    func() fuse.Status { return fs.Tmpfile(nil, &fuse.CreateIn{InHeader: h}, new(fuse.CreateOut)) },
		"STATFS":     func() fuse.Status { return fs.StatFs(nil, &h, new(fuse.StatfsOut)) },
		"GETXATTR":   func() fuse.Status { _, c := fs.GetXAttr(nil, &h, "user.x", nil); return c },
		"LISTXATTR":  func() fuse.Status { _, c := fs.ListXAttr(nil, &h, nil); return c },
		"SETXATTR":   func() fuse.Status { return fs.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: h}, "user.x", nil) },
		"REMOVEXATT": func() fuse.Status { return fs.RemoveXAttr(nil, &h, "user.x") },
	} {
		assert.Equal(t, stale, stat(f), name)
	}
	for name, f := range map[string]func() fuse.Status{
		"READ":      func() fuse.Status { _, c := fs.Read(nil, &fuse.ReadIn{Fh: id}, nil); return c },
		"WRITE":     func() fuse.Status { _, c := fs.Write(nil, &fuse.WriteIn{Fh: id}, nil); return c },
		"LSEEK":     func() fuse.Status { return fs.Lseek(nil, &fuse.LseekIn{Fh: id}, new(fuse.LseekOut)) },
		"FALLOCATE": func() fuse.Status { return fs.Fallocate(nil, &fuse.FallocateIn{Fh: id}) },
		"COPY": func() fuse.Status {
			_, c := fs.CopyFileRange(nil, &fuse.CopyFileRangeIn{FhIn: id, FhOut: id})
			return c
		},
		"FLUSH":    func() fuse.Status { return fs.Flush(nil, &fuse.FlushIn{Fh: id}) },
		"FSYNC":    func() fuse.Status { return fs.Fsync(nil, &fuse.FsyncIn{Fh: id}) },
		"FSYNCDIR": func() fuse.Status { return fs.FsyncDir(nil, &fuse.FsyncIn{Fh: id}) },
		"READDIR":  func() fuse.Status { return fs.ReadDir(nil, &fuse.ReadIn{Fh: id}, fuse.NewDirEntryList(nil, 0)) },
		"READDIR+": func() fuse.Status { return fs.ReadDirPlus(nil, &fuse.ReadIn{Fh: id}, fuse.NewDirEntryList(nil, 0)) },
		"GETLK":    func() fuse.Status { return fs.GetLk(nil, &fuse.LkIn{Fh: id}, new(fuse.LkOut)) },
		"SETLK":    func() fuse.Status { return fs.SetLk(nil, &fuse.LkIn{Fh: id}) },
		"SETLKW":   func() fuse.Status { return fs.SetLkw(nil, &fuse.LkIn{Fh: id}) },
		"IOCTL":    func() fuse.Status { return fs.Ioctl(nil, &fuse.IoctlIn{Fh: id}, nil, nil, nil) },
	} {
		assert.Equal(t, fuse.EBADF, stat(f), name)
	}
	fs.Forget(id, 7)
	fs.Release(nil, &fuse.ReleaseIn{Fh: id})
	fs.ReleaseDir(&fuse.ReleaseIn{Fh: id})
	assert.Equal(t, fuse.ENOSYS, fs.Access(nil, &fuse.AccessIn{}))
}

// TestRawForget: a node lives until the last lookup is forgotten, and never longer.
func TestRawForget(t *testing.T) {
	fs, dir := newRaw(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	require.NoError(t, os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
	root := caller(fuse.FUSE_ROOT_ID)
	var f, g fuse.EntryOut
	require.Equal(t, fuse.OK, fs.Lookup(nil, &root, "f", &f))
	require.Equal(t, fuse.OK, fs.Lookup(nil, &root, "g", &g))
	assert.Equal(t, f.NodeId, g.NodeId, "two names of one inode are one node")
	fs.Forget(f.NodeId, 1)
	require.NotNil(t, fs.nodes.get(f.NodeId))
	fs.Forget(f.NodeId, 2)
	require.NotNil(t, fs.nodes.get(f.NodeId), "a forget of more than there was is refused whole")
	fs.Forget(f.NodeId, 1)
	assert.Nil(t, fs.nodes.get(f.NodeId))
	fs.Forget(fuse.FUSE_ROOT_ID, 1000)
	assert.NotNil(t, fs.nodes.get(fuse.FUSE_ROOT_ID), "the root stays")

	require.Equal(t, fuse.OK, fs.Lookup(nil, &root, "f", &g))
	assert.NotEqual(t, f.NodeId, g.NodeId, "a node id is never used twice")
}

// TestNodeTableUnderLoad checks the table's invariants after many goroutines have entered and forgotten the same few inodes.
func TestNodeTableUnderLoad(t *testing.T) {
	fs, dir := newRaw(t)
	for i := range 10 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			root := caller(fuse.FUSE_ROOT_ID)
			for i := range 300 {
				var e fuse.EntryOut
				if code := fs.Lookup(nil, &root, fmt.Sprint((i*7+g)%10), &e); !code.Ok() {
					t.Errorf("lookup: %v", code)
					return
				}
				if fs.nodes.get(e.NodeId) == nil {
					t.Error("a node vanished while it was in use")
				}
				fs.Forget(e.NodeId, 1)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, []uint64{fuse.FUSE_ROOT_ID}, fs.nodes.ids(), "everything entered was forgotten")
	for i := range fs.nodes.shards {
		s := &fs.nodes.shards[i]
		assert.Empty(t, s.byID)
		assert.Empty(t, s.byFI)
	}
}

func TestRawReadDirPlusCountsLookups(t *testing.T) {
	fs, dir := newRaw(t)
	for i := range 20 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("a-rather-long-name-%d", i)), nil, 0o644))
	}
	var open fuse.OpenOut
	require.Equal(t, fuse.OK, fs.OpenDir(nil, &fuse.OpenIn{InHeader: caller(1)}, &open))
	seen := map[string]uint64{}
	offset := uint64(0)
	for range 100 {
		const size = 1024
		buf := make([]byte, size)
		list := fuse.NewDirEntryList(buf, offset)
		require.Equal(t, fuse.OK, fs.ReadDirPlus(nil, &fuse.ReadIn{Fh: open.Fh, Offset: offset, Size: size}, list))
		names, entries, err := fuse.ParseDirLookupEntries(list.Bytes())
		require.NoError(t, err)
		if len(names) == 0 {
			break
		}
		for i, d := range names {
			seen[d.Name] = entries[i].NodeId
			offset = d.Off
		}
	}
	assert.Len(t, seen, 22)
	assert.Zero(t, seen["."])
	assert.Zero(t, seen[".."])
	for name, id := range seen {
		if id != 0 {
			fs.Forget(id, 1)
			assert.Nil(t, fs.nodes.get(id), "%s was looked up once", name)
		}
	}
	assert.Equal(t, 1, fs.nodes.count())
}

// TestRawLockWaitIsInterrupted: the request's interruption ends the wait with EINTR.
func TestRawLockWaitIsInterrupted(t *testing.T) {
	fs, _ := newRaw(t)
	out := create(t, fs, unix.O_RDWR)
	lk := func(owner uint64, typ uint32) *fuse.LkIn {
		return &fuse.LkIn{Fh: out.Fh, Owner: owner, Lk: fuse.FileLock{Typ: typ, Start: 10, End: 19, Pid: uint32(owner)}}
	}
	require.Equal(t, fuse.OK, fs.SetLk(nil, lk(1, unix.F_WRLCK)))
	assert.Equal(t, fuse.EAGAIN, fs.SetLk(nil, lk(2, unix.F_WRLCK)))
	var conflict fuse.LkOut
	require.Equal(t, fuse.OK, fs.GetLk(nil, lk(2, unix.F_RDLCK), &conflict))
	assert.Equal(t, fuse.FileLock{Typ: unix.F_WRLCK, Start: 10, End: 19, Pid: 1}, conflict.Lk)

	cancel := make(chan struct{})
	done := make(chan fuse.Status, 1)
	// ends when the wait is interrupted; waited below
	go func() { done <- fs.SetLkw(cancel, lk(2, unix.F_WRLCK)) }()
	select {
	case code := <-done:
		t.Fatalf("it did not wait: %v", code)
	case <-time.After(50 * time.Millisecond):
	}
	close(cancel)
	assert.Equal(t, fuse.EINTR, <-done)

	require.Equal(t, fuse.OK, fs.Flush(nil, &fuse.FlushIn{Fh: out.Fh, LockOwner: 1}), "close(2) gives the locks back")
	assert.Equal(t, fuse.OK, fs.SetLkw(nil, lk(2, unix.F_WRLCK)))
	flock := lk(9, unix.F_WRLCK)
	flock.LkFlags = fuse.LK_FLOCK
	assert.Equal(t, fuse.OK, fs.SetLk(nil, flock), "flock and POSIX locks do not meet")
}

func TestRawIoctl(t *testing.T) {
	fs, _ := newRaw(t)
	out := create(t, fs, unix.O_RDWR)
	buf := bytes.Repeat([]byte{0xff}, 4)
	code := fs.Ioctl(nil, &fuse.IoctlIn{Fh: out.Fh, Cmd: unix.FS_IOC_GETFLAGS, OutSize: 4}, nil, nil, buf)
	if code == fuse.Status(unix.ENOTTY) || code == fuse.Status(unix.EOPNOTSUPP) {
		assert.Equal(t, bytes.Repeat([]byte{0xff}, 4), buf, "a backing file system without flags says so itself")
	} else {
		require.Equal(t, fuse.OK, code)
		assert.NotEqual(t, bytes.Repeat([]byte{0xff}, 4), buf)
	}
	for _, cmd := range []uint32{unix.FICLONE, unix.TCGETS, 0} {
		assert.Equal(t, fuse.Status(unix.ENOTTY), fs.Ioctl(nil, &fuse.IoctlIn{Fh: out.Fh, Cmd: cmd}, nil, nil, nil), "%#x", cmd)
	}
	assert.Equal(t, fuse.EINVAL, fs.Ioctl(nil, &fuse.IoctlIn{Fh: out.Fh, Cmd: unix.FS_IOC_GETFLAGS}, nil, nil, make([]byte, 3)))
	assert.Equal(t, fuse.EINVAL, fs.Ioctl(nil, &fuse.IoctlIn{Fh: out.Fh, Cmd: unix.FS_IOC_SETFLAGS}, make([]byte, 3), nil, nil))
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestStatusFindsTheErrno(t *testing.T) {
	fs := &rawFS{log: discard()}
	for _, test := range []struct {
		err  error
		want fuse.Status
	}{
		{nil, fuse.OK},
		{unix.ENOENT, fuse.ENOENT},
		{fmt.Errorf("open parent: %w", unix.EMFILE), fuse.Status(syscall.EMFILE)},
		{&uringbackend.PathError{Op: "open", Err: unix.ELOOP}, fuse.Status(syscall.ELOOP)},
		{unix.ECANCELED, fuse.EINTR},
		{context.Canceled, fuse.EINTR},
		{errors.New("no number"), fuse.EIO},
	} {
		assert.Equal(t, test.want, fs.status(test.err), "%v", test.err)
	}
}

func TestDeviceNumbersSurviveTheProtocol(t *testing.T) {
	for _, dev := range []uint64{0, unix.Mkdev(1, 3), unix.Mkdev(259, 70000), unix.Mkdev(0xfff, 0xfffff)} {
		assert.Equal(t, dev, userDev(kernelDev(dev)), "%#x", dev)
	}
	assert.EqualValues(t, 0x103, kernelDev(unix.Mkdev(1, 3)))
}

func TestInterruptionIsAContext(t *testing.T) {
	c := make(chan struct{})
	ctx := context.Context(interruption(c))
	assert.NoError(t, ctx.Err())
	close(c)
	<-ctx.Done()
	assert.ErrorIs(t, ctx.Err(), context.Canceled)
	assert.NoError(t, interruption(nil).Err(), "a request that cannot be interrupted")
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = context.Context(interruption(c)) }))
}

func TestGroupsOf(t *testing.T) {
	want, err := os.Getgroups()
	require.NoError(t, err)
	var got []int
	for _, g := range groupsOf(uint32(os.Getpid())) {
		got = append(got, int(g))
	}
	assert.ElementsMatch(t, want, got)
	assert.Empty(t, groupsOf(0x3fffffff), "a process that is gone")
}
