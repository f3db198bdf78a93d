package smbtest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/smbserver"
)

const (
	maxNameBytes = 255 // as on Linux file systems
	maxLinkSteps = 40  // symbolic links followed in one resolution
	blockSize    = 4096
)

// Options change how a [Mem] behaves. The zero value is a plain writable share.
type Options struct {
	// Access, if set, is asked before each Open of an existing object; an error refuses. It must be safe for concurrent use.
	Access func(user smbserver.Identity, path string, write bool) error
	// ReadOnly refuses every change with EROFS.
	ReadOnly bool
	// Capacity bounds the bytes of data blocks; writes beyond fail with ENOSPC. 0: 1 TiB.
	Capacity int64
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Label is the volume's name.
	Label string
}

// Mem is a Share in memory. Its methods may be called concurrently.
type Mem struct {
	// Immutable after NewMem.
	opts    Options
	created time.Time

	// Atomic.
	inodes atomic.Uint64
	used   atomic.Int64 // bytes of data blocks
	opens  atomic.Int64

	// mu guards the shape of the tree: every node's entries, every entry's place.
	mu   sync.RWMutex
	root *node // set once
}

// node is an inode.
type node struct {
	// Immutable.
	id   smbserver.FileID
	kind kind

	// Guarded by Mem.mu.
	names   map[string]*entry // directory: by name
	order   []*entry          // directory: by cookie, ascending
	cookies uint64            // directory: last cookie given out
	target  string            // symbolic link

	// mu guards the rest.
	mu         sync.RWMutex
	links      uint32
	data       extents
	attributes smbserver.FileAttributes
	sparse     bool
	created, accessed,
	written, changed time.Time
}

type kind uint8

const (
	kindFile kind = 1 + iota
	kindDirectory
	kindSymlink
)

// entry is one name of a node. A file remembers the entry it was opened by, so it follows renames, and a new file under
// the old name is another entry.
type entry struct {
	// Immutable.
	node *node

	// Guarded by Mem.mu.
	parent *node  // nil: removed, or the root
	up     *entry // the parent's own entry, for paths
	name   string
	cookie uint64
}

// NewMem returns an empty share.
func NewMem(o Options) *Mem {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Capacity == 0 {
		o.Capacity = 1 << 40
	}
	m := &Mem{opts: o, created: o.Now()}
	m.root = m.newNode(kindDirectory)
	m.root.links = 2
	return m
}

func (m *Mem) newNode(k kind) *node {
	now := m.opts.Now()
	n := &node{
		id:   smbserver.FileID{Volume: 1, Inode: m.inodes.Add(1), Generation: 1},
		kind: k, created: now, accessed: now, written: now, changed: now,
	}
	if k == kindDirectory {
		n.names = make(map[string]*entry)
	}
	return n
}

// Opens returns the number of files that are open now.
func (m *Mem) Opens() int64 { return m.opens.Load() }

// Close has nothing to release.
func (m *Mem) Close() error { return nil }

// Statfs describes the store.
func (m *Mem) Statfs(ctx context.Context) (smbserver.VolumeInfo, error) {
	if err := ctx.Err(); err != nil {
		return smbserver.VolumeInfo{}, err
	}
	total := uint64(max(m.opts.Capacity, 0) / blockSize)
	free := uint64(max(m.opts.Capacity-m.used.Load(), 0) / blockSize)
	return smbserver.VolumeInfo{
		Label: m.opts.Label, Serial: 0x75726673, Created: m.created, BlockSize: blockSize,
		TotalBlocks: total, FreeBlocks: free, AvailBlocks: free,
		MaxComponent: maxNameBytes, FileSystem: "NTFS", CaseSensitive: true, Sparse: true, ReadOnly: m.opts.ReadOnly,
	}, nil
}

// Open implements [smbserver.Share]. Symbolic links are followed beneath the root; renaming and removing a file that was
// opened through a link at the end of its path acts on the link.
func (m *Mem) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	return m.open(ctx, p, true)
}

// OpenLink implements [smbserver.LinkOpener]: as Open, but a link at the end is opened itself.
func (m *Mem) OpenLink(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	return m.open(ctx, p, false)
}

