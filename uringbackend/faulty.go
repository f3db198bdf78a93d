//go:build linux

package uringbackend

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Faulty wraps e in an engine that injects the faults of f, and is otherwise e. The n-th op of a verb always meets
// the same fault for the same plan, and so does the n-th Submit for FaultReorder; with concurrent callers, which of
// them is the n-th is theirs.
//
// The contract of Submitter holds: an injected error or short transfer breaks a chain, an op with Drain waits for
// reports that are held back, a held report of a bounded op blocks Submit, that of an Unbounded one comes from a
// goroutine, and Close cuts all delays short and waits for them. Once Close has begun, no more faults are injected.
func Faulty(e Engine, f Faults) Engine {
	f.Rules = slices.Clone(f.Rules)
	return e.Wrap(func(s Submitter) Submitter {
		w := &faulty{next: s, plan: f, longest: e.MaxChain(), closing: make(chan struct{})}
		w.gate.init()
		return w
	})
}

type faulty struct {
	// Immutable after Faulty.
	next    Submitter
	plan    Faults
	longest int // ops of a chain

	gate    gate // Submit calls with a fault that have not reported all their ops
	once    sync.Once
	closing chan struct{} // closed when Close begins

	// Atomic: ops seen of each verb; Submit calls seen.
	seen  [kinds]atomic.Uint64
	calls atomic.Uint64
}

// fate is what the plan does to one op.
type fate struct {
	errno unix.Errno
	cut   bool
	dice  uint64 // how short, if cut
	hold  time.Duration
}

// Submit implements Submitter.
func (f *faulty) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	if len(f.plan.Rules) == 0 {
		f.next.Submit(ctx, ops, done)
		return
	}
	fates, order := f.draw(ctx, ops)
	if fates == nil && order == 0 || !f.gate.enter() {
		f.next.Submit(ctx, ops, done)
		return
	}
	if fates == nil {
		fates = make([]fate, len(ops))
	}
	c := &faultyCall{
		f: f, ops: slices.Clone(ops), fates: fates, order: order, done: done,
		reported: make([]bool, len(ops)), left: len(ops) + 1,
	}
	c.turn.L = &c.mu
	c.run(ctx)
}

// CloseHeld implements Holder.
func (f *faulty) CloseHeld(inner func() error) error {
	f.gate.shut()
	f.once.Do(func() { close(f.closing) })
	err := inner() // after which every op has reported to us
	f.gate.drain()
	return err
}

// draw applies the plan to a call: the fates of its ops, nil if nothing happens to any, and a seed for their order, 0
// if it stays.
func (f *faulty) draw(ctx context.Context, ops []Op) (fates []fate, order uint64) {
	call := f.calls.Add(1)
	for i := range f.plan.Rules {
		if f.plan.Rules[i].Fault == FaultReorder && len(ops) > 1 && order == 0 {
			if dice, hit := f.plan.draw(i, kindInvalid, call); hit {
				order = dice | 1
			}
		}
	}
	for i := range ops {
		if !ops[i].Kind.valid() {
			continue
		}
		if ft := f.meet(ops[i].Kind, ctx.Done() != nil); ft != (fate{}) {
			if fates == nil {
				fates = make([]fate, len(ops))
			}
			fates[i] = ft
		}
	}
	return fates, order
}

// meet applies the plan to the next op of a verb.
func (f *faulty) meet(k Kind, cancellable bool) (ft fate) {
	turn := f.seen[k].Add(1)
	for i := range f.plan.Rules {
		r := &f.plan.Rules[i]
		if r.Fault == FaultReorder || !r.meets(k) {
			continue
		}
		dice, hit := f.plan.draw(i, k, turn)
		if !hit {
			continue
		}
		switch r.Fault {
		case FaultErrno:
			ft.errno = cmp.Or(ft.errno, r.Errno)
		case FaultShort:
			ft.cut, ft.dice = true, dice
		case FaultLate:
			if cancellable {
				ft.hold = max(ft.hold, r.Delay)
			}
		case FaultDelay:
			ft.hold = max(ft.hold, r.Delay)
		}
	}
	return ft
}

