//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// FD owns a descriptor number: it is closed exactly once, or leaves by Disown. Safe for concurrent use, except
// that whoever uses the number must make sure that Close does not run meanwhile.
type FD struct {
	n     atomic.Int64 // -1 once gone
	e     Engine
	birth string // stack of Own, in strict engines
}

// Own takes a descriptor number into ownership.
func (e Engine) Own(fd int) *FD {
	f := &FD{e: e}
	f.n.Store(int64(fd))
	e.core.fds.add(f)
	return f
}

// Num lends the number; it is valid until Close or Disown. It is -1 afterwards.
func (f *FD) Num() int { return int(f.n.Load()) }

// Disown gives the number to the caller, who must close it, and leaves f empty.
func (f *FD) Disown() int {
	n := int(f.n.Swap(-1))
	if n >= 0 {
		f.e.core.fds.remove(f)
	}
	return n
}

// Close closes the descriptor through the engine, whatever becomes of ctx. A second Close does nothing.
func (f *FD) Close(ctx context.Context) error {
	n := f.Disown()
	if n < 0 {
		return nil
	}
	return f.e.CloseFD(ctx, n)
}

// Leaks describes each descriptor still owned, with the stack of its birth in strict engines. For tests.
func (e Engine) Leaks() []string { return e.core.fds.leaks() }

// fdTable counts owned descriptors and, in strict engines, remembers them.
type fdTable struct {
	births bool // immutable after Open
	open   atomic.Int64

	mu sync.Mutex
	// +checklocks:mu
	live map[*FD]struct{}
}

func (t *fdTable) add(f *FD) {
	t.open.Add(1)
	if !t.births {
		return
	}
	f.birth = string(debug.Stack())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[*FD]struct{})
	}
	t.live[f] = struct{}{}
}

func (t *fdTable) remove(f *FD) {
	t.open.Add(-1)
	if !t.births {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, f)
}

func (t *fdTable) leaks() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for f := range t.live {
		out = append(out, fmt.Sprintf("fd %d, born at\n%s", f.Num(), f.birth))
	}
	return out
}
