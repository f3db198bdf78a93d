package smb2

// Flags of a WRITE request.
const (
	WriteThrough    uint32 = 0x00000001
	WriteUnbuffered uint32 = 0x00000002
)

// WriteRequestPrefix is the length of header and fixed part of WRITE without channel info; the data follows at once. In bytes.
const WriteRequestPrefix = HeaderLen + 48

// WriteRequest is SMB2 WRITE, [MS-SMB2] 2.2.21.
type WriteRequest struct {
	Offset         uint64 // bytes
	FileID         FileID
	Channel        uint32 // 0: no RDMA
	RemainingBytes uint32
	Flags          uint32
	ChannelInfo    []byte // at most 1024 bytes
	Data           []byte
}

// ParseWriteRequest parses SMB2 WRITE. Data and ChannelInfo alias msg.
func ParseWriteRequest(msg []byte) (WriteRequest, error) {
	const fixed = 48
	b, err := fixedPart(msg, "WRITE request", fixed, 49)
	if err != nil {
		return WriteRequest{}, err
	}
	r := WriteRequest{
		Offset:         le.Uint64(b[8:]),
		FileID:         parseFileID(b[16:]),
		Channel:        le.Uint32(b[32:]),
		RemainingBytes: le.Uint32(b[36:]),
		Flags:          le.Uint32(b[44:]),
	}
	r.Data, err = region(msg, "WRITE data", HeaderLen+fixed, uint32(le.Uint16(b[2:])), le.Uint32(b[4:]))
	if err != nil {
		return WriteRequest{}, err
	}
	r.ChannelInfo, err = channelInfo(msg, HeaderLen+fixed, le.Uint16(b[40:]), le.Uint16(b[42:]))
	if err != nil {
		return WriteRequest{}, err
	}
	return r, nil
}

// AppendHeader appends the fixed part and ChannelInfo, for dataLen bytes (below 4 GiB) that the caller sends right behind it;
// Data is not looked at. With dataLen 0 and no ChannelInfo the body is complete only with one more zero byte.
func (r WriteRequest) AppendHeader(b []byte, dataLen int) []byte {
	info := r.ChannelInfo[:min(len(r.ChannelInfo), maxChannelInfo)]
	b = le.AppendUint16(b, 49)
	b = le.AppendUint16(b, WriteRequestPrefix+len16(info))
	b = le.AppendUint32(b, len32(dataLen))
	b = le.AppendUint64(b, r.Offset)
	b = r.FileID.append(b)
	b = le.AppendUint32(b, r.Channel)
	b = le.AppendUint32(b, r.RemainingBytes)
	off := uint16(0)
	if len(info) > 0 {
		off = WriteRequestPrefix
	}
	b = le.AppendUint16(b, off)
	b = le.AppendUint16(b, len16(info))
	b = le.AppendUint32(b, r.Flags)
	return append(b, info...)
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r WriteRequest) Append(b []byte) []byte {
	b = r.AppendHeader(b, len(r.Data))
	if len(r.ChannelInfo) > 0 {
		return append(b, r.Data...)
	}
	return appendBuffer(b, r.Data)
}

// WriteResponse is the answer to SMB2 WRITE, [MS-SMB2] 2.2.22.
type WriteResponse struct {
	Count     uint32 // bytes written
	Remaining uint32
}

// ParseWriteResponse parses the answer to SMB2 WRITE.
func ParseWriteResponse(msg []byte) (WriteResponse, error) {
	b, err := fixedPart(msg, "WRITE response", 16, 17)
	if err != nil {
		return WriteResponse{}, err
	}
	return WriteResponse{Count: le.Uint32(b[4:]), Remaining: le.Uint32(b[8:])}, nil
}

// Append appends the body.
func (r WriteResponse) Append(b []byte) []byte {
	b = le.AppendUint16(b, 17)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, r.Count)
	b = le.AppendUint32(b, r.Remaining)
	return append(b, 0, 0, 0, 0)
}
