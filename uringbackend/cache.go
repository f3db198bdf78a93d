//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// Cachestat says how much of length bytes of fd at off is in the page cache, dirty, under writeback or evicted, in
// pages; length 0 is up to the end. EOPNOTSUPP: the kernel is older than 6.5, or the file has no page cache.
func (e Engine) Cachestat(ctx context.Context, fd int, off, length int64) (unix.Cachestat_t, error) {
	st := new(unix.Cachestat_t)
	_, err := e.Do(ctx, Op{Kind: KindCachestat, FD: fd, Offset: off, Length: length, Cachestat: st})
	return *st, err
}

// Detach takes length bytes of fd at off out of the page cache, although pipes and sockets may hold references to the
// pages: those keep the bytes as they are, whatever is written to the file afterwards. No byte of the file changes. fd
// is open for writing with O_DIRECT, and off and length are multiples of the offset alignment that DIOAlign says.
//
// It is a direct write that must fail. The kernel writes dirty pages of the range back, drops every folio that overlaps
// it, and only then looks at the memory to be written, which cannot be read (fs/iomap/direct-io.c __iomap_dio_rw,
// kiocb_invalidate_pages). That order is no promise, and some file systems do not follow it: tmpfs, btrfs with
// checksums, ext4 with data=journal or inline data detach nothing. So nil means that the write failed as it should;
// the proof is Cachestat, which must say that nothing of the range is cached. Whoever relies on it keeps readers of
// the range away in the meantime.
//
// The modification time changes, holes become allocated, and a large folio leaves the cache whole. A range may reach
// beyond the end of the file. EINVAL: fd is no regular file with O_DIRECT, or off or length are not aligned. EIO: the
// write succeeded, so the memory was readable.
func (e Engine) Detach(ctx context.Context, fd int, off, length int64) error {
	_, err := e.Do(ctx, Op{Kind: KindDetach, FD: fd, Offset: off, Length: length})
	return err
}

// directCachestat answers EOPNOTSUPP for a kernel without the call, which is what files without a page cache get too.
func directCachestat(f *Features, op *Op) (int, error) {
	if f.Cachestat.Answer != Yes {
		return 0, unix.EOPNOTSUPP
	}
	if op.Cachestat == nil {
		return 0, unix.EFAULT
	}
	if op.FD < 0 {
		return 0, unix.EBADF
	}
	if op.Offset < 0 || op.Length < 0 {
		return 0, unix.EINVAL
	}
	return 0, unix.Cachestat(uint(op.FD), &unix.CachestatRange{Off: uint64(op.Offset), Len: uint64(op.Length)}, op.Cachestat, 0)
}

// trap is memory that cannot be read. One mapping serves all detaches of an engine, since making one costs a third of
// what a detach costs.
type trap struct {
	mu sync.Mutex
	// +checklocks:mu
	mem []byte
}

// trapSize is how much one write can detach. Address space only: the mapping has no pages.
const trapSize = 64 << 20

// memory makes the mapping if need be. It stays until close, which comes after the last op.
func (t *trap) memory() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		mem, err := unix.Mmap(-1, 0, trapSize, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			return nil, err
		}
		t.mem = mem
	}
	return t.mem, nil
}

func (t *trap) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem != nil {
		_ = unix.Munmap(t.mem) // the range is ours, so it cannot fail
		t.mem = nil
	}
}

// detach has no ring half: the ring would submit an op again that fails with EFAULT.
func (s *syscalls) detach(op *Op) (int, error) {
	flags, err := unix.FcntlInt(uintptr(op.FD), unix.F_GETFL, 0)
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(op.FD, &st); err != nil {
		return 0, err
	}
	if flags&unix.O_DIRECT == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || op.Length <= 0 || op.Offset < 0 {
		return 0, unix.EINVAL // a buffered write would fail too, and detach nothing
	}
	mem, err := s.trap.memory()
	if err != nil {
		return 0, err
	}
	// Nothing is cached beyond the end, and there a failing write makes a tmpfs file longer (mm/shmem.c shmem_write_end).
	for at := int64(0); at < op.Length && op.Offset+at < st.Size; {
		piece := min(op.Length-at, trapSize)
		_, err := unix.Pwrite(op.FD, mem[:piece], op.Offset+at)
		switch {
		case errors.Is(err, unix.EFAULT):
			at += piece
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		default:
			return 0, unix.EIO
		}
	}
	return 0, nil
}
