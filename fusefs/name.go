//go:build linux

package fusefs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// creds are those to make a name with. A server that is not root has its own only. The kernel has checked permissions
// (default_permissions), supplementary groups included, so the backing file system is not asked a second time; it still
// gives the new inode the owner, group, quota and ACL that the caller's own call would have given.
func (fs *rawFS) creds(h *fuse.InHeader, mode uint32) uringbackend.Creds {
	if !fs.asRoot || h.Uid == fs.uid && h.Gid == fs.gid {
		return uringbackend.Creds{}
	}
	c := uringbackend.Creds{Valid: true, UID: h.Uid, GID: h.Gid, Checked: true}
	if mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
		// Only here do supplementary groups matter: whoever is not in the file's group does not get set-gid.
		c.Groups = groupsOf(h.Pid)
	}
	return c
}

// groupsOf reads the supplementary groups of a process that waits for us; none for one that is gone or in a pid namespace
// that we do not see.
func groupsOf(pid uint32) []uint32 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	var groups []uint32
	for line := range strings.Lines(string(b)) {
		list, ok := strings.CutPrefix(line, "Groups:")
		if !ok {
			continue
		}
		for s := range strings.FieldsSeq(list) {
			if g, err := strconv.ParseUint(s, 10, 32); err == nil {
				groups = append(groups, uint32(g))
			}
		}
	}
	return groups
}

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// createMode applies the caller's umask, which the kernel leaves to us (DONT_MASK) because it must not count where the
// directory has a default ACL. The process's own umask is 0 while mounted.
func (fs *rawFS) createMode(dir *uringbackend.Ref, mode, umask uint32) uint32 {
	if umask&0o777 == 0 || fs.hasDefaultACL(dir) {
		return mode
	}
	return mode &^ (umask & 0o777)
}

func (fs *rawFS) hasDefaultACL(dir *uringbackend.Ref) bool {
	dev := dir.ID().Dev
	if _, none := fs.noACL.Load(dev); none {
		return false
	}
	n, err := fs.view.Getxattr(whole(), dir, aclDefault, nil)
	if errors.Is(err, unix.EOPNOTSUPP) {
		fs.noACL.Store(dev, struct{}{})
	}
	return err == nil && n > 0
}

// entered fills out for a name just made; it takes ref.
func (fs *rawFS) entered(ref *uringbackend.Ref, st uringbackend.Stat, err error, out *fuse.EntryOut) fuse.Status {
	if err != nil {
		return fs.status(err)
	}
	fs.fillEntry(fs.nodes.enter(ref), st, out)
	return fuse.OK
}

// Mknod answers MKNOD.
func (fs *rawFS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	fs.count(opMknod)
	dir := fs.nodes.get(in.NodeId)
	if dir == nil {
		return stale
	}
	mode := fs.createMode(dir.ref, in.Mode, in.Umask)
	ref, st, err := fs.view.Mknod(whole(), dir.ref, name, mode, userDev(in.Rdev), fs.creds(&in.InHeader, mode))
	return fs.entered(ref, st, err, out)
}

// Mkdir answers MKDIR.
func (fs *rawFS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	fs.count(opMkdir)
	dir := fs.nodes.get(in.NodeId)
	if dir == nil {
		return stale
	}
	mode := fs.createMode(dir.ref, in.Mode&0o7777, in.Umask)
	ref, st, err := fs.view.Mkdir(whole(), dir.ref, name, mode, fs.creds(&in.InHeader, mode))
	return fs.entered(ref, st, err, out)
}

// Symlink answers SYMLINK.
func (fs *rawFS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	fs.count(opSymlink)
	dir := fs.nodes.get(h.NodeId)
	if dir == nil {
		return stale
	}
	ref, st, err := fs.view.Symlink(whole(), dir.ref, name, target, fs.creds(h, 0))
	return fs.entered(ref, st, err, out)
}

// Link answers LINK, also of a file that has no name yet.
func (fs *rawFS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	fs.count(opLink)
	dir, n := fs.nodes.get(in.NodeId), fs.nodes.get(in.Oldnodeid)
	if dir == nil || n == nil {
		return stale
	}
	st, err := fs.view.Link(whole(), n.ref, dir.ref, name)
	if err != nil {
		return fs.status(err)
	}
	fs.nodes.again(n)
	fs.fillEntry(n, st, out)
	return fuse.OK
}

// Unlink answers UNLINK.
func (fs *rawFS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	fs.count(opUnlink)
	dir := fs.nodes.get(h.NodeId)
	if dir == nil {
		return stale
	}
	return fs.status(fs.view.Unlink(whole(), dir.ref, name))
}

// Rmdir answers RMDIR.
func (fs *rawFS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	fs.count(opRmdir)
	dir := fs.nodes.get(h.NodeId)
	if dir == nil {
		return stale
	}
	return fs.status(fs.view.Rmdir(whole(), dir.ref, name))
}

// Rename answers RENAME and RENAME2; the flags are those of renameat2(2).
func (fs *rawFS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	fs.count(opRename)
	from, to := fs.nodes.get(in.NodeId), fs.nodes.get(in.Newdir)
	if from == nil || to == nil {
		return stale
	}
	return fs.status(fs.view.Rename(whole(), from.ref, oldName, to.ref, newName, in.Flags))
}
