package smb2

import "github.com/uringfs/uringfs/internal/fscc"

// The data of create contexts, [MS-SMB2] 2.2.13.2 and 2.2.14.2. Requests that carry nothing (MxAc without a timestamp, QFid) have
// no type of their own.

// MaximalAccessResponse is the answer's MxAc, 2.2.14.2.5.
type MaximalAccessResponse struct {
	QueryStatus   Status
	MaximalAccess AccessMask
}

// ParseMaximalAccessResponse parses the context data.
func ParseMaximalAccessResponse(data []byte) (MaximalAccessResponse, error) {
	if err := dataNeed(data, 8, "MxAc response"); err != nil {
		return MaximalAccessResponse{}, err
	}
	return MaximalAccessResponse{QueryStatus: Status(le.Uint32(data)), MaximalAccess: AccessMask(le.Uint32(data[4:]))}, nil
}

// Append appends the context data.
func (r MaximalAccessResponse) Append(b []byte) []byte {
	return le.AppendUint32(le.AppendUint32(b, uint32(r.QueryStatus)), uint32(r.MaximalAccess))
}

// DiskIDResponse is the answer's QFid, 2.2.14.2.9.
type DiskIDResponse struct {
	DiskFileID uint64
	VolumeID   uint64
}

// ParseDiskIDResponse parses the context data.
func ParseDiskIDResponse(data []byte) (DiskIDResponse, error) {
	if err := dataNeed(data, 32, "QFid response"); err != nil {
		return DiskIDResponse{}, err
	}
	return DiskIDResponse{DiskFileID: le.Uint64(data), VolumeID: le.Uint64(data[8:])}, nil
}

// Append appends the context data.
func (r DiskIDResponse) Append(b []byte) []byte {
	return appendZeros(le.AppendUint64(le.AppendUint64(b, r.DiskFileID), r.VolumeID), 16)
}

// AllocationSize is the request's AlSi, 2.2.13.2.6, in bytes.
type AllocationSize int64

// ParseAllocationSize parses the context data.
func ParseAllocationSize(data []byte) (AllocationSize, error) {
	if err := dataNeed(data, 8, "AlSi"); err != nil {
		return 0, err
	}
	return AllocationSize(le.Uint64(data)), nil //nolint:gosec // the same 64 bits
}

// Append appends the context data.
func (a AllocationSize) Append(b []byte) []byte {
	return le.AppendUint64(b, uint64(a)) //nolint:gosec // the same 64 bits
}

// SnapshotTime is the request's TWrp, 2.2.13.2.7.
type SnapshotTime fscc.Filetime

// ParseSnapshotTime parses the context data.
func ParseSnapshotTime(data []byte) (SnapshotTime, error) {
	if err := dataNeed(data, 8, "TWrp"); err != nil {
		return 0, err
	}
	return SnapshotTime(le.Uint64(data)), nil //nolint:gosec // the same 64 bits
}

// Append appends the context data.
func (s SnapshotTime) Append(b []byte) []byte {
	return le.AppendUint64(b, uint64(s)) //nolint:gosec // the same 64 bits
}

// Flags of a [Lease].
const (
	LeaseBreakInProgress uint32 = 0x2
	LeaseParentKeySet    uint32 = 0x4
)

// Lease is RqLs of both directions and both versions, 2.2.13.2.8, .10, 2.2.14.2.10, .11.
type Lease struct {
	Version   uint8 // 1 (32 bytes) or 2 (52 bytes); other values are written as 2
	Key       [16]byte
	State     LeaseState
	Flags     uint32
	Duration  uint64   // reserved: 0
	ParentKey [16]byte // version 2
	Epoch     uint16   // version 2
}

