//go:build linux

package uringbackend_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

func TestStatSaysWhatTheKernelSays(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		w.write("f", "content")
		var want unix.Statx_t
		require.NoError(t, unix.Statx(unix.AT_FDCWD, w.path("f"), 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &want))
		var plain unix.Stat_t
		require.NoError(t, unix.Stat(w.path("f"), &plain))
		st, err := w.Stat(t.Context(), w.ref("f"))
		require.NoError(t, err)
		assert.Equal(t, plain.Dev, st.ID.Dev)
		assert.Equal(t, plain.Ino, st.ID.Ino)
		assert.Equal(t, plain.Mode, st.Mode)
		assert.EqualValues(t, plain.Nlink, st.Nlink)
		assert.Equal(t, [2]uint32{plain.Uid, plain.Gid}, [2]uint32{st.UID, st.GID})
		assert.EqualValues(t, 7, st.Size)
		assert.Equal(t, plain.Blocks, st.Blocks)
		assert.EqualValues(t, plain.Blksize, st.Blksize)
		assert.Equal(t, time.Unix(plain.Mtim.Sec, plain.Mtim.Nsec), st.Mtime)
		assert.Equal(t, time.Unix(plain.Ctim.Sec, plain.Ctim.Nsec), st.Ctime)
		assert.Equal(t, time.Unix(plain.Atim.Sec, plain.Atim.Nsec), st.Atime)
		if want.Mask&unix.STATX_BTIME != 0 {
			assert.Equal(t, time.Unix(want.Btime.Sec, int64(want.Btime.Nsec)), st.Btime)
		}
		assert.Equal(t, want.Attributes_mask, st.AttributesMask)
		assert.False(t, st.IsDir())
		fs, err := w.Statfs(t.Context(), w.ref("f"))
		require.NoError(t, err)
		assert.Positive(t, fs.Blocks)
	})
}

func TestSetAttr(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "content")
		r := w.ref("f")
		before := time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC)
		after := time.Date(2033, 1, 2, 3, 4, 5, 6, time.UTC)
		st, err := w.SetAttr(ctx, r, SetAttr{Atime: &before, Mtime: &after, Size: new(int64(3)), Mode: new(uint32(0o4711))})
		require.NoError(t, err)
		assert.True(t, st.Atime.Equal(before), "%v", st.Atime)
		assert.True(t, st.Mtime.Equal(after), "%v: truncating must not touch it afterwards", st.Mtime)
		assert.EqualValues(t, unix.S_IFREG|0o4711, st.Mode)
		assert.EqualValues(t, 3, st.Size)
		st, err = w.SetAttr(ctx, r, SetAttr{MtimeNow: true, Mtime: &before})
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), st.Mtime, time.Minute)
		assert.True(t, st.Atime.Equal(before), "omitted")
		st, err = w.SetAttr(ctx, r, SetAttr{})
		require.NoError(t, err)
		assert.Equal(t, r.ID(), st.ID)

		require.NoError(t, os.Symlink("f", w.path("l")))
		link := w.ref("l")
		st, err = w.SetAttr(ctx, link, SetAttr{Mtime: &after})
		require.NoError(t, err)
		assert.True(t, st.Mtime.Equal(after), "of the link itself")
		_, err = w.SetAttr(ctx, link, SetAttr{Mode: new(uint32(0o600))})
		require.ErrorIs(t, err, unix.EOPNOTSUPP)
		_, err = w.SetAttr(ctx, link, SetAttr{Size: new(int64(1))})
		require.ErrorIs(t, err, unix.EINVAL)
		_, err = w.SetAttr(ctx, w.root(), SetAttr{Size: new(int64(1))})
		require.ErrorIs(t, err, unix.EISDIR)
		st, err = w.Stat(ctx, r)
		require.NoError(t, err)
		assert.EqualValues(t, unix.S_IFREG|0o4711, st.Mode, "nothing went through the link")

		sock, _, err := w.Mknod(ctx, w.root(), "sock", unix.S_IFSOCK|0o600, 0, Creds{})
		require.NoError(t, err)
		t.Cleanup(sock.Release)
		st, err = w.SetAttr(ctx, sock, SetAttr{Mode: new(uint32(0o666)), Atime: &before})
		require.NoError(t, err)
		assert.EqualValues(t, unix.S_IFSOCK|0o666, st.Mode)

		if os.Geteuid() == 0 {
			for _, r := range []*Ref{r, link, sock} {
				st, err = w.SetAttr(ctx, r, SetAttr{UID: new(uint32(1234))})
				require.NoError(t, err)
				assert.EqualValues(t, 1234, st.UID)
				st, err = w.SetAttr(ctx, r, SetAttr{GID: new(uint32(4321))})
				require.NoError(t, err)
				assert.Equal(t, [2]uint32{1234, 4321}, [2]uint32{st.UID, st.GID})
			}
			st, err = w.SetAttr(ctx, r, SetAttr{UID: new(uint32(7)), Mode: new(uint32(0o4755))})
			require.NoError(t, err)
			assert.EqualValues(t, unix.S_IFREG|0o4755, st.Mode, "the mode is set after chown has cleared the bit")
		}
	})
}

