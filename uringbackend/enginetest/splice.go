//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var spliceCases = []Case{
	{"Splice", testSplice},
	{"SpliceErrors", testSpliceErrors},
	{"Tee", testTee},
	{"SpliceAll", testSpliceAll},
	{"SpliceAllLeaves", testSpliceAllLeaves},
	{"SpliceThrough", testSpliceThrough},
	{"SpliceThroughLeaves", testSpliceThroughLeaves},
}

// at and stream are the two kinds of place that bytes are spliced from and to.
func at(fd int, off int64) uringbackend.FileRange { return uringbackend.FileRange{FD: fd, Offset: off} }

func stream(fd int) uringbackend.FileRange { return uringbackend.FileRange{FD: fd, Offset: -1} }

// readAll reads n bytes from a socket or a pipe on a goroutine of its own.
func readAll(t *testing.T, fd, n int) <-chan []byte {
	t.Helper()
	c := make(chan []byte, 1)
	// ends when n bytes have come or the other end is closed; waited by the receive from c
	go func() {
		var all []byte
		buf := make([]byte, 10_000)
		for len(all) < n {
			m, err := unix.Read(fd, buf[:min(len(buf), n-len(all))])
			if m <= 0 {
				assert.NoError(t, err)
				break
			}
			all = append(all, buf[:m]...)
		}
		c <- all
	}()
	return c
}

func writeAll(t *testing.T, fd int, p []byte) {
	t.Helper()
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if !assert.NoError(t, err) {
			return
		}
		p = p[n:]
	}
}

func testSplice(t *testing.T, e uringbackend.Engine) {
	content := patterned(10000)
	fd, _ := file(t, content, unix.O_RDONLY)
	r, w := pipe(t)
	n, err := e.Splice(background(), uringbackend.FileRange{FD: fd, Offset: 100}, uringbackend.FileRange{FD: w, Offset: -1}, 5000, 0, false)
	require.NoError(t, err)
	require.Positive(t, n)
	assert.True(t, bytes.Equal(content[100:100+n], drain(t, r, 0)))
	n, err = e.Splice(background(), uringbackend.FileRange{FD: fd, Offset: 10000}, uringbackend.FileRange{FD: w, Offset: -1}, 10, 0, false)
	require.NoError(t, err)
	assert.Zero(t, n, "end of the file")
	_, err = e.Splice(background(), uringbackend.FileRange{FD: r, Offset: -1}, uringbackend.FileRange{FD: w, Offset: 5}, 10, unix.SPLICE_F_NONBLOCK, false)
	assert.Equal(t, unix.ESPIPE, err)
}

func testSpliceErrors(t *testing.T, e uringbackend.Engine) {
	fd, path := file(t, patterned(100), unix.O_RDONLY)
	r, w := pipe(t)
	r2, w2 := pipe(t)
	appended, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, appended)
	_, err = unix.Write(w, []byte("some"))
	require.NoError(t, err)
	for _, c := range []struct {
		name     string
		from, to uringbackend.FileRange
		length   int64
		flags    int
		want     unix.Errno
	}{
		{"no pipe", at(fd, 0), at(appended, 0), 10, 0, unix.EINVAL},
		{"offset of a pipe as source", at(r, 0), at(appended, 0), 10, 0, unix.ESPIPE},
		{"offset of a pipe as destination", at(fd, 0), at(w2, 0), 10, 0, unix.ESPIPE},
		{"not open", stream(1 << 20), stream(w2), 10, 0, unix.EBADF},
		{"to what is not open", at(fd, 0), stream(1 << 20), 10, 0, unix.EBADF},
		{"not readable", stream(w), stream(w2), 10, 0, unix.EBADF},
		{"not writable", stream(r), at(fd, 0), 10, 0, unix.EBADF},
		{"appending", stream(r), stream(appended), 10, 0, unix.EINVAL},
		{"empty pipe", stream(r2), stream(w), 10, unix.SPLICE_F_NONBLOCK, unix.EAGAIN},
		{"unknown flag", at(fd, 0), stream(w2), 10, 1 << 10, unix.EINVAL},
		{"the ring's own flag", at(fd, 0), stream(w2), 10, 1 << 31, unix.EINVAL},
	} {
		n, err := e.Splice(background(), c.from, c.to, c.length, c.flags, false)
		assert.Equal(t, c.want, err, c.name)
		assert.Zero(t, n, c.name)
	}
	assert.Equal(t, "some", string(drain(t, r, 0)))
	n, err := e.Splice(background(), at(fd, 0), stream(w2), 0, 0, false)
	require.NoError(t, err)
	assert.Zero(t, n)
}

