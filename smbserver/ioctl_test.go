package smbserver_test

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/dcerpc"
	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
)

func (r *room) ioctl(id smb2.FileID, code smb2.FSCTL, input []byte, room uint32) ([]byte, error) {
	r.t.Helper()
	answer, err := r.send(smb2.CommandIoctl, smb2.IoctlRequest{
		Code: code, FileID: id, Input: input, MaxOutputResponse: room, Flags: smb2.IoctlIsFsctl,
	})
	if err != nil && status(r.t, err) != smb2.StatusBufferOverflow {
		return nil, err
	}
	resp, perr := smb2.ParseIoctlResponse(answer.Msg)
	require.NoError(r.t, perr)
	assert.Equal(r.t, code, resp.Code)
	return resp.Output, err
}

func TestIoctlSparseFiles(t *testing.T) {
	r := open(t)
	r.put("file", strings.Repeat("x", 5*4096))
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	_, err := r.ioctl(id, smb2.FsctlSetSparse, nil, 0)
	require.NoError(t, err)
	basic, err := fscc.ParseBasicInfo(r.mustQuery(id, fscc.ClassBasic))
	require.NoError(t, err)
	assert.NotZero(t, basic.Attributes&fscc.AttrSparseFile)

	zero := smb2.ZeroData{Offset: 4096, BeyondFinalZero: 3*4096 + 10}
	_, err = r.ioctl(id, smb2.FsctlSetZeroData, zero.Append(nil), 0)
	require.NoError(t, err)
	got, err := r.mem.ReadFile("file")
	require.NoError(t, err)
	want := []byte(strings.Repeat("x", 5*4096))
	clear(want[4096 : 3*4096+10])
	assert.True(t, bytes.Equal(want, got))

	ask := smb2.AllocatedRange{Length: 1 << 20}.Append(nil)
	out, err := r.ioctl(id, smb2.FsctlQueryAllocatedRanges, ask, 1000)
	require.NoError(t, err)
	ranges, err := smb2.ParseAllocatedRanges(out)
	require.NoError(t, err)
	assert.Equal(t, smb2.AllocatedRanges{{FileOffset: 0, Length: 4096}, {FileOffset: 3 * 4096, Length: 2 * 4096}}, ranges)
	out, err = r.ioctl(id, smb2.FsctlQueryAllocatedRanges, ask, 16)
	assert.Equal(t, smb2.StatusBufferOverflow, status(t, err))
	assert.Len(t, out, 16)
	_, err = r.ioctl(id, smb2.FsctlQueryAllocatedRanges, ask, 15)
	assert.Equal(t, smb2.StatusBufferTooSmall, status(t, err))
	for _, bad := range []smb2.AllocatedRange{{FileOffset: -1}, {Length: -1}, {FileOffset: 1 << 62, Length: 1<<63 - 1}} {
		_, err = r.ioctl(id, smb2.FsctlQueryAllocatedRanges, bad.Append(nil), 1000)
		assert.Equal(t, smb2.StatusInvalidParameter, status(t, err), "%+v", bad)
	}
	for _, bad := range []smb2.ZeroData{{Offset: -1}, {BeyondFinalZero: -1}, {Offset: 2, BeyondFinalZero: 1}} {
		_, err = r.ioctl(id, smb2.FsctlSetZeroData, bad.Append(nil), 0)
		assert.Equal(t, smb2.StatusInvalidParameter, status(t, err), "%+v", bad)
	}
	_, err = r.ioctl(id, smb2.FsctlSetZeroData, make([]byte, 15), 0)
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, err))
	_, err = r.ioctl(id, smb2.FsctlSetSparse, []byte{0}, 0)
	require.NoError(t, err)
	out, err = r.ioctl(id, smb2.FsctlQueryAllocatedRanges, ask, 1000)
	require.NoError(t, err)
	ranges, err = smb2.ParseAllocatedRanges(out)
	require.NoError(t, err)
	assert.Equal(t, smb2.AllocatedRanges{{Length: 5 * 4096}}, ranges, "a file that is not sparse has no holes to tell of")
	r.mustClose(id)

	q := req("file", smb2.FileOpen)
	q.DesiredAccess = smb2.GenericRead
	id = r.mustCreate(q).FileID
	_, err = r.ioctl(id, smb2.FsctlSetSparse, nil, 0)
	assert.Equal(t, smb2.StatusAccessDenied, status(t, err))
	_, err = r.ioctl(id, smb2.FsctlSetZeroData, zero.Append(nil), 0)
	assert.Equal(t, smb2.StatusAccessDenied, status(t, err))
	r.mustClose(id)
	id = r.openDir("")
	_, err = r.ioctl(id, smb2.FsctlSetSparse, nil, 0)
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, err))
	r.mustClose(id)
}

