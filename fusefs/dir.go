//go:build linux

package fusefs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// OpenDir answers OPENDIR. Entries are never cached by the kernel (no FOPEN_CACHE_DIR): names made behind the mount show
// at the next readdir in every mode.
func (fs *rawFS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	fs.count(opOpendir)
	n := fs.nodes.get(in.NodeId)
	if n == nil {
		return stale
	}
	h, err := fs.view.Open(whole(), n.ref, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fs.status(err)
	}
	out.Fh = fs.files.add(h)
	return fuse.OK
}

// ReadDir answers READDIR. Offsets are the backing directory's own, so seekdir(3) works as there.
func (fs *rawFS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	fs.count(opReaddir)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	return fs.status(f.h.ReadDir(whole(), int64(in.Offset), func(d uringbackend.Dirent) bool {
		return out.AddDirEntry(fs.dirEntry(f, d))
	}))
}

func (fs *rawFS) dirEntry(f *file, d uringbackend.Dirent) fuse.DirEntry {
	ino := fs.ino(uringbackend.FileID{Dev: f.h.ID().Dev, Ino: d.Ino})
	return fuse.DirEntry{Name: d.Name, Ino: ino, Mode: uint32(d.Type) << 12, Off: uint64(d.Cookie)}
}

// direntPlusSize is the least that one READDIRPLUS entry takes in bytes: fuse_entry_out, fuse_dirent and a padded name.
const direntPlusSize = 128 + 24 + 8

// ReadDirPlus answers READDIRPLUS: names with what LOOKUP would say about each.
func (fs *rawFS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	fs.count(opReaddirplus)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	// Names first, lookups after: a lookup takes locks of the Volume that ReadDir may hold around its callback.
	var entries []uringbackend.Dirent
	room := int(in.Size)
	err := f.h.ReadDir(whole(), int64(in.Offset), func(d uringbackend.Dirent) bool {
		if room -= direntPlusSize + (len(d.Name)-1)&^7; room < 0 {
			return false
		}
		entries = append(entries, d)
		return true
	})
	if err != nil {
		return fs.status(err)
	}
	for len(entries) > 0 {
		some := entries[:min(lookupsAtOnce, len(entries))]
		entries = entries[len(some):]
		if !fs.plusEntries(f, some, out) {
			break
		}
	}
	return fuse.OK
}

// lookupsAtOnce is how many entries of a READDIRPLUS are looked up together.
const lookupsAtOnce = 64

// plusEntries adds entries with their attributes and says whether all fitted.
func (fs *rawFS) plusEntries(f *file, entries []uringbackend.Dirent, out *fuse.DirEntryList) bool {
	names := make([]string, 0, len(entries))
	for _, d := range entries {
		if d.Name != "." && d.Name != ".." {
			names = append(names, d.Name)
		}
	}
	found := fs.view.LookupMany(whole(), f.h.Ref(), names, uringbackend.LookupOptions{})
	defer func() {
		for _, e := range found { // those that did not fit
			if e.Err == nil {
				e.Ref.Release()
			}
		}
	}()
	for _, d := range entries {
		entry := out.AddDirLookupEntry(fs.dirEntry(f, d))
		if entry == nil {
			return false
		}
		if d.Name == "." || d.Name == ".." {
			continue // node id 0: the kernel takes the name only
		}
		e := found[0]
		found = found[1:]
		if e.Err != nil {
			if !errors.Is(e.Err, unix.ENOENT) {
				fs.log.Debug("entry without attributes", "name", d.Name, "err", e.Err)
			}
			continue
		}
		out.FixMode(e.Stat.Mode)
		fs.fillEntry(fs.nodes.enter(e.Ref), e.Stat, entry)
	}
	return true
}

// ReleaseDir answers RELEASEDIR.
func (fs *rawFS) ReleaseDir(in *fuse.ReleaseIn) {
	fs.count(opReleasedir)
	fs.release(in.Fh)
}
