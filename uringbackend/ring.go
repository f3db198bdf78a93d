//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// ringEngine carries verbs out by io_uring: bounded ops on a ring that the calling goroutine has to itself for the
// call (pooledRing), unbounded ones on a ring with a goroutine of its own (loop), and what has no ring half, or is
// better off without, by a system call.
type ringEngine struct {
	// Immutable after newRing.
	core   *core
	pool   *ringPool
	loop   *loop
	calls  *syscalls
	onRing [kinds]bool

	close sync.Once
}

// newRing makes the ring engine, or says which ability or resource is missing.
func newRing(c *core, cfg Config) (*ringEngine, error) {
	f := &c.features
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
	e := &ringEngine{core: c, calls: newSyscalls(c, cfg)}
	for k := kindInvalid + 1; k < kinds; k++ {
		e.onRing[k] = f.Opcode(k).Answer == Yes
	}
	e.onRing[KindRecvMulti] = e.onRing[KindRecvMulti] && f.PbufRing.Answer == Yes && f.RecvMultishot.Answer == Yes
	c.roads, c.forced = roadsFor(cfg.Policy), cfg.Policy == "ring"
	var err error
	if e.pool, err = newRingPool(c, cfg); err != nil {
		return nil, err
	}
	if e.loop, err = newLoop(c, cfg); err != nil {
		e.pool.Close()
		return nil, err
	}
	return e, nil
}

// Submit implements Submitter.
func (e *ringEngine) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	e.submit(ctx, ops, 0, done)
}

// submit is Submit for ops of which the first has this index in its call. What runs here is over before what follows
// begins, so that a drain asks for nothing, unless something before it waits.
func (e *ringEngine) submit(ctx context.Context, ops []Op, first int, done doneFunc) {
	if at := drainAfterWait(ops); at > 0 {
		e.submitInTwo(ctx, ops, at, first, done)
		return
	}
	for i := 0; i < len(ops); {
		r, end := e.road(ops, i)
		for end < len(ops) && r != roadLoop && !ops[end].Drain {
			next, n := e.road(ops, end)
			if next != r {
				break
			}
			end = n
		}
		e.part(ctx, r, ops[i:end], first+i, done)
		i = end
	}
}

// drainAfterWait is where the first chain begins that drains although an op before it waits; 0: nowhere.
func drainAfterWait(ops []Op) int {
	if !ordered(ops) {
		return 0
	}
	waits := false
	for i := 0; i < len(ops); {
		end := chainEnd(ops, i)
		if waits && slices.ContainsFunc(ops[i:end], func(op Op) bool { return op.Drain }) {
			return i
		}
		waits = waits || slices.ContainsFunc(ops[i:end], func(op Op) bool { return op.waits() })
		i = end
	}
	return 0
}

// submitInTwo starts ops[at:] when all before have reported.
func (e *ringEngine) submitInTwo(ctx context.Context, ops []Op, at, first int, done doneFunc) {
	rest := slices.Clone(ops[at:])
	if !e.calls.gate.enter() {
		e.refuseOrClose(ops, first, done)
		return
	}
	e.core.stats.inFlight.Add(int64(len(rest)))
	var left atomic.Int64
	left.Store(int64(at))
	e.submit(ctx, ops[:at], first, func(i, n int, more bool, err error) {
		done(i, n, more, err)
		if more || left.Add(-1) > 0 {
			return
		}
		// ends when the rest has been submitted; waited by Close (gate)
		go func() {
			defer e.calls.gate.leave()
			e.core.stats.inFlight.Add(-int64(len(rest)))
			e.submit(ctx, rest, first+at, done)
		}()
	})
}

// road is where an op of a Submit call goes.
type road uint8

const (
	roadCall road = iota
	roadCached
	roadPool
	roadLoop
)

