package smbserver

import (
	"context"
	"time"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/smbserver/datapath"
)

// FileAttributes is the attribute mask of [MS-FSCC] 2.6. The alias lets a Share outside this module name it.
type FileAttributes = fscc.FileAttributes

// Share is the storage seam: one exported tree. No SMB message crosses it downwards, no descriptor upwards.
//
// All methods may be called from any number of goroutines at once. An error wraps a syscall.Errno, so that the one table
// in status.go can map it; [Share.Open], [File.Rename] and [File.Link] say in a [PathError] which component failed.
// A cancelled context ends an operation only when nothing uses the caller's memory any more.
type Share interface {
	// Open opens an existing file or, with p.Create, makes a new one exclusively (EEXIST if there is one).
	// It never truncates: the server does that by SetAttr after its share-mode check.
	Open(ctx context.Context, p OpenParams) (File, error)
	// Statfs describes the file system below the share's root.
	Statfs(ctx context.Context) (VolumeInfo, error)
	// Close releases the share. The owner of the Share calls it, after the servers that used it are shut down.
	Close() error
}

// OpenParams says what [Share.Open] opens and for whom.
type OpenParams struct {
	// Path is relative to the share's root, '/'-separated; "" is the root. The server has validated its components:
	// never ".", "..", empty, and never with NUL or '/'.
	Path string
	// Read and Write ask for data access. Neither: attributes only, an open that works on unreadable files, FIFOs
	// and sockets, and never blocks.
	Read, Write bool
	// Create makes a new object, exclusively; Directory then makes a directory.
	Create, Directory bool
	// Attributes are those of a new file; what the store cannot keep is dropped.
	Attributes FileAttributes
	// Through makes every write and change of size through the File return only when it is on stable storage.
	Through bool
	// Pattern is a hint.
	Pattern AccessPattern
	// User is who asks.
	User Identity
}

// AccessPattern is how a client says that it will use a file. A hint: it changes no result.
type AccessPattern uint8

// Access patterns. The zero value: the client did not say, or said both.
const (
	PatternUnknown AccessPattern = iota
	PatternSequential
	PatternRandom
)

// Identity is an authenticated user. The zero value is nobody and owns no session.
type Identity struct {
	User, Domain string // as the client sent them
	Guest        bool   // not authenticated; served because the configuration lets guests in
	Anonymous    bool   // a guest that gave no name at all
}

// FileID names a file within a share. It is the key of the share-mode table and answers FileInternalInformation, so two
// live files of one share never have the same one, and a file keeps it across renames.
type FileID struct{ Volume, Inode, Generation uint64 }

// Attr is what a Share knows about a file.
type Attr struct {
	ID         FileID
	Size       int64 // bytes
	Allocation int64 // bytes of data blocks, not of extended attributes
	// Zero times are not known.
	Created, Accessed, Written, Changed time.Time
	Attributes                          FileAttributes
	Links                               uint32
	Directory, Symlink                  bool
}

// SetAttr is a set of changes; nil leaves a property as it is. The changes of one call need not be atomic together.
type SetAttr struct {
	Size, Allocation                    *int64 // bytes; Allocation below Size truncates, above it reserves
	Created, Accessed, Written, Changed *time.Time
	Attributes                          *FileAttributes
}

// WriteOptions modify one [File.WriteAt].
type WriteOptions struct {
	Append  bool // write at the end of file, whatever the offset
	Through bool // return when the data is on stable storage
	// Uncached is a hint that the data need not stay in a cache.
	Uncached bool
}

// DirEntry is one name of a directory.
type DirEntry struct {
	Name   string
	Cookie uint64 // hand it to ReadDir to go on after this entry; never 0
	// Attr reads the entry's attributes. It is valid only during the callback it was handed to. An entry whose error
	// says that it is gone, or hidden, is left out of the listing; any other error ends the listing.
	Attr func(ctx context.Context) (Attr, error)
}

