//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// At is a name beneath a directory descriptor. An empty Name is the descriptor itself, where the verb says so.
type At struct {
	Dir  int
	Name string
}

// maxResolveTries bounds Openat2's answer to EAGAIN. A rename storm can defeat any number of tries.
const maxResolveTries = 64

// resolveCached is RESOLVE_CACHED (5.12), whose EAGAIN means "not without blocking" and is an answer.
const resolveCached = 0x20

// Openat2 opens path beneath dirfd by how and returns a new descriptor, the caller's. With RESOLVE_BENEATH or
// RESOLVE_IN_ROOT the kernel reports EAGAIN when a rename or mount anywhere raced with a ".." in path
// (fs/namei.c handle_dots); that is tried again, up to a bound. An escape is EXDEV. O_CLOEXEC is up to the caller.
func (e Engine) Openat2(ctx context.Context, dirfd int, path string, how unix.OpenHow) (int, error) {
	op := Op{Kind: KindOpenat2, FD: dirfd, Path: path, How: &how}
	for try := 1; ; try++ {
		fd, err := e.Do(ctx, op)
		if errors.Is(err, unix.EAGAIN) && try < maxResolveTries && how.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 &&
			how.Resolve&resolveCached == 0 {
			continue
		}
		return fd, err
	}
}

// CloseFD closes fd. The descriptor is gone whatever is returned; ctx ending does not prevent it.
func (e Engine) CloseFD(ctx context.Context, fd int) error {
	_, err := e.Do(ctx, Op{Kind: KindClose, FD: fd})
	return err
}

// Statx fills st for path beneath dirfd; flags AT_EMPTY_PATH (and empty path) for dirfd itself.
func (e Engine) Statx(ctx context.Context, dirfd int, path string, flags, mask int, st *unix.Statx_t) error {
	_, err := e.Do(ctx, Op{Kind: KindStatx, FD: dirfd, Path: path, Flags: flags, Mask: mask, Statx: st})
	return err
}

// Mkdirat makes a directory. The umask of the process applies.
func (e Engine) Mkdirat(ctx context.Context, at At, mode uint32) error {
	_, err := e.Do(ctx, Op{Kind: KindMkdirat, FD: at.Dir, Path: at.Name, Mask: int(mode)})
	return err
}

// Mknodat makes a node of the type in mode; dev counts for devices only.
func (e Engine) Mknodat(ctx context.Context, at At, mode uint32, dev uint64) error {
	_, err := e.Do(ctx, Op{Kind: KindMknodat, FD: at.Dir, Path: at.Name, Mask: int(mode), Offset: int64(dev)})
	return err
}

// Symlinkat makes at a symbolic link that holds target.
func (e Engine) Symlinkat(ctx context.Context, target string, at At) error {
	_, err := e.Do(ctx, Op{Kind: KindSymlinkat, FD: at.Dir, Path: at.Name, Path2: target})
	return err
}

// Linkat gives from a second name. With an empty from.Name the object that from.Dir is open on is linked, O_PATH
// and O_TMPFILE included, through /proc/self/fd where AT_EMPTY_PATH needs a capability that is missing (Linux
// below 6.10).
func (e Engine) Linkat(ctx context.Context, from, to At, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindLinkat, FD: from.Dir, Path: from.Name, FD2: to.Dir, Path2: to.Name, Flags: flags})
	return err
}

// Unlinkat removes a name; flags AT_REMOVEDIR for a directory.
func (e Engine) Unlinkat(ctx context.Context, at At, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindUnlinkat, FD: at.Dir, Path: at.Name, Flags: flags})
	return err
}

// Renameat2 renames with flags RENAME_NOREPLACE, RENAME_EXCHANGE and so on.
func (e Engine) Renameat2(ctx context.Context, from, to At, flags int) error {
	_, err := e.Do(ctx, Op{
		Kind: KindRenameat2, FD: from.Dir, Path: from.Name, FD2: to.Dir, Path2: to.Name, Flags: flags,
	})
	return err
}

