//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// pooledRing is a ring that one caller has to itself for one batch: it submits, waits and reaps. Any thread may.
//
// While a context may still cancel the batch, a second goroutine (of context.AfterFunc) may submit cancellations;
// then, and only then, both sides hold mu for the submission queue and the slots.
type pooledRing struct {
	// Immutable after newPooledRing.
	stats  *stats
	strict bool

	// Owned by the caller; guarded by mu between arm and disarm.
	r             *uring.Ring
	personalities personalities
	slots         []slot
	pending       int // ops without their last completion
	cancels       int // cancellations without their completion
	tries         int // enters of this batch that found no memory
	missed        int // rounds of this batch in which a cancellation found no op

	mu        sync.Mutex
	cancelled bool // guarded as above
}

// newPooledRing makes a ring with room for a completion of each op and of its cancellation.
func newPooledRing(st *stats, strict bool, entries uint32) (*pooledRing, error) {
	r, err := uring.New(entries, 2*entries, ringFlags)
	if err != nil {
		return nil, err
	}
	st.rings.Add(1)
	return &pooledRing{stats: st, strict: strict, r: r, slots: make([]slot, r.SQEntries())}, nil
}

func (p *pooledRing) close() {
	if p.pending != 0 || p.cancels != 0 {
		panic("uringbackend: ring closed with ops in flight")
	}
	_ = p.r.Close() // nothing in flight, nothing to lose
	p.stats.rings.Add(-1)
}

// run carries out at most len(p.slots) ops and returns when all have completed.
func (p *pooledRing) run(ctx context.Context, ops []Op, first int, done doneFunc) {
	p.stats.inFlight.Add(int64(len(ops)))
	p.cancelled, p.tries, p.missed = false, 0, 0
	p.personalities.next()
	for i := range ops {
		s := &p.slots[i]
		s.take(&ops[i], first+i)
		err := p.impersonate(ctx, s)
		if err == nil {
			err = s.prepare(i)
		}
		if err != nil {
			s.release()
			done(first+i, 0, false, err)
			continue
		}
		p.stats.verbs[ops[i].Kind].ring.Add(1)
		p.push(&s.sqe)
		p.pending++
	}
	if ctx.Done() == nil {
		// The hot way: one enter submits and waits.
		for p.pending > 0 {
			p.enter(uint32(p.pending), done)
			p.reap(done)
		}
	} else {
		p.runCancellable(ctx, done)
	}
	// The ops hold their memory through the caller's slice; the kernel is done with it only now.
	runtime.KeepAlive(ops)
	p.stats.inFlight.Add(-int64(len(ops)))
}

// impersonate finds the number of the op's credentials for its submissions.
func (p *pooledRing) impersonate(ctx context.Context, s *slot) (err error) {
	s.personality = 0
	if c := s.op.Creds; c != nil && c.Valid && s.op.Kind != KindClose {
		s.personality, err = p.personalities.id(ctx, p.r, c)
	}
	return err
}

// runCancellable submits without waiting first: what is in the page cache completes at once and needs no watch
// on ctx.
func (p *pooledRing) runCancellable(ctx context.Context, done doneFunc) {
	p.submit(done)
	p.reap(done)
	if p.pending == 0 && p.r.Unsubmitted() == 0 {
		return
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		p.cancelAll(done)
	})
	for {
		p.mu.Lock()
		p.reap(done)
		missed := p.cancelMissed()
		p.submit(done) // ops to be repeated, cancellations to be repeated
		// A cancellation must not outlive the batch either: it would meet the slot's next op.
		over := p.pending == 0 && p.cancels == 0
		want := uint32(p.pending)
		if p.cancelled || want == 0 {
			want = 1 // each completion of a cancellation may ask for another
		}
		p.mu.Unlock()
		switch {
		case !over:
			if missed {
				p.missed++
				pause(p.missed)
			}
			p.checkWait(p.r.Wait(want))
		case stop():
			return
		default:
			<-fired // it found nothing to cancel, or pushed something that is still to be reaped
			p.mu.Lock()
			over = p.cancels == 0
			p.mu.Unlock()
			if over {
				return
			}
		}
	}
}

// cancelAll asks the kernel to give up each op that has not completed. It runs on a goroutine of its own.
func (p *pooledRing) cancelAll(done doneFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancelled = true
	for i := range p.slots {
		if p.slots[i].busy {
			p.cancel(i)
		}
	}
	p.submit(done)
}

