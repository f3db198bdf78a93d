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
	// Creds, for verbs that resolve a path or act on an inode, are whose credentials the kernel sees; nil: the
	// process's own. The umask is 0 for such an op, also where the zero Creds stand for the process's. KindClose
	// does not look at it.
	Creds *Creds
	// Timeout, if not 0, is how long the op may take from its submission. Then it is given up like a cancelled one
	// and reports ETIME, or its result if it completed all the same.
	Timeout time.Duration
	// Link makes the next op of the same Submit start only when this one has succeeded in full: without an error
	// and, for a transfer, without being short. Otherwise the next one, and all linked after it, report ECANCELED.
	Link bool
	// Drain makes the op start only when all ops before it in the same Submit have reported.
	Drain bool
	// Async is a hint that the op will block, so that a ring hands it to a worker without trying first
	// (IOSQE_ASYNC). It changes no result.
	Async bool
}
