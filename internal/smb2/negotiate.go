package smb2

import (
	"fmt"
	"slices"

	"github.com/uringfs/uringfs/internal/fscc"
)

// Dialect is an SMB2 dialect revision.
type Dialect uint16

// Dialects.
const (
	Dialect202 Dialect = 0x0202
	Dialect210 Dialect = 0x0210
	Dialect2FF Dialect = 0x02FF // answer to a multi-protocol NEGOTIATE: negotiate again
	Dialect300 Dialect = 0x0300
	Dialect302 Dialect = 0x0302
	Dialect311 Dialect = 0x0311
)

// String returns the dialect as people write it: "3.1.1".
func (d Dialect) String() string {
	switch d {
	case Dialect2FF:
		return "2.???"
	case Dialect210, Dialect300:
		return fmt.Sprintf("%d.%d", d>>8, d>>4&15)
	case Dialect202, Dialect302, Dialect311:
		return fmt.Sprintf("%d.%d.%d", d>>8, d>>4&15, d&15)
	}
	return fmt.Sprintf("dialect %#04x", uint16(d))
}

// SecurityMode are the signing bits of NEGOTIATE and SESSION_SETUP.
type SecurityMode uint16

// Security modes.
const (
	SigningEnabled  SecurityMode = 1
	SigningRequired SecurityMode = 2
)

// Capabilities are the global capabilities of client and server.
type Capabilities uint32

// Capabilities.
const (
	CapDFS               Capabilities = 0x01
	CapLeasing           Capabilities = 0x02
	CapLargeMTU          Capabilities = 0x04
	CapMultiChannel      Capabilities = 0x08
	CapPersistentHandles Capabilities = 0x10
	CapDirectoryLeasing  Capabilities = 0x20
	CapEncryption        Capabilities = 0x40
	CapNotifications     Capabilities = 0x80
)

// GUID is 16 bytes as they are on the wire.
type GUID [16]byte

// maxDialects bounds the list of dialects; the specification names seven.
const maxDialects = 64

// NegotiateRequest is SMB2 NEGOTIATE, [MS-SMB2] 2.2.3.
type NegotiateRequest struct {
	SecurityMode SecurityMode
	Capabilities Capabilities
	ClientGUID   GUID
	// ClientStartTime holds the eight bytes that carry negotiate contexts when Dialect311 is offered; otherwise a reserved
	// FILETIME that clients set to zero. It is written only without Dialect311.
	ClientStartTime fscc.Filetime
	Dialects        []Dialect          // at most 64
	Contexts        []NegotiateContext // only read and written if Dialects holds Dialect311
}

// Offers tells whether d is among the dialects.
func (r NegotiateRequest) Offers(d Dialect) bool {
	return slices.Contains(r.Dialects, d)
}

// ParseNegotiateRequest parses SMB2 NEGOTIATE. Context data aliases msg.
func ParseNegotiateRequest(msg []byte) (NegotiateRequest, error) {
	const fixed = 36
	b, err := fixedPart(msg, "NEGOTIATE request", fixed, 36)
	if err != nil {
		return NegotiateRequest{}, err
	}
	n := int(le.Uint16(b[2:]))
	if n > maxDialects || n*2 > len(msg)-HeaderLen-fixed {
		return NegotiateRequest{}, malformed("NEGOTIATE with %d dialects in %d bytes", n, len(msg))
	}
	r := NegotiateRequest{
		SecurityMode: SecurityMode(le.Uint16(b[4:])),
		Capabilities: Capabilities(le.Uint32(b[8:])),
		ClientGUID:   GUID(b[12:28]),
	}
	r.Dialects = make([]Dialect, n)
	for i := range r.Dialects {
		r.Dialects[i] = Dialect(le.Uint16(msg[HeaderLen+fixed+2*i:]))
	}
	if !r.Offers(Dialect311) {
		r.ClientStartTime = fscc.Filetime(le.Uint64(b[28:])) //nolint:gosec // the same 64 bits
		return r, nil
	}
	r.Contexts, err = parseNegotiateContexts(msg, HeaderLen+fixed+2*n, le.Uint32(b[28:]), le.Uint16(b[32:]))
	return r, err
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r NegotiateRequest) Append(b []byte) []byte {
	start := len(b) - HeaderLen
	dialects := r.Dialects[:min(len(r.Dialects), maxDialects)]
	r.Dialects = dialects
	contexts := r.Contexts[:min(len(r.Contexts), maxNegotiateContexts)]
	b = le.AppendUint16(b, 36)
	b = le.AppendUint16(b, uint16(len(dialects))) //nolint:gosec // at most maxDialects
	b = le.AppendUint16(b, uint16(r.SecurityMode))
	b = append(b, 0, 0)
	b = le.AppendUint32(b, uint32(r.Capabilities))
	b = append(b, r.ClientGUID[:]...)
	at := len(b)
	b = le.AppendUint64(b, uint64(r.ClientStartTime)) //nolint:gosec // the same 64 bits
	for _, d := range dialects {
		b = le.AppendUint16(b, uint16(d))
	}
	if !r.Offers(Dialect311) {
		return b
	}
	le.PutUint64(b[at:], 0)
	if len(contexts) == 0 {
		return b
	}
	b = alignFrom(b, start)
	le.PutUint32(b[at:], len32(len(b)-start))
	le.PutUint16(b[at+4:], uint16(len(contexts))) //nolint:gosec // at most maxNegotiateContexts
	return appendNegotiateContexts(b, start, contexts)
}

