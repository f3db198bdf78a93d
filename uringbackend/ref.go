//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Ref is a counted reference to one inode of the tree; all references to an inode share one Ref. While a count is
// held, the identity stays and operations find the same inode whatever happens to its names. Its O_PATH descriptor
// is lent by the Volume's cache, which may close it and open it again by file handle. Safe for concurrent use by all
// who hold a count.
//
// When another process removes the last name while the descriptor is not open and no Handle is, the inode dies and
// operations report ESTALE. The Volume's own removals keep the descriptor of a referenced inode open.
type Ref struct {
	// Immutable.
	v      *Volume
	id     FileID
	typ    uint32
	dev    *device
	handle unix.FileHandle // valid when the device's source is sourceHandle

	// Guarded by the mu of its refShard.
	count int
	next  *Ref // same inode number, another generation

	// Guarded by v.cache.mu.
	fd         int // -1: not open
	users      int // operations that use fd now
	pinned     bool
	gone       bool          // count is 0
	opening    chan struct{} // closed when the one who reopens is done
	prev, succ *Ref          // in the idle list
	idle       bool
}

// ID is the identity of the inode.
func (r *Ref) ID() FileID { return r.id }

// Type is the S_IFMT part of the mode, which never changes.
func (r *Ref) Type() uint32 { return r.typ }

// Retain takes one more count, to be given back by Release, and returns r.
func (r *Ref) Retain() *Ref {
	s := r.v.refShard(r.key())
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.count == 0 {
		panic("uringbackend: Retain of a released Ref")
	}
	r.count++
	return r
}

// Release gives back one count. With the last one the descriptor is closed.
func (r *Ref) Release() {
	if fd := r.drop(); fd >= 0 {
		r.v.closeFD(fd)
	}
}

// drop is Release that leaves the descriptor to be closed to its caller; -1: there is none.
func (r *Ref) drop() (fd int) {
	s := r.v.refShard(r.key())
	s.mu.Lock()
	if r.count == 0 {
		s.mu.Unlock()
		panic("uringbackend: Ref released too often")
	}
	r.count--
	last := r.count == 0
	if last {
		s.removeLocked(r)
	}
	s.mu.Unlock()
	if !last {
		return -1
	}
	return r.v.cache.forget(r)
}

// Dup returns an O_PATH descriptor of the inode. The caller owns it.
func (r *Ref) Dup(ctx context.Context) (int, error) {
	fd, err := r.acquire(ctx)
	if err != nil {
		return -1, err
	}
	defer r.release()
	return r.v.dup(fd)
}

// acquire lends the O_PATH descriptor until release, reopening it if need be.
func (r *Ref) acquire(ctx context.Context) (int, error) { return r.v.cache.acquire(ctx, r) }

func (r *Ref) release() { r.v.cache.release(r) }

func (r *Ref) key() refKey { return refKey{dev: r.id.Dev, ino: r.id.Ino, mount: r.dev.key.mount} }

func (r *Ref) target(o Origin, fd int) target {
	return target{v: r.v, origin: o, id: r.id, typ: r.typ, fd: fd}
}

// refKey finds the Refs of an inode number. One file system seen through two mounts has two Refs for an inode,
// because what may be done to it can differ; they share the FileID.
type refKey struct{ dev, ino, mount uint64 }

const refShards = 32

type refShard struct {
	mu sync.Mutex
	// +checklocks:mu
	refs map[refKey]*Ref
}

func (v *Volume) refShard(k refKey) *refShard {
	return &v.refs[(k.ino^k.dev<<32)*0x9E3779B97F4A7C15>>59]
}

// +checklocks:s.mu
func (s *refShard) removeLocked(r *Ref) {
	k := r.key()
	head := s.refs[k]
	if head == r {
		if r.next == nil {
			delete(s.refs, k)
		} else {
			s.refs[k] = r.next
		}
		return
	}
	for p := head; p != nil; p = p.next {
		if p.next == r {
			p.next = r.next
			return
		}
	}
}

// adopt takes an O_PATH descriptor and returns the Ref of its inode, with one more count.
func (v *Volume) adopt(ctx context.Context, fd int) (*Ref, Stat, error) {
	k, err := v.look(ctx, fd)
	if err != nil {
		v.closeFD(fd)
		return nil, Stat{}, err
	}
	return v.adoptKnown(ctx, fd, k)
}

// adoptKnown is adopt of what has been looked at.
func (v *Volume) adoptKnown(ctx context.Context, fd int, k known) (*Ref, Stat, error) {
	key := refKey{dev: k.id.Dev, ino: k.id.Ino, mount: k.dev.key.mount}
	s := v.refShard(key)
	s.mu.Lock()
	for r := s.refs[key]; r != nil; r = r.next {
		// Both descriptors are open now, so both are of the one living inode that has this number.
		if v.cache.isOpen(r) {
			r.count++
			s.mu.Unlock()
			v.closeFD(fd)
			k.st.ID = r.id
			return r, k.st, nil
		}
	}
	s.mu.Unlock()

	if err := v.identify(ctx, fd, &k); err != nil {
		v.closeFD(fd)
		return nil, Stat{}, err
	}
	fresh := &Ref{v: v, id: k.id, typ: k.st.Mode & unix.S_IFMT, dev: k.dev, handle: k.handle, fd: -1, count: 1}
	s.mu.Lock()
	r := s.refs[key]
	for r != nil && r.id != k.id {
		r = r.next
	}
	if r != nil {
		r.count++
	} else {
		r = fresh
		r.next = s.refs[key]
		s.refs[key] = r
	}
	s.mu.Unlock()
	if err := v.cache.give(r, fd); err != nil {
		r.Release()
		return nil, Stat{}, err
	}
	return r, k.st, nil
}

// fdCache bounds the O_PATH descriptors that Refs keep. A descriptor whose inode cannot be opened again by handle
// (no handles, no privilege, unlinked) is pinned: it stays open as long as its Ref lives. When pinned ones alone
// reach the bound, new ones are refused with EMFILE. Descriptors in use are not closed, so the number can exceed
// the bound by the number of operations under way.
//
// INVARIANT: idle list = open, not in use, not pinned.
type fdCache struct {
	v   *Volume
	max int

	mu sync.Mutex
	// +checklocks:mu
	open int
	// +checklocks:mu
	pinned int // of open
	// +checklocks:mu
	closed bool
	// +checklocks:mu
	oldest, newest *Ref // idle list
	// +checklocks:mu
	idle int
}

func (c *fdCache) isOpen(r *Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.fd >= 0
}

// give takes fd for r, whose descriptor was not open a moment ago.
func (c *fdCache) give(r *Ref, fd int) error {
	_, reopens := r.dev.reopener()
	reopens = reopens && handleValid(r.handle)
	c.mu.Lock()
	if r.fd >= 0 || c.closed {
		closed := c.closed
		c.mu.Unlock()
		c.v.closeFD(fd)
		if closed {
			return unix.EBADF
		}
		return nil
	}
	if !reopens && !r.pinned && c.pinned >= c.max {
		c.mu.Unlock()
		c.v.closeFD(fd)
		return unix.EMFILE
	}
	r.pinned = r.pinned || !reopens
	c.installLocked(r, fd)
	if !r.pinned {
		c.pushLocked(r)
	}
	c.trimAndUnlock(c.max)
	return nil
}

// +checklocks:c.mu
func (c *fdCache) installLocked(r *Ref, fd int) {
	r.fd = fd
	c.open++
	if r.pinned {
		c.pinned++
	}
}

// acquire lends r's descriptor; the caller calls release.
func (c *fdCache) acquire(ctx context.Context, r *Ref) (int, error) {
	for {
		c.mu.Lock()
		if c.closed || r.gone {
			c.mu.Unlock()
			return -1, unix.EBADF
		}
		if r.fd >= 0 {
			if r.idle {
				c.removeLocked(r)
			}
			r.users++
			fd := r.fd
			c.mu.Unlock()
			return fd, nil
		}
		if opening := r.opening; opening != nil {
			c.mu.Unlock()
			select {
			case <-opening:
				continue
			case <-ctx.Done():
				return -1, unix.ECANCELED
			}
		}
		r.opening = make(chan struct{})
		c.mu.Unlock()
		return c.reopen(ctx, r)
	}
}

// reopen is acquire for the one who found the descriptor closed.
func (c *fdCache) reopen(ctx context.Context, r *Ref) (int, error) {
	fd, err := c.v.openRef(ctx, r)
	c.mu.Lock()
	close(r.opening)
	r.opening = nil
	if err == nil && (c.closed || r.gone) {
		c.mu.Unlock()
		c.v.closeFD(fd)
		return -1, unix.EBADF
	}
	if err != nil {
		c.mu.Unlock()
		return -1, err
	}
	if r.fd >= 0 { // adopt was faster
		if r.idle {
			c.removeLocked(r)
		}
		r.users++
		spare := fd
		fd = r.fd
		c.mu.Unlock()
		c.v.closeFD(spare)
		return fd, nil
	}
	r.users++
	c.installLocked(r, fd)
	c.trimAndUnlock(c.max)
	return fd, nil
}

func (c *fdCache) release(r *Ref) {
	c.mu.Lock()
	r.users--
	if r.users > 0 || r.fd < 0 {
		c.mu.Unlock()
		return
	}
	if c.closed || r.gone {
		fd := c.takeLocked(r)
		c.mu.Unlock()
		c.v.closeFD(fd)
		return
	}
	if !r.pinned {
		c.pushLocked(r)
	}
	c.trimAndUnlock(c.max)
}

// pin keeps r's descriptor, which the caller has acquired, open for as long as r lives.
func (c *fdCache) pin(r *Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.pinned && r.fd >= 0 {
		r.pinned = true
		c.pinned++
	}
}

// unpin undoes pin where the inode can be opened again. The caller has acquired r.
func (c *fdCache) unpin(r *Ref) {
	if _, reopens := r.dev.reopener(); !reopens || !handleValid(r.handle) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.pinned && r.fd >= 0 {
		r.pinned = false
		c.pinned--
	}
}

// forget returns the descriptor of a Ref that has no count any more, to be closed, or -1.
func (c *fdCache) forget(r *Ref) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.gone = true
	if r.fd < 0 || r.users > 0 {
		return -1
	}
	if r.idle {
		c.removeLocked(r)
	}
	return c.takeLocked(r)
}

// shed closes up to n idle descriptors and says whether there was one: an answer to EMFILE.
func (c *fdCache) shed(n int) bool {
	c.mu.Lock()
	if c.idle == 0 {
		c.mu.Unlock()
		return false
	}
	c.trimAndUnlock(max(c.open-n, 0))
	return true
}

// close closes what is idle; what is in use is closed when released.
func (c *fdCache) close(pinned []*Ref) {
	c.mu.Lock()
	c.closed = true
	var fds []int
	for _, r := range pinned {
		if r.fd >= 0 && r.users == 0 && !r.idle {
			fds = append(fds, c.takeLocked(r))
		}
	}
	c.trimAndUnlock(0)
	for _, fd := range fds {
		c.v.closeFD(fd)
	}
}

// takeLocked takes the descriptor away from r.
//
// +checklocks:c.mu
func (c *fdCache) takeLocked(r *Ref) int {
	fd := r.fd
	r.fd = -1
	c.open--
	if r.pinned {
		c.pinned--
	}
	return fd
}

