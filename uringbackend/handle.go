//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// WriteOptions of one write.
type WriteOptions struct {
	Sync     bool // durable with metadata before it returns (RWF_SYNC)
	DataSync bool // durable data before it returns (RWF_DSYNC)
	Append   bool // at the end of file, whatever the offset (RWF_APPEND)
	// Uncached asks that the data does not stay in the page cache (RWF_DONTCACHE); where the file system cannot, it does.
	Uncached bool
}

// Handle is an open file description on the backing file. It stays with its inode whatever happens to the names.
// Safe for concurrent use; after Close every operation reports EBADF.
type Handle struct {
	// Immutable.
	v       *Volume
	origin  Origin
	ref     *Ref // one count is the Handle's
	fd      int
	flags   int
	created bool
	align   DIOAlign // with O_DIRECT; zero where the file system does not tell or has none

	// Atomic.
	tail    atomic.Int64 // where the last append ended, 0 before the first: a guess at the size
	ops     atomic.Int64 // operations under way, and gateClosed
	flocked atomic.Bool  // a flock was had once

	once     sync.Once     // the end of it
	closing  chan struct{} // closed when Close begins
	closed   chan struct{} // closed when the descriptor is
	closeErr error         // set before closed

	dir dirStream

	lockMu sync.Mutex
	// +checklocks:lockMu
	lockOwners map[uint64]struct{} // who locks through this Handle
}

const gateClosed = int64(1) << 62

