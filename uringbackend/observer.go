//go:build linux

package uringbackend

import "time"

// OpEvent is one op of an engine, seen at its last report.
type OpEvent struct {
	Kind   Kind
	Ring   int   // number of the ring that carried it out; -1: a system call
	Start  int64 // submission: ns since the engine was opened, monotonic
	End    int64 // last report: as Start
	N      int   // of the last report
	Err    error // of the last report
	FD     int
	Offset int64
	More   int   // reports before the last one
	Bytes  int64 // data moved, all reports together; 0 for verbs that move none
}

// Observer sees every op of an engine. Observe is called by whatever goroutine reports the op, before done; it must
// not block and must not Submit. Ops that never started (refused, or answered by Faulty) are not seen.
type Observer interface{ Observe(ev OpEvent) }

// Observers is an observer that hands each event to all of obs, in order. Nil ones are left out: of none it makes
// nil, of one that one.
func Observers(obs ...Observer) Observer {
	var live observers
	for _, o := range obs {
		if o != nil {
			live = append(live, o)
		}
	}
	switch len(live) {
	case 0:
		return nil
	case 1:
		return live[0]
	default:
		return live
	}
}

type observers []Observer

// Observe implements Observer.
func (obs observers) Observe(ev OpEvent) {
	for _, o := range obs {
		o.Observe(ev)
	}
}

// bySyscall is the OpEvent.Ring of ops that no ring carried.
const bySyscall = -1

// clock is the time for OpEvent.Start: ns since the engine was opened; 0 if nobody looks.
func (c *core) clock() int64 {
	if c.observer == nil {
		return 0
	}
	return c.now()
}

// now is the clock of observers.
func (c *core) now() int64 { return int64(time.Since(c.opened)) }

// observe tells the observer about an op; only called when there is one. bytes are what all its reports moved.
func (c *core) observe(op *Op, ring int, began int64, n, more int, bytes int64, err error) {
	c.observer.Observe(OpEvent{
		Kind: op.Kind, Ring: ring, Start: began, End: c.now(), N: n, Err: err, FD: op.FD, Offset: op.Offset, More: more, Bytes: bytes,
	})
}

// called notes the only report of an op that was a system call begun at began, before done gets it.
func (c *core) called(op *Op, began int64, n int, err error) {
	bytes := c.stats.moved(op, n, false, err)
	if c.observer != nil {
		c.observe(op, bySyscall, began, n, 0, bytes, err)
	}
}
