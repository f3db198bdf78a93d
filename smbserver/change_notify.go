package smbserver

import (
	"context"
	"fmt"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleChangeNotify refuses CHANGE_NOTIFY, [MS-SMB2] 3.3.5.19: the section has NOT_SUPPORTED for an object store that does not
// report changes. (NOT_IMPLEMENTED, which other servers give, makes macOS hang at unmount.)
func handleChangeNotify(_ context.Context, r *request) (reply, error) {
	q, err := smb2.ParseChangeNotifyRequest(r.msg)
	switch {
	case err != nil:
		return nil, err
	case q.OutputBufferLength > r.conn.neg.maxTransact:
		return nil, fmt.Errorf("%w: CHANGE_NOTIFY of %d bytes", smb2.ErrMalformed, q.OutputBufferLength)
	case !r.file.directory:
		return nil, smb2.StatusInvalidParameter
	case !r.file.access.Has(smb2.FileListDirectory):
		return nil, smb2.StatusAccessDenied
	}
	return nil, smb2.StatusNotSupported
}
