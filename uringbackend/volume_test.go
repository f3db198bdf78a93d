//go:build linux

package uringbackend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// tree is a Volume on a directory of its own.
type tree struct {
	*View
	t   *testing.T
	v   *Volume
	dir string // the root, as the process sees it
	out string // its parent, which no operation may touch
}

// kernels are those that the Volume must do with, played by features.
func kernels() map[string]func(*Features) {
	return map[string]func(*Features){
		"as it is":        func(*Features) {},
		"without openat2": func(f *Features) { f.Openat2Beneath = Ability{Answer: No} },
		"without handles": func(f *Features) { f.NameToHandle, f.OpenByHandle = Ability{Answer: No}, Ability{Answer: No} },
	}
}

func openEngine(t *testing.T, name string, old func(*Features)) Engine {
	t.Helper()
	f := Probe(t.TempDir())
	if name == "ring" {
		enginetest.Require(t, f.Ring)
	}
	old(&f)
	e, err := Open(name, f, Config{Strict: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, e.Close())
		assert.Zero(t, e.Health().InFlight)
	})
	return e
}

func openTree(t *testing.T, e Engine, cfg VolumeConfig) *tree {
	t.Helper()
	out := t.TempDir()
	dir := filepath.Join(out, "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	cfg.Engine = e
	v, err := OpenVolume(t.Context(), dir, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, v.Close()) })
	return &tree{View: v.View(OriginLab), t: t, v: v, dir: dir, out: out}
}

// onEngines runs f on both engines.
func onEngines(t *testing.T, f func(t *testing.T, w *tree)) {
	t.Helper()
	for _, name := range []string{"syscall", "ring"} {
		t.Run(name, func(t *testing.T) {
			f(t, openTree(t, openEngine(t, name, func(*Features) {}), VolumeConfig{}))
		})
	}
}

// onKernels runs f on both engines and every kernel.
func onKernels(t *testing.T, f func(t *testing.T, w *tree)) {
	t.Helper()
	for _, name := range []string{"syscall", "ring"} {
		for kernel, old := range kernels() {
			t.Run(name+"/"+kernel, func(t *testing.T) {
				f(t, openTree(t, openEngine(t, name, old), VolumeConfig{}))
			})
		}
	}
}

func (w *tree) path(name string) string { return filepath.Join(w.dir, name) }

func (w *tree) write(name, content string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.path(name), []byte(content), 0o644))
}

func (w *tree) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.path(name))
	require.NoError(w.t, err)
	return string(b)
}

// root is released with the test.
func (w *tree) root() *Ref {
	r := w.Root()
	w.t.Cleanup(r.Release)
	return r
}

// ref resolves without following; released with the test.
func (w *tree) ref(path string) *Ref {
	w.t.Helper()
	r, _, err := w.Resolve(w.t.Context(), path, false)
	require.NoError(w.t, err)
	w.t.Cleanup(r.Release)
	return r
}

// open opens path; closed with the test if not before.
func (w *tree) open(path string, flags int) *Handle {
	w.t.Helper()
	h, err := w.Open(w.t.Context(), w.ref(path), flags)
	require.NoError(w.t, err)
	closeLater(w.t, h)
	return h
}

func closeLater(t *testing.T, h *Handle) {
	t.Cleanup(func() {
		if err := h.Close(context.Background()); !errors.Is(err, unix.EBADF) {
			assert.NoError(t, err)
		}
	})
}

func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root: %s", why)
	}
}

func TestVolumeCloseRefusesOpenHandles(t *testing.T) {
	e := openEngine(t, "syscall", func(*Features) {})
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	before := descriptors(t)
	v, err := OpenVolume(t.Context(), dir, VolumeConfig{Engine: e})
	require.NoError(t, err)
	w := v.View(OriginLab)
	r, _, err := w.Resolve(t.Context(), "f", false)
	require.NoError(t, err)
	h, err := w.Open(t.Context(), r, unix.O_RDWR)
	require.NoError(t, err)
	sub := v.Subscribe(1)

	err = v.Close()
	require.ErrorIs(t, err, unix.EBUSY)
	assert.Contains(t, err.Error(), "1 handles")
	_, err = h.WriteAt(t.Context(), []byte("x"), 0, WriteOptions{})
	require.NoError(t, err, "a refused Close changes nothing")
	require.NoError(t, h.Close(t.Context()))

	require.NoError(t, v.Close())
	require.ErrorIs(t, v.Close(), unix.EBADF)
	_, err = w.Stat(t.Context(), r)
	require.ErrorIs(t, err, unix.EBADF)
	r.Release()
	for range sub.C { // ends: the Volume has closed it
	}
	assert.Equal(t, before, descriptors(t))
}

