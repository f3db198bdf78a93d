//go:build linux

package uringbackend

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// requests is what one ring has in flight, and what its completions mean. Who submits and who reaps is its owner's
// business: pooledRing, a caller for one batch; loop, a goroutine for ops that wait; Queue, a caller for good.
//
// It is not safe for concurrent use; the owner sees to that.
//
// INVARIANT: the queue of completions has room for one of each op, of its timeout and of its cancellation, and the
// owner starts no more ops than that.
type requests struct {
	// Immutable.
	core      *core
	number    int // of the ring, for observers
	r         *uring.Ring
	onDone    func(s *slot)    // called before the last report of an op; nil: nobody asked
	afterDone func(wo *waitOp) // called after it; nil with onDone
	onBell    func()           // called when a read of the owner's bell is over; nil: there is none

	slots   []*slot // by pointer: the kernel reads from them, so they may not move
	free    []int   // last in, first out
	pending int     // ops without their last report
	aux     int     // cancellations and timeouts without their completion; they may not meet a slot's next op
	tries   int     // enters that found no memory, in a row
	giving  int     // slots of ops that are to be given up and have not completed
	unfound int     // of those, cancellations without effect that have completed
	missed  int     // rounds of insist, in a row
	sweepAt time.Time
	places  places // files in the ring's own table
	groups  uint16 // of provided buffers, given so far
	buffers bufferTable
}

// newRequests takes a ring for ops, of which the workers of a thread that submits may carry out bounded at once.
func newRequests(c *core, r *uring.Ring, bounded int) requests {
	c.limitWorkers(r, uint32(bounded))
	c.stats.rings.Add(1)
	return requests{core: c, number: int(c.rings.Add(1)) - 1, r: r}
}

// ownRing makes a ring for the calling thread alone, as far as the kernel has that; the goroutine is locked to it, and stays so
// until the ring is closed. With cfg's SQPOLL a thread of the kernel submits, and SINGLE_ISSUER would gain nothing.
func (c *core) ownRing(cfg uring.Config) (*uring.Ring, error) {
	cfg.Flags |= ringFlags
	if cfg.Flags&uring.SetupSQPoll == 0 && c.features.DeferTaskrun.Answer == Yes {
		cfg.Flags |= uring.SetupSingleIssuer | uring.SetupDeferTaskrun
	}
	r, err := uring.Open(cfg)
	if err != nil {
		return nil, err
	}
	if c.features.RegisteredRing.Answer == Yes {
		if err := r.RegisterRingFD(); err != nil {
			c.stats.shrink(fmt.Sprintf("ring not registered with its thread: %v", err))
		}
	}
	return r, nil
}

// begin takes a slot for op and builds its record; push hands it over. After an error the slot is to be reported, or
// doomed and pushed.
func (q *requests) begin(op *Op, index int, done doneFunc) (*slot, error) {
	s := q.spare()
	return s, q.beginIn(s, op, index, done)
}

// spare takes a slot that is not in use.
func (q *requests) spare() *slot {
	if n := len(q.free); n > 0 {
		s := q.slots[q.free[n-1]]
		q.free = q.free[:n-1]
		return s
	}
	s := &slot{place: len(q.slots)}
	q.slots = append(q.slots, s)
	return s
}

func (q *requests) beginIn(s *slot, op *Op, index int, done doneFunc) error {
	q.pending++
	s.take(op, index, done)
	s.began = q.core.clock()
	if b := op.Provided; b != nil {
		group, err := b.attach(q.r, q.groups)
		if err != nil {
			return err
		}
		if group == q.groups {
			q.groups++
		}
		s.group, s.bundles = group, q.core.features.RecvBundle.Answer == Yes
	}
	return q.prepare(s)
}

// prepare builds the record of the op for the slot's generation.
func (q *requests) prepare(s *slot) error {
	if err := checkFixed(s.op, &q.core.stats); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if s.op.direct() {
		s.how.Flags &^= unix.O_CLOEXEC // io_uring refuses it for a file that is no descriptor
		if err := q.places.apply(q.r, s.op, &s.sqe); err != nil {
			return err
		}
	}
	q.buffers.fix(q.r, s.op, &s.sqe)
	return nil
}

// doom makes a slot whose op cannot be prepared fail with err in its turn of a chain, so that those before it are carried
// out and those after it are not.
func (q *requests) doom(s *slot, err error) {
	s.doomed = err
	s.sqe = uring.SQE{Opcode: uring.OpClose, FD: -1, UserData: userData(s.place, s.gen, markOp)}
	s.flag()
}

// push hands the op of a slot over to the submission queue, which has room for s.records().
func (q *requests) push(s *slot) {
	q.core.stats.verbs[s.op.Kind].ring.Add(1)
	q.pushRecord(&s.sqe)
	if s.op.Timeout > 0 {
		s.timer, s.expired = true, false
		q.aux++
		s.ts = uring.TimespecOf(s.op.Timeout)
		q.pushRecord(s.linkTimeout())
	}
}

func (q *requests) pushRecord(sqe *uring.SQE) {
	if !q.r.Push(sqe) {
		panic("uringbackend: submission queue full") // its owner has made room
	}
}

