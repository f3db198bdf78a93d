package smbtest

import (
	"context"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/smbserver"
)

// file is an open file of a Mem.
type file struct {
	// Immutable.
	mem         *Mem
	entry       *entry // the name it was opened by
	node        *node
	read, write bool

	// Atomic.
	closed atomic.Bool
}

func (m *Mem) newFile(e *entry, n *node, read, write bool) *file {
	m.opens.Add(1)
	return &file{mem: m, entry: e, node: n, read: read, write: write}
}

// ID implements [smbserver.File].
func (f *file) ID() smbserver.FileID { return f.node.id }

// Path implements [smbserver.File].
func (f *file) Path() string {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	return pathLocked(f.entry)
}

// Close implements [smbserver.File]. A second Close is EBADF.
func (f *file) Close() error {
	if f.closed.Swap(true) {
		return syscall.EBADF
	}
	f.mem.opens.Add(-1)
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return nil
}

// usable is asked first by every operation.
func (f *file) usable(ctx context.Context) error {
	if f.closed.Load() {
		return syscall.EBADF
	}
	return ctx.Err()
}

// changeable is usable for operations that change something.
func (f *file) changeable(ctx context.Context) error {
	if f.mem.opts.ReadOnly {
		return syscall.EROFS
	}
	return f.usable(ctx)
}

// Attr implements [smbserver.File].
func (f *file) Attr(ctx context.Context) (smbserver.Attr, error) {
	if err := f.usable(ctx); err != nil {
		return smbserver.Attr{}, err
	}
	return f.node.attr(), nil
}

func (n *node) attr() smbserver.Attr {
	n.mu.RLock()
	defer n.mu.RUnlock()
	a := smbserver.Attr{
		ID: n.id, Size: n.data.size, Allocation: n.data.allocated(),
		Created: n.created, Accessed: n.accessed, Written: n.written, Changed: n.changed,
		Attributes: n.attributes, Links: n.links, Directory: n.kind == kindDirectory, Symlink: n.kind == kindSymlink,
	}
	switch {
	case a.Directory:
		a.Attributes |= fscc.AttrDirectory
	case a.Symlink:
		a.Attributes |= fscc.AttrReparsePoint
		a.Size = int64(len(n.target))
	}
	if n.sparse {
		a.Attributes |= fscc.AttrSparseFile
	}
	return a
}

