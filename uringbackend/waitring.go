//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// waitRing carries ops that may wait without bound. One thread owns its ring for life and does all submitting and
// reaping: requests belong to the thread that submitted them, and die with it. Others hand ops over and ring a bell
// that the ring itself reads.
type waitRing struct {
	// Immutable after newWaitRing.
	stats  *stats
	strict bool
	limit  int
	bell   int           // eventfd
	ended  chan struct{} // closed when the owner has ended

	mu sync.Mutex
	// +checklocks:mu
	queue []*waitOp // to be submitted
	// +checklocks:mu
	cancelled []*waitOp // to be given up
	// +checklocks:mu
	count int // ops accepted and not yet reported
	// +checklocks:mu
	closed bool
	// +checklocks:mu
	rung bool // the bell has been rung and not yet been heard

	// Owned by the owner goroutine.
	r         *uring.Ring
	slots     []*waitSlot // by pointer: the kernel reads from them, so they may not move
	free      []int
	cancels   int // cancellations without their completion
	bellArmed bool
	bellBuf   *[8]byte
	tries     int
	closing   bool
}

type waitSlot struct {
	slot
	w *waitOp
}

// waitOp is an op on its way. It lives on the heap and keeps the op's memory until the last completion.
type waitOp struct {
	// Immutable after submit.
	op    Op
	index int
	done  doneFunc
	stop  func() bool // ends the watch on the context

	// Owned by the owner goroutine.
	slot      int // -1 when not in the ring
	cancelled bool
	finished  bool
}

const waitEntries = 64

func newWaitRing(st *stats, cfg Config) (*waitRing, error) {
	// Room for a completion of each op, of its cancellation, and of the bell; the kernel wants no less than the
	// submission queue has.
	r, err := uring.New(waitEntries, uint32(max(2*cfg.Unbounded+2, waitEntries)), ringFlags)
	if err != nil {
		return nil, fmt.Errorf("ring for %d waiting ops: %w", cfg.Unbounded, err)
	}
	// Not EFD_NONBLOCK: io_uring takes that flag as a wish for EAGAIN.
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		_ = r.Close() // the first error is the one to report
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &waitRing{
		stats: st, strict: cfg.Strict, limit: min(cfg.Unbounded, (r.CQEntries()-2)/2), bell: bell, ended: make(chan struct{}),
		r: r, bellBuf: new([8]byte),
	}
	st.rings.Add(1)
	// ends when Close has been called and every op has reported; waited by Close (ended)
	go w.own()
	return w, nil
}

// submit hands an op over to the owner.
func (w *waitRing) submit(ctx context.Context, i int, op *Op, done doneFunc) {
	if ctx.Err() != nil {
		done(i, 0, false, unix.ECANCELED)
		return
	}
	wo := &waitOp{op: *op, index: i, done: done, slot: -1}
	w.mu.Lock()
	var err error
	switch {
	case w.closed:
		err = unix.ECANCELED
	case w.count >= w.limit:
		err = unix.EAGAIN
	default:
		w.count++
		w.stats.inFlight.Add(1)
		if ctx.Done() != nil {
			// Runs on a goroutine of its own, so it may take mu.
			wo.stop = context.AfterFunc(ctx, func() { w.cancel(wo) })
		}
		w.queue = append(w.queue, wo)
		w.ringLocked()
	}
	w.mu.Unlock()
	if err != nil {
		done(i, 0, false, err)
	}
}

func (w *waitRing) cancel(wo *waitOp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.ended: // nothing is in flight, and the bell's number may be another file's
		return
	default:
	}
	w.cancelled = append(w.cancelled, wo)
	w.ringLocked()
}

// ringLocked wakes the owner, once until it has heard.
// +checklocks:w.mu
func (w *waitRing) ringLocked() {
	if !w.rung {
		w.rung = true
		ring(w.bell)
	}
}

// Close cancels all ops and waits until they have reported. It may be called once.
func (w *waitRing) Close() {
	w.mu.Lock()
	w.closed = true
	w.ringLocked()
	w.mu.Unlock()
	<-w.ended
}

// own is the owner: a thread that submits, waits and reaps.
func (w *waitRing) own() {
	// The thread must not run anything else: a thread that ends takes its requests along. It is unlocked only
	// when nothing is in flight.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		w.mu.Lock()
		queue, cancelled := w.queue, w.cancelled
		w.queue, w.cancelled = nil, nil
		closing := w.closed
		w.mu.Unlock()
		// Close sets closed before it rings, so a bell that is still armed here will ring; one that is not must
		// not be armed again, since nobody would ring it.
		if !closing && !w.bellArmed {
			w.armBell()
		}
		for _, wo := range queue {
			w.start(wo)
		}
		for _, wo := range cancelled {
			w.giveUp(wo)
		}
		if closing {
			w.closing = true
			for i := range w.slots {
				if wo := w.slots[i].w; wo != nil {
					w.giveUp(wo)
				}
			}
			if w.over() {
				break
			}
		}
		if w.cancelMissed() {
			w.tries++
			pause(min(w.tries, 4)) // until the op has reached a state in which it can be found
		} else {
			w.tries = 0
		}
		w.enter(1)
		w.reap()
	}
	_ = w.r.Close() // nothing in flight, nothing to lose
	w.stats.rings.Add(-1)
	w.mu.Lock()
	_ = unix.Close(w.bell)
	close(w.ended)
	w.mu.Unlock()
}

