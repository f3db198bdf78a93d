//go:build linux

package uringbackend_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

const (
	waitLimit = 10 * time.Second
	waitTick  = time.Millisecond
)

func TestResolve(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		require.NoError(t, os.MkdirAll(w.path("a/b"), 0o755))
		w.write("a/b/file", "x")
		w.write("top", "x")
		require.NoError(t, os.WriteFile(filepath.Join(w.out, "secret"), nil, 0o600))
		for link, target := range map[string]string{
			"a/up": "../top", "a/out": "../../secret", "abs": w.out + "/secret", "dirlink": "a/b", "dangling": "none",
			"slash": "a/b/", "loop1": "loop2", "loop2": "loop1", "absdir": w.out, "chain": "a/up", "dots": "a/./b/../up",
		} {
			require.NoError(t, os.Symlink(target, w.path(link)))
		}
		for _, c := range []struct {
			path      string
			follow    bool
			err       error
			component Component
			typ       uint32
		}{
			{"", false, nil, 0, unix.S_IFDIR},
			{".", true, nil, 0, unix.S_IFDIR},
			{"a", false, nil, 0, unix.S_IFDIR},
			{"a/", false, nil, 0, unix.S_IFDIR},
			{"a//b/./file", false, nil, 0, unix.S_IFREG},
			{"a/b/..", false, nil, 0, unix.S_IFDIR},
			{"a/b/../..", false, nil, 0, unix.S_IFDIR},
			{"a/up", true, nil, 0, unix.S_IFREG},
			{"a/up", false, nil, 0, unix.S_IFLNK},
			{"chain", true, nil, 0, unix.S_IFREG},
			{"dots", true, nil, 0, unix.S_IFREG},
			{"dirlink/file", false, nil, 0, unix.S_IFREG},
			{"slash", true, nil, 0, unix.S_IFDIR},
			{"slash/file", true, nil, 0, unix.S_IFREG},
			{"dangling", false, nil, 0, unix.S_IFLNK},
			{"none", false, unix.ENOENT, Last, 0},
			{"a/none", false, unix.ENOENT, Last, 0},
			{"a/none/", false, unix.ENOENT, Last, 0},
			{"none/x", false, unix.ENOENT, Parent, 0},
			{"a/none/x", false, unix.ENOENT, Parent, 0},
			{"a/none/x/y", false, unix.ENOENT, Parent, 0},
			{"dangling", true, unix.ENOENT, Last, 0},
			{"dangling/x", true, unix.ENOENT, Parent, 0},
			{"top/x", false, unix.ENOTDIR, Parent, 0},
			{"top/", false, unix.ENOTDIR, Last, 0},
			{"top/.", false, unix.ENOTDIR, Parent, 0},
			{"a/up/", false, unix.ENOTDIR, Last, 0},
			{"loop1", true, unix.ELOOP, Last, 0},
			{"loop1/x", true, unix.ELOOP, Parent, 0},
			{"..", false, unix.EXDEV, Last, 0},
			{"a/../..", false, unix.EXDEV, Last, 0},
			{"../root/top", false, unix.EXDEV, Parent, 0},
			{"a/out", true, unix.EXDEV, Last, 0},
			{"abs", true, unix.EXDEV, Last, 0},
			{"absdir/root/top", true, unix.EXDEV, Parent, 0},
			{"/", false, unix.EXDEV, Last, 0},
			{"/top", false, unix.EXDEV, Parent, 0},
			{"a\x00b", false, unix.EINVAL, Last, 0},
			{strings.Repeat("n", 256), false, unix.ENAMETOOLONG, Last, 0},
			{strings.Repeat("a/../", 900) + "a", false, unix.ENAMETOOLONG, Last, 0},
		} {
			r, st, err := w.Resolve(t.Context(), c.path, c.follow)
			if c.err == nil {
				if assert.NoError(t, err, c.path) {
					assert.Equal(t, c.typ, st.Mode&unix.S_IFMT, c.path)
					assert.Equal(t, c.typ, r.Type(), c.path)
					r.Release()
				}
				continue
			}
			var pe *PathError
			if !assert.ErrorAs(t, err, &pe, "%q", c.path) {
				continue
			}
			assert.ErrorIs(t, err, c.err, "%q", c.path)
			if !errors.Is(c.err, unix.ENAMETOOLONG) && c.path != "/top" {
				assert.Equal(t, c.component, pe.Component, "%q: %v", c.path, err)
			}
			assert.Equal(t, c.path, pe.Path)
		}
	})
}