// SetAttr implements [smbserver.File]. All changes of one call happen together.
func (f *file) SetAttr(ctx context.Context, s smbserver.SetAttr) error {
	if err := f.changeable(ctx); err != nil {
		return err
	}
	n := f.node
	if s.Size != nil || s.Allocation != nil {
		switch {
		case n.kind == kindDirectory:
			return syscall.EISDIR
		case !f.write:
			return syscall.EBADF
		case s.Size != nil && *s.Size < 0, s.Allocation != nil && *s.Allocation < 0:
			return syscall.EINVAL
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := f.mem.opts.Now()
	before := n.data.allocated()
	if s.Size != nil {
		n.data.truncate(*s.Size)
		n.written = now
	}
	if s.Allocation != nil {
		if *s.Allocation < n.data.size {
			n.data.truncate(*s.Allocation)
			n.written = now
		}
		n.data.reserve(*s.Allocation)
	}
	f.mem.used.Add(n.data.allocated() - before)
	n.changed = now
	for _, t := range []struct {
		to   *time.Time
		from *time.Time
	}{{&n.created, s.Created}, {&n.accessed, s.Accessed}, {&n.written, s.Written}, {&n.changed, s.Changed}} {
		if t.from != nil {
			*t.to = *t.from
		}
	}
	if s.Attributes != nil {
		n.attributes = storable(*s.Attributes)
	}
	return nil
}

// ReadAt implements [smbserver.File].
func (f *file) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	switch err := f.usable(ctx); {
	case err != nil:
		return 0, err
	case f.node.kind == kindDirectory:
		return 0, syscall.EISDIR
	case !f.read:
		return 0, syscall.EBADF
	case off < 0:
		return 0, syscall.EINVAL
	}
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	return f.node.data.readAt(p, off), nil
}

// WriteAt implements [smbserver.File].
func (f *file) WriteAt(ctx context.Context, p []byte, off int64, o smbserver.WriteOptions) (int, error) {
	switch err := f.changeable(ctx); {
	case err != nil:
		return 0, err
	case f.node.kind == kindDirectory:
		return 0, syscall.EISDIR
	case !f.write:
		return 0, syscall.EBADF
	case off < 0 && !o.Append:
		return 0, syscall.EINVAL
	}
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if o.Append {
		off = n.data.size
	}
	if off > 1<<62 {
		return 0, syscall.EFBIG
	}
	need := n.data.missing(off, int64(len(p)))
	if f.mem.used.Add(need) > f.mem.opts.Capacity && need > 0 {
		f.mem.used.Add(-need)
		return 0, syscall.ENOSPC
	}
	before := n.data.allocated()
	n.data.writeAt(p, off)
	f.mem.used.Add(n.data.allocated() - before - need)
	if len(p) > 0 {
		n.written = f.mem.opts.Now()
		n.changed = n.written
	}
	return len(p), nil
}

// Sync implements [smbserver.File]; memory is as stable as it gets here.
func (f *file) Sync(ctx context.Context) error { return f.usable(ctx) }

// ReadDir implements [smbserver.File]. Cookies are numbers given to entries when they are made, so they stay valid
// whatever happens to other entries.
func (f *file) ReadDir(ctx context.Context, cookie uint64, fn func(smbserver.DirEntry) bool) error {
	const batch = 128
	type item struct {
		name   string
		cookie uint64
		node   *node
	}
	if f.node.kind != kindDirectory {
		return syscall.ENOTDIR
	}
	if !f.read {
		return syscall.EBADF
	}
	for {
		if err := f.usable(ctx); err != nil {
			return err
		}
		items := make([]item, 0, batch)
		f.mem.mu.RLock()
		i, found := slices.BinarySearchFunc(f.node.order, cookie, byCookie)
		if found {
			i++
		}
		for _, e := range f.node.order[i:min(i+batch, len(f.node.order))] {
			items = append(items, item{e.name, e.cookie, e.node})
		}
		f.mem.mu.RUnlock()
		if len(items) == 0 {
			return nil
		}
		for _, it := range items {
			attr := func(ctx context.Context) (smbserver.Attr, error) { return f.entryAttr(it.name, it.node), ctx.Err() }
			if !fn(smbserver.DirEntry{Name: it.name, Cookie: it.cookie, Attr: attr}) {
				return nil
			}
			cookie = it.cookie
		}
	}
}

// entryAttr returns the attributes behind a name: of what a link leads to, or of the link if that is nothing.
func (f *file) entryAttr(name string, n *node) smbserver.Attr {
	if n.kind == kindSymlink {
		f.mem.mu.RLock()
		path := name
		if dir := pathLocked(f.entry); dir != "" {
			path = dir + "/" + name
		}
		if e, err := f.mem.resolveLocked(path, true); err == nil {
			n = e.node
		}
		f.mem.mu.RUnlock()
	}
	return n.attr()
}

// Rename implements [smbserver.File].
func (f *file) Rename(ctx context.Context, newPath string, replace bool) error {
	if err := f.changeable(ctx); err != nil {
		return err
	}
	m := f.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	e := f.entry
	if e.parent == nil {
		if e.node == m.root {
			return last(syscall.EBUSY)
		}
		return last(syscall.ENOENT)
	}
	parent, name, err := m.placeLocked(newPath)
	if err != nil {
		return err
	}
	for up := parent; up != nil; up = up.up {
		if up.node == e.node {
			return last(syscall.EINVAL) // a directory into itself
		}
	}
	if old := parent.node.names[name]; old != nil {
		if old == e {
			return nil
		}
		if err := m.replaceLocked(old, e.node, replace); err != nil {
			return err
		}
	}
	m.removeLocked(e)
	moved := m.insertLocked(parent, name, e.node)
	// The open files of this name hold e, so e takes the place of the entry just made.
	moved.node.mu.Lock()
	if moved.node.kind == kindDirectory {
		moved.node.links = 2 + subdirectories(moved.node)
	}
	moved.node.mu.Unlock()
	e.parent, e.up, e.name, e.cookie = moved.parent, moved.up, moved.name, moved.cookie
	e.parent.names[name] = e
	e.parent.order[len(e.parent.order)-1] = e
	return nil
}

func subdirectories(dir *node) (n uint32) {
	for _, e := range dir.order {
		if e.node.kind == kindDirectory {
			n++
		}
	}
	return n
}

// replaceLocked makes room for n where old is. Mem.mu is held for writing.
func (m *Mem) replaceLocked(old *entry, n *node, replace bool) error {
	switch {
	case !replace:
		return last(syscall.EEXIST)
	case old.node.kind == kindDirectory && n.kind != kindDirectory:
		return last(syscall.EISDIR)
	case old.node.kind != kindDirectory && n.kind == kindDirectory:
		return last(syscall.ENOTDIR)
	case len(old.node.order) > 0:
		return last(syscall.ENOTEMPTY)
	}
	m.removeLocked(old)
	return nil
}

// Link implements [smbserver.File].
func (f *file) Link(ctx context.Context, newPath string, replace bool) error {
	if err := f.changeable(ctx); err != nil {
		return err
	}
	m := f.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.node.kind == kindDirectory {
		return last(syscall.EPERM)
	}
	if f.node.attr().Links == 0 {
		return last(syscall.ENOENT)
	}
	parent, name, err := m.placeLocked(newPath)
	if err != nil {
		return err
	}
	if old := parent.node.names[name]; old != nil {
		if old.node == f.node && replace {
			return nil
		}
		if err := m.replaceLocked(old, f.node, replace); err != nil {
			return err
		}
	}
	m.insertLocked(parent, name, f.node)
	return nil
}

// Remove implements [smbserver.File].
func (f *file) Remove(ctx context.Context) error {
	if err := f.changeable(ctx); err != nil {
		return err
	}
	m := f.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case f.node == m.root:
		return syscall.EBUSY
	case f.entry.parent == nil:
		return syscall.ENOENT
	case len(f.entry.node.order) > 0:
		return syscall.ENOTEMPTY
	}
	m.removeLocked(f.entry)
	return nil
}

