package smbtest

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver"
)

// ShareSuite runs the conformance suite. newShare returns an empty writable share for each subtest and sees to its end
// with t.Cleanup; the suite closes every file that it opens. A behaviour that the interface leaves open is accepted in
// every form it allows; what a share cannot store it must refuse with EOPNOTSUPP.
func ShareSuite(t *testing.T, newShare func(t *testing.T) smbserver.Share) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(s *suite)
	}{
		{"Open/missing file and missing parent are told apart", testOpenMissing},
		{"Open/a file in the way of a path is the parent's error", testOpenThroughFile},
		{"Open/create is exclusive", testCreateExclusive},
		{"Open/only one of many creators wins", testCreateRace},
		{"Open/the root", testOpenRoot},
		{"Open/attributes only", testOpenAttributesOnly},
		{"Open/a directory for writing", testOpenDirectoryForWriting},
		{"Open/does not truncate", testOpenKeepsContent},
		{"Open/names of every kind", testNames},
		{"Open/a name that is too long", testNameTooLong},
		{"Data/what is written is read", testReadBack},
		{"Data/end of file", testReadAtEOF},
		{"Data/a write past the end leaves zeros", testWriteBeyondEOF},
		{"Data/append", testAppend},
		{"Data/appends of many handles keep every byte", testAppendConcurrent},
		{"Data/truncate and extend", testTruncate},
		{"Data/allocation", testAllocation},
		{"Data/sync", testSync},
		{"Data/zero range", testZeroRange},
		{"Data/sparse ranges", testSparse},
		{"Attr/of a file and a directory", testAttr},
		{"Attr/identity", testIdentity},
		{"Attr/times", testTimes},
		{"Attr/times are kept through attributes-only handles", testTimesAttributesOnly},
		{"Attr/read-only attribute", testReadonlyAttribute},
		{"Attr/writing moves the write time", testWriteMovesTime},
		{"ReadDir/empty, and without dots", testReadDirEmpty},
		{"ReadDir/attributes of entries", testReadDirAttr},
		{"ReadDir/resumes after any cookie", testReadDirCookies},
		{"ReadDir/while entries are removed", testReadDirRemoving},
		{"ReadDir/while entries are added", testReadDirAdding},
		{"ReadDir/ten thousand entries", testReadDirMany},
		{"ReadDir/two handles do not disturb each other", testReadDirTwoHandles},
		{"Rename/moves and keeps the open file", testRename},
		{"Rename/refuses to replace unless told", testRenameReplace},
		{"Rename/is seen by other handles of that name", testRenameOtherHandle},
		{"Rename/directories", testRenameDirectory},
		{"Rename/a directory into itself", testRenameIntoItself},
		{"Rename/to a missing parent", testRenameMissingParent},
		{"Rename/over itself", testRenameSame},
		{"Link/adds a name", testLink},
		{"Link/of a directory", testLinkDirectory},
		{"Remove/file", testRemove},
		{"Remove/the open file lives on", testRemoveOpen},
		{"Remove/never takes another file's name", testRemoveStale},
		{"Remove/directories only when empty", testRemoveDirectory},
		{"Remove/through a hard link takes that name", testRemoveHardLink},
		{"Statfs/makes sense", testStatfs},
		{"Context/a cancelled one", testCancelled},
		{"Concurrency/open, write, rename and remove in one directory", testChurn},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(&suite{T: t, share: newShare(t)})
		})
	}
}

// suite is one subtest: a share and the shorthand for using it.
type suite struct {
	*testing.T
	share smbserver.Share
}

// open opens and closes at the end of the subtest; it must work.
func (s *suite) open(p smbserver.OpenParams) smbserver.File {
	s.Helper()
	f, err := s.share.Open(s.Context(), p)
	require.NoError(s, err, "open %q", p.Path)
	s.Cleanup(func() { assert.NoError(s, f.Close(), "close %q", p.Path) })
	return f
}

// create makes a file with content and returns it open for reading and writing.
func (s *suite) create(path, content string) smbserver.File {
	s.Helper()
	f := s.open(smbserver.OpenParams{Path: path, Create: true, Read: true, Write: true})
	s.write(f, content, 0)
	return f
}

