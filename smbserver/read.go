package smbserver

import (
	"context"
	"fmt"
	"math"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/smbserver/datapath"
)

// readHead is the fixed part of a READ response; the data follows it.
const readHead = smb2.ReadResponsePrefix - smb2.HeaderLen

// handleRead handles READ, [MS-SMB2] 3.3.5.12. SMB2_READFLAG_READ_UNBUFFERED, and an open with
// FILE_NO_INTERMEDIATE_BUFFERING, are hints for a copied answer; pages that are lent are the cache's. A compressed answer needs a negotiated algorithm, of which there is none.
func handleRead(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseReadRequest(r.msg)
	if err != nil {
		return nil, err
	}
	o := r.file
	switch {
	case q.Length > r.conn.neg.maxRead:
		return nil, fmt.Errorf("%w: READ of %d bytes", smb2.ErrMalformed, q.Length)
	case q.Channel != 0 && r.conn.neg.dialect >= Dialect300: // RDMA; before 3.0 the field is reserved
		return nil, fmt.Errorf("%w: READ on channel %d", smb2.ErrMalformed, q.Channel)
	case o.directory:
		return nil, smb2.StatusInvalidDeviceRequest
	case !o.access.HasAny(smb2.FileReadData | smb2.FileExecute):
		return nil, smb2.StatusAccessDenied
	case o.pipe != nil:
		return readPipe(ctx, r, int(q.Length))
	case q.Offset > math.MaxInt64-uint64(q.Length):
		return nil, fmt.Errorf("%w: READ at %d", smb2.ErrMalformed, q.Offset)
	case q.Length == 0 && q.MinimumCount > 0:
		return nil, smb2.StatusEndOfFile
	case q.Length == 0:
		return smb2.ReadResponse{}, nil
	}
	off, n := int64(q.Offset), int(q.Length)

	referencer, canLend := o.file.(Referencer)
	plan := datapath.Make(datapath.Facts{
		Policy: r.conn.srv.policy, Signed: r.signReply, Compound: !r.alone,
		File: canLend, Transport: r.conn.sender != nil, Length: n,
	})
	if plan.Path == datapath.PathUnsafeSplice {
		p, err := datapath.Lend(ctx, referencer, off, n)
		switch {
		case err != nil: // the copy below finds out whether the file or only the loan is at fault
			r.conn.log.Debug("reference", "err", err)
			plan = datapath.Plan{Path: datapath.PathCopy, Reason: datapath.ReasonReference}
		case p == nil:
			return nil, smb2.StatusEndOfFile
		case p.Len() < int(min(q.MinimumCount, math.MaxInt32)):
			p.Release()
			return nil, smb2.StatusEndOfFile
		default:
			o.position.Store(off + int64(p.Len()))
			r.conn.carried(plan, p.Len())
			return lentReply{p}, nil
		}
	}
	room := r.out.room(readHead + n)
	var file datapath.Reader = o.file
	if u, ok := o.file.(Uncacher); ok && (o.uncached() || q.Flags&smb2.ReadUnbuffered != 0 && r.conn.neg.dialect >= Dialect302) {
		file = uncached{u}
	}
	got, err := datapath.Copy(ctx, file, room[readHead:], off)
	switch {
	case err != nil:
		return nil, err
	case got == 0, got < int(min(q.MinimumCount, math.MaxInt32)):
		return nil, smb2.StatusEndOfFile
	}
	o.position.Store(off + int64(got))
	r.conn.carried(plan, got)
	return copiedReply(got), nil
}

// uncached is the Reader of a file that leaves nothing in the cache.
type uncached struct{ u Uncacher }

func (f uncached) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return f.u.ReadUncached(ctx, p, off)
}

// uncached says that the client has asked for no buffering at CREATE.
func (o *open) uncached() bool { return o.options&smb2.FileNoIntermediateBuffering != 0 }

func readPipe(ctx context.Context, r *request, n int) (reply, error) {
	room := r.out.room(readHead + n)
	got, err := r.file.pipe.read(ctx, room[readHead:])
	if err != nil && got == 0 {
		return nil, err
	}
	if got == 0 {
		return smb2.ReadResponse{}, nil
	}
	return copiedReply(got), err
}

// copiedReply is a READ response whose data lies behind the header already: frame.room has lent the place. Its value is
// the length of the data, at least 1.
type copiedReply int

func (n copiedReply) Append(b []byte) []byte {
	return smb2.AppendReadResponseHeader(b, int(n))[:len(b)+readHead+int(n)]
}

// lentReply is a READ response whose data is a Payload.
type lentReply struct{ p Payload }

func (l lentReply) Append(b []byte) []byte { return smb2.AppendReadResponseHeader(b, l.p.Len()) }
func (l lentReply) payload() Payload       { return l.p }

// carried counts a READ that plan served, and reports the first refusal of each kind.
func (c *conn) carried(plan datapath.Plan, n int) {
	stats := &c.srv.stats
	stats.pdus[plan.Path].Add(1)
	stats.bytes[plan.Path].Add(int64(n))
	if !plan.Reason.Refusal() {
		return
	}
	stats.refusals[plan.Reason].Add(1)
	if c.refused[plan.Reason].CompareAndSwap(false, true) {
		c.log.Info("read path refused", "asked", c.srv.policy.String(), "path", plan.Path.String(), "reason", plan.Reason.String())
	}
}
