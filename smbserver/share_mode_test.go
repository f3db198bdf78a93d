package smbserver_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
)

func TestShareModes(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	const read, write, del = smb2.FileReadData, smb2.FileWriteData, smb2.Delete
	for _, c := range []struct {
		why           string
		access        smb2.AccessMask
		share         smb2.ShareAccess
		access2       smb2.AccessMask
		share2        smb2.ShareAccess
		want          smb2.Status
		secondChanges smb2.Disposition
	}{
		{"all share all", read | write | del, shareAll, read | write | del, shareAll, smb2.StatusSuccess, smb2.FileOpen},
		{"none shared", read, shareNone, read, shareAll, smb2.StatusSharingViolation, smb2.FileOpen},
		{"the second shares none", read, shareAll, read, shareNone, smb2.StatusSharingViolation, smb2.FileOpen},
		{"two readers that share reading", read, smb2.ShareRead, read, smb2.ShareRead, smb2.StatusSuccess, smb2.FileOpen},
		{"a writer where reading is shared", read, smb2.ShareRead, write, shareAll, smb2.StatusSharingViolation, smb2.FileOpen},
		{"a reader that will not share with a writer", write, shareAll, read, smb2.ShareRead, smb2.StatusSharingViolation, smb2.FileOpen},
		{"deleting where it is not shared", read, smb2.ShareRead | smb2.ShareWrite, del, shareAll, smb2.StatusSharingViolation, smb2.FileOpen},
		{"appending is writing", read, smb2.ShareRead, smb2.FileAppendData, shareAll, smb2.StatusSharingViolation, smb2.FileOpen},
		{"executing is reading", read, smb2.ShareWrite, smb2.FileExecute, shareAll, smb2.StatusSharingViolation, smb2.FileOpen},
		{"attributes conflict with nothing", read | write, shareNone, smb2.FileReadAttributes, shareNone, smb2.StatusSuccess, smb2.FileOpen},
		{"nothing conflicts with attributes", smb2.FileReadAttributes, shareNone, read | write | del, shareNone, smb2.StatusSuccess, smb2.FileOpen},
		{"overwriting is writing", read, smb2.ShareRead, read, shareAll, smb2.StatusSharingViolation, smb2.FileOverwrite},
	} {
		q := req("file", smb2.FileOpen)
		q.DesiredAccess, q.ShareAccess = c.access, c.share
		first := r.mustCreate(q)
		q.DesiredAccess, q.ShareAccess, q.Disposition = c.access2, c.share2, c.secondChanges
		assert.Equal(t, c.want, r.try(q), c.why)
		r.mustClose(first.FileID)
		if c.want != smb2.StatusSuccess {
			assert.Equal(t, smb2.StatusSuccess, r.try(q), "%s: free after the close", c.why)
		}
		r.put("file", "x")
	}
	assert.Zero(t, r.mem.Opens())
}

func TestShareModesReachAcrossConnectionsAndLinks(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	require.NoError(t, r.mem.Symlink("file", "link"))
	q := req("file", smb2.FileOpen)
	q.ShareAccess = shareNone
	first := r.mustCreate(q)
	other := r.client()
	tree, err := other.TreeConnect(t.Context(), shareName)
	require.NoError(t, err)
	for _, name := range []string{"file", "link"} {
		_, err = tree.Create(t.Context(), smb2.CreateRequest{Disposition: smb2.FileOpen, Name: name})
		assert.Equal(t, smb2.StatusSharingViolation, status(t, err), name)
	}
	r.mustClose(first.FileID)
	f, err := tree.Create(t.Context(), smb2.CreateRequest{Disposition: smb2.FileOpen, Name: "link"})
	require.NoError(t, err)
	require.NoError(t, f.Close(t.Context()))
}

func TestDeleteOnClose(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	q := req("file", smb2.FileOpen)
	q.Options = smb2.FileDeleteOnClose
	first := r.mustCreate(q)
	second := r.mustCreate(req("file", smb2.FileOpen))
	assert.Equal(t, smb2.StatusSuccess, r.try(req("file", smb2.FileOpen)), "before the close it is a file like any other")
	r.mustClose(first.FileID)
	assert.True(t, r.exists("file"), "the second open holds it")
	assert.Equal(t, smb2.StatusDeletePending, r.try(req("file", smb2.FileOpen)))
	assert.Equal(t, smb2.StatusDeletePending, r.try(req("file", smb2.FileOpenIf)))
	assert.Equal(t, smb2.StatusDeletePending, r.try(req("file", smb2.FileCreate)))
	assert.Equal(t, smb2.StatusDeletePending, r.try(req("file", smb2.FileOverwriteIf)))
	std, err := fscc.ParseStandardInfo(r.mustQuery(second.FileID, fscc.ClassStandard))
	require.NoError(t, err)
	assert.True(t, std.DeletePending)
	assert.Zero(t, std.NumberOfLinks)
	r.mustClose(second.FileID)
	assert.False(t, r.exists("file"))
	assert.Equal(t, smb2.StatusObjectNameNotFound, r.try(req("file", smb2.FileOpen)))

	q.Disposition = smb2.FileCreate
	made := r.mustCreate(q)
	r.mustClose(made.FileID)
	assert.False(t, r.exists("file"), "a file made to be deleted")
}

