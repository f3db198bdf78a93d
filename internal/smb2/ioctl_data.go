package smb2

import (
	"fmt"
	"net/netip"
)

// dataNeed checks the size of an IOCTL buffer.
func dataNeed(data []byte, n int, what string) error {
	if len(data) < n {
		return malformed("%s of %d bytes, need %d", what, len(data), n)
	}
	return nil
}

// ValidateNegotiateRequest is the input of FsctlValidateNegotiateInfo, [MS-SMB2] 2.2.31.4.
type ValidateNegotiateRequest struct {
	Capabilities Capabilities
	GUID         GUID
	SecurityMode SecurityMode
	Dialects     []Dialect // at most 64
}

// ParseValidateNegotiateRequest parses the input buffer.
func ParseValidateNegotiateRequest(data []byte) (ValidateNegotiateRequest, error) {
	const fixed = 24
	if err := dataNeed(data, fixed, "VALIDATE_NEGOTIATE_INFO request"); err != nil {
		return ValidateNegotiateRequest{}, err
	}
	n := int(le.Uint16(data[22:]))
	if n > maxDialects || 2*n > len(data)-fixed {
		return ValidateNegotiateRequest{}, malformed("VALIDATE_NEGOTIATE_INFO with %d dialects in %d bytes", n, len(data))
	}
	r := ValidateNegotiateRequest{
		Capabilities: Capabilities(le.Uint32(data)),
		GUID:         GUID(data[4:20]),
		SecurityMode: SecurityMode(le.Uint16(data[20:])),
		Dialects:     make([]Dialect, n),
	}
	for i := range r.Dialects {
		r.Dialects[i] = Dialect(le.Uint16(data[fixed+2*i:]))
	}
	return r, nil
}

// Append appends the input buffer.
func (r ValidateNegotiateRequest) Append(b []byte) []byte {
	dialects := r.Dialects[:min(len(r.Dialects), maxDialects)]
	b = le.AppendUint32(b, uint32(r.Capabilities))
	b = append(b, r.GUID[:]...)
	b = le.AppendUint16(b, uint16(r.SecurityMode))
	b = le.AppendUint16(b, uint16(len(dialects))) //nolint:gosec // at most maxDialects
	for _, d := range dialects {
		b = le.AppendUint16(b, uint16(d))
	}
	return b
}

// ValidateNegotiateResponse is the output of FsctlValidateNegotiateInfo, [MS-SMB2] 2.2.32.6.
type ValidateNegotiateResponse struct {
	Capabilities Capabilities
	GUID         GUID
	SecurityMode SecurityMode
	Dialect      Dialect
}

// ParseValidateNegotiateResponse parses the output buffer.
func ParseValidateNegotiateResponse(data []byte) (ValidateNegotiateResponse, error) {
	if err := dataNeed(data, 24, "VALIDATE_NEGOTIATE_INFO response"); err != nil {
		return ValidateNegotiateResponse{}, err
	}
	return ValidateNegotiateResponse{
		Capabilities: Capabilities(le.Uint32(data)),
		GUID:         GUID(data[4:20]),
		SecurityMode: SecurityMode(le.Uint16(data[20:])),
		Dialect:      Dialect(le.Uint16(data[22:])),
	}, nil
}

// Append appends the output buffer.
func (r ValidateNegotiateResponse) Append(b []byte) []byte {
	b = le.AppendUint32(b, uint32(r.Capabilities))
	b = append(b, r.GUID[:]...)
	b = le.AppendUint16(b, uint16(r.SecurityMode))
	return le.AppendUint16(b, uint16(r.Dialect))
}

// ResumeKey is the key of FsctlSrvRequestResumeKey, [MS-SMB2] 2.2.32.3.
type ResumeKey [24]byte

// ParseResumeKeyResponse parses the output of FsctlSrvRequestResumeKey; its context is always empty.
func ParseResumeKeyResponse(data []byte) (ResumeKey, error) {
	if err := dataNeed(data, 28, "resume key"); err != nil {
		return ResumeKey{}, err
	}
	return ResumeKey(data[:24]), nil
}

