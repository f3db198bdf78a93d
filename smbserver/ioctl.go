package smbserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// handleIoctl handles IOCTL, [MS-SMB2] 3.3.5.15. Only control codes of 2.2.31 can be asked; a code that is not here is
// INVALID_DEVICE_REQUEST, which 3.3.5.15 names for it.
func handleIoctl(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseIoctlRequest(r.msg)
	if err != nil {
		return nil, err
	}
	limit := uint64(r.conn.neg.maxTransact)
	switch {
	case q.Flags != smb2.IoctlIsFsctl:
		return nil, smb2.StatusNotSupported
	case uint64(q.MaxInputResponse)+uint64(q.MaxOutputResponse) > limit,
		uint64(len(q.Input))+uint64(len(q.Output)) > limit:
		return nil, fmt.Errorf("%w: IOCTL of %d+%d bytes", smb2.ErrMalformed, q.MaxInputResponse, q.MaxOutputResponse)
	}
	var output []byte
	switch q.Code { // of the connection or the tree: FileId is not used
	case smb2.FsctlValidateNegotiateInfo:
		output, err = validateNegotiate(r, q)
	case smb2.FsctlDFSGetReferrals, smb2.FsctlDFSGetReferralsEx:
		err = smb2.StatusNotFound // no DFS name space: 3.3.5.15.2, and what smbd says
	case smb2.FsctlQueryNetworkInterfaces:
		err = smb2.StatusNotSupported // no multichannel: 3.3.5.15.11
	case smb2.FsctlPipeWait:
		err = smb2.StatusNotSupported
	default:
		output, err = fileControl(ctx, r, q)
	}
	if err != nil && output == nil {
		return nil, err
	}
	return smb2.IoctlResponse{Code: q.Code, FileID: q.FileID, Output: output}, err
}

// fileControl handles the codes that act on an open.
func fileControl(ctx context.Context, r *request, q smb2.IoctlRequest) ([]byte, error) {
	o := r.file
	switch {
	case o == nil:
		return nil, smb2.StatusFileClosed
	case q.Code == smb2.FsctlPipeTransceive && o.pipe != nil:
		return transceive(ctx, o.pipe, q)
	case o.pipe != nil, q.Code == smb2.FsctlPipeTransceive:
		return nil, smb2.StatusInvalidDeviceRequest
	}
	switch q.Code {
	case smb2.FsctlSetSparse:
		return nil, setSparse(ctx, o, q)
	case smb2.FsctlSetZeroData:
		return nil, setZeroData(ctx, o, q)
	case smb2.FsctlQueryAllocatedRanges:
		return allocatedRanges(ctx, o, q)
	case smb2.FsctlGetReparsePoint:
		return nil, refuseReparsePoint(ctx, o)
	case smb2.FsctlSrvEnumerateSnapshots, smb2.FsctlSrvRequestResumeKey, smb2.FsctlSrvCopychunk, smb2.FsctlSrvCopychunkWrite,
		smb2.FsctlLMRRequestResiliency:
		return nil, smb2.StatusNotSupported
	case smb2.FsctlSrvReadHash:
		return nil, smb2.StatusHashNotSupported // 3.3.5.15.7
	case smb2.FsctlOffloadRead:
		return nil, smb2.StatusOffloadReadNotSupported
	case smb2.FsctlOffloadWrite:
		return nil, smb2.StatusOffloadWriteNotSupported
	default:
		return nil, smb2.StatusInvalidDeviceRequest
	}
}

// refuseReparsePoint: a link that is open itself is a reparse point, but what it holds is not told. Any other file is none.
func refuseReparsePoint(ctx context.Context, o *open) error {
	a, err := o.file.Attr(ctx)
	switch {
	case err != nil:
		return err
	case a.Symlink:
		return smb2.StatusNotSupported
	}
	return smb2.StatusNotAReparsePoint
}

// validateNegotiate proves to a client that nobody changed its NEGOTIATE, 3.3.5.15.12. What does not agree ends the
// connection without an answer; so does the question in 3.1.1, where preauthentication integrity has answered it.
func validateNegotiate(r *request, q smb2.IoctlRequest) ([]byte, error) {
	neg := &r.conn.neg
	if neg.dialect == Dialect311 {
		return nil, &connError{"VALIDATE_NEGOTIATE_INFO in 3.1.1", nil}
	}
	v, err := smb2.ParseValidateNegotiateRequest(q.Input)
	if err != nil {
		return nil, &connError{"bad VALIDATE_NEGOTIATE_INFO", err}
	}
	out := smb2.ValidateNegotiateResponse{
		Capabilities: neg.caps, GUID: r.conn.srv.cfg.GUID, SecurityMode: neg.mode, Dialect: smb2.Dialect(neg.dialect),
	}.Append(nil)
	if int(q.MaxOutputResponse) < len(out) {
		return nil, &connError{"no room for the answer to VALIDATE_NEGOTIATE_INFO", nil}
	}
	if v.GUID != neg.clientGUID || v.SecurityMode != neg.clientMode || v.Capabilities != neg.clientCaps ||
		!slices.Equal(v.Dialects, neg.clientDialects) {
		return nil, &connError{"NEGOTIATE was changed on its way", nil}
	}
	// The proof is the signature: an answer to a client that has a key carries one, asked for or not.
	r.signReply = r.signReply || r.sess.signer != nil
	return out, nil
}