// road chooses for the op at, and what is linked to it: end is the op behind those.
func (e *ringEngine) road(ops []Op, at int) (r road, end int) {
	ringable, waits, impersonates := true, false, false
	end = chainEnd(ops, at)
	for i := at; i < end; i++ {
		op := &ops[i]
		ringable = ringable && op.Kind.valid() && e.takes(op) && op.table == nil && !e.byThread(op)
		impersonates = impersonates || op.Creds != nil && op.Creds.Valid
		waits = waits || op.waits()
	}
	op := &ops[at]
	switch {
	case !ringable || waits && impersonates:
		return roadCall, end
	case waits:
		return roadLoop, end
	case impersonates || end > at+1 || op.Timeout > 0 || op.direct() || op.Fixed != nil:
		return roadPool, end
	}
	switch e.core.roads[op.Kind] {
	case RoadRing:
		return roadPool, end
	case RoadBatch:
		if len(ops) >= minBatch {
			return roadPool, end
		}
		return roadCall, end
	case RoadCached:
		return roadCached, end
	case RoadSmall:
		if len(ops) < minBatch && op.small() {
			return roadCall, end
		}
		return roadPool, end
	default:
		return roadCall, end
	}
}

// part carries out ops that go the same way. first is the index of ops[0] in its Submit call.
func (e *ringEngine) part(ctx context.Context, r road, ops []Op, first int, done doneFunc) {
	switch r {
	case roadPool:
		e.run(ctx, ops, first, done)
	case roadLoop:
		e.loop.accept(ctx, ops, first, done)
	case roadCached:
		// What is not cached is read by the ring, together with all that follows.
		if n := e.cached(ctx, ops, first, done); n < len(ops) {
			e.run(ctx, ops[n:], first+n, done)
		}
	default:
		for i := range ops {
			op := &ops[i]
			if op.Kind.valid() && verbs[op.Kind].ring.absent == "" && (!e.onRing[op.Kind] || e.lacksPersonality(op)) {
				e.core.stats.verbs[op.Kind].fallback.Add(1)
			}
			if op.Kind == KindClose {
				e.cancelFD(op.FD)
			}
		}
		ops, done = withTable(ops, done)
		e.calls.submitAll(ctx, ops, first, done)
	}
}

// cancelFD gives up what waits for fd, and waits until it has reported: a number that is closed while the kernel or
// another op still uses it would soon be another file's.
func (e *ringEngine) cancelFD(fd int) int {
	if e.core.stats.waiting.Load() == 0 {
		return 0
	}
	return e.loop.cancelFD(fd) + e.calls.poller.cancelFD(fd)
}

// lacksPersonality says that op would take the ring, if the kernel had personalities.
func (e *ringEngine) lacksPersonality(op *Op) bool {
	return op.Creds != nil && op.Creds.Valid && op.Kind != KindClose && e.core.features.Personality.Answer != Yes
}

// takes says that the ring can carry op out, whose kind is valid.
func (e *ringEngine) takes(op *Op) bool {
	suits := verbs[op.Kind].ring.suits
	return e.onRing[op.Kind] && (suits == nil || suits(op))
}

// run carries bounded ops out on one ring. first is the index of ops[0] in its Submit call.
func (e *ringEngine) run(ctx context.Context, ops []Op, first int, done doneFunc) {
	for i := range ops {
		if ops[i].Kind == KindClose {
			ctx = context.Background() // one close in a batch makes the batch run to its end
			e.cancelFD(ops[i].FD)
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
	ring.run(ctx, ops, first, done)
	e.pool.give(ring)
}

// cached carries out reads from the page cache, up to the first that is not wholly there, and says how many.
func (e *ringEngine) cached(ctx context.Context, ops []Op, first int, done doneFunc) int {
	if ctx.Done() != nil && ctx.Err() != nil || e.pool.closed.Load() {
		return 0 // the ring's way knows what to say
	}
	for i := range ops {
		op := &ops[i]
		began := e.core.clock()
		n, ok := readCached(op)
		if !ok {
			return i
		}
		if n > 0 && n < len(op.Buf) {
			e.core.called(op, began, n, nil)
			e.remainder(ctx, op, n, first+i, done) // the end of the file, or of what is cached
			continue
		}
		e.core.stats.verbs[op.Kind].syscall.Add(1)
		e.core.called(op, began, n, nil)
		done(first+i, n, false, nil)
	}
	return len(ops)
}

// remainder reads what is behind the first n bytes of op's range.
func (e *ringEngine) remainder(ctx context.Context, op *Op, n, index int, done doneFunc) {
	rest := []Op{*op}
	rest[0].Buf, rest[0].Offset = op.Buf[n:], op.Offset+int64(n)
	e.run(ctx, rest, index, func(i, m int, _ bool, err error) {
		if err != nil {
			m = 0 // what was read stays read; whoever goes on will meet the error
		}
		done(i, n+m, false, nil)
	})
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
		e.loop.Close()
		e.pool.Close()
	})
	return e.calls.Close()
}