// ParseLease parses the context data; the version is told by its length.
func ParseLease(data []byte) (Lease, error) {
	const v1, v2 = 32, 52
	if len(data) != v1 && len(data) < v2 {
		return Lease{}, malformed("RqLs of %d bytes", len(data))
	}
	l := Lease{
		Version:  1,
		Key:      [16]byte(data[:16]),
		State:    LeaseState(le.Uint32(data[16:])),
		Flags:    le.Uint32(data[20:]),
		Duration: le.Uint64(data[24:]),
	}
	if len(data) >= v2 {
		l.Version = 2
		l.ParentKey = [16]byte(data[32:48])
		l.Epoch = le.Uint16(data[48:])
	}
	return l, nil
}

// Append appends the context data.
func (l Lease) Append(b []byte) []byte {
	b = append(b, l.Key[:]...)
	b = le.AppendUint32(b, uint32(l.State))
	b = le.AppendUint32(b, l.Flags)
	b = le.AppendUint64(b, l.Duration)
	if l.Version == 1 {
		return b
	}
	b = append(b, l.ParentKey[:]...)
	b = le.AppendUint16(b, l.Epoch)
	return append(b, 0, 0)
}

// DurableReconnect is the request's DHnC, 2.2.13.2.4.
type DurableReconnect struct{ FileID FileID }

// ParseDurableReconnect parses the context data.
func ParseDurableReconnect(data []byte) (DurableReconnect, error) {
	if err := dataNeed(data, fileIDLen, "DHnC"); err != nil {
		return DurableReconnect{}, err
	}
	return DurableReconnect{FileID: parseFileID(data)}, nil
}

// Append appends the context data.
func (d DurableReconnect) Append(b []byte) []byte { return d.FileID.append(b) }

// DurablePersistent in the Flags of the version 2 contexts asks for a persistent handle.
const DurablePersistent uint32 = 0x2

// DurableRequestV2 is the request's DH2Q, 2.2.13.2.11.
type DurableRequestV2 struct {
	Timeout    uint32 // milliseconds; 0: the server's choice
	Flags      uint32
	CreateGUID GUID
}

// ParseDurableRequestV2 parses the context data.
func ParseDurableRequestV2(data []byte) (DurableRequestV2, error) {
	if err := dataNeed(data, 32, "DH2Q"); err != nil {
		return DurableRequestV2{}, err
	}
	return DurableRequestV2{Timeout: le.Uint32(data), Flags: le.Uint32(data[4:]), CreateGUID: GUID(data[16:32])}, nil
}

// Append appends the context data.
func (d DurableRequestV2) Append(b []byte) []byte {
	b = le.AppendUint32(le.AppendUint32(b, d.Timeout), d.Flags)
	return append(appendZeros(b, 8), d.CreateGUID[:]...)
}

// DurableResponseV2 is the answer's DH2Q, 2.2.14.2.12.
type DurableResponseV2 struct {
	Timeout uint32 // milliseconds
	Flags   uint32
}

// ParseDurableResponseV2 parses the context data.
func ParseDurableResponseV2(data []byte) (DurableResponseV2, error) {
	if err := dataNeed(data, 8, "DH2Q response"); err != nil {
		return DurableResponseV2{}, err
	}
	return DurableResponseV2{Timeout: le.Uint32(data), Flags: le.Uint32(data[4:])}, nil
}

// Append appends the context data.
func (d DurableResponseV2) Append(b []byte) []byte {
	return le.AppendUint32(le.AppendUint32(b, d.Timeout), d.Flags)
}

// DurableReconnectV2 is the request's DH2C, 2.2.13.2.12.
type DurableReconnectV2 struct {
	FileID     FileID
	CreateGUID GUID
	Flags      uint32
}

// ParseDurableReconnectV2 parses the context data.
func ParseDurableReconnectV2(data []byte) (DurableReconnectV2, error) {
	if err := dataNeed(data, 36, "DH2C"); err != nil {
		return DurableReconnectV2{}, err
	}
	return DurableReconnectV2{FileID: parseFileID(data), CreateGUID: GUID(data[16:32]), Flags: le.Uint32(data[32:])}, nil
}

// Append appends the context data.
func (d DurableReconnectV2) Append(b []byte) []byte {
	b = d.FileID.append(b)
	b = append(b, d.CreateGUID[:]...)
	return le.AppendUint32(b, d.Flags)
}
