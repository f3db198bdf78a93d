//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Queue is a submission and a completion queue of the caller's own: it prepares ops, hands them over in batches, and takes
// completions when it likes, so that one goroutine keeps many ops in flight. Where the kernel allows, it is a ring that
// only this goroutine's thread uses (SINGLE_ISSUER, DEFER_TASKRUN). On an engine without a ring, or behind a wrapper like
// Faulty, ops go through Submit when they are handed over; the results are the same.
//
// One goroutine uses a Queue, from NewQueue to Close, and is locked to its thread meanwhile. Link, Drain, Timeout, Async
// and Direct count among all ops handed over together, as in Submit; a chain is of verbs with a ring half and without
// Creds (EOPNOTSUPP otherwise). What may wait has Unbounded set, as in Submit.
type Queue struct {
	own    *ownQueue // nil: through Submit
	via    *viaQueue
	closed bool
}

// QueueConfig sizes a Queue. The zero value means the defaults.
type QueueConfig struct {
	// Entries is the most ops in flight, a power of two. Default 128.
	Entries int
	// SQPoll, if not 0, lets a thread of the kernel take submissions, so that handing over needs no system call
	// until it has been idle for this long. It takes a processor.
	SQPoll time.Duration
	// Direct is how many places Direct has. Default 64.
	Direct int
}

// Completion is one report of an op. Tag is what Prepare got; N, More and Err are those of Submitter's done.
type Completion struct {
	Tag  uint64
	N    int
	More bool
	Err  error
}

// maxQueueEntries is IORING_MAX_ENTRIES, io_uring/io_uring.h.
const maxQueueEntries = 32768

// NewQueue makes a queue. The caller closes it before the engine.
func (e Engine) NewQueue(cfg QueueConfig) (*Queue, error) {
	if cfg.Entries <= 0 {
		cfg.Entries = 128
	}
	if cfg.Direct <= 0 {
		cfg.Direct = maxDirect
	}
	if cfg.Entries > maxQueueEntries || cfg.Entries&(cfg.Entries-1) != 0 {
		return nil, fmt.Errorf("queue of %d entries: not a power of two up to %d", cfg.Entries, maxQueueEntries)
	}
	r, ok := e.Submitter.(*ringEngine)
	if !ok || !r.canQueue() {
		return &Queue{via: newViaQueue(e, cfg)}, nil
	}
	if r.pool.closed.Load() {
		return nil, unix.ECANCELED
	}
	own, err := newOwnQueue(r, cfg)
	if err != nil {
		return nil, err
	}
	return &Queue{own: own}, nil
}

// Prepare puts op into the queue without handing it over; the queue keeps a copy, and what op points at belongs to it
// until the op's last completion. EAGAIN: Entries ops are in flight.
func (q *Queue) Prepare(op Op, tag uint64) error {
	if q.own != nil {
		return q.own.prepareOp(op, tag)
	}
	return q.via.prepare(op, tag)
}

// Submit hands over what has been prepared and does not wait.
func (q *Queue) Submit() {
	if q.own != nil {
		q.own.handOver()
		q.own.reap()
		return
	}
	q.via.submit()
}

// Wait hands over what has been prepared and waits until at least min completions are there to be taken, or all that can
// come. It returns how many are. ECANCELED: ctx ended first; the ops are in flight all the same.
func (q *Queue) Wait(ctx context.Context, min int) (int, error) {
	if q.own != nil {
		return q.own.waitFor(ctx, min)
	}
	return q.via.wait(ctx, min)
}

// Next takes the oldest completion, if there is one.
func (q *Queue) Next() (Completion, bool) {
	if q.own != nil {
		return q.own.ready.take()
	}
	return q.via.take()
}

// Cancel asks for the ops with this tag to be given up; each still reports once. It says how many it found.
func (q *Queue) Cancel(tag uint64) int {
	if q.own != nil {
		return q.own.cancelOps(func(s *slot) bool { return s.tag == tag })
	}
	return q.via.cancelOps(func(op *viaOp) bool { return op.tag == tag })
}

// CancelFD is Cancel for the ops on fd.
func (q *Queue) CancelFD(fd int) int {
	if q.own != nil {
		return q.own.cancelOps(func(s *slot) bool { return s.op.uses(fd) })
	}
	return q.via.cancelOps(func(op *viaOp) bool { return op.op.uses(fd) })
}

