//go:build linux

package uringbackend

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for descriptors on behalf of the unbounded ops of the syscall engine: one thread for all, in
// epoll_wait(2). An op is tried when its descriptor is ready, by a goroutine that ends when no more can be done, in
// order of arrival; a call is made only when it will not block, so that nothing is under way when an op is given up.
type poller struct {
	mu sync.Mutex
	// +checklocks:mu
	closed bool
	// +checklocks:mu
	epoll int // -1 until the first op
	// +checklocks:mu
	bell int // eventfd that ends the thread
	// +checklocks:mu
	watches map[int]*watch // by descriptor
	// +checklocks:mu
	ended chan struct{} // closed when the thread has ended; nil if there is none
}

// watch is a descriptor with ops that wait for it. It exists while there are any.
//
// INVARIANT: the descriptor is in the epoll set only while an op that has not reported waits for it.
type watch struct {
	fd int

	// Guarded by the poller's mu.
	queues [3]list.List // of *waiter: those that want to read, to write, or have events of their own
	busy   [3]bool      // a goroutine serves the queue
	added  bool         // to the epoll set
	always bool         // not pollable, always ready: a regular file
}

// waiter is an op that waits.
type waiter struct {
	// Immutable after start.
	need   [2]wanting                    // one or two descriptors, in turn
	try    func(waits bool) (int, error) // waits: the descriptor cannot be polled for, so the call may wait
	begun  func()                        // called when the op waits, or before it reports that it cannot
	moved  *int                          // bytes that are moved when the op is given up; nil: none are
	events uint32                        // waited for by an op that waits for dirAny

	// Guarded by the poller's mu.
	done   func(n int, err error) // fixed once over
	stage  int                    // index in need
	place  *list.Element
	trying bool
	gaveUp unix.Errno // 0: not
	over   bool
	stop   func() bool
	timer  *time.Timer
}

// wanting is what an op waits for: to read (0) or to write (1) a descriptor, or for events of its own (dirAny); fd -1:
// nothing.
type wanting struct{ fd, dir int }

const dirAny = 2

// pollEvents are the events of a queue; those of dirAny are the ops' own.
var pollEvents = [3]uint32{unix.EPOLLIN, unix.EPOLLOUT, 0}

// eventsLocked is what a queue of w waits for.
// +checklocks:p.mu
func (w *watch) eventsLocked(dir int) uint32 {
	events := pollEvents[dir]
	if dir == dirAny {
		for e := w.queues[dir].Front(); e != nil; e = e.Next() {
			events |= e.Value.(*waiter).events
		}
	}
	return events
}

// result is what an op that is given up reports: what it has moved so far is not lost.
func (op *waiter) result(why unix.Errno) (int, error) {
	if op.moved != nil && *op.moved > 0 {
		return *op.moved, nil
	}
	return 0, why
}

// start begins to wait; done follows, from another goroutine unless it cannot begin.
func (p *poller) start(ctx context.Context, timeout time.Duration, w *waiter) {
	if ctx.Err() != nil {
		w.begun()
		w.done(0, unix.ECANCELED)
		return
	}
	p.mu.Lock()
	errno := p.openLocked()
	w.begun()
	if errno == 0 {
		errno = p.enqueueLocked(w)
	}
	if errno != 0 {
		w.over = true
		p.mu.Unlock()
		w.done(0, errno)
		return
	}
	// Both run on goroutines of their own, so they may take mu.
	if ctx.Done() != nil {
		w.stop = context.AfterFunc(ctx, func() { p.giveUp(w, unix.ECANCELED) })
	}
	if timeout > 0 {
		w.timer = time.AfterFunc(timeout, func() { p.giveUp(w, unix.ETIME) })
	}
	p.mu.Unlock()
}

