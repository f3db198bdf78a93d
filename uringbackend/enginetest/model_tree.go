//go:build linux

package enginetest

import (
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// inode is a file, directory or symbolic link of the model.
type inode struct {
	kind    uint32 // S_IFREG, S_IFDIR, S_IFLNK
	nlink   int
	data    []byte // of a file
	target  string // of a link
	entries map[string]*inode
	parent  *inode // of a directory, also when it has been removed
	dead    bool   // a directory that has been removed
	xattrs  map[string]string
}

func (n *inode) isDir() bool { return n != nil && n.kind == unix.S_IFDIR }

// below says whether n is dir or lies in it.
func (n *inode) below(dir *inode) bool {
	for ; n != nil; n = n.parent {
		if n == dir {
			return true
		}
	}
	return false
}

// opened is an open file description.
type opened struct {
	ino   *inode
	flags int
	pos   int64
}

func (o *opened) byPath() bool { return o.flags&unix.O_PATH != 0 }

func (o *opened) reads() bool {
	return !o.byPath() && o.flags&unix.O_ACCMODE != unix.O_WRONLY
}

func (o *opened) writes() bool {
	return !o.byPath() && o.flags&unix.O_ACCMODE != unix.O_RDONLY
}

// slots is how many descriptors the model has; slot 0 is the root and stays open.
const slots = 16

// tree is the model of a file system.
type tree struct {
	root  *inode
	slots [slots]*opened
}

func newTree() *tree {
	root := newInode(unix.S_IFDIR)
	return &tree{root: root, slots: [slots]*opened{{ino: root}}}
}

func newInode(kind uint32) *inode {
	n := &inode{kind: kind, nlink: 1, xattrs: map[string]string{}}
	if kind == unix.S_IFDIR {
		n.nlink, n.entries = 2, map[string]*inode{}
	}
	return n
}

// place is where a path leads.
type place struct {
	parent *inode
	name   string // the last component; "." and ".." as they are
	ino    *inode // nil: there is none
}

func (p place) special() bool { return p.name == "." || p.name == ".." }

// maxLinks is MAXSYMLINKS, include/linux/namei.h.
const maxLinks = 40

// walk resolves a path from a slot as the kernel does. follow: a link as the last component is followed. beneath: ".."
// out of the start is EXDEV; elsewhere it is not in the paths of the model. A last component that does not exist is
// not an error here.
func (m *tree) walk(slot int, path string, follow bool, resolve uint64) (place, unix.Errno) {
	o := m.slots[slot]
	if o == nil {
		return place{}, unix.EBADF
	}
	start := o.ino
	if !start.isDir() {
		return place{}, unix.ENOTDIR
	}
	cur, links := start, 0
	todo := strings.Split(path, "/")
	for {
		name := todo[0]
		todo = todo[1:]
		last := len(todo) == 0
		if !cur.isDir() {
			return place{}, unix.ENOTDIR
		}
		at := place{parent: cur, name: name}
		switch name {
		case ".":
			at.ino = cur
		case "..":
			if cur == start {
				return place{}, unix.EXDEV
			}
			cur = cur.parent
			at.ino = cur
		default:
			at.ino = cur.entries[name]
		}
		if last && (at.ino == nil || at.ino.kind != unix.S_IFLNK || !follow) {
			return at, 0
		}
		if at.ino == nil {
			return place{}, unix.ENOENT
		}
		if at.ino.kind != unix.S_IFLNK {
			cur = at.ino
			continue
		}
		if resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
			return place{}, unix.ELOOP
		}
		if links++; links > maxLinks {
			return place{}, unix.ELOOP
		}
		todo = append(strings.Split(at.ino.target, "/"), todo...)
	}
}

// find is walk to something that exists.
func (m *tree) find(slot int, path string, follow bool) (*inode, unix.Errno) {
	at, errno := m.walk(slot, path, follow, 0)
	if errno == 0 && at.ino == nil {
		errno = unix.ENOENT
	}
	return at.ino, errno
}

// vacant is walk to a name that is to be made (fs/namei.c filename_create).
func (m *tree) vacant(slot int, path string) (place, unix.Errno) {
	at, errno := m.walk(slot, path, false, 0)
	switch {
	case errno != 0:
	case at.special():
		errno = unix.EEXIST
	case at.parent.dead:
		errno = unix.ENOENT
	case at.ino != nil:
		errno = unix.EEXIST
	}
	return at, errno
}

// put enters a new name.
func (p place) put(n *inode) {
	p.parent.entries[p.name] = n
	if n.isDir() {
		n.parent = p.parent
		p.parent.nlink++
	}
}

// drop removes a name.
func (p place) drop() {
	delete(p.parent.entries, p.name)
	if p.ino.isDir() {
		p.ino.nlink, p.ino.dead = 0, true
		p.parent.nlink--
		return
	}
	p.ino.nlink--
}

