//go:build linux

package uringbackend

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// directBase is what Direct counts down from: no descriptor and no AT_FDCWD is this small.
const directBase = -1 << 20

// maxDirect is how many places a Submit call has.
const maxDirect = 64

// Direct names place i, from 0, of a table of open files that is not the process's: "direct descriptors", which take
// part in no descriptor table and its lock. As Op.FD2 of KindOpenat2 it says where to put the file, and n is then 0; as
// Op.FD it names the file there, for verbs that transfer, sync, allocate and close. O_CLOEXEC has no meaning there.
//
// A table lives as long as its Submit call, which has 64 places and closes what was left open, or as long as its
// Queue. Ops that use one must not be Unbounded.
func Direct(i int) int { return directBase - i }

func directPlace(fd int) (place int, ok bool) {
	if fd > directBase {
		return 0, false
	}
	return directBase - fd, true
}

// direct says that the op names a place of the table.
func (op *Op) direct() bool { return op.FD <= directBase || op.FD2 <= directBase }

// takesDirect says that the verb can act on a file in the table.
func (k Kind) takesDirect() bool {
	switch k {
	case KindReadAt, KindWriteAt, KindReadvAt, KindWritevAt, KindFsync, KindFallocate, KindFtruncate, KindFadvise, KindClose:
		return true
	default:
		return false
	}
}

// directError says what is wrong with an op that names places of a table with size places.
func (op *Op) directError(size int) error {
	if place, ok := directPlace(op.FD2); ok && (op.Kind != KindOpenat2 || place >= size) {
		return unix.EBADF
	}
	if place, ok := directPlace(op.FD); ok && (!op.Kind.takesDirect() || place >= size) {
		return unix.EBADF
	}
	if op.Unbounded && op.Kind != KindClose {
		return unix.EBADF
	}
	return nil
}

// places is a ring's table of open files.
type places struct {
	size       int
	registered bool
	open       []bool
}

// apply makes the record of an op that names places act on the table, which is made at its first use.
func (p *places) apply(r *uring.Ring, op *Op, sqe *uring.SQE) error {
	if err := op.directError(p.size); err != nil {
		return err
	}
	if !p.registered {
		if err := r.RegisterFileTable(uint32(p.size)); err != nil {
			return unix.EMFILE
		}
		p.registered, p.open = true, make([]bool, p.size)
	}
	if place, ok := directPlace(op.FD2); ok {
		sqe.FileIndex = uint32(place) + 1
	}
	if place, ok := directPlace(op.FD); ok {
		if op.Kind == KindClose {
			sqe.FD, sqe.FileIndex = 0, uint32(place)+1
		} else {
			sqe.FD, sqe.Flags = int32(place), sqe.Flags|uring.SQEFixedFile
		}
	}
	return nil
}

// reported keeps count of what is open.
func (p *places) reported(op *Op, err error) {
	if err != nil || !op.direct() {
		return
	}
	if place, ok := directPlace(op.FD2); ok {
		p.open[place] = true
	} else if place, ok := directPlace(op.FD); ok && op.Kind == KindClose {
		p.open[place] = false
	}
}

// closeAll closes what is still open, at the end of the table's life.
func (p *places) closeAll(r *uring.Ring) {
	if !p.registered {
		return
	}
	for i, open := range p.open {
		if open {
			_, _ = r.UpdateFiles(uint32(i), []int32{-1}) // the place is this ring's, so it is there
			p.open[i] = false
		}
	}
}

// fileTable is a table of open files where there is no ring to hold one: Direct by descriptors of the process.
type fileTable struct {
	mu sync.Mutex
	// +checklocks:mu
	fds []int // -1: empty
}

func newFileTable(size int) *fileTable {
	t := &fileTable{fds: make([]int, size)}
	for i := range t.fds {
		t.fds[i] = -1
	}
	return t
}

// run carries out an op that names places; call makes it with descriptors instead.
func (t *fileTable) run(op *Op, call func(op *Op) (int, error)) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := op.directError(len(t.fds)); err != nil {
		return 0, err
	}
	own := *op
	from, named := directPlace(op.FD)
	if named {
		if own.FD = t.fds[from]; own.FD < 0 {
			return 0, unix.EBADF
		}
		if op.Kind == KindClose {
			t.fds[from] = -1
		}
	}
	to, opens := directPlace(op.FD2)
	if opens {
		how := unix.OpenHow{}
		if op.How != nil {
			how = *op.How
		}
		how.Flags |= unix.O_CLOEXEC
		own.FD2, own.How = 0, &how
	}
	n, err := call(&own)
	if opens && err == nil {
		if old := t.fds[to]; old >= 0 {
			_ = unix.Close(old) // as a ring's table does: the newer file takes the place
		}
		t.fds[to], n = n, 0
	}
	return n, err
}

// close closes what was left open.
func (t *fileTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, fd := range t.fds {
		if fd >= 0 {
			_ = unix.Close(fd) // read-only or synced by its user, as with a ring's table
		}
		t.fds[i] = -1
	}
}

// withTable gives ops that name places a table for their Submit call, which ends with the last report.
func withTable(ops []Op, done doneFunc) ([]Op, doneFunc) {
	if !slices.ContainsFunc(ops, func(op Op) bool { return op.direct() && op.table == nil }) {
		return ops, done
	}
	table := newFileTable(maxDirect)
	ops = slices.Clone(ops)
	for i := range ops {
		if ops[i].direct() && ops[i].table == nil {
			ops[i].table = table
		}
	}
	var left atomic.Int64
	left.Store(int64(len(ops)))
	return ops, func(i, n int, more bool, err error) {
		if !more && left.Add(-1) == 0 {
			table.close()
		}
		done(i, n, more, err)
	}
}
