package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleFlush handles FLUSH, [MS-SMB2] 3.3.5.11. It runs beside the reader: a sync can take seconds.
func handleFlush(ctx context.Context, r *request) (reply, error) {
	if _, err := smb2.ParseFlushRequest(r.msg); err != nil {
		return nil, err
	}
	o := r.file
	if o.pipe != nil {
		return smb2.FlushResponse{}, nil // what was written has been read already
	}
	if !o.access.HasAny(smb2.FileWriteData | smb2.FileAppendData) {
		return nil, smb2.StatusAccessDenied
	}
	if err := o.file.Sync(ctx); err != nil {
		return nil, err
	}
	return smb2.FlushResponse{}, nil
}