// openLocked starts the thread with the first op.
// +checklocks:p.mu
func (p *poller) openLocked() unix.Errno {
	if p.closed {
		return unix.ECANCELED
	}
	if p.watches != nil {
		return 0
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return errnoOf(err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(bell)})
		if err != nil {
			_ = unix.Close(bell)
		}
	}
	if err != nil {
		_ = unix.Close(epoll) // the first error is the one to report
		return errnoOf(err)
	}
	p.epoll, p.bell, p.watches, p.ended = epoll, bell, make(map[int]*watch), make(chan struct{})
	// ends when Close rings the bell; waited by Close (ended)
	go p.run(epoll, bell, p.ended)
	return 0
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	_ = errors.As(err, &errno) // x/sys/unix returns nothing else
	return errno
}

// run hears which descriptors are ready.
func (p *poller) run(epoll, bell int, ended chan struct{}) {
	defer close(ended)
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("uringbackend: epoll_wait: %v", err)) // ops would wait for ever
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == bell {
				return
			}
			p.mu.Lock()
			if w := p.watches[int(e.Fd)]; w != nil {
				p.readyLocked(w, e.Events)
				p.armLocked(w)
			}
			p.mu.Unlock()
		}
	}
}

// enqueueLocked lets an op wait for its stage.
// +checklocks:p.mu
func (p *poller) enqueueLocked(op *waiter) unix.Errno {
	need := op.need[op.stage]
	w := p.watches[need.fd]
	if w == nil {
		w = &watch{fd: need.fd}
		p.watches[need.fd] = w
	}
	op.place = w.queues[need.dir].PushBack(op)
	errno := p.armLocked(w)
	if errno != 0 {
		w.queues[need.dir].Remove(op.place)
		op.place = nil
		p.armLocked(w)
	}
	return errno
}

// armLocked asks the kernel for what the watch waits for and nobody serves, and forgets a watch that nobody needs.
// +checklocks:p.mu
func (p *poller) armLocked(w *watch) unix.Errno {
	idle := w.queues[0].Len()+w.queues[1].Len()+w.queues[2].Len() == 0
	if idle {
		if w.added {
			// EBADF, ENOENT: closed by its owner, and so gone from the set.
			_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, w.fd, nil)
			w.added = false
		}
		if w.busy == [3]bool{} {
			delete(p.watches, w.fd)
		}
		return 0
	}
	event := unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(w.fd)}
	want := false
	for dir := range w.queues {
		if w.queues[dir].Len() > 0 && !w.busy[dir] {
			event.Events |= w.eventsLocked(dir)
			want = true
		}
	}
	switch {
	case !want:
		return 0
	case w.always:
		p.readyLocked(w, event.Events)
		return 0
	}
	err := error(unix.ENOENT)
	if w.added {
		err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_MOD, w.fd, &event)
	}
	if errors.Is(err, unix.ENOENT) {
		err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, w.fd, &event)
	}
	switch {
	case err == nil:
		w.added = true
		return 0
	case errors.Is(err, unix.EPERM): // it knows no poll, so it is always ready: poll(2) says so too
		w.always, w.added = true, false
		p.readyLocked(w, event.Events)
		return 0
	default:
		return errnoOf(err)
	}
}

// readyLocked has the queues served for which the descriptor is ready.
// +checklocks:p.mu
func (p *poller) readyLocked(w *watch, events uint32) {
	for dir := range w.queues {
		if w.busy[dir] || w.queues[dir].Len() == 0 || events&(w.eventsLocked(dir)|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
			continue
		}
		w.busy[dir] = true
		// ends when the queue is empty or its first op cannot go on; waited by Close (the ops are in the gate)
		go p.serve(w, dir)
	}
}

// serve tries the ops of a queue in turn.
func (p *poller) serve(w *watch, dir int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for rest := w.queues[dir].Len(); w.queues[dir].Len() > 0; {
		op := w.queues[dir].Front().Value.(*waiter)
		if op.stage == 0 && op.need[1].fd >= 0 {
			p.moveLocked(w, op, 1)
			continue
		}
		op.trying = true
		always := w.always
		p.mu.Unlock()
		n, err := op.try(always)
		p.mu.Lock()
		op.trying = false
		switch {
		case !errors.Is(err, unix.EAGAIN):
		case op.gaveUp != 0:
			n, err = op.result(op.gaveUp)
		case dir == dirAny && rest > 1:
			rest-- // others wait for other events
			w.queues[dir].MoveToBack(op.place)
			continue
		case op.need[1].fd >= 0:
			p.moveLocked(w, op, 0)
			continue
		default:
			w.busy[dir] = false
			errno := p.armLocked(w)
			if errno == 0 {
				return
			}
			w.busy[dir] = true
			n, err = 0, errno // closed under the op
		}
		p.finishLocked(w, dir, op)
		p.mu.Unlock()
		op.done(n, err)
		p.mu.Lock()
	}
	w.busy[dir] = false
	p.armLocked(w)
}

