//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// ringEngine carries verbs out by io_uring: bounded ops on a ring that the calling goroutine has to itself for the
// call (pooledRing), unbounded ones on one ring with a thread of its own (waitRing), and verbs without a ring half
// by their syscall half.
type ringEngine struct {
	// Immutable after newRing.
	stats    *stats
	pool     *ringPool
	waits    *waitRing
	calls    *syscalls
	onRing   [kinds]bool
	personas bool // the kernel has personalities

	close sync.Once
}

// newRing makes the ring engine, or says which ability or resource is missing.
func newRing(f *Features, st *stats, t *threads, cfg Config) (*ringEngine, error) {
	for _, need := range []struct {
		name string
		a    Ability
	}{
		{"io_uring", f.Ring},
		{"io_uring.nodrop", f.NoDrop},
		{"io_uring.rw_cur_pos", f.RWCurPos},
		{"io_uring.op.async_cancel", f.OpAsyncCancel},
	} {
		if need.a.Answer != Yes {
			why := need.a.Why
			if why == nil {
				why = unix.EOPNOTSUPP
			}
			return nil, fmt.Errorf("%s: %s: %w", need.name, need.a.Answer, why)
		}
	}
	e := &ringEngine{stats: st, calls: newSyscalls(f, st, t, cfg), personas: f.Personality.Answer == Yes}
	for k := kindInvalid + 1; k < kinds; k++ {
		e.onRing[k] = verbs[k].ring.absent == "" && ringAbility(f, k).Answer == Yes
	}
	var err error
	if e.pool, err = newRingPool(st, t, cfg); err != nil {
		return nil, err
	}
	if e.waits, err = newWaitRing(st, cfg); err != nil {
		e.pool.Close()
		return nil, err
	}
	return e, nil
}

// Submit implements Submitter.
func (e *ringEngine) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	for i := 0; i < len(ops); {
		op := &ops[i]
		switch {
		case !op.Kind.valid():
			done(i, 0, false, unix.EINVAL)
			i++
		case !e.onRing[op.Kind]:
			if verbs[op.Kind].ring.absent == "" {
				e.stats.verbs[op.Kind].fallback.Add(1)
			}
			e.calls.submit(ctx, i, op, done)
			i++
		case e.byThread(op):
			if !e.personas {
				e.stats.verbs[op.Kind].fallback.Add(1)
			}
			e.calls.submit(ctx, i, op, done)
			i++
		case op.Unbounded && op.Kind != KindClose:
			e.waits.submit(ctx, i, op, done)
			i++
		default:
			end := i + 1
			for end < len(ops) && e.bounded(&ops[end]) {
				end++
			}
			e.run(ctx, ops[i:end], i, done)
			i = end
		}
	}
}

func (e *ringEngine) bounded(op *Op) bool {
	return op.Kind.valid() && e.onRing[op.Kind] && !e.byThread(op) && (!op.Unbounded || op.Kind == KindClose)
}

// run carries bounded ops out on one ring. first is the index of ops[0] in its Submit call.
func (e *ringEngine) run(ctx context.Context, ops []Op, first int, done func(i, n int, more bool, err error)) {
	for i := range ops {
		if ops[i].Kind == KindClose {
			ctx = context.Background() // one close in a batch makes the batch run to its end
			break
		}
	}
	if ctx.Done() != nil && ctx.Err() != nil {
		refuse(ops, first, done)
		return
	}
	ring, err := e.pool.take(ctx)
	if err != nil {
		e.refuseOrClose(ops, first, done)
		return
	}
	for len(ops) > 0 {
		n := min(len(ops), len(ring.slots))
		ring.run(ctx, ops[:n], first, done)
		ops, first = ops[n:], first+n
	}
	e.pool.give(ring)
}

func refuse(ops []Op, first int, done func(i, n int, more bool, err error)) {
	for i := range ops {
		done(first+i, 0, false, unix.ECANCELED)
	}
}

// refuseOrClose answers ops of a closed engine: a descriptor is closed all the same.
func (e *ringEngine) refuseOrClose(ops []Op, first int, done func(i, n int, more bool, err error)) {
	for i := range ops {
		if ops[i].Kind == KindClose {
			e.calls.submit(context.Background(), first+i, &ops[i], done)
			continue
		}
		done(first+i, 0, false, unix.ECANCELED)
	}
}

// Close implements Engine.Close.
func (e *ringEngine) Close() error {
	e.close.Do(func() {
		e.waits.Close()
		e.pool.Close()
	})
	return e.calls.Close()
}

