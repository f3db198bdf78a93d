package smbserver

import (
	"context"
	"fmt"
	"math"

	"github.com/uringfs/uringfs/internal/smb2"
)

// handleWrite handles WRITE, [MS-SMB2] 3.3.5.13. The data is in memory of ours, whole and with its signature checked, before
// the file sees any of it. SMB2_WRITEFLAG_WRITE_UNBUFFERED, and an open with FILE_NO_INTERMEDIATE_BUFFERING, are passed on
// as hints.
func handleWrite(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseWriteRequest(r.msg)
	if err != nil {
		return nil, err
	}
	o, neg := r.file, &r.conn.neg
	switch {
	case len(q.Data) > int(neg.maxWrite):
		return nil, fmt.Errorf("%w: WRITE of %d bytes", smb2.ErrMalformed, len(q.Data))
	case neg.dialect >= Dialect300 && q.Channel != 0, len(q.ChannelInfo) > 0: // RDMA
		return nil, fmt.Errorf("%w: WRITE on channel %d", smb2.ErrMalformed, q.Channel)
	case o.directory:
		return nil, smb2.StatusInvalidDeviceRequest
	case !o.access.HasAny(smb2.FileWriteData | smb2.FileAppendData):
		return nil, smb2.StatusAccessDenied
	case o.pipe != nil:
		if err := o.pipe.write(ctx, q.Data); err != nil {
			return nil, err
		}
		return smb2.WriteResponse{Count: uint32(len(q.Data))}, nil
	}
	// A handle that may only append cannot overwrite, wherever it aims. The offset -1, by which local programs append
	// ([MS-FSA] 2.1.5.4), is refused like every negative one: Windows does so over SMB.
	options := WriteOptions{Append: !o.access.Has(smb2.FileWriteData)}
	options.Through = q.Flags&smb2.WriteThrough != 0 && neg.dialect > Dialect202 || o.options&smb2.FileWriteThrough != 0
	options.Uncached = q.Flags&smb2.WriteUnbuffered != 0 && neg.dialect >= Dialect302 || o.uncached()
	if q.Offset > math.MaxInt64-uint64(len(q.Data)) {
		return nil, fmt.Errorf("%w: WRITE at %d", smb2.ErrMalformed, q.Offset)
	}
	off := int64(q.Offset)
	if len(q.Data) == 0 {
		return smb2.WriteResponse{}, nil
	}
	n, err := o.file.WriteAt(ctx, q.Data, off, options)
	if err != nil {
		return nil, err
	}
	o.position.Store(off + int64(n))
	return smb2.WriteResponse{Count: uint32(n)}, nil
}