// faultyCall is one Submit in which something happens.
type faultyCall struct {
	// Immutable after Submit.
	f     *faulty
	ops   []Op // copies, as they are passed on
	fates []fate
	order uint64
	done  doneFunc

	mu   sync.Mutex
	turn sync.Cond // low has moved
	// +checklocks:mu
	reported []bool
	// +checklocks:mu
	low int // all ops before it have reported
	// +checklocks:mu
	left int // ops that have not reported, plus 1 until run is over
}

// faultyUnit is a chain, or an op that is in none.
type faultyUnit struct {
	// Immutable after unit.
	first, end int        // indexes of its ops
	pass       int        // those from pass on are not carried out
	errno      unix.Errno // what the op at pass reports if the one before it has succeeded; 0: ECANCELED
	drain      bool
	waits      bool // Submit does not wait for its reports
	collect    bool // its reports are handed on when the engine's Submit has returned

	mu sync.Mutex
	// +checklocks:mu
	queue []heldReport // behind one that is held
	// +checklocks:mu
	running bool // a goroutine hands the queue on
}

type heldReport struct {
	index, n int
	more     bool
	err      error
	due      time.Time // zero: at once
}

// unit finds the unit that begins at op i, and where the plan breaks it.
func (c *faultyCall) unit(i int) *faultyUnit {
	u := &faultyUnit{first: i, end: chainEnd(c.ops, i)}
	u.pass = u.end
	for ; i < u.end; i++ {
		op, ft := &c.ops[i], c.fates[i]
		u.drain = u.drain || op.Drain
		op.Drain = false // waiting is done here
		u.waits = u.waits || op.waits()
		u.collect = u.collect || ft.hold > 0
		if i >= u.pass || u.end-u.first > c.f.longest {
			continue // a chain that is too long is left to the engine, which refuses it
		}
		switch {
		case ft.errno != 0 && op.Kind != KindClose:
			u.pass, u.errno = i, ft.errno
		case ft.errno != 0 || ft.cut && op.shorten(ft.dice):
			u.pass = i + 1
		}
	}
	if u.pass > u.first {
		c.ops[u.pass-1].Link = false
	}
	u.collect = (u.collect || c.order != 0) && !u.waits
	return u
}

// run carries the call out: first what need not wait, then each unit that drains, in turn.
func (c *faultyCall) run(ctx context.Context) {
	var free, drained []*faultyUnit
	for i := 0; i < len(c.ops); {
		u := c.unit(i)
		if i = u.end; u.drain {
			drained = append(drained, u)
		} else {
			free = append(free, u)
		}
	}
	if c.order != 0 {
		rand.New(rand.NewPCG(c.order, 0)).Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	}
	c.submit(ctx, free)
	for i, u := range drained {
		c.mu.Lock()
		ready := c.low >= u.first
		c.mu.Unlock()
		if !ready {
			// ends when the ops before each unit, and it itself, have reported; waited by Close (gate)
			go c.rest(ctx, drained[i:])
			return
		}
		c.submit(ctx, []*faultyUnit{u})
	}
	c.over(1)
}

func (c *faultyCall) rest(ctx context.Context, drained []*faultyUnit) {
	for _, u := range drained {
		c.mu.Lock()
		for c.low < u.first {
			c.turn.Wait()
		}
		c.mu.Unlock()
		c.submit(ctx, []*faultyUnit{u})
	}
	c.over(1)
}

