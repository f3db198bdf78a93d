package smbtest

import (
	"slices"
	"sync"
	"syscall"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver"
)

func testReadDirEmpty(s *suite) {
	assert.Empty(s, s.list(""))
	s.mkdir("dir")
	assert.Empty(s, s.list("dir"))
	s.make("dir/file", "x")
	assert.Equal(s, []string{"file"}, s.list("dir"))
	s.make("plain", "x")
	f := s.open(smbserver.OpenParams{Path: "plain", Read: true})
	err := f.ReadDir(s.Context(), 0, func(smbserver.DirEntry) bool { return true })
	s.isErrno(err, syscall.ENOTDIR)
}

func testReadDirAttr(s *suite) {
	s.make("file", "12345")
	s.mkdir("dir")
	root := s.open(smbserver.OpenParams{Path: "", Read: true})
	seen := 0
	require.NoError(s, root.ReadDir(s.Context(), 0, func(e smbserver.DirEntry) bool {
		seen++
		a, err := e.Attr(s.Context())
		require.NoError(s, err)
		f := s.open(smbserver.OpenParams{Path: e.Name})
		assert.Equal(s, f.ID(), a.ID)
		assert.Equal(s, e.Name == "dir", a.Directory)
		if !a.Directory {
			assert.EqualValues(s, 5, a.Size)
		}
		return true
	}))
	assert.Equal(s, 2, seen)
}

func (s *suite) fill(n int) (want []string) {
	s.Helper()
	for i := range n {
		s.make(number(i), "")
		want = append(want, number(i))
	}
	return want
}

func testReadDirCookies(s *suite) {
	want := s.fill(50)
	root := s.open(smbserver.OpenParams{Path: "", Read: true})
	all := s.entries(root, 0, -1)
	assert.ElementsMatch(s, want, names(all))
	for i, e := range all {
		assert.NotZero(s, e.Cookie)
		assert.Equal(s, names(all[i+1:]), names(s.entries(root, e.Cookie, -1)), "after %q", e.Name)
	}
	// In steps, as QUERY_DIRECTORY does, also of one entry.
	for _, step := range []int{1, 3, 49, 50, 51} {
		var got []string
		for cookie := uint64(0); ; {
			part := s.entries(root, cookie, step)
			if len(part) == 0 {
				break
			}
			got = append(got, names(part)...)
			cookie = part[len(part)-1].Cookie
		}
		assert.Equal(s, names(all), got, "in steps of %d", step)
	}
	assert.Equal(s, names(all), names(s.entries(root, 0, -1)), "from the start again")
}

func testReadDirRemoving(s *suite) {
	want := s.fill(300)
	root := s.open(smbserver.OpenParams{Path: "", Read: true})
	var got []string
	for cookie := uint64(0); ; {
		part := s.entries(root, cookie, 10)
		if len(part) == 0 {
			break
		}
		for _, e := range part {
			got = append(got, e.Name)
			f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: e.Name})
			require.NoError(s, err)
			require.NoError(s, f.Remove(s.Context()))
			require.NoError(s, f.Close())
		}
		cookie = part[len(part)-1].Cookie
	}
	assert.ElementsMatch(s, want, got, "removing what was seen does not hide the rest")
	assert.Empty(s, s.list(""))
}

func testReadDirAdding(s *suite) {
	want := s.fill(100)
	root := s.open(smbserver.OpenParams{Path: "", Read: true})
	got := make(map[string]int)
	added := 0
	for cookie := uint64(0); ; {
		part := s.entries(root, cookie, 7)
		if len(part) == 0 {
			break
		}
		for _, e := range part {
			got[e.Name]++
		}
		if added < 50 {
			s.make(number(1000+added), "")
			added++
		}
		cookie = part[len(part)-1].Cookie
	}
	for _, name := range want {
		assert.Equal(s, 1, got[name], "%q was there all the time", name)
	}
	for name, n := range got {
		assert.Equal(s, 1, n, "%q came more than once", name)
	}
}

func testReadDirMany(s *suite) {
	want := s.fill(10_000)
	got := s.list("")
	slices.Sort(got)
	assert.Equal(s, want, got)
}

