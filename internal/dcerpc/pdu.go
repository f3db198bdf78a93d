package dcerpc

// PacketType is the type of a PDU.
type PacketType uint8

// Packet types, [C706] 12.6.4.
const (
	TypeRequest  PacketType = 0
	TypeResponse PacketType = 2
	TypeFault    PacketType = 3
	TypeBind     PacketType = 11
	TypeBindAck  PacketType = 12
	TypeBindNak  PacketType = 13
	TypeAlterCtx PacketType = 14
	TypeAlterAck PacketType = 15
)

// Flags of a PDU.
const (
	FlagFirstFrag  uint8 = 0x01
	FlagLastFrag   uint8 = 0x02
	FlagObjectUUID uint8 = 0x80
)

// HeaderLen is the length of the common header in bytes.
const HeaderLen = 16

// Header is the common header, [C706] 12.6.3.1.
type Header struct {
	Type       PacketType
	Flags      uint8
	FragLength uint16 // bytes of the whole PDU; Append of a PDU fills it in
	AuthLength uint16 // bytes of an authentication trailer; Append of a PDU writes 0
	CallID     uint32
}

// IsWhole tells whether the PDU is a whole message in one fragment.
func (h Header) IsWhole() bool {
	return h.Flags&(FlagFirstFrag|FlagLastFrag) == FlagFirstFrag|FlagLastFrag
}

// ParseHeader parses the common header. FragLength must cover the header and not more than b, so that b[:FragLength] is the PDU.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, malformed("PDU of %d bytes", len(b))
	}
	if b[0] != 5 || b[4] != 0x10 {
		return Header{}, malformed("RPC version %d, data representation %#x", b[0], b[4])
	}
	h := Header{
		Type: PacketType(b[2]), Flags: b[3], FragLength: le.Uint16(b[8:]), AuthLength: le.Uint16(b[10:]), CallID: le.Uint32(b[12:]),
	}
	if h.FragLength < HeaderLen || int(h.FragLength) > len(b) {
		return Header{}, malformed("fragment of %d bytes in %d", h.FragLength, len(b))
	}
	return h, nil
}

// Append appends the 16 bytes.
func (h Header) Append(b []byte) []byte {
	b = append(b, 5, 0, uint8(h.Type), h.Flags, 0x10, 0, 0, 0)
	b = le.AppendUint16(b, h.FragLength)
	b = le.AppendUint16(b, h.AuthLength)
	return le.AppendUint32(b, h.CallID)
}

// body returns a reader behind the header of a PDU of one of the types, without the authentication trailer.
func body(pdu []byte, types ...PacketType) (Header, *reader, error) {
	h, err := ParseHeader(pdu)
	if err != nil {
		return Header{}, nil, err
	}
	for _, t := range types {
		if h.Type != t {
			continue
		}
		end := int(h.FragLength)
		if h.AuthLength > 0 {
			end -= int(h.AuthLength) + 8
		}
		if end < HeaderLen {
			return Header{}, nil, malformed("authentication trailer of %d bytes in %d", h.AuthLength, h.FragLength)
		}
		return h, &reader{b: pdu[:end:end], off: HeaderLen}, nil
	}
	return Header{}, nil, malformed("packet type %d", h.Type)
}

func begin(b []byte, t PacketType, flags uint8, callID uint32) *writer {
	w := newWriter(b)
	w.b = Header{Type: t, Flags: flags, CallID: callID}.Append(b)
	return w
}

// MaxStub bounds the stub data of a PDU, so that its length fits the 16 bits of FragLength; in bytes.
const MaxStub = 1<<16 - 1 - 24

func (w *writer) end() []byte {
	le.PutUint16(w.b[w.start+8:], uint16(min(len(w.b)-w.start, 1<<16-1))) //nolint:gosec // bounded
	return w.b
}

// SyntaxID names an interface or a transfer syntax.
type SyntaxID struct {
	UUID    [16]byte // as on the wire
	Version uint32   // major in the low half
}

// SrvsvcSyntax is the srvsvc interface, version 3.0.
func SrvsvcSyntax() SyntaxID {
	return SyntaxID{UUID: [16]byte{0xC8, 0x4F, 0x32, 0x4B, 0x70, 0x16, 0xD3, 0x01, 0x12, 0x78, 0x5A, 0x47, 0xBF, 0x6E, 0xE1, 0x88}, Version: 3}
}

// NDRSyntax is NDR 32, version 2.0.
func NDRSyntax() SyntaxID {
	return SyntaxID{UUID: [16]byte{0x04, 0x5D, 0x88, 0x8A, 0xEB, 0x1C, 0xC9, 0x11, 0x9F, 0xE8, 0x08, 0x00, 0x2B, 0x10, 0x48, 0x60}, Version: 2}
}

func (r *reader) syntax() SyntaxID {
	r.align(4)
	b := r.take(20)
	if b == nil {
		return SyntaxID{}
	}
	return SyntaxID{UUID: [16]byte(b[:16]), Version: le.Uint32(b[16:])}
}

