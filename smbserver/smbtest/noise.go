package smbtest

import (
	"math/rand/v2"
	"net"
	"runtime"
	"sync"

	"github.com/uringfs/uringfs/internal/seed"
)

// Noise is a connection whose bytes travel in pieces of random size, in both directions, with other goroutines given a
// chance to run in between. Which pieces is decided by a seed; when they run is up to the scheduler.
type Noise struct {
	net.Conn

	readMu sync.Mutex
	reads  *rand.Rand // guarded by readMu

	writeMu sync.Mutex
	writes  *rand.Rand // guarded by writeMu
}

// NewNoise wraps c, which it takes. The same seed gives the same pieces for the same calls.
func NewNoise(c net.Conn, number uint64) *Noise {
	parent := seed.New(number)
	return &Noise{Conn: c, reads: seed.New(parent.Uint64()), writes: seed.New(parent.Uint64())}
}

// Read reads fewer bytes than it could, now and then one.
func (n *Noise) Read(p []byte) (int, error) {
	n.readMu.Lock()
	size := piece(n.reads, len(p))
	yields := n.reads.IntN(3)
	n.readMu.Unlock()
	pause(yields)
	return n.Conn.Read(p[:size])
}

// Write writes all of p, in pieces. Concurrent writes do not mix.
func (n *Noise) Write(p []byte) (int, error) {
	n.writeMu.Lock()
	defer n.writeMu.Unlock()
	done := 0
	for {
		size := piece(n.writes, len(p)-done)
		m, err := n.Conn.Write(p[done : done+size])
		if done += m; err != nil || done == len(p) {
			return done, err
		}
		pause(n.writes.IntN(3))
	}
}

// piece picks how much of n bytes goes next: often all, often a few, else anything.
func piece(r *rand.Rand, n int) int {
	if n <= 1 {
		return n
	}
	switch r.IntN(4) {
	case 0:
		return n
	case 1:
		return 1 + r.IntN(min(n, 8))
	default:
		return 1 + r.IntN(n)
	}
}

func pause(yields int) {
	for range yields {
		runtime.Gosched()
	}
}