func testReadDirTwoHandles(s *suite) {
	want := s.fill(200)
	var wg sync.WaitGroup
	shared := s.open(smbserver.OpenParams{Path: "", Read: true})
	for i := range 4 {
		f := shared
		if i >= 2 {
			f = s.open(smbserver.OpenParams{Path: "", Read: true})
		}
		wg.Go(func() {
			var got []string
			for cookie := uint64(0); ; {
				var last uint64
				n := 0
				err := f.ReadDir(s.Context(), cookie, func(e smbserver.DirEntry) bool {
					got = append(got, e.Name)
					last = e.Cookie
					n++
					return n < 7
				})
				if !assert.NoError(s, err) || n == 0 {
					break
				}
				cookie = last
			}
			assert.ElementsMatch(s, want, got)
		})
	}
	wg.Wait()
}

func testRename(s *suite) {
	f := s.create("a", "content")
	s.mkdir("dir")
	require.NoError(s, f.Rename(s.Context(), "dir/b", false))
	assert.Equal(s, "dir/b", f.Path())
	assert.Equal(s, []string{"dir"}, s.list(""))
	assert.Equal(s, "content", s.contentOf("dir/b"))
	s.write(f, "C", 0)
	assert.Equal(s, "Content", s.contentOf("dir/b"))
	require.NoError(s, f.Rename(s.Context(), "c", false))
	assert.Equal(s, "c", f.Path())
	require.NoError(s, f.Remove(s.Context()))
	assert.False(s, s.exists("c"))
}

func testRenameReplace(s *suite) {
	f := s.create("new", "new")
	old := s.create("old", "old")
	s.isErrno(f.Rename(s.Context(), "old", false), syscall.EEXIST)
	assert.Equal(s, "new", f.Path())
	assert.Equal(s, "old", s.contentOf("old"))
	require.NoError(s, f.Rename(s.Context(), "old", true))
	assert.Equal(s, "new", s.contentOf("old"))
	assert.Equal(s, "old", s.content(old), "who had the replaced file open keeps it")
	assert.Equal(s, []string{"old"}, s.list(""))
	s.mkdir("dir")
	s.isErrno(f.Rename(s.Context(), "dir", true), syscall.EISDIR, syscall.EEXIST)
	assert.True(s, s.exists("dir"))
}

// The server decides by Path which opens share a name that is to be deleted, and any of them may be the last to close.
func testRenameOtherHandle(s *suite) {
	f := s.create("a", "content")
	other := s.open(smbserver.OpenParams{Path: "a"})
	require.NoError(s, f.Rename(s.Context(), "b", false))
	assert.Equal(s, "b", other.Path())
	require.NoError(s, other.Rename(s.Context(), "c", false))
	assert.Equal(s, "c", f.Path())
	require.NoError(s, f.Remove(s.Context()))
	s.isErrno(other.Remove(s.Context()), syscall.ENOENT, syscall.ESTALE)
	assert.Empty(s, s.list(""))
}

func testRenameDirectory(s *suite) {
	dir := s.mkdir("dir")
	f := s.create("dir/file", "content")
	require.NoError(s, dir.Rename(s.Context(), "moved", false))
	assert.Equal(s, "moved", dir.Path())
	assert.Equal(s, "content", s.contentOf("moved/file"))
	assert.Equal(s, "content", s.content(f), "a file open below works on")
	s.mkdir("empty")
	s.mkdir("full")
	s.make("full/x", "")
	s.isErrno(dir.Rename(s.Context(), "full", true), syscall.ENOTEMPTY, syscall.EEXIST)
	s.isErrno(dir.Rename(s.Context(), "empty", false), syscall.EEXIST)
	s.make("plain", "")
	s.isErrno(dir.Rename(s.Context(), "plain", true), syscall.ENOTDIR, syscall.EEXIST)
	assert.ElementsMatch(s, []string{"moved", "empty", "full", "plain"}, s.list(""))
}

func testRenameIntoItself(s *suite) {
	dir := s.mkdir("dir")
	s.mkdir("dir/sub")
	s.isErrno(dir.Rename(s.Context(), "dir/sub/dir", false), syscall.EINVAL)
	assert.True(s, s.exists("dir/sub"))
}

