//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// GetdentsBuffer is the size of buffer that Getdents is best called with, in bytes; it holds some 1,300 entries. Of a
// cached directory of 10,000 entries, which is 9 calls, 1 MiB (2 calls) is read 3% faster, on ext4 and on tmpfs, and
// 32 KiB (16 calls) is 0 to 5% slower: what costs is the entry, not the call. Each open directory has a buffer.
const GetdentsBuffer = 64 << 10

// Getdents reads entries of directory fd from its position into p as the kernel lays them out (struct
// linux_dirent64); 0 bytes is the end. EINVAL: p is too short for one entry.
func (e Engine) Getdents(ctx context.Context, fd int, p []byte) (int, error) {
	return e.Do(ctx, Op{Kind: KindGetdents, FD: fd, Buf: p})
}

// directGetdents: no kernel has an opcode for it.
func directGetdents(_ *Features, op *Op) (int, error) {
	for {
		n, err := unix.Getdents(op.FD, op.Buf)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}