// moveLocked lets an op wait for its other descriptor.
// +checklocks:p.mu
func (p *poller) moveLocked(w *watch, op *waiter, stage int) {
	from := op.need[op.stage]
	w.queues[from.dir].Remove(op.place)
	op.place, op.stage = nil, stage
	if errno := p.enqueueLocked(op); errno != 0 {
		op.over = true
		p.releaseLocked(op)
		p.armLocked(w)
		p.mu.Unlock()
		op.done(0, errno)
		p.mu.Lock()
		return
	}
	p.armLocked(w)
}

// finishLocked takes an op out, and its descriptor out of the set if it was the last: once it has reported, the number
// may be another file's.
// +checklocks:p.mu
func (p *poller) finishLocked(w *watch, dir int, op *waiter) {
	w.queues[dir].Remove(op.place)
	op.place, op.over = nil, true
	p.releaseLocked(op)
	p.armLocked(w)
}

// releaseLocked ends the watches on an op's context and time.
// +checklocks:p.mu
func (p *poller) releaseLocked(op *waiter) {
	if op.stop != nil {
		op.stop() // one that is running already finds the op over
	}
	if op.timer != nil {
		op.timer.Stop()
	}
}

// giveUp ends an op unless it is over; one that is being tried ends with the try.
func (p *poller) giveUp(op *waiter, why unix.Errno) {
	p.mu.Lock()
	if op.over || op.gaveUp != 0 {
		p.mu.Unlock()
		return
	}
	op.gaveUp = why
	if op.trying {
		p.mu.Unlock()
		return
	}
	need := op.need[op.stage]
	p.finishLocked(p.watches[need.fd], need.dir, op)
	p.mu.Unlock()
	op.done(op.result(why))
}

// cancelAll gives up all ops and refuses more.
func (p *poller) cancelAll() {
	p.mu.Lock()
	p.closed = true
	var all []*waiter
	for _, w := range p.watches {
		for dir := range w.queues {
			for e := w.queues[dir].Front(); e != nil; e = e.Next() {
				all = append(all, e.Value.(*waiter))
			}
		}
	}
	p.mu.Unlock()
	for _, op := range all {
		p.giveUp(op, unix.ECANCELED)
	}
}

// cancelFD gives up the ops that wait for fd, and waits until they have reported. It says how many there were.
func (p *poller) cancelFD(fd int) int {
	p.mu.Lock()
	var found []*waiter
	var gone sync.WaitGroup
	for _, w := range p.watches {
		for dir := range w.queues {
			for e := w.queues[dir].Front(); e != nil; e = e.Next() {
				op := e.Value.(*waiter)
				if op.need[0].fd != fd && op.need[1].fd != fd {
					continue
				}
				gone.Add(1)
				done := op.done
				op.done = func(n int, err error) {
					done(n, err)
					gone.Done()
				}
				found = append(found, op)
			}
		}
	}
	p.mu.Unlock()
	for _, op := range found {
		p.giveUp(op, unix.ECANCELED)
	}
	gone.Wait()
	return len(found)
}

// close ends the thread, when no op is left.
func (p *poller) close() {
	p.mu.Lock()
	ended, bell, epoll := p.ended, p.bell, p.epoll
	p.ended = nil
	p.mu.Unlock()
	if ended == nil {
		return
	}
	ring(bell)
	<-ended
	_ = unix.Close(bell) // neither has anything to lose
	_ = unix.Close(epoll)
}

func ring(ev int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(ev, one[:]) // EAGAIN: it rings already
}
