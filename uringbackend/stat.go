//go:build linux

package uringbackend

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what statx(2) says about an inode.
type Stat struct {
	ID             FileID
	Mode           uint32 // S_IFMT | permissions
	Nlink          uint32
	UID, GID       uint32
	Rdev           uint64
	Size           int64 // bytes
	Blocks         int64 // of 512 bytes
	Blksize        uint32
	Atime          time.Time
	Mtime          time.Time
	Ctime          time.Time
	Btime          time.Time // zero: unknown
	Attributes     uint64    // STATX_ATTR_*
	AttributesMask uint64    // which of them the file system knows
}

// IsDir says whether the inode is a directory.
func (s *Stat) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

func statOf(stx *unix.Statx_t, id FileID) Stat {
	st := Stat{
		ID: id, Mode: uint32(stx.Mode), Nlink: stx.Nlink, UID: stx.Uid, GID: stx.Gid,
		Rdev: unix.Mkdev(stx.Rdev_major, stx.Rdev_minor), Size: int64(stx.Size), Blocks: int64(stx.Blocks),
		Blksize: stx.Blksize, Atime: timeOf(stx.Atime), Mtime: timeOf(stx.Mtime), Ctime: timeOf(stx.Ctime),
		Attributes: stx.Attributes, AttributesMask: stx.Attributes_mask,
	}
	if stx.Mask&unix.STATX_BTIME != 0 {
		st.Btime = timeOf(stx.Btime)
	}
	return st
}

func timeOf(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// SetAttr says which attributes to change; nil and false leave one alone. The order of effects is size, owner,
// mode, times, so that what the kernel clears or touches on the way does not undo what was asked for. Birth time
// cannot be set on Linux.
type SetAttr struct {
	Mode     *uint32 // permissions, 07777
	UID, GID *uint32
	Size     *int64 // bytes
	Atime    *time.Time
	Mtime    *time.Time
	AtimeNow bool // wins over Atime
	MtimeNow bool // wins over Mtime
}

func (a *SetAttr) times() (access, modification unix.Timespec, any bool) {
	access, modification = timespecOf(a.Atime, a.AtimeNow), timespecOf(a.Mtime, a.MtimeNow)
	return access, modification, access.Nsec != unix.UTIME_OMIT || modification.Nsec != unix.UTIME_OMIT
}

func timespecOf(t *time.Time, now bool) unix.Timespec {
	switch {
	case now:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case t == nil:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	default:
		return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	}
}

// statFD asks for the attributes of the inode id that fd is open on.
func (v *Volume) statFD(ctx context.Context, fd int, id FileID) (Stat, error) {
	stx := new(unix.Statx_t)
	if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, statMask, stx); err != nil {
		return Stat{}, err
	}
	return statOf(stx, id), nil
}

// target is an inode as an operation sees it: a Ref's O_PATH descriptor or a Handle's.
type target struct {
	v      *Volume
	origin Origin
	id     FileID
	typ    uint32
	fd     int
	writes bool // fd is open for writing
	// durable: a new length is on stable storage before it is reported.
	durable bool
}

// setAttr applies a and returns the attributes after it. A failure leaves what was applied before it.
func (t target) setAttr(ctx context.Context, a SetAttr) (Stat, error) {
	if a.Size != nil {
		if err := t.truncate(ctx, *a.Size); err != nil {
			return Stat{}, err
		}
		ctx = context.WithoutCancel(ctx)
	}
	access, modification, times := a.times()
	if a.UID != nil || a.GID != nil || a.Mode != nil || times {
		c, err := t.v.BeginChange(ctx, t.origin, t.id, ChangeAttr, Range{})
		if err != nil {
			return Stat{}, err
		}
		c.isDir = t.typ == unix.S_IFDIR
		err = t.applyAttr(ctx, a, access, modification, times)
		c.End(err)
		if err != nil {
			return Stat{}, err
		}
	}
	return t.v.statFD(context.WithoutCancel(ctx), t.fd, t.id)
}

func (t target) applyAttr(ctx context.Context, a SetAttr, access, modification unix.Timespec, times bool) error {
	if a.UID != nil || a.GID != nil {
		uid, gid := -1, -1
		if a.UID != nil {
			uid = int(*a.UID)
		}
		if a.GID != nil {
			gid = int(*a.GID)
		}
		if err := t.v.engine.Fchown(ctx, t.fd, uid, gid); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	if a.Mode != nil {
		if err := t.v.engine.Fchmod(ctx, t.fd, *a.Mode&0o7777); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	if times {
		return t.v.engine.Utimens(ctx, t.fd, access, modification)
	}
	return nil
}

// truncate sets the length, through a descriptor of its own where t.fd cannot.
func (t target) truncate(ctx context.Context, size int64) error {
	switch {
	case size < 0:
		return unix.EINVAL
	case t.typ == unix.S_IFDIR:
		return unix.EISDIR
	case t.typ != unix.S_IFREG:
		return unix.EINVAL
	}
	fd := t.fd
	if !t.writes {
		w, err := t.v.reopen(ctx, t.fd, unix.O_WRONLY)
		if err != nil {
			return err
		}
		defer t.v.closeFD(w)
		fd = w
	}
	c, _, err := t.v.beginTail(ctx, fd, t.origin, t.id, ChangeTruncate, tail{guess: -1, at: size})
	if err != nil {
		return err
	}
	err = t.v.change(ctx, Op{Kind: KindFtruncate, FD: fd, Length: size}, t.durable)
	c.End(err)
	return err
}

// change carries op out on its descriptor and, if durable, makes the outcome durable by a linked fsync: both in one
// Submit, the second only if the first succeeded. It reports the error of the first that failed: like a write
// whose fsync failed, the change is then there, but not known to be on the disk.
func (v *Volume) change(ctx context.Context, op Op, durable bool) error {
	if !durable {
		_, err := v.engine.Do(ctx, op)
		return err
	}
	op.Link = true
	chain := []Op{op, {Kind: KindFsync, FD: op.FD}}
	var errs [2]error
	v.engine.Submit(context.WithoutCancel(ctx), chain, func(i, _ int, _ bool, err error) { errs[i] = err })
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// tail is the part of a file from the offset at, or from its end if that comes first.
type tail struct {
	guess int64 // at the size, not positive: none; a wrong one costs a wider hold, or one more look
	at    int64
}

// beginTail holds [min(t.at, size), ∞): what setting the length to t.at, or (infinite) appending, changes. The file may
// shrink before the hold is had; then what was held is not enough and the hold is taken again. It returns the size.
func (v *Volume) beginTail(
	ctx context.Context, fd int, origin Origin, id FileID, kind ChangeKind, t tail,
) (_ *Change, size int64, err error) {
	size = t.guess
	stx := new(unix.Statx_t)
	if size <= 0 {
		if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, unix.STATX_SIZE, stx); err != nil {
			return nil, 0, err
		}
		size = int64(stx.Size)
	}
	for {
		from := min(t.at, size)
		c, err := v.BeginChange(ctx, origin, id, kind, Range{from, -1})
		if err != nil {
			return nil, 0, err
		}
		if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, unix.STATX_SIZE, stx); err != nil {
			c.End(err)
			return nil, 0, err
		}
		size = int64(stx.Size)
		if size >= from {
			return c, size, nil
		}
		c.End(unix.EAGAIN)
	}
}