// ZeroRange implements [smbserver.Zeroer]: whole blocks become holes.
func (f *file) ZeroRange(ctx context.Context, off, n int64) error {
	switch err := f.changeable(ctx); {
	case err != nil:
		return err
	case !f.write:
		return syscall.EBADF
	case off < 0 || n < 0:
		return syscall.EINVAL
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	before := f.node.data.allocated()
	f.node.data.zero(off, n)
	f.mem.used.Add(f.node.data.allocated() - before)
	f.node.written = f.mem.opts.Now()
	f.node.changed = f.node.written
	return nil
}

// SetSparse implements [smbserver.Sparser].
func (f *file) SetSparse(ctx context.Context, on bool) error {
	switch err := f.changeable(ctx); {
	case err != nil:
		return err
	case f.node.kind != kindFile:
		return syscall.EISDIR
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.node.sparse = on
	f.node.changed = f.mem.opts.Now()
	return nil
}

// AllocatedRanges implements [smbserver.Sparser].
func (f *file) AllocatedRanges(ctx context.Context, off, n int64) ([]smbserver.ByteRange, error) {
	switch err := f.usable(ctx); {
	case err != nil:
		return nil, err
	case !f.read:
		return nil, syscall.EBADF
	case off < 0 || n < 0:
		return nil, syscall.EINVAL
	}
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	return f.node.data.ranges(off, n), nil
}