func TestDeleteOnCloseWhenTheConnectionEnds(t *testing.T) {
	r := open(t)
	q := req("file", smb2.FileCreate)
	q.Options = smb2.FileDeleteOnClose
	r.mustCreate(q)
	require.NoError(t, r.c.Close())
	require.Eventually(t, func() bool { return !r.exists("file") && r.mem.Opens() == 0 }, patience, time.Millisecond)
}

func TestDeleteOnCloseOfFullDirectory(t *testing.T) {
	r := open(t)
	r.mkdir("dir")
	q := req("dir", smb2.FileOpen)
	q.Options = smb2.FileDirectoryFile | smb2.FileDeleteOnClose
	dir := r.mustCreate(q)
	r.put("dir/file", "x")
	assert.Equal(t, smb2.StatusDirectoryNotEmpty, status(t, r.close(dir.FileID)), "CLOSE says that nothing was deleted")
	assert.True(t, r.exists("dir/file"))
	assert.Equal(t, smb2.StatusSuccess, r.try(req("dir", smb2.FileOpen)), "and it is not delete pending for ever")
}

func TestDispositionDeletes(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	first := r.mustCreate(req("file", smb2.FileOpen))
	r.dispose(first.FileID, true)
	assert.Equal(t, smb2.StatusDeletePending, r.try(req("file", smb2.FileOpen)))
	r.dispose(first.FileID, false)
	assert.Equal(t, smb2.StatusSuccess, r.try(req("file", smb2.FileOpen)), "taken back")
	r.dispose(first.FileID, true)
	r.mustClose(first.FileID)
	assert.False(t, r.exists("file"))

	// Nothing is made in a directory that is about to go.
	r.mkdir("dir")
	dir := r.mustCreate(req("dir", smb2.FileOpen))
	r.dispose(dir.FileID, true)
	assert.Equal(t, smb2.StatusDeletePending, r.try(req(`dir\file`, smb2.FileCreate)))
	r.mustClose(dir.FileID)
	assert.False(t, r.exists("dir"))
}

func (r *room) dispose(id smb2.FileID, on bool) {
	r.t.Helper()
	require.NoError(r.t, r.set(id, fscc.ClassDisposition, fscc.DispositionInfo{DeletePending: on}))
}

func (r *room) set(id smb2.FileID, class fscc.InfoClass, info smbclient.Appender) error {
	r.t.Helper()
	_, err := r.send(smb2.CommandSetInfo, smb2.SetInfoRequest{Type: smb2.InfoFile, Class: uint8(class), FileID: id, Buffer: info.Append(nil)})
	return err
}

func TestDispositionRefused(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	r.mkdir("dir")
	r.put("dir/file", "x")
	q := req("file", smb2.FileOpen)
	q.DesiredAccess = smb2.GenericRead
	id := r.mustCreate(q).FileID
	assert.Equal(t, smb2.StatusAccessDenied, status(t, r.set(id, fscc.ClassDisposition, fscc.DispositionInfo{DeletePending: true})))
	r.mustClose(id)
	id = r.mustCreate(req("dir", smb2.FileOpen)).FileID
	assert.Equal(t, smb2.StatusDirectoryNotEmpty, status(t, r.set(id, fscc.ClassDisposition, fscc.DispositionInfo{DeletePending: true})))
	r.mustClose(id)
	r.setAttributes("file", fscc.AttrReadonly)
	q.DesiredAccess = smb2.Delete
	id = r.mustCreate(q).FileID
	assert.Equal(t, smb2.StatusCannotDelete, status(t, r.set(id, fscc.ClassDisposition, fscc.DispositionInfo{DeletePending: true})))
	ex := fscc.DispositionInfoEx{Flags: fscc.DispositionDelete | fscc.DispositionIgnoreReadonlyAttribute}
	require.NoError(t, r.set(id, fscc.ClassDispositionEx, ex))
	r.mustClose(id)
	assert.False(t, r.exists("file"))
	root := req("", smb2.FileOpen)
	id = r.mustCreate(root).FileID
	assert.Equal(t, smb2.StatusCannotDelete, status(t, r.set(id, fscc.ClassDisposition, fscc.DispositionInfo{DeletePending: true})))
	r.mustClose(id)
}

