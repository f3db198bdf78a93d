//go:build linux

package uringbackend

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"
)

// waits says that the op is one that a goroutine of the engine carries out.
func (op *Op) waits() bool {
	return op.Kind.alwaysWaits() || op.Unbounded && op.Kind != KindClose && op.Kind.valid()
}

// ordered says whether any op of the call has to do with another one.
func ordered(ops []Op) bool {
	for i := range ops {
		if ops[i].Link && i < len(ops)-1 || ops[i].Drain && i > 0 {
			return true
		}
	}
	return false
}

// chainEnd is where the chain that begins at i ends: the index after its last op. An op that is not linked is a chain
// of one.
func chainEnd(ops []Op, i int) int {
	for i < len(ops)-1 && ops[i].Link {
		i++
	}
	return i + 1
}

// submitOrdered is Submit with links and drains. first is the index of ops[0] in its Submit call.
func (s *syscalls) submitOrdered(ctx context.Context, ops []Op, first int, done doneFunc) {
	var running []<-chan struct{} // of the chains so far that run elsewhere, closed when they have reported
	for i := 0; i < len(ops); {
		end := chainEnd(ops, i)
		chain := ops[i:end]
		at := first + i
		i = end
		if len(chain) > s.core.longest {
			for j := range chain {
				done(at+j, 0, false, unix.EINVAL)
			}
			continue
		}
		drain := slices.ContainsFunc(chain, func(op Op) bool { return op.Drain })
		if len(chain) == 1 && !drain && chain[0].waits() && !drainLater(ops[i:]) {
			s.startOne(ctx, at, chain[0], done) // as nobody has to know when it is over
			continue
		}
		waits := drain && len(running) > 0
		for j := range chain {
			waits = waits || chain[j].waits()
		}
		if !waits { // and so does none before it, if it drains
			runChain(chain, at, func(op *Op) (int, error) { return s.bounded(ctx, op) }, done)
			continue
		}
		var earlier []<-chan struct{}
		if drain {
			earlier = slices.Clip(running)
		}
		running = append(running, s.start(ctx, slices.Clone(chain), at, earlier, done))
	}
}

// drainLater says whether any of the ops that follow waits for those before it.
func drainLater(ops []Op) bool {
	return slices.ContainsFunc(ops, func(op Op) bool { return op.Drain })
}

// runChain carries ops out in turn, until one fails or is short; the rest report ECANCELED.
func runChain(chain []Op, first int, run func(op *Op) (int, error), done doneFunc) {
	for i := range chain {
		n, err := run(&chain[i])
		done(first+i, n, false, err)
		if err != nil || !chain[i].full(n) {
			refuse(chain[i+1:], first+i+1, done)
			return
		}
	}
}

// start carries a chain, which it takes, out on a goroutine of its own, when all of earlier are closed. The channel
// that it returns is closed when all ops have reported.
func (s *syscalls) start(
	ctx context.Context, chain []Op, first int, earlier []<-chan struct{}, done doneFunc,
) <-chan struct{} {
	over := make(chan struct{})
	here := func(run func(op *Op) (int, error)) <-chan struct{} {
		defer close(over)
		runChain(chain, first, run, done)
		return over
	}
	wait := func() {
		for _, e := range earlier {
			<-e // they end by themselves, by ctx, or by Close, as this one does
		}
	}
	if !s.gate.enter() {
		wait()                                                               // they have been cancelled
		return here(func(op *Op) (int, error) { return s.bounded(ctx, op) }) // which closes descriptors all the same
	}
	// What only waits for earlier chains is not counted: a close must not be refused.
	counted := slices.ContainsFunc(chain, func(op Op) bool { return op.waits() })
	if counted && !s.admit() {
		defer s.gate.leave()
		return here(func(*Op) (int, error) { return 0, unix.EAGAIN })
	}
	s.core.stats.inFlight.Add(int64(len(chain)))
	last := first + len(chain) - 1
	// ends when the chain has reported: done, cancelled by ctx, or by Close; waited by Close (gate)
	go func() {
		defer s.gate.leave()
		defer close(over)
		wait()
		runChain(chain, first, func(op *Op) (int, error) {
			switch {
			case !op.Kind.valid():
				return 0, unix.EINVAL
			case op.waits():
				return s.wait(ctx, op)
			case op.Kind != KindClose && ctx.Err() != nil:
				return 0, unix.ECANCELED
			default:
				return s.carry(ctx, op)
			}
		}, func(i, n int, more bool, err error) {
			s.core.stats.inFlight.Add(-1)
			if counted && i == last {
				s.leave() // before the report: whoever hears it may start the next
			}
			done(i, n, more, err)
		})
	}()
	return over
}
