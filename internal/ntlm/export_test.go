package ntlm

// NewResult makes a Result with given keys: the specification's signature example starts in
// the middle of an exchange.
func NewResult(sessionKey []byte, flags Flags) *Result {
	return &Result{User: "User", SessionKey: sessionKey, flags: flags}
}

// Seal encrypts as GSS_WrapEx does before it signs: the package itself never seals, but the
// specification's example shares one RC4 stream between both.
func (m *MIC) Seal(msg []byte) []byte {
	out := make([]byte, len(msg))
	m.stream.XORKeyStream(out, msg)
	return out
}

// NTOWFv2 is the NTLMv2 hash for names given as text.
func NTOWFv2(ntHash [16]byte, user, domain string) [16]byte {
	return ntowfv2(ntHash, encodeUTF16(user), encodeUTF16(domain))
}
