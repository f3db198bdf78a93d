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
	// RoadSmall is a system call for one small transfer that waits for no disk, the ring for the rest.
	RoadSmall
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
	case RoadSmall:
		return "inline if small, else ring"
	default:
		return "inline syscall"
	}
}

// minBatch is the fewest ops of one Submit that count as a batch: from there on every verb with RoadBatch costs less by
// the ring, also those of which the ring makes a worker's.
const minBatch = 8

// smallTransfer is the most bytes of a small transfer. A worker of the ring costs some 5 us, which is half of the time of
// such a write at 4 KiB and not to be seen at 1 MiB.
const smallTransfer = 64 << 10

// rule is a verb's road and the reason for it.
type rule struct {
	road Road
	why  string
}

// Reasons.
const (
	whyWorker = "one op costs a worker's wake-up, a batch shares it"
	whyEnter  = "a batch shares one enter"
	whyNoRing = "no opcode"
	whyStream = "may wait for a peer"
)

// measured is the policy "auto": what cost least on ext4 and tmpfs with Linux 6.18, see docs/performance.md
// (BenchmarkPolicy). Verbs not listed take the system call. Whatever has Creds, a Timeout, or is of a chain takes the ring.
//
// Most verbs that look names up always go to a worker of the ring (io_uring/fs.c, statx.c set REQ_F_FORCE_ASYNC), which
// costs several microseconds where the call costs two; only many at once win.
var measured = [kinds]rule{
	KindReadAt:   {RoadCached, "a cached read needs no ring, a cold one waits"},
	KindReadvAt:  {RoadRing, "may wait for the disk"},
	KindWriteAt:  {RoadSmall, "a small copy is dearer by a worker, a large or durable one may wait"},
	KindWritevAt: {RoadSmall, "a small copy is dearer by a worker, a large or durable one may wait"},
	KindFsync:    {RoadRing, "waits for the disk"},
	KindOpenat2:  {RoadBatch, whyEnter},
	KindClose:    {RoadBatch, whyEnter},
	KindStatx:    {RoadBatch, whyWorker},

	KindMkdirat:   {RoadBatch, whyWorker},
	KindSymlinkat: {RoadBatch, whyWorker},
	KindLinkat:    {RoadBatch, whyWorker},
	KindUnlinkat:  {RoadBatch, whyWorker},
	KindRenameat2: {RoadBatch, whyWorker},

	KindFgetxattr: {RoadBatch, whyWorker},
	KindFsetxattr: {RoadBatch, whyWorker},
	KindGetxattr:  {RoadBatch, whyWorker},
	KindSetxattr:  {RoadBatch, whyWorker},

	KindFtruncate:     {RoadBatch, whyWorker},
	KindFallocate:     {RoadBatch, whyWorker},
	KindSyncFileRange: {RoadBatch, whyWorker},
	KindReadahead:     {RoadBatch, whyEnter},
	KindFadvise:       {RoadBatch, whyEnter},
	KindMadvise:       {RoadBatch, whyWorker},

	KindSplice: {RoadInline, "a worker each; " + whyStream + ": Unbounded ones take the ring"},
	KindTee:    {RoadInline, "a worker each; " + whyStream + ": Unbounded ones take the ring"},
}

// PolicyRow says which road a verb's bounded ops take in an engine, and why in a few words.
type PolicyRow struct {
	Verb string
	Road Road
	Why  string
}

// Policy lists the road of every verb, in table order. On the syscall engine all are inline; so is, on any engine, a verb
// whose opcode the kernel lacks.
func (e Engine) Policy() []PolicyRow {
	rows := make([]PolicyRow, 0, kinds-1)
	for _, k := range Kinds() {
		row := PolicyRow{Verb: k.String(), Road: e.core.roads[k], Why: measured[k].why}
		switch {
		case e.core.name != "ring":
			row.Road, row.Why = RoadInline, "syscall engine"
		case !k.RingHalf():
			row.Road, row.Why = RoadInline, whyNoRing
		case e.core.features.Opcode(k).Answer != Yes:
			row.Road, row.Why = RoadInline, "the kernel lacks the opcode"
		case e.core.forced:
			row.Why = "forced"
		case row.Why == "":
			row.Why = "not measured to gain"
		}
		rows = append(rows, row)
	}
	return rows
}

// roadsFor is the policy by its name.
func roadsFor(policy string) (roads [kinds]Road) {
	for k := range roads {
		roads[k] = measured[k].road
		if policy == "ring" {
			roads[k] = RoadRing
		}
	}
	return roads
}

// small says that op, of a verb with RoadSmall, moves little and waits for no disk.
func (op *Op) small() bool {
	const waits = unix.RWF_DSYNC | unix.RWF_SYNC
	n, _ := op.wanted()
	return n <= smallTransfer && op.Flags&waits == 0 && !op.Uncached && !op.Async
}

// maxRawRead is the longest read that is made without telling Go's scheduler, bytes: it copies for a few microseconds.
const maxRawRead = 64 << 10

// readCached reads what the page cache holds of op's range. ok is false when that is nothing, or cannot be known: then the
// ring has to. It never waits for a device, as long as the descriptor is not open with O_DIRECT: for those, Uncached
// says that the cache is no use.
func readCached(op *Op) (n int, ok bool) {
	if op.Flags != 0 || op.Offset < 0 || op.Async || op.Uncached || len(op.Buf) == 0 || op.Timeout != 0 {
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
