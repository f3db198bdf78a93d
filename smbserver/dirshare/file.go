//go:build linux

package dirshare

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// file is one open object of a Share.
type file struct {
	// Immutable after Open.
	share  *Share
	ref    *uringbackend.Ref
	id     smbserver.FileID
	handle *uringbackend.Handle // nil: attributes only, or a directory
	name   *openName            // held until Close

	mu sync.Mutex
	// +checklocks:mu
	list *uringbackend.Handle // descriptor of a directory that has been listed
}

var (
	_ smbserver.File       = (*file)(nil)
	_ smbserver.Zeroer     = (*file)(nil)
	_ smbserver.Sparser    = (*file)(nil)
	_ smbserver.Uncacher   = (*file)(nil)
	_ smbserver.Referencer = (*file)(nil)
)

// ID implements smbserver.File.
func (f *file) ID() smbserver.FileID { return f.id }

// Path implements smbserver.File.
func (f *file) Path() string {
	f.name.mu.Lock()
	defer f.name.mu.Unlock()
	return f.name.at.path
}

// Attr implements smbserver.File.
func (f *file) Attr(ctx context.Context) (smbserver.Attr, error) {
	st, err := f.share.view.Stat(ctx, f.ref)
	if err != nil {
		return smbserver.Attr{}, err
	}
	return attr(st, f.share.load(ctx, f.ref)), nil
}

// SetAttr implements smbserver.File.
func (f *file) SetAttr(ctx context.Context, set smbserver.SetAttr) error {
	if set.Size != nil {
		if err := f.truncate(ctx, *set.Size); err != nil {
			return err
		}
	}
	if set.Allocation != nil {
		if err := f.allocate(ctx, *set.Allocation); err != nil {
			return err
		}
	}
	return f.share.setAttr(ctx, f.ref, set)
}

func (f *file) truncate(ctx context.Context, size int64) error {
	if f.handle != nil && f.handle.Flags()&unix.O_ACCMODE != unix.O_RDONLY {
		return f.handle.Truncate(ctx, size)
	}
	_, err := f.share.view.SetAttr(ctx, f.ref, uringbackend.SetAttr{Size: &size})
	return err
}

