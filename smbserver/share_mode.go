package smbserver

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/uringfs/uringfs/internal/smb2"
)

// Access bits that take part in the check of share modes, [MS-FSA] 2.1.5.1.2.2. An open that has none of them
// (attributes only) conflicts with nothing. On directories the same bits mean list, add file, add folder, traverse.
const (
	sharedReadAccess   = smb2.FileReadData | smb2.FileExecute
	sharedWriteAccess  = smb2.FileWriteData | smb2.FileAppendData
	sharedDeleteAccess = smb2.Delete
)

// grant is what one open holds in its share's table: its part of the share-mode check and of delete pending.
type grant struct {
	// Immutable after admit.
	file        File
	id          FileID
	access      smb2.AccessMask // granted access
	check       smb2.AccessMask // access and what the disposition needs besides (an overwrite writes)
	shareAccess smb2.ShareAccess
	// madeToDelete says that the open was made with FILE_DELETE_ON_CLOSE.
	madeToDelete bool

	// Guarded by shareModes.mu.
	deleteOnClose bool // the name becomes delete pending when this open is closed
	doomed        bool // delete pending: the last close of this name removes it
	posix         bool // POSIX semantics: this close removes the name, whoever else has it open
	closing       bool // release has begun; still counted while it removes the name
}

// shareModes is a share's table of who has which file open how. One exists per share, not per tree connection.
//
// There is one lock for all files because nothing under it blocks or does I/O, and because the question "is anything
// open below this directory" is about all of them. I/O that must not interleave with another CREATE of the same name
// (make and admit; remove at the last close) happens under the lock of that name.
//
// Lock order: name lock, then mu.
type shareModes struct {
	home atomic.Pointer[FileID] // of the share's root; nil until the first CREATE

	mu     sync.Mutex
	files  map[FileID][]*grant  // +checklocks:mu
	doomed int                  // +checklocks:mu number of grants with doomed set: most shares never look further
	names  map[string]*nameLock // +checklocks:mu
}

type nameLock struct {
	mu    sync.Mutex
	users int // guarded by shareModes.mu
}

func newShareModes() *shareModes {
	return &shareModes{files: make(map[FileID][]*grant), names: make(map[string]*nameLock)}
}

// lockName excludes other CREATEs and removals of path until the returned function is called.
func (m *shareModes) lockName(path string) (unlock func()) {
	m.mu.Lock()
	l := m.names[path]
	if l == nil {
		l = new(nameLock)
		m.names[path] = l
	}
	l.users++
	m.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(m.names, path)
		}
	}
}

// admit adds g, or says why its file cannot be opened so: DELETE_PENDING or SHARING_VIOLATION. The check goes both
// ways: what g wants against what the others allow, and what they have against what g allows.
func (m *shareModes) admit(g *grant) error {
	path := g.file.Path()
	m.mu.Lock()
	defer m.mu.Unlock()
	others := m.files[g.id]
	for _, o := range others {
		if o.doomed && o.file.Path() == path {
			return smb2.StatusDeletePending
		}
		if conflict(g.check, o.shareAccess) && o.conflicts() || conflict(o.access, g.shareAccess) && g.conflicts() {
			return smb2.StatusSharingViolation
		}
	}
	m.files[g.id] = append(others, g)
	return nil
}

// conflicts tells whether g takes part in share modes at all.
func (g *grant) conflicts() bool {
	return g.check&(sharedReadAccess|sharedWriteAccess|sharedDeleteAccess) != 0
}

// conflict tells whether access is more than share allows.
func conflict(access smb2.AccessMask, share smb2.ShareAccess) bool {
	return access&sharedReadAccess != 0 && share&smb2.ShareRead == 0 ||
		access&sharedWriteAccess != 0 && share&smb2.ShareWrite == 0 ||
		access&sharedDeleteAccess != 0 && share&smb2.ShareDelete == 0
}

// release takes g out of the table. If that was the last open of a name that is delete pending, it removes the name
// first, and the error says why that did not work. g.file is still open. It is called exactly once.
func (m *shareModes) release(ctx context.Context, g *grant) error {
	path := g.file.Path()
	m.mu.Lock()
	if g.deleteOnClose {
		m.doomLocked(g, path, true)
	}
	if !g.doomed || !g.posix && m.othersHoldLocked(g, path) {
		m.dropLocked(g)
		m.mu.Unlock()
		return nil
	}
	// Stays in the table while it removes, so that an open of the dying name is told DELETE_PENDING.
	g.closing = true
	m.mu.Unlock()

	unlock := m.lockName(path)
	err := g.file.Remove(ctx)
	m.mu.Lock()
	m.dropLocked(g)
	if g.posix && err == nil {
		m.doomLocked(g, path, false) // the name is gone; nobody is to remove it again
	}
	m.mu.Unlock()
	unlock()
	return err
}