// What is not supported is refused with the status of docs/conformance.md, never with a success that does nothing.
func TestUnsupportedIsRefused(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	dir := r.openDir("")
	for code, want := range map[smb2.FSCTL]smb2.Status{
		smb2.FsctlDFSGetReferrals:        smb2.StatusNotFound,
		smb2.FsctlDFSGetReferralsEx:      smb2.StatusNotFound,
		smb2.FsctlQueryNetworkInterfaces: smb2.StatusNotSupported,
		smb2.FsctlPipeWait:               smb2.StatusNotSupported,
		smb2.FsctlPipeTransceive:         smb2.StatusInvalidDeviceRequest,
		smb2.FsctlPipePeek:               smb2.StatusInvalidDeviceRequest,
		smb2.FsctlSrvRequestResumeKey:    smb2.StatusNotSupported,
		smb2.FsctlSrvCopychunk:           smb2.StatusNotSupported,
		smb2.FsctlSrvCopychunkWrite:      smb2.StatusNotSupported,
		smb2.FsctlSrvEnumerateSnapshots:  smb2.StatusNotSupported,
		smb2.FsctlLMRRequestResiliency:   smb2.StatusNotSupported,
		smb2.FsctlSrvReadHash:            smb2.StatusHashNotSupported,
		smb2.FsctlOffloadRead:            smb2.StatusOffloadReadNotSupported,
		smb2.FsctlOffloadWrite:           smb2.StatusOffloadWriteNotSupported,
		smb2.FsctlGetReparsePoint:        smb2.StatusNotAReparsePoint,
		smb2.FsctlSetReparsePoint:        smb2.StatusInvalidDeviceRequest,
		smb2.FsctlCreateOrGetObjectID:    smb2.StatusInvalidDeviceRequest,
		smb2.FsctlGetCompression:         smb2.StatusInvalidDeviceRequest,
		smb2.FsctlSetCompression:         smb2.StatusInvalidDeviceRequest,
		smb2.FsctlFileLevelTrim:          smb2.StatusInvalidDeviceRequest,
		smb2.FsctlDuplicateExtents:       smb2.StatusInvalidDeviceRequest,
		0x12345678:                       smb2.StatusInvalidDeviceRequest,
	} {
		_, err := r.ioctl(id, code, nil, 1024)
		assert.Equal(t, want, status(t, err), "%s", code)
	}
	_, err := r.ioctl(smb2.FileIDAny(), smb2.FsctlSetSparse, nil, 0)
	assert.Equal(t, smb2.StatusFileClosed, status(t, err))
	for why, c := range map[string]struct {
		command smb2.Command
		body    smbclient.Appender
		want    smb2.Status
	}{
		"lock": {smb2.CommandLock, smb2.LockRequest{
			FileID: id, Locks: []smb2.LockElement{{Length: 1, Flags: smb2.LockExclusive | smb2.LockFailImmediately}},
		}, smb2.StatusNotSupported},
		"unlock":          {smb2.CommandLock, smb2.LockRequest{FileID: id, Locks: []smb2.LockElement{{Length: 1, Flags: smb2.LockUnlock}}}, smb2.StatusNotSupported},
		"lock nothing":    {smb2.CommandLock, smb2.LockRequest{FileID: id}, smb2.StatusInvalidParameter},
		"notify":          {smb2.CommandChangeNotify, smb2.ChangeNotifyRequest{FileID: dir, OutputBufferLength: 1000, CompletionFilter: 1}, smb2.StatusNotSupported},
		"notify a file":   {smb2.CommandChangeNotify, smb2.ChangeNotifyRequest{FileID: id, OutputBufferLength: 1000, CompletionFilter: 1}, smb2.StatusInvalidParameter},
		"oplock ack":      {smb2.CommandOplockBreak, smb2.OplockBreak{FileID: id}, smb2.StatusInvalidOplockProtocol},
		"bad oplock ack":  {smb2.CommandOplockBreak, smb2.OplockBreak{FileID: id, Level: smb2.OplockBatch}, smb2.StatusInvalidParameter},
		"oplock of none":  {smb2.CommandOplockBreak, smb2.OplockBreak{FileID: smb2.FileID{Volatile: 99}}, smb2.StatusFileClosed},
		"lease ack":       {smb2.CommandOplockBreak, smb2.LeaseBreakAck{}, smb2.StatusObjectNameNotFound},
		"ioctl, no fsctl": {smb2.CommandIoctl, smb2.IoctlRequest{Code: smb2.FsctlSetSparse, FileID: id}, smb2.StatusNotSupported},
		"ioctl, too much": {smb2.CommandIoctl, smb2.IoctlRequest{
			Code: smb2.FsctlSetSparse, FileID: id, MaxOutputResponse: 8<<20 + 1, Flags: smb2.IoctlIsFsctl,
		}, smb2.StatusInvalidParameter},
	} {
		_, err := r.send(c.command, c.body)
		assert.Equal(t, c.want, status(t, err), why)
	}
	r.mustClose(id)
	r.mustClose(dir)
}

