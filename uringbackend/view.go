//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// View is a Volume as seen by one Origin, which its changes are attributed to. Immutable, safe for concurrent use.
//
// Operations borrow the Refs that they are given; every Ref that they return carries a count, which the caller
// Releases. Errors are a syscall.Errno, possibly wrapped; ECANCELED when ctx ended first. An operation that has begun
// to change something runs to its end whatever becomes of ctx.
//
// A name is exactly one component: empty, ".", "..", or with a '/' or NUL inside it is refused with EINVAL.
type View struct {
	v      *Volume
	origin Origin
}

// Root returns the root of the tree.
func (w *View) Root() *Ref { return w.v.root.Retain() }

// Lookup finds one name in dir. A symbolic link is not followed. A mount point reports EXDEV unless the Volume
// crosses devices.
func (w *View) Lookup(ctx context.Context, dir *Ref, name string) (*Ref, Stat, error) {
	if err := checkName(name); err != nil {
		return nil, Stat{}, err
	}
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		return nil, Stat{}, err
	}
	defer dir.release()
	return w.lookupAt(ctx, dirfd, name)
}

func (w *View) lookupAt(ctx context.Context, dirfd int, name string) (*Ref, Stat, error) {
	fd, err := w.v.openChild(ctx, dirfd, name)
	if err != nil {
		return nil, Stat{}, err
	}
	return w.v.adopt(ctx, fd)
}

// Resolve finds a '/'-separated path relative to the root; "" and "." are the root itself. The kernel follows
// symbolic links on the way and, if follow, at the end, and reports EXDEV for whatever leads out of the tree. The
// error is a *PathError.
func (w *View) Resolve(ctx context.Context, path string, follow bool) (*Ref, Stat, error) {
	fd, err := w.v.resolvePath(ctx, path, follow, 0)
	if err != nil {
		return nil, Stat{}, w.v.blame(ctx, "resolve", path, err)
	}
	r, st, err := w.v.adopt(ctx, fd)
	if err != nil {
		return nil, Stat{}, w.v.blame(ctx, "resolve", path, err)
	}
	return r, st, nil
}

// Stat returns the attributes.
func (w *View) Stat(ctx context.Context, r *Ref) (Stat, error) {
	fd, err := r.acquire(ctx)
	if err != nil {
		return Stat{}, err
	}
	defer r.release()
	return w.v.statFD(ctx, fd, r.id)
}

// SetAttr changes attributes and returns them as they are afterwards. It works on every type of inode as far as the
// kernel does: the mode of a symbolic link reports EOPNOTSUPP.
func (w *View) SetAttr(ctx context.Context, r *Ref, a SetAttr) (Stat, error) {
	fd, err := r.acquire(ctx)
	if err != nil {
		return Stat{}, err
	}
	defer r.release()
	return r.target(w.origin, fd).setAttr(ctx, a)
}

// Readlink returns what a symbolic link holds.
func (w *View) Readlink(ctx context.Context, r *Ref) (string, error) {
	if r.typ != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	fd, err := r.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer r.release()
	return w.v.readLink(ctx, fd)
}

// Link gives r one more name; also an inode from Tmpfile its first. It returns the attributes afterwards.
func (w *View) Link(ctx context.Context, r *Ref, dir *Ref, name string) (Stat, error) {
	if err := checkName(name); err != nil {
		return Stat{}, err
	}
	fd, err := r.acquire(ctx)
	if err != nil {
		return Stat{}, err
	}
	defer r.release()
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		return Stat{}, err
	}
	defer dir.release()
	if err := w.v.engine.Linkat(ctx, At{Dir: fd}, At{Dir: dirfd, Name: name}, 0); err != nil {
		return Stat{}, err
	}
	w.v.events.publish(Event{Origin: w.origin, Kind: ChangeLink, ID: r.id, Dir: dir.id, Name: name})
	st, err := w.v.statFD(context.WithoutCancel(ctx), fd, r.id)
	if err == nil && st.Nlink > 0 {
		w.v.cache.unpin(r)
	}
	return st, err
}

// Unlink removes a name that is not a directory's.
func (w *View) Unlink(ctx context.Context, dir *Ref, name string) error {
	return w.remove(ctx, dir, name, 0)
}

// Rmdir removes an empty directory.
func (w *View) Rmdir(ctx context.Context, dir *Ref, name string) error {
	return w.remove(ctx, dir, name, unix.AT_REMOVEDIR)
}

func (w *View) remove(ctx context.Context, dir *Ref, name string, flags int) error {
	if err := checkName(name); err != nil {
		return err
	}
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		return err
	}
	defer dir.release()
	victim, err := w.hold(ctx, dirfd, name)
	if err != nil {
		return busyIfMount(err)
	}
	defer victim.release(ctx)
	if err := w.v.engine.Unlinkat(ctx, At{Dir: dirfd, Name: name}, flags); err != nil {
		return err
	}
	victim.removed = true
	w.v.events.publish(Event{
		Origin: w.origin, Kind: ChangeUnlink, ID: victim.ref.id, Dir: dir.id, Name: name, IsDir: victim.ref.typ == unix.S_IFDIR,
	})
	return nil
}

// busyIfMount: a mount point cannot be removed or renamed, which the kernel calls EBUSY.
func busyIfMount(err error) error {
	if errors.Is(err, unix.EXDEV) {
		return unix.EBUSY
	}
	return err
}