func TestCreateModes(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		h, r, st, err := w.Create(ctx, root, "f", unix.O_RDWR, 0o666, Creds{})
		require.NoError(t, err)
		closeLater(t, h)
		t.Cleanup(r.Release)
		assert.EqualValues(t, unix.S_IFREG|0o666, st.Mode, "the umask of the process is not applied again")
		assert.True(t, h.Created())
		d, st, err := w.Mkdir(ctx, root, "d", 0o777, Creds{})
		require.NoError(t, err)
		t.Cleanup(d.Release)
		assert.EqualValues(t, unix.S_IFDIR|0o777, st.Mode)

		_, _, _, err = w.Create(ctx, root, "f", unix.O_RDWR|unix.O_EXCL, 0o600, Creds{})
		require.ErrorIs(t, err, unix.EEXIST)
		_, err = h.WriteAt(ctx, []byte("content"), 0, WriteOptions{})
		require.NoError(t, err)
		again, r2, st, err := w.Create(ctx, root, "f", unix.O_RDWR, 0o600, Creds{})
		require.NoError(t, err)
		closeLater(t, again)
		t.Cleanup(r2.Release)
		assert.Same(t, r, r2)
		assert.False(t, again.Created())
		assert.EqualValues(t, 7, st.Size)
		cut, r3, st, err := w.Create(ctx, root, "f", unix.O_RDWR|unix.O_TRUNC, 0o600, Creds{})
		require.NoError(t, err)
		closeLater(t, cut)
		t.Cleanup(r3.Release)
		assert.Zero(t, st.Size)
		assert.EqualValues(t, unix.S_IFREG|0o666, st.Mode)
		_, _, _, err = w.Create(ctx, root, "d", unix.O_RDWR, 0o600, Creds{})
		require.ErrorIs(t, err, unix.EISDIR)
		_, _, err = w.Mkdir(ctx, root, "f", 0o700, Creds{})
		require.ErrorIs(t, err, unix.EEXIST)

		ro, r4, _, err := w.Create(ctx, root, "locked", unix.O_RDWR, 0o400, Creds{})
		require.NoError(t, err)
		closeLater(t, ro)
		t.Cleanup(r4.Release)
		_, err = ro.WriteAt(ctx, []byte("x"), 0, WriteOptions{})
		require.NoError(t, err, "the one who makes it may write, whatever the mode")
	})
}