func TestDispositionEx(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	first := r.mustCreate(req("file", smb2.FileOpen))
	second := r.mustCreate(req("file", smb2.FileOpen))
	onClose := fscc.DispositionInfoEx{Flags: fscc.DispositionDelete | fscc.DispositionOnClose}
	assert.Equal(t, smb2.StatusNotSupported, status(t, r.set(first.FileID, fscc.ClassDispositionEx, onClose)))
	posix := fscc.DispositionInfoEx{Flags: fscc.DispositionDelete | fscc.DispositionPosixSemantics}
	require.NoError(t, r.set(first.FileID, fscc.ClassDispositionEx, posix))
	r.mustClose(first.FileID)
	assert.False(t, r.exists("file"), "POSIX: gone although it is open")
	assert.Equal(t, smb2.StatusSuccess, r.try(req("file", smb2.FileCreate)), "and the name is free")
	r.mustClose(second.FileID)
	assert.True(t, r.exists("file"), "the other open does not take the new file's name")

	q := req("file", smb2.FileOpen)
	q.Options = smb2.FileDeleteOnClose
	id := r.mustCreate(q).FileID
	require.NoError(t, r.set(id, fscc.ClassDispositionEx, fscc.DispositionInfoEx{Flags: fscc.DispositionOnClose}))
	r.mustClose(id)
	assert.True(t, r.exists("file"), "delete on close was taken back")
}

// A name is doomed, not a file: another hard link of it stays.
func TestDeleteOnCloseOfHardLink(t *testing.T) {
	r := open(t)
	r.put("a", "x")
	id := r.mustCreate(req("a", smb2.FileOpen)).FileID
	require.NoError(t, r.set(id, fscc.ClassLink, fscc.RenameInfo{Name: "b"}))
	other := r.mustCreate(req("b", smb2.FileOpen)).FileID
	r.dispose(id, true)
	assert.Equal(t, smb2.StatusDeletePending, r.try(req("a", smb2.FileOpen)))
	assert.Equal(t, smb2.StatusSuccess, r.try(req("b", smb2.FileOpen)))
	r.mustClose(id)
	assert.False(t, r.exists("a"))
	r.mustClose(other)
	assert.True(t, r.exists("b"))
}

// Whoever has a file without sharing it is alone with it, whatever others try; and every delete on close is carried out.
func TestShareModesUnderFire(t *testing.T) {
	f := start(t)
	const clients, rounds, names = 4, 150, 3
	var holders [names]atomic.Int32
	var wg sync.WaitGroup
	for i := range clients {
		c := f.client()
		tree, err := c.TreeConnect(t.Context(), shareName)
		require.NoError(t, err)
		r := seed.New(uint64(i))
		wg.Go(func() {
			for range rounds {
				which := r.IntN(names)
				q := req("file-"+string(rune('a'+which)), smb2.Disposition(r.IntN(6)))
				q.ShareAccess = shareNone
				if r.IntN(2) == 0 {
					q.Options = smb2.FileDeleteOnClose
				}
				answer, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandCreate, Body: q, TreeID: tree.ID()})
				if err != nil {
					var s smb2.Status
					if assert.ErrorAs(t, err, &s) {
						assert.Contains(t, []smb2.Status{
							smb2.StatusSharingViolation, smb2.StatusDeletePending, smb2.StatusObjectNameNotFound, smb2.StatusObjectNameCollision,
						}, s)
					}
					continue
				}
				assert.EqualValues(t, 1, holders[which].Add(1), "%q is held twice", q.Name)
				resp, err := smb2.ParseCreateResponse(answer.Msg)
				assert.NoError(t, err)
				assert.EqualValues(t, 0, holders[which].Add(-1))
				_, err = c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandClose, Body: smb2.CloseRequest{FileID: resp.FileID}, TreeID: tree.ID()})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, f.mem.Opens())
	r := &room{fixture: f, c: f.client()}
	var err error
	r.tree, err = r.c.TreeConnect(t.Context(), shareName)
	require.NoError(t, err)
	for which := range names {
		q := req("file-"+string(rune('a'+which)), smb2.FileOpenIf)
		q.Options = smb2.FileDeleteOnClose
		assert.Equal(t, smb2.StatusSuccess, r.try(q), "nothing is left in the table")
		assert.False(t, r.exists(q.Name))
	}
}
