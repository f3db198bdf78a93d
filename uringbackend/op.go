//go:build linux

package uringbackend

import (
	"time"

	"golang.org/x/sys/unix"
)

// Op is one operation, passed by value. Which fields a verb reads is written at its Kind; the rest are ignored.
//
// Everything an Op points at (Buf, the slices in Bufs, Statx, …) belongs to the engine from Submit until the
// last done call for that op, cancelled or not: the kernel may read or write it until then.
type Op struct {
	Kind Kind
	// Unbounded says that the op may wait without bound: a pipe, FIFO, socket or terminal. Such an op never
	// occupies a ring or a thread that serves bounded file I/O, and Close cancels it. Files and directories
	// leave it false. Transfers and splices can be cancelled on every engine; another verb (opening a FIFO)
	// that waits in a system call of the syscall engine ends only by itself.
	Unbounded bool
	FD        int // descriptor acted on, or the directory of Path; unix.AT_FDCWD where the verb allows it
	FD2       int // second descriptor: the directory of Path2, or the destination of a copy
	Buf       []byte
	Bufs      [][]byte
	Offset    int64 // bytes; -1: the descriptor's own position (pipes, sockets)
	Offset2   int64 // bytes, in FD2; -1 as above
	Length    int64 // bytes
	Flags     int   // verb specific: RWF_*, AT_*, O_*, FALLOC_FL_*, …
	Mask      int   // statx mask, or the second number of a verb (mode, uid, whence, …)
	Mask2     int   // gid
	Path      string
	Path2     string
	How       *unix.OpenHow
	Statx     *unix.Statx_t
	Statfs    *unix.Statfs_t
	Times     *[2]unix.Timespec
	Lock      *unix.Flock_t
	Handle    *unix.FileHandle
	Cachestat *unix.Cachestat_t
	// Fixed, for reads and writes at an offset, says that Buf or all of Bufs lie in this arena (EINVAL if not), so
	// that a ring can use its registered pages. It changes no result; it pays for large direct I/O, not for cached.
	Fixed *Arena
	// Provided, for multishot receives, is where the data goes. The engine uses it until the op's last report.
	Provided *BufRing
	// Creds, for verbs that resolve a path or act on an inode, are whose credentials the kernel sees; nil: the
	// process's own. The umask is 0 for such an op, also where the zero Creds stand for the process's. KindClose
	// does not look at it.
	Creds *Creds
	// Timeout, if not 0, is how long the op may take from its start. Then it is given up like a cancelled one and
	// reports ETIME, or its result if it completed all the same. A system call that is under way cannot be given
	// up: by the syscall half, only an Unbounded op that can be polled for times out.
	Timeout time.Duration
	// Link makes the next op of the same Submit start only when this one has succeeded in full: without an error
	// and, for a transfer, without being short. Otherwise the next one, and all linked after it, report ECANCELED
	// and are not carried out: KindClose too, so whoever links a close must close the descriptor himself when he
	// sees that. A chain longer than Config.Entries is refused: each op of it reports EINVAL.
	Link bool
	// Drain makes the op start only when all ops before it in the same Submit have reported. In a chain it holds
	// for the whole chain, as if the first op had it.
	Drain bool
	// Async is a hint that the op will block, so that a ring hands it to a worker without trying first
	// (IOSQE_ASYNC). It changes no result. Measured, it made nothing faster (docs/performance.md): a cached read costs
	// two to three times as much, a batch of cold ones three to five times, because reads that would have been queued
	// at the device together hold a worker each; fsync and most verbs of names go to a worker in any case. It is
	// for a caller who must not be held up while he submits.
	Async bool
	// Uncached says that looking into the page cache first is no use: FD is open with O_DIRECT, for which a read that
	// must not wait waits all the same. It changes no result.
	Uncached bool

	table *fileTable // of Direct, where no ring holds it
}

// wanted is how many bytes a transfer asks for; ok is false for verbs that transfer none.
func (op *Op) wanted() (n int64, ok bool) {
	switch op.Kind {
	case KindReadAt, KindWriteAt, KindSend, KindRecv:
		n = int64(len(op.Buf))
	case KindReadvAt, KindWritevAt, KindSendmsg, KindRecvmsg:
		for _, b := range op.Bufs {
			n += int64(len(b))
		}
	case KindCopyFileRange, KindSplice, KindTee:
		n = op.Length
	default:
		return 0, false
	}
	return min(n, maxTransfer), true
}

// full says that n, the result of an op that succeeded, is all that the op asked for, so that the op linked to it may
// start. The kernel's rule for the ring is the same (io_uring/rw.c kiocb_done, io_uring/splice.c).
func (op *Op) full(n int) bool {
	switch op.Kind {
	case KindSend, KindRecv, KindSendmsg, KindRecvmsg:
		if op.Flags&unix.MSG_WAITALL == 0 {
			return true // a message is what it is (io_uring/net.c, min_ret)
		}
	}
	want, ok := op.wanted()
	return !ok || int64(n) >= want
}

// arrive tells the buffer ring of a multishot receive that n bytes have come; flags are those of the completion.
func (op *Op) arrive(flags uint32, n int) error {
	if op.Provided == nil {
		return nil
	}
	return op.Provided.arrive(flags, n)
}