// recorder keeps what a client writes first: its NEGOTIATE.
type recorder struct {
	net.Conn
	first []byte
}

func (c *recorder) Write(p []byte) (int, error) {
	if c.first == nil {
		c.first = bytes.Clone(p)
	}
	return c.Conn.Write(p)
}

func TestValidateNegotiate(t *testing.T) {
	f := start(t)
	for _, c := range []struct {
		why    string
		change func(q *smb2.ValidateNegotiateRequest)
		agrees bool
	}{
		{"as it was", func(*smb2.ValidateNegotiateRequest) {}, true},
		{"other capabilities", func(q *smb2.ValidateNegotiateRequest) { q.Capabilities ^= 1 }, false},
		{"another client", func(q *smb2.ValidateNegotiateRequest) { q.GUID[3]++ }, false},
		{"another security mode", func(q *smb2.ValidateNegotiateRequest) { q.SecurityMode = 0 }, false},
		{"a dialect more", func(q *smb2.ValidateNegotiateRequest) { q.Dialects = append(q.Dialects, smb2.Dialect311) }, false},
		{"no dialects", func(q *smb2.ValidateNegotiateRequest) { q.Dialects = nil }, false},
	} {
		for _, dialect := range []smb2.Dialect{smb2.Dialect210, smb2.Dialect300, smb2.Dialect302} {
			for _, sign := range []bool{false, true} {
				conn := &recorder{Conn: f.dial()}
				client, err := smbclient.Dial(t.Context(), conn, smbclient.Config{
					User: userName, Password: password, Dialects: []smb2.Dialect{dialect}, Sign: sign,
				})
				require.NoError(t, err)
				said, err := smb2.ParseNegotiateRequest(conn.first[smb2.FrameLen:])
				require.NoError(t, err)
				q := smb2.ValidateNegotiateRequest{
					Capabilities: said.Capabilities, GUID: said.ClientGUID, SecurityMode: said.SecurityMode, Dialects: said.Dialects,
				}
				c.change(&q)
				validate(t, client, q, c.agrees)
				require.NoError(t, client.Close())
			}
		}
	}
	client := f.client(dialects(smb2.Dialect311))
	validate(t, client, smb2.ValidateNegotiateRequest{}, false) // 3.1.1 has no such question
}

// validate asks, and demands a signed answer that says what NEGOTIATE said, or that the connection ends without one.
func validate(t *testing.T, c *smbclient.Client, q smb2.ValidateNegotiateRequest, agrees bool) {
	t.Helper()
	tree, err := c.TreeConnect(t.Context(), shareName)
	require.NoError(t, err)
	answer, err := c.RoundTrip(t.Context(), smbclient.Request{
		Command: smb2.CommandIoctl, TreeID: tree.ID(), Body: smb2.IoctlRequest{
			Code: smb2.FsctlValidateNegotiateInfo, FileID: smb2.FileIDAny(), Input: q.Append(nil), MaxOutputResponse: 24, Flags: smb2.IoctlIsFsctl,
		},
	})
	if !agrees {
		var s smb2.Status
		require.Error(t, err)
		require.NotErrorAs(t, err, &s, "the connection ends without an answer")
		require.Error(t, c.Echo(t.Context()))
		return
	}
	require.NoError(t, err)
	assert.True(t, answer.Header.Flags.Has(smb2.FlagSigned), "the signature is the proof")
	resp, err := smb2.ParseIoctlResponse(answer.Msg)
	require.NoError(t, err)
	got, err := smb2.ParseValidateNegotiateResponse(resp.Output)
	require.NoError(t, err)
	n := c.Negotiated()
	assert.Equal(t, smb2.ValidateNegotiateResponse{
		Capabilities: n.Capabilities, GUID: n.ServerGUID, SecurityMode: n.SecurityMode, Dialect: n.Dialect,
	}, got)
}

