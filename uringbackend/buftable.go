//go:build linux

package uringbackend

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// fixedForm is how a verb is carried out on registered memory.
type fixedForm struct {
	opcode   uring.Opcode
	ioprio   uint16 // flag to be set besides
	vectored bool   // Bufs instead of Buf
	ability  func(f *Features) Ability
}

// fixedForms has a row for each verb that reads Op.Fixed.
var fixedForms = [kinds]fixedForm{
	KindReadAt:  {opcode: uring.OpReadFixed, ability: func(f *Features) Ability { return f.OpReadFixed }},
	KindWriteAt: {opcode: uring.OpWriteFixed, ability: func(f *Features) Ability { return f.OpWriteFixed }},
	KindReadvAt: {opcode: uring.OpReadvFixed, vectored: true, ability: func(f *Features) Ability { return f.OpReadvFixed }},
	KindSendZC: {
		opcode: uring.OpSendZC, ioprio: uring.RecvSendFixedBuf, ability: func(f *Features) Ability { return f.OpSendZC },
	},
	KindWritevAt: {opcode: uring.OpWritevFixed, vectored: true, ability: func(f *Features) Ability { return f.OpWritevFixed }},
}

// bufferTable is a ring's table of registered buffers, filled with an arena when the ring first meets an op on it.
// The zero value is ready. fix belongs to who submits to the ring; forget comes from any goroutine.
type bufferTable struct {
	// Atomic.
	at      [tablePlaces]atomic.Pointer[Arena] // registered
	refused [tablePlaces]atomic.Pointer[Arena] // not to be tried again
	dirty   atomic.Bool                        // dropping is not empty

	mu sync.Mutex
	// +checklocks:mu
	r *uring.Ring // once it has a table
	// +checklocks:mu
	closed bool
	// +checklocks:mu
	dropping []*Arena // to be taken off by the ring's own thread
}

// fix turns the prepared record of op into its fixed form, if op's memory is registered or can be. Otherwise the
// record stays what it is, and that is counted.
func (t *bufferTable) fix(r *uring.Ring, op *Op, sqe *uring.SQE) {
	if t.dirty.Load() {
		t.sweep()
	}
	a := op.Fixed
	if a == nil {
		return
	}
	form := &fixedForms[op.Kind]
	if form.ability == nil || !form.vectored && len(op.Buf) == 0 {
		return // nothing to be moved
	}
	if a.can[op.Kind] && (!form.vectored || !hasEmpty(op.Bufs)) {
		if place, ok := t.place(r, a); ok {
			sqe.Opcode = form.opcode
			sqe.IOPrio |= form.ioprio
			sqe.BufIndex = place
			a.stats.verbs[op.Kind].fixed.Add(1)
			return
		}
	}
	a.stats.verbs[op.Kind].unfixed.Add(1)
}

// hasEmpty: the kernel takes no empty part of registered memory (io_vec_fill_bvec, io_uring/rsrc.c).
func hasEmpty(bufs [][]byte) bool {
	for _, p := range bufs {
		if len(p) == 0 {
			return true
		}
	}
	return len(bufs) == 0
}

// place is where the arena is in the table of r, which registers it if need be.
func (t *bufferTable) place(r *uring.Ring, a *Arena) (uint16, bool) {
	if a.place < 0 {
		return 0, false
	}
	if t.at[a.place].Load() == a {
		return uint16(a.place), true
	}
	if t.refused[a.place].Load() == a || !a.join(t) {
		return 0, false
	}
	if err := t.register(r, a); err != nil {
		t.refused[a.place].Store(a)
		a.refuse(fmt.Errorf("registration with a ring: %w", err))
		a.leave()
		return 0, false
	}
	return uint16(a.place), true
}

func (t *bufferTable) register(r *uring.Ring, a *Arena) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || a.retired.Load() {
		return unix.ECANCELED
	}
	if t.r == nil {
		if err := r.RegisterBufferTable(tablePlaces); err != nil {
			return fmt.Errorf("table: %w", err)
		}
		t.r = r
	}
	// Where the kernel refuses to clone (rings of different users), the ring pins for itself.
	if a.source == nil || cloneBuffer(r, a.source, uint32(a.place)) != nil {
		if err := updateBuffer(r, uint32(a.place), a.mapping.mem); err != nil {
			return err
		}
	}
	t.at[a.place].Store(a)
	return nil
}

// updateBuffer puts mem into a place of r's table, which pins and accounts it; empty mem empties the place.
func updateBuffer(r *uring.Ring, place uint32, mem []byte) error {
	iov := make([]unix.Iovec, 1)
	if len(mem) > 0 {
		iov[0].Base = &mem[0]
		iov[0].SetLen(len(mem))
	}
	_, err := r.UpdateBuffers(place, iov, nil)
	return err
}

// cloneBuffer shares the one buffer of source with r: nothing is pinned or accounted again.
func cloneBuffer(r, source *uring.Ring, place uint32) error {
	return r.CloneBuffers(uring.CloneBuffersReg{
		SrcFD: uint32(source.FD()), Flags: uring.CloneDstReplace, DstOff: place, Nr: 1,
	})
}

// forget takes a retired arena off the ring, at once or, where only the ring's own thread may, when it is used next.
func (t *bufferTable) forget(a *Arena) {
	t.mu.Lock()
	left := false
	switch {
	case t.at[a.place].Load() != a: // never registered, or left with the ring
	case t.r.Flags()&uring.SetupSingleIssuer != 0:
		t.dropping = append(t.dropping, a)
		t.dirty.Store(true)
	default:
		t.takeOffLocked(a)
		left = true
	}
	t.refused[a.place].CompareAndSwap(a, nil)
	t.mu.Unlock()
	if left {
		a.leave()
	}
}

// sweep takes off what forget could not. Only for who submits to the ring.
func (t *bufferTable) sweep() {
	t.mu.Lock()
	dropping := t.dropping
	t.dropping = nil
	t.dirty.Store(false)
	for _, a := range dropping {
		t.takeOffLocked(a)
	}
	t.mu.Unlock()
	for _, a := range dropping {
		a.leave()
	}
}

// takeOffLocked empties the place of an arena. The kernel lets the pages go when no op uses them any more.
// +checklocks:t.mu
func (t *bufferTable) takeOffLocked(a *Arena) {
	// It fails only without memory. The place then keeps the pages until it is used again or the ring closes; no
	// op can reach them, since the arena's place is another's from here on.
	_ = updateBuffer(t.r, uint32(a.place), nil)
	t.at[a.place].Store(nil)
}

// close leaves all arenas: the ring is about to be closed. Only for who submits to the ring.
func (t *bufferTable) close() {
	t.mu.Lock()
	t.closed = true
	if t.r != nil {
		// Closing the ring would do it too, but later: the kernel takes a ring apart at its leisure.
		_ = t.r.UnregisterBuffers()
	}
	t.dropping = nil
	var left []*Arena
	for i := range t.at {
		if a := t.at[i].Swap(nil); a != nil {
			left = append(left, a)
		}
	}
	t.mu.Unlock()
	for _, a := range left {
		a.leave()
	}
}

// probeClone asks for cloning of one place among others; source has a table.
func probeClone(source *uring.Ring) error {
	r, err := uring.New(1, 0, uring.SetupClamp)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if err := r.RegisterBufferTable(2); err != nil {
		return err
	}
	return cloneBuffer(r, source, 1) // an empty place clones as well as a full one
}
