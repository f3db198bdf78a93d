package smb2

// FlushRequest is SMB2 FLUSH, [MS-SMB2] 2.2.17.
type FlushRequest struct {
	// FullSync is Reserved1; macOS sets it to 0xFFFF for F_FULLFSYNC (documented by Apple's smb client sources, not by Microsoft).
	FullSync uint16
	FileID   FileID
}

// ParseFlushRequest parses SMB2 FLUSH.
func ParseFlushRequest(msg []byte) (FlushRequest, error) {
	b, err := fixedPart(msg, "FLUSH request", 24, 24)
	if err != nil {
		return FlushRequest{}, err
	}
	return FlushRequest{FullSync: le.Uint16(b[2:]), FileID: parseFileID(b[8:])}, nil
}

// Append appends the body.
func (r FlushRequest) Append(b []byte) []byte {
	b = le.AppendUint16(b, 24)
	b = le.AppendUint16(b, r.FullSync)
	b = append(b, 0, 0, 0, 0)
	return r.FileID.append(b)
}

// FlushResponse is the answer to SMB2 FLUSH, [MS-SMB2] 2.2.18. Its body holds nothing.
type FlushResponse struct{}

// ParseFlushResponse checks the body of the answer to SMB2 FLUSH.
func ParseFlushResponse(msg []byte) (FlushResponse, error) {
	_, err := fixedPart(msg, "FLUSH response", 4, 4)
	return FlushResponse{}, err
}

// Append appends the body.
func (FlushResponse) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }
