//go:build linux

package enginetest

import (
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// generate draws the next step: most often one that has something to act on, sometimes one that has not, sometimes a
// batch.
func (tr *trial) generate(m *tree, dice *rand.Rand) step {
	d := drawer{Rand: dice, m: m}
	if d.one(8) {
		var batch []step
		for range 2 + d.IntN(20) {
			s := tr.draw(&d)
			if try := append(slices.Clip(batch), s); !m.expect(&s).skip && m.independent(try) {
				batch = try
			}
		}
		if len(batch) > 1 {
			return step{batch: batch}
		}
	}
	return tr.draw(&d)
}

type drawer struct {
	*rand.Rand
	m *tree
}

// one is true once in n times.
func (d *drawer) one(n int) bool { return d.IntN(n) == 0 }

func (d *drawer) name() string { return string(rune('a' + d.IntN(5))) }

// some draws a slot with something open that fits, or now and then any.
func (d *drawer) some(fits func(o *opened) bool) int {
	var fit []int
	for i, o := range d.m.slots {
		if o != nil && fits(o) {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 || d.one(20) {
		return d.IntN(slots)
	}
	return fit[d.IntN(len(fit))]
}

func (d *drawer) dir() int { return d.some(func(o *opened) bool { return o.ino.isDir() }) }

func (d *drawer) file() int {
	return d.some(func(o *opened) bool { return o.ino.kind == unix.S_IFREG })
}

// path draws a path below a slot: something that exists, something beside it, or anything.
func (d *drawer) path(slot int) string {
	var path string
	if o := d.m.slots[slot]; o != nil && !d.one(4) {
		path = o.ino.path(d.Rand)
	}
	if path == "" || d.one(4) {
		path = strings.TrimPrefix(path+"/"+d.name(), "/")
	}
	if d.one(40) {
		path += "/" + d.pick("a/b", ".", "e")
	}
	if d.one(40) {
		path = "./" + path
	}
	return path
}

// vacant draws a path that is likely to be free.
func (d *drawer) vacant(slot int) string {
	path := d.path(slot)
	for range 4 {
		if at, errno := d.m.walk(slot, path, false, 0); errno == 0 && at.ino == nil {
			break
		}
		path = d.path(slot)
	}
	return path
}

func (d *drawer) pick(of ...string) string { return of[d.IntN(len(of))] }

func choose[T any](d *drawer, of ...T) T { return of[d.IntN(len(of))] }

// size draws a length: small, about a page, or several pages; now and then nothing.
func (d *drawer) size() int {
	return choose(d, 1+d.IntN(100), 4096-d.IntN(10), 4096*d.IntN(3)+d.IntN(10), d.IntN(30000))
}

func (d *drawer) offset() int64 {
	return choose(d, 0, int64(d.IntN(100)), int64(4096*d.IntN(8)), int64(d.IntN(50000)))
}

// draw draws a single step.
func (tr *trial) draw(d *drawer) step {
	switch p := d.IntN(100); {
	case p < 18:
		return d.open()
	case p < 24:
		return step{kind: uringbackend.KindClose, slot: 1 + d.IntN(slots-1)}
	case p < 52:
		return d.transfer()
	case p < 58:
		return d.resize()
	case p < 64 && tr.xattr:
		return d.xattr()
	case p < 68:
		return step{
			kind: uringbackend.KindCopyFileRange, slot: d.file(), slot2: d.file(), off: d.offset(), off2: d.offset(),
			length: int64(d.size()),
		}
	case p < 71:
		whence := choose(d, unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE, 99)
		off := d.offset()
		if d.one(4) {
			off = -off
		}
		return step{kind: uringbackend.KindSeek, slot: d.file(), off: off, mask: whence}
	case p < 74:
		slot := d.dir()
		if d.one(10) {
			slot = d.file()
		}
		return step{kind: uringbackend.KindGetdents, slot: slot, sizes: []int{512}}
	case p < 82:
		slot := choose(d, d.dir(), d.file())
		if d.one(2) {
			return step{kind: uringbackend.KindStatx, slot: slot, flags: unix.AT_EMPTY_PATH, mask: unix.STATX_BASIC_STATS}
		}
		slot = d.dir()
		return step{
			kind: uringbackend.KindStatx, slot: slot, path: d.path(slot), mask: unix.STATX_BASIC_STATS,
			flags: choose(d, 0, unix.AT_SYMLINK_NOFOLLOW),
		}
	default:
		return d.names()
	}
}

func (d *drawer) open() step {
	slot := d.dir()
	s := step{kind: uringbackend.KindOpenat2, slot: slot, path: d.path(slot)}
	for i := 1; i < slots && s.out == 0; i++ {
		if d.m.slots[i] == nil {
			s.out = i
		}
	}
	if s.out == 0 {
		return step{kind: uringbackend.KindClose, slot: 1 + d.IntN(slots-1)}
	}
	s.flags = choose(d, unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR)
	for _, f := range []struct{ flag, once int }{
		{unix.O_CREAT, 2},
		{unix.O_EXCL, 5},
		{unix.O_TRUNC, 8},
		{unix.O_APPEND, 8},
		{unix.O_DIRECTORY, 6},
		{unix.O_NOFOLLOW, 5},
		{unix.O_NONBLOCK, 10},
		{unix.O_DSYNC, 10},
	} {
		if d.one(f.once) {
			s.flags |= f.flag
		}
	}
	switch d.IntN(12) {
	case 0:
		s.flags = unix.O_PATH | s.flags&(unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if d.one(8) {
			s.flags |= unix.O_RDWR
		}
	case 1:
		s.flags = s.flags&unix.O_ACCMODE | unix.O_TMPFILE
		s.mode = 0o600
	case 2:
		s.flags = unix.O_RDONLY | unix.O_DIRECTORY
	}
	if s.flags&unix.O_CREAT != 0 || d.one(50) {
		s.mode = 0o700
	}
	s.resolve = choose[uint64](d, 0, unix.RESOLVE_BENEATH, unix.RESOLVE_BENEATH, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if s.resolve&unix.RESOLVE_BENEATH != 0 && d.one(10) {
		s.path = d.pick("..", s.path+"/..", s.path+"/../"+d.name(), "../"+s.path)
	}
	if d.one(100) {
		s.resolve |= unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	}
	return s
}

func (d *drawer) transfer() step {
	s := step{slot: d.file(), off: d.offset(), sizes: []int{d.size()}, fill: byte(d.Uint32())}
	vector := d.one(3)
	if vector {
		s.sizes = append(s.sizes, d.size(), 0, d.IntN(50))
	}
	if d.one(5) {
		s.off = -1
	}
	switch write := d.one(2); {
	case write && vector:
		s.kind = uringbackend.KindWritevAt
	case write:
		s.kind = uringbackend.KindWriteAt
	case vector:
		s.kind = uringbackend.KindReadvAt
	default:
		s.kind = uringbackend.KindReadAt
		s.sizes[0] = max(s.sizes[0], 1)
	}
	if s.kind == uringbackend.KindWriteAt || s.kind == uringbackend.KindWritevAt {
		s.flags = choose(d, 0, 0, 0, unix.RWF_DSYNC, unix.RWF_APPEND)
	} else {
		s.fill = 0
	}
	if d.one(50) {
		s.slot = d.dir()
	}
	return s
}

func (d *drawer) resize() step {
	s := step{slot: d.file(), length: d.offset()}
	switch d.IntN(5) {
	case 0, 1:
		s.kind = uringbackend.KindFtruncate
		if d.one(20) {
			s.length = -1
		}
	case 2:
		s.kind, s.length = uringbackend.KindFsync, 0
		s.flags = d.IntN(2)
	default:
		s.kind, s.off = uringbackend.KindFallocate, d.offset()
		s.flags = choose(d, 0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
			unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE)
	}
	return s
}

func (d *drawer) xattr() step {
	s := step{slot: d.file(), path: "user." + d.name(), sizes: []int{d.IntN(40)}}
	if d.one(5) {
		s.slot = d.dir()
	}
	if !d.one(3) {
		s.mask = uringbackend.ByMagicLink
	}
	switch d.IntN(6) {
	case 0, 1:
		s.kind, s.fill = uringbackend.KindFsetxattr, byte(d.Uint32())
		s.flags = choose(d, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE)
	case 2, 3:
		s.kind = uringbackend.KindFgetxattr
	case 4:
		s.kind, s.sizes = uringbackend.KindFremovexattr, nil
	default:
		s.kind, s.path, s.sizes = uringbackend.KindFlistxattr, "", []int{4096}
	}
	return s
}

// names draws a verb that acts on names.
func (d *drawer) names() step {
	slot, slot2 := d.dir(), d.dir()
	switch d.IntN(9) {
	case 0, 1:
		return step{kind: uringbackend.KindMkdirat, slot: slot, path: d.vacant(slot), mask: 0o700}
	case 2:
		target := d.pick(d.name(), d.name()+"/"+d.name(), ".", "./"+d.name(), "a/b/c")
		return step{kind: uringbackend.KindSymlinkat, slot: slot, path: d.vacant(slot), path2: target}
	case 3:
		return step{
			kind: uringbackend.KindLinkat, slot: slot, path: d.path(slot), slot2: slot2, path2: d.vacant(slot2),
			flags: choose(d, 0, unix.AT_SYMLINK_FOLLOW),
		}
	case 4:
		return step{kind: uringbackend.KindUnlinkat, slot: slot, path: d.path(slot)}
	case 5:
		return step{kind: uringbackend.KindUnlinkat, slot: slot, path: d.path(slot), flags: unix.AT_REMOVEDIR}
	case 6:
		return step{kind: uringbackend.KindReadlinkat, slot: slot, path: d.path(slot), sizes: []int{choose(d, 1, 2, 64)}}
	default:
		return step{
			kind: uringbackend.KindRenameat2, slot: slot, path: d.path(slot), slot2: slot2, path2: d.path(slot2),
			flags: choose(d, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE),
		}
	}
}
