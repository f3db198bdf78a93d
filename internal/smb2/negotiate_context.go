package smb2

import "fmt"

// NegotiateContextType is the type of a negotiate context of 3.1.1.
type NegotiateContextType uint16

// Negotiate context types, [MS-SMB2] 2.2.3.1; 0x100 is the Linux community's POSIX extension.
const (
	ContextPreauthIntegrity NegotiateContextType = 0x0001
	ContextEncryption       NegotiateContextType = 0x0002
	ContextCompression      NegotiateContextType = 0x0003
	ContextNetname          NegotiateContextType = 0x0005
	ContextTransport        NegotiateContextType = 0x0006
	ContextRDMATransform    NegotiateContextType = 0x0007
	ContextSigning          NegotiateContextType = 0x0008
	ContextPosix            NegotiateContextType = 0x0100
)

// Algorithm identifiers inside negotiate contexts.
const (
	HashSHA512 uint16 = 0x0001

	CipherAES128CCM uint16 = 0x0001
	CipherAES128GCM uint16 = 0x0002
	CipherAES256CCM uint16 = 0x0003
	CipherAES256GCM uint16 = 0x0004

	SigningHMACSHA256 uint16 = 0x0000
	SigningAESCMAC    uint16 = 0x0001
	SigningAESGMAC    uint16 = 0x0002

	CompressionNone      uint16 = 0x0000
	CompressionLZNT1     uint16 = 0x0001
	CompressionLZ77      uint16 = 0x0002
	CompressionLZ77Huff  uint16 = 0x0003
	CompressionPatternV1 uint16 = 0x0004
	CompressionLZ4       uint16 = 0x0005
)

// NegotiateContext is one entry of the list, undecoded.
type NegotiateContext struct {
	Type NegotiateContextType
	Data []byte // at most 65535 bytes
}

const (
	// maxNegotiateContexts bounds the list; the specification defines seven types, and duplicates of most are errors.
	maxNegotiateContexts  = 64
	negotiateContextFixed = 8
	maxAlgorithms         = 64
	maxSalt               = 1024
)

func parseNegotiateContexts(msg []byte, start int, off uint32, count uint16) ([]NegotiateContext, error) {
	if count == 0 {
		return nil, nil
	}
	if count > maxNegotiateContexts || off%8 != 0 || uint64(off) < uint64(start) || uint64(off) > uint64(len(msg)) { //nolint:gosec // start is small and positive
		return nil, malformed("%d negotiate contexts at %d of %d bytes", count, off, len(msg))
	}
	list := make([]NegotiateContext, 0, count)
	for b := msg[off:]; ; {
		if len(b) < negotiateContextFixed {
			return nil, malformed("negotiate context %d in %d bytes", len(list), len(b))
		}
		n := int(le.Uint16(b[2:]))
		if n > len(b)-negotiateContextFixed {
			return nil, malformed("negotiate context %d of %d bytes in %d", len(list), n, len(b))
		}
		end := negotiateContextFixed + n
		list = append(list, NegotiateContext{Type: NegotiateContextType(le.Uint16(b)), Data: b[negotiateContextFixed:end:end]})
		if len(list) == int(count) {
			return list, nil
		}
		end = (end + 7) &^ 7
		if end > len(b) {
			return nil, malformed("negotiate context %d beyond the end", len(list))
		}
		b = b[end:]
	}
}

func appendNegotiateContexts(b []byte, start int, list []NegotiateContext) []byte {
	for i, c := range list {
		if i > 0 {
			b = alignFrom(b, start)
		}
		data := cut16(c.Data)
		b = le.AppendUint16(b, uint16(c.Type))
		b = le.AppendUint16(b, len16(data))
		b = appendZeros(b, 4)
		b = append(b, data...)
	}
	return b
}

// algorithms parses count 16-bit identifiers at the start of b and returns what follows them.
func algorithms(b []byte, count int, what string) (ids []uint16, rest []byte, err error) {
	if count > maxAlgorithms || count*2 > len(b) {
		return nil, nil, malformed("%s with %d algorithms in %d bytes", what, count, len(b))
	}
	ids = make([]uint16, count)
	for i := range ids {
		ids[i] = le.Uint16(b[2*i:])
	}
	return ids, b[2*count:], nil
}

