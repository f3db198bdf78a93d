package spnego

import (
	encasn1 "encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/uringfs/uringfs/internal/ntlm"
)

// MaxToken bounds a token in either direction, in bytes: an SMB security buffer holds no
// more.
const MaxToken = 0xffff

// maxMechs bounds a list of mechanisms; Windows sends five.
const maxMechs = 32

// notDefined is the hintName that every Windows since 2000 sends, [MS-SPNG] 2.2.1.
const notDefined = "not_defined_in_RFC4178@please_ignore"

// OIDSPNEGO is the GSS-API mechanism SPNEGO itself, 1.3.6.1.5.5.2.
func OIDSPNEGO() encasn1.ObjectIdentifier { return encasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2} }

// OIDNTLM is the mechanism NTLMSSP, 1.3.6.1.4.1.311.2.2.10.
func OIDNTLM() encasn1.ObjectIdentifier {
	return encasn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}
}

// State is negState of NegTokenResp.
type State int8

// The states. StateNone is a field that is not there.
const (
	StateNone             State = -1
	StateAcceptCompleted  State = 0
	StateAcceptIncomplete State = 1
	StateReject           State = 2
	StateRequestMIC       State = 3
)

// Init is NegTokenInit, RFC 4178 4.2.1, or NegTokenInit2, [MS-SPNG] 2.2.1.
type Init struct {
	MechTypes []encasn1.ObjectIdentifier
	// MechList is the DER of MechTypes, what a mechListMIC covers. ParseInit takes it
	// from the wire; Append writes MechTypes.
	MechList    []byte
	MechToken   []byte // nil: none
	HintName    string // NegTokenInit2 only; "" makes a NegTokenInit
	MechListMIC []byte // nil: none
}

// Resp is NegTokenResp, RFC 4178 4.2.2.
type Resp struct {
	State         State
	SupportedMech encasn1.ObjectIdentifier // nil: none
	ResponseToken []byte                   // nil: none
	MechListMIC   []byte                   // nil: none
}

func tag(n uint8) asn1.Tag { return asn1.Tag(n).Constructed().ContextSpecific() }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: SPNEGO: %s", ntlm.ErrMalformed, fmt.Sprintf(format, args...))
}

// ParseInit parses the first token of an exchange: the GSS-API frame of RFC 2743 3.1 around
// a NegTokenInit or NegTokenInit2. The result aliases token.
func ParseInit(token []byte) (Init, error) {
	if len(token) > MaxToken {
		return Init{}, malformed("token of %d bytes", len(token))
	}
	var (
		in          Init
		frame, body cryptobyte.String
		oid         encasn1.ObjectIdentifier
	)
	s := cryptobyte.String(token)
	if !s.ReadASN1(&frame, asn1.Tag(0).Constructed()|0x40) || !s.Empty() ||
		!frame.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(OIDSPNEGO()) {
		return Init{}, malformed("no GSS-API frame")
	}
	if !frame.ReadASN1(&body, tag(0)) || !frame.Empty() ||
		!body.ReadASN1(&frame, asn1.SEQUENCE) || !body.Empty() {
		return Init{}, malformed("no NegTokenInit")
	}
	body = frame

	var (
		field   cryptobyte.String
		present bool
	)
	if !body.ReadASN1(&field, tag(0)) {
		return Init{}, malformed("no mechTypes")
	}
	in.MechList = field
	var mechs cryptobyte.String
	if !field.ReadASN1(&mechs, asn1.SEQUENCE) || !field.Empty() {
		return Init{}, malformed("mechTypes")
	}
	for !mechs.Empty() {
		if len(in.MechTypes) == maxMechs {
			return Init{}, malformed("more than %d mechanisms", maxMechs)
		}
		if !mechs.ReadASN1ObjectIdentifier(&oid) {
			return Init{}, malformed("mechanism %d", len(in.MechTypes))
		}
		in.MechTypes = append(in.MechTypes, oid)
	}
	// reqFlags: no client fills it with a meaning, and RFC 4178 tells acceptors to ignore it.
	if !body.SkipOptionalASN1(tag(1)) {
		return Init{}, malformed("reqFlags")
	}
	if err := readOctets(&body, 2, &in.MechToken); err != nil {
		return Init{}, err
	}
	// [3] is negHints in NegTokenInit2, a SEQUENCE, with the MIC in [4]; or the MIC.
	if !body.ReadOptionalASN1(&field, &present, tag(3)) {
		return Init{}, malformed("field 3")
	}
	switch {
	case present && field.PeekASN1Tag(asn1.SEQUENCE):
		if err := readHints(&in, field); err != nil {
			return Init{}, err
		}
		if err := readOctets(&body, 4, &in.MechListMIC); err != nil {
			return Init{}, err
		}
	case present:
		if err := readOctetString(field, 3, &in.MechListMIC); err != nil {
			return Init{}, err
		}
	default:
		if err := readOctets(&body, 4, &in.MechListMIC); err != nil {
			return Init{}, err
		}
	}
	if !body.Empty() {
		return Init{}, malformed("%d bytes after NegTokenInit", len(body))
	}
	return in, nil
}

// readHints reads NegHints. The name means nothing; it tells NegTokenInit2 from NegTokenInit.
func readHints(in *Init, field cryptobyte.String) error {
	var hints, name cryptobyte.String
	var present bool
	if !field.ReadASN1(&hints, asn1.SEQUENCE) || !field.Empty() ||
		!hints.ReadOptionalASN1(&name, &present, tag(0)) || !hints.SkipOptionalASN1(tag(1)) || !hints.Empty() {
		return malformed("negHints")
	}
	if !present {
		return nil
	}
	var text cryptobyte.String
	if !name.ReadASN1(&text, asn1.GeneralString) || !name.Empty() {
		return malformed("hintName")
	}
	in.HintName = string(text)
	return nil
}

// readOctets reads an optional [n] OCTET STRING.
func readOctets(s *cryptobyte.String, n uint8, to *[]byte) error {
	var field cryptobyte.String
	var present bool
	if !s.ReadOptionalASN1(&field, &present, tag(n)) {
		return malformed("field %d", n)
	}
	if !present {
		return nil
	}
	return readOctetString(field, n, to)
}

func readOctetString(field cryptobyte.String, n uint8, to *[]byte) error {
	var octets cryptobyte.String
	if !field.ReadASN1(&octets, asn1.OCTET_STRING) || !field.Empty() {
		return malformed("field %d", n)
	}
	*to = octets
	return nil
}

// Append appends the framed token to b. The token must not need more than [MaxToken] bytes.
func (in Init) Append(b []byte) []byte {
	return build(b, func(c *cryptobyte.Builder) {
		c.AddASN1(asn1.Tag(0).Constructed()|0x40, func(c *cryptobyte.Builder) {
			c.AddASN1ObjectIdentifier(OIDSPNEGO())
			c.AddASN1(tag(0), func(c *cryptobyte.Builder) {
				c.AddASN1(asn1.SEQUENCE, func(c *cryptobyte.Builder) {
					c.AddASN1(tag(0), func(c *cryptobyte.Builder) { addMechList(c, in.MechTypes) })
					addOctets(c, 2, in.MechToken)
					mic := uint8(3)
					if in.HintName != "" {
						mic = 4
						c.AddASN1(tag(3), func(c *cryptobyte.Builder) {
							c.AddASN1(asn1.SEQUENCE, func(c *cryptobyte.Builder) {
								c.AddASN1(tag(0), func(c *cryptobyte.Builder) {
									c.AddASN1(asn1.GeneralString, func(c *cryptobyte.Builder) { c.AddBytes([]byte(in.HintName)) })
								})
							})
						})
					}
					addOctets(c, mic, in.MechListMIC)
				})
			})
		})
	})
}

// ParseResp parses NegTokenResp, every token of an exchange but the first. The result
// aliases token.
func ParseResp(token []byte) (Resp, error) {
	if len(token) > MaxToken {
		return Resp{}, malformed("token of %d bytes", len(token))
	}
	r := Resp{State: StateNone}
	var outer, body, field cryptobyte.String
	var present bool
	s := cryptobyte.String(token)
	if !s.ReadASN1(&outer, tag(1)) || !s.Empty() || !outer.ReadASN1(&body, asn1.SEQUENCE) || !outer.Empty() {
		return Resp{}, malformed("no NegTokenResp")
	}
	if !body.ReadOptionalASN1(&field, &present, tag(0)) {
		return Resp{}, malformed("negState")
	}
	if present {
		var state int
		if !field.ReadASN1Enum(&state) || !field.Empty() || state < 0 || state > int(StateRequestMIC) {
			return Resp{}, malformed("negState")
		}
		r.State = State(state)
	}
	if !body.ReadOptionalASN1(&field, &present, tag(1)) {
		return Resp{}, malformed("supportedMech")
	}
	if present && (!field.ReadASN1ObjectIdentifier(&r.SupportedMech) || !field.Empty()) {
		return Resp{}, malformed("supportedMech")
	}
	if err := readOctets(&body, 2, &r.ResponseToken); err != nil {
		return Resp{}, err
	}
	if err := readOctets(&body, 3, &r.MechListMIC); err != nil {
		return Resp{}, err
	}
	if !body.Empty() {
		return Resp{}, malformed("%d bytes after NegTokenResp", len(body))
	}
	return r, nil
}

// Append appends the token to b. It must not need more than [MaxToken] bytes.
func (r Resp) Append(b []byte) []byte {
	return build(b, func(c *cryptobyte.Builder) {
		c.AddASN1(tag(1), func(c *cryptobyte.Builder) {
			c.AddASN1(asn1.SEQUENCE, func(c *cryptobyte.Builder) {
				if r.State != StateNone {
					c.AddASN1(tag(0), func(c *cryptobyte.Builder) { c.AddASN1Enum(int64(r.State)) })
				}
				if r.SupportedMech != nil {
					c.AddASN1(tag(1), func(c *cryptobyte.Builder) { c.AddASN1ObjectIdentifier(r.SupportedMech) })
				}
				addOctets(c, 2, r.ResponseToken)
				addOctets(c, 3, r.MechListMIC)
			})
		})
	})
}

func addMechList(c *cryptobyte.Builder, mechs []encasn1.ObjectIdentifier) {
	c.AddASN1(asn1.SEQUENCE, func(c *cryptobyte.Builder) {
		for _, oid := range mechs {
			c.AddASN1ObjectIdentifier(oid)
		}
	})
}

// addOctets adds an optional [n] OCTET STRING; an empty one that is not nil is sent.
func addOctets(c *cryptobyte.Builder, n uint8, octets []byte) {
	if octets != nil {
		c.AddASN1(tag(n), func(c *cryptobyte.Builder) { c.AddASN1OctetString(octets) })
	}
}

func build(b []byte, f func(c *cryptobyte.Builder)) []byte {
	c := cryptobyte.NewBuilder(b)
	f(c)
	return c.BytesOrPanic() // fails only on an OID that is none, and ours are constants or parsed
}

// HintToken returns the token of the NEGOTIATE response: NegTokenInit2 with NTLM as the only
// mechanism.
func HintToken() []byte {
	return Init{MechTypes: []encasn1.ObjectIdentifier{OIDNTLM()}, HintName: notDefined}.Append(nil)
}
