//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// syscalls carries verbs out by their syscall half. It is an engine of its own, and the ring engine's way for verbs
// without a ring half.
type syscalls struct {
	// Immutable after newSyscalls.
	core  *core
	limit int // unbounded ops, and chains with any, in flight

	gate gate
	trap trap

	mu sync.Mutex
	// +checklocks:mu
	unbounded int // unbounded ops, and chains with any, in flight

	poller poller
}

func newSyscalls(c *core, cfg Config) *syscalls {
	s := &syscalls{core: c, limit: cfg.Unbounded}
	s.gate.init()
	return s
}

// Submit implements Submitter.
func (s *syscalls) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	ops, done = withTable(ops, done)
	s.submitAll(ctx, ops, 0, done)
}

// submitAll is Submit of a part of a call; first is the index of ops[0] in it.
func (s *syscalls) submitAll(ctx context.Context, ops []Op, first int, done doneFunc) {
	if ordered(ops) {
		s.submitOrdered(ctx, ops, first, done)
		return
	}
	for i := range ops {
		s.submit(ctx, first+i, &ops[i], done)
	}
}

// submit carries out one op that is in no chain and does not drain.
func (s *syscalls) submit(ctx context.Context, i int, op *Op, done doneFunc) {
	if op.waits() {
		s.startOne(ctx, i, *op, done)
		return
	}
	n, err := s.bounded(ctx, op)
	done(i, n, false, err)
}

// startOne starts an op that waits. It takes a copy, since the call's slice is only borrowed.
func (s *syscalls) startOne(ctx context.Context, i int, op Op, done doneFunc) {
	if !s.gate.enter() {
		done(i, 0, false, unix.ECANCELED)
		return
	}
	if !s.admit() {
		s.gate.leave()
		done(i, 0, false, unix.EAGAIN)
		return
	}
	// Counted when it is where a close of its descriptor finds it.
	s.startWait(ctx, &op, func() { s.core.stats.inFlight.Add(1) }, func(n int, more bool, err error) {
		if more {
			done(i, n, true, err)
			return
		}
		s.core.stats.inFlight.Add(-1)
		s.leave() // before the report: whoever hears it may start the next
		done(i, n, false, err)
		s.gate.leave()
	})
}

// bounded carries out one op on this goroutine, which is not in the gate.
func (s *syscalls) bounded(ctx context.Context, op *Op) (int, error) {
	if !op.Kind.valid() {
		return 0, unix.EINVAL
	}
	if s.gate.enter() {
		defer s.gate.leave()
	} else if op.Kind != KindClose {
		return 0, unix.ECANCELED
	}
	if op.Kind != KindClose && ctx.Err() != nil {
		return 0, unix.ECANCELED
	}
	if op.Kind == KindClose {
		s.poller.cancelFD(op.FD)
	}
	s.core.stats.inFlight.Add(1)
	defer s.core.stats.inFlight.Add(-1)
	return s.carry(ctx, op)
}

// carry runs the syscall half on this thread, or with the op's credentials on one of theirs.
func (s *syscalls) carry(ctx context.Context, op *Op) (n int, err error) {
	if !s.core.threads.needed(op) {
		return s.direct(op)
	}
	return s.directAs(ctx, op)
}

// directAs is direct with the credentials and the umask of op.
func (s *syscalls) directAs(ctx context.Context, op *Op) (n int, err error) {
	if refused := s.core.threads.run(ctx, op.Creds, func() { n, err = s.direct(op) }); refused != nil {
		return 0, refused
	}
	return n, err
}

// direct runs the syscall half, here and now.
func (s *syscalls) direct(op *Op) (int, error) {
	if op.direct() {
		if op.table == nil {
			return 0, unix.EBADF
		}
		return op.table.run(op, s.direct)
	}
	if err := checkFixed(op, &s.core.stats); err != nil {
		return 0, err
	}
	s.core.stats.verbs[op.Kind].syscall.Add(1)
	began := s.core.clock()
	var n int
	var err error
	if held := verbs[op.Kind].held; held != nil {
		n, err = held(s, op)
	} else {
		n, err = verbs[op.Kind].direct(&s.core.features, op)
	}
	s.core.called(op, began, n, err)
	return n, err
}

// Close implements Engine.Close.
func (s *syscalls) Close() error {
	s.gate.shut()
	s.poller.cancelAll()
	s.gate.drain()
	s.trap.close()
	s.poller.close()
	return nil
}

// startWait runs one op that may wait without bound, without a goroutine for what can be polled for. What cannot be
// polled for (opening a FIFO, say) is carried out at once on one of its own, and cannot be cancelled.
func (s *syscalls) startWait(ctx context.Context, op *Op, started func(), report func(n int, more bool, err error)) {
	begun := func() {
		s.core.stats.waiting.Add(1)
		started()
	}
	done := func(n int, more bool, err error) {
		if !more {
			s.core.stats.waiting.Add(-1)
		}
		report(n, more, err)
	}
	if err := checkFixed(op, &s.core.stats); err != nil {
		begun()
		done(0, false, err)
		return
	}
	w := s.plan(op, func(n int, err error) {
		s.core.stats.moved(op, n, true, err)
		done(n, true, err)
	})
	if w == nil {
		begun()
		if ctx.Err() != nil {
			done(0, false, unix.ECANCELED)
			return
		}
		// ends when the call returns; waited by Close (the op is in the gate)
		go func() {
			n, err := s.alone(op)
			done(n, false, err)
		}()
		return
	}
	s.core.stats.verbs[op.Kind].syscall.Add(1)
	if s.core.threads.needed(op) {
		w.try = s.tryAs(op, w.try)
	}
	w.begun = begun
	began := s.core.clock()
	w.done = func(n int, err error) {
		s.core.called(op, began, n, err)
		done(n, false, err)
	}
	s.poller.start(ctx, op.Timeout, w)
}

