package spnego

import (
	encasn1 "encoding/asn1"
	"fmt"

	"github.com/uringfs/uringfs/internal/ntlm"
)

// Options says how an [Initiator] behaves; the zero value is what Windows does.
type Options struct {
	// Raw sends NTLM without SPNEGO, as the Linux kernel client does.
	Raw bool
	// NoMIC leaves out the mechListMIC and does not ask for the server's. Samba's server
	// lets such a client in only with NoNTLMMIC as well.
	NoMIC bool
	// NoNTLMMIC leaves out the MIC inside AUTHENTICATE, as old clients do.
	NoNTLMMIC bool
	// Workstation and TargetName go into AUTHENTICATE; see [ntlm.Client].
	Workstation, TargetName string
}

// Initiator is the client side of one login.
type Initiator struct {
	opts   Options
	ntlm   *ntlm.ClientExchange
	state  initState
	result *ntlm.Result
}

type initState uint8

const (
	sendNegotiate initState = iota
	wantChallenge
	wantVerdict
	over
)

// NewInitiator begins a login. An empty user logs in anonymously.
func NewInitiator(user, domain, password string, opts Options) *Initiator {
	client := &ntlm.Client{
		User: user, Domain: domain, Password: password, NoMIC: opts.NoNTLMMIC,
		Workstation: opts.Workstation, TargetName: opts.TargetName,
	}
	return &Initiator{opts: opts, ntlm: client.Start()}
}

// Step takes the server's next token and returns the answer to it.
//
// The first call takes nil, or the token of the NEGOTIATE response, which is ignored. Then
// every token of a SESSION_SETUP response goes in, also the one that comes with success
// (empty for a raw login): to that Step answers done, the session key (16 bytes, nil for an
// anonymous login), and no reply. Errors are [ntlm.ErrMalformed], [ntlm.ErrLogonFailure] if the
// server rejects or its mechListMIC is missing or wrong, and those of [ntlm.ClientExchange]; they
// end the login. token is borrowed.
func (i *Initiator) Step(token []byte) (reply []byte, done bool, sessionKey []byte, err error) {
	state := i.state
	i.state = over // unless the step says otherwise
	switch state {
	case sendNegotiate:
		reply, err = i.first()
		return reply, false, nil, err
	case wantChallenge:
		reply, err = i.second(token)
		return reply, false, nil, err
	case wantVerdict:
		if err := i.verdict(token); err != nil {
			return nil, false, nil, err
		}
		return nil, true, i.result.SessionKey, nil
	default:
		return nil, false, nil, malformed("token after the end")
	}
}

// Key returns the session key once AUTHENTICATE has been sent, nil before and for an anonymous
// login: the server signs its last answer, so a client needs the key to check that answer before it
// looks at the token in it.
func (i *Initiator) Key() []byte {
	if i.result == nil {
		return nil
	}
	return i.result.SessionKey
}

func mechs() []encasn1.ObjectIdentifier { return []encasn1.ObjectIdentifier{OIDNTLM()} }

func (i *Initiator) first() ([]byte, error) {
	msg, err := i.ntlm.Negotiate()
	if err != nil {
		return nil, err
	}
	i.state = wantChallenge
	if i.opts.Raw {
		return msg, nil
	}
	return Init{MechTypes: mechs(), MechToken: msg}.Append(nil), nil
}

func (i *Initiator) second(token []byte) ([]byte, error) {
	challenge := token
	if !i.opts.Raw {
		resp, err := ParseResp(token)
		switch {
		case err != nil:
			return nil, err
		case resp.State == StateReject:
			return nil, fmt.Errorf("%w: server rejected", ntlm.ErrLogonFailure)
		case resp.SupportedMech != nil && !resp.SupportedMech.Equal(OIDNTLM()):
			return nil, malformed("server chose a mechanism that was not offered")
		}
		challenge = resp.ResponseToken
	}
	msg, result, err := i.ntlm.Authenticate(challenge)
	if err != nil {
		return nil, err
	}
	i.result = result
	i.state = wantVerdict
	if i.opts.Raw {
		return msg, nil
	}
	resp := Resp{State: StateNone, ResponseToken: msg}
	if i.signs() {
		sig := result.MIC(true).Sum(mechList())
		resp.MechListMIC = sig[:]
	}
	return resp.Append(nil), nil
}

// signs reports whether this login exchanges mechListMICs.
func (i *Initiator) signs() bool { return !i.opts.NoMIC && i.result.CanSign() }

// mechList is the DER of what first offered.
func mechList() []byte {
	in, err := ParseInit(Init{MechTypes: mechs()}.Append(nil))
	if err != nil {
		panic(err) // our own encoding of a constant
	}
	return in.MechList
}

func (i *Initiator) verdict(token []byte) error {
	if i.opts.Raw {
		return nil // there is nothing in it; the SMB status was the verdict
	}
	resp, err := ParseResp(token)
	switch {
	case err != nil:
		return err
	case resp.State != StateAcceptCompleted:
		return fmt.Errorf("%w: server ended in state %d", ntlm.ErrLogonFailure, resp.State)
	case i.signs() && !i.result.MIC(false).Verify(mechList(), resp.MechListMIC):
		return fmt.Errorf("%w: server's mechListMIC", ntlm.ErrLogonFailure)
	}
	return nil
}