func TestOpenVolumeReportsItsRoot(t *testing.T) {
	e := openEngine(t, "syscall", func(*Features) {})
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := OpenVolume(t.Context(), filepath.Join(dir, "none"), VolumeConfig{Engine: e})
	require.ErrorIs(t, err, unix.ENOENT)
	_, err = OpenVolume(t.Context(), file, VolumeConfig{Engine: e})
	require.ErrorIs(t, err, unix.ENOTDIR)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dir, &st))
	before := descriptors(t)
	_, err = OpenVolume(t.Context(), dir, VolumeConfig{Engine: e, RefuseDevices: []uint64{st.Dev}})
	require.ErrorIs(t, err, unix.EXDEV)
	assert.Equal(t, before, descriptors(t))

	var lim unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	assert.Equal(t, lim.Max, lim.Cur, "the soft limit is raised")
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// Many more inodes than descriptors: each is found again by handle, and is the same one.
func TestDescriptorsStayBounded(t *testing.T) {
	needRoot(t, "open_by_handle_at(2)")
	const files, bound = 10_000, 100
	for _, name := range []string{"syscall", "ring"} {
		t.Run(name, func(t *testing.T) {
			w := openTree(t, openEngine(t, name, func(*Features) {}), VolumeConfig{MaxDescriptors: bound})
			before := descriptors(t)
			refs := make([]*Ref, files)
			inos := make([]uint64, files)
			root := w.root()
			for i := range refs {
				name := fmt.Sprint("f", i)
				h, r, st, err := w.Create(t.Context(), root, name, unix.O_WRONLY, 0o600, Creds{})
				require.NoError(t, err)
				_, err = h.WriteAt(t.Context(), []byte(name), 0, WriteOptions{})
				require.NoError(t, err)
				require.NoError(t, h.Close(t.Context()))
				refs[i], inos[i] = r, st.ID.Ino
			}
			open, limit := w.v.Descriptors()
			assert.LessOrEqual(t, open, bound)
			assert.Equal(t, bound, limit)
			assert.LessOrEqual(t, descriptors(t), before+bound+8, "rings have descriptors too")

			done := make(chan struct{})
			for worker := range 4 {
				// ends after its quarter; waited by the receives below
				go func() {
					defer func() { done <- struct{}{} }()
					buf := make([]byte, 16)
					for i := worker; i < files; i += 4 {
						st, err := w.Stat(t.Context(), refs[i])
						if !assert.NoError(t, err) || !assert.Equal(t, inos[i], st.ID.Ino) {
							return
						}
						h, err := w.Open(t.Context(), refs[i], unix.O_RDONLY)
						if !assert.NoError(t, err) {
							return
						}
						n, err := h.ReadAt(t.Context(), buf, 0)
						assert.NoError(t, err)
						assert.Equal(t, fmt.Sprint("f", i), string(buf[:n]))
						assert.NoError(t, h.Close(t.Context()))
					}
				}()
			}
			for range 4 {
				<-done
			}
			again, _, err := w.Lookup(t.Context(), root, "f17")
			require.NoError(t, err)
			assert.Same(t, refs[17], again)
			again.Release()
			require.NoError(t, w.v.CheckForTest())

			require.NoError(t, os.Remove(w.path("f0")))
			_, err = w.Stat(t.Context(), refs[0])
			require.ErrorIs(t, err, unix.ESTALE, "removed from outside while its descriptor was closed")
			require.NoError(t, w.Unlink(t.Context(), root, "f1"))
			st, err := w.Stat(t.Context(), refs[1])
			require.NoError(t, err, "removed by the Volume while referenced")
			assert.Zero(t, st.Nlink)
			for i, r := range refs[2:] { // push f1 out, were it not pinned
				if i%20 == 0 {
					_, err := w.Stat(t.Context(), r)
					require.NoError(t, err)
				}
			}
			_, err = w.Stat(t.Context(), refs[1])
			require.NoError(t, err)
			for _, r := range refs {
				r.Release()
			}
			require.NoError(t, w.v.CheckForTest())
			open, _ = w.v.Descriptors()
			assert.LessOrEqual(t, open, 1, "the root")
		})
	}
}

