//go:build linux

package enginetest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// step is one op of the model, or several independent ones. It names slots and paths, not descriptors, so that a
// history can be repeated without some of its steps.
type step struct {
	kind        uringbackend.Kind
	slot, slot2 int
	out         int // slot for a new descriptor
	path, path2 string
	flags, mask int
	mode        uint64
	resolve     uint64
	off, off2   int64
	length      int64
	sizes       []int // of the buffers
	fill        byte  // first byte of what is written

	batch []step
}

func (s *step) String() string {
	if s.batch != nil {
		parts := make([]string, len(s.batch))
		for i := range s.batch {
			parts[i] = s.batch[i].String()
		}
		return "batch{" + strings.Join(parts, "; ") + "}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s slot=%d", s.kind, s.slot)
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"slot2", int64(s.slot2)},
		{"out", int64(s.out)},
		{"flags", int64(s.flags)},
		{"mask", int64(s.mask)},
		{"mode", int64(s.mode)},
		{"resolve", int64(s.resolve)},
		{"offset", s.off},
		{"offset2", s.off2},
		{"length", s.length},
		{"fill", int64(s.fill)},
	} {
		if f.v != 0 {
			fmt.Fprintf(&b, " %s=%#x", f.name, f.v)
		}
	}
	if s.path != "" || s.path2 != "" {
		fmt.Fprintf(&b, " %q %q", s.path, s.path2)
	}
	if s.sizes != nil {
		fmt.Fprintf(&b, " sizes=%v", s.sizes)
	}
	return b.String()
}

// op makes the op of a step.
func (s *step) op(fd func(slot int) int) uringbackend.Op {
	op := uringbackend.Op{
		Kind: s.kind, FD: fd(s.slot), FD2: fd(s.slot2), Path: s.path, Path2: s.path2, Flags: s.flags, Mask: s.mask,
		Offset: s.off, Offset2: s.off2, Length: s.length,
	}
	bufs := make([][]byte, len(s.sizes))
	for i, n := range s.sizes {
		bufs[i] = make([]byte, n)
	}
	switch s.kind {
	case uringbackend.KindWriteAt, uringbackend.KindWritevAt, uringbackend.KindFsetxattr:
		next := s.fill
		for _, b := range bufs {
			for i := range b {
				b[i] = next
				next += 7
			}
		}
	default:
	}
	switch s.kind {
	case uringbackend.KindReadvAt, uringbackend.KindWritevAt:
		op.Bufs = bufs
	case uringbackend.KindOpenat2:
		op.How = &unix.OpenHow{Flags: uint64(s.flags | unix.O_CLOEXEC), Mode: s.mode, Resolve: s.resolve}
		op.Flags = 0
	case uringbackend.KindStatx:
		op.Statx = new(unix.Statx_t)
	default:
		if len(bufs) > 0 {
			op.Buf = bufs[0]
		}
	}
	return op
}

// data is what the op's buffers hold.
func data(op *uringbackend.Op) []byte {
	if op.Bufs != nil {
		return bytes.Join(op.Bufs, nil)
	}
	return op.Buf
}

// expected is what the model says about a step.
type expected struct {
	skip  bool // not modelled in this state: the step is left out
	errno unix.Errno
	n     int64 // the result; -1: any that check accepts
	part  bool  // a transfer that may be short
	// check looks at what an op that succeeded has brought. commit does to the model what the op has done; it comes
	// after check.
	check  func(n int64, op *uringbackend.Op) error
	commit func(n int64, op *uringbackend.Op)
}

func fails(errno unix.Errno) expected { return expected{errno: errno} }

func does(commit func()) expected {
	return expected{commit: func(int64, *uringbackend.Op) { commit() }}
}

