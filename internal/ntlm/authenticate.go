package ntlm

import "encoding/binary"

// Sizes of AUTHENTICATE_MESSAGE up to its payload. Which of them a message has is not
// said anywhere; it shows in where the payload begins.
const (
	authFixed       = 64
	authWithVersion = 72
	authWithMIC     = 88
	authMICAt       = 72
)

// Authenticate is AUTHENTICATE_MESSAGE, [MS-NLMP] 2.2.1.3: the client's proof. Strings
// are UTF-16LE where FlagUnicode is set.
type Authenticate struct {
	LMResponse          []byte
	NTResponse          []byte // see [ParseNTLMv2Response]
	Domain              []byte
	User                []byte
	Workstation         []byte
	EncryptedSessionKey []byte
	Flags               Flags
	HasVersion          bool
	Version             [8]byte
	HasMIC              bool // there is room for it; whether it must be right is in the NTResponse
	MIC                 [16]byte
}

// ParseAuthenticate parses AUTHENTICATE_MESSAGE. The result aliases msg.
func ParseAuthenticate(msg []byte) (Authenticate, error) {
	if err := checkHead(msg, typeAuthenticate, authFixed, "AUTHENTICATE"); err != nil {
		return Authenticate{}, err
	}
	a := Authenticate{Flags: Flags(binary.LittleEndian.Uint32(msg[60:]))}
	payload := uint64(len(msg))
	for _, f := range authFields(&a) {
		data, err := region(msg, f.at, authFixed)
		if err != nil {
			return Authenticate{}, err
		}
		*f.data = data
		if data != nil {
			payload = min(payload, uint64(binary.LittleEndian.Uint32(msg[f.at+4:])))
		}
	}
	if a.HasVersion = payload >= authWithVersion; a.HasVersion {
		copy(a.Version[:], msg[64:])
	}
	if a.HasMIC = payload >= authWithMIC; a.HasMIC {
		copy(a.MIC[:], msg[authMICAt:])
	}
	return a, nil
}

type authField struct {
	at   int
	data *[]byte
}

// authFields lists the regions in the order in which Windows lays them out.
func authFields(a *Authenticate) [6]authField {
	return [6]authField{
		{28, &a.Domain},
		{36, &a.User},
		{44, &a.Workstation},
		{12, &a.LMResponse},
		{20, &a.NTResponse},
		{52, &a.EncryptedSessionKey},
	}
}

// Append appends the message to b. Each field has at most 65535 bytes. A message with a
// MIC has room for the version too, whatever HasVersion says.
func (a Authenticate) Append(b []byte) []byte {
	start := len(b)
	b = append(b, Signature...)
	b = binary.LittleEndian.AppendUint32(b, typeAuthenticate)
	b = append(b, make([]byte, 48)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(a.Flags))
	if a.HasVersion || a.HasMIC {
		b = append(b, a.Version[:]...)
	}
	if a.HasMIC {
		b = append(b, a.MIC[:]...)
	}
	for _, f := range authFields(&a) {
		b = appendRegion(b, start, f.at, *f.data)
	}
	return b
}
