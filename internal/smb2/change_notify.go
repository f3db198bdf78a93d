package smb2

// ChangeNotifyWatchTree asks CHANGE_NOTIFY for the whole subtree.
const ChangeNotifyWatchTree uint16 = 0x0001

// Bits of CompletionFilter.
const (
	NotifyFileName   uint32 = 0x00000001
	NotifyDirName    uint32 = 0x00000002
	NotifyAttributes uint32 = 0x00000004
	NotifySize       uint32 = 0x00000008
	NotifyLastWrite  uint32 = 0x00000010
	NotifyLastAccess uint32 = 0x00000020
	NotifyCreation   uint32 = 0x00000040
	NotifyEA         uint32 = 0x00000080
	NotifySecurity   uint32 = 0x00000100
	NotifyStreamName uint32 = 0x00000200
	NotifyStreamSize uint32 = 0x00000400
	NotifyStreamWr   uint32 = 0x00000800
)

// ChangeNotifyRequest is SMB2 CHANGE_NOTIFY, [MS-SMB2] 2.2.35.
type ChangeNotifyRequest struct {
	Flags              uint16
	OutputBufferLength uint32 // bytes
	FileID             FileID
	CompletionFilter   uint32
}

// ParseChangeNotifyRequest parses SMB2 CHANGE_NOTIFY.
func ParseChangeNotifyRequest(msg []byte) (ChangeNotifyRequest, error) {
	b, err := fixedPart(msg, "CHANGE_NOTIFY request", 32, 32)
	if err != nil {
		return ChangeNotifyRequest{}, err
	}
	return ChangeNotifyRequest{
		Flags:              le.Uint16(b[2:]),
		OutputBufferLength: le.Uint32(b[4:]),
		FileID:             parseFileID(b[8:]),
		CompletionFilter:   le.Uint32(b[24:]),
	}, nil
}

// Append appends the body.
func (r ChangeNotifyRequest) Append(b []byte) []byte {
	b = le.AppendUint16(b, 32)
	b = le.AppendUint16(b, r.Flags)
	b = le.AppendUint32(b, r.OutputBufferLength)
	b = r.FileID.append(b)
	b = le.AppendUint32(b, r.CompletionFilter)
	return append(b, 0, 0, 0, 0)
}

// ChangeNotifyResponse is the answer to SMB2 CHANGE_NOTIFY, [MS-SMB2] 2.2.36.
type ChangeNotifyResponse struct {
	Buffer []byte // a list of FILE_NOTIFY_INFORMATION, see internal/fscc
}

// ParseChangeNotifyResponse parses the answer to SMB2 CHANGE_NOTIFY. Buffer aliases msg.
func ParseChangeNotifyResponse(msg []byte) (ChangeNotifyResponse, error) {
	b, err := parseOutputBuffer(msg, "CHANGE_NOTIFY response")
	return ChangeNotifyResponse{Buffer: b}, err
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r ChangeNotifyResponse) Append(b []byte) []byte { return appendOutputBuffer(b, r.Buffer) }
