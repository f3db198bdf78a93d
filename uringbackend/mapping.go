//go:build linux

package uringbackend

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pages is the kind of pages behind an arena.
type Pages string

// Kinds of pages.
const (
	PagesSmall       Pages = "small"       // the machine's ordinary pages
	PagesTransparent Pages = "transparent" // huge pages, all or most of it, by madvise(2) MADV_HUGEPAGE
	PagesHugetlb     Pages = "hugetlb"     // huge pages that the administrator set aside, mmap(2) MAP_HUGETLB
)

// mapping is anonymous memory.
type mapping struct {
	mem   []byte // what was asked for
	whole []byte // what mmap returned: more than mem where that had to be aligned
	pages Pages
}

const hugePage = 2 << 20

// newMapping maps size bytes, zeroed. With huge it tries for huge pages and is content with others; advise is
// Engine.Madvise.
func newMapping(ctx context.Context, size int, huge bool, advise func(ctx context.Context, mem []byte, advice int) error) (mapping, error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if !huge {
		mem, err := unix.Mmap(-1, 0, size, prot, flags)
		return mapping{mem: mem, whole: mem, pages: PagesSmall}, err
	}
	rounded := (size + hugePage - 1) / hugePage * hugePage
	if whole, err := unix.Mmap(-1, 0, rounded, prot, flags|unix.MAP_HUGETLB|unix.MAP_HUGE_2MB); err == nil {
		return mapping{mem: whole[:size:size], whole: whole, pages: PagesHugetlb}, nil
	}
	// A huge page needs its place: the mapping is one page longer, and used from where one begins.
	whole, err := unix.Mmap(-1, 0, rounded+hugePage, prot, flags)
	if err != nil {
		return mapping{}, err
	}
	skip := int(-uintptr(unsafe.Pointer(&whole[0])) & (hugePage - 1))
	m := mapping{mem: whole[skip : skip+size : skip+size], whole: whole, pages: PagesSmall}
	aligned := whole[skip : skip+rounded]
	// A kernel that does not know the advice leaves small pages, and not every machine obeys it: look what came of it.
	_ = advise(ctx, aligned, unix.MADV_HUGEPAGE)
	_ = advise(ctx, aligned, unix.MADV_POPULATE_WRITE)
	if got, err := hugeBytes(uintptr(unsafe.Pointer(&aligned[0])), uintptr(len(aligned))); err == nil && got > rounded/2 {
		m.pages = PagesTransparent
	}
	return m, nil
}

func (m *mapping) unmap() {
	if err := unix.Munmap(m.whole); err != nil {
		panic("uringbackend: munmap of memory that newMapping mapped: " + err.Error())
	}
}

// hugeBytes is how many bytes of the mappings that overlap [start, start+length) lie in transparent huge pages:
// AnonHugePages, proc_pid_smaps(5).
func hugeBytes(start, length uintptr) (int, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	inside, sum := false, 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		var lo, hi uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &lo, &hi); n == 2 {
			inside = lo < start+length && hi > start
			continue
		}
		var kib int
		if rest, ok := strings.CutPrefix(line, "AnonHugePages:"); ok && inside {
			if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
				return 0, fmt.Errorf("smaps line %q: %w", line, err)
			}
			sum += kib << 10
		}
	}
	return sum, lines.Err()
}