// allocate gives the file room for n bytes ([MS-FSA] 2.1.5.15.1): less than its size cuts it, more is reserved behind
// the end without moving it. A file system that cannot reserve answers EOPNOTSUPP, which is no failure: what a client
// asks for here is a hint.
func (f *file) allocate(ctx context.Context, n int64) error {
	st, err := f.share.view.Stat(ctx, f.ref)
	if err != nil {
		return err
	}
	if n < st.Size {
		return f.truncate(ctx, n)
	}
	if n == st.Size || f.handle == nil || f.handle.Flags()&unix.O_ACCMODE == unix.O_RDONLY {
		return nil
	}
	err = f.handle.Allocate(ctx, unix.FALLOC_FL_KEEP_SIZE, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// ReadAt implements smbserver.File.
func (f *file) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if f.handle == nil {
		return 0, unix.EISDIR
	}
	return f.handle.ReadAt(ctx, p, off)
}

// ReadUncached implements smbserver.Uncacher.
func (f *file) ReadUncached(ctx context.Context, p []byte, off int64) (int, error) {
	if f.handle == nil {
		return 0, unix.EISDIR
	}
	return f.handle.ReadUncached(ctx, p, off)
}

// WriteAt implements smbserver.File.
func (f *file) WriteAt(ctx context.Context, p []byte, off int64, o smbserver.WriteOptions) (int, error) {
	if f.handle == nil {
		return 0, unix.EISDIR
	}
	return f.handle.WriteAt(ctx, p, off, uringbackend.WriteOptions{Append: o.Append, DataSync: o.Through, Uncached: o.Uncached})
}

// Sync implements smbserver.File.
func (f *file) Sync(ctx context.Context) error {
	if f.handle != nil {
		return f.handle.Sync(ctx, false)
	}
	if f.ref.Type() != unix.S_IFDIR {
		return nil // opened without data access: it has written nothing
	}
	h, err := f.listing(ctx)
	if err != nil {
		return err
	}
	return h.Sync(ctx, false)
}

// listing opens the directory's descriptor on first use.
func (f *file) listing(ctx context.Context) (*uringbackend.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list != nil {
		return f.list, nil
	}
	if f.ref.Type() != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	h, err := f.share.view.Open(ctx, f.ref, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f.list = h
	return h, nil
}

// same checks that the name of p still names linked.
func (s *Share) same(ctx context.Context, p place, linked uringbackend.FileID) error {
	ref, _, err := s.view.Lookup(ctx, p.dir, p.name)
	if err != nil {
		return last(err)
	}
	defer ref.Release()
	if ref.ID() != linked {
		return last(unix.ESTALE)
	}
	return nil
}

// Rename implements smbserver.File.
func (f *file) Rename(ctx context.Context, newPath string, replace bool) error {
	n := f.name
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at.dir == nil || newPath == "" {
		return last(unix.EACCES) // the root keeps its name
	}
	to, err := f.share.locate(ctx, newPath)
	if err != nil {
		return err
	}
	if err := f.rename(ctx, n.at, to, n.linked, replace); err != nil {
		to.release()
		return err
	}
	f.share.names.moveLocked(n, to)
	return nil
}

func (f *file) rename(ctx context.Context, from, to place, linked uringbackend.FileID, replace bool) error {
	if err := f.share.same(ctx, from, linked); err != nil {
		return err
	}
	view := f.share.view
	if !replace {
		return last(view.Rename(ctx, from.dir, from.name, to.dir, to.name, unix.RENAME_NOREPLACE))
	}
	if err := view.Rename(ctx, from.dir, from.name, to.dir, to.name, 0); err != nil {
		return last(err)
	}
	// Where both names are links to one file, rename(2) succeeds and does nothing: the old name is still to go.
	if keyOf(from, linked) != keyOf(to, linked) && f.share.same(ctx, from, linked) == nil {
		return last(view.Unlink(ctx, from.dir, from.name))
	}
	return nil
}

// Link implements smbserver.File.
func (f *file) Link(ctx context.Context, newPath string, replace bool) error {
	if newPath == "" {
		return last(unix.EEXIST)
	}
	to, err := f.share.locate(ctx, newPath)
	if err != nil {
		return err
	}
	defer to.release()
	view := f.share.view
	_, err = view.Link(ctx, f.ref, to.dir, to.name)
	if !replace || !errors.Is(err, unix.EEXIST) {
		return last(err)
	}
	// Over an existing name: a second name of our own first, then one rename, so that the name is never missing.
	temporary := fmt.Sprintf(".uringfs-link-%x-%x", f.id.Inode, f.id.Generation)
	if _, err := view.Link(ctx, f.ref, to.dir, temporary); err != nil {
		return last(err)
	}
	if err := view.Rename(ctx, to.dir, temporary, to.dir, to.name, 0); err != nil {
		return errors.Join(last(err), view.Unlink(ctx, to.dir, temporary))
	}
	// rename(2) does nothing where both names are the same file already, and leaves the temporary one.
	if err := view.Unlink(ctx, to.dir, temporary); err != nil && !errors.Is(err, unix.ENOENT) {
		return last(err)
	}
	return nil
}

// Remove implements smbserver.File.
func (f *file) Remove(ctx context.Context) error {
	n := f.name
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at.dir == nil {
		return last(unix.EACCES)
	}
	if err := f.share.same(ctx, n.at, n.linked); err != nil {
		return err
	}
	if f.ref.Type() == unix.S_IFDIR && n.linked == f.ref.ID() {
		return last(f.share.view.Rmdir(ctx, n.at.dir, n.at.name))
	}
	return last(f.share.view.Unlink(ctx, n.at.dir, n.at.name))
}

// Close implements smbserver.File.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx := context.Background() // a descriptor is given back whatever becomes of the request
	var err error
	if f.handle != nil {
		err = f.handle.Close(ctx)
	}
	if f.list != nil {
		err = errors.Join(err, f.list.Close(ctx))
	}
	f.ref.Release()
	f.share.names.release(f.name)
	return err
}

// ZeroRange implements smbserver.Zeroer: a hole where the file system can, zeros written where it cannot.
func (f *file) ZeroRange(ctx context.Context, off, n int64) error {
	if f.handle == nil {
		return unix.EISDIR
	}
	st, err := f.handle.Stat(ctx)
	if err != nil {
		return err
	}
	n = min(n, st.Size-off) // zeros beyond the end are there already, and the size does not change
	if n <= 0 {
		return nil
	}
	err = f.handle.Allocate(ctx, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		m, err := f.handle.WriteAt(ctx, zeros[:min(n, int64(len(zeros)))], off, uringbackend.WriteOptions{})
		if err != nil {
			return err
		}
		off, n = off+int64(m), n-int64(m)
	}
	return nil
}

// SetSparse implements smbserver.Sparser. Files are always sparse here; what is kept is what the client said.
func (f *file) SetSparse(ctx context.Context, on bool) error {
	d := f.share.load(ctx, f.ref)
	was := d
	d.attributes &^= storableSparse
	if on {
		d.attributes |= storableSparse
	}
	if d == was {
		return nil
	}
	return f.share.store(ctx, f.ref, d)
}

// AllocatedRanges implements smbserver.Sparser by SEEK_DATA and SEEK_HOLE.
func (f *file) AllocatedRanges(ctx context.Context, off, n int64) ([]smbserver.ByteRange, error) {
	if f.handle == nil {
		return nil, unix.EISDIR
	}
	var out []smbserver.ByteRange
	end := off + n
	for off < end {
		data, err := f.handle.Seek(ctx, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= end {
			break // a hole to the end
		}
		if err != nil {
			return nil, err
		}
		hole, err := f.handle.Seek(ctx, data, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) {
			break // the file became shorter meanwhile
		}
		if err != nil {
			return nil, err
		}
		hole = min(hole, end)
		out = append(out, smbserver.ByteRange{Offset: data, Length: hole - data})
		off = hole
	}
	return out, nil
}