// othersHoldLocked tells whether another open of the same name will be there to remove it.
//
// +checklocks:m.mu
func (m *shareModes) othersHoldLocked(g *grant, path string) bool {
	for _, o := range m.files[g.id] {
		if o != g && !o.closing && o.doomed && o.file.Path() == path {
			return true
		}
	}
	return false
}

// +checklocks:m.mu
func (m *shareModes) dropLocked(g *grant) {
	if g.doomed {
		m.doomed--
	}
	list := m.files[g.id]
	for i, o := range list {
		if o == g {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			list = list[:last]
			break
		}
	}
	if len(list) == 0 {
		delete(m.files, g.id)
		return
	}
	m.files[g.id] = list
}

// setDelete makes the name that g was opened by delete pending, or takes that back. The mark belongs to the name, so
// every open of it carries it; another hard link of the same file is not touched.
func (m *shareModes) setDelete(g *grant, on bool) {
	path := g.file.Path()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doomLocked(g, path, on)
}

// setDeleteOnClose changes the FILE_DELETE_ON_CLOSE of an open that was made with it; false if it was not.
func (m *shareModes) setDeleteOnClose(g *grant, on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !g.madeToDelete {
		return false
	}
	g.deleteOnClose = on
	return true
}

// abandon prepares the release of an open that its client never got: what the client asked to happen at the close does not
// happen, but a file that was made for it goes again, unless somebody has opened it meanwhile.
func (m *shareModes) abandon(g *grant, made bool) {
	path := g.file.Path()
	m.mu.Lock()
	defer m.mu.Unlock()
	g.deleteOnClose = false
	if made && len(m.files[g.id]) == 1 {
		m.doomLocked(g, path, true)
	}
}

// setPosixDelete makes g's close remove the name although others have it open.
func (m *shareModes) setPosixDelete(g *grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g.posix = true
}

// +checklocks:m.mu
func (m *shareModes) doomLocked(g *grant, path string, on bool) {
	for _, o := range m.files[g.id] {
		if o.doomed == on || o.file.Path() != path {
			continue
		}
		o.doomed = on
		if on {
			m.doomed++
		} else {
			m.doomed--
		}
	}
}

// deletePending tells whether the name that g was opened by is delete pending.
func (m *shareModes) deletePending(g *grant) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return g.doomed
}

// namePending tells whether some open file's name path is delete pending.
func (m *shareModes) namePending(path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doomed == 0 {
		return false
	}
	for _, list := range m.files {
		for _, o := range list {
			if o.doomed && o.file.Path() == path {
				return true
			}
		}
	}
	return false
}

// openElsewhere tells whether the file id is open by anyone but g (nil: by anyone).
func (m *shareModes) openElsewhere(id FileID, g *grant) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.files[id] {
		if o != g {
			return true
		}
	}
	return false
}

// openBelow tells whether anything beneath the directory dir is open.
func (m *shareModes) openBelow(dir string) bool {
	prefix := dir + "/"
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range m.files {
		for _, o := range list {
			if dir == "" || strings.HasPrefix(o.file.Path(), prefix) {
				return true
			}
		}
	}
	return false
}

// openForDelete tells whether the directory dir is open with DELETE access: nothing may then be renamed into it, because a
// rename opens its target directory without sharing delete, [MS-FSA] 2.1.5.15.11.
func (m *shareModes) openForDelete(dir string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range m.files {
		for _, o := range list {
			if o.access&smb2.Delete != 0 && o.file.Path() == dir {
				return true
			}
		}
	}
	return false
}

// learnHome finds out on which volume the share's root lies.
func (m *shareModes) learnHome(ctx context.Context, share Share, user Identity) error {
	if m.home.Load() != nil {
		return nil
	}
	root, err := share.Open(ctx, OpenParams{User: user})
	if err != nil {
		return fmt.Errorf("root of the share: %w", err)
	}
	id := root.ID()
	m.home.Store(&id)
	return root.Close()
}

// index returns the 64-bit number that clients take for the inode: the inode itself on the root's volume, so that it is
// the number the server's machine shows too; elsewhere mixed with the volume, because clients merge files of one number.
func (m *shareModes) index(id FileID) uint64 {
	home := m.home.Load()
	if home == nil || id.Volume == home.Volume {
		return id.Inode
	}
	const mix = 0x9E3779B97F4A7C15 // 2^64 over the golden ratio: spreads neighbouring device numbers
	return id.Inode ^ (id.Volume-home.Volume)*mix
}
