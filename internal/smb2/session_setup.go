package smb2

// SessionSetupBinding is a flag of a SESSION_SETUP request: it binds another channel to the session.
const SessionSetupBinding uint8 = 0x01

// SessionFlags are the flags of a SESSION_SETUP response.
type SessionFlags uint16

// Session flags.
const (
	SessionIsGuest     SessionFlags = 0x0001
	SessionIsNull      SessionFlags = 0x0002
	SessionEncryptData SessionFlags = 0x0004
)

// SessionSetupRequest is SMB2 SESSION_SETUP, [MS-SMB2] 2.2.5.
type SessionSetupRequest struct {
	Flags             uint8
	SecurityMode      SecurityMode // eight bits on the wire
	Capabilities      Capabilities
	Channel           uint32
	PreviousSessionID uint64
	SecurityBuffer    []byte // a SPNEGO or raw NTLMSSP token; at most 65535 bytes
}

// ParseSessionSetupRequest parses SMB2 SESSION_SETUP. SecurityBuffer aliases msg.
func ParseSessionSetupRequest(msg []byte) (SessionSetupRequest, error) {
	const fixed = 24
	b, err := fixedPart(msg, "SESSION_SETUP request", fixed, 25)
	if err != nil {
		return SessionSetupRequest{}, err
	}
	r := SessionSetupRequest{
		Flags:             b[2],
		SecurityMode:      SecurityMode(b[3]),
		Capabilities:      Capabilities(le.Uint32(b[4:])),
		Channel:           le.Uint32(b[8:]),
		PreviousSessionID: le.Uint64(b[16:]),
	}
	r.SecurityBuffer, err = region(msg, "SESSION_SETUP token", HeaderLen+fixed, uint32(le.Uint16(b[12:])), uint32(le.Uint16(b[14:])))
	if err != nil {
		return SessionSetupRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r SessionSetupRequest) Append(b []byte) []byte {
	token := cut16(r.SecurityBuffer)
	b = le.AppendUint16(b, 25)
	b = append(b, r.Flags, uint8(r.SecurityMode&0xFF))
	b = le.AppendUint32(b, uint32(r.Capabilities))
	b = le.AppendUint32(b, r.Channel)
	b = le.AppendUint16(b, HeaderLen+24)
	b = le.AppendUint16(b, len16(token))
	b = le.AppendUint64(b, r.PreviousSessionID)
	return appendBuffer(b, token)
}

// SessionSetupResponse is the answer to SMB2 SESSION_SETUP, [MS-SMB2] 2.2.6, with StatusSuccess or StatusMoreProcessingRequired.
type SessionSetupResponse struct {
	Flags          SessionFlags
	SecurityBuffer []byte // at most 65535 bytes
}

// ParseSessionSetupResponse parses the answer to SMB2 SESSION_SETUP. SecurityBuffer aliases msg.
func ParseSessionSetupResponse(msg []byte) (SessionSetupResponse, error) {
	const fixed = 8
	b, err := fixedPart(msg, "SESSION_SETUP response", fixed, 9)
	if err != nil {
		return SessionSetupResponse{}, err
	}
	r := SessionSetupResponse{Flags: SessionFlags(le.Uint16(b[2:]))}
	r.SecurityBuffer, err = region(msg, "SESSION_SETUP token", HeaderLen+fixed, uint32(le.Uint16(b[4:])), uint32(le.Uint16(b[6:])))
	if err != nil {
		return SessionSetupResponse{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r SessionSetupResponse) Append(b []byte) []byte {
	token := cut16(r.SecurityBuffer)
	b = le.AppendUint16(b, 9)
	b = le.AppendUint16(b, uint16(r.Flags))
	b = le.AppendUint16(b, HeaderLen+8)
	b = le.AppendUint16(b, len16(token))
	return appendBuffer(b, token)
}
