//go:build linux

package fusefs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// rawFS answers FUSE requests from a Volume. Safe for concurrent use; one per mount.
type rawFS struct {
	fuse.RawFileSystem // answers ENOSYS to what is not defined here

	// Immutable after newRawFS.
	vol       *uringbackend.Volume
	view      *uringbackend.View
	log       *slog.Logger
	asRoot    bool // the server may act for every caller
	uid, gid  uint32
	rootDev   uint64
	coherence Coherence

	// Immutable after Init.
	ttl  time.Duration // of names and attributes
	keep bool          // pages survive an open: only where changes are notified

	nodes *nodeTable
	files fileTable

	counts       [opCount]atomic.Uint64
	bytesRead    atomic.Uint64
	bytesWritten atomic.Uint64
	noACL        sync.Map // st_dev → struct{}: the backing knows no POSIX ACLs
}

// newRawFS serves cfg.View.
func newRawFS(cfg Config) *rawFS {
	root := cfg.View.Root()
	fs := &rawFS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		vol:           cfg.Volume, view: cfg.View, log: cfg.Logger,
		asRoot: os.Geteuid() == 0, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		rootDev: root.ID().Dev, coherence: cfg.Coherence,
		nodes: newNodeTable(root, cfg.Logger),
	}
	fs.files.open = make(map[uint64]*file)
	return fs
}

// String names the file system type: "fuse.uringfs".
func (fs *rawFS) String() string { return "uringfs" }

// interruption is the context of an operation that may wait without bound: it ends when the kernel interrupts the
// request. A channel is a pointer, so making one costs nothing.
type interruption <-chan struct{}

func (i interruption) Deadline() (time.Time, bool) { return time.Time{}, false }
func (i interruption) Done() <-chan struct{}       { return i }
func (i interruption) Value(any) any               { return nil }
func (i interruption) Err() error {
	select {
	case <-i:
		return context.Canceled
	default:
		return nil
	}
}

// whole is the context of everything else. An interrupted stat, read or create on a local file system finishes all the
// same, and programs rely on it: a Go program under load is interrupted all the time, by its own scheduler.
func whole() context.Context { return context.Background() }

// status finds the errno in err.
func (fs *rawFS) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		if errno == unix.ECANCELED {
			return fuse.EINTR
		}
		return fuse.Status(errno)
	case errors.Is(err, context.Canceled):
		return fuse.EINTR
	}
	fs.log.Error("error without an errno", "err", err)
	return fuse.EIO
}

// stale answers a request for a node that the kernel cannot know.
const stale = fuse.Status(syscall.ESTALE)

// Lookup answers LOOKUP.
func (fs *rawFS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	fs.count(opLookup)
	dir := fs.nodes.get(h.NodeId)
	if dir == nil {
		return stale
	}
	ref, st, err := fs.view.Lookup(whole(), dir.ref, name)
	if err != nil {
		return fs.status(err)
	}
	fs.fillEntry(fs.nodes.enter(ref), st, out)
	return fuse.OK
}

// Forget answers FORGET and each part of BATCH_FORGET.
func (fs *rawFS) Forget(id, count uint64) {
	fs.count(opForget)
	fs.nodes.forget(id, count)
}

// GetAttr answers GETATTR.
func (fs *rawFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.count(opGetattr)
	st, code := fs.stat(in.NodeId, in.Fh(), in.Flags()&fuse.FUSE_GETATTR_FH != 0)
	if code.Ok() {
		fs.fillAttr(st, &out.Attr)
		out.SetTimeout(fs.ttl)
	}
	return code
}

// stat asks the handle when there is one: it names the file even where the node's descriptor would have to be reopened.
func (fs *rawFS) stat(id, fh uint64, hasFh bool) (uringbackend.Stat, fuse.Status) {
	if hasFh {
		if f := fs.files.get(fh); f != nil {
			st, err := f.h.Stat(whole())
			return st, fs.status(err)
		}
	}
	n := fs.nodes.get(id)
	if n == nil {
		return uringbackend.Stat{}, stale
	}
	st, err := fs.view.Stat(whole(), n.ref)
	return st, fs.status(err)
}

// Statx answers STATX: GETATTR with birth time and attribute bits.
func (fs *rawFS) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	fs.count(opStatx)
	st, code := fs.stat(in.NodeId, in.Fh, in.GetattrFlags&fuse.FUSE_GETATTR_FH != 0)
	if !code.Ok() {
		return code
	}
	out.SetTimeout(fs.ttl)
	x := &out.Statx
	x.Mask = unix.STATX_BASIC_STATS
	x.Blksize, x.Nlink, x.Uid, x.Gid, x.Mode = st.Blksize, st.Nlink, st.UID, st.GID, uint16(st.Mode)
	x.Attributes, x.AttributesMask = st.Attributes, st.AttributesMask
	x.Ino, x.Size, x.Blocks = fs.ino(st.ID), uint64(st.Size), uint64(st.Blocks)
	x.Atime, x.Mtime, x.Ctime = sxTime(st.Atime), sxTime(st.Mtime), sxTime(st.Ctime)
	if !st.Btime.IsZero() {
		x.Mask |= unix.STATX_BTIME
		x.Btime = sxTime(st.Btime)
	}
	x.RdevMajor, x.RdevMinor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	return fuse.OK
}

