package smbserver_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

const (
	shareAll  = smb2.ShareRead | smb2.ShareWrite | smb2.ShareDelete
	shareNone = smb2.ShareAccess(0)
)

// room is a client's share under test. Requests go out as they are, without the defaults of smbclient.
type room struct {
	*fixture
	c    *smbclient.Client
	tree *smbclient.Tree
}

func open(t *testing.T, change ...func(*smbserver.Config)) *room {
	t.Helper()
	f := start(t, change...)
	c := f.client()
	tree, err := c.TreeConnect(t.Context(), shareName)
	require.NoError(t, err)
	return &room{f, c, tree}
}

// send sends one request on the share's tree.
func (r *room) send(cmd smb2.Command, body smbclient.Appender) (smbclient.Response, error) {
	r.t.Helper()
	return r.c.RoundTrip(r.t.Context(), smbclient.Request{Command: cmd, Body: body, TreeID: r.tree.ID(), Payload: 64 << 10})
}

// req is an ordinary CREATE, to be changed.
func req(name string, d smb2.Disposition) smb2.CreateRequest {
	return smb2.CreateRequest{
		Impersonation: smb2.ImpersonationImpersonation, DesiredAccess: smb2.GenericRead | smb2.GenericWrite | smb2.Delete,
		ShareAccess: shareAll, Disposition: d, Name: name,
	}
}

func (r *room) create(q smb2.CreateRequest) (smb2.CreateResponse, error) {
	r.t.Helper()
	answer, err := r.send(smb2.CommandCreate, q)
	if err != nil {
		return smb2.CreateResponse{}, err
	}
	return smb2.ParseCreateResponse(answer.Msg)
}

func (r *room) mustCreate(q smb2.CreateRequest) smb2.CreateResponse {
	r.t.Helper()
	resp, err := r.create(q)
	require.NoError(r.t, err, "%+v", q)
	return resp
}

func (r *room) close(id smb2.FileID) error {
	r.t.Helper()
	_, err := r.send(smb2.CommandClose, smb2.CloseRequest{FileID: id})
	return err
}

func (r *room) mustClose(id smb2.FileID) {
	r.t.Helper()
	require.NoError(r.t, r.close(id))
}

// try opens and closes, and returns the status of the CREATE.
func (r *room) try(q smb2.CreateRequest) smb2.Status {
	r.t.Helper()
	resp, err := r.create(q)
	if err == nil {
		r.mustClose(resp.FileID)
	}
	return status(r.t, err)
}

// put makes a file in the store behind the server's back.
func (r *room) put(path, content string) {
	r.t.Helper()
	require.NoError(r.t, r.mem.WriteFile(path, []byte(content)))
}