// held is an inode whose descriptor stays open while a name of it is removed or moved.
type held struct {
	ref     *Ref
	fd      int
	removed bool // it may have lost its last name
}

func (w *View) hold(ctx context.Context, dirfd int, name string) (*held, error) {
	r, _, err := w.lookupAt(ctx, dirfd, name)
	if err != nil {
		return nil, err
	}
	fd, err := r.acquire(ctx)
	if err != nil {
		r.Release()
		return nil, err
	}
	return &held{ref: r, fd: fd}, nil
}

// release lets go. Without a name the inode lives only as long as somebody has it open, so then its descriptor
// stays, for those who hold the Ref.
func (h *held) release(ctx context.Context) {
	v := h.ref.v
	if h.removed {
		st, err := v.statFD(context.WithoutCancel(ctx), h.fd, h.ref.id)
		if err != nil || st.Nlink == 0 || h.ref.typ == unix.S_IFDIR {
			v.cache.pin(h.ref)
		}
	}
	h.ref.release()
	h.ref.Release()
}

// Rename moves a name, with the flags RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT of renameat2(2). What it
// replaces is reported as ChangeUnlink before the ChangeRename; an exchange as two ChangeRename.
func (w *View) Rename(ctx context.Context, from *Ref, oldName string, to *Ref, newName string, flags uint32) error {
	if err := checkName(oldName); err != nil {
		return err
	}
	if err := checkName(newName); err != nil {
		return err
	}
	fromFD, err := from.acquire(ctx)
	if err != nil {
		return err
	}
	defer from.release()
	toFD, err := to.acquire(ctx)
	if err != nil {
		return err
	}
	defer to.release()
	subject, err := w.hold(ctx, fromFD, oldName)
	if err != nil {
		return busyIfMount(err)
	}
	defer subject.release(ctx)
	other, err := w.hold(ctx, toFD, newName)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return busyIfMount(err)
	}
	if other != nil {
		defer other.release(ctx)
	}
	err = w.v.engine.Renameat2(ctx, At{Dir: fromFD, Name: oldName}, At{Dir: toFD, Name: newName}, int(flags))
	if err != nil {
		return err
	}
	moved := Event{
		Origin: w.origin, Kind: ChangeRename, ID: subject.ref.id, Dir: from.id, Name: oldName, NewDir: to.id, NewName: newName,
		IsDir: subject.ref.typ == unix.S_IFDIR,
	}
	switch {
	case other == nil:
	case flags&unix.RENAME_EXCHANGE != 0:
		w.v.events.publish(Event{
			Origin: w.origin, Kind: ChangeRename, ID: other.ref.id, Dir: to.id, Name: newName, NewDir: from.id, NewName: oldName,
			IsDir: other.ref.typ == unix.S_IFDIR,
		})
	case other.ref.id == subject.ref.id: // two names of one inode: rename(2) does nothing
		return nil
	default:
		other.removed = true
		w.v.events.publish(Event{
			Origin: w.origin, Kind: ChangeUnlink, ID: other.ref.id, Dir: to.id, Name: newName,
			IsDir: other.ref.typ == unix.S_IFDIR,
		})
	}
	w.v.events.publish(moved)
	return nil
}

// Statfs describes the file system that r is on.
func (w *View) Statfs(ctx context.Context, r *Ref) (unix.Statfs_t, error) {
	fd, err := r.acquire(ctx)
	if err != nil {
		return unix.Statfs_t{}, err
	}
	defer r.release()
	st := new(unix.Statfs_t)
	err = w.v.engine.Fstatfs(ctx, fd, st)
	return *st, err
}

// Getxattr reads an extended attribute into buf and returns its length; an empty buf only asks for the length.
// ERANGE: buf is too short.
func (w *View) Getxattr(ctx context.Context, r *Ref, name string, buf []byte) (int, error) {
	fd, err := r.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer r.release()
	return w.v.engine.FgetxattrPath(ctx, fd, name, buf)
}

// Listxattr reads the names of the extended attributes, each ended by NUL, into buf, as Getxattr does.
func (w *View) Listxattr(ctx context.Context, r *Ref, buf []byte) (int, error) {
	fd, err := r.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer r.release()
	return w.v.engine.FlistxattrPath(ctx, fd, buf)
}

// Setxattr sets an extended attribute; flags XATTR_CREATE, XATTR_REPLACE.
func (w *View) Setxattr(ctx context.Context, r *Ref, name string, data []byte, flags int) error {
	return w.changeXattr(ctx, r, func(fd int) error { return w.v.engine.FsetxattrPath(ctx, fd, name, data, flags) })
}

// Removexattr removes an extended attribute.
func (w *View) Removexattr(ctx context.Context, r *Ref, name string) error {
	return w.changeXattr(ctx, r, func(fd int) error { return w.v.engine.FremovexattrPath(ctx, fd, name) })
}

func (w *View) changeXattr(ctx context.Context, r *Ref, change func(fd int) error) error {
	fd, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	defer r.release()
	c, err := w.v.BeginChange(ctx, w.origin, r.id, ChangeXattr, Range{})
	if err != nil {
		return err
	}
	c.isDir = r.typ == unix.S_IFDIR
	err = change(fd)
	c.End(err)
	return err
}
