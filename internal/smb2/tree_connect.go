package smb2

// Flags of a TREE_CONNECT request of 3.1.1.
const (
	TreeConnectClusterReconnect uint16 = 0x0001
	TreeConnectRedirectToOwner  uint16 = 0x0002
	TreeConnectExtensionPresent uint16 = 0x0004
)

// TreeConnectRequest is SMB2 TREE_CONNECT, [MS-SMB2] 2.2.9. The extension of 3.1.1 (2.2.9.1) is not decoded: what
// lies between the fixed part and Path is skipped, and Append writes none.
type TreeConnectRequest struct {
	Flags uint16
	Path  string // \\server[:port]\share; at most 32767 UTF-16 units
}

// ParseTreeConnectRequest parses SMB2 TREE_CONNECT.
func ParseTreeConnectRequest(msg []byte) (TreeConnectRequest, error) {
	const fixed = 8
	b, err := fixedPart(msg, "TREE_CONNECT request", fixed, 9)
	if err != nil {
		return TreeConnectRequest{}, err
	}
	r := TreeConnectRequest{Flags: le.Uint16(b[2:])}
	r.Path, err = nameRegion(msg, "TREE_CONNECT path", HeaderLen+fixed, uint32(le.Uint16(b[4:])), uint32(le.Uint16(b[6:])))
	if err != nil {
		return TreeConnectRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r TreeConnectRequest) Append(b []byte) []byte {
	path := encodeName16(r.Path)
	b = le.AppendUint16(b, 9)
	b = le.AppendUint16(b, r.Flags)
	b = le.AppendUint16(b, HeaderLen+8)
	b = le.AppendUint16(b, len16(path))
	return appendBuffer(b, path)
}

// ShareType is the kind of a share.
type ShareType uint8

// Share types.
const (
	ShareDisk  ShareType = 1
	SharePipe  ShareType = 2
	SharePrint ShareType = 3
)

// Flags of a share.
const (
	ShareFlagManualCaching          uint32 = 0x00000000
	ShareFlagAutoCaching            uint32 = 0x00000010
	ShareFlagVDOCaching             uint32 = 0x00000020
	ShareFlagNoCaching              uint32 = 0x00000030
	ShareFlagDFS                    uint32 = 0x00000001
	ShareFlagDFSRoot                uint32 = 0x00000002
	ShareFlagRestrictExclusiveOpens uint32 = 0x00000100
	ShareFlagForceSharedDelete      uint32 = 0x00000200
	ShareFlagAccessBasedEnum        uint32 = 0x00000800
	ShareFlagForceLevelIIOplock     uint32 = 0x00001000
	ShareFlagEncryptData            uint32 = 0x00008000
	ShareFlagCompressData           uint32 = 0x00100000
)

// Capabilities of a share.
const (
	ShareCapDFS                    uint32 = 0x00000008
	ShareCapContinuousAvailability uint32 = 0x00000010
	ShareCapScaleout               uint32 = 0x00000020
	ShareCapCluster                uint32 = 0x00000040
	ShareCapAsymmetric             uint32 = 0x00000080
)

// TreeConnectResponse is the answer to SMB2 TREE_CONNECT, [MS-SMB2] 2.2.10.
type TreeConnectResponse struct {
	ShareType     ShareType
	ShareFlags    uint32
	Capabilities  uint32
	MaximalAccess AccessMask
}

// ParseTreeConnectResponse parses the answer to SMB2 TREE_CONNECT.
func ParseTreeConnectResponse(msg []byte) (TreeConnectResponse, error) {
	b, err := fixedPart(msg, "TREE_CONNECT response", 16, 16)
	if err != nil {
		return TreeConnectResponse{}, err
	}
	return TreeConnectResponse{
		ShareType:     ShareType(b[2]),
		ShareFlags:    le.Uint32(b[4:]),
		Capabilities:  le.Uint32(b[8:]),
		MaximalAccess: AccessMask(le.Uint32(b[12:])),
	}, nil
}

// Append appends the body.
func (r TreeConnectResponse) Append(b []byte) []byte {
	b = le.AppendUint16(b, 16)
	b = append(b, uint8(r.ShareType), 0)
	b = le.AppendUint32(b, r.ShareFlags)
	b = le.AppendUint32(b, r.Capabilities)
	return le.AppendUint32(b, uint32(r.MaximalAccess))
}