func testTee(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	r, w := pipe(t)
	r2, w2 := pipe(t)
	_, err := unix.Write(w, []byte("twice"))
	require.NoError(t, err)
	for _, unbounded := range []bool{false, true} {
		n, err := e.Tee(ctx, r, w2, 100, 0, unbounded)
		require.NoError(t, err)
		assert.Equal(t, 5, n)
	}
	n, err := e.Tee(ctx, r, w2, 2, 0, false)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, "twicetwicetw", string(drain(t, r2, 0)))
	assert.Equal(t, "twice", string(drain(t, r, 0)), "nothing is consumed")

	fd, _ := file(t, patterned(100), unix.O_RDONLY)
	for _, c := range []struct {
		name     string
		from, to int
		flags    int
		want     unix.Errno
	}{
		{"empty", r, w2, unix.SPLICE_F_NONBLOCK, unix.EAGAIN},
		{"no pipe", fd, w2, 0, unix.EINVAL},
		{"to itself", r, w, 0, unix.EINVAL},
		{"not open", 1 << 20, w2, 0, unix.EBADF},
		{"to what is not open", r, 1 << 20, 0, unix.EBADF},
		{"unknown flag", r, w2, 1 << 10, unix.EINVAL},
	} {
		n, err := e.Tee(ctx, c.from, c.to, 10, c.flags, false)
		assert.Equal(t, c.want, err, c.name)
		assert.Zero(t, n, c.name)
	}

	short, cancel := context.WithCancel(ctx)
	c := make(chan error, 1)
	// ends when the tee is cancelled; waited by the receive from c
	go func() {
		_, err := e.Tee(short, r, w2, 10, 0, true)
		c <- err
	}()
	require.Eventually(t, func() bool { return e.Health().InFlight == 1 }, limit, time.Millisecond)
	cancel()
	within(t, "cancelled tee", func() { assert.Equal(t, unix.ECANCELED, <-c) })
}

// testSpliceAll: more than a pipe holds, each way, while somebody at the other end takes or gives it.
func testSpliceAll(t *testing.T, e uringbackend.Engine) {
	const size = 300_001
	ctx := background()
	content := patterned(size)
	fd, path := file(t, content, unix.O_RDONLY)
	out, err := unix.Open(filepath.Join(filepath.Dir(path), "out"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	own(t, out)
	for _, unbounded := range []bool{true, false} {
		r, w := pipe(t)
		a, b := unixPair(t)
		splice := func(name string, from, to uringbackend.FileRange) {
			within(t, name, func() {
				moved, _, err := e.SpliceAll(ctx, from, to, size-10, 0, unbounded)
				assert.NoError(t, err, name)
				assert.EqualValues(t, size-10, moved, name)
			})
		}
		got := readAll(t, r, size-10)
		splice("file to pipe", at(fd, 10), stream(w))
		assert.True(t, bytes.Equal(content[10:], <-got))

		var group sync.WaitGroup
		group.Go(func() { writeAll(t, w, content[10:]) })
		got = readAll(t, b, size-10)
		splice("pipe to socket", stream(r), stream(a))
		assert.True(t, bytes.Equal(content[10:], <-got))
		group.Wait()

		group.Go(func() { writeAll(t, a, content[10:]) })
		got = readAll(t, r, size-10)
		splice("socket to pipe", stream(b), stream(w))
		assert.True(t, bytes.Equal(content[10:], <-got))
		group.Wait()

		group.Go(func() { writeAll(t, w, content[10:]) })
		splice("pipe to file", stream(r), at(out, 5))
		group.Wait()
		back := make([]byte, size-10)
		_, err = io.ReadFull(io.NewSectionReader(readerAt(out), 5, size), back)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content[10:], back))
		require.NoError(t, unix.Ftruncate(out, 0))
	}
}

// readerAt reads a descriptor that it does not own.
type readerAt int