// InFlight is how many ops have been prepared and have not made their last report.
func (q *Queue) InFlight() int {
	if q.own != nil {
		return q.own.pending + len(q.own.held)
	}
	return q.via.inFlight()
}

// Close gives up what is in flight, waits for it, and drops completions not taken. A second Close does nothing.
func (q *Queue) Close() {
	if q.closed {
		return
	}
	q.closed = true
	if q.own != nil {
		q.own.shut()
		return
	}
	q.via.shut()
}

// completions is a queue of them, in an array that is used again.
type completions struct {
	list []Completion
	head int
}

func (c *completions) put(x Completion) { c.list = append(c.list, x) }

func (c *completions) len() int { return len(c.list) - c.head }

func (c *completions) take() (Completion, bool) {
	if c.head == len(c.list) {
		return Completion{}, false
	}
	x := c.list[c.head]
	c.list[c.head].Err = nil
	if c.head++; c.head == len(c.list) {
		c.list, c.head = c.list[:0], 0
	}
	return x, true
}

// ownQueue is a Queue on a ring of its own.
type ownQueue struct {
	requests
	engine *ringEngine
	limit  int
	ready  completions
	report doneFunc
	chain  bool     // the op pushed last has Link
	held   []heldOp // behind an op with Drain; IOSQE_IO_DRAIN would hold bells and cancellations back too
	bell   int      // eventfd that ends a wait; -1 until the first cancellable one
	armed  bool
	buf    *[8]byte
	closed bool
}

// canQueue says that a ring can carry what waits, and what chains are made of; else an op would hold its Queue's owner.
func (e *ringEngine) canQueue() bool {
	for _, k := range []Kind{KindReadAt, KindWriteAt, KindReadvAt, KindWritevAt, KindFsync, KindOpenat2, KindClose} {
		if !e.onRing[k] {
			return false
		}
	}
	return true
}

type heldOp struct {
	op  Op
	tag uint64
}

func newOwnQueue(e *ringEngine, cfg QueueConfig) (*ownQueue, error) {
	runtime.LockOSThread() // until shut
	c := e.core
	rc := uring.Config{Entries: uint32(min(2*cfg.Entries, maxQueueEntries)), CQEntries: uint32(4 * cfg.Entries)}
	if cfg.SQPoll != 0 {
		rc.Flags = uring.SetupSQPoll
		rc.SQThreadIdle = uint32(max(cfg.SQPoll.Milliseconds(), 1))
	}
	r, err := c.ownRing(rc)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("ring of %d entries: %w", cfg.Entries, err)
	}
	q := &ownQueue{requests: newRequests(c, r, cfg.Entries), engine: e, limit: cfg.Entries, bell: -1, buf: new([8]byte)}
	q.places.size, q.onBell, q.report = cfg.Direct, func() { q.armed = false }, q.done
	return q, nil
}

// done takes a report. A slot keeps its tag until it is used again, which is later.
func (q *ownQueue) done(place, n int, more bool, err error) {
	q.ready.put(Completion{Tag: q.slots[place].tag, N: n, More: more, Err: err})
	if !more {
		q.core.stats.inFlight.Add(-1)
	}
}

func (q *ownQueue) prepareOp(op Op, tag uint64) error {
	if q.pending+len(q.held) >= q.limit || q.closed {
		return unix.EAGAIN
	}
	q.core.stats.inFlight.Add(1)
	if len(q.held) > 0 || op.Drain && !q.chain && q.pending > 0 {
		q.held = append(q.held, heldOp{op, tag})
		return nil
	}
	q.start(op, tag)
	return nil
}

// start pushes an op.
func (q *ownQueue) start(op Op, tag uint64) {
	s := q.spare()
	s.own, s.tag = op, tag // the one copy: it must not cost an allocation
	if !s.own.Kind.valid() || !q.engine.takes(&s.own) || s.own.Creds != nil {
		s.own = Op{}
		q.free = append(q.free, s.place)
		q.direct(op, tag)
		return
	}
	// The queue has twice the entries; a chain that is longer than that falls apart, as io_uring says it does.
	q.makeRoom(s.own.records())
	err := q.beginIn(s, &s.own, s.place, q.report)
	s.linked = q.chain
	q.chain = s.own.Link
	if err != nil {
		if !s.linked && !s.own.Link {
			q.requests.report(s, 0, err)
			return
		}
		q.doom(s, err)
	}
	q.push(s)
}

