//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is a byte-range lock as fcntl(2) and FUSE know it.
type Lock struct {
	Type   int16  // F_RDLCK, F_WRLCK, F_UNLCK
	Start  int64  // bytes
	Length int64  // bytes; 0: to infinity
	Owner  uint64 // whose lock it is; locks of one owner never conflict
	PID    uint32 // told to those who ask what is in their way
}

func (l Lock) flock() unix.Flock_t {
	return unix.Flock_t{Type: l.Type, Whence: unix.SEEK_SET, Start: l.Start, Len: l.Length}
}

func (l Lock) check() error {
	if l.Start < 0 || l.Length < 0 || l.Type != unix.F_RDLCK && l.Type != unix.F_WRLCK && l.Type != unix.F_UNLCK {
		return unix.EINVAL
	}
	return nil
}

// Waiting for locks of other processes is a loop of tries: F_OFD_SETLKW holds a thread and cannot be interrupted
// without a signal to it. Locks given back through this Volume wake those who wait at once.
const (
	lockTryFirst = time.Millisecond
	lockTryLast  = 50 * time.Millisecond
)

// lockTable knows who locks what through the Volume. The locks themselves are the kernel's, so that other processes
// take part: each owner has an open file description per inode, and what it locks there are open-file-description
// locks. So owners exclude each other whatever Handles they share, as POSIX locks of processes do.
type lockTable struct {
	mu sync.Mutex
	// +checklocks:mu
	inodes map[FileID]*lockedInode
}

func (t *lockTable) init() { t.inodes = make(map[FileID]*lockedInode) }

// lockedInode exists while an owner has locks on the inode or somebody is using it.
type lockedInode struct {
	id    FileID
	users int // guarded by lockTable.mu

	mu sync.Mutex
	// +checklocks:mu
	owners map[uint64]*lockOwner
	// +checklocks:mu
	changed chan struct{} // closed and replaced when something was given back
}

// lockOwner is one owner on one inode.
//
// INVARIANT: fd is open, and spans is what is locked through it.
type lockOwner struct {
	fd      int
	pid     uint32
	spans   []lockSpan
	handles map[*Handle]struct{} // through which it has locked
}

// lockSpan is a locked interval [start, end).
type lockSpan struct {
	start, end int64
	typ        int16
}

func (l Lock) span() lockSpan {
	end := int64(math.MaxInt64)
	if l.Length > 0 && l.Start <= math.MaxInt64-l.Length {
		end = l.Start + l.Length
	}
	return lockSpan{start: l.Start, end: end, typ: l.Type}
}

// apply is what the kernel does to one owner's locks: the new one replaces what it overlaps.
func (o *lockOwner) apply(n lockSpan) {
	var out []lockSpan
	for _, s := range o.spans {
		if s.start < n.start {
			out = append(out, lockSpan{s.start, min(s.end, n.start), s.typ})
		}
		if s.end > n.end {
			out = append(out, lockSpan{max(s.start, n.end), s.end, s.typ})
		}
	}
	out = slices.DeleteFunc(out, func(s lockSpan) bool { return s.start >= s.end })
	if n.typ != unix.F_UNLCK {
		out = append(out, n)
	}
	o.spans = out
}

func (t *lockTable) use(id FileID) *lockedInode {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.inodes[id]
	if in == nil {
		in = &lockedInode{id: id, owners: make(map[uint64]*lockOwner), changed: make(chan struct{})}
		t.inodes[id] = in
	}
	in.users++
	return in
}

// done is called without in.mu.
func (t *lockTable) done(in *lockedInode) {
	in.mu.Lock()
	defer in.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	in.users--
	if in.users == 0 && len(in.owners) == 0 {
		delete(t.inodes, in.id)
	}
}

// +checklocks:in.mu
func (in *lockedInode) wakeLocked() {
	close(in.changed)
	in.changed = make(chan struct{})
}

func (in *lockedInode) wake() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.wakeLocked()
}

func (in *lockedInode) watch() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.changed
}

// GetLock returns the first lock that keeps l from being set; its Type is F_UNLCK if there is none. PID is 0 if the
// lock belongs to a process that does not go through the Volume and locks by open file description.
func (h *Handle) GetLock(ctx context.Context, l Lock) (Lock, error) {
	if err := l.check(); err != nil {
		return Lock{}, err
	}
	if err := h.enter(); err != nil {
		return Lock{}, err
	}
	defer h.leave()
	in := h.v.locks.use(h.ref.id)
	defer h.v.locks.done(in)
	in.mu.Lock()
	defer in.mu.Unlock()
	fd := h.fd
	if o := in.owners[l.Owner]; o != nil {
		fd = o.fd
	}
	got, err := h.v.engine.OFDGetlk(ctx, fd, l.flock())
	if err != nil {
		return Lock{}, err
	}
	if got.Type == unix.F_UNLCK {
		return Lock{Type: unix.F_UNLCK}, nil
	}
	found := Lock{Type: got.Type, Start: got.Start, Length: got.Len}
	if got.Pid > 0 {
		found.PID = uint32(got.Pid)
		return found, nil
	}
	span := found.span()
	for owner, o := range in.owners {
		if owner != l.Owner && slices.ContainsFunc(o.spans, func(s lockSpan) bool {
			return s.typ == span.typ && s.start < span.end && span.start < s.end
		}) {
			found.Owner, found.PID = owner, o.pid
		}
	}
	return found, nil
}