// readBell lets the ring read an eventfd, which ends its owner's wait; onBell hears of it.
func (q *requests) readBell(fd int, buf *[8]byte) {
	q.makeRoom(1)
	q.pushRecord(&uring.SQE{
		Opcode: uring.OpRead, FD: int32(fd), Off: ^uint64(0), Len: 8, UserData: userData(0, 0, markBell),
		Addr: uint64(uintptr(unsafe.Pointer(buf))),
	})
}

// room says that n records fit into the submission queue.
func (q *requests) room(n int) bool { return int(q.r.SpaceLeft()) >= n }

// cancel asks the kernel to give up the op of a slot. The queue has room for one record.
func (q *requests) cancel(s *slot) {
	if !s.cancelled {
		q.giving++
	}
	q.found(s)
	s.cancelled = true
	q.aux++
	q.pushRecord(s.cancellation())
}

// lost notes that a cancellation of the slot's op had no effect.
func (q *requests) lost(s *slot) {
	if s.busy && !s.missed {
		s.missed = true
		q.unfound++
	}
}

func (q *requests) found(s *slot) {
	if s.missed {
		s.missed = false
		q.unfound--
	}
}

// insist repeats cancellations that had no effect, with growing pauses between, and says how long its owner may wait
// before it calls again; negative: for ever. An op between two states inside the kernel (woken, and about to wait
// again) is not found; one that a worker has at that moment is interrupted, and may go on to wait for its descriptor
// all the same.
func (q *requests) insist() time.Duration {
	if q.giving == 0 {
		q.missed, q.sweepAt = 0, time.Time{}
		return -1
	}
	if q.unfound == 0 {
		return -1 // completions of cancellations are to come
	}
	now := time.Now()
	if q.sweepAt.IsZero() {
		q.sweepAt = now.Add(patience(q.missed))
		q.missed++
	}
	if now.Before(q.sweepAt) {
		return q.sweepAt.Sub(now)
	}
	q.sweepAt = time.Time{}
	for _, s := range q.slots {
		if s.busy && s.missed {
			q.makeRoom(1)
			q.cancel(s)
		}
	}
	return -1
}

// reap takes all completions that are there.
func (q *requests) reap() {
	if q.r.Overflowed() { // the next wait moves over what the kernel has kept
		q.core.stats.overflows.Add(1)
	}
	for {
		c, ok := q.r.Next()
		if !ok {
			return
		}
		q.complete(c)
	}
}

// complete handles one completion.
func (q *requests) complete(c uring.CQE) {
	i, gen, mark := splitUserData(c.UserData)
	if mark == markBell {
		q.onBell()
		return
	}
	if i >= len(q.slots) {
		q.core.stats.bug(q.core.strict, "completion for slot %d of %d", i, len(q.slots))
		return
	}
	s := q.slots[i]
	current := s.busy && s.gen == gen
	switch mark {
	case markCancel:
		q.aux--
		if errno := unix.Errno(-c.Res); current && (errno == unix.ENOENT || errno == unix.EALREADY) {
			q.lost(s)
		}
		return
	case markTimeout:
		q.aux--
		if !current {
			q.core.stats.bug(q.core.strict, "timeout of generation %d for slot %d, busy %t, generation %d", gen, i, s.busy, s.gen)
			return
		}
		// ECANCELED says that the op was over first; anything else, that its time was.
		s.timer, s.expired = false, unix.Errno(-c.Res) != unix.ECANCELED
		if s.held {
			s.held = false
			q.finish(s, s.n, s.err)
		}
		return
	}
	if !current {
		q.core.stats.bug(q.core.strict, "completion of generation %d for slot %d, busy %t, generation %d", gen, i, s.busy, s.gen)
		return
	}
	n, err := result(c.Res)
	if c.Flags&uring.CQENotif == 0 {
		s.bytes += q.core.stats.moved(s.op, n, c.Flags&uring.CQEMore != 0, err)
	}
	switch {
	case c.Flags&uring.CQENotif != 0:
		n, err = 0, nil
		if uint32(c.Res)&uring.NotifUsageZCCopied != 0 {
			n = 1
		}
	case c.Flags&uring.CQEMore != 0:
		s.more++
		if c.Flags&uring.CQEBuffer != 0 {
			q.arrive(s, c.Flags, n)
		}
		s.done(s.index, n, true, err)
		return
	case c.Flags&uring.CQEBuffer != 0:
		q.arrive(s, c.Flags, n)
	}
	if s.timer {
		s.held, s.n, s.err = true, n, err
		return
	}
	q.finish(s, n, err)
}

// arrive notes what a receive put into provided buffers.
func (q *requests) arrive(s *slot, flags uint32, n int) {
	if err := s.op.arrive(flags, n); err != nil {
		q.core.stats.bug(q.core.strict, "provided buffers: %v", err)
	}
}

