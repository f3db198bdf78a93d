package smb2

import (
	"bytes"
)

// Dialect strings by which an SMB1 NEGOTIATE offers SMB2, [MS-SMB2] 2.2.2 and 3.3.5.3.
const (
	SMB1Dialect202      = "SMB 2.002"
	SMB1DialectWildcard = "SMB 2.???"
)

// maxSMB1Dialects bounds the list; real clients send about ten.
const maxSMB1Dialects = 64

// SMB1Negotiate is the SMB_COM_NEGOTIATE request with which a multi-protocol client starts, [MS-CIFS] 2.2.4.52.1.
// Nothing else of SMB1 is understood.
type SMB1Negotiate struct {
	Dialects []string // at most 64, as bytes of the OEM character set
}

// OffersSMB2 tells which of the two SMB2 dialect strings the client offers.
func (n SMB1Negotiate) OffersSMB2() (dialect202, wildcard bool) {
	for _, d := range n.Dialects {
		dialect202 = dialect202 || d == SMB1Dialect202
		wildcard = wildcard || d == SMB1DialectWildcard
	}
	return dialect202, wildcard
}

const (
	smb1HeaderLen    = 32
	smb1ComNegotiate = 0x72
)

// ParseSMB1Negotiate parses a whole SMB1 message that must be a NEGOTIATE request.
func ParseSMB1Negotiate(msg []byte) (SMB1Negotiate, error) {
	const fixed = smb1HeaderLen + 3 // WordCount, ByteCount
	if len(msg) < fixed {
		return SMB1Negotiate{}, malformed("SMB1 message of %d bytes", len(msg))
	}
	if ProtocolOf(msg) != ProtocolSMB1 || msg[4] != smb1ComNegotiate {
		return SMB1Negotiate{}, malformed("SMB1 command %#x", msg[4])
	}
	if msg[smb1HeaderLen] != 0 {
		return SMB1Negotiate{}, malformed("SMB1 NEGOTIATE WordCount %d", msg[smb1HeaderLen])
	}
	n := int(le.Uint16(msg[smb1HeaderLen+1:]))
	if n > len(msg)-fixed {
		return SMB1Negotiate{}, malformed("SMB1 NEGOTIATE ByteCount %d of %d", n, len(msg)-fixed)
	}
	var out SMB1Negotiate
	for b := msg[fixed:][:n]; len(b) > 0; {
		end := bytes.IndexByte(b, 0)
		if b[0] != 2 || end < 0 || len(out.Dialects) == maxSMB1Dialects {
			return SMB1Negotiate{}, malformed("SMB1 dialect %d", len(out.Dialects))
		}
		out.Dialects = append(out.Dialects, string(b[1:end]))
		b = b[end+1:]
	}
	return out, nil
}

// Append appends the whole message, header included. Dialects beyond the sixty-fourth, those that hold a NUL, and those
// that no longer fit the 16-bit ByteCount are left out.
func (n SMB1Negotiate) Append(b []byte) []byte {
	b = append(b, 0xFF, 'S', 'M', 'B', smb1ComNegotiate)
	b = appendZeros(b, 4)                       // status
	b = append(b, 0x18, 0x43, 0xC8)             // case-insensitive, canonical paths; Unicode, NT status, extended security, long names
	b = appendZeros(b, 12)                      // PIDHigh, SecurityFeatures, Reserved
	b = append(b, 0, 0, 0xFE, 0xFF, 0, 0, 0, 0) // TID, PID, UID, MID
	b = append(b, 0, 0, 0)                      // WordCount, ByteCount
	start := len(b)
	for _, d := range n.Dialects[:min(len(n.Dialects), maxSMB1Dialects)] {
		if bytes.IndexByte([]byte(d), 0) >= 0 || len(b)-start+len(d)+2 > maxLen16 {
			continue
		}
		b = append(b, 2)
		b = append(b, d...)
		b = append(b, 0)
	}
	le.PutUint16(b[start-2:], len16(b[start:]))
	return b
}
