//go:build linux

package uringbackend

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// LookupOptions say what LookupMany reads besides attributes.
type LookupOptions struct {
	Xattr string // an extended attribute; empty: none
	Size  int    // of its buffer, bytes
}

// Found is what LookupMany says about one name.
type Found struct {
	Ref   *Ref // with a count, the caller's; nil with an error
	Stat  Stat
	Err   error
	Xattr []byte // what the attribute holds, with LookupOptions.Xattr
	// XattrErr is Getxattr's.
	XattrErr error
}

// LookupMany is Lookup, and Getxattr if the options say so, for many names of one directory, in their order. It gives the
// engine each step for all of them at once, which on a ring costs half to nine tenths of one by one. The
// results are those of the single calls; other than those they need not be of one moment.
func (w *View) LookupMany(ctx context.Context, dir *Ref, names []string, o LookupOptions) []Found {
	found := make([]Found, len(names))
	dirfd, err := dir.acquire(ctx)
	if err != nil {
		for i := range found {
			found[i].Err = err
		}
		return found
	}
	defer dir.release()
	if len(names) < minBatch || w.v.noOpenat2 {
		for i, name := range names {
			if found[i].Err = checkName(name); found[i].Err == nil {
				found[i].Ref, found[i].Stat, found[i].Err = w.lookupAt(ctx, dirfd, name)
			}
		}
	} else {
		w.lookupBatch(ctx, dirfd, names, found)
	}
	if o.Xattr != "" {
		w.xattrBatch(ctx, found, o)
	}
	return found
}

// batch is ops for some of the names of a LookupMany.
type batch struct {
	ops []Op
	of  []int // the name that each op is for
}

func newBatch(n int) *batch { return &batch{ops: make([]Op, 0, n), of: make([]int, 0, n)} }

func (b *batch) add(name int, op Op) {
	b.ops = append(b.ops, op)
	b.of = append(b.of, name)
}

// submit reports by the index of the name. done may not use the engine.
func (b *batch) submit(ctx context.Context, e Engine, done func(name, n int, err error)) {
	e.Submit(ctx, b.ops, func(i, n int, _ bool, err error) { done(b.of[i], n, err) })
}

func (w *View) lookupBatch(ctx context.Context, dirfd int, names []string, found []Found) {
	v := w.v
	how := &unix.OpenHow{Flags: openPath | unix.O_NOFOLLOW, Resolve: v.resolveFlags}
	opens := newBatch(len(names))
	fds := make([]int, len(names))
	for i, name := range names {
		fds[i] = -1
		if found[i].Err = checkName(name); found[i].Err == nil {
			opens.add(i, Op{Kind: KindOpenat2, FD: dirfd, Path: name, How: how})
		}
	}
	opens.submit(ctx, v.engine, func(i, fd int, err error) {
		if found[i].Err = err; err == nil {
			fds[i] = fd
		}
	})
	for i := range found {
		// Too many descriptors, or a rename elsewhere: one by one there is an answer to both.
		if errors.Is(found[i].Err, unix.EMFILE) || errors.Is(found[i].Err, unix.EAGAIN) {
			found[i].Ref, found[i].Stat, found[i].Err = w.lookupAt(ctx, dirfd, names[i])
		}
	}
	if v.refuses.Load() {
		v.refuseBatch(ctx, fds, found)
	}
	stats := make([]unix.Statx_t, len(names))
	looks := newBatch(len(names))
	for i, fd := range fds {
		if fd >= 0 {
			looks.add(i, Op{
				Kind: KindStatx, FD: fd, Flags: unix.AT_EMPTY_PATH, Mask: statMask | unix.STATX_MNT_ID, Statx: &stats[i],
			})
		}
	}
	looks.submit(ctx, v.engine, func(i, _ int, err error) { found[i].Err = err })
	for i, fd := range fds {
		switch {
		case fd < 0:
		case found[i].Err != nil:
			v.closeFD(fd)
		default:
			found[i].Ref, found[i].Stat, found[i].Err = v.adoptKnown(ctx, fd, v.known(&stats[i]))
		}
	}
}

// refuseBatch is checkDevice for many. It closes the descriptors of what is refused.
func (v *Volume) refuseBatch(ctx context.Context, fds []int, found []Found) {
	stats := make([]unix.Statx_t, len(fds))
	asks := newBatch(len(fds))
	for i, fd := range fds {
		if fd >= 0 {
			asks.add(i, Op{Kind: KindStatx, FD: fd, Flags: unix.AT_EMPTY_PATH | unix.AT_STATX_DONT_SYNC, Statx: &stats[i]})
		}
	}
	asks.submit(ctx, v.engine, func(i, _ int, err error) {
		if found[i].Err = err; err == nil && v.isRefused(unix.Mkdev(stats[i].Dev_major, stats[i].Dev_minor)) {
			found[i].Err = unix.EXDEV
		}
	})
	for i, fd := range fds {
		if fd >= 0 && found[i].Err != nil {
			v.closeFD(fd)
			fds[i] = -1
		}
	}
}

func (w *View) xattrBatch(ctx context.Context, found []Found, o LookupOptions) {
	room := make([]byte, o.Size*len(found))
	reads := newBatch(len(found))
	for i := range found {
		f := &found[i]
		if f.Err != nil {
			continue
		}
		fd, err := f.Ref.acquire(ctx)
		if err != nil {
			f.XattrErr = err
			continue
		}
		defer f.Ref.release()
		f.Xattr = room[i*o.Size:][:o.Size:o.Size]
		reads.add(i, Op{Kind: KindFgetxattr, FD: fd, Path: o.Xattr, Buf: f.Xattr, Mask: ByMagicLink})
	}
	reads.submit(ctx, w.v.engine, func(i, n int, err error) {
		f := &found[i]
		f.XattrErr = err
		f.Xattr = f.Xattr[:n]
	})
}

// ReleaseMany is Release of each, with the descriptors closed together.
func (w *View) ReleaseMany(refs []*Ref) {
	closes := make([]Op, 0, len(refs))
	for _, r := range refs {
		if fd := r.drop(); fd >= 0 {
			closes = append(closes, Op{Kind: KindClose, FD: fd})
		}
	}
	if len(closes) == 0 {
		return
	}
	w.v.engine.Submit(context.Background(), closes, func(i, _ int, _ bool, err error) {
		if errors.Is(err, unix.EBADF) {
			w.v.log.Error("a descriptor was closed behind the volume", "fd", closes[i].FD)
		}
	})
}
