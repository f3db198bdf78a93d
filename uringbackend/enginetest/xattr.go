//go:build linux

package enginetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var xattrCases = []Case{
	{"Xattr", testXattr},
	{"XattrErrors", testXattrErrors},
}

// xattrAccess is one of the ways to an object's attributes.
type xattrAccess struct {
	name   string
	get    func(name string, p []byte) (int, error)
	set    func(name string, value []byte, flags int) error
	list   func(p []byte) (int, error)
	remove func(name string) error
}

// waysToXattrs opens path for each way.
func waysToXattrs(t *testing.T, e uringbackend.Engine, path string) []xattrAccess {
	t.Helper()
	ctx := background()
	plain, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, plain)
	byPath, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, byPath)
	ways := []xattrAccess{{
		"descriptor",
		func(name string, p []byte) (int, error) { return e.Fgetxattr(ctx, plain, name, p) },
		func(name string, v []byte, flags int) error { return e.Fsetxattr(ctx, plain, name, v, flags) },
		func(p []byte) (int, error) { return e.Flistxattr(ctx, plain, p) },
		func(name string) error { return e.Fremovexattr(ctx, plain, name) },
	}}
	for _, o := range []struct {
		name string
		fd   int
	}{{"O_PATH descriptor", byPath}, {"descriptor through its magic link", plain}} {
		ways = append(ways, xattrAccess{
			o.name,
			func(name string, p []byte) (int, error) { return e.FgetxattrPath(ctx, o.fd, name, p) },
			func(name string, v []byte, flags int) error { return e.FsetxattrPath(ctx, o.fd, name, v, flags) },
			func(p []byte) (int, error) { return e.FlistxattrPath(ctx, o.fd, p) },
			func(name string) error { return e.FremovexattrPath(ctx, o.fd, name) },
		})
	}
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	for _, o := range []struct{ name, path string }{{"path", path}, {"path through a link", link}} {
		ways = append(ways, xattrAccess{
			o.name,
			func(name string, p []byte) (int, error) { return e.Getxattr(ctx, o.path, name, p) },
			func(name string, v []byte, flags int) error { return e.Setxattr(ctx, o.path, name, v, flags) },
			ways[0].list, ways[0].remove,
		})
	}
	return ways
}

func testXattr(t *testing.T, e uringbackend.Engine) {
	_, path := file(t, nil, unix.O_RDONLY)
	const name = "user.uringfs"
	for _, w := range waysToXattrs(t, e, path) {
		buf := make([]byte, 100)
		_, err := w.get(name, buf)
		require.Equal(t, unix.ENODATA, err, w.name)
		assert.Equal(t, unix.ENODATA, w.set(name, nil, unix.XATTR_REPLACE), w.name)
		require.NoError(t, w.set(name, []byte("value"), unix.XATTR_CREATE), w.name)
		assert.Equal(t, unix.EEXIST, w.set(name, nil, unix.XATTR_CREATE), w.name)
		n, err := w.get(name, buf)
		require.NoError(t, err, w.name)
		assert.Equal(t, "value", string(buf[:n]), w.name)
		n, err = w.get(name, nil)
		require.NoError(t, err, w.name)
		assert.Equal(t, 5, n, "%s: its size", w.name)
		_, err = w.get(name, buf[:2])
		assert.Equal(t, unix.ERANGE, err, w.name)
		n, err = w.list(buf)
		require.NoError(t, err, w.name)
		assert.Contains(t, string(buf[:n]), name+"\x00", w.name)
		require.NoError(t, w.set(name, nil, 0), "%s: empty value", w.name)
		n, err = w.get(name, buf)
		require.NoError(t, err, w.name)
		assert.Zero(t, n, w.name)
		require.NoError(t, w.remove(name), w.name)
		assert.Equal(t, unix.ENODATA, w.remove(name), w.name)
	}
}

func testXattrErrors(t *testing.T, e uringbackend.Engine) {
	_, path := file(t, nil, unix.O_RDONLY)
	buf := make([]byte, 10)
	for _, w := range waysToXattrs(t, e, path) {
		for _, c := range []struct {
			name, attr string
			want       unix.Errno
		}{
			{"no name", "", unix.ERANGE},
			{"long name", "user." + strings.Repeat("n", 256), unix.ERANGE},
			{"NUL", "user.a\x00b", unix.EINVAL},
			{"no name space", "uringfs", unix.EOPNOTSUPP},
		} {
			_, err := w.get(c.attr, buf)
			assert.Equal(t, c.want, err, "%s: get %s", w.name, c.name)
			assert.Equal(t, c.want, w.set(c.attr, buf, 0), "%s: set %s", w.name, c.name)
		}
		assert.Equal(t, unix.EINVAL, w.set("user.x", buf, 1<<20), "%s: unknown flag", w.name)
		assert.Equal(t, unix.E2BIG, w.set("user.x", make([]byte, 1<<20), 0), "%s: large value", w.name)
	}
	ctx := background()
	const name = "user.x"
	for _, fd := range []int{-1, 1 << 20} {
		_, err := e.Fgetxattr(ctx, fd, name, nil)
		assert.Equal(t, unix.EBADF, err)
		_, err = e.FgetxattrPath(ctx, fd, name, nil)
		assert.Equal(t, unix.EBADF, err)
		assert.Equal(t, unix.EBADF, e.Fsetxattr(ctx, fd, name, nil, 0))
		assert.Equal(t, unix.EBADF, e.FsetxattrPath(ctx, fd, name, nil, 0))
		_, err = e.FlistxattrPath(ctx, fd, nil)
		assert.Equal(t, unix.EBADF, err)
		assert.Equal(t, unix.EBADF, e.FremovexattrPath(ctx, fd, name))
	}
	byPath, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, byPath)
	_, err = e.Fgetxattr(ctx, byPath, name, nil)
	assert.Equal(t, unix.EBADF, err, "O_PATH, and nothing says so")
	assert.Equal(t, unix.EBADF, e.Fsetxattr(ctx, byPath, name, nil, 0))
	_, err = e.Flistxattr(ctx, byPath, nil)
	assert.Equal(t, unix.EBADF, err)
	assert.Equal(t, unix.EBADF, e.Fremovexattr(ctx, byPath, name))
	for _, c := range []struct {
		path string
		want unix.Errno
	}{
		{path + "none", unix.ENOENT},
		{path + "/x", unix.ENOTDIR},
		{"", unix.ENOENT},
		{"a\x00b", unix.EINVAL},
	} {
		_, err := e.Getxattr(ctx, c.path, name, buf)
		assert.Equal(t, c.want, err, c.path)
		assert.Equal(t, c.want, e.Setxattr(ctx, c.path, name, buf, 0), c.path)
	}
}