// Readlinkat reads a symbolic link into p; an empty name reads at.Dir, an O_PATH descriptor of a link. A count of
// len(p) may mean that the link is longer.
func (e Engine) Readlinkat(ctx context.Context, at At, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindReadlinkat, FD: at.Dir, Path: at.Name, Buf: p})
}

// Fchmod sets the mode of fd, which may be O_PATH. EOPNOTSUPP for a symbolic link.
func (e Engine) Fchmod(ctx context.Context, fd int, mode uint32) error {
	_, err := e.Do(ctx, Op{Kind: KindFchmod, FD: fd, Mask: int(mode)})
	return err
}

// Fchown sets owner and group of fd, which may be O_PATH, also of a symbolic link; -1 leaves one as it is.
func (e Engine) Fchown(ctx context.Context, fd, uid, gid int) error {
	_, err := e.Do(ctx, Op{Kind: KindFchown, FD: fd, Mask: uid, Mask2: gid})
	return err
}

// Utimens sets access and modification time of fd, which may be O_PATH, also of a symbolic link.
func (e Engine) Utimens(ctx context.Context, fd int, access, modification unix.Timespec) error {
	_, err := e.Do(ctx, Op{Kind: KindUtimens, FD: fd, Times: &[2]unix.Timespec{access, modification}})
	return err
}

// Fstatfs fills st for the file system of fd, which may be O_PATH.
func (e Engine) Fstatfs(ctx context.Context, fd int, st *unix.Statfs_t) error {
	_, err := e.Do(ctx, Op{Kind: KindFstatfs, FD: fd, Statfs: st})
	return err
}

// Syncfs makes the file system of fd durable.
func (e Engine) Syncfs(ctx context.Context, fd int) error {
	_, err := e.Do(ctx, Op{Kind: KindSyncfs, FD: fd})
	return err
}

// NameToHandle returns a file handle and the mount id of at; flags AT_EMPTY_PATH with an empty name for at.Dir.
func (e Engine) NameToHandle(ctx context.Context, at At, flags int) (unix.FileHandle, int, error) {
	var h unix.FileHandle
	mount, err := e.Do(ctx, Op{Kind: KindNameToHandle, FD: at.Dir, Path: at.Name, Flags: flags, Handle: &h})
	return h, mount, err
}

// OpenByHandle opens h on the mount of mountfd, which needs CAP_DAC_READ_SEARCH; the descriptor is the caller's.
func (e Engine) OpenByHandle(ctx context.Context, mountfd int, h unix.FileHandle, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindOpenByHandle, FD: mountfd, Handle: &h, Flags: flags})
}

func prepOpenat2(s *slot, op *Op, sqe *uring.SQE) error {
	if op.How == nil {
		return unix.EFAULT
	}
	path, err := s.cstring(op.Path)
	if err != nil {
		return err
	}
	s.how = *op.How
	sqe.FD = int32(op.FD)
	sqe.Addr = uint64(uintptr(unsafe.Pointer(path)))
	sqe.Off = uint64(uintptr(unsafe.Pointer(&s.how)))
	sqe.Len = uint32(unsafe.Sizeof(s.how))
	return nil
}

func prepClose(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	return nil
}

func prepStatx(s *slot, op *Op, sqe *uring.SQE) error {
	if op.Statx == nil {
		return unix.EFAULT
	}
	path, err := s.cstring(op.Path)
	if err != nil {
		return err
	}
	sqe.FD = int32(op.FD)
	sqe.Addr = uint64(uintptr(unsafe.Pointer(path)))
	sqe.Off = uint64(uintptr(unsafe.Pointer(op.Statx)))
	sqe.Len = uint32(op.Mask)
	sqe.OpFlags = uint32(op.Flags)
	return nil
}

func prepMkdirat(s *slot, op *Op, sqe *uring.SQE) error {
	path, err := s.cstring(op.Path)
	if err != nil {
		return err
	}
	sqe.FD = int32(op.FD)
	sqe.Addr = uint64(uintptr(unsafe.Pointer(path)))
	sqe.Len = uint32(op.Mask)
	return nil
}

