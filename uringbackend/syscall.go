//go:build linux

package uringbackend

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// syscalls carries verbs out by their syscall half. It is an engine of its own, and the ring engine's way for verbs
// without a ring half.
type syscalls struct {
	// Immutable after newSyscalls.
	features *Features
	stats    *stats
	threads  *threads
	limit    int // unbounded ops in flight

	gate gate

	mu sync.Mutex
	// +checklocks:mu
	closed bool
	// +checklocks:mu
	unbounded int // unbounded ops in flight
	// +checklocks:mu
	waiting map[int]struct{} // eventfds of those that can be cancelled
	// +checklocks:mu
	idle []int // eventfds for reuse, at most limit
}

func newSyscalls(f *Features, st *stats, t *threads, cfg Config) *syscalls {
	s := &syscalls{features: f, stats: st, threads: t, limit: cfg.Unbounded, waiting: make(map[int]struct{})}
	s.gate.init()
	return s
}

// Submit implements Submitter.
func (s *syscalls) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	for i := range ops {
		s.submit(ctx, i, &ops[i], done)
	}
}

func (s *syscalls) submit(ctx context.Context, i int, op *Op, done func(i, n int, more bool, err error)) {
	if !op.Kind.valid() {
		done(i, 0, false, unix.EINVAL)
		return
	}
	if !s.gate.enter() {
		if op.Kind == KindClose {
			s.stats.verbs[KindClose].syscall.Add(1)
			n, err := directClose(s.features, op)
			done(i, n, false, err)
			return
		}
		done(i, 0, false, unix.ECANCELED)
		return
	}
	if op.Unbounded && op.Kind != KindClose {
		if !s.admit() {
			s.gate.leave()
			done(i, 0, false, unix.EAGAIN)
			return
		}
		s.stats.inFlight.Add(1)
		own := *op // ops is only borrowed
		// ends when the op has reported: done, cancelled by ctx, or by Close; waited by Close (gate)
		go func() {
			n, err := s.waitAs(ctx, &own)
			s.stats.inFlight.Add(-1)
			s.leave()
			done(i, n, false, err)
			s.gate.leave()
		}()
		return
	}
	defer s.gate.leave()
	if op.Kind != KindClose && ctx.Err() != nil {
		done(i, 0, false, unix.ECANCELED)
		return
	}
	s.stats.inFlight.Add(1)
	var n int
	var err error
	if s.threads.needed(op) {
		n, err = s.directAs(ctx, op)
	} else {
		n, err = s.direct(op)
	}
	s.stats.inFlight.Add(-1)
	done(i, n, false, err)
}

// directAs is direct with the credentials of op.
func (s *syscalls) directAs(ctx context.Context, op *Op) (n int, err error) {
	if refused := s.threads.run(ctx, op.Creds, func() { n, err = s.direct(op) }); refused != nil {
		return 0, refused
	}
	return n, err
}

// waitAs is wait with the credentials of op, if it has any.
func (s *syscalls) waitAs(ctx context.Context, op *Op) (n int, err error) {
	if !s.threads.needed(op) {
		return s.wait(ctx, op)
	}
	if refused := s.threads.runAlone(op.Creds, func() { n, err = s.wait(ctx, op) }); refused != nil {
		return 0, refused
	}
	return n, err
}

// direct runs the syscall half, here and now.
func (s *syscalls) direct(op *Op) (int, error) {
	s.stats.verbs[op.Kind].syscall.Add(1)
	return verbs[op.Kind].direct(s.features, op)
}

// Close implements Engine.Close.
func (s *syscalls) Close() error {
	s.gate.shut()
	s.mu.Lock()
	s.closed = true
	for ev := range s.waiting {
		ring(ev)
	}
	s.mu.Unlock()
	s.gate.drain()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.idle {
		_ = unix.Close(ev) // an eventfd has nothing to lose
	}
	s.idle = nil
	return nil
}

