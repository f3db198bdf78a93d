//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// loop carries ops that may wait without bound. Its goroutine, the owner, does all submitting and reaping; others hand
// ops over and ring a bell. How the owner waits is Config.Loop:
//
//   - "ring": it blocks only in io_uring_enter, on a thread of its own for life, so that the ring may be one that only
//     this thread uses (SINGLE_ISSUER, DEFER_TASKRUN, registered descriptor) where the kernel has that. The bell is an
//     eventfd that the ring itself reads.
//   - "netpoll": the bell is an eventfd that the ring writes too, for each completion, and Go's netpoller waits for it:
//     no thread is held while nothing happens.
type loop struct {
	requests // of the owner

	// Immutable after newLoop.
	netpoll bool
	limit   int
	bell    int           // eventfd
	bellBuf *[8]byte      // what is read from it
	event   *os.File      // owns the bell with netpoll, else nil
	ended   chan struct{} // closed when the owner has ended

	mu sync.Mutex
	// +checklocks:mu
	queue []*waitOp // to be submitted; a chain's ops one behind the other
	// +checklocks:mu
	given []*waitOp // to be given up
	// +checklocks:mu
	live map[*waitOp]struct{} // accepted and not yet reported
	// +checklocks:mu
	watches []*fdWatch
	// +checklocks:mu
	closed bool
	// +checklocks:mu
	rung bool // the bell has been rung and not yet been heard

	watched atomic.Int32 // len(watches)

	// Owned by the owner goroutine.
	bellArmed bool
	closing   bool
	limited   bool // the last read of the event had a deadline
}

// waitOp is an op on its way. It lives on the heap and keeps the op's memory until the last completion.
type waitOp struct {
	// Immutable after accept.
	op    Op
	index int
	done  doneFunc
	stop  func() bool // ends the watch on the context

	// Owned by the owner goroutine.
	slot      *slot // nil when not in the ring
	cancelled bool
	finished  bool
}

// fdWatch waits for ops to report.
type fdWatch struct {
	ops  map[*waitOp]struct{}
	gone chan struct{} // closed when all have
}

const loopEntries = 128

func newLoop(c *core, cfg Config) (*loop, error) {
	w := &loop{
		netpoll: cfg.Loop == "netpoll", limit: cfg.Unbounded, bellBuf: new([8]byte), ended: make(chan struct{}),
		live: make(map[*waitOp]struct{}),
	}
	var err error
	// Not EFD_NONBLOCK where the ring reads it: io_uring takes that flag as a wish for EAGAIN.
	flags := unix.EFD_CLOEXEC
	if w.netpoll {
		flags |= unix.EFD_NONBLOCK
	}
	if w.bell, err = unix.Eventfd(0, flags); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	made := make(chan error)
	// ends when Close has been called and every op has reported; waited by Close (ended)
	go w.own(c, cfg, made)
	if err := <-made; err != nil {
		return nil, err
	}
	return w, nil
}

// open makes the ring, on the owner's thread.
func (w *loop) open(c *core, cfg Config) error {
	// Room for a completion of each op, of its timeout, of its cancellation, and of the bell.
	rc := uring.Config{Entries: loopEntries, CQEntries: uint32(max(3*cfg.Unbounded+2, loopEntries)), Flags: ringFlags}
	open := c.ownRing
	if w.netpoll {
		open = uring.Open
	}
	r, err := open(rc)
	if err != nil {
		return fmt.Errorf("ring for %d waiting ops: %w", cfg.Unbounded, err)
	}
	if w.netpoll {
		if err := r.RegisterEventFD(w.bell); err != nil {
			_ = r.Close() // the first error is the one to report
			return fmt.Errorf("eventfd of the ring: %w", err)
		}
		w.event = os.NewFile(uintptr(w.bell), "eventfd")
	}
	w.limit = min(w.limit, (r.CQEntries()-2)/3)
	w.requests = newRequests(c, r, cfg.Unbounded)
	w.onDone, w.afterDone, w.onBell = w.reported, w.settle, w.heard
	return nil
}

