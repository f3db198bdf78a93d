package ntlm

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

// defaultName is the NetBIOS name of a server that was given none.
const defaultName = "URINGFS"

// Server is a server's identity and its sources of chance and time. Fields are fixed once
// exchanges begin.
type Server struct {
	// NetBIOSComputer is the server's own name, "URINGFS" if empty. Like every name here it
	// has at most 256 UTF-16 units.
	NetBIOSComputer string
	// NetBIOSDomain is the domain; if empty, NetBIOSComputer: a server on its own is the
	// domain of its accounts.
	NetBIOSDomain string
	// DNSComputer is the host name; if empty, NetBIOSComputer in lower case.
	DNSComputer string
	// DNSDomain may be empty.
	DNSDomain string
	// TargetName is the realm shown to clients that ask, NetBIOSDomain if empty.
	TargetName string
	// Rand gives the challenges; nil is crypto/rand. Tests only.
	Rand io.Reader
	// Now gives the timestamp of the challenge; nil is time.Now.
	Now func() time.Time
}

// Lookup finds the NT hash of an account. It is called once an exchange, with the names
// as the client sent them, which may differ from the stored ones in case.
type Lookup func(user, domain string) (ntHash [16]byte, ok bool)

// ServerExchange is one login attempt: Challenge, then Authenticate, each once.
type ServerExchange struct {
	srv   *Server
	state exchangeState

	negotiate, challenge []byte // raw, for the MIC
	serverChallenge      [8]byte
	flags                Flags // of CHALLENGE
}

type exchangeState uint8

const (
	wantNegotiate exchangeState = iota
	wantAuthenticate
	finished
)

// Accept begins an exchange.
func (s *Server) Accept() *ServerExchange {
	return &ServerExchange{srv: s}
}

// echoed are the flags that CHALLENGE repeats if the client set them: what we can do, and what
// clients check before they sign (a missing FlagSign makes some give up).
const echoed = FlagUnicode | FlagRequestTarget | FlagSign | FlagSeal | FlagNTLM | FlagAlwaysSign |
	FlagExtendedSessionSecurity | FlagVersion | Flag128 | FlagKeyExch | Flag56

// Challenge answers NEGOTIATE_MESSAGE. It fails with [ErrMalformed], also for a client that
// does not speak Unicode or is out of turn, with [ErrUnavailable], with [ErrTooLong] for a
// configured name, or with the error of Rand.
func (x *ServerExchange) Challenge(negotiate []byte) ([]byte, error) {
	if x.state != wantNegotiate {
		x.state = finished
		return nil, fmt.Errorf("%w: NEGOTIATE out of turn", ErrMalformed)
	}
	x.state = finished
	if err := Available(); err != nil {
		return nil, err
	}
	n, err := ParseNegotiate(negotiate)
	if err != nil {
		return nil, err
	}
	if n.Flags&FlagUnicode == 0 {
		return nil, fmt.Errorf("%w: NEGOTIATE without Unicode", ErrMalformed)
	}
	name, info, err := x.srv.target()
	if err != nil {
		return nil, err
	}
	c := Challenge{Flags: n.Flags&echoed | FlagNTLM | FlagTargetInfo | FlagTargetTypeServer, TargetInfo: info}
	if n.Flags&FlagRequestTarget != 0 {
		c.TargetName = name
	}
	if n.Flags&FlagVersion != 0 {
		c.Version = version()
	}
	source := x.srv.Rand
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, c.ServerChallenge[:]); err != nil {
		return nil, fmt.Errorf("server challenge: %w", err)
	}
	x.flags, x.serverChallenge = c.Flags, c.ServerChallenge
	x.negotiate = append([]byte(nil), negotiate...)
	x.challenge = c.Append(nil)
	x.state = wantAuthenticate
	return append([]byte(nil), x.challenge...), nil
}

