package smb2

// SetInfoRequest is SMB2 SET_INFO, [MS-SMB2] 2.2.39.
type SetInfoRequest struct {
	Type                  InfoType
	Class                 uint8
	AdditionalInformation uint32
	FileID                FileID
	Buffer                []byte
}

// ParseSetInfoRequest parses SMB2 SET_INFO. Buffer aliases msg.
func ParseSetInfoRequest(msg []byte) (SetInfoRequest, error) {
	const fixed = 32
	b, err := fixedPart(msg, "SET_INFO request", fixed, 33)
	if err != nil {
		return SetInfoRequest{}, err
	}
	r := SetInfoRequest{
		Type:                  InfoType(b[2]),
		Class:                 b[3],
		AdditionalInformation: le.Uint32(b[12:]),
		FileID:                parseFileID(b[16:]),
	}
	r.Buffer, err = region(msg, "SET_INFO buffer", HeaderLen+fixed, uint32(le.Uint16(b[8:])), le.Uint32(b[4:]))
	if err != nil {
		return SetInfoRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r SetInfoRequest) Append(b []byte) []byte {
	b = le.AppendUint16(b, 33)
	b = append(b, uint8(r.Type), r.Class)
	b = le.AppendUint32(b, len32(len(r.Buffer)))
	b = le.AppendUint16(b, HeaderLen+32)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, r.AdditionalInformation)
	b = r.FileID.append(b)
	return appendBuffer(b, r.Buffer)
}

// SetInfoResponse is the answer to SMB2 SET_INFO, [MS-SMB2] 2.2.40. Its body holds nothing.
type SetInfoResponse struct{}

// ParseSetInfoResponse checks the body of the answer to SMB2 SET_INFO.
func ParseSetInfoResponse(msg []byte) (SetInfoResponse, error) {
	_, err := fixedPart(msg, "SET_INFO response", 2, 2)
	return SetInfoResponse{}, err
}

// Append appends the body.
func (SetInfoResponse) Append(b []byte) []byte { return append(b, 2, 0) }
