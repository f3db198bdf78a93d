package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// handleClose handles CLOSE, [MS-SMB2] 3.3.5.10. It answers when the file is closed: after the other requests that use it, and
// after a delete on close, whose failure it reports.
func handleClose(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseCloseRequest(r.msg)
	if err != nil {
		return nil, err
	}
	o := r.file
	var answer smb2.CloseResponse
	if q.Flags&smb2.ClosePostQueryAttrib != 0 && o.file != nil {
		// A failure leaves the attributes out: the handle is to be closed whatever the file system says about it.
		if a, err := o.file.Attr(ctx); err == nil {
			answer = smb2.CloseResponse{
				Flags:        smb2.ClosePostQueryAttrib,
				CreationTime: fscc.NewFiletime(a.Created), LastAccessTime: fscc.NewFiletime(a.Accessed),
				LastWriteTime: fscc.NewFiletime(a.Written), ChangeTime: fscc.NewFiletime(a.Changed),
				AllocationSize: a.Allocation, EndOfFile: a.Size, FileAttributes: a.Attributes,
			}
		}
	}
	r.file = nil
	first := o.retire(ctx)
	o.release(ctx)
	if !first {
		return nil, smb2.StatusFileClosed
	}
	if err := o.wait(); err != nil {
		return nil, err
	}
	return answer, nil
}
