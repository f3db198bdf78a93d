//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// maxTransfer is what the kernel moves by one call at most: MAX_RW_COUNT, include/linux/fs.h. The length field
// of a submission has 32 bits, so longer buffers are cut here and not by a conversion.
const maxTransfer = 0x7ffff000

// ReadAt reads into p from fd at off. A short count is returned as it is; 0 is the end of the file.
func (e Engine) ReadAt(ctx context.Context, fd int, p []byte, off int64) (int, error) {
	return e.Do(ctx, Op{Kind: KindReadAt, FD: fd, Buf: p, Offset: off})
}

// WriteAt writes p to fd at off with flags RWF_DSYNC, RWF_APPEND and so on. A short count is returned as it is.
func (e Engine) WriteAt(ctx context.Context, fd int, p []byte, off int64, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindWriteAt, FD: fd, Buf: p, Offset: off, Flags: flags})
}

// ReadvAt is ReadAt into several buffers in turn.
func (e Engine) ReadvAt(ctx context.Context, fd int, bufs [][]byte, off int64) (int, error) {
	return e.Do(ctx, Op{Kind: KindReadvAt, FD: fd, Bufs: bufs, Offset: off})
}

// WritevAt is WriteAt from several buffers in turn, as one write.
func (e Engine) WritevAt(ctx context.Context, fd int, bufs [][]byte, off int64, flags int) (int, error) {
	return e.Do(ctx, Op{Kind: KindWritevAt, FD: fd, Bufs: bufs, Offset: off, Flags: flags})
}

// Fsync makes what was written to fd durable; with datasync only the data and what is needed to read it back.
func (e Engine) Fsync(ctx context.Context, fd int, datasync bool) error {
	op := Op{Kind: KindFsync, FD: fd}
	if datasync {
		op.Flags = 1
	}
	_, err := e.Do(ctx, op)
	return err
}

// Ftruncate sets the length of fd, which must be open for writing.
func (e Engine) Ftruncate(ctx context.Context, fd int, length int64) error {
	_, err := e.Do(ctx, Op{Kind: KindFtruncate, FD: fd, Length: length})
	return err
}

// Fallocate applies mode FALLOC_FL_* to length bytes of fd at off.
func (e Engine) Fallocate(ctx context.Context, fd, mode int, off, length int64) error {
	_, err := e.Do(ctx, Op{Kind: KindFallocate, FD: fd, Flags: mode, Offset: off, Length: length})
	return err
}

// FileRange is a place in an open file, for verbs that have two of them.
type FileRange struct {
	FD     int
	Offset int64 // bytes; -1: the descriptor's own position
}

// CopyFileRange copies up to length bytes inside the kernel and returns how many.
func (e Engine) CopyFileRange(ctx context.Context, from, to FileRange, length int64) (int, error) {
	return e.Do(ctx, Op{
		Kind: KindCopyFileRange, FD: from.FD, Offset: from.Offset,
		FD2: to.FD, Offset2: to.Offset, Length: length,
	})
}

// Seek moves fd's position by whence (unix.SEEK_DATA, SEEK_HOLE, …) and returns it. ENXIO: nothing there.
func (e Engine) Seek(ctx context.Context, fd int, off int64, whence int) (int64, error) {
	n, err := e.Do(ctx, Op{Kind: KindSeek, FD: fd, Offset: off, Mask: whence})
	return int64(n), err
}

// IoctlGetFlags returns the inode flags FS_*_FL of fd.
func (e Engine) IoctlGetFlags(ctx context.Context, fd int) (uint32, error) {
	n, err := e.Do(ctx, Op{Kind: KindGetFlags, FD: fd})
	return uint32(n), err
}

// IoctlSetFlags sets the inode flags of fd.
func (e Engine) IoctlSetFlags(ctx context.Context, fd int, flags uint32) error {
	_, err := e.Do(ctx, Op{Kind: KindSetFlags, FD: fd, Flags: int(flags)})
	return err
}

// suitsRead: RWF_HIPRI needs a ring of another kind, and is an ordinary read elsewhere.
func suitsRead(op *Op) bool { return op.Flags&unix.RWF_HIPRI == 0 || op.Unbounded }

// suitsWrite: besides, a ring says EAGAIN to every buffered write with RWF_NOWAIT (io_uring/rw.c io_write), where the
// system call says what the file system does: EOPNOTSUPP, or the bytes. It does not wait, so there is nothing to gain.
func suitsWrite(op *Op) bool { return op.Flags&(unix.RWF_HIPRI|unix.RWF_NOWAIT) == 0 || op.Unbounded }

func prepRW(op *Op, sqe *uring.SQE, addr unsafe.Pointer, length int) {
	sqe.FD = int32(op.FD)
	sqe.Off = uint64(op.Offset)
	sqe.Addr = uint64(uintptr(addr))
	sqe.Len = uint32(min(length, maxTransfer))
	sqe.OpFlags = uint32(op.Flags)
}

