//go:build linux

package fusefs

// op is a kind of request, counted where it enters.
type op uint8

const (
	opLookup op = iota
	opForget
	opGetattr
	opSetattr
	opReadlink
	opSymlink
	opMknod
	opMkdir
	opUnlink
	opRmdir
	opRename
	opLink
	opOpen
	opRead
	opWrite
	opStatfs
	opRelease
	opFsync
	opSetxattr
	opGetxattr
	opListxattr
	opRemovexattr
	opFlush
	opOpendir
	opReaddir
	opReaddirplus
	opReleasedir
	opFsyncdir
	opGetlk
	opSetlk
	opSetlkw
	opAccess
	opCreate
	opIoctl
	opFallocate
	opLseek
	opCopyFileRange
	opTmpfile
	opStatx
	opCount
)

// opNames are the protocol's names.
var opNames = [opCount]string{
	opLookup: "LOOKUP", opForget: "FORGET", opGetattr: "GETATTR", opSetattr: "SETATTR", opReadlink: "READLINK",
	opSymlink: "SYMLINK", opMknod: "MKNOD", opMkdir: "MKDIR", opUnlink: "UNLINK", opRmdir: "RMDIR", opRename: "RENAME",
	opLink: "LINK", opOpen: "OPEN", opRead: "READ", opWrite: "WRITE", opStatfs: "STATFS", opRelease: "RELEASE",
	opFsync: "FSYNC", opSetxattr: "SETXATTR", opGetxattr: "GETXATTR", opListxattr: "LISTXATTR",
	opRemovexattr: "REMOVEXATTR", opFlush: "FLUSH", opOpendir: "OPENDIR", opReaddir: "READDIR",
	opReaddirplus: "READDIRPLUS", opReleasedir: "RELEASEDIR", opFsyncdir: "FSYNCDIR", opGetlk: "GETLK", opSetlk: "SETLK",
	opSetlkw: "SETLKW", opAccess: "ACCESS", opCreate: "CREATE", opIoctl: "IOCTL", opFallocate: "FALLOCATE",
	opLseek: "LSEEK", opCopyFileRange: "COPY_FILE_RANGE", opTmpfile: "TMPFILE", opStatx: "STATX",
}

func (fs *rawFS) count(o op) { fs.counts[o].Add(1) }

// Stats is what a mount has done so far. Counters are read one by one: they are exact, but not of one instant.
type Stats struct {
	Requests     map[string]uint64 `json:"requests"`      // by FUSE operation; those that never came are left out
	BytesRead    uint64            `json:"bytes_read"`    // sent in READ replies
	BytesWritten uint64            `json:"bytes_written"` // accepted by WRITE
	Nodes        int               `json:"nodes"`         // inodes that the kernel holds, the root included
	OpenFiles    int               `json:"open_files"`    // open files and directories
	Notified     uint64            `json:"notified"`      // invalidations sent to the kernel
	EventsLost   uint64            `json:"events_lost"`   // changes that did not fit the queue; each loss drops all caches
}

func (fs *rawFS) stats() Stats {
	s := Stats{
		Requests:  make(map[string]uint64),
		BytesRead: fs.bytesRead.Load(), BytesWritten: fs.bytesWritten.Load(),
		Nodes: fs.nodes.count(), OpenFiles: fs.files.count(),
	}
	for i := range fs.counts {
		if n := fs.counts[i].Load(); n > 0 {
			s.Requests[opNames[i]] = n
		}
	}
	return s
}
