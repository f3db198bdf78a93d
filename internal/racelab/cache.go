//go:build linux

package racelab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errCache says that the file's cache did not take the state asked for.
var errCache = errors.New("page cache not in the state asked for")

// prime writes path's content in generation gen and puts the cache in state c. It
// returns what the folios under payload turned out to be; FolioUnknown where this
// process may not look. Files of tmpfs and btrfs have small folios only.
func prime(path string, c Cache, fs FS, gen uint8, payload span) (Folio, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return FolioUnknown, fmt.Errorf("scratch file: %w", err)
	}
	defer f.Close()
	content := make([]byte, fileSize)
	fill(content, gen, 0)
	// One write: the kernel sizes new folios by what is left of it.
	if _, err := f.WriteAt(content, 0); err != nil {
		return FolioUnknown, fmt.Errorf("scratch file: %w", err)
	}
	if c != CacheDirty {
		if err := f.Sync(); err != nil {
			return FolioUnknown, fmt.Errorf("scratch file: %w", err)
		}
	}
	if c == CacheSmall && fs != FSTmpfs {
		if err := refault(f); err != nil {
			return FolioUnknown, err
		}
	}
	if fs == FSTmpfs || fs == FSBtrfs {
		return FolioSmall, nil
	}
	folio, err := folioUnder(f, payload)
	if err != nil || folio == FolioUnknown {
		return FolioUnknown, err
	}
	if want := c.folio(); folio != want {
		return folio, fmt.Errorf("%w: folios are %v, not %v", errCache, folio, want)
	}
	return folio, nil
}

// folio is the folio state that a cache state stands for on ext4 and xfs.
func (c Cache) folio() Folio {
	if c == CacheSmall {
		return FolioSmall
	}
	return FolioLarge
}

// String names the state.
func (f Folio) String() string {
	switch f {
	case FolioLarge:
		return "large"
	case FolioSmall:
		return "4k"
	default:
		return "unknown"
	}
}

// refault drops the file's clean cache and reads it back page by page with
// read-ahead off, which gives every page a folio of its own.
func refault(f *os.File) error {
	fd := int(f.Fd())
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop the file's cache: %w", err)
	}
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM); err != nil {
		return fmt.Errorf("turn read-ahead off: %w", err)
	}
	page := make([]byte, pageSize)
	for off := int64(0); off < fileSize; off += pageSize {
		if _, err := f.ReadAt(page, off); err != nil {
			return fmt.Errorf("fault page at %d: %w", off, err)
		}
	}
	return nil
}

// Bits of /proc/kpageflags and /proc/PID/pagemap, linux/kernel-page-flags.h and
// Documentation/admin-guide/mm/pagemap.rst.
const (
	kpfCompoundHead = 1 << 15
	kpfCompoundTail = 1 << 16
	pagemapPresent  = 1 << 63
	pagemapPFN      = 1<<55 - 1
)

// folioUnder looks at the folios of the page before payload, of payload and of the
// page after it. It is FolioUnknown without an error where the kernel hides page
// frame numbers, and errCache when the pages are neither in one folio nor each in its own.
func folioUnder(f *os.File, payload span) (Folio, error) {
	if os.Getpagesize() != pageSize {
		return FolioUnknown, nil
	}
	flagsFile, err := os.Open("/proc/kpageflags")
	if err != nil {
		return FolioUnknown, nil // not allowed to look is an answer
	}
	defer flagsFile.Close()
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return FolioUnknown, nil // as above
	}
	defer pagemap.Close()

	length := int(payload.to - payload.from + 2*pageSize)
	m, err := unix.Mmap(int(f.Fd()), payload.from-pageSize, length, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return FolioUnknown, fmt.Errorf("map the scratch file: %w", err)
	}
	defer unix.Munmap(m) //nolint:errcheck // of a mapping just made
	var pfns, flags []uint64
	entry := make([]byte, 8)
	for at := 0; at < length; at += pageSize {
		touch(m, at)
		if _, err := pagemap.ReadAt(entry, int64(mappingAddress(m)+uintptr(at))/pageSize*8); err != nil {
			return FolioUnknown, fmt.Errorf("pagemap: %w", err)
		}
		e := binary.NativeEndian.Uint64(entry)
		pfn := e & pagemapPFN
		if e&pagemapPresent == 0 || pfn == 0 {
			return FolioUnknown, nil // hidden from this process
		}
		if _, err := flagsFile.ReadAt(entry, int64(pfn)*8); err != nil { // #nosec G115 -- 55 bits
			return FolioUnknown, nil // as above
		}
		pfns, flags = append(pfns, pfn), append(flags, binary.NativeEndian.Uint64(entry))
	}
	small, large := true, true
	for i := range pfns {
		compound := flags[i]&(kpfCompoundHead|kpfCompoundTail) != 0
		small = small && !compound
		if i == 0 {
			large = compound
			continue
		}
		large = large && flags[i]&kpfCompoundTail != 0 && pfns[i] == pfns[i-1]+1
	}
	switch {
	case small:
		return FolioSmall, nil
	case large:
		return FolioLarge, nil
	default:
		return FolioUnknown, fmt.Errorf("%w: several folios under the payload", errCache)
	}
}
