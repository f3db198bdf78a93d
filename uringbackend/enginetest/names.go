//go:build linux

package enginetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var nameCases = []Case{
	{"Nodes", testNodes},
	{"Links", testLinks},
	{"Rename", testRename},
}

func testNodes(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	plain, _ := file(t, nil, unix.O_RDONLY)
	ctx := background()
	require.NoError(t, os.WriteFile(filepath.Join(path, "f"), nil, 0o600))
	require.NoError(t, e.Mkdirat(ctx, in(dir, "d"), 0o750))
	st, err := os.Stat(filepath.Join(path, "d"))
	require.NoError(t, err)
	umask := unix.Umask(0)
	unix.Umask(umask)
	assert.Equal(t, os.ModeDir|os.FileMode(0o750&^umask), st.Mode())
	assert.Equal(t, unix.EEXIST, e.Mkdirat(ctx, in(dir, "d"), 0o750))

	for _, c := range []struct {
		name string
		at   uringbackend.At
		want unix.Errno
	}{
		{"empty", in(dir, ""), unix.ENOENT},
		{"through a missing one", in(dir, "no/d"), unix.ENOENT},
		{"long name", in(dir, strings.Repeat("n", 256)), unix.ENAMETOOLONG},
		{"long path", in(dir, strings.Repeat("n/", 2100)), unix.ENAMETOOLONG},
		{"NUL", in(dir, "a\x00b"), unix.EINVAL},
		{"not open", in(1<<20, "d"), unix.EBADF},
		{"no directory", in(plain, "d"), unix.ENOTDIR},
	} {
		assert.Equal(t, c.want, e.Mkdirat(ctx, c.at, 0o700), "mkdir: %s", c.name)
		assert.Equal(t, c.want, e.Symlinkat(ctx, "target", c.at), "symlink: %s", c.name)
		assert.Equal(t, c.want, e.Unlinkat(ctx, c.at, 0), "unlink: %s", c.name)
		assert.Equal(t, c.want, e.Unlinkat(ctx, c.at, unix.AT_REMOVEDIR), "rmdir: %s", c.name)
		assert.Equal(t, c.want, e.Renameat2(ctx, in(dir, "d"), c.at, 0), "rename to: %s", c.name)
		assert.Equal(t, c.want, e.Renameat2(ctx, c.at, in(dir, "x"), 0), "rename from: %s", c.name)
		assert.Equal(t, c.want, e.Linkat(ctx, in(dir, "f"), c.at, 0), "link to: %s", c.name)
		if c.at.Name != "" { // the descriptor itself
			assert.Equal(t, c.want, e.Linkat(ctx, c.at, in(dir, "x"), 0), "link from: %s", c.name)
		}
	}
	assert.Equal(t, unix.EINVAL, e.Unlinkat(ctx, in(dir, "f"), 1<<20), "unknown flag")
	require.NoError(t, os.Remove(filepath.Join(path, "f")))

	require.NoError(t, e.Mknodat(ctx, in(dir, "fifo"), unix.S_IFIFO|0o600, 0))
	st, err = os.Lstat(filepath.Join(path, "fifo"))
	require.NoError(t, err)
	assert.Equal(t, os.ModeNamedPipe, st.Mode().Type())
	require.NoError(t, e.Mknodat(ctx, in(dir, "plain"), unix.S_IFREG|0o600, 0))

	assert.Equal(t, unix.EISDIR, e.Unlinkat(ctx, in(dir, "d"), 0))
	assert.Equal(t, unix.ENOTDIR, e.Unlinkat(ctx, in(dir, "plain"), unix.AT_REMOVEDIR))
	require.NoError(t, os.WriteFile(filepath.Join(path, "d", "x"), nil, 0o600))
	assert.Equal(t, unix.ENOTEMPTY, e.Unlinkat(ctx, in(dir, "d"), unix.AT_REMOVEDIR))
	require.NoError(t, e.Unlinkat(ctx, in(dir, "d/x"), 0))
	require.NoError(t, e.Unlinkat(ctx, in(dir, "d"), unix.AT_REMOVEDIR))
	require.NoError(t, e.Unlinkat(ctx, in(dir, "fifo"), 0))
	assert.Equal(t, unix.ENOENT, e.Unlinkat(ctx, in(dir, "fifo"), 0))
}