// cancelMissed repeats cancellations that did not find their op: it was then between two states inside the kernel
// (woken, and about to wait again), where it cannot be found.
func (p *pooledRing) cancelMissed() (any bool) {
	if !p.cancelled {
		return false
	}
	for i := range p.slots {
		if s := &p.slots[i]; s.busy && s.missed {
			s.missed = false
			p.cancel(i)
			any = true
		}
	}
	return any
}

func (p *pooledRing) cancel(i int) {
	p.push(cancellation(i, p.slots[i].gen))
	p.cancels++
}

func (p *pooledRing) push(sqe *uring.SQE) {
	if !p.r.Push(sqe) {
		// Cannot be: the queue is as long as there are slots, each has one record in it at most, and
		// cancellations are pushed only when the ops' records have been taken.
		panic("uringbackend: submission queue full")
	}
}

// submit hands over what has been pushed, without waiting for completions.
func (p *pooledRing) submit(done doneFunc) {
	for p.r.Unsubmitted() > 0 {
		p.enter(0, done)
	}
}

// enter is io_uring_enter with an answer to every errno. It may return early; callers look at what is there.
func (p *pooledRing) enter(wait uint32, done doneFunc) {
	var flags uint32
	if wait > 0 {
		flags = uring.EnterGetEvents
	}
	_, errno := p.r.Enter(wait, flags)
	switch errno {
	case 0:
	case unix.EINTR: // a signal, before anything was submitted or while waiting: look, then enter again
	case unix.EBUSY: // completions wait in the kernel for room: the caller reaps, which makes room
		p.reap(done)
		p.checkWait(p.r.Wait(0)) // moves them over
	case unix.EAGAIN, unix.ENOMEM: // no memory for a request: give the kernel time, then give up
		if p.tries++; p.tries < maxEnterTries {
			pause(p.tries)
			return
		}
		p.drop(unix.EAGAIN, done)
	default:
		// EBADF, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EBADFD, EPERM: nothing was submitted and trying again would
		// not help. Ops of an earlier enter are still the kernel's, so they cannot be given up.
		p.drop(errno, done)
		p.checkWait(errno)
	}
}

// drop reports errno for all ops that the kernel has not taken.
func (p *pooledRing) drop(errno unix.Errno, done doneFunc) {
	for _, v := range p.r.Drop() {
		i, gen := splitUserData(v)
		if gen == cancelGen {
			p.cancels--
			p.slots[i].missed = true
			continue
		}
		p.report(&p.slots[i], 0, errno, done)
	}
}

// checkWait judges the errno of an enter that submitted nothing.
func (p *pooledRing) checkWait(errno unix.Errno) {
	switch errno {
	case 0, unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
	default:
		if p.pending > 0 {
			// The kernel holds memory of the ops, and there is no way to learn when it is done with it.
			panic(fmt.Sprintf("uringbackend: io_uring_enter with %d ops in flight: %v", p.pending, errno))
		}
	}
}

// reap takes all completions that are there.
func (p *pooledRing) reap(done doneFunc) {
	for {
		c, ok := p.r.Next()
		if !ok {
			return
		}
		i, gen := splitUserData(c.UserData)
		if i >= len(p.slots) {
			p.stats.bug(p.strict, "completion for slot %d of %d", i, len(p.slots))
			continue
		}
		s := &p.slots[i]
		if gen == cancelGen {
			p.cancels--
			s.missed = unix.Errno(-c.Res) == unix.ENOENT
			continue
		}
		if !s.busy || s.gen != gen {
			p.stats.bug(p.strict, "completion of generation %d for slot %d, busy %t, generation %d", gen, i, s.busy, s.gen)
			continue
		}
		n, err := result(c.Res)
		if err != nil {
			if p.cancelled {
				err = cancelledErr(err)
			} else if s.again(err) {
				p.repeat(i, s, done)
				continue
			}
		}
		p.report(s, n, err, done)
	}
}

// repeat submits an op once more, in a new generation.
func (p *pooledRing) repeat(i int, s *slot, done doneFunc) {
	p.stats.resubmitted.Add(1)
	s.next()
	if err := s.prepare(i); err != nil {
		p.report(s, 0, err, done)
		return
	}
	p.push(&s.sqe)
}

func (p *pooledRing) report(s *slot, n int, err error, done doneFunc) {
	index := s.index
	s.release()
	p.pending--
	done(index, n, false, err)
}
