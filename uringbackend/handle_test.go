//go:build linux

package uringbackend_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

func TestReadAndWrite(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "")
		h := w.open("f", unix.O_RDWR)
		data := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
		n, err := h.WriteAt(ctx, data, 3, WriteOptions{DataSync: true})
		require.NoError(t, err)
		assert.Equal(t, len(data), n)
		assert.Equal(t, "\x00\x00\x00"+string(data), w.read("f"))
		buf := make([]byte, len(data)+100)
		n, err = h.ReadAt(ctx, buf, 3)
		require.NoError(t, err)
		assert.Equal(t, len(data), n, "short at the end")
		assert.Equal(t, data, buf[:n])
		for _, off := range []int64{int64(len(data)) + 3, 1 << 40} {
			n, err = h.ReadAt(ctx, buf, off)
			require.NoError(t, err)
			assert.Zero(t, n)
		}
		_, err = h.WriteAt(ctx, nil, 1<<40, WriteOptions{})
		require.NoError(t, err)
		st, err := h.Stat(ctx)
		require.NoError(t, err)
		assert.EqualValues(t, len(data)+3, st.Size, "nothing written is no change")
		require.NoError(t, h.Sync(ctx, true))
		require.NoError(t, h.Sync(ctx, false))
		require.NoError(t, h.Flush(ctx))

		read := w.open("f", unix.O_RDONLY)
		_, err = read.WriteAt(ctx, []byte("x"), 0, WriteOptions{})
		require.ErrorIs(t, err, unix.EBADF)
		require.NoError(t, read.Truncate(ctx, 5), "the process may, if the handle may not")
		assert.Equal(t, "\x00\x00\x0001", w.read("f"))
		require.ErrorIs(t, read.Truncate(ctx, -1), unix.EINVAL)
		dir := w.open("", unix.O_RDONLY|unix.O_DIRECTORY)
		require.NoError(t, dir.Sync(ctx, false))
		require.ErrorIs(t, dir.Truncate(ctx, 1), unix.EISDIR)
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_, err = h.ReadAt(cancelled, buf, 0)
		require.ErrorIs(t, err, unix.ECANCELED)
	})
}

func TestDirectIOEndsAtTheEnd(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		w.write("f", string(bytes.Repeat([]byte("x"), 5000)))
		h, err := w.Open(t.Context(), w.ref("f"), unix.O_RDONLY|unix.O_DIRECT)
		if err != nil {
			require.ErrorIs(t, err, unix.EINVAL)
			t.Skip("the file system of the temporary directory has no direct I/O")
		}
		closeLater(t, h)
		memory, err := unix.Mmap(-1, 0, 16384, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		require.NoError(t, err)
		defer func() { require.NoError(t, unix.Munmap(memory)) }()
		n, err := h.ReadAt(t.Context(), memory, 0)
		require.NoError(t, err)
		assert.Equal(t, 5000, n)
	})
}

// Two handles of ours, an append by option, and a stranger append to one file: each record is there once, whole.
func TestAppendersDoNotOverwrite(t *testing.T) {
	const records, size = 300, 16
	onEngines(t, func(t *testing.T, w *tree) {
		w.write("log", "")
		stranger, err := os.OpenFile(w.path("log"), os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, stranger.Close()) }()
		one, two := w.open("log", unix.O_WRONLY|unix.O_APPEND), w.open("log", unix.O_RDWR|unix.O_APPEND)
		plain := w.open("log", unix.O_WRONLY)
		assert.NotZero(t, one.Flags()&unix.O_APPEND)
		var wg sync.WaitGroup
		for writer, write := range []func(p []byte) error{
			func(p []byte) error { _, err := one.WriteAt(t.Context(), p, 0, WriteOptions{}); return err },
			func(p []byte) error { _, err := two.WriteAt(t.Context(), p, 1000, WriteOptions{}); return err },
			func(p []byte) error {
				_, err := plain.WriteAt(t.Context(), p, 5, WriteOptions{Append: true})
				return err
			},
			func(p []byte) error { _, err := stranger.Write(p); return err },
		} {
			// ends after its records; waited by wg.Wait
			wg.Go(func() {
				for i := range records {
					p := make([]byte, size)
					binary.LittleEndian.PutUint64(p, uint64(writer))
					binary.LittleEndian.PutUint64(p[8:], uint64(i))
					assert.NoError(t, write(p))
				}
			})
		}
		wg.Wait()
		content := []byte(w.read("log"))
		require.Len(t, content, 4*records*size)
		var next [4]uint64
		for ; len(content) > 0; content = content[size:] {
			writer := binary.LittleEndian.Uint64(content)
			require.Less(t, writer, uint64(4))
			require.Equal(t, next[writer], binary.LittleEndian.Uint64(content[8:]))
			next[writer]++
		}
	})
}