// newHandle takes the count of r and the descriptor.
func (w *View) newHandle(ctx context.Context, r *Ref, fd, flags int) *Handle {
	w.v.handles.Add(1)
	h := &Handle{
		v: w.v, origin: w.origin, ref: r, fd: fd, flags: flags,
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	if flags&unix.O_DIRECT != 0 {
		// Without an answer transfers go as they come, and the file system says what it does not like.
		h.align, _ = w.v.engine.DIOAlign(ctx, fd)
	}
	return h
}

// enter keeps the descriptor open until leave.
func (h *Handle) enter() error {
	if h.ops.Add(1)&gateClosed != 0 {
		h.leave()
		return unix.EBADF
	}
	return nil
}

func (h *Handle) leave() {
	if h.ops.Add(-1) == gateClosed {
		h.once.Do(h.finish)
	}
}

// finish runs when the last operation is over and no other can begin: only now may the number be used again.
func (h *Handle) finish() {
	h.closeErr = h.v.engine.CloseFD(context.Background(), h.fd)
	h.dropLocks()
	h.ref.Release()
	h.v.handles.Add(-1)
	close(h.closed)
}

// Close refuses further operations, waits for those under way, and closes the descriptor. When ctx ends first it
// reports ECANCELED, and the last operation closes the descriptor. A second Close reports EBADF.
func (h *Handle) Close(ctx context.Context) error {
	h.ops.Add(1)
	if h.ops.Or(gateClosed)&gateClosed != 0 {
		h.leave()
		return unix.EBADF
	}
	close(h.closing)
	h.leave()
	select {
	case <-h.closed:
		return h.closeErr
	default:
	}
	select {
	case <-h.closed:
		return h.closeErr
	case <-ctx.Done():
		return unix.ECANCELED
	}
}

// ID is the identity of the inode.
func (h *Handle) ID() FileID { return h.ref.id }

// Ref is borrowed from the Handle: valid until Close, and longer for who Retains it.
func (h *Handle) Ref() *Ref { return h.ref }

// Flags are the open flags of the backing file: access mode, O_APPEND, O_DIRECT, O_SYNC, O_DSYNC, O_NOATIME.
func (h *Handle) Flags() int { return h.flags }

// Created says that Create or Tmpfile made the file, rather than found it.
func (h *Handle) Created() bool { return h.created }

// Fd is borrowed until Close, for what the Volume has no operation for, such as a whitelisted ioctl. The borrower
// must make sure that Close does not run meanwhile, and changes neither content nor position.
func (h *Handle) Fd() int { return h.fd }

func (h *Handle) target() target {
	t := h.ref.target(h.origin, h.fd)
	t.writes = h.flags&unix.O_ACCMODE != unix.O_RDONLY
	t.durable = t.writes && h.flags&unix.O_DSYNC != 0
	return t
}

// ReadAt reads into p from off. It is short only at the end of file, where it returns 0 and no error. With O_DIRECT neither
// p nor off nor the length need be aligned: what is not goes through a buffer.
func (h *Handle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return h.readAt(ctx, p, off, 0)
}

// ReadUncached is ReadAt for data that is not wanted again: what it brings into the page cache does not stay there
// (RWF_DONTCACHE). Where the file system cannot do that, it is ReadAt.
func (h *Handle) ReadUncached(ctx context.Context, p []byte, off int64) (int, error) {
	return h.readAt(ctx, p, off, h.v.dontCache())
}

// dontCache is the flag for transfers that are to leave nothing in the page cache, 0 where there is none.
func (v *Volume) dontCache() int {
	if v.engine.Features().RWFDontCache.Answer == Yes {
		return unix.RWF_DONTCACHE
	}
	return 0
}

func (h *Handle) readAt(ctx context.Context, p []byte, off int64, flags int) (int, error) {
	if err := h.enter(); err != nil {
		return 0, err
	}
	defer h.leave()
	direct := h.flags&unix.O_DIRECT != 0
	total, stuck := 0, 0
	for total < len(p) {
		var n int
		var err error
		if direct && h.align.valid() {
			n, err = h.v.engine.ReadDirect(ctx, h.fd, h.align, p[total:], off+int64(total))
		} else {
			n, err = h.v.engine.Do(ctx, Op{
				Kind: KindReadAt, FD: h.fd, Buf: p[total:], Offset: off + int64(total), Flags: flags, Uncached: direct,
			})
		}
		if flags != 0 && total == 0 && errors.Is(err, unix.EOPNOTSUPP) {
			flags = 0 // a mount beneath the root, of another kind than the root's
			continue
		}
		if err != nil {
			return total, err
		}
		if n == 0 {
			break
		}
		total += n
		if !direct || h.align.valid() || n%sector == 0 || total == len(p) {
			continue // with a known alignment ReadDirect goes on anywhere
		}
		// Usually the end of file. A transfer that was cut elsewhere goes on where direct I/O can.
		end, err := h.size(ctx)
		if err != nil {
			return total, err
		}
		if off+int64(total) >= end {
			break
		}
		total -= n % sector
		if n >= sector {
			continue
		}
		if stuck++; stuck == maxPersist {
			return total, unix.EIO
		}
	}
	return total, nil
}

// sector is what direct I/O is aligned to at least, bytes.
const sector = 512

// size asks for the length of the file, bytes.
func (h *Handle) size(ctx context.Context) (int64, error) {
	stx := new(unix.Statx_t)
	err := h.v.engine.Statx(ctx, h.fd, "", unix.AT_EMPTY_PATH, unix.STATX_SIZE, stx)
	return int64(stx.Size), err
}

// WriteAt writes p at off, or at the end of file if the Handle has O_APPEND or the options say so: then off counts
// for nothing. All of p is written or there is an error, and the count says how much was. With O_DIRECT the memory need
// not be aligned, but off and the length must: EINVAL.
//
// Durable writes are one op with RWF_DSYNC or RWF_SYNC: measured, it costs what a write with a linked fdatasync
// does, and a short write needs no rule of its own, since what it has written is durable.
func (h *Handle) WriteAt(ctx context.Context, p []byte, off int64, o WriteOptions) (int, error) {
	if err := h.enter(); err != nil {
		return 0, err
	}
	defer h.leave()
	if len(p) == 0 {
		return 0, nil
	}
	flags := 0
	if o.Sync || h.flags&unix.O_SYNC == unix.O_SYNC {
		flags |= unix.RWF_SYNC
	}
	if o.DataSync || h.flags&unix.O_DSYNC != 0 { // the kernel would see to it, but the engine is to know that it waits
		flags |= unix.RWF_DSYNC
	}
	if o.Uncached {
		flags |= h.v.dontCache()
	}
	appends := o.Append || h.flags&unix.O_APPEND != 0
	var c *Change
	var err error
	switch {
	case appends:
		if o.Append {
			flags |= unix.RWF_APPEND
		}
		off = 0
		var size int64
		c, size, err = h.v.beginTail(ctx, h.fd, h.origin, h.ref.id, ChangeAppend, tail{guess: h.tail.Load(), at: math.MaxInt64})
		h.tail.Store(size + int64(len(p)))
	case off < 0:
		return 0, unix.EINVAL
	default:
		c, err = h.v.BeginChange(ctx, h.origin, h.ref.id, ChangeWrite, Range{off, int64(len(p))})
	}
	if err != nil {
		return 0, err
	}
	total := 0
	for total < len(p) && err == nil {
		at := off
		if !appends {
			at += int64(total)
		}
		var n int
		n, err = h.writeOnce(ctx, p[total:], at, flags)
		if flags&unix.RWF_DONTCACHE != 0 && total == 0 && errors.Is(err, unix.EOPNOTSUPP) {
			flags, err = flags&^unix.RWF_DONTCACHE, nil
			continue
		}
		if err == nil && n == 0 {
			err = unix.EIO
		}
		total += n
	}
	if total > 0 {
		c.End(nil) // something changed, so it must be heard of
	} else {
		c.End(err)
	}
	return total, err
}

// writeOnce may be short.
func (h *Handle) writeOnce(ctx context.Context, p []byte, off int64, flags int) (int, error) {
	if h.flags&(unix.O_DIRECT|unix.O_APPEND) == unix.O_DIRECT && flags&unix.RWF_APPEND == 0 && h.align.valid() {
		return h.v.engine.WriteDirect(ctx, h.fd, h.align, p, off, flags)
	}
	return h.v.engine.WriteAt(ctx, h.fd, p, off, flags)
}

// Advise tells the kernel how the file will be read: POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM, … It changes no content.
func (h *Handle) Advise(ctx context.Context, advice int) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	return h.v.engine.Fadvise(ctx, h.fd, 0, 0, advice)
}