// ringPool is a bounded set of rings, handed out last in, first out: the ring used last is the one whose memory is
// in the cache. Rings are made when first needed.
type ringPool struct {
	// Immutable after newRingPool.
	core    *core
	entries uint32
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

	closed atomic.Bool // set under mu, for those who need a ring; read by those who need none
}

func newRingPool(c *core, cfg Config) (*ringPool, error) {
	p := &ringPool{core: c, entries: uint32(cfg.Entries), limit: cfg.Rings, emptied: make(chan struct{})}
	// The first ring says whether there can be any, and how large: where memory for rings is limited (by
	// RLIMIT_MEMLOCK or by the cgroup, as the kernel's version is), a smaller one may fit.
	for {
		ring, err := newPooledRing(c, p.entries)
		if err == nil {
			p.made, p.free = 1, []*pooledRing{ring}
			return p, nil
		}
		if !errors.Is(err, unix.ENOMEM) || p.entries <= 4 {
			return nil, fmt.Errorf("first ring of %d entries: %w", p.entries, err)
		}
		p.entries /= 2
		c.stats.shrink(fmt.Sprintf("rings of %d entries instead of %d: %v", p.entries, cfg.Entries, err))
	}
}

// take hands out a ring, waiting for one if all are in use. ECANCELED: ctx ended, or the pool is closed.
func (p *ringPool) take(ctx context.Context) (*pooledRing, error) {
	p.mu.Lock()
	for {
		if p.closed.Load() {
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
		ring, err := newPooledRing(p.core, p.entries)
		if err == nil {
			return ring, nil
		}
		// Out of memory or descriptors: live with the rings that there are, and try again next time.
		p.mu.Lock()
		p.made--
		p.core.stats.shrink(fmt.Sprintf("%d rings: %v", p.made, err))
		if p.made == 0 { // only a closing pool has none at all
			p.leftLocked()
			p.mu.Unlock()
			return nil, unix.ECANCELED
		}
		if len(p.free) == 0 && !p.closed.Load() {
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
	case p.closed.Load():
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
	if p.closed.Load() && p.made == 0 {
		close(p.emptied)
	}
}

// Close refuses new ops and waits until those in flight are done. Called once.
func (p *ringPool) Close() {
	p.mu.Lock()
	p.closed.Store(true)
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

// limitWorkers bounds the workers that ops of a ring may occupy on behalf of each thread that submits them: bounded
// for files, which a slow file system may hold for long, and twice as many for the rest, which waits for peers.
func (c *core) limitWorkers(r *uring.Ring, bounded uint32) {
	if c.features.IOWQMaxWorkers.Answer != Yes {
		return
	}
	bounded = min(max(bounded, 4), maxWorkers)
	if _, err := r.SetWorkers(uring.Workers{Bounded: bounded, Unbounded: 2 * bounded}); err != nil {
		c.stats.shrink(fmt.Sprintf("limit of %d workers not set: %v", bounded, err))
	}
}

// maxWorkers is the most workers for files of one thread.
const maxWorkers = 128