// finish ends an op whose completions are all there: it reports it, or submits it again if it did not run.
func (q *requests) finish(s *slot, n int, err error) {
	if err != nil {
		switch {
		case s.expired && !s.cancelled:
			err = interrupted(err, unix.ETIME)
		case s.cancelled:
			err = interrupted(err, unix.ECANCELED)
		case s.doomed != nil && !errors.Is(err, unix.ECANCELED):
			err = s.doomed
		case s.again(err):
			q.core.stats.resubmitted.Add(1)
			q.makeRoom(s.records())
			s.next()
			if err = q.prepare(s); err == nil {
				q.push(s)
				return
			}
		}
	}
	q.report(s, n, err)
}

// report empties a slot and makes the op's last report.
func (q *requests) report(s *slot, n int, err error) {
	if q.core.observer != nil {
		q.core.observe(s.op, q.number, s.began, n, s.more, s.bytes, err)
	}
	q.places.reported(s.op, err)
	if b := s.op.Provided; b != nil {
		if err := b.detach(); err != nil {
			q.core.stats.bug(q.core.strict, "provided buffers not taken off: %v", err)
		}
	}
	if q.onDone != nil {
		q.onDone(s)
	}
	q.found(s)
	if s.cancelled {
		q.giving--
	}
	index, done, wo := s.index, s.done, s.w
	s.release()
	q.free = append(q.free, s.place)
	q.pending--
	done(index, n, false, err)
	if wo != nil {
		q.afterDone(wo)
	}
}

// enter submits what has been pushed and waits for wait completions; it answers every errno. It may return early; owners
// look at what is there.
func (q *requests) enter(wait uint32) { q.enterFor(wait, -1) }

// enterFor is enter that waits no longer than limit, unless that is negative.
func (q *requests) enterFor(wait uint32, limit time.Duration) {
	var flags uint32
	if wait > 0 || q.deferred() {
		flags = uring.EnterGetEvents
	}
	var errno unix.Errno
	switch {
	case limit < 0:
		_, errno = q.r.Enter(wait, flags)
	case q.core.features.ExtArg.Answer == Yes:
		_, errno = q.r.EnterTimeout(wait, flags, limit)
	default:
		pauseFor(limit)
		_, errno = q.r.Enter(0, flags|uring.EnterGetEvents)
	}
	switch errno {
	case 0, unix.ETIME:
		q.tries = 0
	case unix.EINTR: // a signal, before anything was submitted or while waiting: look, then enter again
	case unix.EBUSY: // completions wait in the kernel for room: taking some makes room
		q.reap()
		q.checkWait(q.r.Wait(0)) // moves them over
	case unix.EAGAIN, unix.ENOMEM: // no memory for a request: give the kernel time, then give up
		if q.tries++; q.tries < maxEnterTries {
			pause(q.tries)
			return
		}
		q.tries = 0
		q.drop(unix.EAGAIN)
	default:
		// EBADF, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EBADFD, EPERM: nothing was submitted and trying again would
		// not help. Ops of an earlier enter are still the kernel's, so they cannot be given up.
		q.drop(errno)
		q.checkWait(errno)
	}
}

// deferred says that the kernel makes completions only when the owner asks for them.
func (q *requests) deferred() bool { return q.r.Flags()&uring.SetupDeferTaskrun != 0 }

// submit hands over what has been pushed, without waiting for completions.
func (q *requests) submit() {
	for q.r.Unsubmitted() > 0 {
		q.enter(0)
		if q.polled() {
			return // the kernel's thread takes it
		}
	}
}

// polled says that a thread of the kernel takes submissions.
func (q *requests) polled() bool { return q.r.Flags()&uring.SetupSQPoll != 0 }

// makeRoom submits until n records fit.
func (q *requests) makeRoom(n int) {
	for !q.room(n) {
		q.enter(0)
		if q.polled() {
			q.checkWait(q.r.SQWait())
		}
	}
}

// drop reports errno for all ops that the kernel has not taken.
func (q *requests) drop(errno unix.Errno) {
	dropped := q.r.Drop()
	for _, v := range dropped {
		switch i, _, mark := splitUserData(v); mark {
		case markCancel:
			q.aux--
			q.lost(q.slots[i])
		case markTimeout:
			q.aux--
			q.slots[i].timer = false
		}
	}
	for _, v := range dropped {
		switch i, _, mark := splitUserData(v); mark {
		case markOp:
			q.report(q.slots[i], 0, errno)
		case markBell:
			q.onBell()
		}
	}
}

// checkWait judges the errno of an enter that submitted nothing.
func (q *requests) checkWait(errno unix.Errno) {
	switch errno {
	case 0, unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
	default:
		if q.pending > 0 {
			// The kernel holds memory of the ops, and there is no way to learn when it is done with it.
			panic(fmt.Sprintf("uringbackend: io_uring_enter with %d ops in flight: %v", q.pending, errno))
		}
	}
}

// over says that the kernel holds nothing of what was started.
func (q *requests) over() bool { return q.pending == 0 && q.aux == 0 }

// close gives the ring back.
func (q *requests) close() {
	if !q.over() {
		panic("uringbackend: ring closed with ops in flight")
	}
	q.buffers.close()
	_ = q.r.Close() // nothing in flight, nothing to lose
	q.core.stats.rings.Add(-1)
}
