//go:build linux

package enginetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var fileCases = []Case{
	{"ReadAt", testReadAt},
	{"WriteAt", testWriteAt},
	{"WriteAppend", testWriteAppend},
	{"WriteDsync", testWriteDsync},
	{"TransferFlags", testTransferFlags},
	{"Vectored", testVectored},
	{"VectoredLimits", testVectoredLimits},
	{"BigBuffers", testBigBuffers},
	{"Fsync", testFsync},
	{"TransferErrors", testTransferErrors},
	{"CurrentPosition", testCurrentPosition},
	{"Concurrent", testConcurrent},
}

func testReadAt(t *testing.T, e uringbackend.Engine) {
	content := patterned(10000)
	fd, _ := file(t, content, unix.O_RDONLY)
	for _, c := range []struct {
		name string
		off  int64
		size int
		want []byte
	}{
		{"from the start", 0, 100, content[:100]},
		{"across pages", 4000, 5000, content[4000:9000]},
		{"up to the end", 9000, 1000, content[9000:]},
		{"short before the end", 9000, 5000, content[9000:]},
		{"one byte", 9999, 1, content[9999:]},
		{"at the end", 10000, 10, nil},
		{"beyond the end", 1 << 40, 10, nil},
		{"nothing", 0, 0, nil},
	} {
		buf := bytes.Repeat([]byte{0xdb}, c.size+1) // one more, which must stay
		n, err := e.ReadAt(background(), fd, buf[:c.size], c.off)
		require.NoError(t, err, c.name)
		require.Equal(t, len(c.want), n, c.name)
		assert.True(t, bytes.Equal(c.want, buf[:n]), c.name)
		assert.Equal(t, byte(0xdb), buf[n], "%s: wrote past what it read", c.name)
	}
}

func testWriteAt(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, []byte("0123456789"), unix.O_RDWR)
	for _, w := range []struct {
		data string
		off  int64
	}{{"ab", 0}, {"", 3}, {"cd", 9}, {"end", 14}} {
		n, err := e.WriteAt(background(), fd, []byte(w.data), w.off, 0)
		require.NoError(t, err)
		require.Equal(t, len(w.data), n)
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "ab2345678cd\x00\x00\x00end", string(got))
}

func testWriteAppend(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, []byte("base"), unix.O_WRONLY)
	n, err := e.WriteAt(background(), fd, []byte("+one"), 0, unix.RWF_APPEND)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	n, err = e.WritevAt(background(), fd, [][]byte{[]byte("+t"), []byte("wo")}, 1, unix.RWF_APPEND)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "base+one+two", string(got))

	// Appends from many goroutines lose nothing, which is why the offset is the kernel's to choose.
	const writers, each = 8, 50
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for range each {
				record := []byte(fmt.Sprintf("<%d>", i))
				n, err := e.WriteAt(background(), fd, record, 0, unix.RWF_APPEND)
				if assert.NoError(t, err) {
					assert.Len(t, record, n)
				}
			}
		})
	}
	within(t, "appends", group.Wait)
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	for i := range writers {
		assert.Equal(t, each, bytes.Count(got, []byte(fmt.Sprintf("<%d>", i))))
	}
}

func testWriteDsync(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, nil, unix.O_RDWR)
	n, err := e.WriteAt(background(), fd, []byte("durable"), 0, unix.RWF_DSYNC)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	n, err = e.WritevAt(background(), fd, [][]byte{[]byte("very "), []byte("durable")}, 0, unix.RWF_SYNC)
	require.NoError(t, err)
	require.Equal(t, 12, n)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "very durable", string(got))
	_, err = e.WriteAt(background(), fd, []byte("x"), 0, 1<<30)
	assert.Equal(t, unix.EOPNOTSUPP, err, "unknown flag")
}

