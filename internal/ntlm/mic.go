package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"encoding/binary"
	"log/slog"
)

// Result is a finished authentication, on either side.
type Result struct {
	// User, Domain and Workstation are as the client sent them; Workstation is
	// its own claim.
	User, Domain, Workstation string
	// TargetName is the service name that the client meant to reach, "cifs/host",
	// empty if it named none. The password proves it.
	TargetName string
	// SessionKey is ExportedSessionKey, 16 bytes; nil for an anonymous login.
	SessionKey []byte
	// Anonymous says that the client named nobody and proved nothing.
	Anonymous bool

	flags Flags
}

// String names the user and holds no secret.
func (r *Result) String() string {
	if r.Anonymous {
		return "anonymous"
	}
	return r.Domain + `\` + r.User
}

// GoString is String: %#v must not print the key.
func (r *Result) GoString() string { return r.String() }

// LogValue implements slog.LogValuer without the key.
func (r *Result) LogValue() slog.Value { return slog.StringValue(r.String()) }

// CanSign reports whether both sides agreed on message signatures with extended
// session security, and there is a key for them.
func (r *Result) CanSign() bool {
	const need = FlagSign | FlagExtendedSessionSecurity
	return len(r.SessionKey) == 16 && r.flags&need == need
}

// MIC returns the signing state of one direction, fresh from sequence number 0:
// fromClient is what the client signs and the server verifies. It returns nil unless
// [Result.CanSign].
func (r *Result) MIC(fromClient bool) *MIC {
	if !r.CanSign() {
		return nil
	}
	// [MS-NLMP] 3.4.5.2 and 3.4.5.3; the terminating NUL is part of each constant.
	direction := "server-to-client"
	if fromClient {
		direction = "client-to-server"
	}
	m := &MIC{key: md5.Sum(append(r.SessionKey[:16:16], "session key to "+direction+" signing key magic constant\x00"...))}
	if r.flags&FlagKeyExch != 0 {
		sealed := 5
		switch {
		case r.flags&Flag128 != 0:
			sealed = 16
		case r.flags&Flag56 != 0:
			sealed = 7
		}
		key := md5.Sum(append(r.SessionKey[:sealed:sealed], "session key to "+direction+" sealing key magic constant\x00"...))
		stream, err := rc4.NewCipher(key[:])
		if err != nil {
			return nil // the exchange itself has needed RC4: not reached
		}
		m.stream = stream
	}
	return m
}

// MIC makes or checks NTLM message signatures of one direction, [MS-NLMP] 3.4.4.2. Each
// call uses the next sequence number, and the next bytes of the direction's RC4 stream
// where a key was exchanged, so both ends must see the same messages in the same order.
type MIC struct {
	key    [16]byte
	stream *rc4.Cipher // nil without FlagKeyExch
	seq    uint32
}

// Sum returns the signature of msg, NTLMSSP_MESSAGE_SIGNATURE.
func (m *MIC) Sum(msg []byte) (sig [16]byte) {
	binary.LittleEndian.PutUint32(sig[:], 1)
	binary.LittleEndian.PutUint32(sig[12:], m.seq)
	mac := hmacMD5(m.key[:], sig[12:], msg)
	if m.stream != nil {
		m.stream.XORKeyStream(mac[:8], mac[:8])
	}
	copy(sig[4:], mac[:8])
	m.seq++
	return sig
}

// Verify reports whether sig is the next message's signature, and counts the message
// either way.
func (m *MIC) Verify(msg, sig []byte) bool {
	want := m.Sum(msg)
	return hmac.Equal(want[:], sig)
}
