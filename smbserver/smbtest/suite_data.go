package smbtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/smbserver"
)

func contextCancelled(s *suite) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	return ctx, cancel
}

func testReadBack(s *suite) {
	f := s.create("file", "")
	want := bytes.Repeat([]byte("0123456789abcdef"), 20_000) // 320 kB, not a multiple of a page
	n, err := f.WriteAt(s.Context(), want, 0, smbserver.WriteOptions{Through: true})
	require.NoError(s, err)
	require.Equal(s, len(want), n)
	for _, r := range []struct{ off, n int }{{0, len(want)}, {1, 4096}, {4095, 2}, {100_000, 100_000}, {len(want) - 1, 1}} {
		p := make([]byte, r.n)
		n, err := f.ReadAt(s.Context(), p, int64(r.off))
		require.NoError(s, err)
		require.Equal(s, r.n, n, "at %d", r.off)
		assert.True(s, bytes.Equal(want[r.off:r.off+r.n], p), "content at %d+%d", r.off, r.n)
	}
	other := s.open(smbserver.OpenParams{Path: "file", Read: true})
	s.write(f, "XYZ", 5)
	p := make([]byte, 10)
	_, err = other.ReadAt(s.Context(), p, 0)
	require.NoError(s, err)
	assert.Equal(s, "01234XYZ89", string(p), "another handle sees the write at once")
}

func testReadAtEOF(s *suite) {
	f := s.create("file", "0123456789")
	for _, c := range []struct {
		off  int64
		want string
	}{{0, "0123456789"}, {5, "56789"}, {9, "9"}, {10, ""}, {11, ""}, {1 << 40, ""}} {
		p := make([]byte, 100)
		n, err := f.ReadAt(s.Context(), p, c.off)
		require.NoError(s, err, "at %d", c.off)
		assert.Equal(s, c.want, string(p[:n]), "at %d", c.off)
	}
	n, err := f.ReadAt(s.Context(), nil, 0)
	require.NoError(s, err)
	assert.Zero(s, n)
}

func testWriteBeyondEOF(s *suite) {
	f := s.create("file", "head")
	s.write(f, "tail", 10_000)
	assert.EqualValues(s, 10_004, s.attr(f).Size)
	want := "head" + strings.Repeat("\x00", 10_000-4) + "tail"
	assert.Equal(s, want, s.content(f))
	// Shrinking and growing again must not bring old bytes back.
	for _, size := range []int64{3, 10_004} {
		require.NoError(s, f.SetAttr(s.Context(), smbserver.SetAttr{Size: &size}))
	}
	assert.Equal(s, "hea"+strings.Repeat("\x00", 10_001), s.content(f))
}

func testAppend(s *suite) {
	f := s.create("file", "begin")
	n, err := f.WriteAt(s.Context(), []byte("-end"), 0, smbserver.WriteOptions{Append: true})
	require.NoError(s, err)
	assert.Equal(s, 4, n)
	assert.Equal(s, "begin-end", s.content(f))
	s.write(f, "B", 0)
	assert.Equal(s, "Begin-end", s.content(f), "a plain write on the same handle goes to its offset")
}

