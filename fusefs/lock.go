//go:build linux

package fusefs

import (
	"context"
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// lockOwner is whose a POSIX lock is: a process, through one open file. fcntl(2) knows the process only, so that a program
// which opens a file twice is not in its own way and loses all its locks with the first descriptor it closes; posixtest
// demands the opposite (FcntlFlockLocksFile), and so did the issue that brought locks. Processes that share an open file
// by fork exclude each other in either reading. This function is the whole difference: return owner for that of fcntl(2).
func lockOwner(owner, fh uint64) uint64 { return owner ^ fh*0x9e3779b97f4a7c15 }

// lockOf translates the protocol's inclusive end into a length.
func lockOf(in *fuse.LkIn) uringbackend.Lock {
	l := uringbackend.Lock{
		Type: int16(in.Lk.Typ), Start: int64(in.Lk.Start), Owner: lockOwner(in.Owner, in.Fh), PID: in.Lk.Pid,
	}
	if in.Lk.End < math.MaxInt64 {
		l.Length = int64(in.Lk.End-in.Lk.Start) + 1
	}
	return l
}

// GetLk answers GETLK: the first lock in the way.
func (fs *rawFS) GetLk(_ <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	fs.count(opGetlk)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	l, err := f.h.GetLock(whole(), lockOf(in))
	if err != nil {
		return fs.status(err)
	}
	out.Lk = fuse.FileLock{Typ: uint32(l.Type), Start: uint64(l.Start), End: math.MaxInt64, Pid: l.PID}
	if l.Length > 0 {
		out.Lk.End = uint64(l.Start + l.Length - 1)
	}
	return fuse.OK
}

// SetLk answers SETLK, for fcntl(2) and flock(2) locks.
func (fs *rawFS) SetLk(_ <-chan struct{}, in *fuse.LkIn) fuse.Status {
	fs.count(opSetlk)
	return fs.lock(whole(), in, false)
}

// SetLkw answers SETLKW. It may wait for ever, and does so on a goroutine of its own: go-fuse starts another reader before
// it calls us. The interruption of the request ends it.
func (fs *rawFS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	fs.count(opSetlkw)
	return fs.lock(interruption(cancel), in, true)
}

func (fs *rawFS) lock(ctx context.Context, in *fuse.LkIn, wait bool) fuse.Status {
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	if in.LkFlags&fuse.LK_FLOCK == 0 {
		return fs.status(f.h.SetLock(ctx, lockOf(in), wait))
	}
	// A flock(2) lock belongs to the file description, and so does our handle.
	how := unix.LOCK_UN
	switch in.Lk.Typ {
	case unix.F_RDLCK:
		how = unix.LOCK_SH
	case unix.F_WRLCK:
		how = unix.LOCK_EX
	}
	return fs.status(f.h.Flock(ctx, how, wait))
}