// expect says what a step will do to the model as it is.
func (m *tree) expect(s *step) expected {
	switch s.kind {
	case uringbackend.KindMkdirat, uringbackend.KindSymlinkat, uringbackend.KindLinkat, uringbackend.KindUnlinkat,
		uringbackend.KindRenameat2, uringbackend.KindReadlinkat, uringbackend.KindStatx, uringbackend.KindOpenat2:
		return m.expectPath(s)
	default:
	}
	if s.kind == uringbackend.KindFtruncate && s.length < 0 {
		return fails(unix.EINVAL) // before the descriptor is looked at
	}
	o := m.slots[s.slot]
	if o == nil {
		return fails(unix.EBADF)
	}
	switch s.kind {
	case uringbackend.KindClose:
		return expected{skip: s.slot == 0, commit: func(int64, *uringbackend.Op) { m.slots[s.slot] = nil }}
	case uringbackend.KindFgetxattr, uringbackend.KindFsetxattr, uringbackend.KindFlistxattr, uringbackend.KindFremovexattr:
		if o.byPath() && s.mask&uringbackend.ByMagicLink == 0 {
			return fails(unix.EBADF)
		}
		return expectXattr(s, o.ino)
	case uringbackend.KindCopyFileRange:
		return expectCopy(s, o, m.slots[s.slot2])
	case uringbackend.KindGetdents:
		return expectNames(o)
	default:
	}
	if o.byPath() {
		return fails(unix.EBADF)
	}
	switch s.kind {
	case uringbackend.KindReadAt, uringbackend.KindReadvAt:
		return expectRead(s, o)
	case uringbackend.KindWriteAt, uringbackend.KindWritevAt:
		return expectWrite(s, o)
	case uringbackend.KindFtruncate:
		if o.ino.isDir() || !o.writes() {
			return fails(unix.EINVAL)
		}
		return does(func() {
			o.ino.grow(s.length)
			o.ino.data = slices.Clip(o.ino.data[:s.length])
		})
	case uringbackend.KindFallocate:
		return expectFallocate(s, o)
	case uringbackend.KindSeek:
		return expectSeek(s, o)
	case uringbackend.KindFsync:
		return expected{}
	default:
		return expected{skip: true}
	}
}

func (m *tree) expectPath(s *step) expected {
	switch s.kind {
	case uringbackend.KindMkdirat:
		at, errno := m.vacant(s.slot, s.path)
		return expected{errno: errno, commit: func(int64, *uringbackend.Op) { at.put(newInode(unix.S_IFDIR)) }}
	case uringbackend.KindSymlinkat:
		at, errno := m.vacant(s.slot, s.path)
		return expected{errno: errno, commit: func(int64, *uringbackend.Op) {
			n := newInode(unix.S_IFLNK)
			n.target = s.path2
			at.put(n)
		}}
	case uringbackend.KindLinkat:
		n, errno := m.find(s.slot, s.path, s.flags&unix.AT_SYMLINK_FOLLOW != 0)
		if errno != 0 {
			return fails(errno)
		}
		at, errno := m.vacant(s.slot2, s.path2)
		switch {
		case errno != 0:
		case n.isDir():
			errno = unix.EPERM
		case n.nlink == 0:
			errno = unix.ENOENT
		}
		return expected{errno: errno, commit: func(int64, *uringbackend.Op) {
			at.put(n)
			n.nlink++
		}}
	case uringbackend.KindUnlinkat:
		at, errno := m.walk(s.slot, s.path, false, 0)
		if errno == 0 {
			errno = mayUnlink(at, s.flags&unix.AT_REMOVEDIR != 0)
		}
		return expected{errno: errno, commit: func(int64, *uringbackend.Op) { at.drop() }}
	case uringbackend.KindRenameat2:
		do, errno := m.rename(s)
		return expected{errno: errno, commit: func(int64, *uringbackend.Op) { do() }}
	case uringbackend.KindReadlinkat:
		n, errno := m.find(s.slot, s.path, false)
		switch {
		case errno != 0:
			return fails(errno)
		case n.kind != unix.S_IFLNK:
			return fails(unix.EINVAL)
		}
		want := n.target[:min(len(n.target), s.sizes[0])]
		return expected{n: int64(len(want)), check: func(n int64, op *uringbackend.Op) error {
			return differ(op.Buf[:n], []byte(want))
		}}
	case uringbackend.KindStatx:
		return m.expectStatx(s)
	default:
		do, skip, errno := m.open(s)
		if errno == 0 && (m.slots[s.out] != nil || s.out == 0) {
			skip = true // a history without the close before
		}
		return expected{errno: errno, skip: skip, n: -1, commit: func(int64, *uringbackend.Op) { m.slots[s.out] = do() }}
	}
}

// mayUnlink: fs/namei.c do_unlinkat, do_rmdir, may_delete.
func mayUnlink(at place, dir bool) unix.Errno {
	switch {
	case dir && at.name == ".":
		return unix.EINVAL
	case dir && at.name == "..":
		return unix.ENOTEMPTY
	case at.special():
		return unix.EISDIR
	case at.ino == nil:
		return unix.ENOENT
	case dir && !at.ino.isDir():
		return unix.ENOTDIR
	case dir && len(at.ino.entries) > 0:
		return unix.ENOTEMPTY
	case !dir && at.ino.isDir():
		return unix.EISDIR
	}
	return 0
}

