//go:build linux

package uringbackend

import (
	"fmt"
	"sync/atomic"
)

// Count says by which road a verb's ops went.
type Count struct {
	Ring    uint64 // by the ring half
	Syscall uint64 // by the syscall half, fallbacks included
}

// Health holds an engine's gauges and its detectors; the detectors stay 0 unless there is a bug.
type Health struct {
	InFlight    int64  // ops accepted and not yet reported
	Rings       int64  // rings that exist
	Stale       uint64 // completions whose generation is over: detector
	Overflows   uint64 // times the kernel's completion queue overflowed: detector, nothing is lost
	Resubmitted uint64 // ops submitted again because their submitting thread had exited, or a signal came first
	OpenFDs     int64  // descriptors held by Own and not yet closed or disowned
	Buffers     int64  // of arenas, handed out and not yet released
	// Unregistered says why ops on an arena were last carried out without registered memory; empty if none were.
	Unregistered string
	// Personalities is how often credentials were registered with a ring. Much more than there are users: rings
	// remember too few (Config.Personalities).
	Personalities uint64
	// Umask says why modes of new files are narrowed by the umask of the process although the op has Creds; empty
	// if they are not.
	Umask  string
	Shrunk string // why there are fewer or smaller rings than Config asked for; empty if there are not
}

// stats are the counters of one engine. Each verb has a cache line of its own.
type stats struct {
	verbs         [kinds]verbCount
	inFlight      atomic.Int64
	_             [56]byte
	rings         atomic.Int64
	stale         atomic.Uint64
	overflows     atomic.Uint64
	resubmitted   atomic.Uint64
	waiting       atomic.Int64 // ops with Unbounded set, of inFlight
	personalities atomic.Uint64
	shrunk        atomic.Pointer[string]
	unregistered  atomic.Pointer[string]
}

// shrink notes why the engine is smaller than it was asked to be.
func (s *stats) shrink(why string) { s.shrunk.Store(&why) }

type verbCount struct {
	ring, syscall, fallback, bytes atomic.Uint64
	fixed, unfixed                 atomic.Uint64 // ops on an arena: on registered memory, and without
	_                              [16]byte
}

// moved counts the data of one report of an op, and returns it.
func (s *stats) moved(op *Op, n int, more bool, err error) int64 {
	switch {
	case n <= 0 || err != nil:
		return 0
	case op.Kind == KindSendZC || op.Kind == KindSendmsgZC:
		if !more {
			return 0 // it says only whether the kernel copied
		}
	case op.Kind != KindRecvMulti && !op.Kind.transfers():
		return 0
	}
	s.verbs[op.Kind].bytes.Add(uint64(n))
	return int64(n)
}

// bug notes a violated invariant.
func (s *stats) bug(strict bool, format string, args ...any) {
	if strict {
		panic("uringbackend: " + fmt.Sprintf(format, args...))
	}
	s.stale.Add(1)
}

// Counts returns, by verb name, how many ops were carried out and by which road. Verbs never used are absent.
func (e Engine) Counts() map[string]Count {
	m := make(map[string]Count)
	for k := Kind(1); k < kinds; k++ {
		v := &e.core.stats.verbs[k]
		if c := (Count{Ring: v.ring.Load(), Syscall: v.syscall.Load()}); c != (Count{}) {
			m[k.String()] = c
		}
	}
	return m
}

// Fallbacks returns, by verb name, how many ops the ring engine carried out by a syscall although the verb has
// a ring half, because the kernel lacks the opcode. Verbs whose only half is the syscall are no fallbacks. Under
// the name followed by " fixed" are ops with Op.Fixed that went without registered memory.
func (e Engine) Fallbacks() map[string]uint64 {
	m := make(map[string]uint64)
	for k := Kind(1); k < kinds; k++ {
		if n := e.core.stats.verbs[k].fallback.Load(); n > 0 {
			m[k.String()] = n
		}
		if n := e.core.stats.verbs[k].unfixed.Load(); n > 0 {
			m[k.String()+" fixed"] = n
		}
	}
	return m
}

// Fixed returns, by verb name, how many ops went by registered memory.
func (e Engine) Fixed() map[string]uint64 {
	m := make(map[string]uint64)
	for k := Kind(1); k < kinds; k++ {
		if n := e.core.stats.verbs[k].fixed.Load(); n > 0 {
			m[k.String()] = n
		}
	}
	return m
}

// Bytes returns, by verb name, how many bytes of data the verbs that transfer some have moved.
func (e Engine) Bytes() map[string]uint64 {
	m := make(map[string]uint64)
	for k := Kind(1); k < kinds; k++ {
		if n := e.core.stats.verbs[k].bytes.Load(); n > 0 {
			m[k.String()] = n
		}
	}
	return m
}

// Health returns the engine's gauges and detectors.
func (e Engine) Health() Health {
	s := &e.core.stats
	h := Health{
		InFlight: s.inFlight.Load(), Rings: s.rings.Load(), Stale: s.stale.Load(), Overflows: s.overflows.Load(),
		Resubmitted: s.resubmitted.Load(), OpenFDs: e.core.fds.open.Load(),
		Personalities: s.personalities.Load(),
		Buffers:       e.core.arenas.out(),
	}
	if p := s.shrunk.Load(); p != nil {
		h.Shrunk = *p
	}
	if p := e.core.threads.alone.Load(); p != nil {
		h.Umask = *p
	}
	if p := s.unregistered.Load(); p != nil {
		h.Unregistered = *p
	}
	return h
}
