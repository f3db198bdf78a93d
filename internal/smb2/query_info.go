package smb2

// InfoType says what QUERY_INFO and SET_INFO are about; it decides what the class means.
type InfoType uint8

// Info types.
const (
	InfoFile       InfoType = 1 // class is a fscc.InfoClass
	InfoFileSystem InfoType = 2 // class is a fscc.FSClass
	InfoSecurity   InfoType = 3 // class is 0
	InfoQuota      InfoType = 4 // class is 0
)

// Bits of AdditionalInformation with InfoSecurity.
const (
	SecurityOwner     uint32 = 0x00000001
	SecurityGroup     uint32 = 0x00000002
	SecurityDACL      uint32 = 0x00000004
	SecuritySACL      uint32 = 0x00000008
	SecurityLabel     uint32 = 0x00000010
	SecurityAttribute uint32 = 0x00000020
	SecurityScope     uint32 = 0x00000040
	SecurityBackup    uint32 = 0x00010000
)

// QueryInfoRequest is SMB2 QUERY_INFO, [MS-SMB2] 2.2.37.
type QueryInfoRequest struct {
	Type                  InfoType
	Class                 uint8
	OutputBufferLength    uint32 // bytes
	AdditionalInformation uint32
	Flags                 uint32 // of an EA query
	FileID                FileID
	Input                 []byte // a list of EA names, or a quota query
}

// ParseQueryInfoRequest parses SMB2 QUERY_INFO. Input aliases msg.
func ParseQueryInfoRequest(msg []byte) (QueryInfoRequest, error) {
	const fixed = 40
	b, err := fixedPart(msg, "QUERY_INFO request", fixed, 41)
	if err != nil {
		return QueryInfoRequest{}, err
	}
	r := QueryInfoRequest{
		Type:                  InfoType(b[2]),
		Class:                 b[3],
		OutputBufferLength:    le.Uint32(b[4:]),
		AdditionalInformation: le.Uint32(b[16:]),
		Flags:                 le.Uint32(b[20:]),
		FileID:                parseFileID(b[24:]),
	}
	r.Input, err = region(msg, "QUERY_INFO input", HeaderLen+fixed, uint32(le.Uint16(b[8:])), le.Uint32(b[12:]))
	if err != nil {
		return QueryInfoRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r QueryInfoRequest) Append(b []byte) []byte {
	off := uint16(0)
	if len(r.Input) > 0 {
		off = HeaderLen + 40
	}
	b = le.AppendUint16(b, 41)
	b = append(b, uint8(r.Type), r.Class)
	b = le.AppendUint32(b, r.OutputBufferLength)
	b = le.AppendUint16(b, off)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, len32(len(r.Input)))
	b = le.AppendUint32(b, r.AdditionalInformation)
	b = le.AppendUint32(b, r.Flags)
	b = r.FileID.append(b)
	return appendBuffer(b, r.Input)
}

// QueryInfoResponse is the answer to SMB2 QUERY_INFO, [MS-SMB2] 2.2.38.
type QueryInfoResponse struct {
	Buffer []byte // of the class that was asked for, see internal/fscc
}

// ParseQueryInfoResponse parses the answer to SMB2 QUERY_INFO. Buffer aliases msg.
func ParseQueryInfoResponse(msg []byte) (QueryInfoResponse, error) {
	b, err := parseOutputBuffer(msg, "QUERY_INFO response")
	return QueryInfoResponse{Buffer: b}, err
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r QueryInfoResponse) Append(b []byte) []byte { return appendOutputBuffer(b, r.Buffer) }