// ringPool is a bounded set of rings, handed out last in, first out: the ring used last is the one whose memory is
// in the cache. Rings are made when first needed.
type ringPool struct {
	// Immutable after newRingPool.
	stats   *stats
	strict  bool
	entries uint32
	threads *threads
	persons int           // Config.Personalities
	emptied chan struct{} // closed when the pool is closed and no ring is left

	mu sync.Mutex
	// +checklocks:mu
	free []*pooledRing
	// +checklocks:mu
	queue []chan *pooledRing // callers that wait for a ring, oldest first
	// +checklocks:mu
	made int // rings that exist or are being made
	// +checklocks:mu
	limit int
	// +checklocks:mu
	closed bool
}

func newRingPool(st *stats, t *threads, cfg Config) (*ringPool, error) {
	p := &ringPool{
		stats: st, strict: cfg.Strict, entries: uint32(cfg.Entries), limit: cfg.Rings,
		emptied: make(chan struct{}), threads: t, persons: cfg.Personalities,
	}
	// The first ring says whether there can be any, and how large: where memory for rings is limited (before
	// 5.12 by RLIMIT_MEMLOCK, later by the cgroup), a smaller one may fit.
	for {
		ring, err := p.newRing()
		if err == nil {
			p.made, p.free = 1, []*pooledRing{ring}
			return p, nil
		}
		if !errors.Is(err, unix.ENOMEM) || p.entries <= 4 {
			return nil, fmt.Errorf("first ring of %d entries: %w", p.entries, err)
		}
		p.entries /= 2
		p.shrunk(fmt.Sprintf("rings of %d entries instead of %d: %v", p.entries, cfg.Entries, err))
	}
}

func (p *ringPool) newRing() (*pooledRing, error) {
	ring, err := newPooledRing(p.stats, p.strict, p.entries)
	if err == nil {
		ring.personalities.init(p.threads, p.stats, p.persons)
	}
	return ring, err
}

func (p *ringPool) shrunk(why string) { p.stats.shrunk.Store(&why) }

// take hands out a ring, waiting for one if all are in use. ECANCELED: ctx ended, or the pool is closed.
func (p *ringPool) take(ctx context.Context) (*pooledRing, error) {
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, unix.ECANCELED
		}
		if n := len(p.free); n > 0 {
			ring := p.free[n-1]
			p.free = p.free[:n-1]
			p.mu.Unlock()
			return ring, nil
		}
		if p.made >= p.limit {
			break
		}
		p.made++
		p.mu.Unlock()
		ring, err := p.newRing()
		if err == nil {
			return ring, nil
		}
		// Out of memory or descriptors: live with the rings that there are, and try again next time.
		p.mu.Lock()
		p.made--
		p.shrunk(fmt.Sprintf("%d rings: %v", p.made, err))
		if p.made == 0 { // only a closing pool has none at all
			p.leftLocked()
			p.mu.Unlock()
			return nil, unix.ECANCELED
		}
		if len(p.free) == 0 && !p.closed {
			break
		}
	}
	turn := make(chan *pooledRing, 1)
	p.queue = append(p.queue, turn)
	p.mu.Unlock()
	select {
	case ring := <-turn:
		if ring == nil {
			return nil, unix.ECANCELED
		}
		return ring, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	for i, q := range p.queue {
		if q == turn {
			p.queue = append(p.queue[:i], p.queue[i+1:]...)
			p.mu.Unlock()
			return nil, unix.ECANCELED
		}
	}
	p.mu.Unlock()
	if ring := <-turn; ring != nil { // handed over at the same moment
		p.give(ring)
	}
	return nil, unix.ECANCELED
}

// give takes a ring back.
func (p *ringPool) give(ring *pooledRing) {
	p.mu.Lock()
	switch {
	case p.closed:
		p.made--
		ring.close()
		p.leftLocked()
	case len(p.queue) > 0:
		p.queue[0] <- ring // never blocks: capacity 1, one value
		p.queue = append(p.queue[:0], p.queue[1:]...)
	default:
		p.free = append(p.free, ring)
	}
	p.mu.Unlock()
}

// leftLocked notes that a ring is gone.
// +checklocks:p.mu
func (p *ringPool) leftLocked() {
	if p.closed && p.made == 0 {
		close(p.emptied)
	}
}

// Close refuses new ops and waits until those in flight are done. Called once.
func (p *ringPool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, turn := range p.queue {
		turn <- nil
	}
	p.queue = nil
	for _, ring := range p.free {
		ring.close()
		p.made--
	}
	p.free = nil
	p.leftLocked()
	p.mu.Unlock()
	<-p.emptied
}

// ringFlags are those of every ring: none that ties a ring to a thread. COOP_TASKRUN is left out too: a goroutine
// may go on waiting on another thread than the one that submitted, and that one need not enter the kernel soon.
const ringFlags = uring.SetupClamp