// over says that the ring is empty and the owner may end; only asked while closing.
func (w *waitRing) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count == 0 && len(w.queue) == 0 && w.cancels == 0 && !w.bellArmed
}

// start puts an op into the ring.
func (w *waitRing) start(wo *waitOp) {
	if wo.cancelled || w.closing {
		w.finish(wo, 0, unix.ECANCELED)
		return
	}
	var i int
	if n := len(w.free); n > 0 {
		i = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		i = len(w.slots)
		w.slots = append(w.slots, new(waitSlot))
	}
	s := w.slots[i]
	s.take(&wo.op, wo.index)
	s.w, wo.slot = wo, i
	if err := s.prepare(i); err != nil {
		w.report(i, 0, err)
		return
	}
	w.stats.verbs[wo.op.Kind].ring.Add(1)
	w.push(&s.sqe)
}

// bellIndex marks completions of the bell; slots have smaller indexes.
const bellIndex = 1<<32 - 1

// armBell lets the ring read the bell.
func (w *waitRing) armBell() {
	w.bellArmed = true
	w.push(&uring.SQE{
		Opcode: uring.OpRead, FD: int32(w.bell), Off: ^uint64(0), Len: 8, UserData: bellIndex,
		Addr: uint64(uintptr(unsafe.Pointer(w.bellBuf))),
	})
}

// giveUp cancels an op, in the ring or not.
func (w *waitRing) giveUp(wo *waitOp) {
	if wo.finished || wo.cancelled {
		return
	}
	wo.cancelled = true
	if wo.slot >= 0 {
		w.push(cancellation(wo.slot, w.slots[wo.slot].gen))
		w.cancels++
	}
}

// cancelMissed repeats cancellations that did not find their op.
func (w *waitRing) cancelMissed() (any bool) {
	for i, s := range w.slots {
		if s.busy && s.missed && s.w.cancelled {
			s.missed = false
			w.push(cancellation(i, s.gen))
			w.cancels++
			any = true
		}
	}
	return any
}

func (w *waitRing) push(sqe *uring.SQE) {
	for !w.r.Push(sqe) {
		w.enter(0)
	}
}

// enter is io_uring_enter with an answer to every errno. It may return early.
func (w *waitRing) enter(wait uint32) {
	_, errno := w.r.Enter(wait, uring.EnterGetEvents)
	switch errno {
	case 0, unix.EINTR: // the loop looks at what is there
	case unix.EBUSY: // completions wait in the kernel for room: the loop reaps
		w.reap()
	case unix.EAGAIN, unix.ENOMEM: // no memory for a request: give the kernel time, then give up
		if w.tries++; w.tries < maxEnterTries {
			pause(w.tries)
			return
		}
		w.tries = 0
		for _, v := range w.r.Drop() {
			w.dropped(v)
		}
	default:
		// The kernel may hold memory of ops, and there is no way to learn when it is done with it.
		panic(fmt.Sprintf("uringbackend: io_uring_enter of the waiting ring: %v", errno))
	}
}

// dropped answers for a record that the kernel did not take.
func (w *waitRing) dropped(v uint64) {
	i, gen := splitUserData(v)
	switch {
	case v == bellIndex:
		w.bellArmed = false
	case gen == cancelGen:
		w.cancels--
		w.slots[i].missed = true
	default:
		w.report(i, 0, unix.EAGAIN)
	}
}

// reap takes all completions that are there.
func (w *waitRing) reap() {
	for {
		c, ok := w.r.Next()
		if !ok {
			return
		}
		i, gen := splitUserData(c.UserData)
		switch {
		case c.UserData == bellIndex:
			w.bellArmed = false
			w.mu.Lock()
			w.rung = false
			w.mu.Unlock()
		case i >= len(w.slots):
			w.stats.bug(w.strict, "completion for waiting slot %d of %d", i, len(w.slots))
		case gen == cancelGen:
			w.cancels--
			// Of a slot that has been released meanwhile this says nothing; take clears it.
			w.slots[i].missed = unix.Errno(-c.Res) == unix.ENOENT && w.slots[i].busy
		default:
			w.completed(i, gen, c.Res)
		}
	}
}

func (w *waitRing) completed(i int, gen uint32, res int32) {
	s := w.slots[i]
	if !s.busy || s.gen != gen {
		w.stats.bug(w.strict, "completion of generation %d for waiting slot %d, busy %t, generation %d", gen, i, s.busy, s.gen)
		return
	}
	n, err := result(res)
	if err != nil {
		if s.w.cancelled {
			err = cancelledErr(err)
		} else if s.again(err) {
			w.stats.resubmitted.Add(1)
			s.next()
			if err = s.prepare(i); err == nil {
				w.push(&s.sqe)
				return
			}
		}
	}
	w.report(i, n, err)
}

// report empties a slot and reports its op.
func (w *waitRing) report(i, n int, err error) {
	s := w.slots[i]
	wo := s.w
	s.w = nil
	s.release()
	w.free = append(w.free, i)
	wo.slot = -1
	w.finish(wo, n, err)
}

// finish reports an op that is not in the ring, or no longer.
func (w *waitRing) finish(wo *waitOp, n int, err error) {
	wo.finished = true
	if wo.stop != nil {
		wo.stop() // a watch that is running already finds the op finished
	}
	w.stats.inFlight.Add(-1)
	w.mu.Lock()
	w.count--
	w.mu.Unlock()
	wo.done(wo.index, n, false, err)
}