func (m *tree) expectStatx(s *step) expected {
	var n *inode
	if s.flags&unix.AT_EMPTY_PATH != 0 {
		if m.slots[s.slot] == nil {
			return fails(unix.EBADF)
		}
		n = m.slots[s.slot].ino
	} else {
		var errno unix.Errno
		if n, errno = m.find(s.slot, s.path, s.flags&unix.AT_SYMLINK_NOFOLLOW == 0); errno != 0 {
			return fails(errno)
		}
	}
	return expected{check: func(_ int64, op *uringbackend.Op) error {
		size := uint64(len(n.data) + len(n.target))
		st := op.Statx
		if n.isDir() {
			size = st.Size // each file system counts in its own way
		}
		if uint32(st.Mode)&unix.S_IFMT != n.kind || int(st.Nlink) != n.nlink || st.Size != size {
			return fmt.Errorf("mode %#o nlink %d size %d, the model has mode %#o nlink %d size %d",
				st.Mode, st.Nlink, st.Size, n.kind, n.nlink, size)
		}
		return nil
	}}
}

func expectRead(s *step, o *opened) expected {
	switch {
	case !o.reads():
		return fails(unix.EBADF)
	case o.ino.isDir():
		return fails(unix.EISDIR)
	}
	off := s.off
	if off < 0 {
		off = o.pos
	}
	var want []byte
	if off < int64(len(o.ino.data)) {
		want = o.ino.data[off:]
	}
	total := 0
	for _, n := range s.sizes {
		total += n
	}
	want = slices.Clone(want[:min(len(want), total)])
	return expected{
		n: int64(len(want)), part: true,
		check: func(n int64, op *uringbackend.Op) error { return differ(data(op)[:n], want[:n]) },
		commit: func(n int64, _ *uringbackend.Op) {
			if s.off < 0 {
				o.pos += n
			}
		},
	}
}

func expectWrite(s *step, o *opened) expected {
	if !o.writes() {
		return fails(unix.EBADF)
	}
	total := 0
	for _, n := range s.sizes {
		total += n
	}
	return expected{n: int64(total), part: true, commit: func(n int64, op *uringbackend.Op) {
		off := s.off
		switch {
		case total == 0:
			return
		case o.flags&unix.O_APPEND != 0 || s.flags&unix.RWF_APPEND != 0:
			off = int64(len(o.ino.data))
		case off < 0:
			off = o.pos
		}
		o.ino.write(data(op)[:n], off)
		if s.off < 0 {
			o.pos = off + n
		}
	}}
}

// expectFallocate: fs/open.c vfs_fallocate, mm/shmem.c shmem_fallocate.
func expectFallocate(s *step, o *opened) expected {
	const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	switch {
	case s.off < 0 || s.length <= 0:
		return fails(unix.EINVAL)
	case s.flags == unix.FALLOC_FL_PUNCH_HOLE: // a hole never makes a file longer, and wants that said
		return fails(unix.EOPNOTSUPP)
	case !o.writes():
		return fails(unix.EBADF)
	case s.flags != 0 && s.flags != unix.FALLOC_FL_KEEP_SIZE && s.flags != punch:
		return expected{skip: true} // up to the file system
	}
	return does(func() {
		n := o.ino
		if s.flags == 0 {
			n.grow(s.off + s.length)
		} else if s.flags == punch && s.off < int64(len(n.data)) {
			clear(n.data[s.off:min(s.off+s.length, int64(len(n.data)))])
		}
	})
}

// expectSeek judges data and holes by what must be true of any file system: what is skipped is zero.
func expectSeek(s *step, o *opened) expected {
	if o.ino.isDir() {
		return expected{skip: true}
	}
	size := int64(len(o.ino.data))
	moved := func(n int64, _ *uringbackend.Op) { o.pos = n }
	zeros := func(from, to int64) bool {
		return !slices.ContainsFunc(o.ino.data[from:to], func(b byte) bool { return b != 0 })
	}
	base := int64(0)
	switch s.mask {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = o.pos
	case unix.SEEK_END:
		base = size
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		if s.off < 0 || s.off >= size {
			return fails(unix.ENXIO)
		}
		if s.mask == unix.SEEK_DATA && zeros(s.off, size) {
			return expected{skip: true} // data of zeros, or a hole: both are right
		}
		return expected{n: -1, commit: moved, check: func(n int64, _ *uringbackend.Op) error {
			right := n >= s.off && n < size && zeros(s.off, n)
			if s.mask == unix.SEEK_HOLE {
				right = n >= s.off && n <= size && (n == size || o.ino.data[n] == 0)
			}
			if !right {
				return fmt.Errorf("position %d of a file of %d bytes", n, size)
			}
			return nil
		}}
	default:
		return fails(unix.EINVAL)
	}
	if base+s.off < 0 {
		return fails(unix.EINVAL)
	}
	return expected{n: base + s.off, commit: moved}
}

