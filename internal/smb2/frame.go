package smb2

// FrameLen is the length of the transport header in front of each message, [MS-SMB2] 2.1.
const FrameLen = 4

// MaxFrame is the longest message that a frame can hold, in bytes.
const MaxFrame = 1<<24 - 1

// ParseFrame reads the transport header: a zero byte, then the length of the message in 24 bits, big endian. Bounding that
// length for the state of the connection is the caller's part.
func ParseFrame(b []byte) (length int, err error) {
	if len(b) < FrameLen {
		return 0, malformed("frame of %d bytes", len(b))
	}
	if b[0] != 0 {
		return 0, malformed("frame type %#x", b[0])
	}
	return int(b[1])<<16 | int(b[2])<<8 | int(b[3]), nil
}

// PutFrame writes the transport header for a message of length bytes (0…[MaxFrame]; more is an error) to b[:FrameLen].
func PutFrame(b []byte, length int) error {
	if length < 0 || length > MaxFrame {
		return malformed("frame of %d bytes", length)
	}
	b = b[:FrameLen]
	b[0], b[1], b[2], b[3] = 0, byte(length>>16), byte(length>>8), byte(length) //nolint:gosec // the low bytes are meant
	return nil
}

// Protocol is the kind of a message, told by its first four bytes.
type Protocol uint8

// Protocols.
const (
	ProtocolUnknown    Protocol = iota
	ProtocolSMB1                // FF 'S' 'M' 'B'
	ProtocolSMB2                // FE 'S' 'M' 'B'
	ProtocolTransform           // FD 'S' 'M' 'B': encrypted
	ProtocolCompressed          // FC 'S' 'M' 'B'
)

// ProtocolOf looks at the first four bytes of b; fewer are ProtocolUnknown.
func ProtocolOf(b []byte) Protocol {
	if len(b) < 4 || b[1] != 'S' || b[2] != 'M' || b[3] != 'B' {
		return ProtocolUnknown
	}
	switch b[0] {
	case 0xFF:
		return ProtocolSMB1
	case 0xFE:
		return ProtocolSMB2
	case 0xFD:
		return ProtocolTransform
	case 0xFC:
		return ProtocolCompressed
	}
	return ProtocolUnknown
}
