//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// Getdents reads entries of directory fd from its position into p as the kernel lays them out (struct
// linux_dirent64); 0 bytes is the end. EINVAL: p is too short for one entry.
func (e Engine) Getdents(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindGetdents, FD: fd, Buf: p})
}

// directGetdents: io_uring has no opcode for it.
func directGetdents(_ *Features, op *Op) (int, error) {
	for {
		n, err := unix.Getdents(op.FD, op.Buf)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}
