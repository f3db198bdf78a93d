package datapath

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// poison overwrites returned buffers in debug runs; no protocol field or test pattern of ours holds it in a row.
const poison = 0xDB

// class is a size of pooled buffers with the number of idle ones that a Pool keeps.
type class struct{ size, keep int }

// classes fit the traffic: requests without data; 64 KiB transfers of old dialects; 1 MiB transfers, the usual size of
// clients; the largest transfers. Each has room for headers around the data.
func classes() [4]class {
	return [4]class{
		{4 << 10, 16},
		{64<<10 + 4<<10, 4},
		{1<<20 + 4<<10, 2},
		{8<<20 + 128<<10, 1},
	}
}

// Budget bounds the idle bytes of all pools that share it. The zero value allows none.
type Budget struct {
	// Immutable after first use.
	Max int64
	// Atomic.
	idle atomic.Int64
}

// Idle returns the bytes that pools keep unused.
func (b *Budget) Idle() int64 { return b.idle.Load() }

func (b *Budget) take(n int) bool {
	if b.idle.Add(int64(n)) > b.Max {
		b.idle.Add(-int64(n))
		return false
	}
	return true
}

// Pool hands out the buffers of one connection. The one returned last goes out first, because its memory is still in the
// processor's cache: a server that walks through its buffers in turn reads and sends cold memory.
//
// It is safe for concurrent use; the lock is held for a few instructions.
type Pool struct {
	// Immutable after NewPool.
	budget *Budget
	debug  bool
	sizes  [4]class

	mu sync.Mutex
	// Guarded by mu.
	free   [4][][]byte        // +checklocks:mu
	lent   map[*byte]struct{} // +checklocks:mu only in debug runs
	closed bool               // +checklocks:mu
}

// NewPool returns an empty Pool. With debug each returned buffer is overwritten, and returning one twice panics.
func NewPool(budget *Budget, debug bool) *Pool {
	p := &Pool{budget: budget, debug: debug, sizes: classes()}
	if debug {
		p.lent = make(map[*byte]struct{})
	}
	return p
}

// Take returns a buffer of length n with whatever bytes it held before: the caller writes each byte that it lets out.
func (p *Pool) Take(n int) []byte {
	i := p.class(n)
	if i < 0 {
		return make([]byte, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var b []byte
	if list := p.free[i]; len(list) > 0 {
		last := len(list) - 1
		b, list[last] = list[last], nil
		p.free[i] = list[:last]
		p.budget.idle.Add(-int64(p.sizes[i].size))
	} else {
		b = make([]byte, p.sizes[i].size)
	}
	if p.debug {
		p.lent[&b[0]] = struct{}{}
	}
	return b[:n]
}

// Put takes b, which must start where Take's result started; its length does not matter. A slice that append has moved
// elsewhere is left to the garbage collector.
func (p *Pool) Put(b []byte) {
	b = b[:cap(b)]
	i := p.exact(len(b))
	if i < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.debug {
		if _, ok := p.lent[&b[0]]; !ok {
			panic(fmt.Sprintf("datapath: buffer of %d bytes returned twice, or not ours", len(b)))
		}
		delete(p.lent, &b[0])
		b[0] = poison
		for n := 1; n < len(b); n *= 2 {
			copy(b[n:], b[:n])
		}
	}
	if p.closed || len(p.free[i]) == p.sizes[i].keep || !p.budget.take(len(b)) {
		return
	}
	p.free[i] = append(p.free[i], b)
}

// Grow returns a buffer of at least length n that begins with the bytes of b, and takes b.
func (p *Pool) Grow(b []byte, n int) []byte {
	if n <= cap(b) {
		return b[:n]
	}
	bigger := p.Take(n)
	copy(bigger, b)
	p.Put(b)
	return bigger
}

// Close drops the idle buffers and gives their bytes back to the budget. Buffers still out may be Put afterwards.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for i, list := range p.free {
		p.budget.idle.Add(-int64(len(list) * p.sizes[i].size))
		p.free[i] = nil
	}
}

// Lent returns how many buffers are out. It is known in debug runs only.
func (p *Pool) Lent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lent)
}

func (p *Pool) class(n int) int {
	for i, c := range p.sizes {
		if n <= c.size {
			return i
		}
	}
	return -1
}

func (p *Pool) exact(n int) int {
	for i, c := range p.sizes {
		if n == c.size {
			return i
		}
	}
	return -1
}
