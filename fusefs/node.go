//go:build linux

package fusefs

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/uringfs/uringfs/uringbackend"
)

// node is an inode that the kernel knows by its node id.
type node struct {
	// Immutable after creation.
	id  uint64
	ref *uringbackend.Ref // owned; released when the kernel has forgotten every lookup

	// Guarded by the shard's mu: how many more lookups the kernel may forget. INVARIANT: > 0 while in the table.
	lookups uint64
}

const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// nodeTable maps node ids to inodes and back. A node id is never used twice in the life of a mount, so its generation is
// constant; the low bits are its shard, so that one lock guards both directions.
type nodeTable struct {
	root   *node
	next   atomic.Uint64
	log    *slog.Logger
	shards [shardCount]nodeShard
}

type nodeShard struct {
	mu   sync.RWMutex
	byID map[uint64]*node              // +checklocks:mu
	byFI map[uringbackend.FileID]*node // +checklocks:mu
}

// newNodeTable takes root.
func newNodeTable(root *uringbackend.Ref, log *slog.Logger) *nodeTable {
	t := &nodeTable{root: &node{id: fuse.FUSE_ROOT_ID, ref: root, lookups: 1}, log: log}
	for i := range t.shards {
		t.shards[i].byID = make(map[uint64]*node)
		t.shards[i].byFI = make(map[uringbackend.FileID]*node)
	}
	return t
}

func shardOf(id uringbackend.FileID) uint64 {
	h := id.Ino*0x9e3779b97f4a7c15 ^ id.Dev*0xc2b2ae3d27d4eb4f ^ id.Gen
	return (h ^ h>>32) >> 7 & (shardCount - 1)
}

// get returns the node of an id that the kernel sent, or nil for one it cannot know.
func (t *nodeTable) get(id uint64) *node {
	if id == fuse.FUSE_ROOT_ID {
		return t.root
	}
	s := &t.shards[id&(shardCount-1)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

// enter counts one lookup of the inode behind ref, which it takes, and returns its node.
func (t *nodeTable) enter(ref *uringbackend.Ref) *node {
	fi := ref.ID()
	if fi == t.root.ref.ID() {
		ref.Release()
		return t.root
	}
	shard := shardOf(fi)
	s := &t.shards[shard]
	s.mu.Lock()
	n := s.byFI[fi]
	known := n != nil
	if !known {
		// 1 is the root and 0 means "no such name": counting from 1 keeps clear of both.
		n = &node{id: t.next.Add(1)<<shardBits | shard, ref: ref}
		s.byID[n.id], s.byFI[fi] = n, n
	}
	n.lookups++
	s.mu.Unlock()
	if known {
		ref.Release()
	}
	return n
}

// again counts one more lookup of a node that a request in progress names.
func (t *nodeTable) again(n *node) {
	if n == t.root {
		return
	}
	s := &t.shards[n.id&(shardCount-1)]
	s.mu.Lock()
	n.lookups++
	s.mu.Unlock()
}

// forget takes back count lookups and drops the node with the last.
func (t *nodeTable) forget(id, count uint64) {
	if id == fuse.FUSE_ROOT_ID {
		return
	}
	s := &t.shards[id&(shardCount-1)]
	s.mu.Lock()
	n := s.byID[id]
	if n == nil || n.lookups < count {
		s.mu.Unlock()
		t.log.Error("kernel forgets lookups that it never made", "node", id, "count", count)
		return
	}
	n.lookups -= count
	gone := n.lookups == 0
	if gone {
		delete(s.byID, id)
		delete(s.byFI, n.ref.ID())
	}
	s.mu.Unlock()
	if gone {
		n.ref.Release()
	}
}

// known returns the node id of an inode, 0 if the kernel does not know it.
func (t *nodeTable) known(fi uringbackend.FileID) uint64 {
	if fi == t.root.ref.ID() {
		return t.root.id
	}
	s := &t.shards[shardOf(fi)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.byFI[fi]; n != nil {
		return n.id
	}
	return 0
}

// ids lists all nodes that the kernel knows, the root first.
func (t *nodeTable) ids() []uint64 {
	ids := []uint64{t.root.id}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for id := range s.byID {
			ids = append(ids, id)
		}
		s.mu.RUnlock()
	}
	return ids
}

func (t *nodeTable) count() int {
	n := 1
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.byID)
		s.mu.RUnlock()
	}
	return n
}

// clear drops every node: the connection is gone, and the kernel forgets nothing any more.
func (t *nodeTable) clear() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		nodes := s.byID
		s.byID = make(map[uint64]*node)
		s.byFI = make(map[uringbackend.FileID]*node)
		s.mu.Unlock()
		for _, n := range nodes {
			n.ref.Release()
		}
	}
	t.root.ref.Release()
}