func (fd readerAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := unix.Pread(int(fd), p, off)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// testSpliceAllLeaves: what is in the pipe when a splice ends early is told.
func testSpliceAllLeaves(t *testing.T, e uringbackend.Engine) {
	ctx := background()
	fd, path := file(t, patterned(10_000), unix.O_RDONLY)
	r, w := pipe(t)
	moved, left, err := e.SpliceAll(ctx, at(fd, 4000), stream(w), 50_000, 0, false)
	require.NoError(t, err)
	assert.EqualValues(t, 6000, moved, "the file ends")
	assert.EqualValues(t, 6000, left)
	moved, left, err = e.SpliceAll(ctx, at(fd, 0), stream(w), 100, 0, false)
	require.NoError(t, err)
	assert.EqualValues(t, 100, moved)
	assert.Zero(t, left, "all were moved")

	// O_APPEND refuses splices: nothing leaves the pipe.
	refuses, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, refuses)
	moved, left, err = e.SpliceAll(ctx, stream(r), stream(refuses), 1000, 0, false)
	assert.Equal(t, unix.EINVAL, err)
	assert.Zero(t, moved)
	assert.EqualValues(t, 6100, left)

	// A pipe that has less than is asked for, and no writer.
	out, err := unix.Open(filepath.Join(filepath.Dir(path), "out"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	own(t, out)
	moved, left, err = e.SpliceAll(ctx, stream(r), at(out, 0), 6100, 0, false)
	require.NoError(t, err)
	assert.EqualValues(t, 6100, moved)
	assert.Zero(t, left)
	moved, left, err = e.SpliceAll(ctx, stream(r), at(out, 0), 10, unix.SPLICE_F_NONBLOCK, false)
	assert.Equal(t, unix.EAGAIN, err)
	assert.Zero(t, moved)
	assert.Zero(t, left)

	// Cancelled when some of it is through: what is left is what the reader did not get.
	a, b := unixPair(t)
	_, err = unix.Write(w, patterned(5000))
	require.NoError(t, err)
	cancellable, cancel := context.WithCancel(ctx)
	got := readAll(t, b, 5000)
	c := make(chan error, 1)
	// ends when the splice is cancelled; waited by the receive from c
	go func() {
		var err error
		moved, left, err = e.SpliceAll(cancellable, stream(r), stream(a), 8000, 0, true)
		c <- err
	}()
	assert.True(t, bytes.Equal(patterned(5000), <-got))
	cancel()
	within(t, "cancelled splice", func() { assert.Equal(t, unix.ECANCELED, <-c) })
	assert.EqualValues(t, 5000, moved)
	assert.Zero(t, left)
}

func testSpliceThrough(t *testing.T, e uringbackend.Engine) {
	const size = 300_001
	ctx := background()
	content := patterned(size)
	fd, path := file(t, content, unix.O_RDONLY)
	out, err := unix.Open(filepath.Join(filepath.Dir(path), "out"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	require.NoError(t, err)
	own(t, out)
	a, b := unixPair(t)
	r, w := pipe(t)
	p := uringbackend.Pipe{R: r, W: w}
	through := func(name string, from, to uringbackend.FileRange, length, want int64) {
		within(t, name, func() {
			moved, left, err := e.SpliceThrough(ctx, from, p, to, length, 0, true)
			assert.NoError(t, err, name)
			assert.Equal(t, want, moved, name)
			assert.Zero(t, left, name)
		})
		assert.Empty(t, drain(t, r, 0), "%s: stranded in the pipe", name)
	}
	got := readAll(t, b, size-7)
	through("file to socket", at(fd, 7), stream(a), 1<<40, size-7)
	assert.True(t, bytes.Equal(content[7:], <-got))
	var group sync.WaitGroup
	group.Go(func() { writeAll(t, a, content) })
	through("socket to file", stream(b), at(out, 3), size, size)
	group.Wait()
	back, err := os.ReadFile(filepath.Join(filepath.Dir(path), "out"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(append(make([]byte, 3), content...), back))
	through("file to file", at(fd, 1), at(out, 0), 100_000, 100_000)
	back, err = os.ReadFile(filepath.Join(filepath.Dir(path), "out"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content[1:100_001], back[:100_000]))
}

// testSpliceThroughLeaves: a destination that fails leaves bytes in the pipe, and their number is told.
func testSpliceThroughLeaves(t *testing.T, e uringbackend.Engine) {
	fd, _ := file(t, patterned(20_000), unix.O_RDONLY)
	a, b := unixPair(t)
	r, w := pipe(t)
	require.NoError(t, unix.Shutdown(b, unix.SHUT_RD))
	moved, left, err := e.SpliceThrough(background(), at(fd, 0), uringbackend.Pipe{R: r, W: w}, stream(a), 20_000, 0, true)
	assert.Equal(t, unix.EPIPE, err)
	assert.Zero(t, moved)
	assert.EqualValues(t, 20_000, left)
	assert.True(t, bytes.Equal(patterned(20_000), drain(t, r, 0)))
	moved, left, err = e.SpliceThrough(background(), at(1<<20, 0), uringbackend.Pipe{R: r, W: w}, stream(a), 10, 0, true)
	assert.Equal(t, unix.EBADF, err)
	assert.Zero(t, moved)
	assert.Zero(t, left)
}
