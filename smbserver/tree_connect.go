package smbserver

import (
	"context"
	"strings"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleTreeConnect handles TREE_CONNECT, [MS-SMB2] 3.3.5.7. That 3.1.1 demands a signature was checked by the dispatcher.
func handleTreeConnect(_ context.Context, r *request) (reply, error) {
	q, err := smb2.ParseTreeConnectRequest(r.msg)
	if err != nil {
		return nil, err
	}
	name, ok := shareOfUNC(q.Path)
	if !ok {
		return nil, smb2.StatusBadNetworkName
	}
	e := r.conn.srv.exports[strings.ToUpper(name)]
	if e == nil {
		return nil, smb2.StatusBadNetworkName
	}
	t, err := r.sess.addTree(e)
	if err != nil {
		return nil, err
	}
	r.tree = t
	r.hdr.TreeID = t.id
	answer := smb2.TreeConnectResponse{ShareType: smb2.ShareDisk, ShareFlags: smb2.ShareFlagManualCaching, MaximalAccess: t.access()}
	if e.ipc() {
		answer.ShareType, answer.ShareFlags = smb2.SharePipe, smb2.ShareFlagNoCaching
	}
	return answer, nil
}
