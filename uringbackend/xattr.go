//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// Fgetxattr reads attribute name of fd, which may be O_PATH, into p; an empty p asks for the size. ERANGE: p is
// too short.
func (e Engine) Fgetxattr(ctx context.Context, fd int, name string, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindFgetxattr, FD: fd, Path: name, Buf: p})
}

// Fsetxattr sets attribute name of fd, which may be O_PATH; flags XATTR_CREATE, XATTR_REPLACE.
func (e Engine) Fsetxattr(ctx context.Context, fd int, name string, value []byte, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindFsetxattr, FD: fd, Path: name, Buf: value, Flags: flags})
	return err
}

// Flistxattr lists the attribute names of fd, which may be O_PATH, each ended by NUL; an empty p asks for the size.
func (e Engine) Flistxattr(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindFlistxattr, FD: fd, Buf: p})
}

// Fremovexattr removes attribute name of fd, which may be O_PATH.
func (e Engine) Fremovexattr(ctx context.Context, fd int, name string) error {
	_, err := e.Do(ctx, Op{Kind: KindFremovexattr, FD: fd, Path: name})
	return err
}

// The f*xattr calls refuse O_PATH descriptors with EBADF; the magic link then leads to the same object. It is a
// property of the descriptor, not of the kernel, so it is asked by trying.

func directFgetxattr(_ *Features, op *Op) (int, error) {
	n, err := unix.Fgetxattr(op.FD, op.Path, op.Buf)
	if errors.Is(err, unix.EBADF) {
		err = viaProc(op.FD, func(path string) (err error) { n, err = unix.Getxattr(path, op.Path, op.Buf); return err })
	}
	return max(n, 0), err
}

func directFsetxattr(_ *Features, op *Op) (int, error) {
	err := unix.Fsetxattr(op.FD, op.Path, op.Buf, op.Flags)
	if errors.Is(err, unix.EBADF) {
		err = viaProc(op.FD, func(path string) error { return unix.Setxattr(path, op.Path, op.Buf, op.Flags) })
	}
	return 0, err
}

func directFlistxattr(_ *Features, op *Op) (int, error) {
	n, err := unix.Flistxattr(op.FD, op.Buf)
	if errors.Is(err, unix.EBADF) {
		err = viaProc(op.FD, func(path string) (err error) { n, err = unix.Listxattr(path, op.Buf); return err })
	}
	return max(n, 0), err
}

func directFremovexattr(_ *Features, op *Op) (int, error) {
	err := unix.Fremovexattr(op.FD, op.Path)
	if errors.Is(err, unix.EBADF) {
		err = viaProc(op.FD, func(path string) error { return unix.Removexattr(path, op.Path) })
	}
	return 0, err
}
