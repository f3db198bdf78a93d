package ntlm

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Client is who logs in, and how. Fields are fixed once exchanges begin; every name has
// at most 256 UTF-16 units.
type Client struct {
	// User and Password log in; an empty User logs in anonymously.
	User, Password string
	// Domain may be empty.
	Domain string
	// Workstation is the client's claim about its own name; may be empty.
	Workstation string
	// TargetName is the service that the client means to reach, "cifs/host"; may be empty.
	TargetName string
	// NoMIC leaves out the MIC in AUTHENTICATE, as old clients do.
	NoMIC bool
	// Rand gives challenges and keys; nil is crypto/rand. Tests only.
	Rand io.Reader
	// Now gives the time of servers that tell none; nil is time.Now.
	Now func() time.Time
}

// ClientExchange is one login attempt: Negotiate, then Authenticate, each once.
type ClientExchange struct {
	cli       *Client
	state     exchangeState
	negotiate []byte
}

// Start begins an exchange.
func (c *Client) Start() *ClientExchange { return &ClientExchange{cli: c} }

// maxTargetInfo bounds what a client copies from a server's target info, so that its
// response cannot outgrow a 16-bit length. Real ones have some 200 bytes.
const maxTargetInfo = 4096

// asked is what the client asks for.
const asked = FlagUnicode | FlagRequestTarget | FlagSign | FlagNTLM | FlagAlwaysSign |
	FlagExtendedSessionSecurity | FlagTargetInfo | FlagVersion | Flag128 | FlagKeyExch | Flag56

// Negotiate returns NEGOTIATE_MESSAGE.
func (x *ClientExchange) Negotiate() ([]byte, error) {
	if x.state != wantNegotiate {
		return nil, fmt.Errorf("%w: NEGOTIATE out of turn", ErrMalformed)
	}
	if err := Available(); err != nil {
		return nil, err
	}
	x.state = wantAuthenticate
	x.negotiate = Negotiate{Flags: asked, Version: version()}.Append(nil)
	return append([]byte(nil), x.negotiate...), nil
}

// Authenticate answers CHALLENGE_MESSAGE with AUTHENTICATE_MESSAGE. It fails with
// [ErrMalformed] if the challenge is that, or offers less than NTLMv2 with Unicode, extended
// session security and 128-bit key exchange; with [ErrTooLong] for a name; or with the error of
// Rand. Whether the server accepts the login is not known yet.
func (x *ClientExchange) Authenticate(challenge []byte) ([]byte, *Result, error) {
	ready := x.state == wantAuthenticate
	x.state = finished
	if !ready {
		return nil, nil, fmt.Errorf("%w: CHALLENGE out of turn", ErrMalformed)
	}
	ch, err := ParseChallenge(challenge)
	if err != nil {
		return nil, nil, err
	}
	const need = FlagUnicode | FlagNTLM | FlagExtendedSessionSecurity | FlagTargetInfo | FlagKeyExch | Flag128
	if ch.Flags&need != need {
		return nil, nil, fmt.Errorf("%w: CHALLENGE with flags %#x", ErrMalformed, uint32(ch.Flags))
	}
	info, err := ParseTargetInfo(ch.TargetInfo)
	if err != nil {
		return nil, nil, err
	}
	c := x.cli
	r := &Result{
		User: c.User, Domain: c.Domain, Workstation: c.Workstation, TargetName: c.TargetName,
		flags: asked & ch.Flags,
	}
	a := Authenticate{Flags: r.flags, HasVersion: true, Version: version()}
	for _, f := range []struct {
		to   *[]byte
		from string
	}{{&a.User, c.User}, {&a.Domain, c.Domain}, {&a.Workstation, c.Workstation}} {
		if *f.to, err = encodeName(f.from); err != nil {
			return nil, nil, err
		}
	}
	if c.User == "" {
		r.Anonymous, r.Domain, r.TargetName = true, "", ""
		a.Domain = nil
		a.Flags |= FlagAnonymous
		a.LMResponse = []byte{0}
		a.EncryptedSessionKey = make([]byte, 16) // there is no secret to exchange
		return a.Append(nil), r, nil
	}

	v2, withMIC, err := x.response(info)
	if err != nil {
		return nil, nil, err
	}
	key := ntowfv2(NTHash(c.Password), a.User, a.Domain)
	response := v2.Append(nil)
	proof := hmacMD5(key[:], ch.ServerChallenge[:], response[proofLen:])
	copy(response, proof[:])
	a.NTResponse = response
	a.LMResponse = make([]byte, 24) // [MS-NLMP] 3.1.5.1.2 wants zeros; who checks NTLMv2 reads no further
	base := hmacMD5(key[:], proof[:])

	var exported [16]byte
	if err := x.random(exported[:]); err != nil {
		return nil, nil, err
	}
	encrypted, err := rc4K(base, exported)
	if err != nil {
		return nil, nil, err
	}
	a.EncryptedSessionKey = encrypted[:]
	a.HasMIC = withMIC
	msg := a.Append(nil)
	if withMIC {
		mic := authMIC(exported, x.negotiate, challenge, msg)
		copy(msg[authMICAt:], mic[:])
	}
	r.SessionKey = exported[:]
	return msg, r, nil
}

// response prepares the NTLMv2 response, its proof still empty: the server's pairs, and ours
// behind them.
func (x *ClientExchange) response(info TargetInfo) (v2 NTLMv2Response, withMIC bool, err error) {
	if err := x.random(v2.ClientChallenge[:]); err != nil {
		return v2, false, err
	}
	stamp, hasTime := info.Get(AVTimestamp)
	if hasTime {
		v2.Timestamp = binary.LittleEndian.Uint64(stamp)
	} else {
		now := time.Now
		if x.cli.Now != nil {
			now = x.cli.Now
		}
		v2.Timestamp = filetime(now())
	}
	withMIC = hasTime && !x.cli.NoMIC
	size := 0
	for _, p := range info {
		if p.ID == AVFlags || p.ID == AVTargetName {
			continue // those two are the client's to say
		}
		size += 4 + len(p.Value)
		v2.TargetInfo = append(v2.TargetInfo, p)
	}
	if withMIC {
		v2.TargetInfo = append(v2.TargetInfo, AVPair{ID: AVFlags, Value: []byte{avFlagMIC, 0, 0, 0}})
	}
	if x.cli.TargetName != "" {
		spn, err := encodeName(x.cli.TargetName)
		if err != nil {
			return v2, false, err
		}
		v2.TargetInfo = append(v2.TargetInfo, AVPair{ID: AVTargetName, Value: spn})
	}
	if size > maxTargetInfo {
		return v2, false, fmt.Errorf("%w: target info of %d bytes", ErrMalformed, size)
	}
	return v2, withMIC, nil
}

func (x *ClientExchange) random(b []byte) error {
	source := x.cli.Rand
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, b); err != nil {
		return fmt.Errorf("random bytes: %w", err)
	}
	return nil
}