// ByteRange is Length bytes from Offset on.
type ByteRange struct{ Offset, Length int64 }

// VolumeInfo describes the file system of a share.
type VolumeInfo struct {
	Label                                string
	Serial                               uint32
	Created                              time.Time
	BlockSize                            uint32 // bytes: the unit of the counts below
	TotalBlocks, FreeBlocks, AvailBlocks uint64
	MaxComponent                         uint32 // longest name, in UTF-16 code units
	FileSystem                           string // what clients are told; "NTFS" is what they know best
	CaseSensitive, Sparse, ReadOnly      bool
}

// File is an open file or directory of a Share. All methods but Close may be called concurrently; the server calls Close
// once, when no other call is running.
type File interface {
	// ID never changes and does no I/O.
	ID() FileID
	Attr(ctx context.Context) (Attr, error)
	// SetAttr answers EOPNOTSUPP for what cannot be stored.
	SetAttr(ctx context.Context, s SetAttr) error
	// ReadAt borrows p. It is short only at the end of file; at or past it (0, nil).
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	// WriteAt borrows p and writes all of it or returns an error.
	WriteAt(ctx context.Context, p []byte, off int64, o WriteOptions) (int, error)
	// Sync returns when data and metadata are on stable storage.
	Sync(ctx context.Context) error
	// ReadDir calls fn for each entry after cookie (0: from the start) until fn returns false or there are no more.
	// "." and ".." are not included. Entries made or removed meanwhile may be seen or not; others are seen once.
	ReadDir(ctx context.Context, cookie uint64, fn func(DirEntry) bool) error
	// Rename moves the name the file was opened by; EEXIST if !replace and there is one.
	Rename(ctx context.Context, newPath string, replace bool) error
	// Link adds a name; EEXIST if !replace and there is one.
	Link(ctx context.Context, newPath string, replace bool) error
	// Remove removes the name the file was opened by if that still names this file (ENOENT or ESTALE otherwise);
	// ENOTEMPTY for a directory with entries.
	Remove(ctx context.Context) error
	// Path is the current path, in the form of [OpenParams.Path].
	Path() string
	Close() error
}

// Optional abilities of a File, found by type assertion.
type (
	// Zeroer zeroes a range, by a hole where it can (FSCTL_SET_ZERO_DATA). The size does not change.
	Zeroer interface {
		ZeroRange(ctx context.Context, off, n int64) error
	}
	// Sparser keeps the sparse attribute and knows which ranges hold data.
	Sparser interface {
		SetSparse(ctx context.Context, on bool) error
		AllocatedRanges(ctx context.Context, off, n int64) ([]ByteRange, error)
	}
	// Uncacher reads as ReadAt does and leaves nothing in a cache that was not there before. A hint: where it cannot be
	// done, it is ReadAt.
	Uncacher interface {
		ReadUncached(ctx context.Context, p []byte, off int64) (int, error)
	}
	// Referencer lends file content by reference; see [datapath.Referencer].
	Referencer = datapath.Referencer
	// Payload is file content held by reference; see [datapath.Payload].
	Payload = datapath.Payload
)

// Component tells which part of a path an error is about.
type Component uint8

// Components of a path. The zero value is invalid.
const (
	Parent Component = 1 + iota // a directory on the way: STATUS_OBJECT_PATH_NOT_FOUND
	Last                        // the object itself: STATUS_OBJECT_NAME_NOT_FOUND
)

// String names the component.
func (c Component) String() string {
	switch c {
	case Parent:
		return "parent"
	case Last:
		return "last"
	default:
		return "invalid component"
	}
}

// PathError is an error of a path operation, with the component that failed.
type PathError struct {
	Component Component
	Err       error // wraps a syscall.Errno
}

// Error names the component, not the path: paths do not belong in logs.
func (e *PathError) Error() string { return e.Component.String() + " component: " + e.Err.Error() }

// Unwrap returns Err.
func (e *PathError) Unwrap() error { return e.Err }
