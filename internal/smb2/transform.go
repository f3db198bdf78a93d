package smb2

// TransformLen is the length of the transform header in bytes.
const TransformLen = 52

// TransformAADOffset is where the part of the transform header begins that is authenticated: Nonce to the end.
const TransformAADOffset = 20

// TransformEncrypted is the value of Flags in 3.1.1 (there named Flags, in 3.0 EncryptionAlgorithm: 1, AES-128-CCM).
const TransformEncrypted = 1

// TransformHeader is the header of an encrypted message, [MS-SMB2] 2.2.41. Layout only; the ciphers live elsewhere.
type TransformHeader struct {
	Signature    [16]byte // the tag of the AEAD
	Nonce        [16]byte // 11 bytes used by CCM, 12 by GCM
	OriginalSize uint32   // of the message that was encrypted, in bytes
	Flags        uint16
	SessionID    uint64
}

// ParseTransformHeader parses the header at the start of b; the ciphertext follows it.
func ParseTransformHeader(b []byte) (TransformHeader, error) {
	if len(b) < TransformLen {
		return TransformHeader{}, malformed("transform header of %d bytes", len(b))
	}
	if ProtocolOf(b) != ProtocolTransform {
		return TransformHeader{}, malformed("transform protocol id %x", b[:4])
	}
	return TransformHeader{
		Signature:    [16]byte(b[4:20]),
		Nonce:        [16]byte(b[20:36]),
		OriginalSize: le.Uint32(b[36:]),
		Flags:        le.Uint16(b[42:]),
		SessionID:    le.Uint64(b[44:]),
	}, nil
}

// Append appends the 52 bytes of the header.
func (h TransformHeader) Append(b []byte) []byte {
	b = append(b, 0xFD, 'S', 'M', 'B')
	b = append(b, h.Signature[:]...)
	b = append(b, h.Nonce[:]...)
	b = le.AppendUint32(b, h.OriginalSize)
	b = append(b, 0, 0)
	b = le.AppendUint16(b, h.Flags)
	return le.AppendUint64(b, h.SessionID)
}