// transceive writes a request to a pipe and reads its answer, 3.3.5.15.10.
func transceive(ctx context.Context, p pipeEnd, q smb2.IoctlRequest) ([]byte, error) {
	if err := p.write(ctx, q.Input); err != nil {
		return nil, err
	}
	buf := make([]byte, min(q.MaxOutputResponse, pipeQuota))
	n, err := p.read(ctx, buf)
	if err != nil && !errors.Is(err, smb2.StatusBufferOverflow) {
		return nil, err
	}
	return buf[:n], err
}

// setSparse handles FSCTL_SET_SPARSE, [MS-FSCC] 2.3.67.
func setSparse(ctx context.Context, o *open, q smb2.IoctlRequest) error {
	i, err := smb2.ParseSetSparse(q.Input)
	switch {
	case err != nil:
		return err
	case o.directory:
		return smb2.StatusInvalidParameter
	case !o.access.HasAny(smb2.FileWriteData | smb2.FileAppendData | smb2.FileWriteAttributes):
		return smb2.StatusAccessDenied
	}
	s, ok := o.file.(Sparser)
	if !ok {
		return smb2.StatusNotSupported
	}
	return s.SetSparse(ctx, i.Sparse)
}

// setZeroData handles FSCTL_SET_ZERO_DATA, [MS-FSCC] 2.3.69.
func setZeroData(ctx context.Context, o *open, q smb2.IoctlRequest) error {
	z, err := smb2.ParseZeroData(q.Input)
	switch {
	case err != nil:
		return err
	case z.Offset < 0, z.BeyondFinalZero < 0, z.Offset > z.BeyondFinalZero, o.directory:
		return smb2.StatusInvalidParameter
	case !o.access.Has(smb2.FileWriteData):
		return smb2.StatusAccessDenied
	}
	n := z.BeyondFinalZero - z.Offset
	if n == 0 {
		return nil
	}
	if f, ok := o.file.(Zeroer); ok {
		if err := f.ZeroRange(ctx, z.Offset, n); !errors.Is(err, syscall.EOPNOTSUPP) {
			return err
		}
	}
	return writeZeros(ctx, o.file, z.Offset, z.BeyondFinalZero)
}

// writeZeros is SET_ZERO_DATA for a Share that has no better way. The size stays.
func writeZeros(ctx context.Context, f File, from, to int64) error {
	a, err := f.Attr(ctx)
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for to = min(to, a.Size); from < to; {
		n, err := f.WriteAt(ctx, zeros[:min(int64(len(zeros)), to-from)], from, WriteOptions{})
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// allocatedRanges handles FSCTL_QUERY_ALLOCATED_RANGES, [MS-FSCC] 2.3.52.
func allocatedRanges(ctx context.Context, o *open, q smb2.IoctlRequest) ([]byte, error) {
	in, err := smb2.ParseAllocatedRange(q.Input)
	switch {
	case err != nil:
		return nil, err
	case in.FileOffset < 0, in.Length < 0, in.FileOffset > in.FileOffset+in.Length, o.directory:
		return nil, smb2.StatusInvalidParameter
	case !o.access.Has(smb2.FileReadData):
		return nil, smb2.StatusAccessDenied
	}
	s, ok := o.file.(Sparser)
	if !ok {
		return nil, smb2.StatusNotSupported
	}
	if in.Length == 0 {
		return nil, nil
	}
	ranges, err := rangesOf(ctx, o.file, s, in)
	if err != nil {
		return nil, err
	}
	const size = 16 // of one range on the wire
	room := min(int(q.MaxOutputResponse)/size, smb2.MaxAllocatedRanges)
	var list smb2.AllocatedRanges
	for _, r := range ranges[:min(len(ranges), room)] {
		list = append(list, smb2.AllocatedRange{FileOffset: r.Offset, Length: r.Length})
	}
	switch {
	case len(ranges) <= room:
		return list.Append(nil), nil
	case room == 0:
		return nil, smb2.StatusBufferTooSmall
	default:
		return list.Append(nil), smb2.StatusBufferOverflow
	}
}

// rangesOf returns the ranges with data. A file that is not marked sparse has no holes to tell of, [MS-FSA] 2.1.5.10.22, even
// where the storage has some.
func rangesOf(ctx context.Context, f File, s Sparser, in smb2.AllocatedRange) ([]ByteRange, error) {
	a, err := f.Attr(ctx)
	if err != nil {
		return nil, err
	}
	if a.Attributes&fscc.AttrSparseFile != 0 {
		return s.AllocatedRanges(ctx, in.FileOffset, in.Length)
	}
	if n := min(in.Length, a.Size-in.FileOffset); n > 0 {
		return []ByteRange{{Offset: in.FileOffset, Length: n}}, nil
	}
	return nil, nil
}