func testAppendConcurrent(s *suite) {
	const goroutines, records, length = 8, 50, 16
	s.make("log", "")
	var wg sync.WaitGroup
	for g := range goroutines {
		f := s.open(smbserver.OpenParams{Path: "log", Write: true})
		wg.Go(func() {
			for i := range records {
				record := fmt.Sprintf("g%02d-record-%04d\n", g, i)
				_, err := f.WriteAt(s.Context(), []byte(record), 0, smbserver.WriteOptions{Append: true})
				assert.NoError(s, err)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for line := range strings.Lines(s.contentOf("log")) {
		assert.Len(s, line, length, "torn record %q", line)
		assert.False(s, seen[line], "twice: %q", line)
		seen[line] = true
	}
	assert.Len(s, seen, goroutines*records)
}

func testTruncate(s *suite) {
	f := s.create("file", strings.Repeat("x", 9000))
	for _, size := range []int64{9000, 5000, 4096, 100, 0, 70_000} {
		require.NoError(s, f.SetAttr(s.Context(), smbserver.SetAttr{Size: &size}))
		assert.Equal(s, size, s.attr(f).Size)
	}
	assert.Equal(s, strings.Repeat("\x00", 70_000), s.content(f))
	dir := s.mkdir("dir")
	size := int64(0)
	require.Error(s, dir.SetAttr(s.Context(), smbserver.SetAttr{Size: &size}), "a directory has no size to set")
	negative := int64(-1)
	s.isErrno(f.SetAttr(s.Context(), smbserver.SetAttr{Size: &negative}), syscall.EINVAL)
}

func testAllocation(s *suite) {
	f := s.create("file", strings.Repeat("x", 10_000))
	set := func(n int64) error { return f.SetAttr(s.Context(), smbserver.SetAttr{Allocation: &n}) }
	if err := set(1 << 20); err != nil {
		s.isErrno(err, syscall.EOPNOTSUPP)
	} else {
		a := s.attr(f)
		assert.EqualValues(s, 10_000, a.Size, "reserving does not move the end of file")
		assert.GreaterOrEqual(s, a.Allocation, int64(10_000))
	}
	if err := set(4000); err != nil {
		s.isErrno(err, syscall.EOPNOTSUPP)
		return
	}
	assert.EqualValues(s, 4000, s.attr(f).Size, "allocating less than the size cuts it")
	assert.Equal(s, strings.Repeat("x", 4000), s.content(f))
}

func testSync(s *suite) {
	f := s.create("file", "content")
	require.NoError(s, f.Sync(s.Context()))
}

func testZeroRange(s *suite) {
	const size = 3*4096 + 100
	f := s.create("file", strings.Repeat("x", size))
	z, ok := f.(smbserver.Zeroer)
	if !ok {
		s.Log("not a Zeroer: the server writes zeros")
		return
	}
	want := []byte(strings.Repeat("x", size))
	for _, r := range []struct{ off, n int64 }{{10, 20}, {4096, 4096}, {4000, 200}, {size - 50, 1000}, {size + 10, 10}, {0, 0}} {
		if err := z.ZeroRange(s.Context(), r.off, r.n); err != nil {
			s.isErrno(err, syscall.EOPNOTSUPP)
			return
		}
		if r.off < size {
			clear(want[r.off:min(r.off+r.n, size)])
		}
		assert.True(s, bytes.Equal(want, []byte(s.content(f))), "after zeroing %d+%d", r.off, r.n)
		assert.EqualValues(s, size, s.attr(f).Size)
	}
}

func testSparse(s *suite) {
	f := s.create("file", "")
	sp, ok := f.(smbserver.Sparser)
	if !ok {
		s.Log("not a Sparser: the server says NOT_SUPPORTED")
		return
	}
	if err := sp.SetSparse(s.Context(), true); err != nil {
		s.isErrno(err, syscall.EOPNOTSUPP)
	} else {
		assert.NotZero(s, s.attr(f).Attributes&fscc.AttrSparseFile)
	}
	const block = 64 << 10
	data := strings.Repeat("d", block)
	s.write(f, data, 0)
	s.write(f, data, 4*block)
	ranges, err := sp.AllocatedRanges(s.Context(), 0, 1<<30)
	if err != nil {
		s.isErrno(err, syscall.EOPNOTSUPP)
		return
	}
	// A share may call a hole data, never data a hole; ranges ascend and stay inside the question.
	var at int64
	covered := func(off int64) bool {
		for _, r := range ranges {
			if off >= r.Offset && off < r.Offset+r.Length {
				return true
			}
		}
		return false
	}
	for _, r := range ranges {
		assert.GreaterOrEqual(s, r.Offset, at)
		assert.Positive(s, r.Length)
		at = r.Offset + r.Length
	}
	assert.LessOrEqual(s, at, s.attr(f).Size)
	for _, off := range []int64{0, block - 1, 4 * block, 5*block - 1} {
		assert.True(s, covered(off), "byte %d is data", off)
	}
	ranges, err = sp.AllocatedRanges(s.Context(), 100, 50)
	require.NoError(s, err)
	assert.Equal(s, []smbserver.ByteRange{{Offset: 100, Length: 50}}, ranges, "cut to the question")
}

func testAttr(s *suite) {
	before := time.Now().Add(-2 * time.Second)
	f := s.create("file", strings.Repeat("x", 5000))
	a := s.attr(f)
	assert.EqualValues(s, 5000, a.Size)
	assert.GreaterOrEqual(s, a.Allocation, int64(0))
	assert.EqualValues(s, 1, a.Links)
	assert.False(s, a.Directory)
	assert.False(s, a.Symlink)
	assert.Zero(s, a.Attributes&fscc.AttrDirectory)
	assert.Equal(s, f.ID(), a.ID)
	for name, at := range map[string]time.Time{"accessed": a.Accessed, "written": a.Written, "changed": a.Changed} {
		assert.True(s, at.After(before), "%s is %s", name, at)
	}
	d := s.attr(s.mkdir("dir"))
	assert.True(s, d.Directory)
	assert.NotZero(s, d.Attributes&fscc.AttrDirectory)
}

func testIdentity(s *suite) {
	f := s.create("file", "x")
	again := s.open(smbserver.OpenParams{Path: "file"})
	other := s.create("other", "y")
	assert.Equal(s, f.ID(), again.ID())
	assert.NotEqual(s, f.ID(), other.ID())
	id := f.ID()
	require.NoError(s, f.Rename(s.Context(), "renamed", false))
	assert.Equal(s, id, f.ID(), "a rename keeps the identity")
	assert.Equal(s, id, s.open(smbserver.OpenParams{Path: "renamed"}).ID())
	require.NoError(s, f.Remove(s.Context()))
	fresh := s.create("renamed", "z")
	assert.NotEqual(s, id, fresh.ID(), "a new file under an old name is another file")
}

// suiteTimes are times that a client may send: each kind of trouble once.
func suiteTimes() []time.Time {
	return []time.Time{
		time.Date(2024, 2, 29, 23, 59, 59, 123_456_700, time.UTC), // all of SMB's 100 ns
		time.Unix(0, 0).UTC(),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_900, time.UTC), // a negative second with a fraction
		time.Date(1950, 6, 1, 12, 0, 0, 100, time.UTC),
		time.Date(2037, 12, 31, 0, 0, 0, 0, time.UTC),
	}
}

func testTimes(s *suite) {
	f := s.create("file", "x")
	for _, at := range suiteTimes() {
		accessed := at.Add(time.Hour)
		if err := f.SetAttr(s.Context(), smbserver.SetAttr{Written: &at, Accessed: &accessed}); !assert.NoError(s, err) {
			return
		}
		a := s.attr(f)
		s.sameTime(at, a.Written, "written")
		s.sameTime(accessed, a.Accessed, "accessed")
	}
	at := suiteTimes()[0]
	for name, set := range map[string]smbserver.SetAttr{"created": {Created: &at}, "changed": {Changed: &at}} {
		written := s.attr(f).Written
		if err := f.SetAttr(s.Context(), set); err != nil {
			s.isErrno(err, syscall.EOPNOTSUPP)
			continue
		}
		a := s.attr(f)
		s.sameTime(written, a.Written, "written, when "+name+" is set")
		if set.Created != nil {
			s.sameTime(at, a.Created, name)
		} else {
			s.sameTime(at, a.Changed, name)
		}
	}
}

func testTimesAttributesOnly(s *suite) {
	s.make("file", "x")
	s.mkdir("dir")
	for _, path := range []string{"file", "dir"} {
		f := s.open(smbserver.OpenParams{Path: path})
		at := suiteTimes()[0]
		require.NoError(s, f.SetAttr(s.Context(), smbserver.SetAttr{Written: &at}), path)
		s.sameTime(at, s.attr(f).Written, path)
	}
}

func testReadonlyAttribute(s *suite) {
	f := s.create("file", "x")
	for _, on := range []bool{true, false} {
		var want fscc.FileAttributes
		if on {
			want = fscc.AttrReadonly
		}
		if err := f.SetAttr(s.Context(), smbserver.SetAttr{Attributes: &want}); err != nil {
			s.isErrno(err, syscall.EOPNOTSUPP)
			return
		}
		assert.Equal(s, want, s.attr(f).Attributes&fscc.AttrReadonly)
		s.write(f, "y", 0) // the attribute is the server's to enforce at CREATE; this handle keeps its access
	}
}

func testWriteMovesTime(s *suite) {
	f := s.create("file", "x")
	old := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(s, f.SetAttr(s.Context(), smbserver.SetAttr{Written: &old}))
	s.write(f, "y", 0)
	assert.True(s, s.attr(f).Written.After(old.Add(time.Hour)))
	require.NoError(s, f.SetAttr(s.Context(), smbserver.SetAttr{Written: &old}))
	size := int64(0)
	require.NoError(s, f.SetAttr(s.Context(), smbserver.SetAttr{Size: &size}))
	assert.True(s, s.attr(f).Written.After(old.Add(time.Hour)), "truncating is writing")
}