// accept hands a chain over to the owner: one op, or more that are linked.
func (w *loop) accept(ctx context.Context, ops []Op, first int, done doneFunc) {
	if ctx.Err() != nil {
		refuse(ops, first, done)
		return
	}
	records := 0
	for i := range ops {
		records += ops[i].records()
	}
	w.mu.Lock()
	var err error
	switch {
	case w.closed:
		err = unix.ECANCELED
	case len(w.live)+len(ops) > w.limit:
		err = unix.EAGAIN
	case records > loopEntries:
		err = unix.EINVAL
	}
	if err != nil {
		w.mu.Unlock()
		for i := range ops {
			done(first+i, 0, false, err)
		}
		return
	}
	for i := range ops {
		wo := &waitOp{op: ops[i], index: first + i, done: done}
		if i == len(ops)-1 {
			wo.op.Link = false // nothing follows
		}
		w.live[wo] = struct{}{}
		w.core.stats.inFlight.Add(1)
		w.core.stats.waiting.Add(1)
		if ctx.Done() != nil {
			// Runs on a goroutine of its own, so it may take mu.
			wo.stop = context.AfterFunc(ctx, func() { w.giveUpLater(wo) })
		}
		w.queue = append(w.queue, wo)
	}
	w.ringLocked()
	w.mu.Unlock()
}

func (w *loop) giveUpLater(wo *waitOp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveLocked(wo)
}

// giveLocked asks the owner to give an op up.
// +checklocks:w.mu
func (w *loop) giveLocked(wo *waitOp) {
	if _, ok := w.live[wo]; ok { // else the loop may have ended, and the bell's number be another file's
		w.given = append(w.given, wo)
		w.ringLocked()
	}
}

// cancelFD gives up all ops that use fd and waits until they have reported. It says how many there were.
func (w *loop) cancelFD(fd int) int {
	on := &fdWatch{ops: make(map[*waitOp]struct{}), gone: make(chan struct{})}
	w.mu.Lock()
	for wo := range w.live {
		if wo.op.uses(fd) {
			on.ops[wo] = struct{}{}
			w.giveLocked(wo)
		}
	}
	n := len(on.ops)
	if n == 0 {
		w.mu.Unlock()
		return 0
	}
	w.watches = append(w.watches, on)
	w.watched.Add(1)
	w.mu.Unlock()
	<-on.gone
	return n
}

// settle tells those who watch wo that it has reported.
func (w *loop) settle(wo *waitOp) {
	if w.watched.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watches = slices.DeleteFunc(w.watches, func(on *fdWatch) bool {
		delete(on.ops, wo)
		if len(on.ops) > 0 {
			return false
		}
		w.watched.Add(-1)
		close(on.gone)
		return true
	})
}

// uses says that the op may wait for fd.
func (op *Op) uses(fd int) bool {
	return op.FD == fd || (op.Kind == KindSplice || op.Kind == KindTee) && op.FD2 == fd
}

// ringLocked wakes the owner, once until it has heard.
// +checklocks:w.mu
func (w *loop) ringLocked() {
	if !w.rung {
		w.rung = true
		ring(w.bell)
	}
}

// Close cancels all ops and waits until they have reported. It may be called once.
func (w *loop) Close() {
	w.mu.Lock()
	w.closed = true
	w.ringLocked()
	w.mu.Unlock()
	<-w.ended
}

// own is the owner. made gets the error of the ring's making.
func (w *loop) own(c *core, cfg Config, made chan<- error) {
	if !w.netpoll {
		// The thread must not run anything else: a thread that ends takes its requests along. It is unlocked only
		// when nothing is in flight.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if err := w.open(c, cfg); err != nil {
		_ = unix.Close(w.bell)
		made <- err
		return
	}
	close(made)
	for !w.turn() {
	}
	if w.event != nil {
		_ = w.r.UnregisterEventFD() // the ring goes next
	}
	w.requests.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.event != nil {
		_ = w.event.Close()
	} else {
		_ = unix.Close(w.bell)
	}
	close(w.ended)
}

