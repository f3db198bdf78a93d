package racelab

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Gate is a net.Conn that can stop receiving. While it is shut nothing is taken
// from the socket: a Read that was already waiting is called back first, and no
// byte is lost or reordered. Sending is not affected.
//
// One goroutine reads; Shut and Open may be called from any other. A Gate does
// not support read deadlines of its user: it needs them itself.
type Gate struct {
	net.Conn // immutable after NewGate

	mu     sync.Mutex
	moved  sync.Cond // guarded by mu: any of the fields below has changed
	shut   bool      // guarded by mu
	inside bool      // guarded by mu: the reader may be in the kernel
	closed bool      // guarded by mu
	taken  int64     // guarded by mu: bytes received so far
}

// NewGate returns an open gate over conn, which it takes.
func NewGate(conn net.Conn) *Gate {
	g := &Gate{Conn: conn}
	g.moved.L = &g.mu
	return g
}

// Read waits for the gate to be open, then for bytes.
func (g *Gate) Read(p []byte) (int, error) {
	for {
		g.mu.Lock()
		for g.shut && !g.closed {
			g.moved.Wait()
		}
		g.inside = true
		g.mu.Unlock()

		n, err := g.Conn.Read(p)

		g.mu.Lock()
		g.inside = false
		g.taken += int64(n)
		g.moved.Broadcast()
		g.mu.Unlock()
		// Only Shut sets a deadline, so an expired one means: come back and wait.
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		return n, err
	}
}

// Shut stops receiving. When it returns the reader is out of the kernel and no
// byte that arrives from now on leaves the socket until Open.
func (g *Gate) Shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	// Any moment of the past makes a waiting Read return at once.
	if err := g.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	for g.inside {
		g.moved.Wait()
	}
	return nil
}

// Open receives again.
func (g *Gate) Open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
	err := g.Conn.SetReadDeadline(time.Time{})
	g.moved.Broadcast()
	return err
}

// Taken returns the count of bytes received so far.
func (g *Gate) Taken() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken
}

// Close closes the connection and ends a Read that waits at the gate.
func (g *Gate) Close() error {
	g.mu.Lock()
	g.closed = true
	g.moved.Broadcast()
	g.mu.Unlock()
	return g.Conn.Close()
}

// SetReadDeadline is refused: the gate uses the deadline to call its reader back.
func (g *Gate) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// SetDeadline is refused, as SetReadDeadline is.
func (g *Gate) SetDeadline(time.Time) error { return errors.ErrUnsupported }
