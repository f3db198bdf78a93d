package smb2

// LogoffRequest is SMB2 LOGOFF, [MS-SMB2] 2.2.7. Its body holds nothing.
type LogoffRequest struct{}

// ParseLogoffRequest checks the body of SMB2 LOGOFF.
func ParseLogoffRequest(msg []byte) (LogoffRequest, error) {
	_, err := fixedPart(msg, "LOGOFF request", 4, 4)
	return LogoffRequest{}, err
}

// Append appends the body.
func (LogoffRequest) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }

// LogoffResponse is the answer to SMB2 LOGOFF, [MS-SMB2] 2.2.8. Its body holds nothing.
type LogoffResponse struct{}

// ParseLogoffResponse checks the body of the answer to SMB2 LOGOFF.
func ParseLogoffResponse(msg []byte) (LogoffResponse, error) {
	_, err := fixedPart(msg, "LOGOFF response", 4, 4)
	return LogoffResponse{}, err
}

// Append appends the body.
func (LogoffResponse) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }
