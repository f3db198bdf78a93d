package smbserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/smbserver/datapath"
)

// ErrServerClosed is returned by [Server.Serve] after [Server.Shutdown].
var ErrServerClosed = errors.New("smbserver: server closed")

// maxIdleBuffers bounds the memory that all connections together keep for reuse, in bytes.
const maxIdleBuffers = 256 << 20

// Server serves shares to SMB2 and SMB3 clients. Its methods may be called from any goroutine.
type Server struct {
	// Immutable after New.
	cfg     Config
	policy  datapath.Policy
	exports map[string]*export // by folded name
	ntlm    *ntlm.Server
	gmac    bool // the platform has AES-GMAC
	started fscc.Filetime
	budget  *datapath.Budget

	// Atomic.
	stats    counters
	nextOpen atomic.Uint64

	wg sync.WaitGroup // connections

	mu sync.Mutex
	// Guarded by mu.
	closed     bool                   // +checklocks:mu
	listeners  map[io.Closer]struct{} // +checklocks:mu
	conns      map[*conn]struct{}     // +checklocks:mu
	perIP      map[string]int         // +checklocks:mu
	halfOpen   int                    // +checklocks:mu
	halfOpenIP map[string]int         // +checklocks:mu
	sessions   map[uint64]*session    // +checklocks:mu
}

// New returns a Server for cfg, or an error that wraps [ErrConfig]. It starts nothing; [Server.Serve] does.
func New(cfg Config) (*Server, error) {
	cfg, policy, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	if err := ntlm.Available(); err != nil {
		return nil, fmt.Errorf("%w: NTLM: %w", ErrConfig, err)
	}
	_, noGMAC := smbcrypt.NewSigner(smbcrypt.AESGMAC, make([]byte, 16))
	return &Server{
		cfg: cfg, policy: policy,
		exports: exports(cfg.Shares),
		ntlm:    &ntlm.Server{NetBIOSComputer: cfg.ServerName},
		gmac:    noGMAC == nil,
		started: fscc.NewFiletime(time.Now()),
		budget:  &datapath.Budget{Max: maxIdleBuffers},

		listeners:  make(map[io.Closer]struct{}),
		conns:      make(map[*conn]struct{}),
		perIP:      make(map[string]int),
		halfOpenIP: make(map[string]int),
		sessions:   make(map[uint64]*session),
	}, nil
}

// acceptRetry is how long accepting pauses when the process has no descriptor left.
const acceptRetry = 50 * time.Millisecond

// Serve accepts connections from l until Shutdown, or until l fails for good. It takes l and closes it. It may be called
// for several listeners. The error is never nil; after Shutdown it is [ErrServerClosed].
func (s *Server) Serve(l net.Listener) error {
	if !s.addListener(l) {
		return errors.Join(ErrServerClosed, l.Close())
	}
	defer s.removeListener(l)
	for {
		socket, err := l.Accept()
		if err == nil {
			s.accept(socket)
			continue
		}
		if s.isClosed() {
			return ErrServerClosed
		}
		// Out of descriptors or memory: clients that leave will free some. There is no other portable test for it.
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Temporary() { //nolint:staticcheck // see above
			return fmt.Errorf("accept: %w", err)
		}
		s.cfg.Logger.Warn("accept", "err", err)
		<-time.After(acceptRetry)
	}
}

