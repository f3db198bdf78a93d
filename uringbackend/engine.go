//go:build linux

package uringbackend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Submitter is the one seam of an engine: the ring, the syscalls, and wrappers such as Faulty.
//
// Submit starts ops and reports each by done(i, n, more, err), i being its index: n is the verb's result (bytes,
// a new descriptor) and err nil or a bare syscall.Errno. more is true when a further call for the same op will
// follow (multishot, two-completion sends); the call with more == false is the last, and every op gets exactly
// one such call, whatever happens. Ops of one call are independent, unless Link or Drain says otherwise, and may complete in any order.
//
// Bounded ops run to completion on the calling goroutine: their done calls come before Submit returns. Ops with
// Unbounded set are only started; done comes later, from a goroutine of the engine. done must not block and
// must not call Submit. The slice ops is borrowed until Submit returns; what an Op points at is taken until its
// last done call.
//
// When ctx ends, ops not yet completed are cancelled: they report ECANCELED, or their result if they completed
// all the same, and always after the kernel has let go of their memory. An op whose context ended before Submit is
// not started. KindClose is never cancelled, because a descriptor that stays open is a leak.
type Submitter interface {
	Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error))
}

// Engine is a Submitter with its blocking form Do, the typed functions for each verb, and its counters. It is a
// small value, to be copied; all copies share one engine. Safe for concurrent use.
type Engine struct {
	Submitter
	core  *core
	creds *Creds // of As
}

// core is what all copies of an Engine and all its wrappers share.
type core struct {
	// Immutable after Open.
	name     string
	reason   string
	features Features
	strict   bool
	observer Observer
	opened   time.Time
	roads    [kinds]Road
	forced   bool // Config.Policy is "ring"
	persons  int  // personalities of a ring
	cancelFD func(fd int) int
	longest  int // ops of a chain

	mu sync.Mutex
	// +checklocks:mu
	closer func() error // set by Open, changed by Wrap

	threads threads

	// Atomic.
	stats  stats
	fds    fdTable
	arenas arenas
	calls  sync.Pool
	rings  atomic.Int64 // made so far
}

// Config bounds an engine. The zero value means the defaults.
type Config struct {
	// Rings is the most rings that bounded ops use at a time, each with the thread of its caller; further
	// callers wait for one. Default 64.
	Rings int
	// Entries is the size of each ring's submission queue, a power of two. A batch larger than this is
	// submitted in parts. Default 64.
	Entries int
	// Unbounded is the most ops with Unbounded set in flight; further ones report EAGAIN. Default 1024.
	Unbounded int
	// Personalities is how many different Creds each ring remembers. A batch with more of them registers them all,
	// so a ring may have as many as entries. Default 64.
	Personalities int
	// Strict makes a violated invariant (a completion for an op that is not in flight) panic where it is
	// found; otherwise it is counted in Health. Descriptors made with Own remember their birth. For tests.
	Strict bool
	// Observer, if not nil, sees every op.
	Observer Observer
	// Policy is which road bounded ops take: "auto", the default, takes for each verb the one that measured
	// best; "ring" takes the ring for every verb that has a ring half.
	Policy string
	// Loop is how ops with Unbounded set are waited for: "ring", the default, is a thread that blocks only in
	// io_uring_enter(2); "netpoll" is Go's netpoller on an eventfd.
	Loop string
}

func (c Config) withDefaults() Config {
	if c.Rings <= 0 {
		c.Rings = 64
	}
	if c.Entries <= 0 {
		c.Entries = 64
	}
	if c.Unbounded <= 0 {
		c.Unbounded = 1024
	}
	c.Policy = cmp.Or(c.Policy, "auto")
	c.Loop = cmp.Or(c.Loop, "ring")
	if c.Personalities <= 0 {
		c.Personalities = 64
	}
	return c
}

// ErrNoRing says that the ring engine was asked for by name and cannot be had; it is wrapped with the reason.
var ErrNoRing = errors.New("io_uring engine not available")

// Open makes an engine. name is "ring", "syscall", or "auto": the ring where f allows it, otherwise the
// syscall engine, whose Reason then says why. "ring" never turns into something else: it fails with ErrNoRing.
// The caller owns the engine and must Close it.
func Open(name string, f Features, cfg Config) (Engine, error) {
	cfg = cfg.withDefaults()
	c := &core{features: f, strict: cfg.Strict, name: name, longest: cfg.Entries, persons: cfg.Personalities, observer: cfg.Observer, opened: time.Now()}
	if cfg.Policy != "auto" && cfg.Policy != "ring" {
		return Engine{}, fmt.Errorf("policy %q: not one of auto, ring", cfg.Policy)
	}
	if cfg.Loop != "ring" && cfg.Loop != "netpoll" {
		return Engine{}, fmt.Errorf("loop %q: not one of ring, netpoll", cfg.Loop)
	}
	c.fds.births = cfg.Strict
	c.threads.init()
	c.calls.New = func() any { return newCall() }
	switch name {
	case "syscall":
		return openSyscall(c, cfg), nil
	case "ring", "auto":
		r, err := newRing(c, cfg)
		if err == nil {
			c.name, c.cancelFD = "ring", r.cancelFD
			c.onClose(func(func() error) error { return r.Close() })
			return Engine{Submitter: r, core: c}, nil
		}
		if name == "ring" {
			return Engine{}, fmt.Errorf("%w: %w", ErrNoRing, err)
		}
		c.name, c.reason = "syscall", err.Error()
		return openSyscall(c, cfg), nil
	default:
		return Engine{}, fmt.Errorf("engine %q: not one of auto, ring, syscall", name)
	}
}