func TestOpenTakesFilesAndDirectoriesOnly(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		w.write("f", "content")
		fifo, st, err := w.Mknod(ctx, root, "fifo", unix.S_IFIFO|0o600, 0, Creds{})
		require.NoError(t, err)
		t.Cleanup(fifo.Release)
		assert.EqualValues(t, unix.S_IFIFO|0o600, st.Mode)
		link, _, err := w.Symlink(ctx, root, "link", "f", Creds{})
		require.NoError(t, err)
		t.Cleanup(link.Release)
		target, err := w.Readlink(ctx, link)
		require.NoError(t, err)
		assert.Equal(t, "f", target)
		_, err = w.Readlink(ctx, root)
		require.ErrorIs(t, err, unix.EINVAL)
		for name, want := range map[string]error{"fifo": unix.ENXIO, "link": unix.ELOOP} {
			_, err = w.Open(ctx, w.ref(name), unix.O_RDONLY)
			assert.ErrorIs(t, err, want, name)
			_, _, _, err = w.Create(ctx, root, name, unix.O_RDWR|unix.O_TRUNC, 0o600, Creds{})
			assert.ErrorIs(t, err, want, name)
		}
		_, err = w.Open(ctx, root, unix.O_RDWR)
		require.ErrorIs(t, err, unix.EISDIR)
		_, err = w.Open(ctx, w.ref("f"), unix.O_RDONLY|unix.O_DIRECTORY)
		require.ErrorIs(t, err, unix.ENOTDIR)
		h := w.open("f", unix.O_WRONLY|unix.O_TRUNC)
		assert.Empty(t, w.read("f"))
		assert.Equal(t, unix.O_WRONLY, h.Flags()&unix.O_ACCMODE)
		assert.False(t, h.Created())
		assert.Same(t, w.ref("f"), h.Ref())
		assert.Equal(t, h.Ref().ID(), h.ID())
	})
}

// The number of a closed descriptor is used again at once, so an operation under way must keep it.
func TestCloseWaitsForOperations(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "content")
		h := w.open("f", unix.O_RDWR)
		s, err := w.v.BeginShare(ctx, h.ID(), Range{0, -1})
		require.NoError(t, err)
		wrote := make(chan error)
		// ends when the share is over; waited by the receive below
		go func() {
			_, err := h.WriteAt(ctx, []byte("C"), 0, WriteOptions{})
			wrote <- err
		}()
		require.Eventually(t, func() bool {
			again, ok := w.v.TryBeginShareForTest(h.ID(), Range{0, 1})
			if ok {
				again.End()
			}
			return !ok
		}, waitLimit, waitTick)
		impatient, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, h.Close(impatient), unix.ECANCELED)
		_, err = h.ReadAt(ctx, make([]byte, 1), 0)
		require.ErrorIs(t, err, unix.EBADF)
		require.ErrorIs(t, w.v.Close(), unix.EBUSY, "the descriptor is still open")
		s.End()
		require.NoError(t, <-wrote)
		require.ErrorIs(t, h.Close(ctx), unix.EBADF)
		assert.Equal(t, "Content", w.read("f"))
		require.Eventually(t, func() bool { _, err := unix.FcntlInt(uintptr(h.Fd()), unix.F_GETFD, 0); return err != nil },
			waitLimit, waitTick)
	})
}

func TestCloseRacesWithReads(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		w.write("a", "aaaa")
		w.write("b", "bbbb")
		refs := map[string]*Ref{"aaaa": w.ref("a"), "bbbb": w.ref("b")}
		var wg sync.WaitGroup
		var reads atomic.Int64
		for want, r := range refs {
			// ends after its rounds; waited by wg.Wait
			wg.Go(func() {
				for range 200 {
					h, err := w.Open(context.Background(), r, unix.O_RDONLY)
					if !assert.NoError(t, err) {
						return
					}
					var readers sync.WaitGroup
					started := make(chan struct{}, 3)
					for range 3 {
						// ends when the handle is closed; waited by readers.Wait
						readers.Go(func() {
							buf := make([]byte, 4)
							for first := true; ; first = false {
								if !first && len(started) < cap(started) {
									select {
									case started <- struct{}{}:
									default:
									}
								}
								n, err := h.ReadAt(context.Background(), buf, 0)
								if err != nil {
									assert.ErrorIs(t, err, unix.EBADF)
									return
								}
								reads.Add(1)
								if !assert.Equal(t, want, string(buf[:n])) {
									return
								}
							}
						})
					}
					<-started // somebody is in the middle of it
					assert.NoError(t, h.Close(context.Background()))
					readers.Wait()
				}
			})
		}
		wg.Wait()
		assert.Positive(t, reads.Load())
	})
}

func TestReadDir(t *testing.T) {
	const entries = 10_000
	for _, name := range []string{"syscall", "ring"} {
		t.Run(name, func(t *testing.T) {
			w := openTree(t, openEngine(t, name, func(*Features) {}), VolumeConfig{})
			ctx := t.Context()
			require.NoError(t, os.Mkdir(w.path("dir"), 0o755))
			for i := range entries {
				require.NoError(t, unix.Mknod(w.path(fmt.Sprintf("dir/entry-%05d", i)), unix.S_IFREG|0o600, 0))
			}
			h := w.open("dir", unix.O_RDONLY|unix.O_DIRECTORY)
			var all []Dirent
			seen := make(map[string]bool)
			require.NoError(t, h.ReadDir(ctx, 0, func(e Dirent) bool {
				all = append(all, e)
				assert.False(t, seen[e.Name], e.Name)
				seen[e.Name] = true
				return true
			}))
			require.Len(t, all, entries+2)
			assert.True(t, seen["."] && seen[".."])
			r := w.ref("dir/" + all[100].Name)
			if all[100].Name != "." && all[100].Name != ".." {
				assert.Equal(t, r.ID().Ino, all[100].Ino)
				assert.EqualValues(t, unix.DT_REG, all[100].Type)
			}

			// In portions of every size, as a kernel with small buffers asks.
			at, portion := 0, 1
			cookie := int64(0)
			for at < len(all) {
				left := portion
				require.NoError(t, h.ReadDir(ctx, cookie, func(e Dirent) bool {
					require.Equal(t, all[at], e)
					at++
					cookie = e.Cookie
					left--
					return left > 0
				}))
				portion = portion%700 + 13
			}
			// From any cookie, on this handle and another.
			other := w.open("dir", unix.O_RDONLY)
			for _, i := range []int{9_999, 0, 5_000, 1, 7_777, 123} {
				for _, h := range []*Handle{h, other} {
					got := 0
					require.NoError(t, h.ReadDir(ctx, all[i].Cookie, func(e Dirent) bool {
						require.Equal(t, all[i+1+got], e)
						got++
						return got < 3 && i+1+got < len(all)
					}))
				}
			}
			require.NoError(t, h.ReadDir(ctx, all[len(all)-1].Cookie, func(e Dirent) bool {
				assert.Fail(t, "an entry after the last", e.Name)
				return false
			}))
			// The beginning is read anew.
			require.NoError(t, os.Remove(w.path("dir/entry-00042")))
			left := 0
			require.NoError(t, h.ReadDir(ctx, 0, func(e Dirent) bool {
				assert.NotEqual(t, "entry-00042", e.Name)
				left++
				return true
			}))
			assert.Equal(t, entries+1, left)

			w.write("f", "")
			require.ErrorIs(t, w.open("f", unix.O_RDONLY).ReadDir(ctx, 0, func(Dirent) bool { return true }), unix.ENOTDIR)
		})
	}
}

func TestSpliceTo(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		data := make([]byte, 200_000)
		for i := range data {
			data[i] = byte(i / 1000)
		}
		w.write("f", string(data))
		h := w.open("f", unix.O_RDONLY)
		var pipe [2]int
		require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
		defer func() {
			require.NoError(t, unix.Close(pipe[0]))
			require.NoError(t, unix.Close(pipe[1]))
		}()
		capacity, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_GETPIPE_SZ, 0)
		require.NoError(t, err)
		drain := func(n int) []byte {
			buf := make([]byte, n)
			for got := 0; got < n; {
				m, err := unix.Read(pipe[0], buf[got:])
				require.NoError(t, err)
				got += m
			}
			return buf
		}
		n, err := h.SpliceTo(ctx, pipe[1], 1000, 30_000)
		require.NoError(t, err)
		require.Equal(t, 30_000, n)
		assert.Equal(t, data[1000:31_000], drain(n))
		n, err = h.SpliceTo(ctx, pipe[1], int64(len(data))-10, 4096)
		require.NoError(t, err)
		require.Equal(t, 10, n, "short at the end")
		drain(n)
		n, err = h.SpliceTo(ctx, pipe[1], int64(len(data)), 4096)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = h.SpliceTo(ctx, pipe[1], 0, len(data))
		require.NoError(t, err)
		require.Equal(t, min(capacity, len(data)), n, "short when the pipe is full")
		_, err = h.SpliceTo(ctx, pipe[1], 0, 1)
		require.ErrorIs(t, err, unix.EAGAIN)
		assert.Equal(t, data[:n], drain(n))

		// By reference: what is in the pipe is the page, so a write past the door shows in it.
		n, err = h.SpliceTo(ctx, pipe[1], 4096, 4096)
		require.NoError(t, err)
		require.Equal(t, 4096, n)
		past, err := os.OpenFile(w.path("f"), os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = past.WriteAt([]byte("changed"), 4096)
		require.NoError(t, err)
		require.NoError(t, past.Close())
		assert.Equal(t, "changed", string(drain(n)[:7]))

		// While a change has the range nothing is taken.
		c, err := w.v.BeginChange(ctx, OriginLab, h.ID(), ChangeWrite, Range{0, 10})
		require.NoError(t, err)
		impatient, cancel := context.WithCancel(ctx)
		cancel()
		_, err = h.SpliceTo(impatient, pipe[1], 0, 10)
		require.ErrorIs(t, err, unix.ECANCELED)
		c.End(nil)
	})
}

func TestAllocateCopySeek(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", string(bytes.Repeat([]byte("x"), 16384)))
		h := w.open("f", unix.O_RDWR)
		require.NoError(t, h.Allocate(ctx, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096))
		off, err := h.Seek(ctx, 0, unix.SEEK_HOLE)
		require.NoError(t, err)
		assert.EqualValues(t, 4096, off)
		off, err = h.Seek(ctx, 4096, unix.SEEK_DATA)
		require.NoError(t, err)
		assert.EqualValues(t, 8192, off)
		_, err = h.Seek(ctx, 16384, unix.SEEK_DATA)
		require.ErrorIs(t, err, unix.ENXIO)
		_, err = h.Seek(ctx, 0, unix.SEEK_SET)
		require.ErrorIs(t, err, unix.EINVAL)
		require.ErrorIs(t, h.Allocate(ctx, 0, 0, 0), unix.EINVAL)
		require.NoError(t, h.Allocate(ctx, 0, 16384, 1000))
		st, err := h.Stat(ctx)
		require.NoError(t, err)
		assert.EqualValues(t, 17384, st.Size)

		dst, r, _, err := w.Create(ctx, w.root(), "copy", unix.O_RDWR|unix.O_EXCL, 0o600, Creds{})
		require.NoError(t, err)
		closeLater(t, dst)
		t.Cleanup(r.Release)
		for at := 0; at < 17384; {
			n, err := dst.CopyRange(ctx, h, int64(at), int64(at), 17384-at)
			require.NoError(t, err)
			require.Positive(t, n)
			at += n
		}
		assert.Equal(t, w.read("f"), w.read("copy"))
		n, err := dst.CopyRange(ctx, h, 17384, 0, 10)
		require.NoError(t, err)
		assert.Zero(t, n)
	})
}

