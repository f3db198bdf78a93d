package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleEcho handles ECHO, [MS-SMB2] 3.3.5.17. It needs no session.
func handleEcho(_ context.Context, r *request) (reply, error) {
	if _, err := smb2.ParseEchoRequest(r.msg); err != nil {
		return nil, err
	}
	return smb2.EchoResponse{}, nil
}