func TestNamesAreOneComponent(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		w.write("f", "")
		r := w.ref("f")
		for _, name := range []string{"", ".", "..", "a/b", "/", "f/", "a\x00b"} {
			_, _, err := w.Lookup(ctx, root, name)
			assert.ErrorIs(t, err, unix.EINVAL, "%q", name)
			_, _, _, err = w.Create(ctx, root, name, unix.O_RDWR, 0o600, Creds{})
			assert.ErrorIs(t, err, unix.EINVAL, "%q", name)
			_, _, err = w.Mkdir(ctx, root, name, 0o700, Creds{})
			assert.ErrorIs(t, err, unix.EINVAL, "%q", name)
			_, _, err = w.Mknod(ctx, root, name, unix.S_IFIFO|0o600, 0, Creds{})
			assert.ErrorIs(t, err, unix.EINVAL, "%q", name)
			_, _, err = w.Symlink(ctx, root, name, "x", Creds{})
			assert.ErrorIs(t, err, unix.EINVAL, "%q", name)
			_, err = w.Link(ctx, r, root, name)
			assert.ErrorIs(t, err, unix.EINVAL, "%q", name)
			assert.ErrorIs(t, w.Unlink(ctx, root, name), unix.EINVAL, "%q", name)
			assert.ErrorIs(t, w.Rmdir(ctx, root, name), unix.EINVAL, "%q", name)
			assert.ErrorIs(t, w.Rename(ctx, root, name, root, "x", 0), unix.EINVAL, "%q", name)
			assert.ErrorIs(t, w.Rename(ctx, root, "f", root, name, 0), unix.EINVAL, "%q", name)
		}
		_, _, err := w.Lookup(ctx, r, "x")
		assert.ErrorIs(t, err, unix.ENOTDIR)
	})
}

// A name changes between a directory and a link to a place outside, as fast as it can, while every operation goes
// through it. Nothing outside may be seen or touched, and each operation works or fails with an errno that is true.
func TestSwappedLinkDoesNotLeadOut(t *testing.T) {
	allowed := []error{unix.ENOENT, unix.EXDEV, unix.ENOTDIR, unix.ELOOP, unix.EEXIST, unix.EAGAIN}
	for _, name := range []string{"syscall", "ring"} {
		for _, kernel := range []string{"as it is", "without openat2"} {
			t.Run(name+"/"+kernel, func(t *testing.T) {
				w := openTree(t, openEngine(t, name, kernels()[kernel]), VolumeConfig{})
				ctx := t.Context()
				outside := filepath.Join(w.out, "outside")
				require.NoError(t, os.Mkdir(outside, 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(outside, "file"), []byte("secret"), 0o600))
				require.NoError(t, os.Mkdir(w.path("dir"), 0o755))
				w.write("dir/file", "public")
				require.NoError(t, os.Symlink("../outside", w.path("link")))
				var outsideSt unix.Stat_t
				require.NoError(t, unix.Stat(filepath.Join(outside, "file"), &outsideSt))

				stop := make(chan struct{})
				var wg sync.WaitGroup
				swaps := 0
				// ends when stop is closed; waited by wg.Wait
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							err := unix.Renameat2(unix.AT_FDCWD, w.path("dir"), unix.AT_FDCWD, w.path("link"), unix.RENAME_EXCHANGE)
							if !assert.NoError(t, err) {
								return
							}
							swaps++
						}
					}
				})
				check := func(err error) {
					for _, ok := range allowed {
						if errors.Is(err, ok) {
							return
						}
					}
					assert.NoError(t, err)
				}
				var reached, refused int
				for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
					r, st, err := w.Resolve(ctx, "dir/file", true)
					check(err)
					if err == nil {
						reached++
						assert.NotEqual(t, outsideSt.Ino, st.ID.Ino, "the file outside")
						assert.EqualValues(t, 6, st.Size)
						h, err := w.Open(ctx, r, unix.O_RDONLY)
						require.NoError(t, err)
						buf := make([]byte, 16)
						n, err := h.ReadAt(ctx, buf, 0)
						require.NoError(t, err)
						require.Equal(t, "public", string(buf[:n]))
						require.NoError(t, h.Close(ctx))
						r.Release()
					} else {
						refused++
					}
					// As a server does it: the parent by path, then the name.
					dir, _, err := w.Resolve(ctx, "dir", true)
					check(err)
					if err != nil {
						continue
					}
					h, r, _, err := w.Create(ctx, dir, "new", unix.O_RDWR, 0o600, Creds{})
					check(err)
					if err == nil {
						require.NoError(t, h.Close(ctx))
						r.Release()
					}
					check(w.Unlink(ctx, dir, "new"))
					sub, _, err := w.Mkdir(ctx, dir, "sub", 0o700, Creds{})
					check(err)
					if err == nil {
						sub.Release()
					}
					check(w.Rmdir(ctx, dir, "sub"))
					dir.Release()
				}
				close(stop)
				wg.Wait()
				entries, err := os.ReadDir(outside)
				require.NoError(t, err)
				require.Len(t, entries, 1, "something was made outside")
				var after unix.Stat_t
				require.NoError(t, unix.Stat(filepath.Join(outside, "file"), &after))
				assert.Equal(t, outsideSt.Mtim, after.Mtim)
				assert.Equal(t, outsideSt.Ctim, after.Ctim)
				assert.Positive(t, reached)
				assert.Positive(t, refused)
				assert.Positive(t, swaps)
				t.Logf("%d swaps, %d reached, %d refused", swaps, reached, refused)
				require.NoError(t, w.v.CheckForTest())
			})
		}
	}
}
