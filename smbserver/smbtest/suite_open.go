package smbtest

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver"
)

func testOpenMissing(s *suite) {
	err := s.openError(smbserver.OpenParams{Path: "missing", Read: true})
	s.isErrno(err, syscall.ENOENT)
	s.isComponent(err, smbserver.Last)

	err = s.openError(smbserver.OpenParams{Path: "missing/file", Read: true})
	s.isErrno(err, syscall.ENOENT)
	s.isComponent(err, smbserver.Parent)

	err = s.openError(smbserver.OpenParams{Path: "missing/file", Create: true, Write: true})
	s.isErrno(err, syscall.ENOENT)
	s.isComponent(err, smbserver.Parent)
}

func testOpenThroughFile(s *suite) {
	s.make("file", "x")
	err := s.openError(smbserver.OpenParams{Path: "file/below", Read: true})
	s.isErrno(err, syscall.ENOTDIR)
	s.isComponent(err, smbserver.Parent)
	err = s.openError(smbserver.OpenParams{Path: "file/below", Create: true})
	s.isErrno(err, syscall.ENOTDIR)
	s.isComponent(err, smbserver.Parent)
}

func testCreateExclusive(s *suite) {
	s.make("file", "kept")
	s.isErrno(s.openError(smbserver.OpenParams{Path: "file", Create: true, Write: true}), syscall.EEXIST)
	s.isErrno(s.openError(smbserver.OpenParams{Path: "file", Create: true, Directory: true}), syscall.EEXIST)
	s.mkdir("dir")
	s.isErrno(s.openError(smbserver.OpenParams{Path: "dir", Create: true, Directory: true}), syscall.EEXIST)
	s.isErrno(s.openError(smbserver.OpenParams{Path: "dir", Create: true, Write: true}), syscall.EEXIST)
	assert.Equal(s, "kept", s.contentOf("file"))
}

func testCreateRace(s *suite) {
	const goroutines = 16
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: "one", Create: true, Write: true})
			if err != nil {
				s.isErrno(err, syscall.EEXIST)
				lost.Add(1)
				return
			}
			won.Add(1)
			assert.NoError(s, f.Close())
		})
	}
	wg.Wait()
	assert.EqualValues(s, 1, won.Load())
	assert.EqualValues(s, goroutines-1, lost.Load())
}

func testOpenRoot(s *suite) {
	root := s.open(smbserver.OpenParams{Path: "", Read: true})
	a := s.attr(root)
	assert.True(s, a.Directory)
	assert.Empty(s, root.Path())
	assert.Empty(s, s.entries(root, 0, -1))
	s.isErrno(s.openError(smbserver.OpenParams{Path: "", Create: true, Directory: true}), syscall.EEXIST)
	require.Error(s, root.Remove(s.Context()), "the root cannot be removed")
	require.Error(s, root.Rename(s.Context(), "elsewhere", false), "the root cannot be renamed")
}

func testOpenAttributesOnly(s *suite) {
	s.make("file", "content")
	f := s.open(smbserver.OpenParams{Path: "file"})
	assert.EqualValues(s, 7, s.attr(f).Size)
	assert.Equal(s, "file", f.Path())
	_, err := f.ReadAt(s.Context(), make([]byte, 1), 0)
	require.Error(s, err, "no data access was asked for")
	_, err = f.WriteAt(s.Context(), []byte("x"), 0, smbserver.WriteOptions{})
	require.Error(s, err)
	require.NoError(s, f.Rename(s.Context(), "renamed", false))
	require.NoError(s, f.Remove(s.Context()))
	assert.False(s, s.exists("renamed"))
}

func testOpenDirectoryForWriting(s *suite) {
	s.mkdir("dir")
	f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: "dir", Read: true, Write: true})
	if err != nil {
		s.isErrno(err, syscall.EISDIR) // the server then opens it for reading
		return
	}
	assert.True(s, s.attr(f).Directory)
	require.NoError(s, f.Close())
}

func testOpenKeepsContent(s *suite) {
	s.make("file", "content")
	f := s.open(smbserver.OpenParams{Path: "file", Read: true, Write: true})
	assert.Equal(s, "content", s.content(f))
}