// Without handles a descriptor stays as long as its Ref, and the bound is an error.
func TestPinnedDescriptorsEndInEMFILE(t *testing.T) {
	w := openTree(t, openEngine(t, "syscall", kernels()["without handles"]), VolumeConfig{MaxDescriptors: 10})
	var refs []*Ref
	for i := range 9 { // and the root
		name := fmt.Sprint("f", i)
		w.write(name, name)
		r, _, err := w.Resolve(t.Context(), name, false)
		require.NoError(t, err)
		refs = append(refs, r)
	}
	w.write("more", "")
	_, _, err := w.Resolve(t.Context(), "more", false)
	require.ErrorIs(t, err, unix.EMFILE)
	for _, r := range refs {
		_, err := w.Stat(t.Context(), r)
		require.NoError(t, err)
	}
	refs[0].Release()
	r, _, err := w.Resolve(t.Context(), "more", false)
	require.NoError(t, err)
	r.Release()
	for _, r := range refs[1:] {
		r.Release()
	}
	require.NoError(t, w.v.CheckForTest())
}

func TestIdentity(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		w.write("a", "1")
		one := w.ref("a")
		require.NoError(t, os.Rename(w.path("a"), w.path("b")))
		assert.Same(t, one, w.ref("b"), "a rename keeps the inode")
		require.NoError(t, os.Link(w.path("b"), w.path("c")))
		assert.Same(t, one, w.ref("c"), "so does a second name")
		st, err := w.Stat(ctx, one)
		require.NoError(t, err)
		assert.Equal(t, one.ID(), st.ID)
		assert.EqualValues(t, 2, st.Nlink)

		// Numbers that come back at once, within one tick of the clock, are what birth times do not tell apart.
		seen := make(map[FileID]bool)
		numbers := make(map[uint64]int)
		for range 200 {
			h, r, st, err := w.Create(ctx, root, "reused", unix.O_WRONLY, 0o600, Creds{})
			require.NoError(t, err)
			require.NoError(t, h.Close(ctx))
			require.False(t, seen[st.ID], "%v: identity of another file", st.ID)
			seen[st.ID] = true
			numbers[st.ID.Ino]++
			require.NoError(t, w.Unlink(ctx, root, "reused"))
			r.Release()
		}
		t.Logf("%d inode numbers for %d files", len(numbers), len(seen))
	})
}

// Identities must be the same in the next process, for those who hand them to clients.
func TestIdentityOutlivesTheVolume(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	var ids []FileID
	for _, name := range []string{"syscall", "ring"} {
		v, err := OpenVolume(t.Context(), dir, VolumeConfig{Engine: openEngine(t, name, func(*Features) {})})
		require.NoError(t, err)
		r, _, err := v.View(OriginLab).Resolve(t.Context(), "f", false)
		require.NoError(t, err)
		ids = append(ids, r.ID())
		r.Release()
		require.NoError(t, v.Close())
	}
	assert.Equal(t, ids[0], ids[1])
}

func TestDup(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		w.write("f", "content")
		fd, err := w.ref("f").Dup(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, unix.Close(fd)) }()
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		require.NoError(t, err)
		assert.NotZero(t, flags&unix.O_PATH)
		b, err := os.ReadFile(fmt.Sprint("/proc/self/fd/", fd))
		require.NoError(t, err)
		assert.Equal(t, "content", string(b))
	})
}