func prepUnlinkat(s *slot, op *Op, sqe *uring.SQE) error {
	path, err := s.cstring(op.Path)
	if err != nil {
		return err
	}
	sqe.FD = int32(op.FD)
	sqe.Addr = uint64(uintptr(unsafe.Pointer(path)))
	sqe.OpFlags = uint32(op.Flags)
	return nil
}

func prepSymlinkat(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	return s.twoPaths(op.Path2, op.Path, sqe)
}

// prepLinkat links a descriptor through its magic link, which a worker of the kernel resolves as the process: unlike
// AT_EMPTY_PATH it needs no capability, and no sameness of the credentials that the descriptor was opened with.
func prepLinkat(s *slot, op *Op, sqe *uring.SQE) error {
	from, flags := op.Path, op.Flags
	sqe.FD = int32(op.FD)
	if from == "" {
		if !isOpen(op.FD) {
			return unix.EBADF
		}
		from, flags = procFD(op.FD), flags&^unix.AT_EMPTY_PATH|unix.AT_SYMLINK_FOLLOW
		sqe.FD = unix.AT_FDCWD
	}
	sqe.Len = uint32(op.FD2)
	sqe.OpFlags = uint32(flags)
	return s.twoPaths(from, op.Path2, sqe)
}

func prepRenameat2(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Len = uint32(op.FD2)
	sqe.OpFlags = uint32(op.Flags)
	return s.twoPaths(op.Path, op.Path2, sqe)
}

// twoPaths puts two paths into addr and addr2.
func (s *slot) twoPaths(first, second string, sqe *uring.SQE) error {
	a, err := s.cstring(first)
	if err != nil {
		return err
	}
	b, err := s.cstring2(second)
	if err != nil {
		return err
	}
	sqe.Addr = uint64(uintptr(unsafe.Pointer(a)))
	sqe.Off = uint64(uintptr(unsafe.Pointer(b)))
	return nil
}

func directOpenat2(f *Features, op *Op) (int, error) {
	if op.How == nil {
		return 0, unix.EFAULT
	}
	plain := f.Openat2Beneath.Answer != Yes && makesOneName(op)
	for {
		var fd int
		var err error
		if plain {
			fd, err = unix.Openat(op.FD, op.Path, int(op.How.Flags), uint32(op.How.Mode))
		} else {
			fd, err = unix.Openat2(op.FD, op.Path, op.How)
		}
		if !errors.Is(err, unix.EINTR) {
			return max(fd, 0), err
		}
	}
}

// makesOneName says that openat(2) does what openat2(2) would: what is made is new, or has no name, and a path of one
// component with no link to follow cannot lead away.
func makesOneName(op *Op) bool {
	const tmpfile = unix.O_TMPFILE
	if op.How.Flags&tmpfile == tmpfile {
		return op.Path == "."
	}
	return op.How.Flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL && checkName(op.Path) == nil
}

// directClose does not retry EINTR: Linux has released the number by then, and another thread may own it.
func directClose(_ *Features, op *Op) (int, error) {
	return 0, unix.Close(op.FD)
}

func directStatx(_ *Features, op *Op) (int, error) {
	if op.Statx == nil {
		return 0, unix.EFAULT
	}
	return 0, untilNotInterrupted(func() error {
		return unix.Statx(op.FD, op.Path, op.Flags, op.Mask, op.Statx)
	})
}

func directMkdirat(_ *Features, op *Op) (int, error) {
	return 0, unix.Mkdirat(op.FD, op.Path, uint32(op.Mask))
}

func directMknodat(_ *Features, op *Op) (int, error) {
	return 0, unix.Mknodat(op.FD, op.Path, uint32(op.Mask), int(op.Offset))
}

func directSymlinkat(_ *Features, op *Op) (int, error) {
	return 0, unix.Symlinkat(op.Path2, op.FD, op.Path)
}

