//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

const (
	// passFlags are the open flags that reach the backing file. O_TRUNC goes through the door for changes,
	// O_NONBLOCK would make io_uring report EAGAIN, the rest is about names.
	passFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_DIRECT | unix.O_DSYNC | unix.O_SYNC | unix.O_NOATIME

	createFlags = unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC

	// createTries bounds Create against somebody who makes and removes the name all the time.
	createTries = 32
)

// Open opens r: regular files and directories only. Devices and FIFOs report ENXIO, because opening one acts or
// waits, and symbolic links ELOOP. flags are those of open(2): access mode, O_APPEND (kept on the backing file, so
// that no other writer's bytes are overwritten), O_TRUNC (as a change), O_DIRECT, O_SYNC, O_DSYNC, O_NOATIME,
// O_DIRECTORY; others are ignored. The caller closes the Handle.
func (w *View) Open(ctx context.Context, r *Ref, flags int) (*Handle, error) {
	switch r.typ {
	case unix.S_IFDIR:
		if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
			return nil, unix.EISDIR
		}
	case unix.S_IFREG:
		if flags&unix.O_DIRECTORY != 0 {
			return nil, unix.ENOTDIR
		}
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	default:
		return nil, unix.ENXIO
	}
	fd, err := r.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer r.release()
	pass := flags & passFlags
	if r.typ == unix.S_IFDIR {
		pass = unix.O_DIRECTORY | flags&unix.O_NOATIME
	}
	backing, err := w.v.reopen(ctx, fd, pass)
	if err != nil {
		return nil, err
	}
	h := w.newHandle(ctx, r.Retain(), backing, pass)
	if flags&unix.O_TRUNC != 0 {
		t := h.target()
		t.writes = pass&unix.O_ACCMODE != unix.O_RDONLY
		if err := t.truncate(ctx, 0); err != nil {
			_ = h.Close(context.WithoutCancel(ctx)) // nothing was written through it
			return nil, err
		}
	}
	return h, nil
}

// Create makes and opens the regular file name in dir, or opens it as Open does if it is there and flags lack
// O_EXCL; Handle.Created tells. A symbolic link is never followed: ELOOP. mode is applied as it is, except where
// a default ACL of dir decides; the caller has applied the umask. The credentials are for a new file only.
func (w *View) Create(ctx context.Context, dir *Ref, name string, flags int, mode uint32, c Creds) (*Handle, *Ref, Stat, error) {
	if err := checkName(name); err != nil {
		return nil, nil, Stat{}, err
	}
	if flags&unix.O_DIRECTORY != 0 {
		return nil, nil, Stat{}, unix.EINVAL
	}
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		return nil, nil, Stat{}, err
	}
	defer dir.release()
	for range createTries {
		pass := flags & passFlags
		fd, err := w.v.openNew(ctx, &c, dirfd, name, createFlags|pass, mode&0o7777)
		if err == nil {
			h, r, st, err := w.created(ctx, fd, pass, false)
			if err == nil {
				w.publishCreate(r, dir, name)
			}
			return h, r, st, err
		}
		if !errors.Is(err, unix.EEXIST) || flags&unix.O_EXCL != 0 {
			return nil, nil, Stat{}, err
		}
		h, r, st, err := w.openAt(ctx, dirfd, name, flags)
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESTALE) {
			return h, r, st, err
		}
	}
	return nil, nil, Stat{}, unix.EBUSY
}

// openAt opens a name that is there.
func (w *View) openAt(ctx context.Context, dirfd int, name string, flags int) (*Handle, *Ref, Stat, error) {
	r, st, err := w.lookupAt(ctx, dirfd, name)
	if err != nil {
		return nil, nil, Stat{}, err
	}
	if r.typ == unix.S_IFDIR {
		r.Release()
		return nil, nil, Stat{}, unix.EISDIR
	}
	h, err := w.Open(ctx, r, flags)
	if err == nil && flags&unix.O_TRUNC != 0 {
		if st, err = h.Stat(ctx); err != nil {
			_ = h.Close(context.WithoutCancel(ctx)) // nothing was written through it
		}
	}
	if err != nil {
		r.Release()
		return nil, nil, Stat{}, err
	}
	return h, r, st, nil
}