func testRenameMissingParent(s *suite) {
	f := s.create("file", "x")
	err := f.Rename(s.Context(), "missing/file", false)
	s.isErrno(err, syscall.ENOENT)
	s.isComponent(err, smbserver.Parent)
	err = f.Rename(s.Context(), "file/below", false)
	s.isErrno(err, syscall.ENOTDIR)
	assert.True(s, s.exists("file"))
}

func testRenameSame(s *suite) {
	f := s.create("file", "content")
	require.NoError(s, f.Rename(s.Context(), "file", true))
	assert.Equal(s, "content", s.contentOf("file"))
	assert.Equal(s, []string{"file"}, s.list(""))
	require.NoError(s, f.Rename(s.Context(), "FILE", true), "a change of case only")
	assert.Equal(s, []string{"FILE"}, s.list(""))
}

func testLink(s *suite) {
	f := s.create("a", "content")
	if err := f.Link(s.Context(), "b", false); err != nil {
		s.isErrno(err, syscall.EOPNOTSUPP, syscall.EPERM)
		return
	}
	assert.EqualValues(s, 2, s.attr(f).Links)
	b := s.open(smbserver.OpenParams{Path: "b", Read: true})
	assert.Equal(s, f.ID(), b.ID())
	assert.Equal(s, "b", b.Path())
	assert.Equal(s, "a", f.Path())
	s.make("c", "other")
	s.isErrno(f.Link(s.Context(), "c", false), syscall.EEXIST)
	require.NoError(s, f.Link(s.Context(), "c", true))
	assert.Equal(s, "content", s.contentOf("c"))
	assert.ElementsMatch(s, []string{"a", "b", "c"}, s.list(""))
}

func testLinkDirectory(s *suite) {
	dir := s.mkdir("dir")
	require.Error(s, dir.Link(s.Context(), "again", false))
	assert.Equal(s, []string{"dir"}, s.list(""))
}

func testRemove(s *suite) {
	f := s.create("file", "x")
	require.NoError(s, f.Remove(s.Context()))
	assert.False(s, s.exists("file"))
	s.isErrno(f.Remove(s.Context()), syscall.ENOENT, syscall.ESTALE)
}

func testRemoveOpen(s *suite) {
	f := s.create("file", "content")
	other := s.open(smbserver.OpenParams{Path: "file", Read: true})
	require.NoError(s, f.Remove(s.Context()))
	assert.Equal(s, "content", s.content(other))
	s.write(f, "C", 0)
	assert.Equal(s, "Content", s.content(other))
	assert.Zero(s, s.attr(f).Links, "no name is left")
}

func testRemoveStale(s *suite) {
	old := s.create("file", "old")
	second := s.open(smbserver.OpenParams{Path: "file", Read: true})
	require.NoError(s, old.Remove(s.Context()))
	s.make("file", "new")
	s.isErrno(old.Remove(s.Context()), syscall.ENOENT, syscall.ESTALE)
	s.isErrno(second.Remove(s.Context()), syscall.ENOENT, syscall.ESTALE)
	s.isErrno(second.Rename(s.Context(), "stolen", false), syscall.ENOENT, syscall.ESTALE)
	assert.Equal(s, "new", s.contentOf("file"))
}

func testRemoveDirectory(s *suite) {
	dir := s.mkdir("dir")
	f := s.create("dir/file", "x")
	s.isErrno(dir.Remove(s.Context()), syscall.ENOTEMPTY, syscall.EEXIST)
	require.NoError(s, f.Remove(s.Context()))
	require.NoError(s, dir.Remove(s.Context()))
	assert.False(s, s.exists("dir"))
	err := s.openError(smbserver.OpenParams{Path: "dir/file", Create: true, Write: true})
	s.isErrno(err, syscall.ENOENT)
	s.isComponent(err, smbserver.Parent)
}

func testRemoveHardLink(s *suite) {
	f := s.create("a", "content")
	if err := f.Link(s.Context(), "b", false); err != nil {
		s.isErrno(err, syscall.EOPNOTSUPP, syscall.EPERM)
		return
	}
	b := s.open(smbserver.OpenParams{Path: "b"})
	require.NoError(s, b.Remove(s.Context()))
	assert.Equal(s, []string{"a"}, s.list(""))
	assert.Equal(s, "content", s.content(f))
	assert.EqualValues(s, 1, s.attr(f).Links)
}