// testTransferFlags: what a flag does is the file system's business, so the system call says what is right.
func testTransferFlags(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, patterned(8192), unix.O_RDWR)
	r, w := pipe(t)
	bufs := func() [][]byte { return [][]byte{make([]byte, 100), make([]byte, 50)} }
	for _, flags := range []int{
		0, unix.RWF_NOWAIT, unix.RWF_DSYNC, unix.RWF_SYNC, unix.RWF_HIPRI, unix.RWF_APPEND,
		unix.RWF_APPEND | unix.RWF_NOAPPEND, 1 << 30, unix.RWF_DONTCACHE,
	} {
		for _, c := range []struct {
			name        string
			read, write int
			off         int64
		}{{"file", fd, fd, 0}, {"pipe", r, w, -1}} {
			wantN, wantErr := unix.Pwritev2(c.write, bufs(), c.off, flags)
			wantN = max(wantN, 0)
			for _, op := range []uringbackend.Op{
				{Kind: uringbackend.KindWritevAt, FD: c.write, Bufs: bufs(), Offset: c.off, Flags: flags},
				{Kind: uringbackend.KindWriteAt, FD: c.write, Buf: make([]byte, 150), Offset: c.off, Flags: flags},
			} {
				n, err := e.Do(background(), op)
				assert.Equal(t, wantErr, err, "%s of a %s with flags %#x", op.Kind, c.name, flags)
				assert.Equal(t, wantN, n, "%s of a %s with flags %#x", op.Kind, c.name, flags)
			}
			if c.read == r { // there is something to be read, whatever came of the writes
				_, err := unix.Write(w, make([]byte, 450))
				require.NoError(t, err)
			}
			wantN, wantErr = unix.Preadv2(c.read, bufs(), c.off, flags)
			wantN = max(wantN, 0)
			for _, op := range []uringbackend.Op{
				{Kind: uringbackend.KindReadvAt, FD: c.read, Bufs: bufs(), Offset: c.off, Flags: flags},
				{Kind: uringbackend.KindReadAt, FD: c.read, Buf: make([]byte, 150), Offset: c.off, Flags: flags},
			} {
				n, err := e.Do(background(), op)
				assert.Equal(t, wantErr, err, "%s of a %s with flags %#x", op.Kind, c.name, flags)
				assert.Equal(t, wantN, n, "%s of a %s with flags %#x", op.Kind, c.name, flags)
			}
			drain(t, r, 0)
		}
	}
}

func testVectored(t *testing.T, e uringbackend.Engine) {
	content := patterned(9000)
	fd, path := file(t, nil, unix.O_RDWR)
	n, err := e.WritevAt(background(), fd, [][]byte{content[:1], nil, content[1:5000], {}, content[5000:]}, 0, 0)
	require.NoError(t, err)
	require.Len(t, content, n)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))

	a, b, c := make([]byte, 10), make([]byte, 4096), bytes.Repeat([]byte{0xdb}, 9000)
	n, err = e.ReadvAt(background(), fd, [][]byte{a, nil, b, c}, 50)
	require.NoError(t, err)
	require.Equal(t, len(content)-50, n, "short at the end of the file")
	assert.True(t, bytes.Equal(content[50:60], a))
	assert.True(t, bytes.Equal(content[60:60+4096], b))
	rest := content[60+4096:]
	assert.True(t, bytes.Equal(rest, c[:len(rest)]))
	assert.Equal(t, byte(0xdb), c[len(rest)])

	n, err = e.ReadvAt(background(), fd, nil, 0)
	require.NoError(t, err)
	assert.Zero(t, n)
}

func testVectoredLimits(t *testing.T, e uringbackend.Engine) {
	const most = 1024 // UIO_MAXIOV
	fd, _ := file(t, patterned(most+1), unix.O_RDWR)
	bufs := make([][]byte, most+1)
	for i := range bufs {
		bufs[i] = make([]byte, 1)
	}
	n, err := e.ReadvAt(background(), fd, bufs[:most], 0)
	require.NoError(t, err)
	require.Equal(t, most, n)
	for i := range most {
		require.Equal(t, byte(i%251), bufs[i][0])
	}
	_, err = e.ReadvAt(background(), fd, bufs, 0)
	assert.Equal(t, unix.EINVAL, err)
	_, err = e.WritevAt(background(), fd, bufs, 0, 0)
	assert.Equal(t, unix.EINVAL, err)
}

func testBigBuffers(t *testing.T, e uringbackend.Engine) {
	const size = 8 << 20
	content := patterned(size)
	fd, _ := file(t, nil, unix.O_RDWR)
	for at := 0; at < size; {
		n, err := e.WriteAt(background(), fd, content[at:], int64(at), 0)
		require.NoError(t, err)
		require.Positive(t, n)
		at += n
	}
	got := make([]byte, size)
	for at := 0; at < size; {
		n, err := e.ReadAt(background(), fd, got[at:], int64(at))
		require.NoError(t, err)
		require.Positive(t, n)
		at += n
	}
	assert.True(t, bytes.Equal(content, got))
}