func (w *writer) syntax(s SyntaxID) {
	w.align(4)
	w.b = append(w.b, s.UUID[:]...)
	w.uint32(s.Version)
}

const maxContexts = 16

// PresentationContext is one interface that a client wants, with the transfer syntaxes it can.
type PresentationContext struct {
	ID       uint16
	Abstract SyntaxID
	Transfer []SyntaxID // at most 16
}

// Bind is the bind and, with Alter, the alter_context PDU, [C706] 12.6.4.3.
type Bind struct {
	Alter    bool
	CallID   uint32
	MaxXmit  uint16 // bytes
	MaxRecv  uint16 // bytes
	AssocID  uint32
	Contexts []PresentationContext // at most 16
}

// ParseBind parses a bind or alter_context PDU.
func ParseBind(pdu []byte) (Bind, error) {
	h, r, err := body(pdu, TypeBind, TypeAlterCtx)
	if err != nil {
		return Bind{}, err
	}
	b := Bind{Alter: h.Type == TypeAlterCtx, CallID: h.CallID, MaxXmit: r.uint16(), MaxRecv: r.uint16(), AssocID: r.uint32()}
	n := r.uint8()
	r.take(3)
	if n > maxContexts {
		return Bind{}, malformed("bind with %d contexts", n)
	}
	for range n {
		r.align(4)
		c := PresentationContext{ID: r.uint16()}
		m := r.uint8()
		r.take(1)
		if m > maxContexts {
			return Bind{}, malformed("bind with %d transfer syntaxes", m)
		}
		c.Abstract = r.syntax()
		for range m {
			c.Transfer = append(c.Transfer, r.syntax())
		}
		b.Contexts = append(b.Contexts, c)
	}
	if r.err != nil {
		return Bind{}, r.err
	}
	return b, nil
}

// Append appends the PDU.
func (p Bind) Append(b []byte) []byte {
	t := TypeBind
	if p.Alter {
		t = TypeAlterCtx
	}
	w := begin(b, t, FlagFirstFrag|FlagLastFrag, p.CallID)
	w.uint16(p.MaxXmit)
	w.uint16(p.MaxRecv)
	w.uint32(p.AssocID)
	contexts := p.Contexts[:min(len(p.Contexts), maxContexts)]
	w.b = append(w.b, byte(len(contexts)), 0, 0, 0) //nolint:gosec // at most maxContexts
	for _, c := range contexts {
		transfer := c.Transfer[:min(len(c.Transfer), maxContexts)]
		w.uint16(c.ID)
		w.b = append(w.b, byte(len(transfer)), 0) //nolint:gosec // at most maxContexts
		w.syntax(c.Abstract)
		for _, s := range transfer {
			w.syntax(s)
		}
	}
	return w.end()
}

// Results of a presentation context.
const (
	ResultAcceptance        uint16 = 0
	ResultUserRejection     uint16 = 1
	ResultProviderRejection uint16 = 2

	ReasonAbstractSyntax uint16 = 1
	ReasonTransferSyntax uint16 = 2
)

// ContextResult answers one presentation context.
type ContextResult struct {
	Result   uint16
	Reason   uint16
	Transfer SyntaxID // zero unless accepted
}

// BindAck is the bind_ack and, with Alter, the alter_context_resp PDU, [C706] 12.6.4.4.
type BindAck struct {
	Alter         bool
	CallID        uint32
	MaxXmit       uint16 // bytes
	MaxRecv       uint16 // bytes
	AssocID       uint32
	SecondaryAddr string          // `\PIPE\srvsvc`; at most 255 bytes, without NUL
	Results       []ContextResult // at most 16
}

// ParseBindAck parses a bind_ack or alter_context_resp PDU.
func ParseBindAck(pdu []byte) (BindAck, error) {
	h, r, err := body(pdu, TypeBindAck, TypeAlterAck)
	if err != nil {
		return BindAck{}, err
	}
	a := BindAck{Alter: h.Type == TypeAlterAck, CallID: h.CallID, MaxXmit: r.uint16(), MaxRecv: r.uint16(), AssocID: r.uint32()}
	n := int(r.uint16())
	if n > maxSecondaryAddr+1 {
		return BindAck{}, malformed("secondary address of %d bytes", n)
	}
	addr := r.take(n)
	if len(addr) > 0 {
		if addr[n-1] != 0 {
			return BindAck{}, malformed("secondary address without NUL")
		}
		a.SecondaryAddr = string(addr[:n-1])
	}
	r.align(4)
	count := r.uint8()
	r.take(3)
	if count > maxContexts {
		return BindAck{}, malformed("bind_ack with %d results", count)
	}
	for range count {
		a.Results = append(a.Results, ContextResult{Result: r.uint16(), Reason: r.uint16(), Transfer: r.syntax()})
	}
	if r.err != nil {
		return BindAck{}, r.err
	}
	return a, nil
}

const maxSecondaryAddr = 255