// Sync makes what was written durable: the data and what reading it back needs, and all metadata unless dataOnly.
// It works on directories.
func (h *Handle) Sync(ctx context.Context, dataOnly bool) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	return h.v.engine.Fsync(ctx, h.fd, dataOnly)
}

// Stat returns the attributes.
func (h *Handle) Stat(ctx context.Context) (Stat, error) {
	if err := h.enter(); err != nil {
		return Stat{}, err
	}
	defer h.leave()
	return h.v.statFD(ctx, h.fd, h.ref.id)
}

// SetAttr changes attributes and returns them as they are afterwards.
func (h *Handle) SetAttr(ctx context.Context, a SetAttr) (Stat, error) {
	if err := h.enter(); err != nil {
		return Stat{}, err
	}
	defer h.leave()
	return h.target().setAttr(ctx, a)
}

// Truncate sets the length in bytes. It works through a Handle that is open for reading only if the process may
// write the file. Through one with O_SYNC or O_DSYNC that is open for writing it is durable before it returns.
func (h *Handle) Truncate(ctx context.Context, size int64) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	return h.target().truncate(ctx, size)
}

// allocation is the kind and reach of each mode of fallocate(2) that is not plain allocation.
type allocation struct {
	mode   uint32
	kind   ChangeKind
	shifts bool // all that follows moves
}

