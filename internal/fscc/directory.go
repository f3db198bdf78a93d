package fscc

import (
	"fmt"
)

// DirEntry is one entry of a listing, of any class: a class writes those fields that it has.
type DirEntry struct {
	FileIndex      uint32
	CreationTime   Filetime
	LastAccessTime Filetime
	LastWriteTime  Filetime
	ChangeTime     Filetime
	EndOfFile      int64 // bytes
	AllocationSize int64 // bytes
	Attributes     FileAttributes
	EASize         uint32 // the reparse tag if Attributes has AttrReparsePoint
	ShortName      string // at most 12 UTF-16 units; a longer one is left out
	FileID         uint64
	Name           string
}

// dirLayout describes a class by the offsets of its fields; 0 is "has none".
type dirLayout struct {
	fixed                  int // where the name begins
	nameLen, ea, shortName int
	fileID                 int
}

func layoutOf(class InfoClass) (dirLayout, bool) {
	switch class {
	case ClassDirectory: // 2.4.10
		return dirLayout{fixed: 64, nameLen: 60}, true
	case ClassFullDirectory: // 2.4.15
		return dirLayout{fixed: 68, nameLen: 60, ea: 64}, true
	case ClassBothDirectory: // 2.4.8
		return dirLayout{fixed: 94, nameLen: 60, ea: 64, shortName: 68}, true
	case ClassIDBothDirectory: // 2.4.19
		return dirLayout{fixed: 104, nameLen: 60, ea: 64, shortName: 68, fileID: 96}, true
	case ClassIDFullDirectory: // 2.4.20
		return dirLayout{fixed: 80, nameLen: 60, ea: 64, fileID: 72}, true
	case ClassNames: // 2.4.33
		return dirLayout{fixed: 12, nameLen: 8}, true
	}
	return dirLayout{}, false
}

const (
	dirAlign     = 8
	maxShortName = 24 // bytes
	// maxDirEntries bounds a parsed listing: what fits 8 MiB in the smallest class.
	maxDirEntries = 1 << 19
)

// IsDirectoryClass tells whether class is one that [DirWriter] and [ParseDirEntries] know.
func IsDirectoryClass(class InfoClass) bool {
	_, ok := layoutOf(class)
	return ok
}

// DirEntryFixedLen returns the length in bytes of an entry of class without its name, or 0 for a class that is none. A buffer
// smaller than that is STATUS_INFO_LENGTH_MISMATCH.
func DirEntryFixedLen(class InfoClass) int {
	l, _ := layoutOf(class)
	return l.fixed
}

// DirWriter fills a bounded buffer with entries of one class. It is a value to be used from one goroutine.
type DirWriter struct {
	layout dirLayout
	buf    []byte
	start  int // where the listing begins in buf
	last   int // where the last entry begins in buf
	limit  int // bytes of listing
	single bool
	count  int
}

// NewDirWriter returns a writer that appends to b at most limit bytes of entries of class, or one entry if single.
// Entries are aligned to 8 from len(b). The error tells that class is none of the directory classes.
func NewDirWriter(b []byte, class InfoClass, limit int, single bool) (DirWriter, error) {
	layout, ok := layoutOf(class)
	if !ok {
		return DirWriter{}, fmt.Errorf("class %s is not a directory class", class)
	}
	return DirWriter{layout: layout, buf: b, start: len(b), limit: max(limit, 0), single: single}, nil
}

// Add appends e and tells whether it fitted. After false the listing is full, and e belongs to the next one. A name
// beyond 65534 bytes of UTF-16 never fits.
func (w *DirWriter) Add(e *DirEntry) bool {
	if w.Full() {
		return false
	}
	used := len(w.buf) - w.start
	at := (used + dirAlign - 1) &^ (dirAlign - 1)
	nameLen := UTF16Len(e.Name)
	if nameLen > 65534 || at > w.limit-w.layout.fixed-nameLen {
		return false
	}
	w.buf = appendZeros(w.buf, at-used)
	if w.count > 0 {
		le.PutUint32(w.buf[w.last:], uint32(len(w.buf)-w.last)) //nolint:gosec // an entry is below 66 KiB
	}
	w.last = len(w.buf)
	w.count++
	w.buf = w.layout.append(w.buf, e, nameLen)
	return true
}

// Full tells that a writer of a single entry has it.
func (w *DirWriter) Full() bool { return w.single && w.count > 0 }

// Count returns the number of entries so far.
func (w *DirWriter) Count() int { return w.count }

// Len returns the number of bytes of listing so far.
func (w *DirWriter) Len() int { return len(w.buf) - w.start }

// Bytes returns the slice given to [NewDirWriter] with the listing behind it. It aliases the writer's buffer.
func (w *DirWriter) Bytes() []byte { return w.buf }

func (l dirLayout) append(b []byte, e *DirEntry, nameLen int) []byte {
	start := len(b)
	b = appendZeros(b, 4)
	b = le.AppendUint32(b, e.FileIndex)
	if l.nameLen > 8 { // all but ClassNames
		b = e.CreationTime.append(b)
		b = e.LastAccessTime.append(b)
		b = e.LastWriteTime.append(b)
		b = e.ChangeTime.append(b)
		b = appendSize(b, e.EndOfFile)
		b = appendSize(b, e.AllocationSize)
		b = le.AppendUint32(b, uint32(e.Attributes))
	}
	b = le.AppendUint32(b, uint32(nameLen)) //nolint:gosec // checked by Add
	if l.ea > 0 {
		b = le.AppendUint32(b, e.EASize)
	}
	if l.shortName > 0 {
		at := len(b)
		b = append(b, 0, 0)
		if n := UTF16Len(e.ShortName); n <= maxShortName {
			b[at] = byte(n) //nolint:gosec // at most maxShortName
			b = EncodeUTF16(b, e.ShortName)
		}
		b = appendZeros(b, at+2+maxShortName-len(b))
	}
	if l.fileID > 0 {
		b = appendZeros(b, start+l.fileID-len(b))
		b = le.AppendUint64(b, e.FileID)
	}
	return EncodeUTF16(b, e.Name)
}

// ParseDirEntries parses the buffer of an answer to QUERY_DIRECTORY. A class that is none is malformed.
func ParseDirEntries(class InfoClass, b []byte) ([]DirEntry, error) {
	layout, ok := layoutOf(class)
	if !ok {
		return nil, malformed("class %s is not a directory class", class)
	}
	var list []DirEntry
	for len(b) > 0 {
		entry, rest, err := nextEntry(b, layout.fixed, dirAlign, "directory entry")
		if err != nil {
			return nil, err
		}
		if len(list) == maxDirEntries {
			return nil, malformed("more than %d directory entries", maxDirEntries)
		}
		e, err := layout.parse(entry)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		b = rest
	}
	return list, nil
}

func (l dirLayout) parse(b []byte) (DirEntry, error) {
	e := DirEntry{FileIndex: le.Uint32(b[4:])}
	n := le.Uint32(b[l.nameLen:])
	if n > 65534 {
		return DirEntry{}, malformed("directory entry name of %d bytes", n)
	}
	var err error
	if e.Name, err = name(b, l.fixed, n, "directory entry"); err != nil {
		return DirEntry{}, err
	}
	if l.nameLen > 8 {
		e.CreationTime = filetime(b[8:])
		e.LastAccessTime = filetime(b[16:])
		e.LastWriteTime = filetime(b[24:])
		e.ChangeTime = filetime(b[32:])
		e.EndOfFile = size(b[40:])
		e.AllocationSize = size(b[48:])
		e.Attributes = FileAttributes(le.Uint32(b[56:]))
	}
	if l.ea > 0 {
		e.EASize = le.Uint32(b[l.ea:])
	}
	if l.shortName > 0 {
		n := b[l.shortName]
		if n > maxShortName {
			return DirEntry{}, malformed("short name of %d bytes", n)
		}
		if e.ShortName, err = name(b, l.shortName+2, uint32(n), "short"); err != nil {
			return DirEntry{}, err
		}
	}
	if l.fileID > 0 {
		e.FileID = le.Uint64(b[l.fileID:])
	}
	return e, nil
}
