//go:build linux

package dirshare

import (
	"sync"

	"github.com/uringfs/uringfs/uringbackend"
)

// place is a name in a directory: where an object was found, or will be.
type place struct {
	dir  *uringbackend.Ref // counted; nil for the root itself
	name string
	path string
}

func (p place) release() {
	if p.dir != nil {
		p.dir.Release()
	}
}

// openName is a name by which files are open now. All files opened by one name share it, so that a rename through one of
// them is seen by the others.
type openName struct {
	// Immutable after hold.
	linked uringbackend.FileID // what the name names: a symbolic link, where files were reached through one

	mu sync.Mutex
	// +checklocks:mu
	at place

	// Guarded by names.mu.
	key  nameKey
	refs int
}

type nameKey struct {
	dir    uringbackend.FileID
	name   string
	linked uringbackend.FileID
}

func keyOf(p place, linked uringbackend.FileID) nameKey {
	k := nameKey{name: p.name, linked: linked}
	if p.dir != nil {
		k.dir = p.dir.ID()
	}
	return k
}

// names are the names by which files are open. The zero value is empty.
type names struct {
	mu sync.Mutex
	// +checklocks:mu
	open map[nameKey]*openName
}

// hold takes at and returns its name, which release gives back.
func (t *names) hold(at place, linked uringbackend.FileID) *openName {
	k := keyOf(at, linked)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.open[k]
	if n != nil {
		at.release()
	} else {
		if t.open == nil {
			t.open = map[nameKey]*openName{}
		}
		n = &openName{linked: linked, at: at, key: k}
		t.open[k] = n
	}
	n.refs++
	return n
}

// release gives n back.
func (t *names) release(n *openName) {
	t.mu.Lock()
	n.refs--
	last := n.refs == 0
	if last && t.open[n.key] == n {
		delete(t.open, n.key)
	}
	t.mu.Unlock()
	if last {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.at.release()
	}
}

// moveLocked takes to, where n is now. It needs n.mu.
//
// +checklocks:n.mu
func (t *names) moveLocked(n *openName, to place) {
	k := keyOf(to, n.linked)
	t.mu.Lock()
	if t.open[n.key] == n {
		delete(t.open, n.key)
	}
	n.key = k
	t.open[k] = n
	t.mu.Unlock()
	n.at.release()
	n.at = to
}