// target returns TargetName and the encoded TargetInfo.
func (s *Server) target() (name, info []byte, err error) {
	or := func(value, fallback string) string {
		if value == "" {
			return fallback
		}
		return value
	}
	computer := or(s.NetBIOSComputer, defaultName)
	domain := or(s.NetBIOSDomain, computer)
	if name, err = encodeName(or(s.TargetName, domain)); err != nil {
		return nil, nil, fmt.Errorf("target name: %w", err)
	}
	var list TargetInfo
	for _, p := range []struct {
		id    AVID
		value string
	}{ // in the order in which Windows sends them
		{AVNbDomain, domain},
		{AVNbComputer, computer},
		{AVDNSDomain, s.DNSDomain},
		{AVDNSComputer, or(s.DNSComputer, strings.ToLower(computer))},
	} {
		value, err := encodeName(p.value)
		if err != nil {
			return nil, nil, fmt.Errorf("target info %d: %w", p.id, err)
		}
		list = append(list, AVPair{ID: p.id, Value: value})
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	list = append(list, AVPair{ID: AVTimestamp, Value: binary.LittleEndian.AppendUint64(nil, filetime(now()))})
	return name, list.Append(nil), nil
}

// Authenticate checks AUTHENTICATE_MESSAGE and ends the exchange, whatever comes out. It
// fails with [ErrMalformed] (also out of turn) or [ErrLogonFailure]. An anonymous login is a
// success with Result.Anonymous set and no keys: whether to allow it is the caller's
// decision, and lookup is not called.
func (x *ServerExchange) Authenticate(auth []byte, lookup Lookup) (*Result, error) {
	ready := x.state == wantAuthenticate
	x.state = finished
	if !ready {
		return nil, fmt.Errorf("%w: AUTHENTICATE out of turn", ErrMalformed)
	}
	a, err := ParseAuthenticate(auth)
	if err != nil {
		return nil, err
	}
	r := &Result{flags: a.Flags & x.flags}
	if r.flags&FlagUnicode == 0 {
		return nil, fmt.Errorf("%w: AUTHENTICATE without Unicode", ErrMalformed)
	}
	for _, f := range []struct {
		to   *string
		from []byte
	}{{&r.User, a.User}, {&r.Domain, a.Domain}, {&r.Workstation, a.Workstation}} {
		if *f.to, err = decodeName(f.from); err != nil {
			return nil, err
		}
	}

	switch n := len(a.NTResponse); {
	case n == 0 && len(a.User) == 0 && (len(a.LMResponse) == 0 || len(a.LMResponse) == 1 && a.LMResponse[0] == 0):
		r.Anonymous = true
		return r, nil
	case n == 0, n == ntlmv1Size:
		return nil, fmt.Errorf("%w: LM or NTLMv1 response", ErrLogonFailure)
	}
	v2, err := ParseNTLMv2Response(a.NTResponse)
	if err != nil {
		return nil, err
	}
	if spn, ok := v2.TargetInfo.Get(AVTargetName); ok {
		if r.TargetName, err = decodeName(spn); err != nil {
			return nil, err
		}
	}
	wantMIC := v2.TargetInfo.hasMIC()
	if wantMIC && !a.HasMIC {
		return nil, fmt.Errorf("%w: AUTHENTICATE without the MIC that it announces", ErrMalformed)
	}
	if r.flags&FlagKeyExch != 0 && len(a.EncryptedSessionKey) != 16 {
		return nil, fmt.Errorf("%w: session key of %d bytes", ErrMalformed, len(a.EncryptedSessionKey))
	}

	// From here to the verdict the work is the same for every user, known or not.
	ntHash, known := lookup(r.User, r.Domain)
	base, proven := x.prove(ntHash, &a, &v2)
	if subtle.ConstantTimeByteEq(boolByte(known), 1)&proven != 1 {
		return nil, fmt.Errorf("%w: unknown user or wrong password", ErrLogonFailure)
	}

	exported := base // KeyExchangeKey is SessionBaseKey in NTLMv2
	if r.flags&FlagKeyExch != 0 {
		if exported, err = rc4K(base, [16]byte(a.EncryptedSessionKey)); err != nil {
			return nil, err
		}
	}
	if wantMIC {
		mic := authMIC(exported, x.negotiate, x.challenge, auth)
		if !hmac.Equal(mic[:], a.MIC[:]) {
			return nil, fmt.Errorf("%w: MIC", ErrLogonFailure)
		}
	}
	r.SessionKey = exported[:]
	return r, nil
}

// prove compares the client's proof with those for the domain as sent and for no domain,
// which some clients use for local accounts. It returns the session base key of the one
// that fits.
func (x *ServerExchange) prove(ntHash [16]byte, a *Authenticate, v2 *NTLMv2Response) (base [16]byte, proven int) {
	blob := a.NTResponse[proofLen:]
	for _, domain := range [][]byte{a.Domain, nil} {
		key := ntowfv2(ntHash, a.User, domain)
		proof := hmacMD5(key[:], x.serverChallenge[:], blob)
		candidate := hmacMD5(key[:], proof[:])
		equal := subtle.ConstantTimeCompare(proof[:], v2.Proof[:])
		subtle.ConstantTimeCopy(equal, base[:], candidate[:])
		proven |= equal
	}
	return base, proven
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// authMIC is the MIC over the three messages, the last with its MIC field zero.
func authMIC(exported [16]byte, negotiate, challenge, auth []byte) [16]byte {
	var zero [16]byte
	return hmacMD5(exported[:], negotiate, challenge, auth[:authMICAt], zero[:], auth[authWithMIC:])
}