// SetAttr answers SETATTR.
func (fs *rawFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.count(opSetattr)
	n := fs.nodes.get(in.NodeId)
	if n == nil {
		return stale
	}
	var a uringbackend.SetAttr
	if mode, ok := in.GetMode(); ok {
		a.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		a.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		a.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		n := int64(size)
		a.Size = &n
	}
	if in.Valid&fuse.FATTR_ATIME != 0 {
		t := time.Unix(int64(in.Atime), int64(in.Atimensec))
		a.Atime, a.AtimeNow = &t, in.Valid&fuse.FATTR_ATIME_NOW != 0
	}
	if in.Valid&fuse.FATTR_MTIME != 0 {
		t := time.Unix(int64(in.Mtime), int64(in.Mtimensec))
		a.Mtime, a.MtimeNow = &t, in.Valid&fuse.FATTR_MTIME_NOW != 0
	}
	if a.Size != nil && in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if err := fs.killPriv(n.ref); err != nil {
			return fs.status(err)
		}
	}
	var st uringbackend.Stat
	var err error
	// Only a writable handle can truncate, and only by it can a file be truncated that may no longer be opened.
	if f := fs.handleFor(in); f != nil {
		st, err = f.h.SetAttr(whole(), a)
	} else {
		st, err = fs.view.SetAttr(whole(), n.ref, a)
	}
	if err != nil {
		return fs.status(err)
	}
	fs.fillAttr(st, &out.Attr)
	out.SetTimeout(fs.ttl)
	return fuse.OK
}

func (fs *rawFS) handleFor(in *fuse.SetAttrIn) *file {
	fh, ok := in.GetFh()
	if !ok {
		return nil
	}
	f := fs.files.get(fh)
	if f == nil || f.h.Flags()&unix.O_ACCMODE == unix.O_RDONLY {
		return nil
	}
	return f
}

// Readlink answers READLINK.
func (fs *rawFS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	fs.count(opReadlink)
	n := fs.nodes.get(h.NodeId)
	if n == nil {
		return nil, stale
	}
	target, err := fs.view.Readlink(whole(), n.ref)
	return []byte(target), fs.status(err)
}

// Access is never asked for with default_permissions; ENOSYS tells the kernel so, should it ask all the same.
func (fs *rawFS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status {
	fs.count(opAccess)
	return fuse.ENOSYS
}

// StatFs answers STATFS.
func (fs *rawFS) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	fs.count(opStatfs)
	n := fs.nodes.get(h.NodeId)
	if n == nil {
		return stale
	}
	st, err := fs.view.Statfs(whole(), n.ref)
	if err != nil {
		return fs.status(err)
	}
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), NameLen: uint32(st.Namelen), Frsize: uint32(st.Frsize),
	}
	return fuse.OK
}

// killPriv clears what a change of content by an unprivileged caller must clear: set-uid, set-gid (where it is not the
// mark of mandatory locking: group-executable files only) and file capabilities. It comes before the change, so that
// there is no moment in which new bytes run with old privileges.
func (fs *rawFS) killPriv(ref *uringbackend.Ref) error {
	st, err := fs.view.Stat(whole(), ref)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	mode := st.Mode & 0o7777
	clean := mode &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		clean &^= unix.S_ISGID
	}
	if clean != mode {
		if _, err := fs.view.SetAttr(whole(), ref, uringbackend.SetAttr{Mode: &clean}); err != nil {
			return err
		}
	}
	// Asking first is cheaper than removing what is not there: a removal takes the journal.
	const capability = "security.capability"
	if _, err := fs.view.Getxattr(whole(), ref, capability, nil); err != nil {
		return nil //nolint:nilerr // no capability, or none possible here
	}
	err = fs.view.Removexattr(whole(), ref, capability)
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	return err
}

func (fs *rawFS) fillEntry(n *node, st uringbackend.Stat, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(fs.ttl)
	out.SetAttrTimeout(fs.ttl)
	fs.fillAttr(st, &out.Attr)
}

func (fs *rawFS) fillAttr(st uringbackend.Stat, a *fuse.Attr) {
	a.Ino, a.Size, a.Blocks = fs.ino(st.ID), uint64(st.Size), uint64(st.Blocks)
	a.Atime, a.Atimensec = uint64(st.Atime.Unix()), uint32(st.Atime.Nanosecond())
	a.Mtime, a.Mtimensec = uint64(st.Mtime.Unix()), uint32(st.Mtime.Nanosecond())
	a.Ctime, a.Ctimensec = uint64(st.Ctime.Unix()), uint32(st.Ctime.Nanosecond())
	a.Mode, a.Nlink, a.Uid, a.Gid, a.Blksize = st.Mode, st.Nlink, st.UID, st.GID, st.Blksize
	a.Rdev = kernelDev(st.Rdev)
}

// ino is the inode number that programs see. Those of other devices are moved away, so that two files of a volume that
// spans devices do not look like one.
func (fs *rawFS) ino(id uringbackend.FileID) uint64 {
	if id.Dev == fs.rootDev {
		return id.Ino
	}
	return id.Ino ^ id.Dev*0x9e3779b97f4a7c15
}

// kernelDev encodes a device number as FUSE carries it: the kernel's new_encode_dev, 32 bits.
func kernelDev(dev uint64) uint32 {
	major, minor := unix.Major(dev), unix.Minor(dev)
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// userDev undoes kernelDev.
func userDev(dev uint32) uint64 {
	return unix.Mkdev(dev>>8&0xfff, dev&0xff|dev>>12&^0xff)
}

func sxTime(t time.Time) fuse.SxTime {
	return fuse.SxTime{Sec: uint64(t.Unix()), Nsec: uint32(t.Nanosecond())}
}