// submit passes units on, and hands on what they report.
func (c *faultyCall) submit(ctx context.Context, units []*faultyUnit) {
	var pass []Op
	var of []*faultyUnit // of each op of pass
	var index []int      // of each op of pass, in c.ops
	for _, u := range units {
		for i := u.first; i < u.pass; i++ {
			pass, of, index = append(pass, c.ops[i]), append(of, u), append(index, i)
		}
	}
	var mu sync.Mutex // an engine may report bounded ops from another goroutine too
	collected := make(map[*faultyUnit][]heldReport)
	hand := func(u *faultyUnit, r heldReport) {
		switch {
		case u.collect:
			mu.Lock()
			defer mu.Unlock()
			collected[u] = append(collected[u], r)
		case u.waits:
			c.queue(ctx, u, r)
		default:
			c.report(r)
		}
	}
	for _, u := range units {
		if u.pass == u.first {
			c.tail(u, true, hand)
		}
	}
	if len(pass) > 0 {
		c.f.next.Submit(ctx, pass, func(i, n int, more bool, err error) {
			u, i := of[i], index[i]
			if more {
				hand(u, heldReport{index: i, n: n, more: true, err: err})
				return
			}
			if ft := c.fates[i]; err == nil && ft.errno != 0 {
				n, err = 0, ft.errno // a close
			}
			hand(u, c.held(i, n, err))
			if i == u.pass-1 {
				c.tail(u, err == nil && c.ops[i].full(n), hand)
			}
		})
	}
	c.flush(ctx, units, collected)
}

// held makes the last report of an op.
func (c *faultyCall) held(i, n int, err error) heldReport {
	r := heldReport{index: i, n: n, err: err}
	if hold := c.fates[i].hold; hold > 0 {
		r.due = time.Now().Add(hold)
	}
	return r
}

// tail answers for the ops of a unit that are not carried out. intact: those before them have succeeded.
func (c *faultyCall) tail(u *faultyUnit, intact bool, hand func(*faultyUnit, heldReport)) {
	for i := u.pass; i < u.end; i++ {
		err := unix.ECANCELED
		if i == u.pass && intact && u.errno != 0 {
			err = u.errno
		}
		hand(u, c.held(i, 0, err))
	}
}

// flush hands on the collected reports: those of a unit in their order, and the units by when they are due, or, if the
// order has been drawn, as they stand.
func (c *faultyCall) flush(ctx context.Context, units []*faultyUnit, collected map[*faultyUnit][]heldReport) {
	var all []heldReport
	for _, u := range units {
		var due time.Time
		for _, r := range collected[u] {
			if r.due.Before(due) {
				r.due = due
			}
			due = r.due
			all = append(all, r)
		}
	}
	if c.order == 0 {
		slices.SortStableFunc(all, func(a, b heldReport) int { return a.due.Compare(b.due) })
	}
	for _, r := range all {
		c.hold(ctx, r.due)
		c.report(r)
	}
}

// queue hands a report of a unit that waits on: at once, or behind those before it by a goroutine.
func (c *faultyCall) queue(ctx context.Context, u *faultyUnit, r heldReport) {
	u.mu.Lock()
	if !u.running && r.due.IsZero() {
		u.mu.Unlock()
		c.report(r)
		return
	}
	u.queue = append(u.queue, r)
	start := !u.running
	u.running = true
	u.mu.Unlock()
	if !start {
		return
	}
	// ends when the queue is empty, which ctx and Close hasten; waited by Close (gate)
	go func() {
		for {
			u.mu.Lock()
			if len(u.queue) == 0 {
				u.running = false
				u.mu.Unlock()
				return
			}
			r := u.queue[0]
			u.queue = u.queue[1:]
			u.mu.Unlock()
			c.hold(ctx, r.due)
			c.report(r)
		}
	}()
}

// hold waits until due, or until ctx ends or the engine is being closed.
func (c *faultyCall) hold(ctx context.Context, due time.Time) {
	d := time.Until(due)
	if due.IsZero() || d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-c.f.closing:
	}
}

func (c *faultyCall) report(r heldReport) {
	c.done(r.index, r.n, r.more, r.err)
	if r.more {
		return
	}
	c.mu.Lock()
	c.reported[r.index] = true
	for c.low < len(c.reported) && c.reported[c.low] {
		c.low++
	}
	c.turn.Broadcast()
	c.mu.Unlock()
	c.over(1)
}

func (c *faultyCall) over(n int) {
	c.mu.Lock()
	c.left -= n
	last := c.left == 0
	c.mu.Unlock()
	if last {
		c.f.gate.leave()
	}
}
