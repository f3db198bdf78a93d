package smbserver

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/uringfs/uringfs/internal/dcerpc"
	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

const (
	statusPipeEmpty smb2.Status = 0xC00000D9 // STATUS_PIPE_EMPTY

	// pipeQuota bounds one PDU either way, and what may wait in a pipe unread.
	pipeQuota = 64 << 10
	// pipeFragment is the largest fragment sent unless the client wants smaller ones; smbd and Windows use it too.
	pipeFragment = 4280
	// pipeFragmentMin is what every RPC implementation must take, [C706] 12.6.3.1.
	pipeFragmentMin = 1432
	// pipeAnswers bounds the answers of a client that only writes.
	pipeAnswers     = 64
	pipeMessageMode = 1 // FILE_PIPE_MESSAGE_MODE
	responseHead    = 24
)

// pipeName returns the name of a pipe as IPC$ knows it: clients write `srvsvc`, `\srvsvc` and `PIPE\srvsvc`.
func pipeName(wire string) string {
	name := strings.ToLower(strings.TrimPrefix(wire, `\`))
	return strings.TrimPrefix(name, `pipe\`)
}

// createPipe opens a named pipe. There is one, srvsvc; any other name is OBJECT_NAME_NOT_FOUND, [MS-SMB2] 3.3.5.9.
func createPipe(r *request, req smb2.CreateRequest) (reply, error) {
	switch {
	case req.Impersonation > smb2.ImpersonationDelegate:
		return nil, statusBadImpersonationLevel
	case req.DesiredAccess == 0, req.DesiredAccess.HasAny(accessReserved | smb2.AccessSystemSecurity):
		return nil, smb2.StatusAccessDenied
	case pipeName(req.Name) != "srvsvc":
		return nil, smb2.StatusObjectNameNotFound
	}
	access := req.DesiredAccess.Expand() &^ smb2.MaximumAllowed
	if req.DesiredAccess.Has(smb2.MaximumAllowed) {
		access |= smb2.FileAllAccess
	}
	o := &open{
		pipe: newSrvsvc(r.conn.srv), access: access, share: req.ShareAccess, options: req.Options, action: smb2.ActionOpened,
	}
	if err := r.sess.addOpen(r.tree, o); err != nil {
		o.pipe.close()
		return nil, err
	}
	r.file = o
	return smb2.CreateResponse{
		Oplock: smb2.OplockNone, Action: smb2.ActionOpened, FileID: o.id, AllocationSize: pipeQuota, FileAttributes: fscc.AttrNormal,
	}, nil
}

// srvsvc is the server's end of the pipe of that name: it answers the calls by which clients list shares, [MS-SRVS], and
// a fault for every other.
type srvsvc struct {
	srv *Server

	mu sync.Mutex
	// Guarded by mu.
	in       []byte          // +checklocks:mu a PDU that has not arrived whole
	out      [][]byte        // +checklocks:mu answers, oldest first; the rest of the first if it was read in part
	bound    map[uint16]bool // +checklocks:mu presentation contexts accepted
	fragment int             // +checklocks:mu longest PDU the client takes
}

func newSrvsvc(s *Server) *srvsvc {
	return &srvsvc{srv: s, bound: make(map[uint16]bool), fragment: pipeFragment}
}

func (p *srvsvc) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in, p.out = nil, nil
}

// read implements pipeEnd.
func (p *srvsvc) read(_ context.Context, buf []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.out) == 0 {
		return 0, statusPipeEmpty
	}
	n := copy(buf, p.out[0])
	if n < len(p.out[0]) {
		p.out[0] = p.out[0][n:]
		return n, smb2.StatusBufferOverflow
	}
	p.out = p.out[1:]
	return n, nil
}

// write implements pipeEnd. It answers every PDU that is whole by now.
func (p *srvsvc) write(_ context.Context, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.in)+len(b) > pipeQuota {
		return smb2.StatusInsufficientResources
	}
	p.in = append(p.in, b...)
	for len(p.in) >= dcerpc.HeaderLen {
		// FragLength, at a fixed place in every PDU, says whether the whole of it is here.
		if want := int(p.in[8]) | int(p.in[9])<<8; want > len(p.in) {
			return nil
		}
		h, err := dcerpc.ParseHeader(p.in)
		if err != nil {
			p.in = nil
			return smb2.StatusPipeDisconnected
		}
		pdu := p.in[:h.FragLength]
		if len(p.out) >= pipeAnswers {
			return smb2.StatusInsufficientResources
		}
		if err := p.answerLocked(h, pdu); err != nil {
			p.in = nil
			return err
		}
		p.in = p.in[h.FragLength:]
	}
	if len(p.in) == 0 {
		p.in = nil
	}
	return nil
}

// +checklocks:p.mu
func (p *srvsvc) answerLocked(h dcerpc.Header, pdu []byte) error {
	switch h.Type {
	case dcerpc.TypeBind, dcerpc.TypeAlterCtx:
		q, err := dcerpc.ParseBind(pdu)
		if err != nil {
			return smb2.StatusPipeDisconnected
		}
		p.bindLocked(q)
		return nil
	case dcerpc.TypeRequest:
		q, err := dcerpc.ParseRequest(pdu)
		switch {
		case err != nil, !h.IsWhole(): // no call here needs more than one fragment
			p.faultLocked(h.CallID, 0, dcerpc.FaultProtocolError)
		case !p.bound[q.ContextID]:
			p.faultLocked(h.CallID, q.ContextID, dcerpc.FaultInvalidContext)
		default:
			p.callLocked(q)
		}
		return nil
	default:
		return smb2.StatusPipeDisconnected
	}
}

// bindLocked accepts the contexts that are srvsvc over NDR.
//
// +checklocks:p.mu
func (p *srvsvc) bindLocked(q dcerpc.Bind) {
	ack := dcerpc.BindAck{
		Alter: q.Alter, CallID: q.CallID, MaxXmit: pipeFragment, MaxRecv: pipeFragment, AssocID: cmp.Or(q.AssocID, 1),
		SecondaryAddr: `\PIPE\srvsvc`,
	}
	for _, c := range q.Contexts {
		var result dcerpc.ContextResult
		switch {
		case c.Abstract != dcerpc.SrvsvcSyntax():
			result = dcerpc.ContextResult{Result: dcerpc.ResultProviderRejection, Reason: dcerpc.ReasonAbstractSyntax}
		case !slices.Contains(c.Transfer, dcerpc.NDRSyntax()):
			result = dcerpc.ContextResult{Result: dcerpc.ResultProviderRejection, Reason: dcerpc.ReasonTransferSyntax}
		default:
			result = dcerpc.ContextResult{Result: dcerpc.ResultAcceptance, Transfer: dcerpc.NDRSyntax()}
			p.bound[c.ID] = true
		}
		ack.Results = append(ack.Results, result)
	}
	p.fragment = min(max(int(q.MaxRecv), pipeFragmentMin), pipeFragment)
	p.out = append(p.out, ack.Append(nil))
}

// +checklocks:p.mu
func (p *srvsvc) faultLocked(callID uint32, contextID uint16, status uint32) {
	p.out = append(p.out, dcerpc.Fault{
		CallID: callID, Flags: dcerpc.FlagFirstFrag | dcerpc.FlagLastFrag, ContextID: contextID, Status: status,
	}.Append(nil))
}

// callLocked runs one call and queues its answer, in as many fragments as the client needs.
//
// +checklocks:p.mu
func (p *srvsvc) callLocked(q dcerpc.Request) {
	var stub []byte
	switch q.OpNum {
	case dcerpc.OpNetShareEnumAll:
		in, err := dcerpc.ParseNetShareEnumAllRequest(q.Stub)
		if err != nil {
			p.faultLocked(q.CallID, q.ContextID, dcerpc.FaultBadStubData)
			return
		}
		stub = p.srv.shareEnum(in).Append(nil)
	case dcerpc.OpNetShareGetInfo:
		in, err := dcerpc.ParseNetShareGetInfoRequest(q.Stub)
		if err != nil {
			p.faultLocked(q.CallID, q.ContextID, dcerpc.FaultBadStubData)
			return
		}
		stub = p.srv.shareInfo(in).Append(nil)
	default:
		p.faultLocked(q.CallID, q.ContextID, dcerpc.FaultOpRangeError)
		return
	}
	flags := dcerpc.FlagFirstFrag
	for {
		part := stub[:min(len(stub), p.fragment-responseHead)]
		stub = stub[len(part):]
		if len(stub) == 0 {
			flags |= dcerpc.FlagLastFrag
		}
		p.out = append(p.out, dcerpc.Response{
			CallID: q.CallID, Flags: flags, ContextID: q.ContextID, AllocHint: uint32(len(part) + len(stub)), Stub: part,
		}.Append(nil))
		if len(stub) == 0 {
			return
		}
		flags = 0
	}
}

// shareList is every share, IPC$ included, by name.
func (s *Server) shareList() []dcerpc.ShareInfo {
	list := make([]dcerpc.ShareInfo, 0, len(s.exports))
	for _, e := range s.exports {
		list = append(list, shareInfoOf(e))
	}
	slices.SortFunc(list, func(a, b dcerpc.ShareInfo) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func shareInfoOf(e *export) dcerpc.ShareInfo {
	if e.ipc() {
		return dcerpc.ShareInfo{Name: e.name, Type: dcerpc.ShareTypeIPC | dcerpc.ShareTypeSpecial, Comment: "IPC Service"}
	}
	return dcerpc.ShareInfo{Name: e.name, Type: dcerpc.ShareTypeDisk}
}

// shareEnum is NetrShareEnum, [MS-SRVS] 3.1.4.8, at levels 0 and 1.
func (s *Server) shareEnum(q dcerpc.NetShareEnumAllRequest) dcerpc.NetShareEnumAllResponse {
	if q.Level > 1 {
		return dcerpc.NetShareEnumAllResponse{Level: q.Level, Status: dcerpc.ErrorInvalidLevel}
	}
	list := s.shareList()
	return dcerpc.NetShareEnumAllResponse{
		Level: q.Level, Shares: list, Total: uint32(len(list)), HasResume: q.HasResume,
	}
}

// shareInfo is NetrShareGetInfo, [MS-SRVS] 3.1.4.10, at levels 0, 1 and 1005 (whose flags are all 0 here).
func (s *Server) shareInfo(q dcerpc.NetShareGetInfoRequest) dcerpc.NetShareGetInfoResponse {
	out := dcerpc.NetShareGetInfoResponse{Level: q.Level}
	e := s.exports[strings.ToUpper(q.NetName)]
	switch {
	case e == nil:
		out.Status = dcerpc.ErrorNetNameNotFound
	case q.Level > 1 && q.Level != 1005:
		out.Status = dcerpc.ErrorInvalidLevel
	default:
		out.Found, out.Share = true, shareInfoOf(e)
		if q.Level == 1005 {
			out.Share = dcerpc.ShareInfo{}
		}
	}
	return out
}
