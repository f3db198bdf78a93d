package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleOplockBreak answers acknowledgments of breaks that were never sent: no oplock and no lease is granted, so there is
// none with that id (3.3.5.22.2: OBJECT_NAME_NOT_FOUND for an unknown lease) and none that is breaking (3.3.5.22.1:
// INVALID_OPLOCK_PROTOCOL for an open without an oplock).
func handleOplockBreak(_ context.Context, r *request) (reply, error) {
	if smb2.IsLeaseBreak(r.msg) {
		if _, err := smb2.ParseLeaseBreakAck(r.msg); err != nil {
			return nil, err
		}
		return nil, smb2.StatusObjectNameNotFound
	}
	q, err := smb2.ParseOplockBreak(r.msg)
	if err != nil {
		return nil, err
	}
	if q.Level > smb2.OplockLevelII {
		return nil, smb2.StatusInvalidParameter
	}
	o, ok := r.sess.findOpen(r.tree, q.FileID)
	if !ok {
		return nil, smb2.StatusFileClosed
	}
	r.file = o // the dispatcher drops the reference
	return nil, smb2.StatusInvalidOplockProtocol
}