// alone runs the syscall half of an op that may hold its thread for as long as it likes.
func (s *syscalls) alone(op *Op) (n int, err error) {
	if !s.core.threads.needed(op) {
		return s.direct(op)
	}
	if refused := s.core.threads.runAlone(op.Creds, func() { n, err = s.direct(op) }); refused != nil {
		return 0, refused
	}
	return n, err
}

// tryAs is a waiter's try with the credentials of op.
func (s *syscalls) tryAs(op *Op, try func(waits bool) (int, error)) func(waits bool) (int, error) {
	return func(waits bool) (n int, err error) {
		call := func() { n, err = try(waits) }
		var refused error
		if waits {
			refused = s.core.threads.runAlone(op.Creds, call)
		} else {
			refused = s.core.threads.run(context.Background(), op.Creds, call)
		}
		if refused != nil {
			return 0, refused
		}
		return n, err
	}
}

// wait is startWait for a goroutine that has nothing else to do.
func (s *syscalls) wait(ctx context.Context, op *Op) (int, error) {
	type result struct {
		n   int
		err error
	}
	c := make(chan result, 1)
	s.startWait(ctx, op, func() {}, func(n int, more bool, err error) {
		if !more {
			c <- result{n, err}
		}
	})
	r := <-c
	return r.n, r.err
}

// plan says what to poll for and how to try once without waiting; nil means that the verb cannot be polled for.
func (s *syscalls) plan(op *Op, report func(n int, err error)) *waiter {
	verb := verbs[op.Kind].direct
	switch op.Kind {
	case KindReadAt, KindReadvAt, KindWriteAt, KindWritevAt:
		dir := 0
		if op.Kind == KindWriteAt || op.Kind == KindWritevAt {
			dir = 1
		}
		nowait := s.core.features.RWFNoWait.Answer == Yes
		return &waiter{need: [2]wanting{{op.FD, dir}, {fd: -1}}, try: func(waits bool) (int, error) {
			if waits {
				return verb(&s.core.features, op)
			}
			if nowait && op.Flags&unix.RWF_NOWAIT == 0 {
				try := *op
				try.Flags |= unix.RWF_NOWAIT
				n, err := verb(&s.core.features, &try)
				if !errors.Is(err, unix.EOPNOTSUPP) {
					return n, err
				}
				nowait = false // this kind of descriptor does not know it
			}
			// If it is ready it will not wait, unless another reader of the descriptor comes first.
			set := []unix.PollFd{{Fd: int32(op.FD), Events: int16(pollEvents[dir])}}
			if n, err := unix.Poll(set, 0); err == nil && n == 0 || errors.Is(err, unix.EINTR) {
				return 0, unix.EAGAIN
			}
			return verb(&s.core.features, op)
		}}
	case KindRecv, KindRecvmsg, KindRecvMulti, KindAccept, KindSend, KindSendmsg, KindSendZC, KindSendmsgZC:
		dir := 1
		switch op.Kind {
		case KindRecv, KindRecvmsg, KindRecvMulti, KindAccept:
			dir = 0
		}
		w := &waiter{need: [2]wanting{{op.FD, dir}, {fd: -1}}, moved: new(int)}
		w.try = s.socketTry(op, w.moved, report)
		return w
	case KindPoll:
		return &waiter{need: [2]wanting{{op.FD, dirAny}, {fd: -1}}, events: uint32(op.Mask) | unix.POLLRDHUP, try: func(bool) (int, error) {
			return verb(&s.core.features, op)
		}}
	case KindSplice, KindTee:
		return &waiter{need: [2]wanting{{op.FD, 0}, {op.FD2, 1}}, try: func(bool) (int, error) {
			try := *op
			try.Flags |= unix.SPLICE_F_NONBLOCK
			return verb(&s.core.features, &try)
		}}
	default:
		return nil
	}
}

// admit counts one more unbounded op, or chain, if there is room.
func (s *syscalls) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unbounded >= s.limit {
		return false
	}
	s.unbounded++
	return true
}

func (s *syscalls) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unbounded--
}

// gate counts ops in flight and lets Close wait for them.
type gate struct {
	// Atomic: ops in flight, and gateShut once no more may enter.
	state   atomic.Int64
	once    sync.Once
	drained chan struct{}
}

const gateShut = 1 << 62

func (g *gate) init() { g.drained = make(chan struct{}) }

func (g *gate) enter() bool {
	if g.state.Add(1)&gateShut != 0 {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateShut {
		g.once.Do(func() { close(g.drained) })
	}
}

// shut refuses new ops; it may be called again.
func (g *gate) shut() {
	if g.state.Or(gateShut) == 0 {
		g.once.Do(func() { close(g.drained) })
	}
}

// drain waits until all ops in flight have left; shut comes first.
func (g *gate) drain() { <-g.drained }