// What has no name any more is still all there for those who have it open.
func TestUnlinkedFilesWork(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		h, r, _, err := w.Create(ctx, root, "f", unix.O_RDWR, 0o600, Creds{})
		require.NoError(t, err)
		closeLater(t, h)
		t.Cleanup(r.Release)
		require.NoError(t, w.Unlink(ctx, root, "f"))
		st, err := h.SetAttr(ctx, SetAttr{Mode: new(uint32(0o751)), Size: new(int64(100))})
		require.NoError(t, err)
		assert.EqualValues(t, unix.S_IFREG|0o751, st.Mode)
		assert.EqualValues(t, 100, st.Size)
		assert.Zero(t, st.Nlink)
		st, err = w.SetAttr(ctx, r, SetAttr{Mode: new(uint32(0o700))})
		require.NoError(t, err)
		assert.Equal(t, r.ID(), st.ID)
		require.NoError(t, w.Setxattr(ctx, r, "user.a", []byte("b"), unix.XATTR_CREATE))

		tmp, tr, st, err := w.Tmpfile(ctx, root, unix.O_RDWR, 0o640, Creds{})
		require.NoError(t, err)
		closeLater(t, tmp)
		t.Cleanup(tr.Release)
		assert.EqualValues(t, unix.S_IFREG|0o640, st.Mode)
		_, err = tmp.WriteAt(ctx, []byte("late"), 0, WriteOptions{})
		require.NoError(t, err)
		st, err = w.Link(ctx, tr, root, "named")
		require.NoError(t, err)
		assert.EqualValues(t, 1, st.Nlink)
		assert.Equal(t, "late", w.read("named"))
		require.NoError(t, w.v.CheckForTest())

		dir, _, err := w.Mkdir(ctx, root, "dir", 0o700, Creds{})
		require.NoError(t, err)
		t.Cleanup(dir.Release)
		require.NoError(t, w.Rmdir(ctx, root, "dir"))
		_, err = w.Stat(ctx, dir)
		require.NoError(t, err)
		_, _, err = w.Mkdir(ctx, dir, "x", 0o700, Creds{})
		require.ErrorIs(t, err, unix.ENOENT)
	})
}

func TestLargeOffsets(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		w.write("f", "")
		h := w.open("f", unix.O_RDWR)
		_, err := h.WriteAt(t.Context(), []byte("x"), math.MaxInt64-1, WriteOptions{})
		require.ErrorIs(t, err, unix.EFBIG)
		n, err := h.ReadAt(t.Context(), make([]byte, 1), math.MaxInt64-1)
		require.NoError(t, err)
		assert.Zero(t, n)
		_, err = os.Stat(filepath.Join(w.dir, "f"))
		require.NoError(t, err)
	})
}

// script answers chosen ops itself, in place of the engine.
type script struct {
	Submitter
	answer func(op Op) (n int, err error, mine bool)
}

func (s *script) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	for i := range ops {
		if n, err, mine := s.answer(ops[i]); mine {
			done(i, n, false, err)
			continue
		}
		s.Submitter.Submit(ctx, ops[i:i+1], func(_, n int, more bool, err error) { done(i, n, more, err) })
	}
}

func openScripted(t *testing.T) (*tree, *script) {
	t.Helper()
	s := &script{answer: func(Op) (int, error, bool) { return 0, nil, false }}
	e := openEngine(t, "syscall", func(*Features) {}).Wrap(func(inner Submitter) Submitter {
		s.Submitter = inner
		return s
	})
	return openTree(t, e, VolumeConfig{}), s
}