func TestNamesComeAndGo(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		root := w.root()
		for _, name := range []string{"a", "b", "c"} {
			w.write(name, name)
		}
		d, _, err := w.Mkdir(ctx, root, "d", 0o700, Creds{})
		require.NoError(t, err)
		t.Cleanup(d.Release)
		require.ErrorIs(t, w.Unlink(ctx, root, "d"), unix.EISDIR)
		require.ErrorIs(t, w.Rmdir(ctx, root, "a"), unix.ENOTDIR)
		require.ErrorIs(t, w.Unlink(ctx, root, "none"), unix.ENOENT)
		require.ErrorIs(t, w.Rename(ctx, root, "none", root, "x", 0), unix.ENOENT)
		require.NoError(t, w.Rename(ctx, root, "a", d, "moved", 0))
		assert.Equal(t, "a", w.read("d/moved"))
		require.ErrorIs(t, w.Rmdir(ctx, root, "d"), unix.ENOTEMPTY)
		require.ErrorIs(t, w.Rename(ctx, root, "b", root, "c", unix.RENAME_NOREPLACE), unix.EEXIST)
		require.NoError(t, w.Rename(ctx, root, "b", root, "c", unix.RENAME_EXCHANGE))
		assert.Equal(t, "c", w.read("b"))
		gone := w.ref("c")
		require.NoError(t, w.Rename(ctx, root, "b", root, "c", 0))
		assert.Equal(t, "c", w.read("c"))
		st, err := w.Stat(ctx, gone)
		require.NoError(t, err, "what was replaced is still there for who has it")
		assert.Zero(t, st.Nlink)
		r := w.ref("c")
		st, err = w.Link(ctx, r, d, "second")
		require.NoError(t, err)
		assert.EqualValues(t, 2, st.Nlink)
		_, err = w.Link(ctx, r, d, "second")
		require.ErrorIs(t, err, unix.EEXIST)
		require.NoError(t, w.Rename(ctx, root, "c", d, "second", 0), "two names of one inode")
		assert.Equal(t, "c", w.read("c"))
		require.NoError(t, w.Unlink(ctx, d, "second"))
		require.NoError(t, w.Unlink(ctx, d, "moved"))
		require.NoError(t, w.Rmdir(ctx, root, "d"))
		long := strings.Repeat("t", 4000)
		l, _, err := w.Symlink(ctx, root, "l", long, Creds{})
		require.NoError(t, err)
		t.Cleanup(l.Release)
		got, err := w.Readlink(ctx, l)
		require.NoError(t, err)
		assert.Equal(t, long, got)
		require.NoError(t, w.v.CheckForTest())
	})
}

func TestXattr(t *testing.T) {
	onKernels(t, func(t *testing.T, w *tree) {
		ctx := t.Context()
		w.write("f", "")
		require.NoError(t, os.Mkdir(w.path("d"), 0o700))
		for _, name := range []string{"f", "d"} {
			r := w.ref(name)
			require.NoError(t, w.Setxattr(ctx, r, "user.one", []byte("value"), unix.XATTR_CREATE))
			require.ErrorIs(t, w.Setxattr(ctx, r, "user.one", []byte("value"), unix.XATTR_CREATE), unix.EEXIST)
			require.ErrorIs(t, w.Setxattr(ctx, r, "user.two", nil, unix.XATTR_REPLACE), unix.ENODATA)
			require.NoError(t, w.Setxattr(ctx, r, "user.empty", nil, 0))
			buf := make([]byte, 100)
			n, err := w.Getxattr(ctx, r, "user.one", nil)
			require.NoError(t, err)
			assert.Equal(t, 5, n)
			n, err = w.Getxattr(ctx, r, "user.one", buf)
			require.NoError(t, err)
			assert.Equal(t, "value", string(buf[:n]))
			_, err = w.Getxattr(ctx, r, "user.one", buf[:3])
			require.ErrorIs(t, err, unix.ERANGE)
			n, err = w.Listxattr(ctx, r, buf)
			require.NoError(t, err)
			names := bytes.Split(bytes.TrimRight(buf[:n], "\x00"), []byte{0})
			assert.ElementsMatch(t, [][]byte{[]byte("user.one"), []byte("user.empty")}, names)
			require.NoError(t, w.Removexattr(ctx, r, "user.one"))
			_, err = w.Getxattr(ctx, r, "user.one", buf)
			require.ErrorIs(t, err, unix.ENODATA)
			require.ErrorIs(t, w.Removexattr(ctx, r, "user.one"), unix.ENODATA)
		}
	})
}