func openSyscall(c *core, cfg Config) Engine {
	s := newSyscalls(c, cfg)
	c.cancelFD = s.poller.cancelFD
	c.onClose(func(func() error) error { return s.Close() })
	return Engine{Submitter: s, core: c}
}

// Holder is what a Submitter of Wrap is too when it holds back reports or has goroutines: Engine.Close calls
// CloseHeld, which must call inner, the Close of what is wrapped, once each time, and return after its last report.
type Holder interface {
	CloseHeld(inner func() error) error
}

// Wrap returns the same engine behind another Submitter, which is expected to forward to e.Submitter.
// Counters, features and Close stay those of e; Close of any copy of e closes the wrapper too, if it is a Holder.
func (e Engine) Wrap(wrap func(Submitter) Submitter) Engine {
	s := wrap(e.Submitter)
	if h, ok := s.(Holder); ok {
		e.core.onClose(h.CloseHeld)
	}
	return Engine{Submitter: s, core: e.core, creds: e.creds}
}

// onClose puts another Close around that which there is.
func (c *core) onClose(around func(inner func() error) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	inner := c.closer
	c.closer = func() error { return around(inner) }
}

// Name is the engine that runs: "ring" or "syscall", never "auto".
func (e Engine) Name() string { return e.core.name }

// Reason says why Open("auto") did not take the ring; empty otherwise.
func (e Engine) Reason() string { return e.core.reason }

// Features are the abilities that the engine was opened with.
func (e Engine) Features() Features { return e.core.features }

// MaxChain is the most ops that Link may join; each op of a longer chain reports EINVAL. It is Config.Entries.
func (e Engine) MaxChain() int { return e.core.longest }

// Close cancels ops that wait without bound, waits until every op in flight has reported, and gives back rings,
// memory and descriptors of the engine. New ops report ECANCELED, except KindClose, which is still carried out.
// The descriptors that ops were given are the caller's and are not touched. It must not be called from done.
func (e Engine) Close() error {
	e.core.mu.Lock()
	closer := e.core.closer
	e.core.mu.Unlock()
	err := closer()
	e.core.threads.close()
	return err
}

// CancelFD gives up all ops with Unbounded set that use fd, and returns when they have reported; it says how many there
// were. Closing a descriptor through the engine does the same first. It must not be called from done.
func (e Engine) CancelFD(fd int) int {
	return e.core.cancelFD(fd)
}

// Do runs one op and returns when it is done: Submit of one, reaped by the caller. A hot read through the ring
// costs one io_uring_enter and no goroutine switch.
func (e Engine) Do(ctx context.Context, op Op) (n int, err error) {
	c := e.core.calls.Get().(*call)
	c.ops[0] = op
	if op.Creds == nil {
		c.ops[0].Creds = e.creds
	}
	e.Submit(ctx, c.ops[:], c.done)
	n, err = c.wait()
	c.ops[0] = Op{}
	e.core.calls.Put(c)
	return n, err
}

// call is the rendezvous of Do with done. Pooled per engine, so that a call allocates nothing; the op in it
// lives on the heap, which also forces what it points at there.
type call struct {
	ops   [1]Op
	n     int
	err   error
	state atomic.Uint32
	wake  chan struct{}
	done  func(i, n int, more bool, err error)
}

const (
	callOpen uint32 = iota
	callWaiting
	callDone
)

func newCall() *call {
	c := &call{wake: make(chan struct{}, 1)}
	c.done = c.complete
	return c
}

func (c *call) complete(_, n int, more bool, err error) {
	if more {
		return // Do returns the last report
	}
	c.n, c.err = n, err
	switch c.state.Swap(callDone) {
	case callWaiting:
		c.wake <- struct{}{}
	case callDone:
		panic("uringbackend: an op completed twice")
	}
}

func (c *call) wait() (int, error) {
	if c.state.CompareAndSwap(callOpen, callWaiting) {
		<-c.wake
	}
	c.state.Store(callOpen)
	return c.n, c.err
}