// mountTmpfs mounts a small file system on an empty directory of the tree.
func (w *tree) mountTmpfs(name string) {
	w.t.Helper()
	needRoot(w.t, "mount(2)")
	path := w.path(name)
	require.NoError(w.t, os.Mkdir(path, 0o755))
	require.NoError(w.t, unix.Mount("uringfs-test", path, "tmpfs", 0, "size=1m"))
	w.t.Cleanup(func() { assert.NoError(w.t, unix.Unmount(path, unix.MNT_DETACH)) })
}

func TestMountPoints(t *testing.T) {
	needRoot(t, "mount(2)")
	for kernel, old := range kernels() {
		for _, cross := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/cross=%v", kernel, cross), func(t *testing.T) {
				ctx := t.Context()
				w := openTree(t, openEngine(t, "syscall", old), VolumeConfig{CrossDevices: cross})
				w.mountTmpfs("mnt")
				w.write("mnt/f", "other")
				root := w.root()
				r, st, err := w.Resolve(ctx, "mnt/f", false)
				if !cross {
					require.ErrorIs(t, err, unix.EXDEV)
					_, _, err = w.Lookup(ctx, root, "mnt")
					require.ErrorIs(t, err, unix.EXDEV)
					require.ErrorIs(t, w.Rmdir(ctx, root, "mnt"), unix.EBUSY)
					require.ErrorIs(t, w.Rename(ctx, root, "mnt", root, "x", 0), unix.EBUSY)
					return
				}
				require.NoError(t, err)
				assert.NotEqual(t, root.ID().Dev, st.ID.Dev)
				r.Release()
				require.ErrorIs(t, w.Rmdir(ctx, root, "mnt"), unix.EBUSY)

				require.NoError(t, w.v.RefuseDevice(st.ID.Dev))
				_, _, err = w.Resolve(ctx, "mnt/f", false)
				require.ErrorIs(t, err, unix.EXDEV)
				_, _, err = w.Resolve(ctx, "mnt", true)
				require.ErrorIs(t, err, unix.EXDEV)
				_, _, err = w.Lookup(ctx, root, "mnt")
				require.ErrorIs(t, err, unix.EXDEV)
				require.NoError(t, os.Symlink("mnt/f", w.path("l")))
				_, _, err = w.Resolve(ctx, "l", true)
				require.ErrorIs(t, err, unix.EXDEV)
				w.write("g", "here")
				_, _, err = w.Resolve(ctx, "./g", true)
				require.NoError(t, err)
				require.ErrorIs(t, w.v.RefuseDevice(root.ID().Dev), unix.EXDEV)
			})
		}
	}
}

