package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleTreeDisconnect handles TREE_DISCONNECT, [MS-SMB2] 3.3.5.8. Files that another request still uses are closed when
// that ends.
func handleTreeDisconnect(ctx context.Context, r *request) (reply, error) {
	if _, err := smb2.ParseTreeDisconnectRequest(r.msg); err != nil {
		return nil, err
	}
	r.sess.endTree(ctx, r.tree)
	return smb2.TreeDisconnectResponse{}, nil
}