func (r *room) mkdir(path string) {
	r.t.Helper()
	q := req(strings.ReplaceAll(path, "/", `\`), smb2.FileCreate)
	q.Options = smb2.FileDirectoryFile
	require.Equal(r.t, smb2.StatusSuccess, r.try(q))
}

func (r *room) exists(path string) bool {
	f, err := r.mem.OpenLink(r.t.Context(), smbserver.OpenParams{Path: path})
	if err != nil {
		return false
	}
	require.NoError(r.t, f.Close())
	return true
}

func TestCreateDispositions(t *testing.T) {
	r := open(t)
	for _, c := range []struct {
		disposition smb2.Disposition
		missing     smb2.Status
		madeAction  smb2.CreateAction
		there       smb2.Status
		hereAction  smb2.CreateAction
		content     string
	}{
		{smb2.FileSupersede, smb2.StatusSuccess, smb2.ActionCreated, smb2.StatusSuccess, smb2.ActionSuperseded, ""},
		{smb2.FileOpen, smb2.StatusObjectNameNotFound, 0, smb2.StatusSuccess, smb2.ActionOpened, "old"},
		{smb2.FileCreate, smb2.StatusSuccess, smb2.ActionCreated, smb2.StatusObjectNameCollision, 0, "old"},
		{smb2.FileOpenIf, smb2.StatusSuccess, smb2.ActionCreated, smb2.StatusSuccess, smb2.ActionOpened, "old"},
		{smb2.FileOverwrite, smb2.StatusObjectNameNotFound, 0, smb2.StatusSuccess, smb2.ActionOverwritten, ""},
		{smb2.FileOverwriteIf, smb2.StatusSuccess, smb2.ActionCreated, smb2.StatusSuccess, smb2.ActionOverwritten, ""},
	} {
		name := "new" + string(rune('0'+c.disposition))
		resp, err := r.create(req(name, c.disposition))
		require.Equal(t, c.missing, status(t, err), "%d, missing", c.disposition)
		if err == nil {
			assert.Equal(t, c.madeAction, resp.Action)
			assert.Equal(t, fscc.AttrArchive, resp.FileAttributes)
			assert.Equal(t, smb2.OplockNone, resp.Oplock)
			r.mustClose(resp.FileID)
		}
		assert.Equal(t, c.missing == smb2.StatusSuccess, r.exists(name))

		r.put("old", "old")
		resp, err = r.create(req("old", c.disposition))
		require.Equal(t, c.there, status(t, err), "%d, there", c.disposition)
		if err == nil {
			assert.Equal(t, c.hereAction, resp.Action)
			assert.EqualValues(t, len(c.content), resp.EndOfFile)
			r.mustClose(resp.FileID)
		}
		got, err := r.mem.ReadFile("old")
		require.NoError(t, err)
		assert.Equal(t, c.content, string(got), "%d", c.disposition)
	}
}

func TestCreateRefuses(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	r.put("readonly", "x")
	r.setAttributes("readonly", fscc.AttrReadonly)
	r.put("hidden", "x")
	r.setAttributes("hidden", fscc.AttrHidden)
	r.mkdir("dir")
	for _, c := range []struct {
		why    string
		change func(q *smb2.CreateRequest)
		want   smb2.Status
	}{
		{"a missing parent", func(q *smb2.CreateRequest) { q.Name = `missing\file` }, smb2.StatusObjectPathNotFound},
		{"a file as parent", func(q *smb2.CreateRequest) { q.Name = `file\below` }, smb2.StatusObjectPathNotFound},
		{"a leading backslash", func(q *smb2.CreateRequest) { q.Name = `\file` }, smb2.StatusInvalidParameter},
		{"dots", func(q *smb2.CreateRequest) { q.Name = `dir\..\..\etc` }, smb2.StatusObjectPathSyntaxBad},
		{"a stream", func(q *smb2.CreateRequest) { q.Name = "file:stream" }, smb2.StatusObjectNameInvalid},
		{"a star", func(q *smb2.CreateRequest) { q.Name = "fi*" }, smb2.StatusObjectNameInvalid},
		{"a slash", func(q *smb2.CreateRequest) { q.Name = "dir/file" }, smb2.StatusObjectNameInvalid},
		{"a file where a directory is wanted", func(q *smb2.CreateRequest) { q.Options = smb2.FileDirectoryFile }, smb2.StatusNotADirectory},
		{"a directory where a file is wanted", func(q *smb2.CreateRequest) { q.Name, q.Options = "dir", smb2.FileNonDirectoryFile }, smb2.StatusFileIsADirectory},
		{"both", func(q *smb2.CreateRequest) { q.Options = smb2.FileDirectoryFile | smb2.FileNonDirectoryFile }, smb2.StatusInvalidParameter},
		{"overwriting a directory", func(q *smb2.CreateRequest) { q.Name, q.Disposition = "dir", smb2.FileOverwriteIf }, smb2.StatusFileIsADirectory},
		{"a directory to overwrite", func(q *smb2.CreateRequest) {
			q.Options, q.Disposition = smb2.FileDirectoryFile, smb2.FileOverwrite
		}, smb2.StatusInvalidParameter},
		{"a file's path as a directory's", func(q *smb2.CreateRequest) { q.Name, q.Options = `file\`, smb2.FileNonDirectoryFile }, smb2.StatusObjectNameInvalid},
		{"opening by id", func(q *smb2.CreateRequest) { q.Options = smb2.FileOpenByFileID }, smb2.StatusNotSupported},
		{"an unknown disposition", func(q *smb2.CreateRequest) { q.Disposition = 6 }, smb2.StatusInvalidParameter},
		{"an unknown sharing", func(q *smb2.CreateRequest) { q.ShareAccess = 8 }, smb2.StatusInvalidParameter},
		{"unknown options", func(q *smb2.CreateRequest) { q.Options = 0x80000000 }, smb2.StatusInvalidParameter},
		{"unknown attributes", func(q *smb2.CreateRequest) { q.FileAttributes = 0x40000000 }, smb2.StatusInvalidParameter},
		{"impersonation beyond delegation", func(q *smb2.CreateRequest) { q.Impersonation = 4 }, 0xC00000A5},
		{"no access", func(q *smb2.CreateRequest) { q.DesiredAccess = 0 }, smb2.StatusAccessDenied},
		{"synchronizing only", func(q *smb2.CreateRequest) { q.DesiredAccess = smb2.Synchronize }, smb2.StatusAccessDenied},
		{"reserved access", func(q *smb2.CreateRequest) { q.DesiredAccess |= 0x00200000 }, smb2.StatusAccessDenied},
		{"the system ACL", func(q *smb2.CreateRequest) { q.DesiredAccess |= smb2.AccessSystemSecurity }, smb2.StatusPrivilegeNotHeld},
		{"writing what is read-only", func(q *smb2.CreateRequest) { q.Name = "readonly" }, smb2.StatusAccessDenied},
		{"overwriting what is read-only", func(q *smb2.CreateRequest) {
			q.Name, q.DesiredAccess, q.Disposition = "readonly", smb2.GenericRead, smb2.FileOverwrite
		}, smb2.StatusAccessDenied},
		{"deleting what is read-only", func(q *smb2.CreateRequest) {
			q.Name, q.DesiredAccess, q.Options = "readonly", smb2.Delete, smb2.FileDeleteOnClose
		}, smb2.StatusCannotDelete},
		{"making a read-only file that goes", func(q *smb2.CreateRequest) {
			q.Name, q.Disposition, q.FileAttributes, q.Options = "new", smb2.FileCreate, fscc.AttrReadonly, smb2.FileDeleteOnClose
		}, smb2.StatusCannotDelete},
		{"uncovering what is hidden", func(q *smb2.CreateRequest) { q.Name, q.Disposition = "hidden", smb2.FileOverwrite }, smb2.StatusAccessDenied},
		{"delete on close without DELETE", func(q *smb2.CreateRequest) {
			q.DesiredAccess, q.Options = smb2.GenericRead, smb2.FileDeleteOnClose
		}, smb2.StatusAccessDenied},
		{"delete on close of the root", func(q *smb2.CreateRequest) { q.Name, q.Options = "", smb2.FileDeleteOnClose }, smb2.StatusAccessDenied},
		{"a snapshot", func(q *smb2.CreateRequest) {
			q.Contexts = []smb2.CreateContext{{Name: smb2.ContextTWrp, Data: make([]byte, 8)}}
		}, smb2.StatusObjectNameNotFound},
		{"a durable handle again", func(q *smb2.CreateRequest) {
			q.Contexts = []smb2.CreateContext{{Name: smb2.ContextDHnC, Data: make([]byte, 16)}}
		}, smb2.StatusObjectNameNotFound},
		{"EAs", func(q *smb2.CreateRequest) {
			q.Name, q.Disposition = "new", smb2.FileCreate
			q.Contexts = []smb2.CreateContext{{Name: smb2.ContextExtA, Data: fscc.FullEAInfo{{Name: "a", Value: []byte("b")}}.Append(nil)}}
		}, 0xC000004F},
		{"a context with a short name", func(q *smb2.CreateRequest) { q.Contexts = []smb2.CreateContext{{Name: "xxx"}} }, smb2.StatusInvalidParameter},
		{"a malformed allocation size", func(q *smb2.CreateRequest) {
			q.Contexts = []smb2.CreateContext{{Name: smb2.ContextAlSi, Data: make([]byte, 4)}}
		}, smb2.StatusInvalidParameter},
	} {
		q := req("file", smb2.FileOpen)
		c.change(&q)
		assert.Equal(t, c.want, r.try(q), c.why)
	}
	assert.False(t, r.exists("new"))
	assert.Zero(t, r.mem.Opens(), "a refused CREATE leaves nothing open")
}

func (r *room) setAttributes(path string, a fscc.FileAttributes) {
	r.t.Helper()
	f, err := r.mem.Open(r.t.Context(), smbserver.OpenParams{Path: path})
	require.NoError(r.t, err)
	require.NoError(r.t, f.SetAttr(r.t.Context(), smbserver.SetAttr{Attributes: &a}))
	require.NoError(r.t, f.Close())
}

func TestCreateGrantedAccess(t *testing.T) {
	readOnlyUser := smbtest.NewMem(smbtest.Options{Access: denyWrite})
	require.NoError(t, readOnlyUser.WriteFile("file", []byte("x")))
	o := open(t, func(c *smbserver.Config) { c.Shares[shareName] = readOnlyUser })
	q := req("file", smb2.FileOpen)
	q.DesiredAccess = smb2.MaximumAllowed
	q.Contexts = []smb2.CreateContext{{Name: smb2.ContextMxAc}}
	resp := o.mustCreate(q)
	most := smb2.AccessMask(o.queryUint32(resp.FileID, fscc.ClassAccess))
	data, ok := smb2.FindContext(resp.Contexts, smb2.ContextMxAc)
	require.True(t, ok)
	m, err := smb2.ParseMaximalAccessResponse(data)
	require.NoError(t, err)
	assert.Equal(t, smb2.StatusSuccess, m.QueryStatus)
	assert.Equal(t, m.MaximalAccess, most, "MxAc and MAXIMUM_ALLOWED come from one evaluation")
	assert.Equal(t, smb2.FileAllAccess&^(smb2.FileWriteData|smb2.FileAppendData), most)
	o.mustClose(resp.FileID)

	for _, c := range []struct{ desired, granted smb2.AccessMask }{
		{smb2.GenericRead, smb2.FileGenericRead},
		{smb2.GenericExecute | smb2.Delete, smb2.FileGenericExecute | smb2.Delete},
		{smb2.FileReadAttributes, smb2.FileReadAttributes},
		{smb2.MaximumAllowed | smb2.FileReadData, most},
	} {
		q := req("file", smb2.FileOpen)
		q.DesiredAccess = c.desired
		resp := o.mustCreate(q)
		assert.Equal(t, c.granted, smb2.AccessMask(o.queryUint32(resp.FileID, fscc.ClassAccess)), "%#x", c.desired)
		o.mustClose(resp.FileID)
	}
	q.DesiredAccess = smb2.MaximumAllowed | smb2.FileWriteData
	assert.Equal(t, smb2.StatusAccessDenied, o.try(q))
	q.DesiredAccess = smb2.GenericAll
	assert.Equal(t, smb2.StatusAccessDenied, o.try(q))
}

func denyWrite(_ smbserver.Identity, path string, write bool) error {
	if write && path == "file" {
		return &smbserver.PathError{Component: smbserver.Last, Err: errAccess}
	}
	return nil
}

func (r *room) query(id smb2.FileID, kind smb2.InfoType, class uint8, room uint32) ([]byte, error) {
	r.t.Helper()
	answer, err := r.send(smb2.CommandQueryInfo, smb2.QueryInfoRequest{Type: kind, Class: class, OutputBufferLength: room, FileID: id})
	if err != nil && status(r.t, err) != smb2.StatusBufferOverflow {
		return nil, err
	}
	resp, perr := smb2.ParseQueryInfoResponse(answer.Msg)
	require.NoError(r.t, perr)
	return resp.Buffer, err
}

func (r *room) mustQuery(id smb2.FileID, class fscc.InfoClass) []byte {
	r.t.Helper()
	b, err := r.query(id, smb2.InfoFile, uint8(class), 4096)
	require.NoError(r.t, err, "class %d", class)
	return b
}

func (r *room) queryUint32(id smb2.FileID, class fscc.InfoClass) uint32 {
	r.t.Helper()
	return binary.LittleEndian.Uint32(r.mustQuery(id, class))
}

func TestCreateContexts(t *testing.T) {
	r := open(t)
	q := req("file", smb2.FileCreate)
	q.Oplock = smb2.OplockLease
	q.Contexts = []smb2.CreateContext{
		{Name: smb2.ContextQFid},
		{Name: smb2.ContextMxAc},
		{Name: smb2.ContextAlSi, Data: smb2.AllocationSize(1 << 20).Append(nil)},
		{Name: smb2.ContextDHnQ, Data: make([]byte, 16)},
		{Name: smb2.ContextRqLs, Data: smb2.Lease{}.Append(nil)},
		{Name: "Zzzz", Data: []byte("unknown")},
		{Name: smb2.ContextAAPL, Data: make([]byte, 24)},
	}
	resp := r.mustCreate(q)
	assert.Equal(t, smb2.OplockNone, resp.Oplock)
	assert.EqualValues(t, 1<<20, resp.AllocationSize)
	assert.Zero(t, resp.EndOfFile)
	require.Len(t, resp.Contexts, 2, "what is not granted is not answered")
	data, ok := smb2.FindContext(resp.Contexts, smb2.ContextQFid)
	require.True(t, ok)
	id, err := smb2.ParseDiskIDResponse(data)
	require.NoError(t, err)
	assert.Equal(t, id.DiskFileID, binary.LittleEndian.Uint64(r.mustQuery(resp.FileID, fscc.ClassInternal)))
	r.mustClose(resp.FileID)

	// An MxAc with the time of a file that has not changed since.
	q = req("file", smb2.FileOpen)
	resp = r.mustCreate(q)
	r.mustClose(resp.FileID)
	q.Contexts = []smb2.CreateContext{{Name: smb2.ContextMxAc, Data: binary.LittleEndian.AppendUint64(nil, uint64(resp.LastWriteTime))}}
	resp = r.mustCreate(q)
	data, ok = smb2.FindContext(resp.Contexts, smb2.ContextMxAc)
	require.True(t, ok)
	m, err := smb2.ParseMaximalAccessResponse(data)
	require.NoError(t, err)
	assert.EqualValues(t, 0xC0000073, m.QueryStatus)
	r.mustClose(resp.FileID)

	q = req("huge", smb2.FileCreate)
	q.Contexts = []smb2.CreateContext{{Name: smb2.ContextMxAc, Data: make([]byte, 3)}}
	assert.Equal(t, smb2.StatusInvalidParameter, r.try(q))
	assert.False(t, r.exists("huge"))
}

func TestCreateDirectory(t *testing.T) {
	r := open(t)
	q := req("dir", smb2.FileCreate)
	q.Options = smb2.FileDirectoryFile
	resp := r.mustCreate(q)
	assert.Equal(t, smb2.ActionCreated, resp.Action)
	assert.Equal(t, fscc.AttrDirectory, resp.FileAttributes)
	assert.Zero(t, resp.EndOfFile)
	r.mustClose(resp.FileID)
	assert.Equal(t, smb2.StatusObjectNameCollision, r.try(q))
	q.Disposition = smb2.FileOpenIf
	resp = r.mustCreate(q)
	assert.Equal(t, smb2.ActionOpened, resp.Action)
	r.mustClose(resp.FileID)
	q.Options, q.DesiredAccess = 0, smb2.GenericAll
	assert.Equal(t, smb2.StatusSuccess, r.try(q), "a directory opens for everything")
	q.Name, q.Options = `dir\`, smb2.FileDirectoryFile
	assert.Equal(t, smb2.StatusSuccess, r.try(q))
	q = req("", smb2.FileOpen)
	assert.Equal(t, smb2.StatusSuccess, r.try(q), "the root")
}

func TestCreateOverwriteTakesAttributes(t *testing.T) {
	r := open(t)
	r.put("file", "content")
	q := req("file", smb2.FileOverwrite)
	q.FileAttributes = fscc.AttrHidden
	resp := r.mustCreate(q)
	assert.Equal(t, fscc.AttrHidden|fscc.AttrArchive, resp.FileAttributes)
	assert.Zero(t, resp.EndOfFile)
	r.mustClose(resp.FileID)
}

func TestCreateOnReadOnlyShare(t *testing.T) {
	mem := smbtest.NewMem(smbtest.Options{ReadOnly: true})
	r := open(t, func(c *smbserver.Config) { c.Shares[shareName] = mem })
	assert.Equal(t, smb2.StatusMediaWriteProtected, r.try(req("new", smb2.FileCreate)))
	q := req("", smb2.FileOpen)
	q.DesiredAccess = smb2.MaximumAllowed
	resp := r.mustCreate(q)
	granted := smb2.AccessMask(r.queryUint32(resp.FileID, fscc.ClassAccess))
	assert.False(t, granted.HasAny(smb2.FileWriteData|smb2.Delete))
	r.mustClose(resp.FileID)
}

func TestCreateWithoutSpaceLeavesNothing(t *testing.T) {
	mem := smbtest.NewMem(smbtest.Options{Capacity: 1 << 20})
	r := open(t, func(c *smbserver.Config) { c.Shares[shareName] = mem })
	r.fixture.mem = mem
	q := req("file", smb2.FileCreate)
	resp := r.mustCreate(q)
	_, err := r.send(smb2.CommandWrite, smb2.WriteRequest{FileID: resp.FileID, Data: make([]byte, 4096), Offset: 1 << 40})
	require.NoError(t, err)
	r.mustClose(resp.FileID)
	assert.True(t, r.exists("file"))
}

func TestCreateBeyondTheLimitLeavesNothing(t *testing.T) {
	r := open(t, func(c *smbserver.Config) { c.Limits.Opens = 2 })
	r.put("old", "content")
	for range 2 {
		r.mustCreate(req("kept", smb2.FileOpenIf))
	}
	assert.Equal(t, smb2.StatusTooManyOpenedFiles, r.try(req("new", smb2.FileCreate)))
	assert.False(t, r.exists("new"), "a file that nobody got is not left behind")
	q := req("old", smb2.FileOpen)
	q.Options = smb2.FileDeleteOnClose
	assert.Equal(t, smb2.StatusTooManyOpenedFiles, r.try(q))
	assert.True(t, r.exists("old"), "an open that never was does not delete")
	assert.EqualValues(t, 2, r.mem.Opens())
}
