//go:build linux

package uringbackend

import (
	"context"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Readahead starts reading length bytes of fd at off into the page cache.
func (e Engine) Readahead(ctx context.Context, fd int, off, length int64) error {
	_, err := e.Do(ctx, Op{Kind: KindReadahead, FD: fd, Offset: off, Length: length})
	return err
}

// Fadvise gives advice POSIX_FADV_* for length bytes of fd at off; length 0 is up to the end.
func (e Engine) Fadvise(ctx context.Context, fd int, off, length int64, advice int) error {
	_, err := e.Do(ctx, Op{Kind: KindFadvise, FD: fd, Offset: off, Length: length, Mask: advice})
	return err
}

// Madvise gives advice MADV_* for mem, which begins on a page: a mapping of the caller's, since advice such as
// MADV_DONTNEED changes what is in the memory. EINVAL: not on a page, or advice that the kernel does not know.
func (e Engine) Madvise(ctx context.Context, mem []byte, advice int) error {
	_, err := e.Do(ctx, Op{Kind: KindMadvise, Buf: mem, Mask: advice})
	return err
}

// SyncFileRange starts or awaits writeback of length bytes of fd at off, as flags SYNC_FILE_RANGE_* say; length 0 is
// up to the end. It says nothing about metadata and flushes no disk cache: Fsync makes durable.
func (e Engine) SyncFileRange(ctx context.Context, fd int, off, length int64, flags int) error {
	_, err := e.Do(ctx, Op{Kind: KindSyncFileRange, FD: fd, Offset: off, Length: length, Flags: flags})
	return err
}

// suitsShort: the length stands in 32 bits of the record. Fadvise takes more since 6.11 only, sync_file_range never.
func suitsShort(op *Op) bool { return op.Length >= 0 && op.Length <= math.MaxUint32 }

func suitsMadvise(op *Op) bool { return len(op.Buf) <= math.MaxUint32 }

func prepFadvise(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Off = uint64(op.Offset)
	sqe.Len = uint32(op.Length)
	sqe.OpFlags = uint32(op.Mask)
	return nil
}

func prepReadahead(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Off = uint64(op.Offset)
	sqe.Len = uint32(op.Length)
	sqe.OpFlags = unix.FADV_WILLNEED
	return nil
}

func prepMadvise(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = -1
	sqe.Addr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(op.Buf))))
	sqe.Len = uint32(len(op.Buf))
	sqe.OpFlags = uint32(op.Mask)
	return nil
}

func prepSyncFileRange(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Off = uint64(op.Offset)
	sqe.Len = uint32(op.Length)
	sqe.OpFlags = uint32(op.Flags)
	return nil
}

// directReadahead uses fadvise: readahead(2) is the same for regular files and is not on every architecture.
func directReadahead(_ *Features, op *Op) (int, error) {
	return 0, unix.Fadvise(op.FD, op.Offset, op.Length, unix.FADV_WILLNEED)
}

func directFadvise(_ *Features, op *Op) (int, error) {
	return 0, unix.Fadvise(op.FD, op.Offset, op.Length, op.Mask)
}

// directMadvise makes the call itself: the package unix replaces the address of an empty slice.
func directMadvise(_ *Features, op *Op) (int, error) {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(unsafe.Pointer(unsafe.SliceData(op.Buf))), uintptr(len(op.Buf)),
		uintptr(op.Mask))
	return 0, errnoErr(errno)
}

func directSyncFileRange(_ *Features, op *Op) (int, error) {
	return 0, untilNotInterrupted(func() error {
		return unix.SyncFileRange(op.FD, op.Offset, op.Length, op.Flags)
	})
}
