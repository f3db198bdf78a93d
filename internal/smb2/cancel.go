package smb2

// CancelRequest is SMB2 CANCEL, [MS-SMB2] 2.2.30. Its body holds nothing, and it is never answered itself.
type CancelRequest struct{}

// ParseCancelRequest checks the body of SMB2 CANCEL.
func ParseCancelRequest(msg []byte) (CancelRequest, error) {
	_, err := fixedPart(msg, "CANCEL request", 4, 4)
	return CancelRequest{}, err
}

// Append appends the body.
func (CancelRequest) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }
