//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Range is a range of bytes of a file.
type Range struct {
	Offset int64
	Length int64 // < 0: to infinity; 0: nothing
}

// bounds rounds r out to pages: what is held by reference, guarded or invalidated is always a whole page.
func (r Range) bounds(page int64) (start, end int64) {
	if r.Length == 0 || r.Offset < 0 {
		return 0, 0
	}
	start = r.Offset &^ (page - 1)
	if r.Length < 0 || r.Offset > math.MaxInt64-r.Length-page {
		return start, math.MaxInt64
	}
	return start, (r.Offset + r.Length + page - 1) &^ (page - 1)
}

// Change is a change under way: the exclusive hold of a range of one inode, from BeginChange to End.
type Change struct {
	v      *Volume
	claim  claim
	bytes  Range
	origin Origin
	kind   ChangeKind
	isDir  bool
	ended  bool
}

// ByRef is the shared hold of a range whose pages are being taken by reference, from BeginShare to End.
type ByRef struct {
	v     *Volume
	claim claim
	ended bool
}

// BeginChange is the one door for changes: it waits for every overlapping share and change of the inode, in order
// of arrival, and then holds the range, rounded out to pages, until End. ctx ends the wait with ECANCELED. A range
// of length 0 (attributes, names) excludes nobody. Between BeginChange and End there is one operation on the
// backing file and nothing that waits for a peer, a lease or a notification; a holder never begins another.
func (v *Volume) BeginChange(ctx context.Context, origin Origin, id FileID, kind ChangeKind, r Range) (*Change, error) {
	c := &Change{v: v, origin: origin, kind: kind, bytes: r}
	c.claim.init(id, r, v.ranges.page, true)
	if err := v.ranges.acquire(ctx, &c.claim); err != nil {
		return nil, err
	}
	return c, nil
}

// TryBeginChange is BeginChange for threads that must not wait: false means that the range is not free now.
func (v *Volume) TryBeginChange(origin Origin, id FileID, kind ChangeKind, r Range) (*Change, bool) {
	c := &Change{v: v, origin: origin, kind: kind, bytes: r}
	c.claim.init(id, r, v.ranges.page, true)
	if !v.ranges.try(&c.claim) {
		return nil, false
	}
	return c, true
}

// End releases the range and then, when err is nil, publishes the Event. It is called exactly once.
func (c *Change) End(err error) {
	if c.ended {
		panic("uringbackend: Change ended twice")
	}
	c.ended = true
	c.v.ranges.release(&c.claim)
	if err == nil {
		c.v.events.publish(Event{Origin: c.origin, Kind: c.kind, ID: c.claim.id, Range: c.bytes, IsDir: c.isDir})
	}
}

// BeginShare waits for overlapping changes, in order of arrival, and then holds the range together with other
// shares, until End. It is held only until the pages are referenced, not until a peer has them.
func (v *Volume) BeginShare(ctx context.Context, id FileID, r Range) (*ByRef, error) {
	s := &ByRef{v: v}
	s.claim.init(id, r, v.ranges.page, false)
	if err := v.ranges.acquire(ctx, &s.claim); err != nil {
		return nil, err
	}
	return s, nil
}

// End releases the range. It is called exactly once.
func (s *ByRef) End() {
	if s.ended {
		panic("uringbackend: ByRef ended twice")
	}
	s.ended = true
	s.v.ranges.release(&s.claim)
}

// claim is one interval that somebody holds or waits for. It is part of its Change or ByRef.
type claim struct {
	id         FileID
	start, end int64 // bytes; empty: in no list, excludes nobody
	exclusive  bool

	// Guarded by the shard's mu.
	prev, next *claim
	granted    chan struct{} // made when it has to wait, closed when it need not any more
	held       bool
}

func (c *claim) init(id FileID, r Range, page int64, exclusive bool) {
	c.id, c.exclusive = id, exclusive
	c.start, c.end = r.bounds(page)
}

func (c *claim) conflicts(o *claim) bool {
	return (c.exclusive || o.exclusive) && c.start < o.end && o.start < c.end
}

// claims is a list in order of arrival.
type claims struct{ first, last *claim }

func (l *claims) push(c *claim) {
	c.prev, c.next = l.last, nil
	if l.last != nil {
		l.last.next = c
	} else {
		l.first = c
	}
	l.last = c
}

func (l *claims) remove(c *claim) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.last = c.prev
	}
	c.prev, c.next = nil, nil
}

// blocks says whether a claim of the list that comes before stop (nil: any) is in the way of c.
func (l *claims) blocks(c, stop *claim) bool {
	for o := l.first; o != stop; o = o.next {
		if o.conflicts(c) {
			return true
		}
	}
	return false
}

