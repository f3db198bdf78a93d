//go:build linux

package fusefs

import (
	"bytes"
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// GetXAttr answers GETXATTR; an empty dest asks for the size.
func (fs *rawFS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	fs.count(opGetxattr)
	n := fs.nodes.get(h.NodeId)
	if n == nil {
		return 0, stale
	}
	size, err := fs.view.Getxattr(whole(), n.ref, name, dest)
	return uint32(max(size, 0)), fs.status(err)
}

// ListXAttr answers LISTXATTR; an empty dest asks for the size.
func (fs *rawFS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	fs.count(opListxattr)
	n := fs.nodes.get(h.NodeId)
	if n == nil {
		return 0, stale
	}
	if !fs.asRoot || h.Uid == 0 {
		size, err := fs.view.Listxattr(whole(), n.ref, dest)
		return uint32(max(size, 0)), fs.status(err)
	}
	// We see more than the caller may: the names of trusted attributes are for root's eyes, xattr(7).
	names, err := fs.allXattrs(n.ref)
	if err != nil {
		return 0, fs.status(err)
	}
	var visible []byte
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) > 0 && !bytes.HasPrefix(name, []byte("trusted.")) {
			visible = append(append(visible, name...), 0)
		}
	}
	if len(dest) == 0 {
		return uint32(len(visible)), fuse.OK
	}
	if len(dest) < len(visible) {
		return uint32(len(visible)), fuse.ERANGE
	}
	return uint32(copy(dest, visible)), fuse.OK
}

// allXattrs lists the names of an inode, each ended by a zero byte.
func (fs *rawFS) allXattrs(ref *uringbackend.Ref) ([]byte, error) {
	for {
		size, err := fs.view.Listxattr(whole(), ref, nil)
		if err != nil || size == 0 {
			return nil, err
		}
		names := make([]byte, size)
		size, err = fs.view.Listxattr(whole(), ref, names)
		if errors.Is(err, unix.ERANGE) {
			continue // it grew in between
		}
		if err != nil {
			return nil, err
		}
		return names[:size], nil
	}
}

// SetXAttr answers SETXATTR.
func (fs *rawFS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	fs.count(opSetxattr)
	n := fs.nodes.get(in.NodeId)
	if n == nil {
		return stale
	}
	if err := fs.view.Setxattr(whole(), n.ref, name, data, int(in.Flags)); err != nil {
		return fs.status(err)
	}
	if name == aclAccess && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		return fs.status(fs.killSgid(n.ref))
	}
	return fuse.OK
}

// killSgid does what chmod(2) by somebody outside of the file's group does: an ACL sets permission bits too.
func (fs *rawFS) killSgid(ref *uringbackend.Ref) error {
	st, err := fs.view.Stat(whole(), ref)
	if err != nil || st.Mode&unix.S_ISGID == 0 {
		return err
	}
	mode := st.Mode & 0o7777 &^ unix.S_ISGID
	_, err = fs.view.SetAttr(whole(), ref, uringbackend.SetAttr{Mode: &mode})
	return err
}

// RemoveXAttr answers REMOVEXATTR.
func (fs *rawFS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	fs.count(opRemovexattr)
	n := fs.nodes.get(h.NodeId)
	if n == nil {
		return stale
	}
	return fs.status(fs.view.Removexattr(whole(), n.ref, name))
}