// unhold pushes what no longer has to wait.
func (q *ownQueue) unhold() {
	for len(q.held) > 0 {
		h := q.held[0]
		if h.op.Drain && !q.chain && q.pending > 0 {
			return
		}
		q.held[0] = heldOp{}
		if q.held = q.held[1:]; len(q.held) == 0 {
			q.held = nil
		}
		q.start(h.op, h.tag)
	}
}

// direct carries out an op that the ring cannot, here and now. It cannot be part of a chain of the ring's.
func (q *ownQueue) direct(op Op, tag uint64) {
	if q.chain || op.Link {
		q.chain = op.Link
		q.ready.put(Completion{Tag: tag, Err: unix.EOPNOTSUPP})
		q.core.stats.inFlight.Add(-1)
		return
	}
	ops := []Op{op}
	ops[0].Unbounded = false
	q.engine.Submit(context.Background(), ops, func(_, n int, more bool, err error) {
		q.ready.put(Completion{Tag: tag, N: n, More: more, Err: err})
	})
	q.core.stats.inFlight.Add(-1)
}

// handOver submits. A chain ends here.
func (q *ownQueue) handOver() {
	q.unhold()
	q.chain = false
	q.submit()
}

func (q *ownQueue) waitFor(ctx context.Context, least int) (int, error) {
	q.reap()
	q.unhold()
	q.chain = false
	if ctx.Done() == nil {
		for q.want(least) > 0 {
			q.enterFor(uint32(min(q.want(least), q.pending)), q.insist())
			q.reap()
			q.unhold()
		}
		return q.ready.len(), nil
	}
	if ctx.Err() != nil {
		q.handOver()
		return q.ready.len(), unix.ECANCELED
	}
	if q.want(least) == 0 {
		q.handOver()
		return q.ready.len(), nil
	}
	if q.bell < 0 {
		var err error
		if q.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
			return q.ready.len(), err
		}
	}
	rung := make(chan struct{})
	bell := q.bell
	stop := context.AfterFunc(ctx, func() {
		ring(bell)
		close(rung)
	})
	for q.want(least) > 0 && ctx.Err() == nil {
		if !q.armed {
			q.armed = true
			q.readBell(q.bell, q.buf)
		}
		q.enterFor(1, q.insist())
		q.reap()
		q.unhold()
	}
	if !stop() {
		<-rung
	}
	q.handOver()
	if ctx.Err() != nil && q.want(least) > 0 {
		return q.ready.len(), unix.ECANCELED
	}
	return q.ready.len(), nil
}

// want is how many completions are still to be waited for.
func (q *ownQueue) want(least int) int { return min(least-q.ready.len(), q.pending+len(q.held)) }

func (q *ownQueue) cancelOps(match func(s *slot) bool) (n int) {
	q.handOver() // what has not been handed over cannot be found
	q.held = slices.DeleteFunc(q.held, func(h heldOp) bool {
		if !match(&slot{op: &h.op, tag: h.tag}) {
			return false
		}
		q.ready.put(Completion{Tag: h.tag, Err: unix.ECANCELED})
		q.core.stats.inFlight.Add(-1)
		n++
		return true
	})
	for _, s := range q.slots {
		if s.busy && !s.cancelled && match(s) {
			q.makeRoom(1)
			q.cancel(s)
			n++
		}
	}
	q.handOver()
	q.reap()
	return n
}

func (q *ownQueue) shut() {
	q.closed = true
	q.cancelOps(func(*slot) bool { return true })
	if q.armed {
		ring(q.bell)
	}
	for !q.over() || q.armed {
		q.enterFor(1, q.insist())
		q.reap()
	}
	q.places.closeAll(q.r)
	q.requests.close()
	if q.bell >= 0 {
		_ = unix.Close(q.bell) // an eventfd has nothing to lose
	}
	runtime.UnlockOSThread()
}

