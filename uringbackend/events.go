//go:build linux

package uringbackend

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Origin is the room that makes a change. It travels in events, so that a subscriber can ignore its own.
type Origin uint8

// Origins.
const (
	OriginUnknown Origin = iota
	OriginMount          // a program on the FUSE mount
	OriginServer         // an SMB client
	OriginLab            // the race lab
)

// String is the name used in logs and reports.
func (o Origin) String() string {
	switch o {
	case OriginMount:
		return "mount"
	case OriginServer:
		return "server"
	case OriginLab:
		return "lab"
	default:
		return "unknown"
	}
}

// ChangeKind says what a change does to a file or to a name.
type ChangeKind uint8

// Changes of content, of attributes, and of names.
const (
	ChangeInvalid ChangeKind = iota
	ChangeWrite
	ChangeAppend
	ChangeTruncate
	ChangeAllocate
	ChangePunchHole
	ChangeZeroRange
	ChangeCollapse
	ChangeInsert
	ChangeCopy
	ChangeClone
	ChangeAttr
	ChangeXattr
	ChangeCreate // a new inode got its first name: file, directory, node, symbolic link
	ChangeLink   // an inode got one more name
	ChangeUnlink // a name is gone, by unlink, rmdir, or a rename onto it
	ChangeRename

	changeKinds
)

var changeNames = [changeKinds]string{
	"invalid", "write", "append", "truncate", "allocate", "punch_hole", "zero_range", "collapse", "insert", "copy",
	"clone", "attr", "xattr", "create", "link", "unlink", "rename",
}

// String is the name used in logs and reports.
func (k ChangeKind) String() string {
	if k < changeKinds {
		return changeNames[k]
	}
	return "change(" + strconv.Itoa(int(k)) + ")"
}

// Event tells of one change that has been made through the Volume. A change of content names the inode and the
// range. A change of a name also says which: Dir and Name, and for ChangeRename NewDir and NewName.
//
// For changes of names ID is who had the name just before the change; when another process swaps names at that
// moment it can be the neighbour's.
type Event struct {
	Origin  Origin
	Kind    ChangeKind
	ID      FileID
	Range   Range
	Dir     FileID
	Name    string
	NewDir  FileID
	NewName string
	IsDir   bool // the subject is a directory
}

// Subscription is a queue of events. The subscriber reads C until it is closed.
type Subscription struct {
	// C is closed by Close, and by the Volume's Close.
	C <-chan Event

	events *events
	lost   atomic.Uint64

	mu sync.Mutex
	// +checklocks:mu
	queue chan Event // nil once closed
}

// Subscribe returns a queue of all changes made through the Volume from now on. It holds buffer events (at least
// one); what does not fit is lost and counted. Changes that do not overlap, or that touch different files, may be
// reported in another order than they were made in.
func (v *Volume) Subscribe(buffer int) *Subscription {
	queue := make(chan Event, max(buffer, 1))
	s := &Subscription{C: queue, events: &v.events, queue: queue}
	v.events.add(s)
	return s
}

// Lost counts events that did not fit. A subscriber that sees it grow must drop all that it has cached.
func (s *Subscription) Lost() uint64 { return s.lost.Load() }

// Close ends the subscription and closes C. What is queued can still be read. A second Close does nothing.
func (s *Subscription) Close() {
	s.events.remove(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue != nil {
		close(s.queue)
		s.queue = nil
	}
}

func (s *Subscription) send(ev Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		return
	}
	select {
	case s.queue <- ev:
	default:
		s.lost.Add(1)
	}
}

// events is the list of subscribers. Publishing reads a snapshot and takes no lock while there is none.
type events struct {
	mu   sync.Mutex // serialises writers of subs
	subs atomic.Pointer[[]*Subscription]
}

func (e *events) add(s *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := append(slices.Clone(e.list()), s)
	e.subs.Store(&all)
}

func (e *events) remove(s *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(e.list()), func(o *Subscription) bool { return o == s })
	e.subs.Store(&all)
}

func (e *events) list() []*Subscription {
	if p := e.subs.Load(); p != nil {
		return *p
	}
	return nil
}

// publish must be called with no range, handle or table lock held.
func (e *events) publish(ev Event) {
	for _, s := range e.list() {
		s.send(ev)
	}
}

func (e *events) close() {
	for _, s := range e.list() {
		s.Close()
	}
}
