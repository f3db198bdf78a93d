package smb2

// Flags of a READ request of 3.0.2 and later.
const (
	ReadUnbuffered        uint8 = 0x01
	ReadRequestCompressed uint8 = 0x02
)

// maxChannelInfo bounds the RDMA descriptors of READ and WRITE, 16 bytes each.
const maxChannelInfo = 1024

// ReadRequest is SMB2 READ, [MS-SMB2] 2.2.19.
type ReadRequest struct {
	// Padding is where the client wants the data in the answer, in bytes from the header. Servers may ignore it.
	Padding        uint8
	Flags          uint8
	Length         uint32 // bytes
	Offset         uint64 // bytes
	FileID         FileID
	MinimumCount   uint32 // bytes; fewer are an error
	Channel        uint32 // 0: no RDMA
	RemainingBytes uint32
	ChannelInfo    []byte // at most 1024 bytes
}

// ParseReadRequest parses SMB2 READ. ChannelInfo aliases msg.
func ParseReadRequest(msg []byte) (ReadRequest, error) {
	const fixed = 48
	b, err := fixedPart(msg, "READ request", fixed, 49)
	if err != nil {
		return ReadRequest{}, err
	}
	r := ReadRequest{
		Padding:        b[2],
		Flags:          b[3],
		Length:         le.Uint32(b[4:]),
		Offset:         le.Uint64(b[8:]),
		FileID:         parseFileID(b[16:]),
		MinimumCount:   le.Uint32(b[32:]),
		Channel:        le.Uint32(b[36:]),
		RemainingBytes: le.Uint32(b[40:]),
	}
	r.ChannelInfo, err = channelInfo(msg, HeaderLen+fixed, le.Uint16(b[44:]), le.Uint16(b[46:]))
	if err != nil {
		return ReadRequest{}, err
	}
	return r, nil
}

func channelInfo(msg []byte, start int, off, n uint16) ([]byte, error) {
	if n > maxChannelInfo {
		return nil, malformed("channel info of %d bytes", n)
	}
	return region(msg, "channel info", start, uint32(off), uint32(n))
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r ReadRequest) Append(b []byte) []byte {
	info := r.ChannelInfo[:min(len(r.ChannelInfo), maxChannelInfo)]
	b = le.AppendUint16(b, 49)
	b = append(b, r.Padding, r.Flags)
	b = le.AppendUint32(b, r.Length)
	b = le.AppendUint64(b, r.Offset)
	b = r.FileID.append(b)
	b = le.AppendUint32(b, r.MinimumCount)
	b = le.AppendUint32(b, r.Channel)
	b = le.AppendUint32(b, r.RemainingBytes)
	off := uint16(0)
	if len(info) > 0 {
		off = HeaderLen + 48
	}
	b = le.AppendUint16(b, off)
	b = le.AppendUint16(b, len16(info))
	return appendBuffer(b, info)
}

// ReadResponsePrefix is the length of header and fixed part of an answer to READ; the data follows at once. In bytes.
const ReadResponsePrefix = HeaderLen + 16

// ReadResponse is the answer to SMB2 READ, [MS-SMB2] 2.2.20.
type ReadResponse struct {
	DataRemaining uint32
	Flags         uint32 // 3.1.1; before that reserved
	Data          []byte
}

// ParseReadResponse parses the answer to SMB2 READ. Data aliases msg.
func ParseReadResponse(msg []byte) (ReadResponse, error) {
	const fixed = 16
	b, err := fixedPart(msg, "READ response", fixed, 17)
	if err != nil {
		return ReadResponse{}, err
	}
	r := ReadResponse{DataRemaining: le.Uint32(b[8:]), Flags: le.Uint32(b[12:])}
	r.Data, err = region(msg, "READ data", HeaderLen+fixed, uint32(b[2]), le.Uint32(b[4:]))
	if err != nil {
		return ReadResponse{}, err
	}
	return r, nil
}

// AppendReadResponseHeader appends the fixed part of an answer to READ, for dataLen bytes (below 4 GiB) that the caller
// sends right behind it. With dataLen 0 the body is complete only with one more zero byte.
func AppendReadResponseHeader(b []byte, dataLen int) []byte {
	return ReadResponse{}.appendFixed(b, dataLen)
}

func (r ReadResponse) appendFixed(b []byte, dataLen int) []byte {
	b = le.AppendUint16(b, 17)
	b = append(b, ReadResponsePrefix, 0)
	b = le.AppendUint32(b, len32(dataLen))
	b = le.AppendUint32(b, r.DataRemaining)
	return le.AppendUint32(b, r.Flags)
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r ReadResponse) Append(b []byte) []byte {
	return appendBuffer(r.appendFixed(b, len(r.Data)), r.Data)
}
