package smb2

// TreeDisconnectRequest is SMB2 TREE_DISCONNECT, [MS-SMB2] 2.2.11. Its body holds nothing.
type TreeDisconnectRequest struct{}

// ParseTreeDisconnectRequest checks the body of SMB2 TREE_DISCONNECT.
func ParseTreeDisconnectRequest(msg []byte) (TreeDisconnectRequest, error) {
	_, err := fixedPart(msg, "TREE_DISCONNECT request", 4, 4)
	return TreeDisconnectRequest{}, err
}

// Append appends the body.
func (TreeDisconnectRequest) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }

// TreeDisconnectResponse is the answer to SMB2 TREE_DISCONNECT, [MS-SMB2] 2.2.12. Its body holds nothing.
type TreeDisconnectResponse struct{}

// ParseTreeDisconnectResponse checks the body of the answer to SMB2 TREE_DISCONNECT.
func ParseTreeDisconnectResponse(msg []byte) (TreeDisconnectResponse, error) {
	_, err := fixedPart(msg, "TREE_DISCONNECT response", 4, 4)
	return TreeDisconnectResponse{}, err
}

// Append appends the body.
func (TreeDisconnectResponse) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }
