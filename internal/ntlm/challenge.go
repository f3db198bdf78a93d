package ntlm

import "encoding/binary"

// Challenge is CHALLENGE_MESSAGE, [MS-NLMP] 2.2.1.2: the server's answer.
type Challenge struct {
	TargetName      []byte // UTF-16LE where FlagUnicode is set
	Flags           Flags
	ServerChallenge [8]byte
	TargetInfo      []byte  // an AV_PAIR list, see [ParseTargetInfo]
	Version         [8]byte // zero unless FlagVersion is set
}

// ParseChallenge parses CHALLENGE_MESSAGE. The result aliases msg.
func ParseChallenge(msg []byte) (Challenge, error) {
	const fixed, withVersion = 48, 56
	if err := checkHead(msg, typeChallenge, fixed, "CHALLENGE"); err != nil {
		return Challenge{}, err
	}
	c := Challenge{Flags: Flags(binary.LittleEndian.Uint32(msg[20:]))}
	copy(c.ServerChallenge[:], msg[24:])
	var err error
	if c.TargetName, err = region(msg, 12, fixed); err != nil {
		return Challenge{}, err
	}
	if c.TargetInfo, err = region(msg, 40, fixed); err != nil {
		return Challenge{}, err
	}
	if c.Flags&FlagVersion != 0 && len(msg) >= withVersion {
		copy(c.Version[:], msg[48:])
	}
	return c, nil
}

// Append appends the message to b. TargetName and TargetInfo have at most 65535 bytes each.
func (c Challenge) Append(b []byte) []byte {
	start := len(b)
	b = append(b, Signature...)
	b = binary.LittleEndian.AppendUint32(b, typeChallenge)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.Flags))
	b = append(b, c.ServerChallenge[:]...)
	b = append(b, make([]byte, 16)...)
	if c.Flags&FlagVersion != 0 {
		b = append(b, c.Version[:]...)
	} else {
		b = append(b, make([]byte, 8)...) // every peer expects the payload at 56
	}
	b = appendRegion(b, start, 12, c.TargetName)
	return appendRegion(b, start, 40, c.TargetInfo)
}
