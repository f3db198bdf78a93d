//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// ArenaConfig says what an arena holds.
type ArenaConfig struct {
	Chunk int  // bytes of each buffer; each begins on a page
	Count int  // buffers
	Huge  bool // ask for huge pages; Arena.Pages says what came of it
}

// Arena is one anonymous mapping cut into equal buffers, which a ring engine registers with its rings: their pages
// are pinned once, and ops on them (Op.Fixed, ReadFixed, WriteFixed) need not look them up. On the syscall engine,
// and where the kernel refuses to register, the same ops do the same without that.
//
// The memory is not the collector's: a slice of a buffer must not be used after the buffer was released. Safe for
// concurrent use.
type Arena struct {
	// Immutable after NewArena.
	owner   *arenas
	stats   *stats
	strict  bool
	mapping mapping
	chunk   int
	stride  int // chunk in whole pages
	buffers []Buffer
	place   int         // its index in each ring's table; -1: none
	source  *uring.Ring // rings clone from it; nil: each registers for itself
	can     [kinds]bool // verbs that the kernel has a fixed form of

	// Atomic.
	unregistered atomic.Pointer[string] // why the last registration failed
	retired      atomic.Bool            // closed and every buffer is back
	// The arena itself and each ring that has it registered. At 0 the memory goes.
	holders atomic.Int64

	mu sync.Mutex
	// +checklocks:mu
	free []*Buffer // last in, first out: the buffer used last is the one in the cache
	// +checklocks:mu
	queue []chan *Buffer // callers of GetWait, oldest first
	// +checklocks:mu
	tables []*bufferTable // of rings that have or had it registered
	// +checklocks:mu
	closed bool
}

// Buffer is one buffer of an arena, with a count of references. Whoever gets it has one; its memory goes back to
// the arena with the last Release.
type Buffer struct {
	arena *Arena // immutable
	index int    // immutable
	refs  atomic.Int32
}

// arenas are those of one engine. An arena has the same place in the table of each ring.
type arenas struct {
	mu sync.Mutex
	// +checklocks:mu
	at [tablePlaces]*Arena
	// +checklocks:mu
	all map[*Arena]struct{}
}

// tablePlaces is how many registered buffers a ring has room for.
const tablePlaces = 16

// NewArena makes an arena, the caller's to Close. EINVAL: a size that is not positive or too large; otherwise the
// errno of mmap(2). That it cannot be registered is no error: see Arena.Unregistered.
func (e Engine) NewArena(cfg ArenaConfig) (*Arena, error) {
	page := unix.Getpagesize()
	const most = 1 << 46 // bytes, far below where sums overflow and above what can be mapped
	if cfg.Chunk <= 0 || cfg.Count <= 0 || cfg.Chunk > most || cfg.Count > most/(cfg.Chunk+page) {
		return nil, unix.EINVAL
	}
	stride := (cfg.Chunk + page - 1) / page * page
	m, err := newMapping(context.Background(), stride*cfg.Count, cfg.Huge, e.Madvise)
	if err != nil {
		return nil, err
	}
	a := &Arena{
		owner: &e.core.arenas, stats: &e.core.stats, strict: e.core.strict, mapping: m, chunk: cfg.Chunk, stride: stride,
		buffers: make([]Buffer, cfg.Count), free: make([]*Buffer, cfg.Count), place: -1,
	}
	for i := range a.buffers {
		b := &a.buffers[i]
		b.arena, b.index = a, i
		a.free[cfg.Count-1-i] = b
	}
	a.holders.Store(1)
	a.owner.add(a)
	if e.core.name == "ring" {
		a.register(&e.core.features)
	}
	return a, nil
}

// register finds a place in the rings' tables, and pins the memory where rings can share that.
func (a *Arena) register(f *Features) {
	for k := range a.can {
		a.can[k] = fixedForms[k].ability != nil && fixedForms[k].ability(f).Answer == Yes
	}
	if f.BuffersSparse.Answer != Yes {
		a.refuse(fmt.Errorf("table of registered buffers: %s: %w", f.BuffersSparse.Answer, orUnsupported(f.BuffersSparse.Why)))
		return
	}
	place, ok := a.owner.takePlace(a)
	if !ok {
		a.refuse(fmt.Errorf("%d arenas are registered already: %w", tablePlaces, unix.ENOSPC))
		return
	}
	if f.CloneBuffers.Answer == Yes {
		// A ring that carries no ops: it keeps the one registration that all others share, so that none of
		// them must outlive the rest.
		source, err := newSource(a.mapping.mem)
		if err != nil {
			a.refuse(fmt.Errorf("registration of %d bytes: %w", len(a.mapping.mem), err))
			a.owner.givePlace(place)
			return
		}
		a.source = source
	}
	a.place = place
}

func orUnsupported(err error) error {
	if err == nil {
		return unix.EOPNOTSUPP
	}
	return err
}