// trimAndUnlock closes the longest idle descriptors beyond limit, outside the lock.
//
// +checklocksrelease:c.mu
func (c *fdCache) trimAndUnlock(limit int) {
	if c.open <= limit || c.oldest == nil {
		c.mu.Unlock()
		return
	}
	var few [8]int
	fds := few[:0]
	for c.open > limit && c.oldest != nil {
		r := c.oldest
		c.removeLocked(r)
		fds = append(fds, c.takeLocked(r))
	}
	c.mu.Unlock()
	for _, fd := range fds {
		c.v.closeFD(fd)
	}
}

// +checklocks:c.mu
func (c *fdCache) pushLocked(r *Ref) {
	r.idle = true
	r.prev, r.succ = c.newest, nil
	if c.newest != nil {
		c.newest.succ = r
	} else {
		c.oldest = r
	}
	c.newest = r
	c.idle++
}

// +checklocks:c.mu
func (c *fdCache) removeLocked(r *Ref) {
	if r.prev != nil {
		r.prev.succ = r.succ
	} else {
		c.oldest = r.succ
	}
	if r.succ != nil {
		r.succ.prev = r.prev
	} else {
		c.newest = r.prev
	}
	r.prev, r.succ, r.idle = nil, nil, false
	c.idle--
}

// openRef opens r's inode by its handle and verifies that it is the one.
func (v *Volume) openRef(ctx context.Context, r *Ref) (int, error) {
	mount, ok := r.dev.reopener()
	if !ok || !handleValid(r.handle) {
		return -1, unix.ESTALE
	}
	fd, err := v.openRetrying(func() (int, error) {
		return v.engine.OpenByHandle(ctx, mount, r.handle, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	})
	if err != nil {
		return -1, err
	}
	stx := new(unix.Statx_t)
	if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_INO, stx); err != nil {
		v.closeFD(fd)
		return -1, err
	}
	if stx.Ino != r.id.Ino || unix.Mkdev(stx.Dev_major, stx.Dev_minor) != r.id.Dev || uint32(stx.Mode)&unix.S_IFMT != r.typ {
		v.closeFD(fd)
		return -1, unix.ESTALE
	}
	return fd, nil
}

func handleValid(h unix.FileHandle) bool { return h != unix.FileHandle{} }

// openRetrying runs open, and once more after closing cached descriptors if the process has too many.
func (v *Volume) openRetrying(open func() (int, error)) (int, error) {
	const batch = 64 // enough that a burst of opens does not come back for each
	fd, err := open()
	if errors.Is(err, unix.EMFILE) && v.cache.shed(batch) {
		fd, err = open()
	}
	return fd, err
}

// dup is dup(2) with close-on-exec.
func (v *Volume) dup(fd int) (int, error) {
	return v.openRetrying(func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) })
}

// checkRefs verifies the invariants of table and cache; for tests, while no operation is under way.
func (v *Volume) checkRefs() error {
	var open, pinned, idle int
	for i := range v.refs {
		s := &v.refs[i]
		s.mu.Lock()
		v.cache.mu.Lock()
		var err error
		for key, head := range s.refs {
			for r := head; r != nil; r = r.next {
				if r.count <= 0 || r.gone || r.key() != key || r.idle != (r.fd >= 0 && r.users == 0 && !r.pinned) {
					err = fmt.Errorf("ref %v: count %d gone %v fd %d users %d pinned %v idle %v",
						r.id, r.count, r.gone, r.fd, r.users, r.pinned, r.idle)
				}
				if r.fd >= 0 {
					open++
					if r.pinned {
						pinned++
					}
				}
				if r.idle {
					idle++
				}
			}
		}
		v.cache.mu.Unlock()
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	v.cache.mu.Lock()
	defer v.cache.mu.Unlock()
	if open != v.cache.open || pinned != v.cache.pinned || idle != v.cache.idle {
		return fmt.Errorf("cache counts %d open, %d pinned, %d idle; refs say %d, %d, %d",
			v.cache.open, v.cache.pinned, v.cache.idle, open, pinned, idle)
	}
	return nil
}
