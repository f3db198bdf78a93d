package smbserver

import (
	"context"
	"errors"

	"github.com/uringfs/uringfs/internal/smb2"
)

// pendingRequest is a request that runs beside the reader.
type pendingRequest struct {
	sessionID uint64
	cancel    context.CancelFunc
}

// cancelRequest handles CANCEL, [MS-SMB2] 3.3.5.16: the context of the request that it names ends. It has no reply, takes no
// credit and no MessageId of its own, and one that comes too late is no error. Requests here never go asynchronous, so there
// is no AsyncId to look for.
func (c *conn) cancelRequest(e element) error {
	c.srv.stats.requests[smb2.CommandCancel].Add(1)
	if !c.neg.done {
		return &connError{"request before NEGOTIATE", nil}
	}
	s := c.session(e.hdr.SessionID)
	if s == nil || !s.valid.Load() || e.hdr.Flags.Has(smb2.FlagAsync) {
		return nil
	}
	r := request{hdr: e.hdr, msg: e.msg, conn: c}
	if err := c.checkSignature(&r, s); err != nil {
		if _, isStatus := err.(smb2.Status); isStatus { //nolint:errorlint // what checkSignature returns is not wrapped
			return nil // nobody to tell
		}
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pending[e.hdr.MessageID]; ok && p.sessionID == s.id {
		p.cancel()
	}
	return nil
}

// canRunBeside reports whether one more request may run beside the reader.
func (c *conn) canRunBeside() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending) < c.srv.cfg.Limits.Pending
}

// startBeside checks r on the reader, whose state that needs, and runs its handler on a goroutine of its own, so that the
// reader can take a CANCEL for it. It takes r; kept reports that it took msg too, in which r's element lies.
func (c *conn) startBeside(ctx context.Context, r *request, msg []byte) (kept bool, err error) {
	defer c.recovered(r, &err)
	if err := c.prepare(r, nil); err != nil {
		defer c.drop(ctx, r)
		if fatal := (*connError)(nil); errors.As(err, &fatal) {
			return false, err
		}
		return false, c.answer(ctx, r, nil, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	c.pending[r.hdr.MessageID] = pendingRequest{r.hdr.SessionID, cancel}
	c.mu.Unlock()
	// ends when the request is answered or the connection aborted; waited by conn.teardown
	c.beside.Go(func() {
		defer c.pool.Put(msg)
		err := c.runBeside(ctx, r)
		cancel()
		c.mu.Lock()
		delete(c.pending, r.hdr.MessageID)
		c.mu.Unlock()
		if err != nil {
			c.report(err)
			c.abort()
		}
	})
	return true, nil
}

// runBeside is process for a request that prepare has seen already.
func (c *conn) runBeside(ctx context.Context, r *request) (err error) {
	defer c.recovered(r, &err)
	defer c.drop(ctx, r)
	answer, err := commands[r.hdr.Command].handle(ctx, r)
	if fatal := (*connError)(nil); errors.As(err, &fatal) {
		return err
	}
	return c.answer(ctx, r, answer, err)
}

// answer builds and sends the reply to a request that came alone.
func (c *conn) answer(ctx context.Context, r *request, answer reply, err error) error {
	r.out = newFrame(c.pool)
	r.out.begin()
	_ = c.finish(r, answer, err) // the status is in the reply
	return c.send(ctx, r.out)
}