func directLinkat(f *Features, op *Op) (int, error) {
	if op.Path != "" {
		return 0, unix.Linkat(op.FD, op.Path, op.FD2, op.Path2, op.Flags)
	}
	if f.LinkatEmptyPath.Answer == Yes {
		return 0, unix.Linkat(op.FD, "", op.FD2, op.Path2, op.Flags|unix.AT_EMPTY_PATH)
	}
	return 0, viaProc(op.FD, func(path string) error {
		return unix.Linkat(unix.AT_FDCWD, path, op.FD2, op.Path2, op.Flags&^unix.AT_EMPTY_PATH|unix.AT_SYMLINK_FOLLOW)
	})
}

func directUnlinkat(_ *Features, op *Op) (int, error) {
	return 0, unix.Unlinkat(op.FD, op.Path, op.Flags)
}

func directRenameat2(_ *Features, op *Op) (int, error) {
	return 0, unix.Renameat2(op.FD, op.Path, op.FD2, op.Path2, uint(op.Flags))
}

func directReadlinkat(_ *Features, op *Op) (int, error) {
	if len(op.Buf) == 0 {
		return 0, unix.EINVAL
	}
	n, err := unix.Readlinkat(op.FD, op.Path, op.Buf)
	return max(n, 0), err
}

func directFchmod(f *Features, op *Op) (int, error) {
	if f.Fchmodat2.Answer == Yes {
		_, _, errno := unix.Syscall6(unix.SYS_FCHMODAT2, uintptr(op.FD), uintptr(unsafe.Pointer(&emptyPath[0])),
			uintptr(op.Mask), unix.AT_EMPTY_PATH, 0, 0)
		return 0, errnoErr(errno)
	}
	return 0, viaProc(op.FD, func(path string) error { return unix.Fchmodat(unix.AT_FDCWD, path, uint32(op.Mask), 0) })
}

func directFchown(_ *Features, op *Op) (int, error) {
	return 0, unix.Fchownat(op.FD, "", op.Mask, op.Mask2, unix.AT_EMPTY_PATH)
}

func directUtimens(f *Features, op *Op) (int, error) {
	if op.Times == nil {
		return 0, unix.EFAULT
	}
	if f.UtimensatEmptyPath.Answer == Yes {
		return 0, unix.UtimesNanoAt(op.FD, "", op.Times[:], unix.AT_EMPTY_PATH)
	}
	return 0, viaProc(op.FD, func(path string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, path, op.Times[:], 0) })
}

func directFstatfs(_ *Features, op *Op) (int, error) {
	if op.Statfs == nil {
		return 0, unix.EFAULT
	}
	return 0, untilNotInterrupted(func() error { return unix.Fstatfs(op.FD, op.Statfs) })
}

func directSyncfs(_ *Features, op *Op) (int, error) {
	return 0, untilNotInterrupted(func() error { return unix.Syncfs(op.FD) })
}

func directNameToHandle(_ *Features, op *Op) (int, error) {
	if op.Handle == nil {
		return 0, unix.EFAULT
	}
	h, mount, err := unix.NameToHandleAt(op.FD, op.Path, op.Flags)
	if err != nil {
		return 0, err
	}
	*op.Handle = h
	return mount, nil
}

func directOpenByHandle(_ *Features, op *Op) (int, error) {
	if op.Handle == nil {
		return 0, unix.EFAULT
	}
	fd, err := unix.OpenByHandleAt(op.FD, *op.Handle, op.Flags)
	return max(fd, 0), err
}

// emptyPath is a C string of length 0; it is never written.
var emptyPath = [1]byte{}

func errnoErr(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// procFD is the magic link to the object that fd is open on, whatever fd may do with it.
func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// viaProc runs a path call on the object of fd. The magic link is missing exactly when fd is not open.
func viaProc(fd int, call func(path string) error) error {
	err := call(procFD(fd))
	if errors.Is(err, unix.ENOENT) && !isOpen(fd) {
		return unix.EBADF
	}
	return err
}

// isOpen says that fd is a descriptor, good for whatever.
func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// hasNUL says that s cannot be a C string.
func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