func testLinks(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	ctx := background()
	require.NoError(t, e.Symlinkat(ctx, "some/target", in(dir, "l")))
	assert.Equal(t, unix.EEXIST, e.Symlinkat(ctx, "x", in(dir, "l")))
	buf := make([]byte, 100)
	n, err := e.Readlinkat(ctx, in(dir, "l"), buf)
	require.NoError(t, err)
	assert.Equal(t, "some/target", string(buf[:n]))
	link, err := unix.Open(filepath.Join(path, "l"), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, link)
	n, err = e.Readlinkat(ctx, in(link, ""), buf[:4])
	require.NoError(t, err)
	assert.Equal(t, "some", string(buf[:n]), "cut to the buffer")
	_, err = e.Readlinkat(ctx, in(link, ""), nil)
	assert.Equal(t, unix.EINVAL, err)
	_, err = e.Readlinkat(ctx, in(dir, "none"), buf)
	assert.Equal(t, unix.ENOENT, err)

	require.NoError(t, os.WriteFile(filepath.Join(path, "f"), []byte("f"), 0o600))
	require.NoError(t, e.Linkat(ctx, in(dir, "f"), in(dir, "g"), 0))
	assert.Equal(t, unix.EEXIST, e.Linkat(ctx, in(dir, "f"), in(dir, "g"), 0))
	fd, err := unix.Open(filepath.Join(path, "f"), unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, fd)
	require.NoError(t, e.Linkat(ctx, in(fd, ""), in(dir, "h"), 0), "of a descriptor")
	require.NoError(t, e.Linkat(ctx, in(link, ""), in(dir, "l2"), 0), "of a link's descriptor")
	target, err := os.Readlink(filepath.Join(path, "l2"))
	require.NoError(t, err)
	assert.Equal(t, "some/target", target)
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	assert.EqualValues(t, 3, st.Nlink)

	require.NoError(t, e.Linkat(ctx, in(dir, "l"), in(dir, "l3"), 0), "of the link")
	target, err = os.Readlink(filepath.Join(path, "l3"))
	require.NoError(t, err)
	assert.Equal(t, "some/target", target)
	require.NoError(t, os.Symlink("f", filepath.Join(path, "tof")))
	require.NoError(t, e.Linkat(ctx, in(dir, "tof"), in(dir, "i"), unix.AT_SYMLINK_FOLLOW), "of what the link leads to")
	require.NoError(t, unix.Fstat(fd, &st))
	assert.EqualValues(t, 4, st.Nlink)

	nameless, err := unix.Open(path, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) {
		RequireHere(t, uringbackend.Ability{Answer: uringbackend.No, Since: "3.11", Why: err})
	}
	require.NoError(t, err)
	own(t, nameless)
	require.NoError(t, e.Linkat(ctx, in(nameless, ""), in(dir, "named"), unix.AT_EMPTY_PATH))
	assert.FileExists(t, filepath.Join(path, "named"))
	here, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, here)
	for _, c := range []struct {
		name  string
		from  uringbackend.At
		flags int
		want  unix.Errno
	}{
		{"of a descriptor that is not open", in(1<<20, ""), 0, unix.EBADF},
		{"of a directory", in(here, ""), 0, unix.EPERM},
		{"unknown flag", in(dir, "f"), 1 << 20, unix.EINVAL},
	} {
		assert.Equal(t, c.want, e.Linkat(ctx, c.from, in(dir, "z"), c.flags), c.name)
	}
	assert.Equal(t, unix.EBADF, e.Linkat(ctx, in(fd, ""), in(1<<20, "z"), 0))
	assert.Equal(t, unix.ENOENT, e.Symlinkat(ctx, "", in(dir, "z")), "empty target")
	assert.Equal(t, unix.EINVAL, e.Symlinkat(ctx, "a\x00b", in(dir, "z")))
}

func testRename(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	ctx := background()
	write := func(name string) { require.NoError(t, os.WriteFile(filepath.Join(path, name), []byte(name), 0o600)) }
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(path, name))
		require.NoError(t, err)
		return string(b)
	}
	write("a")
	write("b")
	assert.Equal(t, unix.EEXIST, e.Renameat2(ctx, in(dir, "a"), in(dir, "b"), unix.RENAME_NOREPLACE))
	require.NoError(t, e.Renameat2(ctx, in(dir, "a"), in(dir, "b"), unix.RENAME_EXCHANGE))
	assert.Equal(t, "b", read("a"))
	assert.Equal(t, "a", read("b"))
	require.NoError(t, e.Renameat2(ctx, in(dir, "a"), in(dir, "b"), 0))
	assert.Equal(t, "b", read("b"))
	assert.Equal(t, unix.ENOENT, e.Renameat2(ctx, in(dir, "a"), in(dir, "c"), 0))
	require.NoError(t, os.Mkdir(filepath.Join(path, "d"), 0o700))
	assert.Equal(t, unix.EISDIR, e.Renameat2(ctx, in(dir, "b"), in(dir, "d"), 0))
	assert.Equal(t, unix.ENOTDIR, e.Renameat2(ctx, in(dir, "d"), in(dir, "b"), 0))
	assert.Equal(t, unix.EINVAL, e.Renameat2(ctx, in(dir, "d"), in(dir, "d/d"), 0), "beneath itself")
	assert.Equal(t, unix.EINVAL, e.Renameat2(ctx, in(dir, "b"), in(dir, "c"), 1<<20), "unknown flag")
	assert.Equal(t, unix.EINVAL, e.Renameat2(ctx, in(dir, "b"), in(dir, "c"), unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE))
	other, otherPath := directory(t)
	require.NoError(t, e.Renameat2(ctx, in(dir, "b"), in(other, "moved"), 0))
	assert.FileExists(t, filepath.Join(otherPath, "moved"))
}
