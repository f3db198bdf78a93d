package smbserver_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
)

func (r *room) openDir(path string) smb2.FileID {
	r.t.Helper()
	q := req(path, smb2.FileOpen)
	q.Options, q.DesiredAccess = smb2.FileDirectoryFile, smb2.GenericRead
	return r.mustCreate(q).FileID
}

func (r *room) list(id smb2.FileID, class fscc.InfoClass, pattern string, flags uint8, room uint32) ([]fscc.DirEntry, error) {
	r.t.Helper()
	answer, err := r.c.RoundTrip(r.t.Context(), smbclient.Request{
		Command: smb2.CommandQueryDirectory, TreeID: r.tree.ID(), Payload: int(room),
		Body: smb2.QueryDirectoryRequest{Class: class, Flags: flags, FileID: id, Pattern: pattern, OutputBufferLength: room},
	})
	if err != nil {
		return nil, err
	}
	resp, err := smb2.ParseQueryDirectoryResponse(answer.Msg)
	require.NoError(r.t, err)
	assert.LessOrEqual(r.t, len(resp.Buffer), int(room))
	entries, err := fscc.ParseDirEntries(class, resp.Buffer)
	require.NoError(r.t, err)
	return entries, nil
}

func entryNames(list []fscc.DirEntry) (names []string) {
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

// listAll lists until NO_MORE_FILES.
func (r *room) listAll(id smb2.FileID, class fscc.InfoClass, pattern string, flags uint8, room uint32) (names []string) {
	r.t.Helper()
	for {
		list, err := r.list(id, class, pattern, flags, room)
		if err != nil {
			require.Equal(r.t, smb2.StatusNoMoreFiles, status(r.t, err))
			return names
		}
		require.NotEmpty(r.t, list)
		names = append(names, entryNames(list)...)
		flags &^= smb2.QueryDirRestartScans | smb2.QueryDirReopen
	}
}

func TestQueryDirectoryClasses(t *testing.T) {
	r := open(t)
	r.mkdir("dir")
	r.put("dir/file.txt", "12345")
	r.mkdir("dir/sub")
	for _, class := range []fscc.InfoClass{
		fscc.ClassDirectory, fscc.ClassFullDirectory, fscc.ClassBothDirectory, fscc.ClassNames, fscc.ClassIDBothDirectory, fscc.ClassIDFullDirectory,
	} {
		id := r.openDir("dir")
		list, err := r.list(id, class, "*", 0, 64<<10)
		require.NoError(t, err, "class %d", class)
		require.Equal(t, []string{".", "..", "file.txt", "sub"}, entryNames(list), "class %d", class)
		if class != fscc.ClassNames {
			assert.EqualValues(t, 5, list[2].EndOfFile)
			assert.Equal(t, fscc.AttrNormal, list[2].Attributes)
			assert.Equal(t, fscc.AttrDirectory, list[3].Attributes)
			assert.WithinDuration(t, time.Now(), list[2].LastWriteTime.Time(), time.Minute)
		}
		if class == fscc.ClassIDBothDirectory || class == fscc.ClassIDFullDirectory {
			file := r.mustCreate(req(`dir\file.txt`, smb2.FileOpen)).FileID
			internal, err := fscc.ParseInternalInfo(r.mustQuery(file, fscc.ClassInternal))
			require.NoError(t, err)
			assert.Equal(t, internal.IndexNumber, list[2].FileID)
			r.mustClose(file)
		}
		_, err = r.list(id, class, "*", 0, 64<<10)
		assert.Equal(t, smb2.StatusNoMoreFiles, status(t, err))
		r.mustClose(id)
	}
}

func TestQueryDirectoryPatterns(t *testing.T) {
	r := open(t)
	for _, name := range []string{"a.txt", "B.TXT", "c", "c.d.e", "日本.txt", "has:colon"} {
		r.put(name, "")
	}
	for _, c := range []struct {
		pattern string
		want    []string
	}{
		{"*", []string{".", "..", "a.txt", "B.TXT", "c", "c.d.e", "日本.txt", "has\uF022colon"}},
		{"", []string{".", "..", "a.txt", "B.TXT", "c", "c.d.e", "日本.txt", "has\uF022colon"}},
		{"*.txt", []string{"a.txt", "B.TXT", "日本.txt"}},
		{"?.txt", []string{"a.txt", "B.TXT"}},
		{"??.txt", []string{"日本.txt"}},
		{"c<", []string{"c"}},
		{"c<.e", []string{"c.d.e"}},
		{"A.TXT", []string{"a.txt"}},
		{"b.txt", []string{"B.TXT"}},
		{"has\uF022*", []string{"has\uF022colon"}},
		{"nothing", nil},
		{"*.nothing", nil},
	} {
		id := r.openDir("")
		list, err := r.list(id, fscc.ClassIDBothDirectory, c.pattern, 0, 64<<10)
		if c.want == nil {
			assert.Equal(t, smb2.StatusNoSuchFile, status(t, err), "%q", c.pattern)
		} else {
			require.NoError(t, err, "%q", c.pattern)
			assert.ElementsMatch(t, c.want, entryNames(list), "%q", c.pattern)
		}
		r.mustClose(id)
	}
	id := r.openDir("")
	for _, bad := range []string{`a\b`, "a/b"} {
		_, err := r.list(id, fscc.ClassIDBothDirectory, bad, 0, 64<<10)
		assert.Equal(t, smb2.StatusObjectNameInvalid, status(t, err))
	}
	r.mustClose(id)
}

func TestQueryDirectoryFlags(t *testing.T) {
	r := open(t)
	for i := range 5 {
		r.put(fmt.Sprintf("f%d", i), "")
	}
	r.put("g", "")
	id := r.openDir("")
	const class, room = fscc.ClassIDFullDirectory, 64 << 10
	one := func(pattern string, flags uint8) string {
		list, err := r.list(id, class, pattern, flags|smb2.QueryDirReturnSingleEntry, room)
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0].Name
	}
	assert.Equal(t, "f0", one("f*", 0))
	assert.Equal(t, "f1", one("f*", 0))
	assert.Equal(t, "f0", one("f*", smb2.QueryDirRestartScans))
	assert.Equal(t, "f1", one("", 0), "no pattern: the one before")
	assert.Equal(t, "g", one("g", smb2.QueryDirReopen))
	_, err := r.list(id, class, "g", 0, room)
	assert.Equal(t, smb2.StatusNoMoreFiles, status(t, err))
	_, err = r.list(id, class, "g", 0, room)
	assert.Equal(t, smb2.StatusNoMoreFiles, status(t, err), "and again")
	r.put("g2", "")
	assert.Equal(t, []string{"g2"}, r.listAll(id, class, "g*", 0, room), "what was made behind the position is seen")
	assert.Equal(t, []string{".", "..", "f0", "f1", "f2", "f3", "f4", "g", "g2"}, r.listAll(id, class, "*", smb2.QueryDirRestartScans, room))
	r.mustClose(id)

	id = r.openDir("")
	_, err = r.list(id, class, "none", 0, room)
	assert.Equal(t, smb2.StatusNoSuchFile, status(t, err))
	_, err = r.list(id, class, "none", 0, room)
	assert.Equal(t, smb2.StatusNoMoreFiles, status(t, err), "only the first query finds no such file")
	r.mustClose(id)
}