// Append appends the output buffer, 32 bytes as smbd and Windows send it.
func (k ResumeKey) Append(b []byte) []byte { return appendZeros(append(b, k[:]...), 8) }

// MaxCopychunks bounds [Copychunk]; servers allow 256.
const MaxCopychunks = 4096

const copychunkLen = 24

// CopychunkRange is one chunk, [MS-SMB2] 2.2.31.1.1. All in bytes.
type CopychunkRange struct {
	SourceOffset uint64
	TargetOffset uint64
	Length       uint32
}

// Copychunk is the input of FsctlSrvCopychunk and FsctlSrvCopychunkWrite, [MS-SMB2] 2.2.31.1.
type Copychunk struct {
	SourceKey ResumeKey
	Chunks    []CopychunkRange // at most MaxCopychunks
}

// ParseCopychunk parses the input buffer.
func ParseCopychunk(data []byte) (Copychunk, error) {
	const fixed = 32
	if err := dataNeed(data, fixed, "COPYCHUNK"); err != nil {
		return Copychunk{}, err
	}
	n := le.Uint32(data[24:])
	if n > MaxCopychunks || uint64(n)*copychunkLen > uint64(len(data)-fixed) { //nolint:gosec // not negative: checked above
		return Copychunk{}, malformed("COPYCHUNK of %d chunks in %d bytes", n, len(data))
	}
	c := Copychunk{SourceKey: ResumeKey(data[:24]), Chunks: make([]CopychunkRange, n)}
	for i := range c.Chunks {
		e := data[fixed+i*copychunkLen:]
		c.Chunks[i] = CopychunkRange{SourceOffset: le.Uint64(e), TargetOffset: le.Uint64(e[8:]), Length: le.Uint32(e[16:])}
	}
	return c, nil
}

