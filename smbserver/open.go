package smbserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/uringfs/uringfs/internal/smb2"
)

// open is one entry of the open table, [MS-SMB2] 3.3.1.10: a file, a directory, or a named pipe of IPC$.
//
// Life: CREATE builds it and calls [session.addOpen], which gives it its id and one reference for that request. Each
// request that names it holds a reference while it runs. CLOSE, TREE_DISCONNECT, LOGOFF and the end of the connection take it
// out of the table; the last reference to go calls onClose, then closes file or pipe. So nothing is closed under a request.
type open struct {
	// Immutable after addOpen.
	id        smb2.FileID
	sess      *session
	tree      *tree
	file      File    // nil for a pipe
	pipe      pipeEnd // nil for a file
	directory bool
	access    smb2.AccessMask // granted
	share     smb2.ShareAccess
	options   smb2.CreateOptions
	action    smb2.CreateAction
	// onClose ends what CREATE took besides the file: the share-mode grant, a delete on close. It runs once, before
	// file.Close, with a context that is not cancelled. Its error answers the CLOSE, if there is one.
	onClose func(ctx context.Context) error

	grant *grant   // the part in the share-mode table; nil for a pipe
	enum  *dirEnum // the position of QUERY_DIRECTORY; nil unless directory

	position atomic.Int64 // FilePositionInformation: behind the last READ or WRITE, or as set; used by nothing

	done chan struct{} // closed when file is closed

	mu sync.Mutex
	// Guarded by mu.
	refs   int   // +checklocks:mu the table's one included
	closed bool  // +checklocks:mu out of the table
	err    error // +checklocks:mu of closing; valid after done
}

// pipeEnd is the server's end of a named pipe on IPC$.
type pipeEnd interface {
	// read moves the next bytes of the oldest answer to p. A message longer than p leaves the rest for the next call and
	// returns StatusBufferOverflow with n > 0; no answer waiting is StatusPipeEmpty.
	read(ctx context.Context, p []byte) (n int, err error)
	// write takes one fragment of a request.
	write(ctx context.Context, p []byte) error
	close()
}

// addOpen puts o, of which CREATE has filled in the first block, into the table of its tree's session. On success the
// caller holds one reference, to be put into request.file, whose dispatcher drops it. On error (the session or tree ended
// meanwhile, or too many opens) the caller still owns everything in o.
func (s *session) addOpen(t *tree, o *open) error {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("file id: %w", err)
	}
	o.sess, o.tree = s, t
	o.done = make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return smb2.StatusUserSessionDeleted
	case s.trees[t.id] != t:
		return smb2.StatusNetworkNameDeleted
	case len(s.opens) >= s.conn.srv.cfg.Limits.Opens:
		return smb2.StatusTooManyOpenedFiles
	}
	// The volatile half is never used twice in the life of the server; the persistent half makes it unguessable.
	o.id = smb2.FileID{Persistent: binary.LittleEndian.Uint64(random[:]), Volatile: s.conn.srv.nextOpen.Add(1)}
	o.mu.Lock()
	o.refs = 2 // the table and the caller
	o.mu.Unlock()
	s.opens[o.id.Volatile] = o
	s.conn.srv.stats.opens.Add(1)
	return nil
}

// findOpen looks id up among the opens of one tree and takes a reference.
func (s *session) findOpen(t *tree, id smb2.FileID) (*open, bool) {
	s.mu.Lock()
	o := s.opens[id.Volatile]
	s.mu.Unlock()
	if o == nil || o.id != id || o.tree != t || !o.acquire() {
		return nil, false
	}
	return o, true
}

func (o *open) acquire() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.refs++
	return true
}

// release drops a reference. The last one closes the file.
func (o *open) release(ctx context.Context) {
	o.mu.Lock()
	o.refs--
	last := o.refs == 0
	o.mu.Unlock()
	if last {
		o.finish(ctx)
	}
}

// finish closes what the open holds. It runs once, when nobody else has a reference.
func (o *open) finish(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // a client that has gone does not undo its delete on close
	var err error
	if o.onClose != nil {
		err = o.onClose(ctx)
	}
	switch {
	case o.file != nil:
		err = errors.Join(err, o.file.Close())
	case o.pipe != nil:
		o.pipe.close()
	}
	o.mu.Lock()
	o.err = err
	o.mu.Unlock()
	o.sess.conn.srv.stats.opens.Add(-1)
	close(o.done)
}

// retire takes o out of its session's table and drops the table's reference. It reports whether this call did so.
func (o *open) retire(ctx context.Context) bool {
	o.mu.Lock()
	first := !o.closed
	o.closed = true
	o.mu.Unlock()
	if !first {
		return false
	}
	s := o.sess
	s.mu.Lock()
	delete(s.opens, o.id.Volatile)
	s.mu.Unlock()
	o.release(ctx)
	return true
}

// wait returns the error of closing, once every request that held o has ended.
func (o *open) wait() error {
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