// viaQueue is a Queue through an engine's Submit.
type viaQueue struct {
	// Immutable after newViaQueue.
	engine Engine
	limit  int

	prepared []*viaOp // of the caller
	table    *fileTable

	mu sync.Mutex
	// +checklocks:mu
	flight map[*viaOp]struct{}
	// +checklocks:mu
	ready completions
	// +checklocks:mu
	wake chan struct{} // closed at the next report; nil: nobody waits
}

type viaOp struct {
	op     Op
	tag    uint64
	cancel context.CancelFunc // of the call that the op was handed over in
}

func newViaQueue(e Engine, cfg QueueConfig) *viaQueue {
	runtime.LockOSThread() // as with a ring of one's own
	return &viaQueue{engine: e, limit: cfg.Entries, table: newFileTable(cfg.Direct), flight: make(map[*viaOp]struct{})}
}

func (q *viaQueue) prepare(op Op, tag uint64) error {
	if q.inFlight() >= q.limit {
		return unix.EAGAIN
	}
	if op.direct() {
		op.table = q.table
	}
	q.prepared = append(q.prepared, &viaOp{op: op, tag: tag})
	return nil
}

func (q *viaQueue) inFlight() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.prepared) + len(q.flight)
}

// submit hands over bounded ops together, and what waits chain by chain, so that each can be cancelled by itself. An op
// with Drain, and all behind it, stay prepared while anything is in flight.
func (q *viaQueue) submit() {
	for len(q.prepared) > 0 {
		if q.prepared[0].op.Drain && q.inFlight() > len(q.prepared) {
			return
		}
		n := 0
		var bounded bool
		for n < len(q.prepared) {
			end, waits := q.chain(n)
			if n > 0 && (waits || !bounded || q.prepared[n].op.Drain) {
				break
			}
			n, bounded = end, !waits
		}
		part := q.prepared[:n]
		q.prepared = q.prepared[n:]
		q.call(part)
	}
	q.prepared = nil
}

// chain is where the chain from at on ends, and whether one of it may wait.
func (q *viaQueue) chain(at int) (end int, waits bool) {
	for end = at; end < len(q.prepared); {
		op := &q.prepared[end].op
		waits = waits || op.Unbounded
		end++
		if !op.Link {
			break
		}
	}
	return end, waits
}

// call makes one Submit.
func (q *viaQueue) call(part []*viaOp) {
	ctx, cancel := context.WithCancel(context.Background())
	ops := make([]Op, len(part))
	q.mu.Lock()
	for i, p := range part {
		ops[i], p.cancel = p.op, cancel
		q.flight[p] = struct{}{}
	}
	q.mu.Unlock()
	left := len(ops) // guarded by mu
	q.engine.Submit(ctx, ops, func(i, n int, more bool, err error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.ready.put(Completion{Tag: part[i].tag, N: n, More: more, Err: err})
		if !more {
			delete(q.flight, part[i])
			if left--; left == 0 {
				cancel()
			}
		}
		if q.wake != nil {
			close(q.wake)
			q.wake = nil
		}
	})
}

func (q *viaQueue) wait(ctx context.Context, least int) (int, error) {
	for {
		q.submit()
		q.mu.Lock()
		n, enough := q.ready.len(), q.ready.len() >= least || len(q.flight) == 0
		if !enough && q.wake == nil {
			q.wake = make(chan struct{})
		}
		wake := q.wake
		q.mu.Unlock()
		if enough {
			return n, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return n, unix.ECANCELED
		}
	}
}

func (q *viaQueue) take() (Completion, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready.take()
}

func (q *viaQueue) cancelOps(match func(op *viaOp) bool) (n int) {
	q.submit()
	q.mu.Lock()
	var found []*viaOp
	for op := range q.flight {
		if match(op) {
			found = append(found, op)
		}
	}
	q.mu.Unlock()
	for _, op := range found {
		op.cancel()
	}
	return len(found)
}

func (q *viaQueue) shut() {
	for q.inFlight() > 0 {
		q.cancelOps(func(*viaOp) bool { return true })
		_, _ = q.wait(context.Background(), maxQueueEntries+1) // without an end, so without an error
	}
	q.table.close()
	runtime.UnlockOSThread()
}