func testNames(s *suite) {
	for _, name := range []string{
		"plain", "with space", "Üñí¢ødé", "日本語", "\U0001F600", "e\u0301 (decomposed)", "\u00e9 (composed)",
		".hidden", "...", "trailing.", "trailing ", "-", "a:b", `back\slash`, "star*", "question?", "\x01", "\x7f",
		"CON", "nul.txt", "\xff\xfe not UTF-8", "\uf022 private", strings.Repeat("n", 255),
	} {
		s.make(name, name)
		assert.Equal(s, name, s.contentOf(name))
		f := s.open(smbserver.OpenParams{Path: name})
		assert.Equal(s, name, f.Path())
		assert.Contains(s, s.list(""), name)
		require.NoError(s, f.Remove(s.Context()))
	}
	s.make("case", "lower")
	s.make("other", "x")
	assert.Len(s, s.list(""), 2)
}

func testNameTooLong(s *suite) {
	long := strings.Repeat("n", 256)
	s.isErrno(s.openError(smbserver.OpenParams{Path: long}), syscall.ENAMETOOLONG)
	s.isErrno(s.openError(smbserver.OpenParams{Path: long, Create: true, Write: true}), syscall.ENAMETOOLONG)
}

func testStatfs(s *suite) {
	v, err := s.share.Statfs(s.Context())
	require.NoError(s, err)
	assert.Positive(s, v.BlockSize)
	assert.GreaterOrEqual(s, v.TotalBlocks, v.FreeBlocks)
	assert.GreaterOrEqual(s, v.FreeBlocks, v.AvailBlocks)
	assert.GreaterOrEqual(s, v.MaxComponent, uint32(200))
	assert.NotEmpty(s, v.FileSystem)
	assert.False(s, v.ReadOnly)
}

func testCancelled(s *suite) {
	// Cancelling may come too late to matter, but it must never give a wrong result or lose the handle.
	f := s.create("file", "content")
	ctx, cancel := contextCancelled(s)
	defer cancel()
	p := make([]byte, 7)
	if n, err := f.ReadAt(ctx, p, 0); err == nil {
		assert.Equal(s, "content", string(p[:n]))
	}
	if g, err := s.share.Open(ctx, smbserver.OpenParams{Path: "file", Read: true}); err == nil {
		assert.NoError(s, g.Close())
	}
	assert.Equal(s, "content", s.content(f), "the handle works on")
}

func testChurn(s *suite) {
	const goroutines, rounds = 8, 60
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range rounds {
				if !s.churn(number((g*rounds+i)%7), number(100+i%5)) {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, name := range s.list("") {
		assert.True(s, strings.HasPrefix(name, "entry-"), "a name nobody made: %q", name)
		assert.True(s, s.exists(name))
	}
}

// churn makes or opens one of a few names that all goroutines share, writes, renames and removes. Each step may lose a race
// in the ways that the interface names, and in no other.
func (s *suite) churn(name, other string) bool {
	f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: name, Create: true, Read: true, Write: true})
	if err != nil {
		s.isErrno(err, syscall.EEXIST)
		if f, err = s.share.Open(s.Context(), smbserver.OpenParams{Path: name, Read: true, Write: true}); err != nil {
			s.isErrno(err, syscall.ENOENT)
			return !s.Failed()
		}
	}
	text := []byte(name)
	n, err := f.WriteAt(s.Context(), text, 0, smbserver.WriteOptions{})
	assert.NoError(s, err)
	assert.Equal(s, len(text), n)
	if err := f.Rename(s.Context(), other, true); err != nil {
		s.isErrno(err, syscall.ENOENT, syscall.ESTALE)
	}
	if err := f.Remove(s.Context()); err != nil {
		s.isErrno(err, syscall.ENOENT, syscall.ESTALE)
	}
	_, err = f.Attr(s.Context())
	assert.NoError(s, err, "an open file outlives its names")
	assert.NoError(s, f.Close())
	return !s.Failed()
}