// expectCopy: fs/read_write.c generic_file_rw_checks, generic_copy_file_checks.
func expectCopy(s *step, in, out *opened) expected {
	switch {
	case out == nil || in.byPath() || out.byPath():
		return fails(unix.EBADF)
	case in.ino.isDir() || out.ino.isDir():
		return fails(unix.EISDIR)
	case !in.reads() || !out.writes() || out.flags&unix.O_APPEND != 0:
		return fails(unix.EBADF)
	}
	n := max(min(s.length, int64(len(in.ino.data))-s.off), 0)
	if in.ino == out.ino && s.off2+n > s.off && s.off2 < s.off+n {
		return fails(unix.EINVAL)
	}
	return expected{n: n, part: true, commit: func(n int64, _ *uringbackend.Op) {
		if n > 0 {
			out.ino.write(slices.Clone(in.ino.data[s.off:s.off+n]), s.off2)
		}
	}}
}

// expectNames: the executor hands over the whole listing, sorted, each name ended by NUL.
func expectNames(o *opened) expected {
	switch {
	case o.byPath():
		return fails(unix.EBADF)
	case !o.ino.isDir():
		return fails(unix.ENOTDIR)
	case o.ino.dead:
		return fails(unix.ENOENT)
	}
	want := append([]string{".", ".."}, o.ino.names()...)
	return expected{n: -1, check: func(_ int64, op *uringbackend.Op) error {
		return differ(op.Buf, []byte(strings.Join(want, "\x00")))
	}}
}

func expectXattr(s *step, n *inode) expected {
	if n.kind == unix.S_IFLNK {
		return expected{skip: true}
	}
	value, ok := n.xattrs[s.path]
	switch s.kind {
	case uringbackend.KindFsetxattr:
		switch {
		case s.flags == unix.XATTR_CREATE && ok:
			return fails(unix.EEXIST)
		case s.flags == unix.XATTR_REPLACE && !ok:
			return fails(unix.ENODATA)
		}
		return expected{commit: func(_ int64, op *uringbackend.Op) { n.xattrs[s.path] = string(op.Buf) }}
	case uringbackend.KindFremovexattr:
		if !ok {
			return fails(unix.ENODATA)
		}
		return does(func() { delete(n.xattrs, s.path) })
	case uringbackend.KindFgetxattr:
		size := s.sizes[0]
		switch {
		case !ok:
			return fails(unix.ENODATA)
		case size > 0 && size < len(value):
			return fails(unix.ERANGE)
		}
		return expected{n: int64(len(value)), check: func(n int64, op *uringbackend.Op) error {
			if size == 0 {
				return nil
			}
			return differ(op.Buf[:n], []byte(value))
		}}
	default:
		var want []string
		for name := range n.xattrs {
			want = append(want, name)
		}
		slices.Sort(want)
		return expected{n: -1, check: func(n int64, op *uringbackend.Op) error {
			var got []string
			for name := range strings.SplitSeq(string(op.Buf[:n]), "\x00") {
				if strings.HasPrefix(name, "user.") { // others are the system's
					got = append(got, name)
				}
			}
			slices.Sort(got)
			return differ([]byte(strings.Join(got, "\x00")), []byte(strings.Join(want, "\x00")))
		}}
	}
}

// differ says where two contents differ.
func differ(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	excerpt := func(p []byte) []byte { return p[min(at, len(p)):min(at+24, len(p))] }
	return fmt.Errorf("%d bytes, the model has %d; from byte %d on %q instead of %q",
		len(got), len(want), at, excerpt(got), excerpt(want))
}

// touches lists what a step that names a slot, or a name right below one, depends on: nil if it depends on more. Two
// steps without a common one can run at the same time.
func (m *tree) touches(s *step) []any {
	o := m.slots[s.slot]
	switch s.kind {
	case uringbackend.KindReadAt, uringbackend.KindReadvAt, uringbackend.KindWriteAt, uringbackend.KindWritevAt,
		uringbackend.KindFtruncate, uringbackend.KindFallocate, uringbackend.KindFsync, uringbackend.KindSeek,
		uringbackend.KindFgetxattr, uringbackend.KindFsetxattr, uringbackend.KindFremovexattr:
	case uringbackend.KindStatx:
		if s.flags&unix.AT_EMPTY_PATH == 0 {
			return nil
		}
	case uringbackend.KindMkdirat, uringbackend.KindSymlinkat:
		if o == nil || strings.Contains(s.path, "/") || s.path == "." {
			return nil
		}
		return []any{o.ino, o.ino.entries[s.path]}
	default:
		return nil
	}
	if o == nil {
		return []any{-1 - s.slot}
	}
	return []any{o.ino, s.slot}
}

// independent says whether a batch may run at once.
func (m *tree) independent(batch []step) bool {
	seen := map[any]bool{}
	for i := range batch {
		touched := m.touches(&batch[i])
		if touched == nil {
			return false
		}
		for _, x := range touched {
			if n, ok := x.(*inode); ok && n == nil {
				continue
			}
			if seen[x] {
				return false
			}
			seen[x] = true
		}
	}
	return true
}

func or(errno unix.Errno) string { return cmp.Or(unix.ErrnoName(errno), "success") }
