package smb2

// EchoRequest is SMB2 ECHO, [MS-SMB2] 2.2.28. Its body holds nothing.
type EchoRequest struct{}

// ParseEchoRequest checks the body of SMB2 ECHO.
func ParseEchoRequest(msg []byte) (EchoRequest, error) {
	_, err := fixedPart(msg, "ECHO request", 4, 4)
	return EchoRequest{}, err
}

// Append appends the body.
func (EchoRequest) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }

// EchoResponse is the answer to SMB2 ECHO, [MS-SMB2] 2.2.29. Its body holds nothing.
type EchoResponse struct{}

// ParseEchoResponse checks the body of the answer to SMB2 ECHO.
func ParseEchoResponse(msg []byte) (EchoResponse, error) {
	_, err := fixedPart(msg, "ECHO response", 4, 4)
	return EchoResponse{}, err
}

// Append appends the body.
func (EchoResponse) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }
