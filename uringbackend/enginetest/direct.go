//go:build linux

package enginetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var directCases = []Case{
	{"DIOAlign", testDIOAlign},
	{"ReadDirect", testReadDirect},
	{"WriteDirect", testWriteDirect},
	{"Cachestat", testCachestat},
	{"Detach", testDetach},
	{"DetachErrors", testDetachErrors},
	{"SyncFileRange", testSyncFileRange},
	{"Advice", testAdvice},
	{"Madvise", testMadvise},
}

// openDirect opens path with O_DIRECT, or skips where the file system has none.
func openDirect(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) {
		RequireHere(t, uringbackend.Ability{Answer: uringbackend.No, Since: "any release", Why: err})
	}
	require.NoError(t, err)
	return own(t, fd)
}

func testDIOAlign(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, patterned(100), unix.O_RDONLY)
	byPath, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, byPath)
	a, err := e.DIOAlign(background(), fd)
	require.NoError(t, err)
	same, err := e.DIOAlign(background(), byPath)
	require.NoError(t, err)
	assert.Equal(t, a, same)
	if e.Features().StatxDIOAlign.Answer != uringbackend.Yes {
		assert.Equal(t, uringbackend.DIOAlign{Memory: 4096, Offset: 4096, ReadOffset: 4096}, a)
	} else if a != (uringbackend.DIOAlign{}) {
		for _, n := range []int{a.Memory, a.Offset, a.ReadOffset} {
			assert.Positive(t, n)
			assert.Zero(t, n&(n-1), "%d is no power of two", n)
		}
		assert.LessOrEqual(t, a.ReadOffset, a.Offset)
	}
	_, err = e.DIOAlign(background(), 1<<20)
	assert.Equal(t, unix.EBADF, err)

	for _, n := range []int{0, 1, 4095, 100_000} {
		for _, align := range []int{0, 1, 512, 4096, 1 << 16} {
			b := uringbackend.AlignedBuffer(n, align)
			assert.Len(t, b, n)
			assert.Equal(t, n, cap(b), "nobody may append into what is only there to align")
			if n > 0 && align > 0 {
				assert.Zero(t, address(b)%uintptr(align))
			}
		}
	}
}

func testReadDirect(t *testing.T, e uringbackend.Engine) {
	const size = 700_001 // no multiple of a block, and more than a bounce
	content := patterned(size)
	_, path := file(t, content, unix.O_RDONLY)
	fd := openDirect(t, path, unix.O_RDONLY)
	a, err := e.DIOAlign(background(), fd)
	require.NoError(t, err)
	dice := rand.New(rand.NewPCG(3, 7))
	for i := range 60 {
		off, length := dice.IntN(size+5000), 1+dice.IntN(300_000)
		if i%3 == 0 {
			off, length = off&^4095, (length+4095)&^4095
		}
		buf := uringbackend.AlignedBuffer(length+a.Memory+1, a.Memory)
		if i%2 == 0 {
			buf = buf[1:]
		}
		for j := range buf {
			buf[j] = 0xdb
		}
		n, err := e.ReadDirect(background(), fd, a, buf[:length], int64(off))
		require.NoError(t, err)
		want := content[min(off, size):min(off+length, size)]
		require.Len(t, want, n, "%d bytes at %d", length, off)
		require.True(t, bytes.Equal(want, buf[:n]), "%d bytes at %d", length, off)
		require.Equal(t, byte(0xdb), buf[length], "wrote past what was asked for")
	}
	n, err := e.ReadDirect(background(), fd, a, nil, 0)
	require.NoError(t, err)
	assert.Zero(t, n)
	for _, c := range []struct {
		fd    int
		align uringbackend.DIOAlign
		off   int64
		want  unix.Errno
	}{
		{fd, uringbackend.DIOAlign{}, 0, unix.EINVAL},
		{fd, uringbackend.DIOAlign{Memory: 3, Offset: 512, ReadOffset: 512}, 0, unix.EINVAL},
		{fd, a, -1, unix.EINVAL},
		{1 << 20, a, 1, unix.EBADF},
	} {
		_, err = e.ReadDirect(background(), c.fd, c.align, make([]byte, 10), c.off)
		assert.Equal(t, c.want, err)
	}
}

func testWriteDirect(t *testing.T, e uringbackend.Engine) {
	_, path := file(t, nil, unix.O_RDONLY)
	fd := openDirect(t, path, unix.O_RDWR)
	a, err := e.DIOAlign(background(), fd)
	require.NoError(t, err)
	length := 600_000 &^ (a.Offset - 1)
	for i, aligned := range []bool{true, false} {
		p := uringbackend.AlignedBuffer(length+1, a.Memory)
		if aligned {
			p = p[:length]
		} else {
			p = p[1:]
		}
		pattern(p, int64(i))
		for at := 0; at < length; {
			n, err := e.WriteDirect(background(), fd, a, p[at:], int64(a.Offset+at), unix.RWF_DSYNC)
			require.NoError(t, err)
			require.Positive(t, n)
			at += n
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Len(t, got, a.Offset+length)
		assert.Equal(t, make([]byte, a.Offset), got[:a.Offset])
		assert.True(t, bytes.Equal(p, got[a.Offset:]))
	}
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	// Ones are aligned everywhere, so where the file system asks for no more there is nothing to refuse.
	strict := uringbackend.DIOAlign{Memory: a.Memory, Offset: max(a.Offset, 512), ReadOffset: max(a.ReadOffset, 512)}
	for _, c := range []struct {
		name  string
		align uringbackend.DIOAlign
		size  int
		off   int64
	}{
		{"unaligned offset", strict, 4096, 7},
		{"unaligned length", strict, 4097, 0},
		{"no direct I/O", uringbackend.DIOAlign{}, 4096, 0},
		{"negative offset", strict, 4096, -4096},
	} {
		n, err := e.WriteDirect(background(), fd, c.align, make([]byte, c.size), c.off, 0)
		assert.Equal(t, unix.EINVAL, err, c.name)
		assert.Zero(t, n, c.name)
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(before, after), "a write that was refused changed the file")
}

func testCachestat(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	fd, _ := file(t, patterned(64<<10), unix.O_RDWR)
	if e.Features().Cachestat.Answer != uringbackend.Yes {
		_, err := e.Cachestat(ctx, fd, 0, 0)
		assert.Equal(t, unix.EOPNOTSUPP, err)
		return
	}
	pages := uint64(64<<10) / uint64(os.Getpagesize())
	st, err := e.Cachestat(ctx, fd, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, pages, st.Cache)
	st, err = e.Cachestat(ctx, fd, 0, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 1, st.Cache, "the page of the byte")
	st, err = e.Cachestat(ctx, fd, 1<<40, 10)
	require.NoError(t, err)
	assert.Zero(t, st.Cache)
	for _, c := range []struct {
		fd          int
		off, length int64
		want        unix.Errno
	}{{-1, 0, 0, unix.EBADF}, {1 << 20, 0, 0, unix.EBADF}, {fd, -1, 0, unix.EINVAL}, {fd, 0, -1, unix.EINVAL}} {
		_, err = e.Cachestat(ctx, c.fd, c.off, c.length)
		assert.Equal(t, c.want, err)
	}
	_, err = e.Do(ctx, uringbackend.Op{Kind: uringbackend.KindCachestat, FD: fd})
	assert.Equal(t, unix.EFAULT, err)
}

// testDetach: pages that a pipe holds stay what they were when the file is written to.
func testDetach(t *testing.T, e uringbackend.Engine) {
	const size = 32 << 10
	ctx := background()
	content := patterned(size)
	buffered, path := file(t, content, unix.O_RDWR)
	fd := openDirect(t, path, unix.O_WRONLY)
	r, w := pipe(t)
	n, err := e.Splice(ctx, uringbackend.FileRange{FD: buffered}, uringbackend.FileRange{FD: w, Offset: -1}, size, 0, false)
	require.NoError(t, err)
	require.Positive(t, n)

	require.NoError(t, e.Detach(ctx, fd, 0, size))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got), "no byte changes")

	require.NoError(t, e.Detach(ctx, fd, 0, size))
	var fs unix.Statfs_t
	require.NoError(t, unix.Fstatfs(fd, &fs))
	detaches := fs.Type == unix.EXT4_SUPER_MAGIC || fs.Type == unix.XFS_SUPER_MAGIC
	if detaches && e.Features().Cachestat.Answer == uringbackend.Yes {
		st, err := e.Cachestat(ctx, buffered, 0, size)
		require.NoError(t, err)
		assert.Zero(t, st.Cache)
	}
	_, err = e.WriteAt(ctx, buffered, bytes.Repeat([]byte{0xee}, size), 0, 0)
	require.NoError(t, err)
	if detaches {
		assert.True(t, bytes.Equal(content[:n], drain(t, r, 0)), "the pipe holds what was written after the detach")
	}
	require.NoError(t, e.Detach(ctx, fd, 0, 1<<30), "more than one write detaches, and beyond the end")
	require.NoError(t, e.Detach(ctx, fd, 1<<20, 4096), "all of it beyond the end")
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, size, st.Size())
}

func testDetachErrors(t *testing.T, e uringbackend.Engine) {
	buffered, path := file(t, patterned(8192), unix.O_RDWR)
	fd := openDirect(t, path, unix.O_RDWR)
	ro := openDirect(t, path, unix.O_RDONLY)
	for _, c := range []struct {
		name        string
		fd          int
		off, length int64
		want        unix.Errno
	}{
		{"not O_DIRECT", buffered, 0, 4096, unix.EINVAL},
		{"not writable", ro, 0, 4096, unix.EBADF},
		{"not open", 1 << 20, 0, 4096, unix.EBADF},
		{"nothing", fd, 0, 0, unix.EINVAL},
		{"negative length", fd, 0, -1, unix.EINVAL},
		{"negative offset", fd, -4096, 4096, unix.EINVAL},
	} {
		assert.Equal(t, c.want, e.Detach(background(), c.fd, c.off, c.length), c.name)
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(patterned(8192), got))
}

func testSyncFileRange(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	fd, _ := file(t, patterned(100_000), unix.O_RDWR)
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	for _, flags := range []int{0, unix.SYNC_FILE_RANGE_WRITE, all} {
		for _, length := range []int64{0, 1, 50_000, 1 << 33} {
			require.NoError(t, e.SyncFileRange(ctx, fd, 4096, length, flags))
		}
	}
	if e.Features().Cachestat.Answer == uringbackend.Yes {
		st, err := e.Cachestat(ctx, fd, 0, 0)
		require.NoError(t, err)
		assert.Zero(t, st.Writeback, "waited for")
	}
	r, _ := pipe(t)
	for _, c := range []struct {
		name        string
		fd          int
		off, length int64
		flags       int
		want        unix.Errno
	}{
		{"pipe", r, 0, 0, all, unix.ESPIPE},
		{"not open", 1 << 20, 0, 0, all, unix.EBADF},
		{"unknown flag", fd, 0, 0, 1 << 10, unix.EINVAL},
		{"negative offset", fd, -1, 0, all, unix.EINVAL},
		{"negative length", fd, 10, -1, all, unix.EINVAL},
	} {
		assert.Equal(t, c.want, e.SyncFileRange(ctx, c.fd, c.off, c.length, c.flags), c.name)
	}
}

func testAdvice(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	fd, _ := file(t, patterned(64<<10), unix.O_RDWR)
	r, _ := pipe(t)
	for _, length := range []int64{0, 1, 4096, 1 << 33} {
		require.NoError(t, e.Readahead(ctx, fd, 0, length))
		for _, advice := range []int{unix.FADV_NORMAL, unix.FADV_SEQUENTIAL, unix.FADV_RANDOM, unix.FADV_NOREUSE, unix.FADV_WILLNEED, unix.FADV_DONTNEED} {
			require.NoError(t, e.Fadvise(ctx, fd, 0, length, advice), "%d bytes, advice %d", length, advice)
		}
	}
	for _, c := range []struct {
		name   string
		fd     int
		length int64
		advice int
		want   unix.Errno
	}{
		{"unknown", fd, 0, 99, unix.EINVAL},
		{"negative length", fd, -1, unix.FADV_NORMAL, unix.EINVAL},
		{"pipe", r, 0, unix.FADV_WILLNEED, unix.ESPIPE},
		{"not open", 1 << 20, 0, unix.FADV_NORMAL, unix.EBADF},
	} {
		assert.Equal(t, c.want, e.Fadvise(ctx, c.fd, 0, c.length, c.advice), c.name)
	}
	assert.Equal(t, unix.ESPIPE, e.Readahead(ctx, r, 0, 10))
	assert.Equal(t, unix.EBADF, e.Readahead(ctx, 1<<20, 0, 10))
	assert.Equal(t, unix.EINVAL, e.Readahead(ctx, fd, 0, -1))
}

func testMadvise(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(mem)) })
	for i := range mem {
		mem[i] = 1
	}
	require.NoError(t, e.Madvise(ctx, mem[page:3*page], unix.MADV_DONTNEED))
	assert.Equal(t, bytes.Repeat([]byte{1}, page), mem[:page])
	assert.Equal(t, make([]byte, 2*page), mem[page:3*page], "anonymous memory that is not needed is zero again")
	assert.Equal(t, bytes.Repeat([]byte{1}, page), mem[3*page:])
	require.NoError(t, e.Madvise(ctx, mem[:0], unix.MADV_NORMAL))
	require.NoError(t, e.Madvise(ctx, nil, unix.MADV_NORMAL))
	assert.Equal(t, unix.EINVAL, e.Madvise(ctx, mem[1:page], unix.MADV_DONTNEED), "not on a page")
	assert.Equal(t, unix.EINVAL, e.Madvise(ctx, mem, 1<<20), "unknown")
	assert.Equal(t, unix.EINVAL, e.Madvise(ctx, mem, unix.MADV_REMOVE), "not of a file")
}
