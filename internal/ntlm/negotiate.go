package ntlm

import "encoding/binary"

// Negotiate is NEGOTIATE_MESSAGE, [MS-NLMP] 2.2.1.1: what a client asks for.
type Negotiate struct {
	Flags       Flags
	Domain      []byte  // OEM characters; nil unless its flag says that it is there
	Workstation []byte  // the same
	Version     [8]byte // zero unless FlagVersion is set
}

// ParseNegotiate parses NEGOTIATE_MESSAGE. Old clients end it after the flags, or before
// the version. The result aliases msg.
func ParseNegotiate(msg []byte) (Negotiate, error) {
	const least, withNames, withVersion = 16, 32, 40
	if err := checkHead(msg, typeNegotiate, least, "NEGOTIATE"); err != nil {
		return Negotiate{}, err
	}
	n := Negotiate{Flags: Flags(binary.LittleEndian.Uint32(msg[12:]))}
	var err error
	if n.Flags&FlagOEMDomainSupplied != 0 && len(msg) >= withNames {
		if n.Domain, err = region(msg, 16, withNames); err != nil {
			return Negotiate{}, err
		}
	}
	if n.Flags&FlagOEMWorkstationSupplied != 0 && len(msg) >= withNames {
		if n.Workstation, err = region(msg, 24, withNames); err != nil {
			return Negotiate{}, err
		}
	}
	if n.Flags&FlagVersion != 0 && len(msg) >= withVersion {
		copy(n.Version[:], msg[32:])
	}
	return n, nil
}

// Append appends the message to b. Domain and Workstation, at most 65535 bytes each, are
// sent only with their flags.
func (n Negotiate) Append(b []byte) []byte {
	start := len(b)
	b = append(b, Signature...)
	b = binary.LittleEndian.AppendUint32(b, typeNegotiate)
	b = binary.LittleEndian.AppendUint32(b, uint32(n.Flags))
	b = append(b, make([]byte, 16)...)
	if n.Flags&FlagVersion != 0 {
		b = append(b, n.Version[:]...)
	}
	if n.Flags&FlagOEMDomainSupplied != 0 {
		b = appendRegion(b, start, 16, n.Domain)
	}
	if n.Flags&FlagOEMWorkstationSupplied != 0 {
		b = appendRegion(b, start, 24, n.Workstation)
	}
	return b
}