func TestQueryDirectoryBuffer(t *testing.T) {
	r := open(t)
	r.put("a name of twenty chars", "")
	const class = fscc.ClassIDBothDirectory
	id := r.openDir("")
	fixed := uint32(fscc.DirEntryFixedLen(class))
	_, err := r.list(id, class, "a*", 0, fixed-1)
	assert.Equal(t, smb2.StatusInfoLengthMismatch, status(t, err))
	_, err = r.list(id, class, "a*", 0, fixed+10)
	assert.Equal(t, smb2.StatusBufferOverflow, status(t, err), "not even one name fits")
	list, err := r.list(id, class, "a*", 0, fixed+44)
	require.NoError(t, err, "and it has not been lost")
	assert.Len(t, list, 1)
	_, err = r.list(id, class, "*", 0, 8<<20+1)
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, err))
	_, err = r.list(id, 99, "*", 0, 1000)
	assert.Equal(t, smb2.StatusInvalidInfoClass, status(t, err))
	r.mustClose(id)

	r.put("file", "")
	file := r.mustCreate(req("file", smb2.FileOpen)).FileID
	_, err = r.list(file, class, "*", 0, 1000)
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, err), "not a directory")
	r.mustClose(file)
	q := req("", smb2.FileOpen)
	q.DesiredAccess = smb2.FileReadAttributes
	id = r.mustCreate(q).FileID
	_, err = r.list(id, class, "*", 0, 1000)
	assert.Equal(t, smb2.StatusAccessDenied, status(t, err))
	r.mustClose(id)
}