// Tmpfile makes and opens a regular file without a name in the file system of dir; Link gives it one, unless flags
// hold O_EXCL. The access mode must allow writing.
func (w *View) Tmpfile(ctx context.Context, dir *Ref, flags int, mode uint32, c Creds) (*Handle, *Ref, Stat, error) {
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		return nil, nil, Stat{}, err
	}
	defer dir.release()
	pass := flags & passFlags
	fd, err := w.v.openNew(ctx, &c, dirfd, ".", unix.O_TMPFILE|unix.O_CLOEXEC|flags&unix.O_EXCL|pass, mode&0o7777)
	if err != nil {
		return nil, nil, Stat{}, err
	}
	return w.created(ctx, fd, pass, true)
}

// created takes the descriptor of a file that was just made.
func (w *View) created(ctx context.Context, fd, flags int, nameless bool) (*Handle, *Ref, Stat, error) {
	ctx = context.WithoutCancel(ctx)
	path, err := w.v.reopen(ctx, fd, unix.O_PATH)
	if err != nil {
		w.v.closeFD(fd)
		return nil, nil, Stat{}, err
	}
	r, st, err := w.v.adopt(ctx, path)
	if err != nil {
		w.v.closeFD(fd)
		return nil, nil, Stat{}, err
	}
	h := w.newHandle(ctx, r.Retain(), fd, flags)
	h.created = true
	if nameless {
		if _, err := r.acquire(ctx); err != nil {
			r.Release()
			_ = h.Close(ctx) // nothing was written through it
			return nil, nil, Stat{}, err
		}
		w.v.cache.pin(r)
		r.release()
	}
	return h, r, st, nil
}

// Mkdir makes a directory. mode as for Create.
func (w *View) Mkdir(ctx context.Context, dir *Ref, name string, mode uint32, c Creds) (*Ref, Stat, error) {
	return w.make(ctx, dir, name, c, func(e Engine, at At) error { return e.Mkdirat(ctx, at, mode&0o7777) })
}

// Mknod makes a node of the type in mode: S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK. rdev counts for the last two,
// which need CAP_MKNOD: with credentials of another than root they report EPERM. mode as for Create.
func (w *View) Mknod(ctx context.Context, dir *Ref, name string, mode uint32, rdev uint64, c Creds) (*Ref, Stat, error) {
	return w.make(ctx, dir, name, c, func(e Engine, at At) error { return e.Mknodat(ctx, at, mode, rdev) })
}

// Symlink makes a symbolic link that holds target, which is not looked at.
func (w *View) Symlink(ctx context.Context, dir *Ref, name, target string, c Creds) (*Ref, Stat, error) {
	if hasNUL(target) {
		return nil, Stat{}, unix.EINVAL
	}
	return w.make(ctx, dir, name, c, func(e Engine, at At) error { return e.Symlinkat(ctx, target, at) })
}

func (w *View) make(ctx context.Context, dir *Ref, name string, c Creds, call func(Engine, At) error) (*Ref, Stat, error) {
	if err := checkName(name); err != nil {
		return nil, Stat{}, err
	}
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		return nil, Stat{}, err
	}
	defer dir.release()
	if err := call(w.v.engine.As(&c), At{Dir: dirfd, Name: name}); err != nil {
		return nil, Stat{}, err
	}
	r, st, err := w.lookupAt(context.WithoutCancel(ctx), dirfd, name)
	if err != nil {
		return nil, Stat{}, err
	}
	w.publishCreate(r, dir, name)
	return r, st, nil
}

func (w *View) publishCreate(r, dir *Ref, name string) {
	w.v.events.publish(Event{
		Origin: w.origin, Kind: ChangeCreate, ID: r.id, Dir: dir.id, Name: name, IsDir: r.typ == unix.S_IFDIR,
	})
}
