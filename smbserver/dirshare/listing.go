//go:build linux

package dirshare

import (
	"context"
	"path"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// maxAhead is how many entries are looked up at once at most.
const maxAhead = 32

// ReadDir implements smbserver.File. Cookies are the backing directory's own offsets.
func (f *file) ReadDir(ctx context.Context, cookie uint64, fn func(smbserver.DirEntry) bool) error {
	h, err := f.listing(ctx)
	if err != nil {
		return err
	}
	a := ahead{f: f}
	defer a.release()
	for {
		err := a.fill(ctx, h, int64(cookie))
		for i, d := range a.entries {
			if !fn(smbserver.DirEntry{
				Name: d.Name, Cookie: uint64(d.Cookie),
				Attr: func(ctx context.Context) (smbserver.Attr, error) { return a.attr(ctx, i) },
			}) {
				return nil
			}
			cookie = uint64(d.Cookie)
		}
		if err != nil || len(a.entries) == 0 {
			return err
		}
	}
}

// ahead is some entries of a directory, of which those that are asked about one after the other are looked up together. The
// first question looks up one, so that the search for one name costs no more than it did; then more and more.
type ahead struct {
	f       *file
	entries []uringbackend.Dirent
	found   []uringbackend.Found // of the entries from start on
	start   int
	asked   int // look-ups so far
}

// fill replaces the entries by those that follow cookie.
func (a *ahead) fill(ctx context.Context, h *uringbackend.Handle, cookie int64) error {
	a.release()
	a.entries, a.start = a.entries[:0], 0
	return h.ReadDir(ctx, cookie, func(d uringbackend.Dirent) bool {
		if d.Name == "." || d.Name == ".." {
			return true
		}
		a.entries = append(a.entries, d)
		return len(a.entries) < maxAhead
	})
}

// release gives back what has been looked up.
func (a *ahead) release() {
	refs := make([]*uringbackend.Ref, 0, len(a.found))
	for i := range a.found {
		if a.found[i].Ref != nil {
			refs = append(refs, a.found[i].Ref)
		}
	}
	a.f.share.view.ReleaseMany(refs)
	a.found = nil
}

// attr reads the attributes behind entry i; a link shows what it leads to, beneath the root.
func (a *ahead) attr(ctx context.Context, i int) (smbserver.Attr, error) {
	if i < a.start || i >= a.start+len(a.found) {
		a.look(ctx, i)
	}
	e := &a.found[i-a.start]
	if e.Err != nil {
		return smbserver.Attr{}, last(e.Err)
	}
	if e.Stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		s := a.f.share
		ref, st, err := s.view.Resolve(ctx, path.Join(a.f.Path(), a.entries[i].Name), true)
		if err != nil {
			return smbserver.Attr{}, last(err)
		}
		defer ref.Release()
		return attr(st, s.load(ctx, ref)), nil
	}
	var dos stored
	if e.XattrErr == nil {
		dos = parseStored(e.Xattr)
	}
	return attr(e.Stat, dos), nil
}

// look looks up entry i and some of those behind it.
func (a *ahead) look(ctx context.Context, i int) {
	a.release()
	n := [...]int{1, 8, maxAhead}[min(a.asked, 2)]
	a.asked++
	var names []string
	for _, d := range a.entries[i:min(i+n, len(a.entries))] {
		names = append(names, d.Name)
	}
	a.start = i
	a.found = a.f.share.view.LookupMany(ctx, a.f.ref, names, uringbackend.LookupOptions{Xattr: xattrDOS, Size: storedSize})
}
