package smbserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// dirEnum is where an open directory's listing stands: a pattern and a position, never a copy of the entries. So a
// directory of any size costs nothing to list, and entries made or removed meanwhile are seen or not, as [MS-FSA] allows.
type dirEnum struct {
	mu sync.Mutex
	// Guarded by mu.
	started bool         // +checklocks:mu a query has been answered
	pattern fscc.Pattern // +checklocks:mu
	dots    int          // +checklocks:mu of "." and ".." already given out
	cookie  uint64       // +checklocks:mu
}

// dots are the names that a listing begins with; a Share does not have them.
const (
	dotSelf = iota
	dotParent
	dotsDone
)

// handleQueryDirectory handles QUERY_DIRECTORY, [MS-SMB2] 3.3.5.18.
func handleQueryDirectory(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseQueryDirectoryRequest(r.msg)
	if err != nil {
		return nil, err
	}
	o := r.file
	switch {
	case q.OutputBufferLength > r.conn.neg.maxTransact:
		return nil, fmt.Errorf("%w: QUERY_DIRECTORY of %d bytes", smb2.ErrMalformed, q.OutputBufferLength)
	case !o.directory:
		return nil, smb2.StatusInvalidParameter
	case !fscc.IsDirectoryClass(q.Class):
		return nil, smb2.StatusInvalidInfoClass
	case !o.access.Has(smb2.FileListDirectory):
		return nil, smb2.StatusAccessDenied
	case strings.ContainsAny(q.Pattern, `\/`):
		return nil, smb2.StatusObjectNameInvalid
	case int(q.OutputBufferLength) < fscc.DirEntryFixedLen(q.Class):
		return nil, smb2.StatusInfoLengthMismatch
	}
	e := o.enum
	e.mu.Lock()
	defer e.mu.Unlock()
	first := !e.started || q.Flags&(smb2.QueryDirRestartScans|smb2.QueryDirReopen) != 0
	// A new pattern counts from here on, as smbd has it; an empty one goes on with what there is.
	if first || q.Pattern != "" {
		if e.pattern, err = fscc.ParsePattern(q.Pattern); err != nil {
			return nil, smb2.StatusObjectNameInvalid
		}
	}
	if first {
		e.dots, e.cookie = dotSelf, 0
	}
	l, err := newListing(r, q)
	if err != nil {
		return nil, err
	}
	if err := e.fillLocked(ctx, l); err != nil {
		return nil, err
	}
	e.started = true
	switch {
	case l.w.Count() > 0:
		return smb2.QueryDirectoryResponse{Buffer: l.w.Bytes()}, nil
	case l.full:
		return nil, smb2.StatusBufferOverflow // not even one name fits
	case first:
		return nil, smb2.StatusNoSuchFile
	default:
		return nil, smb2.StatusNoMoreFiles
	}
}

// listing is one answer under construction. Its buffer grows as entries come, up to what the client has room for.
type listing struct {
	w     fscc.DirWriter
	o     *open
	modes *shareModes
	share Share
	user  Identity
	bare  bool // names only
	full  bool // an entry did not fit
}

func newListing(r *request, q smb2.QueryDirectoryRequest) (*listing, error) {
	limit := int(q.OutputBufferLength)
	w, err := fscc.NewDirWriter(make([]byte, 0, min(limit, 16<<10)), q.Class, limit, q.Flags&smb2.QueryDirReturnSingleEntry != 0)
	if err != nil {
		return nil, err
	}
	return &listing{
		w: w, o: r.file, modes: r.tree.export.modes, share: r.tree.export.share, user: r.sess.identity(), bare: q.Class == fscc.ClassNames,
	}, nil
}

// fillLocked adds entries until the answer is full or the directory ends. The Share is asked again and again until
// something matches or there is no more.
//
// +checklocks:e.mu
func (e *dirEnum) fillLocked(ctx context.Context, l *listing) error {
	for ; e.dots < dotsDone; e.dots++ {
		if !l.addDot(ctx, e.dots, e.pattern) {
			return nil
		}
	}
	var stopped error
	err := l.o.file.ReadDir(ctx, e.cookie, func(entry DirEntry) bool {
		if err := ctx.Err(); err != nil {
			stopped = err
			return false
		}
		var more bool
		if more, stopped = l.addEntry(ctx, entry, e.pattern); !more {
			return false
		}
		e.cookie = entry.Cookie
		return true
	})
	if err == nil {
		err = stopped
	}
	if err != nil && l.w.Count() > 0 {
		return nil // what there is, first; the error comes again with the next query
	}
	return err
}

// addDot adds "." or "..", which only a pattern with wildcards matches. It reports whether to go on.
func (l *listing) addDot(ctx context.Context, which int, p fscc.Pattern) bool {
	name := "."
	if which == dotParent {
		name = ".."
	}
	if !p.HasWildcards() || !p.Match(name) {
		return true
	}
	a, err := l.o.file.Attr(ctx)
	if err != nil {
		return true
	}
	if path := l.o.file.Path(); which == dotParent && path != "" {
		// Without the parent's own attributes the directory's stand in: clients show neither.
		if parent, err := l.attrOf(ctx, parentOf(path)); err == nil {
			a = parent
		}
	}
	return l.add(name, a)
}

func (l *listing) attrOf(ctx context.Context, path string) (Attr, error) {
	f, err := l.share.Open(ctx, OpenParams{Path: path, User: l.user})
	if err != nil {
		return Attr{}, err
	}
	a, err := f.Attr(ctx)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return a, err
}

// addEntry adds an entry that matches, and reports whether to go on. One that has no attributes is left out: see gone. Any
// other failure to read them ends the listing: a client that was told of all names but one would take that one for deleted.
func (l *listing) addEntry(ctx context.Context, entry DirEntry, p fscc.Pattern) (more bool, err error) {
	name := toWire(entry.Name)
	if !p.Match(name) {
		return true, nil
	}
	var a Attr
	if !l.bare {
		a, err = entry.Attr(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return false, ctx.Err()
		case gone(err):
			return true, nil
		default:
			return false, err
		}
	}
	return l.add(name, a), nil
}

// gone says that err is about the name and not about the storage: the entry has been removed meanwhile, is a link that leads
// nowhere in this share, or is hidden from this user, and so cannot be opened either.
func gone(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.ENOENT, syscall.ESTALE, syscall.ENOTDIR, syscall.ELOOP, syscall.EXDEV, syscall.ENAMETOOLONG, syscall.EACCES, syscall.EPERM,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (l *listing) add(name string, a Attr) bool {
	if l.w.Full() {
		return false
	}
	d := fscc.DirEntry{Name: name}
	if !l.bare {
		d.CreationTime, d.LastAccessTime = fscc.NewFiletime(a.Created), fscc.NewFiletime(a.Accessed)
		d.LastWriteTime, d.ChangeTime = fscc.NewFiletime(a.Written), fscc.NewFiletime(a.Changed)
		d.EndOfFile, d.AllocationSize = endOf(a), allocationOf(a)
		d.Attributes = attributesOf(a)
		d.EASize = reparseTagOf(a) // [MS-FSCC] 2.4.8: the tag takes the place of the size
		d.FileID = l.modes.index(a.ID)
	}
	if !l.w.Add(&d) {
		l.full = true
		return false
	}
	return true
}
