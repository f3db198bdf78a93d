package smbtest_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

func TestMemConforms(t *testing.T) {
	smbtest.ShareSuite(t, func(t *testing.T) smbserver.Share {
		m := smbtest.NewMem(smbtest.Options{})
		t.Cleanup(func() {
			assert.Zero(t, m.Opens(), "files left open")
			assert.NoError(t, m.Close())
		})
		return m
	})
}

func TestMemSymlinksStayBeneathTheRoot(t *testing.T) {
	m := smbtest.NewMem(smbtest.Options{})
	mkdir(t, m, "dir")
	mkdir(t, m, "dir/sub")
	require.NoError(t, m.WriteFile("dir/file", []byte("content")))
	for link, target := range map[string]string{
		"good": "dir/file", "dir/sub/up": "../file", "dirlink": "dir", "dangling": "nothing",
		"out": "../outside", "absolute": "/etc/passwd", "loop": "loop", "deep-out": "dir/../../outside", "chain": "good",
	} {
		require.NoError(t, m.Symlink(target, link))
	}
	for _, path := range []string{"good", "dir/sub/up", "dirlink/file", "dirlink/sub/up", "chain"} {
		data, err := m.ReadFile(path)
		require.NoError(t, err, path)
		assert.Equal(t, "content", string(data), path)
	}
	for path, want := range map[string]error{
		"dangling": syscall.ENOENT, "out": syscall.EXDEV, "absolute": syscall.EXDEV, "loop": syscall.ELOOP, "deep-out": syscall.EXDEV,
	} {
		_, err := m.ReadFile(path)
		assert.ErrorIs(t, err, want, path)
	}
	link, err := m.OpenLink(t.Context(), smbserver.OpenParams{Path: "dangling"})
	require.NoError(t, err)
	a, err := link.Attr(t.Context())
	require.NoError(t, err)
	assert.True(t, a.Symlink)
	require.NoError(t, link.Remove(t.Context()))
	require.NoError(t, link.Close())
	_, err = m.OpenLink(t.Context(), smbserver.OpenParams{Path: "dangling"})
	assert.ErrorIs(t, err, syscall.ENOENT)
}

func TestMemHolesAndCapacity(t *testing.T) {
	m := smbtest.NewMem(smbtest.Options{Capacity: 16 * 4096})
	f, err := m.Open(t.Context(), smbserver.OpenParams{Path: "file", Create: true, Read: true, Write: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	free := func() uint64 {
		v, err := m.Statfs(t.Context())
		require.NoError(t, err)
		return v.FreeBlocks
	}
	size := int64(1 << 50)
	require.NoError(t, f.SetAttr(t.Context(), smbserver.SetAttr{Size: &size}))
	assert.EqualValues(t, 16, free(), "a hole takes nothing")
	_, err = f.WriteAt(t.Context(), make([]byte, 4096), size-4096, smbserver.WriteOptions{})
	require.NoError(t, err)
	_, err = f.WriteAt(t.Context(), make([]byte, 15*4096), 0, smbserver.WriteOptions{})
	require.NoError(t, err)
	assert.Zero(t, free())
	_, err = f.WriteAt(t.Context(), []byte("x"), 1<<30, smbserver.WriteOptions{})
	assert.ErrorIs(t, err, syscall.ENOSPC)
	_, err = f.WriteAt(t.Context(), []byte("x"), 5, smbserver.WriteOptions{})
	require.NoError(t, err, "an overwrite needs no space")
	require.NoError(t, f.(smbserver.Zeroer).ZeroRange(t.Context(), 0, 1<<49))
	assert.EqualValues(t, 15, free())
	ranges, err := f.(smbserver.Sparser).AllocatedRanges(t.Context(), 0, size)
	require.NoError(t, err)
	assert.Equal(t, []smbserver.ByteRange{{Offset: size - 4096, Length: 4096}}, ranges)
}

func TestMemReadOnly(t *testing.T) {
	m := smbtest.NewMem(smbtest.Options{ReadOnly: true})
	_, err := m.Open(t.Context(), smbserver.OpenParams{Path: "x", Create: true, Write: true})
	assert.ErrorIs(t, err, syscall.EROFS)
	v, err := m.Statfs(t.Context())
	require.NoError(t, err)
	assert.True(t, v.ReadOnly)
}

func TestMemAsksAccess(t *testing.T) {
	m := smbtest.NewMem(smbtest.Options{Access: func(u smbserver.Identity, path string, write bool) error {
		if write && u.User != "alice" && path == "hers" {
			return syscall.EACCES
		}
		return nil
	}})
	f, err := m.Open(t.Context(), smbserver.OpenParams{Path: "hers", Create: true, Write: true})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = m.Open(t.Context(), smbserver.OpenParams{Path: "hers", Write: true, User: smbserver.Identity{User: "bob"}})
	assert.ErrorIs(t, err, syscall.EACCES)
	f, err = m.Open(t.Context(), smbserver.OpenParams{Path: "hers", Write: true, User: smbserver.Identity{User: "alice"}})
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func mkdir(t *testing.T, m *smbtest.Mem, path string) {
	t.Helper()
	f, err := m.Open(t.Context(), smbserver.OpenParams{Path: path, Create: true, Directory: true})
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestMemRemovesTheLinkNotItsTarget(t *testing.T) {
	m := smbtest.NewMem(smbtest.Options{})
	require.NoError(t, m.WriteFile("file", []byte("content")))
	require.NoError(t, m.Symlink("file", "link"))
	f, err := m.Open(t.Context(), smbserver.OpenParams{Path: "link", Read: true})
	require.NoError(t, err)
	assert.Equal(t, "link", f.Path())
	require.NoError(t, f.Remove(t.Context()))
	require.NoError(t, f.Close())
	data, err := m.ReadFile("file")
	require.NoError(t, err)
	assert.Equal(t, "content", string(data))
	_, err = m.ReadFile("link")
	assert.ErrorIs(t, err, syscall.ENOENT)
}
