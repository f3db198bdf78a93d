package smbserver

import (
	"context"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleLock refuses LOCK, [MS-SMB2] 3.3.5.14: byte-range locks are not kept, and a lock that excludes nobody must not be
// granted. What is malformed is said first, so that a client does not take a mistake of its own for the missing feature.
func handleLock(_ context.Context, r *request) (reply, error) {
	q, err := smb2.ParseLockRequest(r.msg)
	if err != nil {
		return nil, err
	}
	if len(q.Locks) == 0 {
		return nil, smb2.StatusInvalidParameter
	}
	return nil, smb2.StatusNotSupported
}
