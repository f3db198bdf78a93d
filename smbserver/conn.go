package smbserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/smbserver/datapath"
)

// conn is one connection, [MS-SMB2] 3.3.1.7. Its reader goroutine takes frames off the socket and runs their requests itself,
// one after the other: a READ of cached data pays for no hand-off. Only what may wait for long runs beside it.
type conn struct {
	// Immutable after newConn.
	srv    *Server
	t      Transport
	sender PayloadSender // nil: the transport cannot
	peer   string        // for the log
	host   string        // the key of the per-address limits
	log    *slog.Logger
	pool   *datapath.Pool
	cancel context.CancelFunc // ends the context of all requests

	// Owned by the reader goroutine; neg is immutable once neg.done is set, and requests beside the reader read it.
	br           *bufio.Reader
	neg          negotiation
	preauth      smbcrypt.PreauthHash // 3.1.1: of NEGOTIATE
	window       window
	sessions     map[uint64]*session
	loggedOn     bool
	badSigs      int
	failedLogons int
	elements     []element // scratch of one frame
	scratch      request   // the request that runs on the reader

	beside sync.WaitGroup // requests beside the reader

	mu sync.Mutex
	// Guarded by mu.
	pending map[uint64]pendingRequest // +checklocks:mu by MessageId

	wmu sync.Mutex // one frame at a time
	// Guarded by wmu.
	deadline time.Time // +checklocks:wmu of writes, as last set

	// Atomic.
	draining atomic.Bool
	refused  [datapath.ReasonCount]atomic.Bool // logged already
}

// negotiation is what NEGOTIATE settled, and what VALIDATE_NEGOTIATE_INFO compares with, [MS-SMB2] 3.3.5.15.12.
type negotiation struct {
	done    bool
	dialect Dialect
	// As the client said.
	clientGUID     smb2.GUID
	clientMode     smb2.SecurityMode
	clientCaps     smb2.Capabilities
	clientDialects []smb2.Dialect
	// As the server answered.
	mode                           smb2.SecurityMode
	caps                           smb2.Capabilities
	signing                        smbcrypt.SigningAlg
	maxRead, maxWrite, maxTransact uint32
	multiCredit                    bool
}

func newConn(s *Server, t Transport, cancel context.CancelFunc) *conn {
	peer := "unknown"
	if a := t.RemoteAddr(); a != nil {
		peer = a.String()
	}
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		host = peer
	}
	c := &conn{
		srv: s, t: t, peer: peer, host: host, cancel: cancel,
		log:      s.cfg.Logger.With("peer", peer),
		pool:     datapath.NewPool(s.budget, s.cfg.PoisonBuffers),
		br:       bufio.NewReaderSize(t, readBufferSize),
		window:   newWindow(s.cfg.Limits.Credits),
		sessions: make(map[uint64]*session),
		pending:  make(map[uint64]pendingRequest),
	}
	c.sender, _ = t.(PayloadSender)
	return c
}

// serve runs the connection until it ends.
func (c *conn) serve(ctx context.Context) {
	err := c.t.SetReadDeadline(time.Now().Add(c.srv.cfg.Limits.LogonTimeout))
	for err == nil {
		if c.draining.Load() {
			break
		}
		var msg []byte
		if msg, err = c.receive(); err != nil {
			break
		}
		var kept bool
		kept, err = c.handleFrame(ctx, msg)
		if !kept {
			c.pool.Put(msg)
		}
	}
	if c.draining.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // drain has woken the reader
	}
	c.report(err)
	c.teardown(ctx, err)
}