func TestEvents(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		sub := w.v.Subscribe(100)
		defer sub.Close()
		next := func() Event {
			t.Helper()
			select {
			case ev := <-sub.C:
				return ev
			default:
				require.Fail(t, "no event")
				return Event{}
			}
		}
		h, r, _, err := w.Create(ctx, root, "f", unix.O_RDWR, 0o600, Creds{})
		require.NoError(t, err)
		closeLater(t, h)
		t.Cleanup(r.Release)
		id, dir := r.ID(), root.ID()
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeCreate, ID: id, Dir: dir, Name: "f"}, next())
		_, err = h.WriteAt(ctx, []byte("hello"), 10, WriteOptions{})
		require.NoError(t, err)
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeWrite, ID: id, Range: Range{10, 5}}, next())
		_, err = h.WriteAt(ctx, []byte("tail"), 0, WriteOptions{Append: true})
		require.NoError(t, err)
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeAppend, ID: id, Range: Range{15, -1}}, next())
		require.NoError(t, h.Truncate(ctx, 7))
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeTruncate, ID: id, Range: Range{7, -1}}, next())
		require.NoError(t, h.Truncate(ctx, 9000))
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeTruncate, ID: id, Range: Range{7, -1}}, next())
		for mode, kind := range map[uint32]ChangeKind{
			0: ChangeAllocate, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE: ChangePunchHole,
			unix.FALLOC_FL_ZERO_RANGE: ChangeZeroRange,
		} {
			require.NoError(t, h.Allocate(ctx, mode, 4096, 100))
			assert.Equal(t, Event{Origin: OriginLab, Kind: kind, ID: id, Range: Range{4096, 100}}, next())
		}
		_, err = w.SetAttr(ctx, r, SetAttr{Mode: new(uint32(0o640))})
		require.NoError(t, err)
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeAttr, ID: id}, next())
		require.NoError(t, w.Setxattr(ctx, r, "user.x", []byte("y"), 0))
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeXattr, ID: id}, next())
		_, err = w.Link(ctx, r, root, "g")
		require.NoError(t, err)
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeLink, ID: id, Dir: dir, Name: "g"}, next())
		d, _, err := w.Mkdir(ctx, root, "d", 0o755, Creds{})
		require.NoError(t, err)
		t.Cleanup(d.Release)
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeCreate, ID: d.ID(), Dir: dir, Name: "d", IsDir: true}, next())
		w.write("victim", "")
		victim := w.ref("victim")
		require.NoError(t, w.Rename(ctx, root, "g", root, "victim", 0))
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeUnlink, ID: victim.ID(), Dir: dir, Name: "victim"}, next())
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeRename, ID: id, Dir: dir, Name: "g", NewDir: dir, NewName: "victim"}, next())
		require.NoError(t, w.Rename(ctx, root, "victim", root, "d", unix.RENAME_EXCHANGE))
		assert.Equal(t, d.ID(), next().ID)
		assert.Equal(t, id, next().ID)
		require.NoError(t, w.Rmdir(ctx, root, "victim"))
		assert.Equal(t, Event{Origin: OriginLab, Kind: ChangeUnlink, ID: d.ID(), Dir: dir, Name: "victim", IsDir: true}, next())

		require.Error(t, w.Unlink(ctx, root, "none"))
		_, err = h.WriteAt(ctx, []byte("x"), -1, WriteOptions{})
		require.ErrorIs(t, err, unix.EINVAL)
		assert.Empty(t, sub.C, "what failed is no event")

		small := w.v.Subscribe(0)
		for range 3 {
			_, err = h.WriteAt(ctx, []byte("x"), 0, WriteOptions{})
			require.NoError(t, err)
		}
		assert.EqualValues(t, 2, small.Lost())
		small.Close()
		small.Close()
		assert.Zero(t, sub.Lost())
	})
}

// Every change waits for a share of its range, and an O_TRUNC open too.
func TestChangesPassTheDoor(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		w.write("f", string(bytes.Repeat([]byte("x"), 20000)))
		r := w.ref("f")
		h := w.open("f", unix.O_RDWR)
		src := w.open("f", unix.O_RDONLY)
		for name, change := range map[string]func(ctx context.Context) error{
			"write": func(ctx context.Context) error {
				_, err := h.WriteAt(ctx, []byte("y"), 100, WriteOptions{})
				return err
			},
			"truncate": func(ctx context.Context) error { return h.Truncate(ctx, 10) },
			"setattr": func(ctx context.Context) error {
				_, err := w.SetAttr(ctx, r, SetAttr{Size: new(int64(10))})
				return err
			},
			"punch": func(ctx context.Context) error {
				return h.Allocate(ctx, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
			},
			"collapse": func(ctx context.Context) error { return h.Allocate(ctx, unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096) },
			"copy":     func(ctx context.Context) error { _, err := h.CopyRange(ctx, src, 8192, 0, 10); return err },
			"open": func(ctx context.Context) error {
				_, err := w.Open(ctx, r, unix.O_WRONLY|unix.O_TRUNC)
				return err
			},
			"create": func(ctx context.Context) error {
				_, _, _, err := w.Create(ctx, w.root(), "f", unix.O_WRONLY|unix.O_TRUNC, 0o600, Creds{})
				return err
			},
		} {
			s, err := w.v.BeginShare(t.Context(), r.ID(), Range{0, 8192})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			// ends when cancelled; waited by the receive below
			go func() { failed <- change(ctx) }()
			waiting := func() bool {
				again, ok := w.v.TryBeginShareForTest(r.ID(), Range{0, 8192})
				if ok {
					again.End()
				}
				return !ok // a share queues behind a waiting change
			}
			if assert.Eventually(t, waiting, waitLimit, waitTick, name) {
				cancel()
				assert.ErrorIs(t, <-failed, unix.ECANCELED, name)
			}
			cancel()
			s.End()
			assert.Len(t, w.read("f"), 20000, name)
		}
	})
}
