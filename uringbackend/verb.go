//go:build linux

package uringbackend

import (
	"fmt"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Kind names a verb. Each constant says which fields of Op its verb reads and what n means.
type Kind uint8

// Verbs for files and names. Descriptors that a verb acts on are real ones unless its comment says "which may be O_PATH".
const (
	kindInvalid Kind = iota
	// KindReadAt reads FD at Offset into Buf; Flags RWF_*. n: bytes, 0 at the end of file. pread(2), preadv2(2).
	KindReadAt
	// KindWriteAt writes Buf to FD at Offset; Flags RWF_* (RWF_APPEND ignores Offset). n: bytes. pwritev2(2).
	KindWriteAt
	// KindReadvAt is KindReadAt into Bufs, at most 1024 of them.
	KindReadvAt
	// KindWritevAt is KindWriteAt from Bufs, at most 1024 of them.
	KindWritevAt
	// KindFsync makes FD durable; Flags 1: data only. fsync(2), fdatasync(2).
	KindFsync
	// KindOpenat2 opens Path beneath FD by How. n: the new descriptor, the caller's. openat2(2). Whether opening a
	// FIFO waits for its other end is not promised: the ring tries O_NONBLOCK first (io_uring/openclose.c
	// io_openat2), so it opens for reading at once and for writing reports ENXIO, unless O_CREAT is set too.
	KindOpenat2
	// KindClose closes FD. Never cancelled, never retried: the descriptor is gone even when it reports an error.
	KindClose
	// KindStatx fills Statx for Path beneath FD (or FD itself: AT_EMPTY_PATH in Flags); Mask STATX_*. statx(2).
	KindStatx
	// KindMkdirat makes directory Path beneath FD with mode Mask. mkdirat(2).
	KindMkdirat
	// KindMknodat makes node Path beneath FD with mode Mask (type included) and device Offset.
	KindMknodat
	// KindSymlinkat makes Path beneath FD a symbolic link to Path2. symlinkat(2).
	KindSymlinkat
	// KindLinkat links Path beneath FD (or FD itself, which may be O_PATH: empty Path) as Path2 beneath FD2; Flags
	// AT_*. linkat(2).
	KindLinkat
	// KindUnlinkat removes Path beneath FD; Flags AT_REMOVEDIR. unlinkat(2).
	KindUnlinkat
	// KindRenameat2 renames Path beneath FD to Path2 beneath FD2; Flags RENAME_*. renameat2(2).
	KindRenameat2
	// KindReadlinkat reads the link Path beneath FD (or FD itself, an O_PATH link: empty Path) into Buf. n: bytes.
	KindReadlinkat
	// KindFchmod sets the mode of FD, which may be O_PATH, to Mask.
	KindFchmod
	// KindFchown sets owner Mask and group Mask2 (-1: leave) of FD, which may be O_PATH, or of a link.
	KindFchown
	// KindUtimens sets Times (access, modification; UTIME_NOW, UTIME_OMIT) of FD, which may be O_PATH.
	KindUtimens
	// KindFtruncate sets the length of FD to Length. ftruncate(2).
	KindFtruncate
	// KindFallocate applies Flags FALLOC_FL_* to Length bytes of FD at Offset. fallocate(2).
	KindFallocate
	// KindGetdents reads directory entries of FD into Buf (struct linux_dirent64), GetdentsBuffer bytes best. n: bytes,
	// 0 at the end. getdents64(2); no kernel has an opcode for it.
	KindGetdents
	// KindFgetxattr reads attribute Path of FD into Buf. n: bytes; empty Buf asks the size. Mask ByMagicLink: FD may be
	// O_PATH. fgetxattr(2).
	KindFgetxattr
	// KindFsetxattr sets attribute Path of FD to Buf; Flags XATTR_*; Mask as in KindFgetxattr. fsetxattr(2).
	KindFsetxattr
	// KindFlistxattr lists attribute names of FD into Buf; Mask as in KindFgetxattr. n: bytes; empty Buf asks the size.
	KindFlistxattr
	// KindFremovexattr removes attribute Path of FD; Mask as in KindFgetxattr.
	KindFremovexattr
	// KindCopyFileRange copies Length bytes from FD at Offset to FD2 at Offset2. n: bytes.
	KindCopyFileRange
	// KindSeek moves FD's position to Offset by whence Mask (SEEK_DATA, SEEK_HOLE, …). n: the new position.
	KindSeek
	// KindFstatfs fills Statfs for the file system of FD, which may be O_PATH.
	KindFstatfs
	// KindSyncfs makes the file system of FD durable.
	KindSyncfs
	// KindNameToHandle fills Handle for Path beneath FD; Flags AT_*. n: the mount id.
	KindNameToHandle
	// KindOpenByHandle opens Handle on the mount of FD with Flags O_*. n: the new descriptor, the caller's.
	KindOpenByHandle
	// KindFlock applies Flags LOCK_SH, LOCK_EX or LOCK_UN to FD without waiting: EAGAIN when another holds it.
	KindFlock
	// KindOFDSetlk applies Lock to FD as an open-file-description lock without waiting: EAGAIN on conflict.
	KindOFDSetlk
	// KindOFDGetlk fills Lock with the first lock that conflicts with it, F_UNLCK if there is none.
	KindOFDGetlk
	// KindGetFlags reads the inode flags FS_*_FL of FD (FS_IOC_GETFLAGS). n: the flags.
	KindGetFlags
	// KindSetFlags sets the inode flags of FD to Flags (FS_IOC_SETFLAGS).
	KindSetFlags
	// KindSplice moves Length bytes from FD at Offset to FD2 at Offset2 by reference; one of them is a pipe and
	// takes offset -1; Flags SPLICE_F_*. n: bytes. splice(2). See Engine.Splice for what waits.
	KindSplice
	// KindReadahead starts reading Length bytes of FD at Offset into the page cache.
	KindReadahead
	// KindFadvise gives advice Mask POSIX_FADV_* for Length bytes of FD at Offset; Length 0: to the end.
	// posix_fadvise(2).
	KindFadvise
	// KindSyncFileRange starts or awaits writeback of Length bytes of FD at Offset, as Flags SYNC_FILE_RANGE_* say;
	// Length 0: to the end. It makes nothing durable by itself. sync_file_range(2).
	KindSyncFileRange
	// KindMadvise gives advice Mask MADV_* for the memory of Buf, which begins on a page. madvise(2).
	KindMadvise
	// KindTee duplicates up to Length bytes of the pipe FD into the pipe FD2, by reference, and consumes none; Flags
	// SPLICE_F_*. n: bytes. tee(2).
	KindTee
	// KindGetxattr reads attribute Path2 of the file Path, absolute or beneath the working directory, into Buf; links
	// are followed. n: bytes; empty Buf asks the size. getxattr(2).
	KindGetxattr
	// KindSetxattr sets attribute Path2 of the file Path, as KindGetxattr finds it, to Buf; Flags XATTR_*. setxattr(2).
	KindSetxattr
	// KindCachestat fills Cachestat for Length bytes of FD at Offset; Length 0: to the end. cachestat(2).
	KindCachestat
	// KindDetach takes Length bytes of FD at Offset out of the page cache, dirty pages written back first, even where
	// pipes or sockets hold references to them. FD is open for writing with O_DIRECT. See Engine.Detach.
	KindDetach
)

// Verbs for sockets and other things that wait for a peer; see sock.go and poll.go.
const (
	// KindSend sends Buf on the socket FD; Flags MSG_*. n: bytes. send(2).
	KindSend Kind = iota + KindDetach + 1
	// KindRecv receives into Buf from the socket FD; Flags MSG_*. n: bytes, 0 at the end of the stream. recv(2).
	KindRecv
	// KindSendmsg is KindSend of Bufs, at most 1024 of them. sendmsg(2).
	KindSendmsg
	// KindRecvmsg is KindRecv into Bufs, at most 1024 of them. recvmsg(2).
	KindRecvmsg
	// KindSendZC is KindSend without a copy. Two reports: n bytes, then, when the kernel has let go of Buf, n 1 if it
	// copied after all, else 0.
	KindSendZC
	// KindSendmsgZC is KindSendmsg without a copy, reported as KindSendZC.
	KindSendmsgZC
	// KindRecvMulti receives from the socket FD into Provided, reporting each time; n: bytes. See Engine.RecvMulti.
	KindRecvMulti
	// KindAccept takes a connection from the listening socket FD; Mask Multishot: again and again. n: the new
	// descriptor, the caller's. accept4(2).
	KindAccept
	// KindShutdown ends direction Mask SHUT_* of the socket FD. shutdown(2).
	KindShutdown
	// KindPoll waits for events Mask POLL* of FD; Flags Multishot: again and again. n: those that hold. poll(2).
	KindPoll

	kinds
)

// verb is one row: the name used by --faults, counters and traces, and the two ways to carry the verb out.
type verb struct {
	name   string
	ring   ringHalf
	direct func(f *Features, op *Op) (int, error)
	// held replaces direct for a verb that needs what the engine keeps.
	held func(s *syscalls, op *Op) (int, error)
}

// ringHalf prepares a submission. A verb without one names the reason in absent instead.
type ringHalf struct {
	opcode uring.Opcode
	prep   func(s *slot, op *Op, sqe *uring.SQE) error
	absent string
	// suits says whether the opcode can carry this op out as the system call would; others go by the syscall half and
	// are no fallbacks. nil: it suits every op.
	suits func(op *Op) bool
}

// syscallOnly marks a row whose ring half does not exist; such a row is never a fallback.
var syscallOnly = ringHalf{absent: "syscall"}

var verbs = [kinds]verb{
	KindReadAt:   {name: "read_at", ring: ringHalf{opcode: uring.OpRead, prep: prepReadAt, suits: suitsRead}, direct: directReadAt},
	KindWriteAt:  {name: "write_at", ring: ringHalf{opcode: uring.OpWrite, prep: prepWriteAt, suits: suitsWrite}, direct: directWriteAt},
	KindReadvAt:  {name: "readv_at", ring: ringHalf{opcode: uring.OpReadv, prep: prepReadvAt, suits: suitsRead}, direct: directReadvAt},
	KindWritevAt: {name: "writev_at", ring: ringHalf{opcode: uring.OpWritev, prep: prepWritevAt, suits: suitsWrite}, direct: directWritevAt},
	KindFsync:    {name: "fsync", ring: ringHalf{opcode: uring.OpFsync, prep: prepFsync}, direct: directFsync},
	KindOpenat2:  {name: "openat2", ring: ringHalf{opcode: uring.OpOpenat2, prep: prepOpenat2}, direct: directOpenat2},
	KindClose:    {name: "close", ring: ringHalf{opcode: uring.OpClose, prep: prepClose}, direct: directClose},
	KindStatx:    {name: "statx", ring: ringHalf{opcode: uring.OpStatx, prep: prepStatx}, direct: directStatx},

	KindMkdirat:       {name: "mkdirat", ring: ringHalf{opcode: uring.OpMkdirat, prep: prepMkdirat}, direct: directMkdirat},
	KindMknodat:       {name: "mknodat", ring: syscallOnly, direct: directMknodat},
	KindSymlinkat:     {name: "symlinkat", ring: ringHalf{opcode: uring.OpSymlinkat, prep: prepSymlinkat}, direct: directSymlinkat},
	KindLinkat:        {name: "linkat", ring: ringHalf{opcode: uring.OpLinkat, prep: prepLinkat}, direct: directLinkat},
	KindUnlinkat:      {name: "unlinkat", ring: ringHalf{opcode: uring.OpUnlinkat, prep: prepUnlinkat}, direct: directUnlinkat},
	KindRenameat2:     {name: "renameat2", ring: ringHalf{opcode: uring.OpRenameat, prep: prepRenameat2}, direct: directRenameat2},
	KindReadlinkat:    {name: "readlinkat", ring: syscallOnly, direct: directReadlinkat},
	KindFchmod:        {name: "fchmod", ring: syscallOnly, direct: directFchmod},
	KindFchown:        {name: "fchown", ring: syscallOnly, direct: directFchown},
	KindUtimens:       {name: "utimens", ring: syscallOnly, direct: directUtimens},
	KindFtruncate:     {name: "ftruncate", ring: ringHalf{opcode: uring.OpFtruncate, prep: prepFtruncate, suits: suitsFtruncate}, direct: directFtruncate},
	KindFallocate:     {name: "fallocate", ring: ringHalf{opcode: uring.OpFallocate, prep: prepFallocate}, direct: directFallocate},
	KindGetdents:      {name: "getdents", ring: syscallOnly, direct: directGetdents},
	KindFgetxattr:     {name: "fgetxattr", ring: ringHalf{opcode: uring.OpFgetxattr, prep: prepFgetxattr}, direct: directFgetxattr},
	KindFsetxattr:     {name: "fsetxattr", ring: ringHalf{opcode: uring.OpFsetxattr, prep: prepFsetxattr}, direct: directFsetxattr},
	KindFlistxattr:    {name: "flistxattr", ring: syscallOnly, direct: directFlistxattr},
	KindFremovexattr:  {name: "fremovexattr", ring: syscallOnly, direct: directFremovexattr},
	KindCopyFileRange: {name: "copy_file_range", ring: syscallOnly, direct: directCopyFileRange},
	KindSeek:          {name: "seek", ring: syscallOnly, direct: directSeek},
	KindFstatfs:       {name: "fstatfs", ring: syscallOnly, direct: directFstatfs},
	KindSyncfs:        {name: "syncfs", ring: syscallOnly, direct: directSyncfs},
	KindNameToHandle:  {name: "name_to_handle_at", ring: syscallOnly, direct: directNameToHandle},
	KindOpenByHandle:  {name: "open_by_handle_at", ring: syscallOnly, direct: directOpenByHandle},
	KindFlock:         {name: "flock", ring: syscallOnly, direct: directFlock},
	KindOFDSetlk:      {name: "ofd_setlk", ring: syscallOnly, direct: directOFDSetlk},
	KindOFDGetlk:      {name: "ofd_getlk", ring: syscallOnly, direct: directOFDGetlk},
	KindGetFlags:      {name: "get_flags", ring: syscallOnly, direct: directGetFlags},
	KindSetFlags:      {name: "set_flags", ring: syscallOnly, direct: directSetFlags},
	KindSplice:        {name: "splice", ring: ringHalf{opcode: uring.OpSplice, prep: prepSplice, suits: suitsSplice}, direct: directSplice},
	KindReadahead:     {name: "readahead", ring: ringHalf{opcode: uring.OpFadvise, prep: prepReadahead, suits: suitsShort}, direct: directReadahead},
	KindFadvise:       {name: "fadvise", ring: ringHalf{opcode: uring.OpFadvise, prep: prepFadvise, suits: suitsShort}, direct: directFadvise},

	KindSyncFileRange: {
		name: "sync_file_range", ring: ringHalf{opcode: uring.OpSyncFileRange, prep: prepSyncFileRange, suits: suitsShort},
		direct: directSyncFileRange,
	},
	KindMadvise:   {name: "madvise", ring: ringHalf{opcode: uring.OpMadvise, prep: prepMadvise, suits: suitsMadvise}, direct: directMadvise},
	KindTee:       {name: "tee", ring: ringHalf{opcode: uring.OpTee, prep: prepTee, suits: suitsSplice}, direct: directTee},
	KindGetxattr:  {name: "getxattr", ring: ringHalf{opcode: uring.OpGetxattr, prep: prepGetxattr}, direct: directGetxattr},
	KindSetxattr:  {name: "setxattr", ring: ringHalf{opcode: uring.OpSetxattr, prep: prepSetxattr}, direct: directSetxattr},
	KindCachestat: {name: "cachestat", ring: syscallOnly, direct: directCachestat},
	KindDetach:    {name: "detach", ring: syscallOnly, held: (*syscalls).detach},

	KindSend:      {name: "send", ring: ringHalf{opcode: uring.OpSend, prep: prepSend}, direct: directSend},
	KindRecv:      {name: "recv", ring: ringHalf{opcode: uring.OpRecv, prep: prepRecv}, direct: directRecv},
	KindSendmsg:   {name: "sendmsg", ring: ringHalf{opcode: uring.OpSendmsg, prep: prepSendmsg}, direct: directSendmsg},
	KindRecvmsg:   {name: "recvmsg", ring: ringHalf{opcode: uring.OpRecvmsg, prep: prepRecvmsg}, direct: directRecvmsg},
	KindSendZC:    {name: "send_zc", ring: ringHalf{opcode: uring.OpSendZC, prep: prepSendZC}, direct: directSend},
	KindSendmsgZC: {name: "sendmsg_zc", ring: ringHalf{opcode: uring.OpSendmsgZC, prep: prepSendmsgZC}, direct: directSendmsg},
	KindRecvMulti: {name: "recv_multi", ring: ringHalf{opcode: uring.OpRecv, prep: prepRecvMulti}, direct: directRecvMulti},
	KindAccept:    {name: "accept", ring: ringHalf{opcode: uring.OpAccept, prep: prepAccept}, direct: directAccept},
	KindShutdown:  {name: "shutdown", ring: ringHalf{opcode: uring.OpShutdown, prep: prepShutdown}, direct: directShutdown},
	KindPoll:      {name: "poll", ring: ringHalf{opcode: uring.OpPollAdd, prep: prepPoll}, direct: directPoll},
}

// String is the verb's name, as used by fault plans, counters and traces.
func (k Kind) String() string {
	if !k.valid() {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return verbs[k].name
}

func (k Kind) valid() bool { return k > kindInvalid && k < kinds }

// Kinds returns every verb, in table order.
func Kinds() []Kind {
	all := make([]Kind, 0, kinds-1)
	for k := kindInvalid + 1; k < kinds; k++ {
		all = append(all, k)
	}
	return all
}

// RingHalf says whether the verb has a ring half at all; whether a kernel has its opcode is what Features.Opcode says.
func (k Kind) RingHalf() bool { return k.valid() && verbs[k].ring.absent == "" }
