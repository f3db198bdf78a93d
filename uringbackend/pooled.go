//go:build linux

package uringbackend

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// pooledRing is a ring that one caller has to itself for one batch: it submits, waits and reaps. Any thread may.
//
// While a context may still cancel the batch, a second goroutine (of context.AfterFunc) may submit cancellations;
// then, and only then, both sides hold mu for the submission queue and the slots.
type pooledRing struct {
	entries uint32 // ops at a time; immutable

	// Owned by the caller; guarded by mu while runCancellable watches a context.
	requests
	personalities personalities

	mu        sync.Mutex
	cancelled bool // guarded as above
}

// newPooledRing makes a ring with room for a record of each of entries ops and of its timeout, and for a completion of
// both and of their cancellations.
func newPooledRing(c *core, entries uint32) (*pooledRing, error) {
	r, err := uring.New(2*entries, 4*entries, ringFlags)
	if err != nil {
		return nil, err
	}
	p := &pooledRing{entries: entries, requests: newRequests(c, r, int(entries)), personalities: personalities{core: c}}
	p.places.size = maxDirect
	return p, nil
}

// run carries out a batch and returns when all of it has completed.
func (p *pooledRing) run(ctx context.Context, ops []Op, first int, done doneFunc) {
	p.core.stats.inFlight.Add(int64(len(ops)))
	for at := 0; at < len(ops); {
		p.cancelled, p.tries, p.missed, p.sweepAt = false, 0, 0, time.Time{}
		p.personalities.next()
		started := p.fill(ctx, ops[at:], first+at, done)
		if ctx.Done() == nil {
			// The hot way: one enter submits and waits.
			for !p.over() {
				p.enter(uint32(p.pending + p.aux))
				p.reap()
			}
		} else {
			p.runCancellable(ctx)
		}
		at += started
	}
	p.places.closeAll(p.r)
	// The ops hold their memory through the caller's slice; the kernel is done with it only here.
	runtime.KeepAlive(ops)
	p.core.stats.inFlight.Add(-int64(len(ops)))
}

// fill pushes as many ops as the queue holds, chains whole, up to the next that waits for those before it, and says how
// many it has dealt with. IOSQE_IO_DRAIN would hold cancellations back too.
func (p *pooledRing) fill(ctx context.Context, ops []Op, first int, done doneFunc) (n int) {
	for n < len(ops) {
		end := chainEnd(ops, n)
		chain, drain := ops[n:end], false
		for i := range chain {
			drain = drain || chain[i].Drain
		}
		if len(chain) > p.core.longest || len(chain) > int(p.entries) {
			for i := range chain {
				done(first+n+i, 0, false, unix.EINVAL)
			}
		} else {
			if p.pending+len(chain) > int(p.entries) || drain && n > 0 {
				break
			}
			p.startChain(ctx, chain, first+n, done)
		}
		n = end
	}
	return n
}

// startChain pushes a chain, one op mostly; the queue has room for it.
func (p *pooledRing) startChain(ctx context.Context, ops []Op, first int, done doneFunc) {
	for i := range ops {
		s := p.spare()
		err := p.impersonate(ctx, s, &ops[i])
		if berr := p.beginIn(s, &ops[i], first+i, done); err == nil {
			err = berr
		}
		if err != nil && len(ops) == 1 {
			p.report(s, 0, err)
			return
		}
		s.linked = i > 0
		if err != nil {
			p.doom(s, err)
		}
		if i == len(ops)-1 {
			s.unlink()
		}
		p.push(s)
	}
}

// impersonate finds the number of the op's credentials for its submissions.
func (p *pooledRing) impersonate(ctx context.Context, s *slot, op *Op) (err error) {
	s.personality = 0
	if c := op.Creds; c != nil && c.Valid && op.Kind != KindClose {
		s.personality, err = p.personalities.id(ctx, p.r, c)
	}
	return err
}

// runCancellable submits without waiting first: what is in the page cache completes at once and needs no watch
// on ctx.
func (p *pooledRing) runCancellable(ctx context.Context) {
	p.submit()
	p.reap()
	if p.over() && p.r.Unsubmitted() == 0 {
		return
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		p.cancelAll()
	})
	for {
		p.mu.Lock()
		p.reap()
		limit := p.insist()
		p.submit() // ops to be repeated, cancellations to be repeated
		// A cancellation must not outlive the batch either: it would meet the slot's next op.
		over := p.over()
		want := uint32(p.pending)
		if p.cancelled || want == 0 {
			want = 1 // each completion of a cancellation may ask for another
		}
		p.mu.Unlock()
		switch {
		case !over:
			p.await(want, limit)
		case stop():
			return
		default:
			<-fired // it found nothing to cancel, or pushed something that is still to be reaped
			p.mu.Lock()
			over = p.over()
			p.mu.Unlock()
			if over {
				return
			}
		}
	}
}

// await waits on the completion side alone, while the other goroutine may submit.
func (p *pooledRing) await(want uint32, limit time.Duration) {
	switch {
	case limit < 0:
		p.checkWait(p.r.Wait(want))
	case p.core.features.ExtArg.Answer == Yes:
		if errno := p.r.WaitTimeout(1, limit); errno != unix.ETIME {
			p.checkWait(errno)
		}
	default:
		pauseFor(limit)
		p.checkWait(p.r.Wait(0))
	}
}

// cancelAll asks the kernel to give up each op that has not completed. It runs on a goroutine of its own.
func (p *pooledRing) cancelAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancelled = true
	for _, s := range p.slots {
		if s.busy && !s.cancelled {
			p.makeRoom(1)
			p.cancel(s)
		}
	}
	p.submit()
}