// pipeRoom is a client's end of srvsvc.
func pipeRoom(t *testing.T) (*room, smb2.FileID) {
	t.Helper()
	f := start(t)
	c := f.client()
	tree, err := c.TreeConnect(t.Context(), "IPC$")
	require.NoError(t, err)
	r := &room{f, c, tree}
	return r, r.mustCreate(req("srvsvc", smb2.FileOpen)).FileID
}

func bindPDU() []byte {
	return dcerpc.Bind{
		CallID: 1, MaxXmit: 4280, MaxRecv: 4280,
		Contexts: []dcerpc.PresentationContext{{ID: 3, Abstract: dcerpc.SrvsvcSyntax(), Transfer: []dcerpc.SyntaxID{dcerpc.NDRSyntax()}}},
	}.Append(nil)
}

func callPDU(op uint16, stub []byte) []byte {
	return dcerpc.Request{CallID: 2, Flags: dcerpc.FlagFirstFrag | dcerpc.FlagLastFrag, ContextID: 3, OpNum: op, Stub: stub}.Append(nil)
}

func TestPipeByTransceive(t *testing.T) {
	r, id := pipeRoom(t)
	out, err := r.ioctl(id, smb2.FsctlPipeTransceive, bindPDU(), 4280)
	require.NoError(t, err)
	ack, err := dcerpc.ParseBindAck(out)
	require.NoError(t, err)
	require.Len(t, ack.Results, 1)
	assert.Equal(t, dcerpc.ResultAcceptance, ack.Results[0].Result)
	out, err = r.ioctl(id, smb2.FsctlPipeTransceive, callPDU(dcerpc.OpNetShareEnumAll, dcerpc.NetShareEnumAllRequest{Level: 1}.Append(nil)), 4280)
	require.NoError(t, err)
	answer, err := dcerpc.ParseResponse(out)
	require.NoError(t, err)
	shares, err := dcerpc.ParseNetShareEnumAllResponse(answer.Stub)
	require.NoError(t, err)
	assert.Equal(t, []dcerpc.ShareInfo{
		{Name: "IPC$", Type: dcerpc.ShareTypeIPC | dcerpc.ShareTypeSpecial, Comment: "IPC Service"}, {Name: shareName, Type: dcerpc.ShareTypeDisk},
	}, shares.Shares)
	for _, c := range []struct {
		name   string
		level  uint32
		status uint32
	}{{shareName, 1, dcerpc.ErrorSuccess}, {"DATA", 1005, dcerpc.ErrorSuccess}, {"missing", 1, dcerpc.ErrorNetNameNotFound}, {shareName, 502, dcerpc.ErrorInvalidLevel}} {
		out, err := r.ioctl(id, smb2.FsctlPipeTransceive, callPDU(dcerpc.OpNetShareGetInfo, dcerpc.NetShareGetInfoRequest{NetName: c.name, Level: c.level}.Append(nil)), 4280)
		require.NoError(t, err)
		answer, err := dcerpc.ParseResponse(out)
		require.NoError(t, err)
		info, err := dcerpc.ParseNetShareGetInfoResponse(answer.Stub)
		require.NoError(t, err)
		assert.Equal(t, c.status, info.Status, "%s at %d", c.name, c.level)
	}
	out, err = r.ioctl(id, smb2.FsctlPipeTransceive, callPDU(99, nil), 4280)
	require.NoError(t, err)
	fault, err := dcerpc.ParseFault(out)
	require.NoError(t, err)
	assert.Equal(t, dcerpc.FaultOpRangeError, fault.Status)
	out, err = r.ioctl(id, smb2.FsctlPipeTransceive, callPDU(dcerpc.OpNetShareEnumAll, []byte{1}), 4280)
	require.NoError(t, err)
	fault, err = dcerpc.ParseFault(out)
	require.NoError(t, err)
	assert.Equal(t, dcerpc.FaultBadStubData, fault.Status)
	r.mustClose(id)
}