// SetLock sets or, with F_UNLCK, clears a lock of l.Owner. If another owner or process is in the way it reports
// EAGAIN, or with wait returns when it has the lock, when ctx ends (ECANCELED), or when the Handle is closed (EBADF).
// Waiters are not queued and deadlocks are not detected.
//
// Locks are released by F_UNLCK, by ReleaseLocks, and when every Handle that the owner locked through is closed.
func (h *Handle) SetLock(ctx context.Context, l Lock, wait bool) error {
	if err := l.check(); err != nil {
		return err
	}
	in := h.v.locks.use(h.ref.id)
	defer h.v.locks.done(in)
	return h.tryLock(ctx, in, wait, func() error {
		in.mu.Lock()
		defer in.mu.Unlock()
		return h.setLockLocked(ctx, in, l)
	})
}

// tryLock calls try, with the descriptor kept open, until it reports something else than EAGAIN.
func (h *Handle) tryLock(ctx context.Context, in *lockedInode, wait bool, try func() error) error {
	attempt := func() error {
		if err := h.enter(); err != nil {
			return err
		}
		defer h.leave()
		return try()
	}
	pause := lockTryFirst
	var timer *time.Timer
	for {
		changed := in.watch()
		err := attempt()
		if !wait || !errors.Is(err, unix.EAGAIN) {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-changed:
			pause = lockTryFirst
		case <-timer.C:
			pause = min(2*pause, lockTryLast)
		case <-h.closing:
			return unix.EBADF
		case <-ctx.Done():
			return unix.ECANCELED
		}
	}
}

// +checklocks:in.mu
func (h *Handle) setLockLocked(ctx context.Context, in *lockedInode, l Lock) error {
	o := in.owners[l.Owner]
	if l.Type == unix.F_UNLCK && o == nil {
		return nil
	}
	fresh := o == nil
	if fresh {
		fd, err := h.openForLocks(ctx)
		if err != nil {
			return err
		}
		o = &lockOwner{fd: fd, handles: make(map[*Handle]struct{})}
	}
	if err := h.v.engine.OFDSetlk(ctx, o.fd, l.flock(), false); err != nil {
		if fresh {
			h.v.closeFD(o.fd)
		}
		return err
	}
	in.owners[l.Owner] = o
	o.pid = l.PID
	o.apply(l.span())
	if l.Type != unix.F_UNLCK {
		o.handles[h] = struct{}{}
		h.noteLocks(l.Owner)
	}
	if l.Type == unix.F_UNLCK && len(o.spans) == 0 {
		h.v.dropOwnerLocked(in, l.Owner)
	}
	in.wakeLocked() // an unlock, or a write lock that became a read lock
	return nil
}

// openForLocks opens a description of its own. A lock for reading needs one that reads, a lock for writing one that
// writes; who only holds a Handle for one needs no more.
func (h *Handle) openForLocks(ctx context.Context) (int, error) {
	fd, err := h.v.reopen(ctx, h.fd, unix.O_RDWR)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) ||
		errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EISDIR) {
		fd, err = h.v.reopen(ctx, h.fd, h.flags&unix.O_ACCMODE)
	}
	return fd, err
}

// dropOwnerLocked releases all locks of an owner: they go with its description.
//
// +checklocks:in.mu
func (v *Volume) dropOwnerLocked(in *lockedInode, owner uint64) {
	o := in.owners[owner]
	if o == nil {
		return
	}
	delete(in.owners, owner)
	v.closeFD(o.fd)
	in.wakeLocked()
}

// ReleaseLocks releases all locks of owner on the inode: what POSIX says happens when the owner closes any descriptor
// of it (FUSE FLUSH).
func (h *Handle) ReleaseLocks(_ context.Context, owner uint64) error {
	in := h.v.locks.use(h.ref.id)
	defer h.v.locks.done(in)
	in.mu.Lock()
	defer in.mu.Unlock()
	h.v.dropOwnerLocked(in, owner)
	return nil
}

func (h *Handle) noteLocks(owner uint64) {
	h.lockMu.Lock()
	defer h.lockMu.Unlock()
	if h.lockOwners == nil {
		h.lockOwners = make(map[uint64]struct{})
	}
	h.lockOwners[owner] = struct{}{}
}

// Flock applies LOCK_SH, LOCK_EX or LOCK_UN (flock(2)) to the open file of the Handle; waiting is as for SetLock.
func (h *Handle) Flock(ctx context.Context, how int, wait bool) error {
	how &^= unix.LOCK_NB
	in := h.v.locks.use(h.ref.id)
	defer h.v.locks.done(in)
	err := h.tryLock(ctx, in, wait, func() error { return h.v.engine.Flock(ctx, h.fd, how, false) })
	if err == nil {
		h.flocked.Store(true)
		in.wake()
	}
	return err
}

// dropLocks runs when the Handle is closed: owners lose the locks that no other Handle of theirs keeps, and those
// who wait for its flock hear of it.
func (h *Handle) dropLocks() {
	h.lockMu.Lock()
	owners := h.lockOwners
	h.lockOwners = nil
	h.lockMu.Unlock()
	if len(owners) == 0 && !h.flocked.Load() {
		return
	}
	in := h.v.locks.use(h.ref.id)
	defer h.v.locks.done(in)
	in.mu.Lock()
	defer in.mu.Unlock()
	for owner := range owners {
		if o := in.owners[owner]; o != nil {
			delete(o.handles, h)
			if len(o.handles) == 0 {
				h.v.dropOwnerLocked(in, owner)
			}
		}
	}
	in.wakeLocked()
}
