//go:build linux

package fusefs

import (
	"errors"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// file is one open file or directory: one file description of the kernel's, one of ours on the backing file.
type file struct {
	// Immutable after creation.
	h *uringbackend.Handle

	mu    sync.Mutex
	paged *uringbackend.Handle // +checklocks:mu; see pagedHandle
}

// fileTable holds the open files by the number that the kernel knows them by.
type fileTable struct {
	mu   sync.RWMutex
	next uint64           // +checklocks:mu
	open map[uint64]*file // +checklocks:mu
}

// add takes h and returns its number.
func (t *fileTable) add(h *uringbackend.Handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++ // from 1: the kernel sends 0 where it has no file
	t.open[t.next] = &file{h: h}
	return t.next
}

func (t *fileTable) get(fh uint64) *file {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.open[fh]
}

func (t *fileTable) remove(fh uint64) *file {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.open[fh]
	delete(t.open, fh)
	return f
}

func (t *fileTable) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.open)
}

// inodes lists the inodes that are open.
func (t *fileTable) inodes() []uringbackend.FileID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var ids []uringbackend.FileID
	for _, f := range t.open {
		ids = append(ids, f.h.ID())
	}
	return ids
}

func (f *file) close() error {
	f.mu.Lock()
	paged := f.paged
	f.paged = nil
	f.mu.Unlock()
	err := f.h.Close(whole())
	if paged != nil {
		err = errors.Join(err, paged.Close(whole()))
	}
	return err
}

// pagedHandle is a second handle of f without O_APPEND and O_DIRECT. The kernel writes dirty pages of a mapping through any
// writable handle of the inode: through an appending one they would land behind the end of file, and through a direct one
// the last page, cut at the end of file, would be refused. Lent until f is closed.
func (fs *rawFS) pagedHandle(f *file) (*uringbackend.Handle, error) {
	flags := f.h.Flags()
	if flags&(unix.O_APPEND|unix.O_DIRECT) == 0 {
		return f.h, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paged != nil {
		return f.paged, nil
	}
	h, err := fs.view.Open(whole(), f.h.Ref(), flags&(unix.O_ACCMODE|unix.O_SYNC))
	f.paged = h
	return h, err
}

// openFlags are what may reach the backing file. The kernel has dealt with the rest (O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK,
// FMODE_EXEC) or sends other requests for it (O_CREAT).
const openFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_DIRECT | unix.O_SYNC | unix.O_NOATIME | unix.O_TRUNC

// Open answers OPEN.
func (fs *rawFS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	fs.count(opOpen)
	n := fs.nodes.get(in.NodeId)
	if n == nil {
		return stale
	}
	flags := int(in.Flags) & openFlags
	if flags&unix.O_TRUNC != 0 && in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		if err := fs.killPriv(n.ref); err != nil {
			return fs.status(err)
		}
	}
	h, err := fs.view.Open(whole(), n.ref, flags)
	if err != nil {
		return fs.status(err)
	}
	fs.opened(h, out)
	return fuse.OK
}