// NegotiateResponse is the answer to SMB2 NEGOTIATE, [MS-SMB2] 2.2.4.
type NegotiateResponse struct {
	SecurityMode    SecurityMode
	Dialect         Dialect
	ServerGUID      GUID
	Capabilities    Capabilities
	MaxTransactSize uint32 // bytes
	MaxReadSize     uint32 // bytes
	MaxWriteSize    uint32 // bytes
	SystemTime      fscc.Filetime
	ServerStartTime fscc.Filetime
	SecurityBuffer  []byte             // a SPNEGO token; at most 65535 bytes
	Contexts        []NegotiateContext // only read and written if Dialect is Dialect311
}

// ParseNegotiateResponse parses the answer to SMB2 NEGOTIATE. SecurityBuffer and context data alias msg.
func ParseNegotiateResponse(msg []byte) (NegotiateResponse, error) {
	const fixed = 64
	b, err := fixedPart(msg, "NEGOTIATE response", fixed, 65)
	if err != nil {
		return NegotiateResponse{}, err
	}
	r := NegotiateResponse{
		SecurityMode:    SecurityMode(le.Uint16(b[2:])),
		Dialect:         Dialect(le.Uint16(b[4:])),
		ServerGUID:      GUID(b[8:24]),
		Capabilities:    Capabilities(le.Uint32(b[24:])),
		MaxTransactSize: le.Uint32(b[28:]),
		MaxReadSize:     le.Uint32(b[32:]),
		MaxWriteSize:    le.Uint32(b[36:]),
		SystemTime:      fscc.Filetime(le.Uint64(b[40:])), //nolint:gosec // the same 64 bits
		ServerStartTime: fscc.Filetime(le.Uint64(b[48:])), //nolint:gosec // the same 64 bits
	}
	r.SecurityBuffer, err = region(msg, "NEGOTIATE token", HeaderLen+fixed, uint32(le.Uint16(b[56:])), uint32(le.Uint16(b[58:])))
	if err != nil {
		return NegotiateResponse{}, err
	}
	if r.Dialect == Dialect311 {
		r.Contexts, err = parseNegotiateContexts(msg, HeaderLen+fixed, le.Uint32(b[60:]), le.Uint16(b[6:]))
		if err != nil {
			return NegotiateResponse{}, err
		}
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r NegotiateResponse) Append(b []byte) []byte {
	start := len(b) - HeaderLen
	token := cut16(r.SecurityBuffer)
	contexts := r.Contexts[:min(len(r.Contexts), maxNegotiateContexts)]
	if r.Dialect != Dialect311 {
		contexts = nil
	}
	b = le.AppendUint16(b, 65)
	b = le.AppendUint16(b, uint16(r.SecurityMode))
	b = le.AppendUint16(b, uint16(r.Dialect))
	b = le.AppendUint16(b, uint16(len(contexts))) //nolint:gosec // at most maxNegotiateContexts
	b = append(b, r.ServerGUID[:]...)
	b = le.AppendUint32(b, uint32(r.Capabilities))
	b = le.AppendUint32(b, r.MaxTransactSize)
	b = le.AppendUint32(b, r.MaxReadSize)
	b = le.AppendUint32(b, r.MaxWriteSize)
	b = le.AppendUint64(b, uint64(r.SystemTime))      //nolint:gosec // the same 64 bits
	b = le.AppendUint64(b, uint64(r.ServerStartTime)) //nolint:gosec // the same 64 bits
	b = le.AppendUint16(b, HeaderLen+64)
	b = le.AppendUint16(b, len16(token))
	at := len(b)
	b = appendZeros(b, 4)
	b = appendBuffer(b, token)
	if len(contexts) == 0 {
		return b
	}
	b = alignFrom(b, start)
	le.PutUint32(b[at:], len32(len(b)-start))
	return appendNegotiateContexts(b, start, contexts)
}
