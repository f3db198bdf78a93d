package ntlm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Errors of the package; compare with errors.Is.
var (
	// ErrMalformed reports a message that is not NTLM, not well-formed, out of
	// turn, or without an option that NTLMv2 over Unicode needs.
	ErrMalformed = errors.New("ntlm: malformed message")
	// ErrLogonFailure reports a well-formed login that proves nothing: unknown
	// user, wrong password, wrong MIC, or a version of the protocol that is refused.
	ErrLogonFailure = errors.New("ntlm: logon failure")
	// ErrUnavailable reports that this process may not use MD4, MD5 or RC4.
	ErrUnavailable = errors.New("ntlm: unavailable")
	// ErrTooLong reports a configured name that does not fit the protocol.
	ErrTooLong = errors.New("ntlm: name too long")
)

// Flags is NegotiateFlags, [MS-NLMP] 2.2.2.5.
type Flags uint32

// The flags that mean something to NTLMv2.
const (
	FlagUnicode                 Flags = 0x00000001
	FlagOEM                     Flags = 0x00000002
	FlagRequestTarget           Flags = 0x00000004
	FlagSign                    Flags = 0x00000010
	FlagSeal                    Flags = 0x00000020
	FlagLMKey                   Flags = 0x00000080
	FlagNTLM                    Flags = 0x00000200
	FlagAnonymous               Flags = 0x00000800
	FlagOEMDomainSupplied       Flags = 0x00001000
	FlagOEMWorkstationSupplied  Flags = 0x00002000
	FlagAlwaysSign              Flags = 0x00008000
	FlagTargetTypeDomain        Flags = 0x00010000
	FlagTargetTypeServer        Flags = 0x00020000
	FlagExtendedSessionSecurity Flags = 0x00080000
	FlagTargetInfo              Flags = 0x00800000
	FlagVersion                 Flags = 0x02000000
	Flag128                     Flags = 0x20000000
	FlagKeyExch                 Flags = 0x40000000
	Flag56                      Flags = 0x80000000
)

// Signature is how every NTLM message begins.
const Signature = "NTLMSSP\x00"

// MaxMessage bounds a message, in bytes: an SMB security buffer holds no more.
const MaxMessage = 0xffff

const (
	typeNegotiate    = 1
	typeChallenge    = 2
	typeAuthenticate = 3
)

// maxNameUnits bounds each configured name, in UTF-16 code units. DNS names have at
// most 255 characters, NetBIOS names 15, Windows user names 256 at most.
const maxNameUnits = 256

// version is what we send as VERSION, [MS-NLMP] 2.2.2.10: product 6.1, build 0,
// NTLMSSP_REVISION_W2K3. Peers read the last byte only.
func version() [8]byte { return [8]byte{6, 1, 0, 0, 0, 0, 0, 15} }

// checkHead checks length, signature and type of a message.
func checkHead(msg []byte, kind uint32, fixed int, name string) error {
	switch {
	case len(msg) < fixed || len(msg) > MaxMessage:
		return fmt.Errorf("%w: %s of %d bytes", ErrMalformed, name, len(msg))
	case string(msg[:8]) != Signature:
		return fmt.Errorf("%w: %s without signature", ErrMalformed, name)
	case binary.LittleEndian.Uint32(msg[8:]) != kind:
		return fmt.Errorf("%w: %s of type %d", ErrMalformed, name, binary.LittleEndian.Uint32(msg[8:]))
	}
	return nil
}

// region returns the bytes that the 8-byte field descriptor at msg[at:] points to,
// which must lie at or after fixed. An empty region is nil; its offset is ignored.
// The second length, MaxLen, is ignored on read.
func region(msg []byte, at, fixed int) ([]byte, error) {
	size := uint64(binary.LittleEndian.Uint16(msg[at:]))
	if size == 0 {
		return nil, nil
	}
	offset := uint64(binary.LittleEndian.Uint32(msg[at+4:]))
	if offset < uint64(fixed) || offset+size > uint64(len(msg)) { //nolint:gosec // a constant of the message
		return nil, fmt.Errorf("%w: field at %d: offset %d, length %d in %d bytes",
			ErrMalformed, at, offset, size, len(msg))
	}
	return msg[offset : offset+size : offset+size], nil
}

// appendRegion appends data to the message b[start:] and points the descriptor at
// b[start+at:] to it.
func appendRegion(b []byte, start, at int, data []byte) []byte {
	size, offset := len(data), len(b)-start
	if size > 0xffff {
		// Every caller's data is bounded: names by maxNameUnits, parsed fields
		// by their own 16-bit lengths.
		panic("ntlm: field over 65535 bytes")
	}
	d := b[start+at:]
	binary.LittleEndian.PutUint16(d, uint16(size))       // #nosec G115 -- checked above
	binary.LittleEndian.PutUint16(d[2:], uint16(size))   // #nosec G115 -- checked above
	binary.LittleEndian.PutUint32(d[4:], uint32(offset)) // #nosec G115 -- at most seven fields of 65535
	return append(b, data...)
}

// encodeUTF16 is s as UTF-16LE.
func encodeUTF16(s string) []byte {
	b := make([]byte, 0, 2*len(s))
	for _, r := range s {
		if r1, r2 := utf16.EncodeRune(r); r1 != unicode.ReplacementChar {
			b = binary.LittleEndian.AppendUint16(b, uint16(r1)) // #nosec G115 -- a surrogate
			r = r2
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(r)) // #nosec G115 -- in the BMP
	}
	return b
}

// encodeName is encodeUTF16 for a configured name, with its bound.
func encodeName(s string) ([]byte, error) {
	b := encodeUTF16(s)
	if len(b) > 2*maxNameUnits {
		return nil, fmt.Errorf("%w: %d UTF-16 units", ErrTooLong, len(b)/2)
	}
	return b, nil
}

// decodeName reads UTF-16LE strictly: a lone surrogate would make two different users
// look the same.
func decodeName(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", fmt.Errorf("%w: name of %d bytes", ErrMalformed, len(b))
	}
	var s strings.Builder
	for i := 0; i < len(b); i += 2 {
		r := rune(binary.LittleEndian.Uint16(b[i:]))
		if utf16.IsSurrogate(r) {
			if i+4 > len(b) {
				return "", fmt.Errorf("%w: name with half a surrogate pair", ErrMalformed)
			}
			r = utf16.DecodeRune(r, rune(binary.LittleEndian.Uint16(b[i+2:])))
			if r == unicode.ReplacementChar {
				return "", fmt.Errorf("%w: name with half a surrogate pair", ErrMalformed)
			}
			i += 2
		}
		s.WriteRune(r)
	}
	return s.String(), nil
}

// upperUTF16 returns a copy of UTF-16LE text in upper case, one code unit at a time as
// Windows does it: the length never changes and pairs stay as they are.
func upperUTF16(b []byte) []byte {
	up := append([]byte(nil), b...)
	for i := 0; i+1 < len(up); i += 2 {
		r := rune(binary.LittleEndian.Uint16(up[i:]))
		if u := unicode.ToUpper(r); !utf16.IsSurrogate(r) && u <= 0xffff {
			binary.LittleEndian.PutUint16(up[i:], uint16(u)) // #nosec G115 -- checked
		}
	}
	return up
}
