//go:build linux

package dirshare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// xattrDOS holds what POSIX has no place for, as text: `1 ATTRIBUTES CREATED`, hexadecimal attributes and the
// creation time in nanoseconds of Unix time, 0 for none.
const xattrDOS = "user.uringfs.dos"

const attributeReadOnly = fscc.AttrReadonly

// storable are the attributes kept in xattrDOS; the others follow from the inode.
const storable = fscc.AttrHidden | fscc.AttrSystem | fscc.AttrArchive | fscc.AttrSparseFile |
	fscc.AttrNotContentIndexed | fscc.AttrOffline | fscc.AttrTemporary

const storableSparse = fscc.AttrSparseFile

// storedSize is room for it, bytes.
const storedSize = 64

// stored is the content of xattrDOS.
type stored struct {
	attributes smbserver.FileAttributes
	created    time.Time // zero: the inode's birth time counts
}

// load reads xattrDOS; a file without it, or with one that makes no sense, has the zero value.
func (s *Share) load(ctx context.Context, ref *uringbackend.Ref) stored {
	var buf [storedSize]byte
	n, err := s.view.Getxattr(ctx, ref, xattrDOS, buf[:])
	if err != nil {
		return stored{}
	}
	return parseStored(buf[:n])
}

func parseStored(text []byte) stored {
	var d stored
	var created int64
	if _, err := fmt.Sscanf(string(text), "1 %x %d", (*uint32)(&d.attributes), &created); err != nil {
		return stored{}
	}
	d.attributes &= storable
	if created != 0 {
		d.created = time.Unix(0, created)
	}
	return d
}

// store writes xattrDOS, or removes it where there is nothing to say. EOPNOTSUPP: this file system has no place for it.
func (s *Share) store(ctx context.Context, ref *uringbackend.Ref, d stored) error {
	if d.attributes == 0 && d.created.IsZero() {
		err := s.view.Removexattr(ctx, ref, xattrDOS)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return err
	}
	var created int64
	if !d.created.IsZero() {
		created = d.created.UnixNano()
	}
	text := fmt.Appendf(nil, "1 %x %d", uint32(d.attributes), created)
	return s.view.Setxattr(ctx, ref, xattrDOS, text, 0)
}

func attr(st uringbackend.Stat, d stored) smbserver.Attr {
	a := smbserver.Attr{
		ID: fileID(st.ID), Size: st.Size, Allocation: st.Blocks * 512, Links: st.Nlink,
		Created: st.Btime, Accessed: st.Atime, Written: st.Mtime, Changed: st.Ctime, Attributes: d.attributes,
	}
	if !d.created.IsZero() {
		a.Created = d.created
	}
	if a.Created.IsZero() { // no birth time here: the earliest moment the file is known to have existed
		a.Created = st.Mtime
		if st.Ctime.Before(a.Created) {
			a.Created = st.Ctime
		}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		a.Directory, a.Size, a.Allocation = true, 0, 0
		a.Attributes |= fscc.AttrDirectory
	case unix.S_IFLNK:
		a.Symlink = true
		a.Attributes |= fscc.AttrReparsePoint
	}
	if !a.Directory && st.Mode&0o222 == 0 {
		a.Attributes |= fscc.AttrReadonly
	}
	if a.Attributes == 0 {
		a.Attributes = fscc.AttrNormal
	}
	return a
}

// setAttr applies everything but Size and Allocation to ref.
func (s *Share) setAttr(ctx context.Context, ref *uringbackend.Ref, set smbserver.SetAttr) error {
	if set.Changed != nil {
		return fmt.Errorf("change time: %w", unix.EOPNOTSUPP) // the kernel's own
	}
	var change uringbackend.SetAttr
	change.Atime, change.Mtime = set.Accessed, set.Written
	if set.Attributes != nil && ref.Type() != unix.S_IFDIR {
		st, err := s.view.Stat(ctx, ref)
		if err != nil {
			return err
		}
		mode, readOnly := st.Mode&0o7777, *set.Attributes&attributeReadOnly != 0
		switch {
		case readOnly && mode&0o222 != 0:
			mode &^= 0o222
			change.Mode = &mode
		case !readOnly && mode&0o222 == 0:
			mode |= s.cfg.FileMode & 0o222
			change.Mode = &mode
		}
	}
	if set.Attributes != nil || set.Created != nil {
		d := s.load(ctx, ref)
		was := d
		if set.Attributes != nil {
			d.attributes = *set.Attributes&storable | was.attributes&fscc.AttrSparseFile // set by its own request
		}
		if set.Created != nil {
			d.created = *set.Created
		}
		if d != was {
			if err := s.store(ctx, ref, d); err != nil {
				return fmt.Errorf("attributes: %w", err)
			}
		}
	}
	if change.Atime == nil && change.Mtime == nil && change.Mode == nil {
		return nil
	}
	_, err := s.view.SetAttr(ctx, ref, change)
	return err
}