func prepReadAt(_ *slot, op *Op, sqe *uring.SQE) error {
	prepRW(op, sqe, unsafe.Pointer(unsafe.SliceData(op.Buf)), len(op.Buf))
	return nil
}

func prepWriteAt(_ *slot, op *Op, sqe *uring.SQE) error {
	prepRW(op, sqe, unsafe.Pointer(unsafe.SliceData(op.Buf)), len(op.Buf))
	return nil
}

func prepReadvAt(s *slot, op *Op, sqe *uring.SQE) error {
	s.iovecs(op.Bufs)
	prepRW(op, sqe, unsafe.Pointer(unsafe.SliceData(s.iov)), len(s.iov))
	return nil
}

func prepWritevAt(s *slot, op *Op, sqe *uring.SQE) error {
	s.iovecs(op.Bufs)
	prepRW(op, sqe, unsafe.Pointer(unsafe.SliceData(s.iov)), len(s.iov))
	return nil
}

func prepFsync(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	if op.Flags&1 != 0 {
		sqe.OpFlags = uring.FsyncDatasync
	}
	return nil
}

func prepFtruncate(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Off = uint64(op.Length)
	return nil
}

// suitsFtruncate: the system call refuses a negative length before it looks at the descriptor; the opcode does not.
func suitsFtruncate(op *Op) bool { return op.Length >= 0 }

func prepFallocate(_ *slot, op *Op, sqe *uring.SQE) error {
	sqe.FD = int32(op.FD)
	sqe.Off = uint64(op.Offset)
	sqe.Addr = uint64(op.Length)
	sqe.Len = uint32(op.Flags)
	return nil
}

func directReadAt(_ *Features, op *Op) (int, error) {
	for {
		var n int
		var err error
		if op.Flags == 0 && op.Offset != -1 {
			n, err = unix.Pread(op.FD, op.Buf, op.Offset)
		} else {
			bufs := [1][]byte{op.Buf}
			n, err = unix.Preadv2(op.FD, bufs[:], op.Offset, op.Flags)
		}
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

func directWriteAt(_ *Features, op *Op) (int, error) {
	for {
		var n int
		var err error
		if op.Flags == 0 && op.Offset != -1 {
			n, err = unix.Pwrite(op.FD, op.Buf, op.Offset)
		} else {
			bufs := [1][]byte{op.Buf}
			n, err = unix.Pwritev2(op.FD, bufs[:], op.Offset, op.Flags)
		}
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

func directReadvAt(_ *Features, op *Op) (int, error) {
	for {
		n, err := unix.Preadv2(op.FD, op.Bufs, op.Offset, op.Flags)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

func directWritevAt(_ *Features, op *Op) (int, error) {
	for {
		n, err := unix.Pwritev2(op.FD, op.Bufs, op.Offset, op.Flags)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

func directFsync(_ *Features, op *Op) (int, error) {
	sync := unix.Fsync
	if op.Flags&1 != 0 {
		sync = unix.Fdatasync
	}
	return 0, untilNotInterrupted(func() error { return sync(op.FD) })
}

func directFtruncate(_ *Features, op *Op) (int, error) {
	return 0, untilNotInterrupted(func() error { return unix.Ftruncate(op.FD, op.Length) })
}

// directFallocate retries EINTR: file systems undo or keep whole extents, and repeating the call is harmless for
// every mode but COLLAPSE and INSERT, which shift the file each time they succeed and so report EINTR only
// before they began.
func directFallocate(_ *Features, op *Op) (int, error) {
	return 0, untilNotInterrupted(func() error {
		return unix.Fallocate(op.FD, uint32(op.Flags), op.Offset, op.Length)
	})
}

func directCopyFileRange(_ *Features, op *Op) (int, error) {
	for {
		from, to := op.Offset, op.Offset2
		n, err := unix.CopyFileRange(op.FD, position(&from), op.FD2, position(&to), int(min(op.Length, maxTransfer)), op.Flags)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

func directSeek(_ *Features, op *Op) (int, error) {
	n, err := unix.Seek(op.FD, op.Offset, op.Mask)
	return int(max(n, 0)), err
}

func directGetFlags(_ *Features, op *Op) (int, error) {
	// The size in the request's number says long; the kernel moves an int, fs/ioctl.c ioctl_getflags.
	v, err := unix.IoctlGetUint32(op.FD, unix.FS_IOC_GETFLAGS)
	return int(v), err
}

func directSetFlags(_ *Features, op *Op) (int, error) {
	return 0, unix.IoctlSetPointerInt(op.FD, unix.FS_IOC_SETFLAGS, op.Flags)
}

// position gives the address of an offset, or nil for "the descriptor's own".
func position(off *int64) *int64 {
	if *off == -1 {
		return nil
	}
	return off
}

// untilNotInterrupted repeats a call that a signal interrupted before it did anything.
func untilNotInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