// turn is one round of the owner: take what was handed over, submit, wait, reap. It says whether the loop is over.
func (w *loop) turn() (over bool) {
	w.mu.Lock()
	queue, given := w.queue, w.given
	w.queue, w.given = nil, nil
	closing := w.closed
	w.mu.Unlock()
	// Close sets closed before it rings, so a bell that is still armed here will ring; one that is not must not be armed
	// again, since nobody would ring it.
	if !w.netpoll && !closing && !w.bellArmed {
		w.bellArmed = true
		w.readBell(w.bell, w.bellBuf)
	}
	for len(queue) > 0 {
		n := 1
		for queue[n-1].op.Link {
			n++
		}
		w.start(queue[:n])
		queue = queue[n:]
	}
	for _, wo := range given {
		w.giveUp(wo)
	}
	if closing && !w.closing {
		w.closing = true
		for _, s := range w.slots {
			if s.busy {
				w.giveUp(s.w)
			}
		}
	}
	if w.closing && w.done() {
		return true
	}
	w.wait(w.insist())
	w.reap()
	return false
}

// wait submits and waits until something has happened, for no longer than limit unless that is negative.
func (w *loop) wait(limit time.Duration) {
	if !w.netpoll {
		w.enterFor(1, limit)
		return
	}
	w.submit()
	if w.r.Ready() > 0 {
		return
	}
	if w.r.Overflowed() {
		w.checkWait(w.r.Wait(0)) // moves completions over
		return
	}
	var until time.Time
	if limit >= 0 {
		until = time.Now().Add(limit)
	}
	if limit >= 0 || w.limited {
		w.limited = limit >= 0
		if err := w.event.SetReadDeadline(until); err != nil {
			panic(fmt.Sprintf("uringbackend: deadline of an eventfd: %v", err)) // it is a file that polls, and open
		}
	}
	// Each completion since the last read has been counted in the eventfd, so nothing is slept over.
	_, err := w.event.Read(w.bellBuf[:])
	switch {
	case err == nil:
		w.heard()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EINTR):
	default:
		panic(fmt.Sprintf("uringbackend: eventfd of a loop: %v", err))
	}
}

// done says that the ring is empty and the owner may end; only asked while closing.
func (w *loop) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live) == 0 && len(w.queue) == 0 && w.over() && !w.bellArmed
}

// start puts a chain into the ring.
func (w *loop) start(chain []*waitOp) {
	cancelled := w.closing
	records := 0
	for _, wo := range chain {
		cancelled = cancelled || wo.cancelled
		records += wo.op.records()
	}
	if cancelled {
		for _, wo := range chain {
			w.finishEarly(wo, unix.ECANCELED)
		}
		return
	}
	w.makeRoom(records)
	for i, wo := range chain {
		s, err := w.begin(&wo.op, wo.index, wo.done)
		s.w, wo.slot = wo, s
		s.linked = i > 0
		if err != nil {
			if len(chain) == 1 {
				w.report(s, 0, err)
				return
			}
			w.doom(s, err)
		}
		w.push(s)
	}
}

// heard notes that the bell has been read.
func (w *loop) heard() {
	w.bellArmed = false
	w.mu.Lock()
	w.rung = false
	w.mu.Unlock()
}

// giveUp cancels an op, in the ring or not.
func (w *loop) giveUp(wo *waitOp) {
	if wo.finished || wo.cancelled {
		return
	}
	wo.cancelled = true
	if wo.slot != nil {
		w.makeRoom(1)
		w.cancel(wo.slot)
	}
}

// reported is called before the last report of an op in the ring.
func (w *loop) reported(s *slot) {
	s.w.slot = nil
	w.leave(s.w)
}

// finishEarly reports an op that never came into the ring.
func (w *loop) finishEarly(wo *waitOp, err error) {
	w.leave(wo)
	wo.done(wo.index, 0, false, err)
	w.settle(wo)
}

// leave takes an op off the books.
func (w *loop) leave(wo *waitOp) {
	wo.finished = true
	if wo.stop != nil {
		wo.stop() // a watch that is running already finds the op finished
	}
	w.core.stats.inFlight.Add(-1)
	w.core.stats.waiting.Add(-1)
	w.mu.Lock()
	delete(w.live, wo)
	w.mu.Unlock()
}
