package smbserver

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
)

// session is one entry of the session table, [MS-SMB2] 3.3.1.8. It belongs to the connection it was set up on; there is no
// binding of further channels.
type session struct {
	// Immutable after newSession.
	id   uint64
	conn *conn

	// Owned by the reader goroutine of conn.
	setup *setup // the logon or renewed logon in progress; nil if none

	// Written by the reader goroutine before valid is set, then immutable: renewing a logon changes no key.
	signer       *smbcrypt.Signer // nil for guests: they have no key
	signRequired bool
	guest        bool

	valid atomic.Bool // logged on
	user  atomic.Pointer[Identity]

	mu sync.Mutex
	// Guarded by mu.
	ended    bool             // +checklocks:mu out of the table; nothing is added any more
	nextTree uint32           // +checklocks:mu
	trees    map[uint32]*tree // +checklocks:mu
	opens    map[uint64]*open // +checklocks:mu by the volatile half of the id
}

func newSession(c *conn, id uint64) *session {
	s := &session{id: id, conn: c, trees: make(map[uint32]*tree), opens: make(map[uint64]*open)}
	s.user.Store(&Identity{})
	return s
}

// identity is who the session acts for.
func (s *session) identity() Identity { return *s.user.Load() }

// isEnded reports whether the session has been logged off, also by another connection that replaced it.
func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// tree returns the tree connection with that id.
func (s *session) tree(id uint32) (*tree, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.trees[id]
	return t, ok
}

// end takes the session's trees and opens out of their tables. Files are closed when the last request that uses them
// ends, at once if there is none. It may be called from any goroutine, and more than once.
func (s *session) end(ctx context.Context) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	clear(s.trees)
	opens := s.opensLocked(nil)
	s.mu.Unlock()
	for _, o := range opens {
		o.retire(ctx)
	}
	s.conn.srv.forget(s)
}

// opensLocked lists the opens of t, or all of them if t is nil.
//
// +checklocks:s.mu
func (s *session) opensLocked(t *tree) []*open {
	list := make([]*open, 0, len(s.opens))
	for _, o := range s.opens {
		if t == nil || o.tree == t {
			list = append(list, o)
		}
	}
	return list
}

// addTree makes a tree connection to e.
func (s *session) addTree(e *export) (*tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return nil, smb2.StatusUserSessionDeleted
	case len(s.trees) >= s.conn.srv.cfg.Limits.Trees:
		return nil, smb2.StatusInsufficientResources
	}
	for {
		s.nextTree++
		if s.nextTree == 0 || s.nextTree == ^uint32(0) { // 0 is "no tree", all ones is what clients send for it
			continue
		}
		if _, taken := s.trees[s.nextTree]; !taken {
			break
		}
	}
	t := &tree{id: s.nextTree, export: e}
	s.trees[t.id] = t
	return t, nil
}

// endTree takes a tree connection and its opens out of their tables; files are closed as in end.
func (s *session) endTree(ctx context.Context, t *tree) {
	s.mu.Lock()
	delete(s.trees, t.id)
	opens := s.opensLocked(t)
	s.mu.Unlock()
	for _, o := range opens {
		o.retire(ctx)
	}
}