func TestShortTransfersAreCarriedOn(t *testing.T) {
	w, s := openScripted(t)
	ctx := t.Context()
	w.write("f", "")
	h := w.open("f", unix.O_RDWR)
	data := []byte("0123456789abcdef")
	s.answer = func(op Op) (int, error, bool) {
		switch {
		case op.Kind == KindWriteAt && len(op.Buf) > 3:
			n, err := unix.Pwrite(op.FD, op.Buf[:3], op.Offset)
			return n, err, true
		case op.Kind == KindReadAt && len(op.Buf) > 5:
			n, err := unix.Pread(op.FD, op.Buf[:5], op.Offset)
			return n, err, true
		}
		return 0, nil, false
	}
	n, err := h.WriteAt(ctx, data, 2, WriteOptions{})
	require.NoError(t, err)
	assert.Equal(t, len(data), n)
	buf := make([]byte, 100)
	n, err = h.ReadAt(ctx, buf, 2)
	require.NoError(t, err)
	assert.Equal(t, data, buf[:n])

	// Full in the middle: what was written is told to the caller and to subscribers.
	sub := w.v.Subscribe(1)
	defer sub.Close()
	writes := 0
	s.answer = func(op Op) (int, error, bool) {
		if op.Kind != KindWriteAt {
			return 0, nil, false
		}
		if writes++; writes > 1 {
			return 0, unix.ENOSPC, true
		}
		n, err := unix.Pwrite(op.FD, op.Buf[:3], op.Offset)
		return n, err, true
	}
	n, err = h.WriteAt(ctx, []byte("XYZxyz"), 0, WriteOptions{})
	require.ErrorIs(t, err, unix.ENOSPC)
	assert.Equal(t, 3, n)
	assert.Equal(t, ChangeWrite, (<-sub.C).Kind)
	s.answer = func(op Op) (int, error, bool) { return 0, nil, op.Kind == KindWriteAt }
	_, err = h.WriteAt(ctx, []byte("x"), 0, WriteOptions{})
	require.ErrorIs(t, err, unix.EIO, "no progress is no loop")
}

// EMFILE of the kernel is answered by closing cached descriptors, and reported if that does not help.
func TestTooManyOpenFiles(t *testing.T) {
	needRoot(t, "open_by_handle_at(2)")
	w, s := openScripted(t)
	ctx := t.Context()
	w.write("f", "content")
	r := w.ref("f")
	refused := 0
	s.answer = func(op Op) (int, error, bool) {
		if op.Kind == KindOpenat2 && refused == 0 {
			refused++
			return 0, unix.EMFILE, true
		}
		return 0, nil, false
	}
	again, _, err := w.Resolve(ctx, "f", false)
	require.NoError(t, err)
	assert.Same(t, r, again)
	again.Release()
	assert.Equal(t, 1, refused)
	s.answer = func(op Op) (int, error, bool) { return 0, unix.EMFILE, op.Kind == KindOpenat2 }
	_, _, err = w.Resolve(ctx, "f", false)
	require.ErrorIs(t, err, unix.EMFILE)
	s.answer = func(Op) (int, error, bool) { return 0, nil, false }
	st, err := w.Stat(ctx, r)
	require.NoError(t, err)
	assert.EqualValues(t, 7, st.Size)
	require.NoError(t, w.v.CheckForTest())
}

// Once something is made, the end of the context does not lose it.
func TestCancelledCreateIsWhole(t *testing.T) {
	w, s := openScripted(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(op Op) (int, error, bool) {
		if op.Kind == KindOpenat2 && op.How.Flags&unix.O_CREAT != 0 {
			cancel()
			fd, err := unix.Openat2(op.FD, op.Path, op.How)
			return fd, err, true
		}
		return 0, nil, false
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	again, err := OpenVolume(t.Context(), w.dir, VolumeConfig{Engine: w.v.Engine()}) // one that needs no thread of its own
	require.NoError(t, err)
	defer func() { assert.NoError(t, again.Close()) }()
	v := again.View(OriginLab)
	root := v.Root()
	defer root.Release()
	h, r, st, err := v.Create(ctx, root, "f", unix.O_RDWR, 0o600, Creds{})
	require.NoError(t, err)
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	assert.EqualValues(t, unix.S_IFREG|0o600, st.Mode)
	require.NoError(t, h.Close(t.Context()))
	r.Release()
}