// Append appends the PDU.
func (p BindAck) Append(b []byte) []byte {
	t := TypeBindAck
	if p.Alter {
		t = TypeAlterAck
	}
	w := begin(b, t, FlagFirstFrag|FlagLastFrag, p.CallID)
	w.uint16(p.MaxXmit)
	w.uint16(p.MaxRecv)
	w.uint32(p.AssocID)
	addr := p.SecondaryAddr[:min(len(p.SecondaryAddr), maxSecondaryAddr)]
	w.uint16(uint16(len(addr) + 1)) //nolint:gosec // at most maxSecondaryAddr+1
	w.b = append(append(w.b, addr...), 0)
	w.align(4)
	results := p.Results[:min(len(p.Results), maxContexts)]
	w.b = append(w.b, byte(len(results)), 0, 0, 0) //nolint:gosec // at most maxContexts
	for _, c := range results {
		w.uint16(c.Result)
		w.uint16(c.Reason)
		w.syntax(c.Transfer)
	}
	return w.end()
}

// Request is the request PDU, [C706] 12.6.4.9.
type Request struct {
	CallID    uint32
	Flags     uint8 // fragment flags; FlagObjectUUID is refused
	AllocHint uint32
	ContextID uint16
	OpNum     uint16
	Stub      []byte // at most MaxStub bytes
}

// ParseRequest parses a request PDU. Stub aliases pdu.
func ParseRequest(pdu []byte) (Request, error) {
	h, r, err := body(pdu, TypeRequest)
	if err != nil {
		return Request{}, err
	}
	if h.Flags&FlagObjectUUID != 0 {
		return Request{}, malformed("request for an object")
	}
	q := Request{CallID: h.CallID, Flags: h.Flags, AllocHint: r.uint32(), ContextID: r.uint16(), OpNum: r.uint16()}
	if r.err != nil {
		return Request{}, r.err
	}
	q.Stub = r.b[r.off:]
	return q, nil
}

// Append appends the PDU.
func (p Request) Append(b []byte) []byte {
	w := begin(b, TypeRequest, p.Flags&^FlagObjectUUID, p.CallID)
	w.uint32(p.AllocHint)
	w.uint16(p.ContextID)
	w.uint16(p.OpNum)
	w.b = append(w.b, p.Stub[:min(len(p.Stub), MaxStub)]...)
	return w.end()
}

// Response is the response PDU, [C706] 12.6.4.10.
type Response struct {
	CallID    uint32
	Flags     uint8
	AllocHint uint32
	ContextID uint16
	Stub      []byte // at most MaxStub bytes
}

// ParseResponse parses a response PDU. Stub aliases pdu.
func ParseResponse(pdu []byte) (Response, error) {
	h, r, err := body(pdu, TypeResponse)
	if err != nil {
		return Response{}, err
	}
	p := Response{CallID: h.CallID, Flags: h.Flags, AllocHint: r.uint32(), ContextID: r.uint16()}
	r.take(2)
	if r.err != nil {
		return Response{}, r.err
	}
	p.Stub = r.b[r.off:]
	return p, nil
}

// Append appends the PDU.
func (p Response) Append(b []byte) []byte {
	w := begin(b, TypeResponse, p.Flags, p.CallID)
	w.uint32(p.AllocHint)
	w.uint16(p.ContextID)
	w.b = append(w.b, 0, 0)
	w.b = append(w.b, p.Stub[:min(len(p.Stub), MaxStub)]...)
	return w.end()
}

// Fault codes, [C706] appendix E and [MS-RPCE] 2.2.2.5.
const (
	FaultOpRangeError   uint32 = 0x1C010002
	FaultUnknownIf      uint32 = 0x1C010003
	FaultProtocolError  uint32 = 0x1C01000B
	FaultAccessDenied   uint32 = 0x00000005
	FaultBadStubData    uint32 = 0x000006F7
	FaultInvalidContext uint32 = 0x1C00001C
)

// Fault is the fault PDU, [C706] 12.6.4.7.
type Fault struct {
	CallID    uint32
	Flags     uint8
	AllocHint uint32
	ContextID uint16
	Status    uint32
}

// ParseFault parses a fault PDU.
func ParseFault(pdu []byte) (Fault, error) {
	h, r, err := body(pdu, TypeFault)
	if err != nil {
		return Fault{}, err
	}
	f := Fault{CallID: h.CallID, Flags: h.Flags, AllocHint: r.uint32(), ContextID: r.uint16()}
	r.take(2)
	f.Status = r.uint32()
	if r.err != nil {
		return Fault{}, r.err
	}
	return f, nil
}

// Append appends the PDU.
func (p Fault) Append(b []byte) []byte {
	w := begin(b, TypeFault, p.Flags, p.CallID)
	w.uint32(p.AllocHint)
	w.uint16(p.ContextID)
	w.b = append(w.b, 0, 0)
	w.uint32(p.Status)
	w.uint32(0)
	return w.end()
}