// Allocate applies mode FALLOC_FL_* to n bytes at off (fallocate(2)). Through a Handle with O_SYNC or O_DSYNC it is
// durable before it returns.
func (h *Handle) Allocate(ctx context.Context, mode uint32, off, n int64) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	if off < 0 || n <= 0 {
		return unix.EINVAL
	}
	kind, r := ChangeAllocate, Range{off, n}
	for _, a := range [...]allocation{
		{unix.FALLOC_FL_PUNCH_HOLE, ChangePunchHole, false},
		{unix.FALLOC_FL_ZERO_RANGE, ChangeZeroRange, false},
		{unix.FALLOC_FL_COLLAPSE_RANGE, ChangeCollapse, true},
		{unix.FALLOC_FL_INSERT_RANGE, ChangeInsert, true},
	} {
		if mode&a.mode != 0 {
			kind = a.kind
			if a.shifts {
				r.Length = -1
			}
		}
	}
	c, err := h.v.BeginChange(ctx, h.origin, h.ref.id, kind, r)
	if err != nil {
		return err
	}
	err = h.v.change(ctx, Op{Kind: KindFallocate, FD: h.fd, Flags: int(mode), Offset: off, Length: n}, h.flags&unix.O_DSYNC != 0)
	c.End(err)
	return err
}

// CopyRange copies up to n bytes inside the kernel, or inside the file system if it shares blocks, and returns how
// many: 0 at the end of src.
func (h *Handle) CopyRange(ctx context.Context, src *Handle, srcOff, dstOff int64, n int) (int, error) {
	if err := h.enter(); err != nil {
		return 0, err
	}
	defer h.leave()
	if err := src.enter(); err != nil {
		return 0, err
	}
	defer src.leave()
	if srcOff < 0 || dstOff < 0 || n < 0 {
		return 0, unix.EINVAL
	}
	c, err := h.v.BeginChange(ctx, h.origin, h.ref.id, ChangeCopy, Range{dstOff, int64(n)})
	if err != nil {
		return 0, err
	}
	n, err = h.v.engine.CopyFileRange(ctx, FileRange{FD: src.fd, Offset: srcOff}, FileRange{FD: h.fd, Offset: dstOff}, int64(n))
	c.End(err)
	return n, err
}

// Seek finds the next data or hole from off: whence SEEK_DATA or SEEK_HOLE. ENXIO: there is none.
func (h *Handle) Seek(ctx context.Context, off int64, whence int) (int64, error) {
	if err := h.enter(); err != nil {
		return 0, err
	}
	defer h.leave()
	if h.ref.typ != unix.S_IFREG || whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	return h.v.engine.Seek(ctx, h.fd, off, whence)
}

// SpliceTo puts up to n bytes of the page cache from off into a pipe by reference, and returns how many. The range
// is shared meanwhile, so that what goes in is what the file held at one moment for each page; what happens to the
// pages in the pipe afterwards is the caller's care. It is short only at the end of file or when the pipe is full, and
// reports EAGAIN for a pipe without any room. A Handle with O_DIRECT gives copies.
func (h *Handle) SpliceTo(ctx context.Context, pipeFD int, off int64, n int) (int, error) {
	if err := h.enter(); err != nil {
		return 0, err
	}
	defer h.leave()
	if off < 0 || n < 0 {
		return 0, unix.EINVAL
	}
	if n == 0 {
		return 0, nil
	}
	s, err := h.v.BeginShare(ctx, h.ref.id, Range{off, int64(n)})
	if err != nil {
		return 0, err
	}
	defer s.End()
	total := 0
	for total < n {
		from := FileRange{FD: h.fd, Offset: off + int64(total)}
		m, err := h.v.engine.Splice(ctx, from, FileRange{FD: pipeFD, Offset: -1}, int64(n-total), unix.SPLICE_F_NONBLOCK, false)
		if errors.Is(err, unix.EAGAIN) && total > 0 {
			break
		}
		if err != nil {
			return total, err
		}
		if m == 0 {
			break
		}
		total += m
	}
	return total, nil
}

// Flush reports errors that the file system has kept for close(2) (NFS, quotas), by closing a duplicate.
func (h *Handle) Flush(ctx context.Context) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	fd, err := h.v.dup(h.fd)
	if err != nil {
		return err
	}
	return h.v.engine.CloseFD(ctx, fd)
}