// Append appends the input buffer.
func (c Copychunk) Append(b []byte) []byte {
	chunks := c.Chunks[:min(len(c.Chunks), MaxCopychunks)]
	b = append(b, c.SourceKey[:]...)
	b = le.AppendUint32(b, len32(len(chunks)))
	b = append(b, 0, 0, 0, 0)
	for _, r := range chunks {
		b = le.AppendUint64(b, r.SourceOffset)
		b = le.AppendUint64(b, r.TargetOffset)
		b = le.AppendUint32(b, r.Length)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// CopychunkResponse is the output of both, [MS-SMB2] 2.2.32.1. With StatusInvalidParameter the fields are the server's limits:
// chunks in a request, bytes in a chunk, bytes in all.
type CopychunkResponse struct {
	ChunksWritten     uint32
	ChunkBytesWritten uint32
	TotalBytesWritten uint32
}

// ParseCopychunkResponse parses the output buffer.
func ParseCopychunkResponse(data []byte) (CopychunkResponse, error) {
	if err := dataNeed(data, 12, "COPYCHUNK response"); err != nil {
		return CopychunkResponse{}, err
	}
	return CopychunkResponse{
		ChunksWritten:     le.Uint32(data),
		ChunkBytesWritten: le.Uint32(data[4:]),
		TotalBytesWritten: le.Uint32(data[8:]),
	}, nil
}

// Append appends the output buffer.
func (r CopychunkResponse) Append(b []byte) []byte {
	b = le.AppendUint32(b, r.ChunksWritten)
	b = le.AppendUint32(b, r.ChunkBytesWritten)
	return le.AppendUint32(b, r.TotalBytesWritten)
}

// ZeroData is the input of FsctlSetZeroData, [MS-FSCC] 2.3.69: zero from Offset up to, not including, BeyondFinalZero.
type ZeroData struct {
	Offset          int64 // bytes; negative values and an end before Offset are for the handler to refuse
	BeyondFinalZero int64 // bytes
}

// ParseZeroData parses the input buffer.
func ParseZeroData(data []byte) (ZeroData, error) {
	if err := dataNeed(data, 16, "SET_ZERO_DATA"); err != nil {
		return ZeroData{}, err
	}
	return ZeroData{
		Offset:          int64(le.Uint64(data)),     //nolint:gosec // LARGE_INTEGER: the same 64 bits
		BeyondFinalZero: int64(le.Uint64(data[8:])), //nolint:gosec // LARGE_INTEGER: the same 64 bits
	}, nil
}

// Append appends the input buffer.
func (z ZeroData) Append(b []byte) []byte {
	b = le.AppendUint64(b, uint64(z.Offset))             //nolint:gosec // the same 64 bits
	return le.AppendUint64(b, uint64(z.BeyondFinalZero)) //nolint:gosec // the same 64 bits
}

// SetSparse is the input of FsctlSetSparse, [MS-FSCC] 2.3.67.
type SetSparse struct{ Sparse bool }

// ParseSetSparse parses the input buffer; an empty one means true.
func ParseSetSparse(data []byte) (SetSparse, error) {
	return SetSparse{Sparse: len(data) == 0 || data[0] != 0}, nil
}

// Append appends the input buffer.
func (s SetSparse) Append(b []byte) []byte {
	if s.Sparse {
		return append(b, 1)
	}
	return append(b, 0)
}

// MaxAllocatedRanges bounds a list of [AllocatedRanges]: what fits 1 MiB.
const MaxAllocatedRanges = 65536

// AllocatedRange is FILE_ALLOCATED_RANGE_BUFFER, [MS-FSCC] 2.3.52: the input of FsctlQueryAllocatedRanges is one, its output a list.
type AllocatedRange struct {
	FileOffset int64 // bytes
	Length     int64 // bytes
}

// AllocatedRanges is the output of FsctlQueryAllocatedRanges.
type AllocatedRanges []AllocatedRange

// ParseAllocatedRange parses the input buffer.
func ParseAllocatedRange(data []byte) (AllocatedRange, error) {
	if err := dataNeed(data, 16, "QUERY_ALLOCATED_RANGES"); err != nil {
		return AllocatedRange{}, err
	}
	return AllocatedRange{
		FileOffset: int64(le.Uint64(data)),     //nolint:gosec // LARGE_INTEGER: the same 64 bits
		Length:     int64(le.Uint64(data[8:])), //nolint:gosec // LARGE_INTEGER: the same 64 bits
	}, nil
}

// Append appends the input buffer, or one element of the output.
func (r AllocatedRange) Append(b []byte) []byte {
	b = le.AppendUint64(b, uint64(r.FileOffset)) //nolint:gosec // the same 64 bits
	return le.AppendUint64(b, uint64(r.Length))  //nolint:gosec // the same 64 bits
}

// ParseAllocatedRanges parses the output buffer.
func ParseAllocatedRanges(data []byte) (AllocatedRanges, error) {
	if len(data)%16 != 0 || len(data)/16 > MaxAllocatedRanges {
		return nil, malformed("allocated ranges of %d bytes", len(data))
	}
	list := make(AllocatedRanges, 0, len(data)/16)
	for ; len(data) > 0; data = data[16:] {
		r, err := ParseAllocatedRange(data)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// Append appends the output buffer.
func (l AllocatedRanges) Append(b []byte) []byte {
	for _, r := range l[:min(len(l), MaxAllocatedRanges)] {
		b = r.Append(b)
	}
	return b
}

// Capabilities of a [NetworkInterface].
const (
	InterfaceRSS  uint32 = 1
	InterfaceRDMA uint32 = 2
)

// NetworkInterface is one address of the server, [MS-SMB2] 2.2.32.5.
type NetworkInterface struct {
	Index      uint32
	Capability uint32
	LinkSpeed  uint64 // bits per second
	Addr       netip.Addr
	Port       uint16 // 0 as a rule
}

// NetworkInterfaces is the output of FsctlQueryNetworkInterfaces.
type NetworkInterfaces []NetworkInterface

const (
	networkInterfaceLen  = 152
	maxNetworkInterfaces = 1024
	familyInet           = 2
	familyInet6          = 23 // as Windows numbers it
)

// ParseNetworkInterfaces parses the output buffer. Entries of other address families are left out.
func ParseNetworkInterfaces(data []byte) (NetworkInterfaces, error) {
	var list NetworkInterfaces
	for seen := 0; len(data) > 0; seen++ {
		if len(data) < networkInterfaceLen || seen == maxNetworkInterfaces {
			return nil, malformed("network interface %d in %d bytes", seen, len(data))
		}
		n := NetworkInterface{Index: le.Uint32(data[4:]), Capability: le.Uint32(data[8:]), LinkSpeed: le.Uint64(data[16:])}
		sockaddr := data[24:]
		n.Port = uint16(sockaddr[2])<<8 | uint16(sockaddr[3])
		switch le.Uint16(sockaddr) {
		case familyInet:
			n.Addr = netip.AddrFrom4([4]byte(sockaddr[4:8]))
			list = append(list, n)
		case familyInet6:
			n.Addr = netip.AddrFrom16([16]byte(sockaddr[8:24]))
			list = append(list, n)
		}
		next := le.Uint32(data)
		if next == 0 {
			break
		}
		if next < networkInterfaceLen || next%8 != 0 || uint64(next) > uint64(len(data)) {
			return nil, malformed("network interface Next %d of %d bytes", next, len(data))
		}
		data = data[next:]
	}
	return list, nil
}

// Append appends the output buffer. Entries without a valid address are left out; a zone is dropped.
func (l NetworkInterfaces) Append(b []byte) []byte {
	last := -1
	for _, n := range l[:min(len(l), maxNetworkInterfaces)] {
		if !n.Addr.IsValid() {
			continue
		}
		if last >= 0 {
			le.PutUint32(b[last:], networkInterfaceLen)
		}
		last = len(b)
		b = appendZeros(b, 4)
		b = le.AppendUint32(b, n.Index)
		b = le.AppendUint32(b, n.Capability)
		b = appendZeros(b, 4)
		b = le.AppendUint64(b, n.LinkSpeed)
		port := []byte{byte(n.Port >> 8), byte(n.Port & 0xFF)}
		if n.Addr.Is4() {
			a := n.Addr.As4()
			b = le.AppendUint16(b, familyInet)
			b = append(append(b, port...), a[:]...)
		} else {
			a := n.Addr.As16()
			b = le.AppendUint16(b, familyInet6)
			b = appendZeros(append(b, port...), 4)
			b = append(b, a[:]...)
		}
		b = appendZeros(b, last+networkInterfaceLen-len(b))
	}
	return b
}

// DFSReferralRequest is the input of FsctlDFSGetReferrals, REQ_GET_DFS_REFERRAL of [MS-DFSC] 2.2.2.
type DFSReferralRequest struct {
	MaxReferralLevel uint16
	Path             string // until its NUL
}

// ParseDFSReferralRequest parses the input buffer; the name ends at its NUL or with the buffer.
func ParseDFSReferralRequest(data []byte) (DFSReferralRequest, error) {
	if err := dataNeed(data, 2, "DFS referral request"); err != nil {
		return DFSReferralRequest{}, err
	}
	path := data[2:]
	for i := 0; i+1 < len(path); i += 2 {
		if path[i]|path[i+1] == 0 {
			path = path[:i]
			break
		}
	}
	s, err := DecodeUTF16(path)
	if err != nil {
		return DFSReferralRequest{}, fmt.Errorf("DFS referral path: %w", err)
	}
	return DFSReferralRequest{MaxReferralLevel: le.Uint16(data), Path: s}, nil
}

// Append appends the input buffer, NUL included.
func (r DFSReferralRequest) Append(b []byte) []byte {
	b = le.AppendUint16(b, r.MaxReferralLevel)
	return append(EncodeUTF16(b, r.Path), 0, 0)
}