// newSource makes a ring with mem as its one registered buffer. Nothing is ever submitted to it.
func newSource(mem []byte) (*uring.Ring, error) {
	r, err := uring.New(1, 0, uring.SetupClamp)
	if err != nil {
		return nil, err
	}
	if err = r.RegisterBufferTable(1); err == nil {
		err = updateBuffer(r, 0, mem)
	}
	if err != nil {
		_ = r.Close() // the first error is the one to report
		return nil, err
	}
	return r, nil
}

// refuse notes why the arena, or one ring of those that use it, goes without registration.
func (a *Arena) refuse(err error) {
	why := fmt.Sprintf("arena of %d buffers of %d bytes: %v", len(a.buffers), a.chunk, err)
	a.unregistered.Store(&why)
	a.stats.unregistered.Store(&why)
}

// Unregistered says why ops on the arena are carried out by plain reads and writes on some ring or on all of them:
// the limit on locked memory (ENOMEM), an older kernel, or no place left. Empty: no ring has refused it so far, or
// the engine has no rings.
func (a *Arena) Unregistered() string {
	if p := a.unregistered.Load(); p != nil {
		return *p
	}
	return ""
}

// Pages is the kind of pages that the memory got.
func (a *Arena) Pages() Pages { return a.mapping.pages }

// Out is how many buffers are not released.
func (a *Arena) Out() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.outLocked()
}

// +checklocks:a.mu
func (a *Arena) outLocked() int { return len(a.buffers) - len(a.free) }

// Get hands out the buffer that was released last, whose content is arbitrary; nil if all are out or the arena is
// closed.
func (a *Arena) Get() *Buffer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.getLocked()
}

// +checklocks:a.mu
func (a *Arena) getLocked() *Buffer {
	n := len(a.free)
	if n == 0 || a.closed {
		return nil
	}
	b := a.free[n-1]
	a.free = a.free[:n-1]
	b.refs.Store(1)
	return b
}

// GetWait is Get that waits its turn for a buffer. ECANCELED: ctx ended or the arena is closed.
func (a *Arena) GetWait(ctx context.Context) (*Buffer, error) {
	a.mu.Lock()
	if b := a.getLocked(); b != nil {
		a.mu.Unlock()
		return b, nil
	}
	if a.closed {
		a.mu.Unlock()
		return nil, unix.ECANCELED
	}
	turn := make(chan *Buffer, 1)
	a.queue = append(a.queue, turn)
	a.mu.Unlock()
	select {
	case b := <-turn:
		if b == nil {
			return nil, unix.ECANCELED
		}
		return b, nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	for i, q := range a.queue {
		if q == turn {
			a.queue = append(a.queue[:i], a.queue[i+1:]...)
			a.mu.Unlock()
			return nil, unix.ECANCELED
		}
	}
	a.mu.Unlock()
	if b := <-turn; b != nil { // handed over at the same moment
		b.Release()
	}
	return nil, unix.ECANCELED
}

// put takes a buffer back whose last reference is gone.
func (a *Arena) put(b *Buffer) {
	if a.strict {
		mem := b.Bytes()
		for i := range mem {
			mem[i] = 0xdb // who still reads it, sees it
		}
	}
	a.mu.Lock()
	if len(a.queue) > 0 {
		b.refs.Store(1)
		a.queue[0] <- b // never blocks: capacity 1, one value
		a.queue = append(a.queue[:0], a.queue[1:]...)
		a.mu.Unlock()
		return
	}
	a.free = append(a.free, b)
	last := a.closed && a.outLocked() == 0
	a.mu.Unlock()
	if last {
		a.retire()
	}
}

// Close hands out no more buffers and ends what waits for one. It reports buffers that are still out, wrapping
// EBUSY; they stay valid until they are released. The memory is unmapped when all are back and no ring has it
// registered. Calling it again asks again.
func (a *Arena) Close() error {
	a.mu.Lock()
	first := !a.closed
	a.closed = true
	for _, turn := range a.queue {
		turn <- nil
	}
	a.queue = nil
	out := a.outLocked()
	a.mu.Unlock()
	if out > 0 {
		return fmt.Errorf("arena: %d of %d buffers are out: %w", out, len(a.buffers), unix.EBUSY)
	}
	if first {
		a.retire()
	}
	return nil
}

// retire takes the arena off all rings. Called once, when it is closed and all buffers are back, so that no op
// uses it.
func (a *Arena) retire() {
	a.retired.Store(true)
	a.mu.Lock()
	tables := a.tables
	a.tables = nil
	a.mu.Unlock()
	for _, t := range tables {
		t.forget(a)
	}
	a.leave()
}

// join notes that a ring is about to register the arena, which keeps the memory until leave. False: too late.
func (a *Arena) join(t *bufferTable) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.retired.Load() {
		return false
	}
	a.holders.Add(1) // not 0 before: the arena's own share is there until retire has left
	a.tables = append(a.tables, t)
	return true
}