// opened takes h. It never sets FOPEN_PASSTHROUGH nor a backing id: see the package comment.
func (fs *rawFS) opened(h *uringbackend.Handle, out *fuse.OpenOut) {
	out.Fh = fs.files.add(h)
	if fs.keep {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
}

// Create answers CREATE: an open that makes the name.
func (fs *rawFS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	fs.count(opCreate)
	dir := fs.nodes.get(in.NodeId)
	if dir == nil {
		return stale
	}
	flags := int(in.Flags)&(openFlags|unix.O_EXCL) | unix.O_CREAT
	mode := fs.createMode(dir.ref, in.Mode&0o7777, in.Umask)
	h, ref, st, err := fs.view.Create(whole(), dir.ref, name, flags, mode, fs.creds(&in.InHeader, mode))
	if err != nil {
		return fs.status(err)
	}
	if flags&unix.O_TRUNC != 0 && in.OpenFlags&fuse.OPEN_KILL_SUIDGID != 0 && !h.Created() {
		// Somebody made the file since the kernel last looked, and we have truncated it.
		if err := fs.killPriv(ref); err != nil {
			ref.Release()
			return fs.status(errors.Join(err, h.Close(whole())))
		}
	}
	fs.fillEntry(fs.nodes.enter(ref), st, &out.EntryOut)
	fs.opened(h, &out.OpenOut)
	return fuse.OK
}

// Tmpfile answers TMPFILE: a file with no name, which LINK can give one.
func (fs *rawFS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	fs.count(opTmpfile)
	dir := fs.nodes.get(in.NodeId)
	if dir == nil {
		return stale
	}
	mode := fs.createMode(dir.ref, in.Mode&0o7777, in.Umask)
	flags := int(in.Flags) & (openFlags | unix.O_EXCL) &^ unix.O_TRUNC
	h, ref, st, err := fs.view.Tmpfile(whole(), dir.ref, flags, mode, fs.creds(&in.InHeader, mode))
	if err != nil {
		return fs.status(err)
	}
	fs.fillEntry(fs.nodes.enter(ref), st, &out.EntryOut)
	fs.opened(h, &out.OpenOut)
	return fuse.OK
}

// Read answers READ into buf, which go-fuse lends and then writes to the device: the one copy. A ReadResultFd would let it
// splice page-cache pages to the device by reference instead, and the reader would see bytes written after its read.
func (fs *rawFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	fs.count(opRead)
	f := fs.files.get(in.Fh)
	if f == nil {
		return nil, fuse.EBADF
	}
	n, err := f.h.ReadAt(whole(), buf, int64(in.Offset))
	if errors.Is(err, unix.EINVAL) && f.h.Flags()&unix.O_DIRECT != 0 {
		// FUSE itself has no alignment rules, and a mapping of a direct file reads ordinary pages.
		var h *uringbackend.Handle
		if h, err = fs.pagedHandle(f); err == nil {
			n, err = h.ReadAt(whole(), buf, int64(in.Offset))
		}
	}
	if err != nil {
		return nil, fs.status(err)
	}
	fs.bytesRead.Add(uint64(n))
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write answers WRITE. data is lent by go-fuse until Write returns.
func (fs *rawFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	fs.count(opWrite)
	f := fs.files.get(in.Fh)
	if f == nil {
		return 0, fuse.EBADF
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := fs.killPriv(f.h.Ref()); err != nil {
			return 0, fs.status(err)
		}
	}
	h := f.h
	var err error
	if in.WriteFlags&fuse.WRITE_CACHE != 0 {
		if h, err = fs.pagedHandle(f); err != nil {
			return 0, fs.status(err)
		}
	}
	n, err := h.WriteAt(whole(), data, int64(in.Offset), uringbackend.WriteOptions{})
	if errors.Is(err, unix.EINVAL) && h.Flags()&(unix.O_DIRECT|unix.O_APPEND) == unix.O_DIRECT {
		if h, err = fs.pagedHandle(f); err == nil {
			n, err = h.WriteAt(whole(), data, int64(in.Offset), uringbackend.WriteOptions{})
		}
	}
	// What was written before the error is told, as write(2) does; the error meets the next write. Of pages that the kernel
	// writes back by itself it looks at the error only (fs/fuse/file.c fuse_writepage_end).
	if err != nil && (n == 0 || in.WriteFlags&fuse.WRITE_CACHE != 0) {
		return 0, fs.status(err)
	}
	fs.bytesWritten.Add(uint64(n))
	return uint32(n), fuse.OK
}

// Lseek answers LSEEK: SEEK_DATA and SEEK_HOLE only, the kernel does the rest.
func (fs *rawFS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	fs.count(opLseek)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	off, err := f.h.Seek(whole(), int64(in.Offset), int(in.Whence))
	out.Offset = uint64(max(off, 0))
	return fs.status(err)
}

// Fallocate answers FALLOCATE.
func (fs *rawFS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	fs.count(opFallocate)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	if err := fs.killFor(&in.InHeader, f); err != nil {
		return fs.status(err)
	}
	return fs.status(f.h.Allocate(whole(), in.Mode, int64(in.Offset), int64(in.Length)))
}

// copyLimit bounds one COPY_FILE_RANGE, in bytes, so that none holds its range of the file for minutes; the caller goes on
// where a short copy ended.
const copyLimit = 1 << 30

// CopyFileRange answers COPY_FILE_RANGE.
func (fs *rawFS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	fs.count(opCopyFileRange)
	src, dst := fs.files.get(in.FhIn), fs.files.get(in.FhOut)
	if src == nil || dst == nil {
		return 0, fuse.EBADF
	}
	if err := fs.killFor(&in.InHeader, dst); err != nil {
		return 0, fs.status(err)
	}
	n, err := dst.h.CopyRange(whole(), src.h, int64(in.OffIn), int64(in.OffOut), int(min(in.Len, copyLimit)))
	return uint32(max(n, 0)), fs.status(err)
}

// killFor is killPriv for requests that have no flag for it: the kernel leaves the clearing to us and does not say whether
// the caller has CAP_FSETID. Root has.
func (fs *rawFS) killFor(h *fuse.InHeader, f *file) error {
	if h.Uid == 0 {
		return nil
	}
	return fs.killPriv(f.h.Ref())
}

// Flush answers FLUSH, sent at each close(2): that drops the closer's POSIX locks, and reports errors of earlier writes.
func (fs *rawFS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	fs.count(opFlush)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	return fs.status(errors.Join(f.h.ReleaseLocks(whole(), lockOwner(in.LockOwner, in.Fh)), f.h.Flush(whole())))
}

// Fsync answers FSYNC.
func (fs *rawFS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	fs.count(opFsync)
	return fs.sync(in)
}

// FsyncDir answers FSYNCDIR.
func (fs *rawFS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	fs.count(opFsyncdir)
	return fs.sync(in)
}

func (fs *rawFS) sync(in *fuse.FsyncIn) fuse.Status {
	const dataOnly = 1 // FUSE_FSYNC_FDATASYNC
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	return fs.status(f.h.Sync(whole(), in.FsyncFlags&dataOnly != 0))
}

// Release answers RELEASE, sent some time after the last close: nobody waits for its result.
func (fs *rawFS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	fs.count(opRelease)
	fs.release(in.Fh)
}

func (fs *rawFS) release(fh uint64) {
	f := fs.files.remove(fh)
	if f == nil {
		return
	}
	if err := f.close(); err != nil {
		fs.log.Error("release", "err", err)
	}
}

// closeAll gives back what the kernel never released, because the connection ended first.
func (fs *rawFS) closeAll() {
	fs.files.mu.Lock()
	open := fs.files.open
	fs.files.open = make(map[uint64]*file)
	fs.files.mu.Unlock()
	for _, f := range open {
		if err := f.close(); err != nil {
			fs.log.Error("release", "err", err)
		}
	}
}