func (m *Mem) open(ctx context.Context, p smbserver.OpenParams, follow bool) (smbserver.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.Create {
		return m.create(p)
	}
	m.mu.RLock()
	e, err := m.resolveLocked(p.Path, follow)
	name := e
	if err == nil && follow {
		// Rename and Remove act on the name, which may be a link's.
		name, err = m.resolveLocked(p.Path, false)
	}
	m.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	switch {
	case e.node.kind == kindDirectory && p.Write:
		return nil, last(syscall.EISDIR)
	case e.node.kind == kindSymlink && (p.Read || p.Write):
		return nil, last(syscall.ELOOP)
	case p.Write && m.opts.ReadOnly:
		return nil, last(syscall.EROFS)
	}
	if m.opts.Access != nil {
		if err := m.opts.Access(p.User, p.Path, p.Write); err != nil {
			return nil, last(err)
		}
	}
	return m.newFile(name, e.node, p.Read, p.Write), nil
}

func (m *Mem) create(p smbserver.OpenParams) (smbserver.File, error) {
	if m.opts.ReadOnly {
		return nil, last(syscall.EROFS)
	}
	k := kindFile
	if p.Directory {
		k = kindDirectory
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, name, err := m.placeLocked(p.Path)
	if err != nil {
		return nil, err
	}
	if parent.node.names[name] != nil {
		return nil, last(syscall.EEXIST)
	}
	n := m.newNode(k)
	n.attributes = storable(p.Attributes)
	e := m.insertLocked(parent, name, n)
	return m.newFile(e, n, p.Read, p.Write), nil
}

// placeLocked resolves the directory that path is to be put in. Mem.mu is held.
func (m *Mem) placeLocked(path string) (parent *entry, name string, err error) {
	if path == "" {
		return nil, "", last(syscall.EEXIST)
	}
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	if len(name) > maxNameBytes {
		return nil, "", last(syscall.ENAMETOOLONG)
	}
	parent, err = m.resolveLocked(dir, true)
	if err != nil {
		return nil, "", inParent(err)
	}
	if parent.node.kind != kindDirectory {
		return nil, "", &smbserver.PathError{Component: smbserver.Parent, Err: syscall.ENOTDIR}
	}
	if parent.node != m.root && parent.parent == nil { // removed directory
		return nil, "", &smbserver.PathError{Component: smbserver.Parent, Err: syscall.ENOENT}
	}
	return parent, name, nil
}

// insertLocked adds a name. Mem.mu is held for writing.
func (m *Mem) insertLocked(parent *entry, name string, n *node) *entry {
	dir := parent.node
	dir.cookies++
	e := &entry{parent: dir, up: parent, name: name, node: n, cookie: dir.cookies}
	dir.names[name] = e
	dir.order = append(dir.order, e)
	n.mu.Lock()
	n.links++
	if n.kind == kindDirectory {
		n.links++ // its own "."
	}
	n.changed = m.opts.Now()
	n.mu.Unlock()
	m.touchDir(dir, n.kind == kindDirectory, 1)
	return e
}

// removeLocked takes a name away. Mem.mu is held for writing.
func (m *Mem) removeLocked(e *entry) {
	dir := e.parent
	delete(dir.names, e.name)
	if i, ok := slices.BinarySearchFunc(dir.order, e.cookie, byCookie); ok {
		dir.order = slices.Delete(dir.order, i, i+1)
	}
	e.parent = nil
	n := e.node
	n.mu.Lock()
	n.links--
	if n.kind == kindDirectory {
		n.links = 0
	}
	n.changed = m.opts.Now()
	n.mu.Unlock()
	m.touchDir(dir, n.kind == kindDirectory, -1)
}

func byCookie(e *entry, cookie uint64) int {
	switch {
	case e.cookie < cookie:
		return -1
	case e.cookie > cookie:
		return 1
	default:
		return 0
	}
}

// touchDir notes a change of a directory's entries.
func (m *Mem) touchDir(dir *node, subdirectory bool, by int) {
	now := m.opts.Now()
	dir.mu.Lock()
	defer dir.mu.Unlock()
	dir.written, dir.changed = now, now
	if subdirectory && by > 0 {
		dir.links++
	} else if subdirectory && dir.links > 0 {
		dir.links--
	}
}

// resolveLocked walks path from the root. Mem.mu is held.
func (m *Mem) resolveLocked(path string, follow bool) (*entry, error) {
	return m.walkLocked(path, follow, new(int))
}

func (m *Mem) walkLocked(path string, follow bool, steps *int) (*entry, error) {
	here := &entry{node: m.root}
	if path == "" {
		return here, nil
	}
	trail := []*entry{here}
	parts := strings.Split(path, "/")
	for i := 0; i < len(parts); i++ {
		name, final := parts[i], i == len(parts)-1
		component := smbserver.Parent
		if final {
			component = smbserver.Last
		}
		fail := func(err error) (*entry, error) { return nil, &smbserver.PathError{Component: component, Err: err} }
		here = trail[len(trail)-1]
		if here.node.kind != kindDirectory {
			return nil, &smbserver.PathError{Component: smbserver.Parent, Err: syscall.ENOTDIR}
		}
		switch name {
		case "", ".":
			continue
		case "..":
			if len(trail) == 1 {
				return fail(syscall.EXDEV) // what openat2 says for a path that leaves its root
			}
			trail = trail[:len(trail)-1]
			continue
		}
		if len(name) > maxNameBytes {
			return fail(syscall.ENAMETOOLONG)
		}
		e := here.node.names[name]
		switch {
		case e == nil:
			return fail(syscall.ENOENT)
		case e.node.kind != kindSymlink || final && !follow:
			trail = append(trail, e)
		default:
			if *steps++; *steps > maxLinkSteps {
				return fail(syscall.ELOOP)
			}
			if strings.HasPrefix(e.node.target, "/") {
				return fail(syscall.EXDEV)
			}
			parts = append(strings.Split(e.node.target, "/"), parts[i+1:]...)
			i = -1
		}
	}
	return trail[len(trail)-1], nil
}

// pathLocked returns an entry's path; a removed one keeps its last. Mem.mu is held.
func pathLocked(e *entry) string {
	var parts []string
	for ; e != nil && e.name != ""; e = e.up {
		parts = append(parts, e.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// Symlink makes a symbolic link, for tests. target is relative to the link's directory.
func (m *Mem) Symlink(target, path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, name, err := m.placeLocked(path)
	if err != nil {
		return err
	}
	if parent.node.names[name] != nil {
		return last(syscall.EEXIST)
	}
	n := m.newNode(kindSymlink)
	n.target = target
	m.insertLocked(parent, name, n)
	return nil
}

// WriteFile makes or replaces the content of a file, for tests.
func (m *Mem) WriteFile(path string, data []byte) error {
	ctx := context.Background()
	f, err := m.Open(ctx, smbserver.OpenParams{Path: path, Write: true, Create: true})
	if err != nil {
		if f, err = m.Open(ctx, smbserver.OpenParams{Path: path, Write: true}); err != nil {
			return err
		}
	}
	size := int64(len(data))
	if _, err = f.WriteAt(ctx, data, 0, smbserver.WriteOptions{}); err == nil {
		err = f.SetAttr(ctx, smbserver.SetAttr{Size: &size})
	}
	return errorOr(err, f.Close())
}

// ReadFile returns the content of a file, for tests.
func (m *Mem) ReadFile(path string) ([]byte, error) {
	ctx := context.Background()
	f, err := m.Open(ctx, smbserver.OpenParams{Path: path, Read: true})
	if err != nil {
		return nil, err
	}
	a, err := f.Attr(ctx)
	if err != nil {
		return nil, errorOr(err, f.Close())
	}
	p := make([]byte, a.Size)
	n, err := f.ReadAt(ctx, p, 0)
	return p[:n], errorOr(err, f.Close())
}

func errorOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// storable keeps the attributes that a Mem stores.
func storable(a smbserver.FileAttributes) smbserver.FileAttributes {
	return a & (fscc.AttrReadonly | fscc.AttrHidden | fscc.AttrSystem | fscc.AttrArchive |
		fscc.AttrOffline | fscc.AttrNotContentIndexed | fscc.AttrTemporary)
}

func last(err error) error { return &smbserver.PathError{Component: smbserver.Last, Err: err} }

// inParent says of an error about a directory that it is about something's parent.
func inParent(err error) error {
	if pe, ok := err.(*smbserver.PathError); ok { //nolint:errorlint // made in this file, never wrapped
		return &smbserver.PathError{Component: smbserver.Parent, Err: pe.Err}
	}
	return err
}
