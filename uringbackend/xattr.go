//go:build linux

package uringbackend

import (
	"context"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// ByMagicLink in Op.Mask of KindFgetxattr, KindFsetxattr, KindFlistxattr and KindFremovexattr: FD is or may be an O_PATH
// descriptor, which the f*xattr calls refuse with EBADF, so that the object is reached through /proc/self/fd. It works
// for any descriptor, but is slower; that a descriptor is O_PATH is the caller's knowledge and cannot be asked cheaply.
const ByMagicLink = 1

// Fgetxattr reads attribute name of fd into p; an empty p asks for the size. ERANGE: p is too short. EBADF: fd is O_PATH.
func (e Engine) Fgetxattr(ctx context.Context, fd int, name string, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindFgetxattr, FD: fd, Path: name, Buf: p})
}

// FgetxattrPath is Fgetxattr for an O_PATH descriptor.
func (e Engine) FgetxattrPath(ctx context.Context, fd int, name string, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindFgetxattr, FD: fd, Path: name, Buf: p, Mask: ByMagicLink})
}

// Fsetxattr sets attribute name of fd; flags XATTR_CREATE, XATTR_REPLACE. EBADF: fd is O_PATH.
func (e Engine) Fsetxattr(ctx context.Context, fd int, name string, value []byte, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindFsetxattr, FD: fd, Path: name, Buf: value, Flags: flags})
	return err
}

// FsetxattrPath is Fsetxattr for an O_PATH descriptor.
func (e Engine) FsetxattrPath(ctx context.Context, fd int, name string, value []byte, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindFsetxattr, FD: fd, Path: name, Buf: value, Flags: flags, Mask: ByMagicLink})
	return err
}

// Flistxattr lists the attribute names of fd, each ended by NUL; an empty p asks for the size. EBADF: fd is O_PATH.
func (e Engine) Flistxattr(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindFlistxattr, FD: fd, Buf: p})
}

// FlistxattrPath is Flistxattr for an O_PATH descriptor.
func (e Engine) FlistxattrPath(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindFlistxattr, FD: fd, Buf: p, Mask: ByMagicLink})
}

// Fremovexattr removes attribute name of fd. EBADF: fd is O_PATH.
func (e Engine) Fremovexattr(ctx context.Context, fd int, name string) error {
	_, err := e.Do(ctx, Op{Kind: KindFremovexattr, FD: fd, Path: name})
	return err
}

// FremovexattrPath is Fremovexattr for an O_PATH descriptor.
func (e Engine) FremovexattrPath(ctx context.Context, fd int, name string) error {
	_, err := e.Do(ctx, Op{Kind: KindFremovexattr, FD: fd, Path: name, Mask: ByMagicLink})
	return err
}

// Getxattr is Fgetxattr of the file at path, absolute or beneath the working directory; links are followed.
func (e Engine) Getxattr(ctx context.Context, path, name string, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindGetxattr, Path: path, Path2: name, Buf: p})
}

// Setxattr is Fsetxattr of the file at path, as Getxattr finds it.
func (e Engine) Setxattr(ctx context.Context, path, name string, value []byte, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindSetxattr, Path: path, Path2: name, Buf: value, Flags: flags})
	return err
}

// prepFgetxattr turns to the opcode for paths, which is as old, where the magic link leads to the object. A worker of
// the kernel is a thread of the process, so /proc/self is the process's.
func prepFgetxattr(s *slot, op *Op, sqe *uring.SQE) error {
	if op.Mask&ByMagicLink != 0 {
		if !isOpen(op.FD) {
			return unix.EBADF
		}
		sqe.Opcode = uring.OpGetxattr
		return prepXattr(s, op, sqe, procFD(op.FD), op.Path)
	}
	sqe.FD = int32(op.FD)
	return prepXattr(s, op, sqe, "", op.Path)
}

func prepFsetxattr(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.OpFlags = uint32(op.Flags)
	if op.Mask&ByMagicLink != 0 {
		if !isOpen(op.FD) {
			return unix.EBADF
		}
		sqe.Opcode = uring.OpSetxattr
		return prepXattr(s, op, sqe, procFD(op.FD), op.Path)
	}
	sqe.FD = int32(op.FD)
	return prepXattr(s, op, sqe, "", op.Path)
}

func prepGetxattr(s *slot, op *Op, sqe *uring.SQE) error {
	return prepPathXattr(s, op, sqe)
}

func prepSetxattr(s *slot, op *Op, sqe *uring.SQE) error {
	sqe.OpFlags = uint32(op.Flags)
	return prepPathXattr(s, op, sqe)
}

// prepPathXattr refuses an empty path itself: prepXattr takes that for no path.
func prepPathXattr(s *slot, op *Op, sqe *uring.SQE) error {
	if op.Path == "" {
		return unix.ENOENT
	}
	return prepXattr(s, op, sqe, op.Path, op.Path2)
}

// prepXattr fills what the four opcodes share; with a path they work on that instead of sqe.FD.
func prepXattr(s *slot, op *Op, sqe *uring.SQE, path, name string) error {
	if path != "" {
		p, err := s.cstring(path)
		if err != nil {
			return err
		}
		sqe.Addr3 = uint64(uintptr(unsafe.Pointer(p)))
	}
	n, err := s.cstring2(name)
	if err != nil {
		return err
	}
	sqe.Addr = uint64(uintptr(unsafe.Pointer(n)))
	sqe.Off = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(op.Buf))))
	sqe.Len = uint32(min(len(op.Buf), maxTransfer)) // the kernel's own limit is 64 KiB
	return nil
}

func directFgetxattr(_ *Features, op *Op) (n int, err error) {
	if op.Mask&ByMagicLink != 0 {
		err = viaProc(op.FD, func(path string) (err error) { n, err = unix.Getxattr(path, op.Path, op.Buf); return err })
	} else {
		n, err = unix.Fgetxattr(op.FD, op.Path, op.Buf)
	}
	return max(n, 0), err
}

func directFsetxattr(_ *Features, op *Op) (int, error) {
	if op.Mask&ByMagicLink != 0 {
		return 0, viaProc(op.FD, func(path string) error { return unix.Setxattr(path, op.Path, op.Buf, op.Flags) })
	}
	return 0, unix.Fsetxattr(op.FD, op.Path, op.Buf, op.Flags)
}

func directFlistxattr(_ *Features, op *Op) (n int, err error) {
	if op.Mask&ByMagicLink != 0 {
		err = viaProc(op.FD, func(path string) (err error) { n, err = unix.Listxattr(path, op.Buf); return err })
	} else {
		n, err = unix.Flistxattr(op.FD, op.Buf)
	}
	return max(n, 0), err
}

func directFremovexattr(_ *Features, op *Op) (int, error) {
	if op.Mask&ByMagicLink != 0 {
		return 0, viaProc(op.FD, func(path string) error { return unix.Removexattr(path, op.Path) })
	}
	return 0, unix.Fremovexattr(op.FD, op.Path)
}

func directGetxattr(_ *Features, op *Op) (int, error) {
	n, err := unix.Getxattr(op.Path, op.Path2, op.Buf)
	return max(n, 0), err
}

func directSetxattr(_ *Features, op *Op) (int, error) {
	return 0, unix.Setxattr(op.Path, op.Path2, op.Buf, op.Flags)
}