func TestQueryDirectorySmallBuffersSeeEverythingOnce(t *testing.T) {
	r := open(t)
	want := []string{".", ".."}
	for i := range 500 {
		name := fmt.Sprintf("%0*d", 1+i%40, i)
		if !r.exists(name) {
			r.put(name, "")
			want = append(want, name)
		}
	}
	for _, room := range []uint32{200, 333, 1000, 5000, 1 << 20} {
		id := r.openDir("")
		assert.ElementsMatch(t, want, r.listAll(id, fscc.ClassIDBothDirectory, "*", 0, room), "%d bytes", room)
		r.mustClose(id)
	}
}

func TestQueryDirectoryShowsWhatLinksLeadTo(t *testing.T) {
	r := open(t)
	r.put("file", "12345")
	require.NoError(t, r.mem.Symlink("file", "link"))
	require.NoError(t, r.mem.Symlink("nothing", "nowhere"))
	id := r.openDir("")
	list, err := r.list(id, fscc.ClassIDFullDirectory, "*", 0, 64<<10)
	require.NoError(t, err)
	require.Equal(t, []string{".", "..", "file", "link", "nowhere"}, entryNames(list))
	assert.EqualValues(t, 5, list[3].EndOfFile)
	assert.Zero(t, list[3].Attributes&fscc.AttrReparsePoint)
	assert.Equal(t, fscc.AttrReparsePoint, list[4].Attributes, "a share that can open links lists those that lead nowhere")
	assert.Equal(t, fscc.ReparseTagSymlink, list[4].EASize)
	r.mustClose(id)
}

// dimShare cannot describe some of its entries.
type dimShare struct {
	smbserver.Share
	why map[string]error // by name
}

func (s dimShare) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	f, err := s.Share.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return dimFile{f, s.why}, nil
}

type dimFile struct {
	smbserver.File
	why map[string]error
}

func (f dimFile) ReadDir(ctx context.Context, cookie uint64, fn func(smbserver.DirEntry) bool) error {
	return f.File.ReadDir(ctx, cookie, func(e smbserver.DirEntry) bool {
		if err := f.why[e.Name]; err != nil {
			e.Attr = func(context.Context) (smbserver.Attr, error) { return smbserver.Attr{}, err }
		}
		return fn(e)
	})
}

// TestListingTellsOfFailures: an entry that is gone is left out; one that the storage cannot describe ends the listing, with
// those before it told first.
func TestListingTellsOfFailures(t *testing.T) {
	why := map[string]error{}
	r := open(t, func(cfg *smbserver.Config) { cfg.Shares[shareName] = dimShare{cfg.Shares[shareName], why} })
	r.put("a", "1")
	r.put("b", "2")
	r.put("c", "3")
	all := []string{".", "..", "a", "b", "c"}
	why["b"] = fmt.Errorf("stat: %w", syscall.ENOENT)
	assert.Equal(t, []string{".", "..", "a", "c"}, r.listAll(r.openDir(""), fscc.ClassBothDirectory, "*", 0, 64<<10))

	why["b"] = fmt.Errorf("stat: %w", syscall.EIO)
	id := r.openDir("")
	list, err := r.list(id, fscc.ClassBothDirectory, "*", 0, 64<<10)
	require.NoError(t, err)
	assert.Equal(t, all[:3], entryNames(list))
	_, err = r.list(id, fscc.ClassBothDirectory, "*", 0, 64<<10)
	assert.Equal(t, smb2.StatusIODeviceError, status(t, err))
	delete(why, "b")
	assert.Equal(t, all[3:], r.listAll(id, fscc.ClassBothDirectory, "*", 0, 64<<10), "it goes on where it ended")
}