// wait runs an op that may wait without bound: it polls the descriptors and a bell of its own, and makes the call
// only when that will not block, so that nothing is ever under way when the bell ends the wait. What cannot be
// polled for (opening a FIFO, say) is carried out at once and cannot be cancelled.
func (s *syscalls) wait(ctx context.Context, op *Op) (int, error) {
	fds, try := s.plan(op)
	if try == nil {
		if ctx.Err() != nil {
			return 0, unix.ECANCELED
		}
		return s.direct(op)
	}
	bell, err := s.takeBell()
	if err != nil {
		return 0, err
	}
	defer s.giveBell(bell)
	stop := context.AfterFunc(ctx, func() { s.ringIfTaken(bell) })
	defer stop()
	s.stats.verbs[op.Kind].syscall.Add(1)
	for next := 0; ; {
		// Two descriptors (splice) are waited for in turn: polling for both at once would spin on the ready one.
		set := []unix.PollFd{fds[next], {Fd: int32(bell), Events: unix.POLLIN}}
		if _, err := unix.Poll(set, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return 0, err
		}
		if set[1].Revents != 0 {
			// A late bell for an op before this one can be told apart: its context is not ours.
			if ctx.Err() != nil || s.isClosed() {
				return 0, unix.ECANCELED
			}
			drainBell(bell)
			continue
		}
		if next++; next < len(fds) {
			continue
		}
		next = 0
		if n, err := try(); !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
}

// plan says what to poll for and how to try once without waiting; no try means that the verb cannot be polled for.
func (s *syscalls) plan(op *Op) ([]unix.PollFd, func() (int, error)) {
	verb := verbs[op.Kind].direct
	switch op.Kind {
	case KindReadAt, KindReadvAt, KindWriteAt, KindWritevAt:
		events := int16(unix.POLLIN)
		if op.Kind == KindWriteAt || op.Kind == KindWritevAt {
			events = unix.POLLOUT
		}
		nowait := s.features.RWFNoWait.Answer == Yes
		return []unix.PollFd{{Fd: int32(op.FD), Events: events}}, func() (int, error) {
			if nowait && op.Flags&unix.RWF_NOWAIT == 0 {
				try := *op
				try.Flags |= unix.RWF_NOWAIT
				n, err := verb(s.features, &try)
				if !errors.Is(err, unix.EOPNOTSUPP) {
					return n, err
				}
				nowait = false // this kind of descriptor does not know it
			}
			// Ready, so it will not wait, unless another reader of the descriptor comes first.
			return verb(s.features, op)
		}
	case KindSplice:
		return []unix.PollFd{{Fd: int32(op.FD), Events: unix.POLLIN}, {Fd: int32(op.FD2), Events: unix.POLLOUT}},
			func() (int, error) {
				try := *op
				try.Flags |= unix.SPLICE_F_NONBLOCK
				return verb(s.features, &try)
			}
	default:
		return nil, nil
	}
}

func (s *syscalls) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// admit counts one more unbounded op, if there is room.
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

// takeBell takes an eventfd for one unbounded op.
func (s *syscalls) takeBell() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return -1, unix.ECANCELED
	}
	var ev int
	if n := len(s.idle); n > 0 {
		ev = s.idle[n-1]
		s.idle = s.idle[:n-1]
	} else {
		var err error
		if ev, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return -1, err
		}
	}
	s.waiting[ev] = struct{}{}
	return ev, nil
}

func (s *syscalls) giveBell(ev int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, ev)
	drainBell(ev)
	s.idle = append(s.idle, ev)
}

// ringIfTaken rings a bell unless its op is over. A bell already taken by the next op rings for nothing, which that
// op notices; a closed one is not rung, because its number may be another file's.
func (s *syscalls) ringIfTaken(ev int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.waiting[ev]; ok {
		ring(ev)
	}
}

func ring(ev int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(ev, one[:]) // EAGAIN: it rings already
}

func drainBell(ev int) {
	var count [8]byte
	_, _ = unix.Read(ev, count[:]) // EAGAIN: it did not ring
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