// inodeRanges are the claims on one inode. It exists while there is any.
//
// INVARIANT: no two claims in held conflict.
// INVARIANT: each claim in waiting conflicts with one in held or with an earlier one in waiting.
type inodeRanges struct{ held, waiting claims }

const (
	rangeShards   = 64
	maxFreeRanges = 32 // per shard; enough for the inodes that are busy at a time, so that begin does not allocate
)

// rangeTable holds the claims of all inodes.
type rangeTable struct {
	page   int64 // bytes, immutable
	shards [rangeShards]rangeShard
}

type rangeShard struct {
	mu sync.Mutex
	// +checklocks:mu
	inodes map[FileID]*inodeRanges
	// +checklocks:mu
	free []*inodeRanges
	_    [64]byte // a cache line between neighbours
}

func (t *rangeTable) init() {
	t.page = int64(os.Getpagesize())
	for i := range t.shards {
		t.shards[i].inodes = make(map[FileID]*inodeRanges)
	}
}

func (t *rangeTable) shard(id FileID) *rangeShard {
	return &t.shards[(id.Ino^id.Dev<<32)*0x9E3779B97F4A7C15>>58]
}

func (t *rangeTable) try(c *claim) bool {
	if c.start == c.end {
		return true
	}
	s := t.shard(c.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.inodeLocked(c.id)
	if in.held.blocks(c, nil) || in.waiting.blocks(c, nil) {
		return false // in is not empty, so it may stay
	}
	c.held = true
	in.held.push(c)
	return true
}

func (t *rangeTable) acquire(ctx context.Context, c *claim) error {
	if c.start == c.end {
		return nil
	}
	s := t.shard(c.id)
	s.mu.Lock()
	in := s.inodeLocked(c.id)
	if !in.held.blocks(c, nil) && !in.waiting.blocks(c, nil) {
		c.held = true
		in.held.push(c)
		s.mu.Unlock()
		return nil
	}
	granted := make(chan struct{})
	c.granted = granted
	in.waiting.push(c)
	s.mu.Unlock()

	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in = s.inodes[c.id]
	if c.held { // granted and cancelled at once: cancelled wins, and the next ones must hear of it
		in.held.remove(c)
		c.held = false
	} else {
		in.waiting.remove(c)
	}
	s.settleLocked(c.id, in)
	return unix.ECANCELED
}

func (t *rangeTable) release(c *claim) {
	if c.start == c.end {
		return
	}
	s := t.shard(c.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.inodes[c.id]
	in.held.remove(c)
	c.held = false
	s.settleLocked(c.id, in)
}

// +checklocks:s.mu
func (s *rangeShard) inodeLocked(id FileID) *inodeRanges {
	in := s.inodes[id]
	if in == nil {
		if n := len(s.free); n > 0 {
			in, s.free = s.free[n-1], s.free[:n-1]
		} else {
			in = new(inodeRanges)
		}
		s.inodes[id] = in
	}
	return in
}

// settleLocked grants, after a claim has gone, all that nothing is in the way of any more.
//
// +checklocks:s.mu
func (s *rangeShard) settleLocked(id FileID, in *inodeRanges) {
	for c := in.waiting.first; c != nil; {
		next := c.next
		if !in.held.blocks(c, nil) && !in.waiting.blocks(c, c) {
			in.waiting.remove(c)
			in.held.push(c)
			c.held = true
			close(c.granted)
		}
		c = next
	}
	if in.held.first == nil && in.waiting.first == nil {
		delete(s.inodes, id)
		if len(s.free) < maxFreeRanges {
			s.free = append(s.free, in)
		}
	}
}

// check verifies the invariants; for tests.
func (t *rangeTable) check() error {
	for i := range t.shards {
		if err := t.shards[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *rangeShard) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, in := range s.inodes {
		if in.held.first == nil {
			return fmt.Errorf("inode %v: nobody holds, yet it is in the table (waiting: %v)", id, in.waiting.first != nil)
		}
		for c := in.held.first; c != nil; c = c.next {
			if !c.held || c.id != id {
				return fmt.Errorf("inode %v: a claim in held is not marked so", id)
			}
			if in.held.blocks(c, c) {
				return fmt.Errorf("inode %v: two holders of [%d,%d) conflict", id, c.start, c.end)
			}
		}
		for c := in.waiting.first; c != nil; c = c.next {
			if c.held || c.id != id {
				return fmt.Errorf("inode %v: a claim in waiting is marked held", id)
			}
			if !in.held.blocks(c, nil) && !in.waiting.blocks(c, c) {
				return fmt.Errorf("inode %v: [%d,%d) waits for nothing", id, c.start, c.end)
			}
		}
	}
	return nil
}