func appendAlgorithms(b []byte, ids []uint16) []byte {
	for _, id := range ids {
		b = le.AppendUint16(b, id)
	}
	return b
}

func countAlgorithms(ids []uint16) uint16 { return uint16(min(len(ids), maxAlgorithms)) }

// PreauthIntegrity is SMB2_PREAUTH_INTEGRITY_CAPABILITIES, [MS-SMB2] 2.2.3.1.1.
type PreauthIntegrity struct {
	HashAlgorithms []uint16 // at most 64
	Salt           []byte   // at most 1024 bytes; clients send 32
}

// ParsePreauthIntegrity parses the data of a context. Salt aliases data.
func ParsePreauthIntegrity(data []byte) (PreauthIntegrity, error) {
	if len(data) < 4 {
		return PreauthIntegrity{}, malformed("preauth integrity context of %d bytes", len(data))
	}
	ids, rest, err := algorithms(data[4:], int(le.Uint16(data)), "preauth integrity context")
	if err != nil {
		return PreauthIntegrity{}, err
	}
	n := int(le.Uint16(data[2:]))
	if n > len(rest) || n > maxSalt {
		return PreauthIntegrity{}, malformed("preauth integrity salt of %d bytes in %d", n, len(rest))
	}
	return PreauthIntegrity{HashAlgorithms: ids, Salt: rest[:n:n]}, nil
}

// Append appends the data of the context.
func (p PreauthIntegrity) Append(b []byte) []byte {
	n := countAlgorithms(p.HashAlgorithms)
	salt := p.Salt[:min(len(p.Salt), maxSalt)]
	b = le.AppendUint16(b, n)
	b = le.AppendUint16(b, len16(salt))
	b = appendAlgorithms(b, p.HashAlgorithms[:n])
	return append(b, salt...)
}

// AlgorithmList is the data of SMB2_ENCRYPTION_CAPABILITIES (2.2.3.1.2) and SMB2_SIGNING_CAPABILITIES (2.2.3.1.7): a count
// and as many identifiers, most wanted first; at most 64.
type AlgorithmList []uint16

// ParseAlgorithmList parses the data of a context.
func ParseAlgorithmList(data []byte) (AlgorithmList, error) {
	if len(data) < 2 {
		return nil, malformed("algorithm list of %d bytes", len(data))
	}
	ids, _, err := algorithms(data[2:], int(le.Uint16(data)), "algorithm list")
	return ids, err
}

// Append appends the data of the context.
func (l AlgorithmList) Append(b []byte) []byte {
	n := countAlgorithms(l)
	b = le.AppendUint16(b, n)
	return appendAlgorithms(b, l[:n])
}

// CompressionCapabilities is SMB2_COMPRESSION_CAPABILITIES, [MS-SMB2] 2.2.3.1.3.
type CompressionCapabilities struct {
	Flags      uint32 // 1: chained
	Algorithms []uint16
}

// ParseCompressionCapabilities parses the data of a context.
func ParseCompressionCapabilities(data []byte) (CompressionCapabilities, error) {
	if len(data) < 8 {
		return CompressionCapabilities{}, malformed("compression context of %d bytes", len(data))
	}
	ids, _, err := algorithms(data[8:], int(le.Uint16(data)), "compression context")
	if err != nil {
		return CompressionCapabilities{}, err
	}
	return CompressionCapabilities{Flags: le.Uint32(data[4:]), Algorithms: ids}, nil
}

// Append appends the data of the context.
func (c CompressionCapabilities) Append(b []byte) []byte {
	n := countAlgorithms(c.Algorithms)
	b = le.AppendUint16(b, n)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, c.Flags)
	return appendAlgorithms(b, c.Algorithms[:n])
}

// ParseNetname parses the data of SMB2_NETNAME_NEGOTIATE_CONTEXT_ID: the server name that the client typed, [MS-SMB2] 2.2.3.1.4.
func ParseNetname(data []byte) (string, error) {
	s, err := DecodeUTF16(data)
	if err != nil {
		return "", fmt.Errorf("netname context: %w", err)
	}
	return s, nil
}

// AppendNetname is the inverse of [ParseNetname].
func AppendNetname(b []byte, name string) []byte { return append(b, encodeName16(name)...) }