// rename says what renameat2(2) would, and how to do it (fs/namei.c do_renameat2, vfs_rename).
func (m *tree) rename(s *step) (func(), unix.Errno) {
	noReplace, exchange := s.flags&unix.RENAME_NOREPLACE != 0, s.flags&unix.RENAME_EXCHANGE != 0
	if noReplace && exchange {
		return nil, unix.EINVAL
	}
	from, errno := m.walk(s.slot, s.path, false, 0)
	if errno != 0 {
		return nil, errno
	}
	to, errno := m.walk(s.slot2, s.path2, false, 0)
	if errno != 0 {
		return nil, errno
	}
	switch {
	case from.special():
		return nil, unix.EBUSY
	case to.special() && noReplace:
		return nil, unix.EEXIST
	case to.special():
		return nil, unix.EBUSY
	case from.ino == nil || to.parent.dead:
		return nil, unix.ENOENT
	case noReplace && to.ino != nil:
		return nil, unix.EEXIST
	case exchange && to.ino == nil:
		return nil, unix.ENOENT
	case from.ino.isDir() && to.parent.below(from.ino):
		return nil, unix.EINVAL
	case to.ino.isDir() && from.parent.below(to.ino) && exchange:
		return nil, unix.EINVAL
	case to.ino.isDir() && from.parent.below(to.ino):
		return nil, unix.ENOTEMPTY
	case from.ino == to.ino:
		return func() {}, 0
	case exchange:
		return func() {
			p, q := from.ino, to.ino
			from.parent.entries[from.name], to.parent.entries[to.name] = q, p
			for _, moved := range []struct{ n, from, to *inode }{{p, from.parent, to.parent}, {q, to.parent, from.parent}} {
				if moved.n.isDir() {
					moved.n.parent = moved.to
					moved.from.nlink--
					moved.to.nlink++
				}
			}
		}, 0
	case to.ino != nil && from.ino.isDir() && !to.ino.isDir():
		return nil, unix.ENOTDIR
	case to.ino != nil && !from.ino.isDir() && to.ino.isDir():
		return nil, unix.EISDIR
	case to.ino.isDir() && len(to.ino.entries) > 0:
		return nil, unix.ENOTEMPTY
	}
	return func() {
		if to.ino != nil {
			to.drop()
		}
		delete(from.parent.entries, from.name)
		if from.ino.isDir() {
			from.parent.nlink--
		}
		to.put(from.ino)
	}, 0
}

// openFlags says what openat2(2) thinks of its arguments alone (fs/open.c build_open_flags).
func openFlags(s *step) unix.Errno {
	const pathFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	tmpfile := s.flags&(unix.O_TMPFILE&^unix.O_DIRECTORY) != 0
	switch {
	case s.flags&unix.O_PATH != 0 && s.flags&^pathFlags != 0,
		s.flags&unix.O_CREAT == 0 && !tmpfile && s.mode != 0,
		s.flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY,
		tmpfile && (s.flags&unix.O_DIRECTORY == 0 || s.flags&unix.O_ACCMODE == unix.O_RDONLY),
		s.resolve&unix.RESOLVE_BENEATH != 0 && s.resolve&unix.RESOLVE_IN_ROOT != 0:
		return unix.EINVAL
	}
	return 0
}

// open says what openat2(2) would, and what it opens (fs/namei.c open_last_lookups, do_open, may_open). skip: not
// modelled.
func (m *tree) open(s *step) (do func() *opened, skip bool, errno unix.Errno) {
	if errno = openFlags(s); errno != 0 {
		return nil, false, errno
	}
	create, excl := s.flags&unix.O_CREAT != 0, s.flags&unix.O_EXCL != 0
	follow := s.flags&unix.O_NOFOLLOW == 0 && (!create || !excl)
	at, errno := m.walk(s.slot, s.path, follow, s.resolve)
	if errno != 0 {
		return nil, false, errno
	}
	n := at.ino
	tmpfile := s.flags&(unix.O_TMPFILE&^unix.O_DIRECTORY) != 0
	writes := s.flags&unix.O_ACCMODE != unix.O_RDONLY || s.flags&unix.O_TRUNC != 0
	switch {
	case n == nil && at.parent.dead:
		return nil, false, unix.ENOENT
	case n == nil && create:
		return func() *opened {
			n := newInode(unix.S_IFREG)
			at.put(n)
			return &opened{ino: n, flags: s.flags}
		}, false, 0
	case n == nil:
		return nil, false, unix.ENOENT
	case create && excl:
		return nil, false, unix.EEXIST
	case create && n.isDir():
		return nil, false, unix.EISDIR
	case s.flags&unix.O_DIRECTORY != 0 && !n.isDir():
		return nil, false, unix.ENOTDIR
	case tmpfile:
		return func() *opened {
			n := newInode(unix.S_IFREG)
			n.nlink = 0
			return &opened{ino: n, flags: s.flags}
		}, n.dead, 0
	case s.flags&unix.O_PATH != 0:
	case n.kind == unix.S_IFLNK:
		return nil, false, unix.ELOOP
	case n.isDir() && writes:
		return nil, false, unix.EISDIR
	}
	return func() *opened {
		if s.flags&unix.O_TRUNC != 0 && s.flags&unix.O_PATH == 0 {
			n.data = nil
		}
		return &opened{ino: n, flags: s.flags}
	}, false, 0
}

// grow makes data at least n bytes long.
func (n *inode) grow(size int64) {
	if more := size - int64(len(n.data)); more > 0 {
		n.data = append(n.data, make([]byte, more)...)
	}
}

func (n *inode) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	n.grow(off + int64(len(p)))
	copy(n.data[off:], p)
}

// names lists a directory.
func (n *inode) names() []string {
	var all []string
	for name := range n.entries {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// path draws the path of something that exists below n; empty if there is nothing.
func (n *inode) path(dice *rand.Rand) string {
	var parts []string
	for n.isDir() && len(n.entries) > 0 && (len(parts) == 0 || dice.IntN(2) == 0) {
		names := n.names()
		name := names[dice.IntN(len(names))]
		parts = append(parts, name)
		n = n.entries[name]
	}
	return strings.Join(parts, "/")
}