func testFsync(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, []byte("x"), unix.O_RDWR)
	require.NoError(t, e.Fsync(background(), fd, false))
	require.NoError(t, e.Fsync(background(), fd, true))
	r, _ := pipe(t)
	assert.Equal(t, unix.EINVAL, e.Fsync(background(), r, false), "a pipe has nothing to sync")
	assert.Equal(t, unix.EBADF, e.Fsync(background(), -1, false))
}

func testTransferErrors(t *testing.T, e uringbackend.Engine) {
	ro, path := file(t, []byte("x"), unix.O_RDONLY)
	wo, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, wo)
	dir, err := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, dir)
	byPath, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, byPath)

	buf := make([]byte, 1)
	for _, c := range []struct {
		name string
		op   uringbackend.Op
		want unix.Errno
	}{
		{"read of no descriptor", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: -1, Buf: buf}, unix.EBADF},
		{"read of a closed descriptor", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: 1 << 20, Buf: buf}, unix.EBADF},
		{"read of a write-only file", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: wo, Buf: buf}, unix.EBADF},
		{"write of a read-only file", uringbackend.Op{Kind: uringbackend.KindWriteAt, FD: ro, Buf: buf}, unix.EBADF},
		{"read of O_PATH", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: byPath, Buf: buf}, unix.EBADF},
		{"read of a directory", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: dir, Buf: buf}, unix.EISDIR},
		{"readv of a directory", uringbackend.Op{Kind: uringbackend.KindReadvAt, FD: dir, Bufs: [][]byte{buf}}, unix.EISDIR},
		{"negative offset", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: ro, Buf: buf, Offset: -2}, unix.EINVAL},
		{"no verb", uringbackend.Op{}, unix.EINVAL},
		{"beyond the verbs", uringbackend.Op{Kind: 255}, unix.EINVAL},
	} {
		n, err := e.Do(background(), c.op)
		assert.Equal(t, c.want, err, c.name)
		assert.Zero(t, n, c.name)
	}
}

func testCurrentPosition(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, []byte("onetwo"), unix.O_RDWR)
	for _, want := range []string{"one", "two", ""} {
		buf := make([]byte, 3)
		n, err := e.ReadAt(background(), fd, buf, -1)
		require.NoError(t, err)
		assert.Equal(t, want, string(buf[:n]))
	}
	_, err := e.ReadAt(background(), fd, make([]byte, 1), 0)
	require.NoError(t, err)
	pos, err := e.Seek(background(), fd, 0, unix.SEEK_CUR)
	require.NoError(t, err)
	assert.Equal(t, int64(6), pos, "a read at an offset moves the position")
}

func testConcurrent(t *testing.T, e uringbackend.Engine) {
	const (
		workers = 64
		region  = 32 << 10 // each worker's own part of the file
		rounds  = 60
	)
	fd, _ := file(t, patterned(workers*region), unix.O_RDWR)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			dice := rand.New(rand.NewPCG(1, uint64(w)))
			buf, want := make([]byte, region), make([]byte, region)
			for range rounds {
				off := dice.IntN(region - 1)
				size := 1 + dice.IntN(region-off-1)
				base := int64(w * region)
				if dice.IntN(3) == 0 { // rewrite the same bytes of the own region
					pattern(buf[:size], base+int64(off))
					n, err := e.WriteAt(background(), fd, buf[:size], base+int64(off), 0)
					if !assert.NoError(t, err) || !assert.Equal(t, size, n) {
						return
					}
					continue
				}
				base = int64(dice.IntN(workers) * region) // read anywhere
				clear(buf[:size])
				n, err := e.ReadAt(background(), fd, buf[:size], base+int64(off))
				pattern(want[:size], base+int64(off))
				if !assert.NoError(t, err) || !assert.Equal(t, size, n) ||
					!assert.True(t, bytes.Equal(want[:size], buf[:size]), "wrong bytes at %d", base+int64(off)) {
					return
				}
			}
		})
	}
	within(t, "concurrent transfers", group.Wait)
}