// make makes a file with content and leaves it closed.
func (s *suite) make(path, content string) {
	s.Helper()
	f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: path, Create: true, Read: true, Write: true})
	require.NoError(s, err, "create %q", path)
	s.write(f, content, 0)
	require.NoError(s, f.Close())
}

func (s *suite) mkdir(path string) smbserver.File {
	s.Helper()
	return s.open(smbserver.OpenParams{Path: path, Create: true, Directory: true, Read: true})
}

func (s *suite) write(f smbserver.File, content string, off int64) {
	s.Helper()
	n, err := f.WriteAt(s.Context(), []byte(content), off, smbserver.WriteOptions{})
	require.NoError(s, err)
	require.Equal(s, len(content), n)
}

// content reads a whole file through its handle.
func (s *suite) content(f smbserver.File) string {
	s.Helper()
	p := make([]byte, s.attr(f).Size+10)
	n, err := f.ReadAt(s.Context(), p, 0)
	require.NoError(s, err)
	return string(p[:n])
}

// contentOf reads a whole file by its path.
func (s *suite) contentOf(path string) string {
	s.Helper()
	f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: path, Read: true})
	require.NoError(s, err, "open %q", path)
	defer func() { require.NoError(s, f.Close()) }()
	return s.content(f)
}

func (s *suite) attr(f smbserver.File) smbserver.Attr {
	s.Helper()
	a, err := f.Attr(s.Context())
	require.NoError(s, err)
	return a
}

// openError opens something that must not open.
func (s *suite) openError(p smbserver.OpenParams) error {
	s.Helper()
	f, err := s.share.Open(s.Context(), p)
	if err == nil {
		require.NoError(s, f.Close())
	}
	require.Error(s, err, "open %q", p.Path)
	return err
}

// isErrno checks an error of the seam: it wraps an errno, and one of these.
func (s *suite) isErrno(err error, want ...syscall.Errno) {
	s.Helper()
	var got syscall.Errno
	if !assert.ErrorAs(s, err, &got, "the error must wrap a syscall.Errno") {
		return
	}
	assert.Contains(s, want, got, "errno of %v", err)
}

// isComponent checks which part of a path an error blames.
func (s *suite) isComponent(err error, want smbserver.Component) {
	s.Helper()
	var pe *smbserver.PathError
	if assert.ErrorAs(s, err, &pe) {
		assert.Equal(s, want, pe.Component, "component of %v", err)
	}
}

// exists tells whether path can be opened.
func (s *suite) exists(path string) bool {
	s.Helper()
	f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: path})
	if err != nil {
		s.isErrno(err, syscall.ENOENT)
		return false
	}
	require.NoError(s, f.Close())
	return true
}

// list returns the names of a directory in the order they come, read by a fresh handle.
func (s *suite) list(path string) []string {
	s.Helper()
	f, err := s.share.Open(s.Context(), smbserver.OpenParams{Path: path, Read: true})
	require.NoError(s, err)
	defer func() { require.NoError(s, f.Close()) }()
	return names(s.entries(f, 0, -1))
}

// entries reads up to n entries (-1: all) after cookie.
func (s *suite) entries(f smbserver.File, cookie uint64, n int) []smbserver.DirEntry {
	s.Helper()
	var out []smbserver.DirEntry
	if n == 0 {
		return nil
	}
	require.NoError(s, f.ReadDir(s.Context(), cookie, func(e smbserver.DirEntry) bool {
		out = append(out, e)
		return len(out) != n
	}))
	return out
}

func names(list []smbserver.DirEntry) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.Name
	}
	return out
}

// sameTime compares at the resolution that SMB carries, 100 ns.
func (s *suite) sameTime(want, got time.Time, what string) {
	s.Helper()
	assert.True(s, want.Truncate(100*time.Nanosecond).Equal(got.Truncate(100*time.Nanosecond)),
		"%s: want %s, got %s", what, want.UTC().Format(time.RFC3339Nano), got.UTC().Format(time.RFC3339Nano))
}

// number is a name with a fixed width, so that order by name is order by number.
func number(i int) string { return fmt.Sprintf("entry-%05d", i) }