// Some clients write a request and read its answer, in pieces if they like.
func TestPipeByWriteAndRead(t *testing.T) {
	r, id := pipeRoom(t)
	read := func(n uint32) ([]byte, smb2.Status) {
		answer, err := r.send(smb2.CommandRead, smb2.ReadRequest{FileID: id, Length: n})
		s := status(t, err)
		if s != smb2.StatusSuccess && s != smb2.StatusBufferOverflow {
			return nil, s
		}
		resp, err := smb2.ParseReadResponse(answer.Msg)
		require.NoError(t, err)
		return resp.Data, s
	}
	write := func(b []byte) {
		_, err := r.send(smb2.CommandWrite, smb2.WriteRequest{FileID: id, Data: b})
		require.NoError(t, err)
	}
	_, s := read(100)
	assert.Equal(t, smb2.Status(0xC00000D9), s, "nothing to read")
	bind := bindPDU()
	write(bind[:20])
	_, s = read(100)
	assert.Equal(t, smb2.Status(0xC00000D9), s, "the request is not whole")
	write(bind[20:])
	first, s := read(10)
	assert.Equal(t, smb2.StatusBufferOverflow, s)
	rest, s := read(4280)
	assert.Equal(t, smb2.StatusSuccess, s)
	ack, err := dcerpc.ParseBindAck(append(first, rest...))
	require.NoError(t, err)
	assert.Equal(t, dcerpc.ResultAcceptance, ack.Results[0].Result)
	write(append(callPDU(99, nil), callPDU(98, nil)...))
	for range 2 {
		out, s := read(4280)
		require.Equal(t, smb2.StatusSuccess, s)
		_, err := dcerpc.ParseFault(out)
		require.NoError(t, err)
	}
	std, err := fscc.ParseStandardInfo(r.mustQuery(id, fscc.ClassStandard))
	require.NoError(t, err)
	assert.EqualValues(t, 1, std.NumberOfLinks)
	_, err = r.query(id, smb2.InfoFile, uint8(fscc.ClassAll), 1000)
	assert.Equal(t, smb2.StatusInvalidInfoClass, status(t, err))
	r.mustClose(id)
}

func TestPipeRefuses(t *testing.T) {
	r, id := pipeRoom(t)
	for _, name := range []string{"", "lsarpc", "wkssvc", `srvsvc\x`, "nothing"} {
		assert.Equal(t, smb2.StatusObjectNameNotFound, r.try(req(name, smb2.FileOpen)), "%q", name)
	}
	for _, name := range []string{`PIPE\srvsvc`, "SRVSVC", `\srvsvc`} {
		assert.Equal(t, smb2.StatusSuccess, r.try(req(name, smb2.FileOpen)), "%q", name)
	}
	_, err := r.ioctl(id, smb2.FsctlPipeTransceive, callPDU(dcerpc.OpNetShareEnumAll, nil), 1000)
	require.NoError(t, err, "a call before the bind gets a fault")
	_, err = r.ioctl(id, smb2.FsctlPipeTransceive, []byte("this is not an RPC PDU at all, whatever it says"), 1000)
	require.Error(t, err)
	r.mustClose(id)

	id = r.mustCreate(req("srvsvc", smb2.FileOpen)).FileID
	for i := range 100 { // a client that never reads
		_, err = r.send(smb2.CommandWrite, smb2.WriteRequest{FileID: id, Data: bindPDU()})
		if err != nil {
			assert.Equal(t, smb2.StatusInsufficientResources, status(t, err))
			assert.Greater(t, i, 10)
			break
		}
	}
	require.Error(t, err, "answers are not kept without bound")
	r.mustClose(id)
	_, err = r.ioctl(smb2.FileIDAny(), smb2.FsctlDFSGetReferrals, smb2.DFSReferralRequest{MaxReferralLevel: 4, Path: `\server\data`}.Append(nil), 4096)
	assert.Equal(t, smb2.StatusNotFound, status(t, err))
}
