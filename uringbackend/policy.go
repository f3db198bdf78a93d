//go:build linux

package uringbackend

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Road is how the ring engine carries bounded ops of a verb out.
type Road uint8

const (
	// RoadInline is a system call on the caller's thread.
	RoadInline Road = iota
	// RoadRing is the ring, for each op.
	RoadRing
	// RoadBatch is the ring for batches, a system call for one op alone.
	RoadBatch
	// RoadCached is a system call for what the page cache holds (RWF_NOWAIT), the ring for the rest.
	RoadCached
)

// String is the form in probe's report.
func (r Road) String() string {
	switch r {
	case RoadRing:
		return "ring"
	case RoadBatch:
		return "ring batch"
	case RoadCached:
		return "inline if cached, else ring"
	default:
		return "inline syscall"
	}
}

// minBatch is the fewest ops of one Submit that count as a batch.
const minBatch = 8

// measured is the policy "auto": what cost least on ext4, xfs and tmpfs with Linux 6.18, see docs/performance.md.
// Verbs not listed take the system call. Whatever has Creds, and every op of a chain, takes the ring.
//
// Most verbs that look names up always go to a worker of the ring (io_uring/fs.c, statx.c set REQ_F_FORCE_ASYNC), which
// costs tens of microseconds where the call costs two; only many at once win, by running in parallel.
var measured = [kinds]Road{
	KindReadAt:   RoadCached,
	KindReadvAt:  RoadRing,
	KindWriteAt:  RoadRing,
	KindWritevAt: RoadRing,
	KindFsync:    RoadRing,
	KindOpenat2:  RoadBatch,
	KindClose:    RoadBatch,
}

// PolicyRow says which road a verb's bounded ops take in an engine.
type PolicyRow struct {
	Verb string
	Road Road
}

// Policy lists the road of every verb, in table order. On the syscall engine all are inline.
func (e Engine) Policy() []PolicyRow {
	rows := make([]PolicyRow, 0, kinds-1)
	for _, k := range Kinds() {
		rows = append(rows, PolicyRow{Verb: k.String(), Road: e.core.roads[k]})
	}
	return rows
}

// roadsFor is the policy by its name.
func roadsFor(policy string) (roads [kinds]Road) {
	if policy != "ring" {
		return measured
	}
	for k := range roads {
		roads[k] = RoadRing
	}
	return roads
}

// maxRawRead is the longest read that is made without telling Go's scheduler, bytes: it copies for a few microseconds.
const maxRawRead = 64 << 10

// readCached reads what the page cache holds of op's range. ok is false when that is nothing, or cannot be known: then the
// ring has to. It never waits for a device, as long as the descriptor is not open with O_DIRECT: for those, Async says
// that the cache is no use.
func readCached(op *Op) (n int, ok bool) {
	if op.Flags != 0 || op.Offset < 0 || op.Async || len(op.Buf) == 0 || op.Timeout != 0 {
		return 0, false
	}
	iov := unix.Iovec{Base: unsafe.SliceData(op.Buf)}
	iov.SetLen(min(len(op.Buf), maxTransfer))
	call := syscall.RawSyscall6
	if len(op.Buf) > maxRawRead {
		call = syscall.Syscall6
	}
	// The offset takes two arguments, of which a 64-bit kernel reads the first: preadv2(2).
	r, _, errno := call(unix.SYS_PREADV2, uintptr(op.FD), uintptr(unsafe.Pointer(&iov)), 1, uintptr(op.Offset), 0, unix.RWF_NOWAIT)
	return int(r), errno == 0
}
