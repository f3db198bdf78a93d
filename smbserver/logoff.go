package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleLogoff handles LOGOFF, [MS-SMB2] 3.3.5.6. Files that another request still uses are closed when that ends.
func handleLogoff(ctx context.Context, r *request) (reply, error) {
	if _, err := smb2.ParseLogoffRequest(r.msg); err != nil {
		return nil, err
	}
	delete(r.conn.sessions, r.sess.id)
	r.sess.end(ctx)
	return smb2.LogoffResponse{}, nil
}