// leave ends a share in the memory.
func (a *Arena) leave() {
	if a.holders.Add(-1) > 0 {
		return
	}
	if a.source != nil {
		// Closing would do it too, but later: the kernel takes a ring apart at its leisure.
		_ = a.source.UnregisterBuffers()
		_ = a.source.Close() // nothing in flight, nothing to lose
	}
	a.mapping.unmap()
	if a.place >= 0 {
		a.owner.givePlace(a.place)
	}
	a.owner.remove(a)
}

// contains says whether p lies inside one buffer's memory or across neighbours, in any case inside the arena.
func (a *Arena) contains(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	start, base := uintptr(unsafe.Pointer(&p[0])), uintptr(unsafe.Pointer(&a.mapping.mem[0]))
	return start >= base && uintptr(len(p)) <= uintptr(len(a.mapping.mem)) && start-base <= uintptr(len(a.mapping.mem)-len(p))
}

// Bytes lends the memory, Chunk bytes, until the reference of the caller is released.
func (b *Buffer) Bytes() []byte {
	start := b.index * b.arena.stride
	return b.arena.mapping.mem[start : start+b.arena.chunk : start+b.arena.chunk]
}

// Arena is where the buffer comes from, for Op.Fixed.
func (b *Buffer) Arena() *Arena { return b.arena }

// Retain adds a reference, for an op that outlives its caller: a zero-copy send has one until its second
// completion. The caller has a reference itself.
func (b *Buffer) Retain() {
	if b.refs.Add(1) <= 1 {
		b.refs.Add(-1)
		b.arena.stats.bug(b.arena.strict, "buffer %d retained after its last release", b.index)
	}
}

// Release gives a reference back; with the last one the memory is the arena's again. One Release too many panics in
// a strict engine and is counted in Health.Stale by others.
func (b *Buffer) Release() {
	for {
		n := b.refs.Load()
		if n <= 0 {
			b.arena.stats.bug(b.arena.strict, "buffer %d released once more than it was retained", b.index)
			return
		}
		if b.refs.CompareAndSwap(n, n-1) {
			if n == 1 {
				b.arena.put(b)
			}
			return
		}
	}
}

// ReadFixed reads into bytes [from, to) of b from fd at off. A short count is returned as it is; 0 is the end of
// the file. EINVAL: a range outside the buffer.
func (e Engine) ReadFixed(ctx context.Context, fd int, b *Buffer, from, to int, off int64) (int, error) {
	return e.doFixed(ctx, Op{Kind: KindReadAt, FD: fd, Offset: off}, b, from, to)
}

// WriteFixed writes bytes [from, to) of b to fd at off. A short count is returned as it is. EINVAL: a range outside
// the buffer.
func (e Engine) WriteFixed(ctx context.Context, fd int, b *Buffer, from, to int, off int64) (int, error) {
	return e.doFixed(ctx, Op{Kind: KindWriteAt, FD: fd, Offset: off}, b, from, to)
}

func (e Engine) doFixed(ctx context.Context, op Op, b *Buffer, from, to int) (int, error) {
	if from < 0 || to < from || to > b.arena.chunk {
		return 0, unix.EINVAL
	}
	op.Buf, op.Fixed = b.Bytes()[from:to], b.arena
	return e.Do(ctx, op)
}

// checkFixed says EINVAL for an op whose memory is not in the arena that it names, or whose arena is another
// engine's or gone. Every engine asks, so that a mistake shows on each.
func checkFixed(op *Op, st *stats) error {
	a := op.Fixed
	if a == nil || fixedForms[op.Kind].ability == nil {
		return nil
	}
	if a.stats != st || a.retired.Load() {
		return unix.EINVAL
	}
	if !fixedForms[op.Kind].vectored {
		if !a.contains(op.Buf) {
			return unix.EINVAL
		}
		return nil
	}
	for _, p := range op.Bufs {
		if !a.contains(p) {
			return unix.EINVAL
		}
	}
	return nil
}

func (s *arenas) add(a *Arena) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*Arena]struct{})
	}
	s.all[a] = struct{}{}
}

func (s *arenas) remove(a *Arena) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, a)
}

// takePlace finds a place that no arena has.
func (s *arenas) takePlace(a *Arena) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.at {
		if s.at[i] == nil {
			s.at[i] = a
			return i, true
		}
	}
	return 0, false
}

func (s *arenas) givePlace(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[i] = nil
}

// out counts the buffers of all arenas that are not released.
func (s *arenas) out() (n int64) {
	s.mu.Lock()
	all := make([]*Arena, 0, len(s.all))
	for a := range s.all {
		all = append(all, a)
	}
	s.mu.Unlock()
	for _, a := range all {
		n += int64(a.Out())
	}
	return n
}
