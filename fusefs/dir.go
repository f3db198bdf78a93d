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
	for _, d := range entries {
		entry := out.AddDirLookupEntry(fs.dirEntry(f, d))
		if entry == nil {
			break
		}
		if d.Name == "." || d.Name == ".." {
			continue // node id 0: the kernel takes the name only
		}
		ref, st, err := fs.view.Lookup(whole(), f.h.Ref(), d.Name)
		if err != nil {
			if !errors.Is(err, unix.ENOENT) {
				fs.log.Debug("entry without attributes", "name", d.Name, "err", err)
			}
			continue
		}
		out.FixMode(st.Mode)
		fs.fillEntry(fs.nodes.enter(ref), st, entry)
	}
	return fuse.OK
}

// ReleaseDir answers RELEASEDIR.
func (fs *rawFS) ReleaseDir(in *fuse.ReleaseIn) {
	fs.count(opReleasedir)
	fs.release(in.Fh)
}
