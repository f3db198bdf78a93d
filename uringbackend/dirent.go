//go:build linux

package uringbackend

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// Dirent is one entry of a directory.
type Dirent struct {
	Name   string
	Ino    uint64
	Type   uint8 // DT_*; DT_UNKNOWN where the file system does not tell
	Cookie int64 // where ReadDir goes on after this entry
}

const direntHeader = 19 // d_ino, d_off, d_reclen, d_type

// dirStream is the position of a directory Handle.
type dirStream struct {
	mu sync.Mutex
	// +checklocks:mu
	buf []byte // entries read and not yet handed out
	// +checklocks:mu
	cookie int64 // of the first of them
	// +checklocks:mu
	block []byte // what buf is the end of: all that the last read brought
	// +checklocks:mu
	store []byte // what buf is part of
}

// ReadDir calls fn for each entry after cookie, "." and ".." included, in the order of the backing directory, until fn
// returns false or there are no more. Cookie 0 is the beginning and sees the directory as it is now; any other is
// one that a Dirent of this directory carried, at any time. fn must not call ReadDir on the same Handle. Calls on
// one Handle exclude each other.
func (h *Handle) ReadDir(ctx context.Context, cookie int64, fn func(Dirent) (more bool)) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	if h.ref.typ != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	d := &h.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	// With an empty buffer the descriptor stands at d.cookie, but a seek costs little next to reading on.
	if cookie == 0 || (cookie != d.cookie || len(d.buf) == 0) && !d.rewindLocked(cookie) {
		if err := h.seekDirLocked(ctx, cookie); err != nil {
			return err
		}
	}
	for {
		for len(d.buf) > 0 {
			e, rest, err := parseDirent(d.buf)
			if err != nil {
				return err
			}
			d.buf, d.cookie = rest, e.Cookie
			if !fn(e) {
				return nil
			}
		}
		n, err := h.v.engine.Getdents(ctx, h.fd, d.store)
		if err != nil || n == 0 {
			return err
		}
		d.block = d.store[:n]
		d.buf = d.block
	}
}

// rewindLocked goes back to an entry that was handed out a moment ago: a caller who has looked ahead.
//
// +checklocks:d.mu
func (d *dirStream) rewindLocked(cookie int64) bool {
	for rest := d.block; len(rest) > 0; {
		e, next, err := parseDirent(rest)
		if err != nil {
			return false
		}
		if rest = next; e.Cookie == cookie && len(rest) > 0 {
			d.buf, d.cookie = rest, cookie
			return true
		}
	}
	return false
}

// +checklocks:h.dir.mu
func (h *Handle) seekDirLocked(ctx context.Context, cookie int64) error {
	d := &h.dir
	if d.store == nil {
		d.store = make([]byte, GetdentsBuffer)
	}
	d.buf, d.block = nil, nil
	if _, err := h.v.engine.Seek(ctx, h.fd, cookie, unix.SEEK_SET); err != nil {
		return err
	}
	d.cookie = cookie
	return nil
}

// parseDirent takes one struct linux_dirent64 off b, which the kernel has filled.
func parseDirent(b []byte) (e Dirent, rest []byte, err error) {
	if len(b) < direntHeader {
		return Dirent{}, nil, unix.EIO
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size < direntHeader || size > len(b) {
		return Dirent{}, nil, unix.EIO
	}
	name := b[direntHeader:size]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return Dirent{
		Name: string(name), Ino: binary.NativeEndian.Uint64(b),
		Cookie: int64(binary.NativeEndian.Uint64(b[8:])), Type: b[18],
	}, b[size:], nil
}