func (s *Server) addListener(l io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l io.Closer) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.cfg.Logger.Warn("close listener", "err", err)
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// accept serves one connection on a goroutine of its own, or closes it if there are too many.
func (s *Server) accept(socket net.Conn) {
	var t Transport = socket
	if s.cfg.Transport != nil {
		t = s.cfg.Transport(socket)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := newConn(s, t, cancel)
	if reason := s.admit(c); reason != "" {
		cancel()
		s.stats.refused.Add(1)
		s.cfg.Logger.Warn("connection refused", "peer", c.peer, "reason", reason)
		if err := t.Close(); err != nil {
			s.cfg.Logger.Debug("close", "peer", c.peer, "err", err)
		}
		return
	}
	// ends when the connection does; waited by Shutdown
	go func() {
		defer s.wg.Done()
		c.serve(ctx)
	}()
}

// admit counts c in, or says which limit forbids it.
func (s *Server) admit(c *conn) (reason string) {
	l := &s.cfg.Limits
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return "shutting down"
	case len(s.conns) >= l.Connections:
		return "connections"
	case s.perIP[c.host] >= l.ConnectionsPerIP:
		return "connections of this address"
	case s.halfOpen >= l.HalfOpen:
		return "connections not logged on"
	case s.halfOpenIP[c.host] >= l.HalfOpenPerIP:
		return "connections of this address not logged on"
	}
	s.conns[c] = struct{}{}
	s.perIP[c.host]++
	s.halfOpen++
	s.halfOpenIP[c.host]++
	s.stats.conns.Add(1)
	s.stats.connsOpen.Add(1)
	s.wg.Add(1)
	return ""
}

// leave counts c out. loggedOn tells whether loggedOn was called for it.
func (s *Server) leave(c *conn, loggedOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	decrement(s.perIP, c.host)
	if !loggedOn {
		s.halfOpen--
		decrement(s.halfOpenIP, c.host)
	}
	s.stats.connsOpen.Add(-1)
}

// loggedOn moves c out of those that are not logged on.
func (s *Server) loggedOn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halfOpen--
	decrement(s.halfOpenIP, c.host)
}

func decrement(m map[string]int, key string) {
	if m[key]--; m[key] == 0 {
		delete(m, key)
	}
}

// newSession enters a session of c under an id that no other has. Ids have 32 bits, as smbd's do, because some clients keep no
// more. They are no secret: a session answers only on its own connection.
func (s *Server) newSession(c *conn) (*session, error) {
	for {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("session id: %w", err)
		}
		id := uint64(binary.LittleEndian.Uint32(b[:]))
		if id == 0 || id == math.MaxUint32 {
			continue
		}
		if sess := s.enterSession(c, id); sess != nil {
			s.stats.sessions.Add(1)
			return sess, nil
		}
	}
}

// enterSession returns nil if the id is taken.
func (s *Server) enterSession(c *conn, id uint64) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.sessions[id]; taken {
		return nil
	}
	sess := newSession(c, id)
	s.sessions[id] = sess
	return sess
}

// forget takes sess out of the table.
func (s *Server) forget(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[sess.id] == sess {
		delete(s.sessions, sess.id)
		s.stats.sessions.Add(-1)
	}
}

// replace ends the session that a client had before it lost its connection, [MS-SMB2] 3.3.5.5.3: only one of the same
// user, and only after that user has proven who it is.
func (s *Server) replace(ctx context.Context, id uint64, by *session) {
	s.mu.Lock()
	old := s.sessions[id]
	s.mu.Unlock()
	if old == nil || old == by || !old.valid.Load() || !sameUser(old.identity(), by.identity()) {
		return
	}
	old.end(ctx)
}

// sameUser compares as the Windows world does, without regard to case. Guests are nobody in particular.
func sameUser(a, b Identity) bool {
	return !a.Guest && !b.Guest && strings.EqualFold(a.User, b.User) && strings.EqualFold(a.Domain, b.Domain)
}

// Shutdown stops the server: listeners close, requests in flight end and are answered, then connections and files are closed.
// It returns when all goroutines of the server are gone. If ctx ends first, requests in flight are cancelled and
// sockets closed, and Shutdown returns ctx's error at once; goroutines end as soon as the storage lets go of them.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	listeners := make([]io.Closer, 0, len(s.listeners))
	for l := range s.listeners {
		listeners = append(listeners, l)
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()

	var errs []error
	for _, l := range listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close listener: %w", err))
		}
	}
	for _, c := range conns {
		c.drain()
	}
	gone := make(chan struct{})
	// ends when the last connection does; waited by this function, unless ctx ends first
	go func() {
		s.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return errors.Join(errs...)
	case <-ctx.Done():
		for _, c := range conns {
			c.abort()
		}
		return errors.Join(append(errs, fmt.Errorf("connections in flight: %w", ctx.Err()))...)
	}
}
