package smbserver

import (
	"context"
	"errors"
	"syscall"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

const (
	// accessReserved are bits that make any CREATE fail, [MS-FSA] 2.1.5.1.
	accessReserved smb2.AccessMask = 0x0CE0FE00
	// accessWrite are the rights that a read-only volume never grants.
	accessWrite = smb2.FileWriteData | smb2.FileAppendData | smb2.FileWriteEA | smb2.FileDeleteChild |
		smb2.FileWriteAttributes | smb2.Delete | smb2.WriteDAC | smb2.WriteOwner
)

// dataAccess tells which data access of the Share the rights in mask stand for.
func dataAccess(mask smb2.AccessMask) (read, write bool) {
	return mask.HasAny(smb2.FileReadData | smb2.FileExecute), mask.HasAny(smb2.FileWriteData | smb2.FileAppendData)
}

// rightsOf is the reverse: what a user may do with a file whose data it can read, write, both or neither. Who may write
// a directory is known only when it tries; the answer there is optimistic, as NTFS's is for inherited rights.
func rightsOf(a Attr, read, write bool) smb2.AccessMask {
	mask := smb2.FileAllAccess
	if !read {
		mask &^= smb2.FileReadData | smb2.FileExecute
	}
	readonly := !a.Directory && a.Attributes&fscc.AttrReadonly != 0
	if !a.Directory && !write || readonly {
		mask &^= smb2.FileWriteData | smb2.FileAppendData
	}
	return mask
}

// refusedForAccess tells errors that mean "not with this access": asking for less may work.
func refusedForAccess(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EISDIR, syscall.ETXTBSY, syscall.EOPNOTSUPP, syscall.ENXIO, syscall.ELOOP,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// opener opens one path of a share for one user.
type opener struct {
	share  Share
	user   Identity
	path   string
	noLink bool // open a link itself, if the share can

	through bool          // see OpenParams
	pattern AccessPattern // see OpenParams
}

func (o opener) open(ctx context.Context, read, write bool) (File, error) {
	p := OpenParams{Path: o.path, Read: read, Write: write, User: o.user, Through: o.through, Pattern: o.pattern}
	if o.noLink {
		if l, ok := o.share.(LinkOpener); ok {
			return l.OpenLink(ctx, p)
		}
	}
	return o.share.Open(ctx, p)
}

// openExact opens with the data access that is asked for. A directory is opened for reading whatever is asked: POSIX does
// not open directories for writing, and the right to add to one is checked when something is added.
func (o opener) openExact(ctx context.Context, read, write bool) (File, error) {
	f, err := o.open(ctx, read, write)
	if write && errors.Is(err, syscall.EISDIR) {
		return o.open(ctx, true, false)
	}
	return f, err
}

// openMost opens with as much data access as the share gives, and says how much that is.
func (o opener) openMost(ctx context.Context) (f File, read, write bool, err error) {
	for _, try := range [...]struct{ read, write bool }{{true, true}, {true, false}, {false, true}} {
		f, err = o.open(ctx, try.read, try.write)
		if err == nil {
			return f, try.read, try.write, nil
		}
		if !refusedForAccess(err) {
			return nil, false, false, err
		}
	}
	f, err = o.open(ctx, false, false)
	return f, false, false, err
}

// maximal finds out what the user may do with the file at most: the answer to MxAc and to MAXIMUM_ALLOWED alike.
func (o opener) maximal(ctx context.Context, a Attr, v VolumeInfo) smb2.AccessMask {
	f, read, write, err := o.openMost(ctx)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		read, write = false, false
	}
	mask := rightsOf(a, read, write)
	if v.ReadOnly {
		mask &^= accessWrite
	}
	return mask
}
