package smb2

import "github.com/uringfs/uringfs/internal/fscc"

// ClosePostQueryAttrib asks for the attributes in the answer to CLOSE, and says in the answer that they are there.
const ClosePostQueryAttrib uint16 = 0x0001

// CloseRequest is SMB2 CLOSE, [MS-SMB2] 2.2.15.
type CloseRequest struct {
	Flags  uint16
	FileID FileID
}

// ParseCloseRequest parses SMB2 CLOSE.
func ParseCloseRequest(msg []byte) (CloseRequest, error) {
	b, err := fixedPart(msg, "CLOSE request", 24, 24)
	if err != nil {
		return CloseRequest{}, err
	}
	return CloseRequest{Flags: le.Uint16(b[2:]), FileID: parseFileID(b[8:])}, nil
}

// Append appends the body.
func (r CloseRequest) Append(b []byte) []byte {
	b = le.AppendUint16(b, 24)
	b = le.AppendUint16(b, r.Flags)
	b = append(b, 0, 0, 0, 0)
	return r.FileID.append(b)
}

// CloseResponse is the answer to SMB2 CLOSE, [MS-SMB2] 2.2.16. All but Flags is zero without ClosePostQueryAttrib.
type CloseResponse struct {
	Flags          uint16
	CreationTime   fscc.Filetime
	LastAccessTime fscc.Filetime
	LastWriteTime  fscc.Filetime
	ChangeTime     fscc.Filetime
	AllocationSize int64 // bytes
	EndOfFile      int64 // bytes
	FileAttributes fscc.FileAttributes
}

// ParseCloseResponse parses the answer to SMB2 CLOSE.
func ParseCloseResponse(msg []byte) (CloseResponse, error) {
	b, err := fixedPart(msg, "CLOSE response", 60, 60)
	if err != nil {
		return CloseResponse{}, err
	}
	f := parseFileTimes(b[8:])
	return CloseResponse{
		Flags:        le.Uint16(b[2:]),
		CreationTime: f.creation, LastAccessTime: f.access, LastWriteTime: f.write, ChangeTime: f.change,
		AllocationSize: f.allocation, EndOfFile: f.end, FileAttributes: f.attributes,
	}, nil
}

// Append appends the body.
func (r CloseResponse) Append(b []byte) []byte {
	b = le.AppendUint16(b, 60)
	b = le.AppendUint16(b, r.Flags)
	b = append(b, 0, 0, 0, 0)
	return fileTimes{
		r.CreationTime, r.LastAccessTime, r.LastWriteTime, r.ChangeTime, r.AllocationSize, r.EndOfFile, r.FileAttributes,
	}.append(b)
}