// report logs why the connection ended, once.
func (c *conn) report(err error) {
	var lost *connError
	switch {
	case err == nil:
		c.log.Debug("connection ended", "reason", "shutdown")
	case errors.As(err, &lost):
		c.srv.stats.lost.Add(1)
		c.log.Warn("connection closed", "reason", lost.reason, "err", lost.err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.srv.stats.lost.Add(1)
		c.log.Warn("connection closed", "reason", "timeout", "err", err)
	default: // the client went away; how it did so differs by client and says nothing
		c.log.Debug("connection ended", "reason", "peer", "err", err)
	}
}

// teardown waits for requests beside the reader, then closes what the client had. In an orderly shutdown those
// requests end by themselves and are answered; otherwise nobody is there to answer.
func (c *conn) teardown(ctx context.Context, err error) {
	orderly := err == nil
	if !orderly {
		c.abort()
	}
	c.beside.Wait()
	if orderly {
		c.abort()
	}
	for _, s := range c.sessions {
		s.end(ctx)
	}
	c.pool.Close()
	c.srv.leave(c, c.loggedOn)
}

// drain makes the reader stop after the request it is at. Any goroutine may call it.
func (c *conn) drain() {
	c.draining.Store(true)
	if err := c.t.SetReadDeadline(time.Unix(1, 0)); err != nil && !errors.Is(err, net.ErrClosed) {
		c.log.Debug("drain", "err", err)
	}
}

// abort cancels the connection's requests and closes its socket. Any goroutine may call it, more than once.
func (c *conn) abort() {
	c.cancel()
	if err := c.t.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.log.Debug("close", "err", err)
	}
}

// receive takes one frame off the socket. The result is the caller's to return to the pool. Nothing is allocated for a frame
// before its length is known to be allowed and, for a long one, before its header has arrived.
func (c *conn) receive() ([]byte, error) {
	head, err := c.br.Peek(smb2.FrameLen)
	if err != nil {
		return nil, err
	}
	n, err := smb2.ParseFrame(head)
	if err != nil {
		c.srv.stats.malformed.Add(1)
		return nil, &connError{"bad frame", err}
	}
	limit := maxFramePreauth
	if c.loggedOn {
		limit = int(c.neg.maxWrite) + frameSlack
	}
	if n < smb2.FrameLen || n > limit {
		c.srv.stats.malformed.Add(1)
		return nil, &connError{"bad frame length", fmt.Errorf("%d bytes, limit %d", n, limit)}
	}
	if n > creditUnit {
		if _, err := c.br.Peek(smb2.FrameLen + smb2.HeaderLen); err != nil {
			return nil, err
		}
	}
	if _, err := c.br.Discard(smb2.FrameLen); err != nil {
		return nil, err
	}
	msg := c.pool.Take(n)
	if _, err := io.ReadFull(c.br, msg); err != nil {
		c.pool.Put(msg)
		return nil, err
	}
	return msg, nil
}

// send hands a finished frame to the socket and gives it back to the pool.
func (c *conn) send(ctx context.Context, f *frame) error {
	defer f.release()
	if err := f.finish(); err != nil {
		return &connError{"reply too long", err}
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.armLocked(); err != nil {
		return err
	}
	if f.payload != nil {
		if err := c.sender.SendPayload(ctx, f.b, f.payload); err != nil {
			return fmt.Errorf("send payload: %w", err)
		}
		return nil
	}
	if _, err := c.t.Write(f.b); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// armLocked gives the next write at least three quarters of the write timeout: setting a deadline costs more than asking
// for the time, so not every reply does it.
//
// +checklocks:c.wmu
func (c *conn) armLocked() error {
	timeout := c.srv.cfg.Limits.WriteTimeout
	now := time.Now()
	if c.deadline.Sub(now) > timeout-timeout/4 {
		return nil
	}
	c.deadline = now.Add(timeout)
	if err := c.t.SetWriteDeadline(c.deadline); err != nil {
		return fmt.Errorf("write deadline: %w", err)
	}
	return nil
}

// logOn records that somebody has logged on: the connection's time limit and frame limit are those of a client now.
func (c *conn) logOn() error {
	if c.loggedOn {
		return nil
	}
	c.loggedOn = true
	c.srv.loggedOn(c)
	// A drain that comes before this line is seen at the top of the loop.
	if err := c.t.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("read deadline: %w", err)
	}
	return nil
}

// session finds a session of this connection that has not ended. Reader goroutine only.
func (c *conn) session(id uint64) *session {
	s := c.sessions[id]
	if s == nil {
		return nil
	}
	if s.isEnded() { // replaced from another connection
		delete(c.sessions, id)
		return nil
	}
	return s
}
