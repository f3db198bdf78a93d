package spnego

import (
	encasn1 "encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"github.com/uringfs/uringfs/internal/ntlm"
)

// Acceptor is the server side of one login.
type Acceptor struct {
	ntlm   *ntlm.ServerExchange
	lookup ntlm.Lookup
	state  acceptState
	raw    bool

	mechList []byte // the client's, as it came
	needMIC  bool
}

type acceptState uint8

const (
	wantFirst acceptState = iota
	wantNegotiate
	wantAuthenticate
	finished
)

// NewAcceptor begins a login at srv with the accounts of lookup.
func NewAcceptor(srv *ntlm.Server, lookup ntlm.Lookup) *Acceptor {
	return &Acceptor{ntlm: srv.Accept(), lookup: lookup}
}

// Step takes the client's next token and returns the answer to it.
//
// If done and err are both nil, the login goes on: reply goes out with
// MORE_PROCESSING_REQUIRED. If done is set, the login has succeeded and reply, empty for a
// raw client, goes out with success. An error, [ntlm.ErrMalformed], [ntlm.ErrLogonFailure] or
// one of Challenge's, ends the login; reply is nil. token is borrowed.
func (a *Acceptor) Step(token []byte) (reply []byte, done *ntlm.Result, err error) {
	state := a.state
	a.state = finished // unless the step says otherwise
	raw := strings.HasPrefix(string(token[:min(len(token), len(ntlm.Signature))]), ntlm.Signature)
	switch state {
	case wantFirst:
		a.raw = raw
		if !raw {
			return a.first(token)
		}
		reply, err = a.ntlm.Challenge(token)
		if err == nil {
			a.state = wantAuthenticate
		}
		return reply, nil, err
	case finished:
		return nil, nil, malformed("token after the end")
	}
	if raw != a.raw {
		return nil, nil, malformed("raw NTLM inside SPNEGO or the reverse")
	}
	if raw {
		done, err = a.ntlm.Authenticate(token, a.lookup)
		return nil, done, err
	}
	resp, err := ParseResp(token)
	switch {
	case err != nil:
		return nil, nil, err
	case resp.State == StateReject:
		return nil, nil, fmt.Errorf("%w: client rejected", ntlm.ErrLogonFailure)
	case state == wantNegotiate:
		reply, err = a.challenge(StateAcceptIncomplete, resp.ResponseToken, nil)
		return reply, nil, err
	default:
		return a.authenticate(resp)
	}
}

// first answers NegTokenInit.
func (a *Acceptor) first(token []byte) ([]byte, *ntlm.Result, error) {
	in, err := ParseInit(token)
	if err != nil {
		return nil, nil, err
	}
	index := slices.IndexFunc(in.MechTypes, func(oid encasn1.ObjectIdentifier) bool { return oid.Equal(OIDNTLM()) })
	if index < 0 {
		return nil, nil, malformed("none of %d mechanisms is NTLM", len(in.MechTypes))
	}
	a.mechList = append([]byte(nil), in.MechList...)
	switch {
	case index > 0:
		// The optimistic token belongs to another mechanism, and NTLM is not what the
		// client likes best: it must prove that it said so, RFC 4178 5.
		a.needMIC = true
		a.state = wantNegotiate
		return Resp{State: StateRequestMIC, SupportedMech: OIDNTLM()}.Append(nil), nil, nil
	case in.MechToken == nil:
		a.state = wantNegotiate
		return Resp{State: StateAcceptIncomplete, SupportedMech: OIDNTLM()}.Append(nil), nil, nil
	default:
		reply, err := a.challenge(StateAcceptIncomplete, in.MechToken, OIDNTLM())
		return reply, nil, err
	}
}

// challenge answers NTLM's NEGOTIATE; mech is nil if the client knows it already.
func (a *Acceptor) challenge(state State, negotiate []byte, mech encasn1.ObjectIdentifier) ([]byte, error) {
	challenge, err := a.ntlm.Challenge(negotiate)
	if err != nil {
		return nil, err
	}
	a.state = wantAuthenticate
	return Resp{State: state, SupportedMech: mech, ResponseToken: challenge}.Append(nil), nil
}

// authenticate takes the client's last token.
func (a *Acceptor) authenticate(resp Resp) ([]byte, *ntlm.Result, error) {
	done, err := a.ntlm.Authenticate(resp.ResponseToken, a.lookup)
	if err != nil {
		return nil, nil, err
	}
	reply := Resp{State: StateAcceptCompleted}
	switch {
	case done.Anonymous:
		// There is no key, so a MIC would prove nothing; who logs in as nobody
		// gets nobody's rights by any mechanism.
	case resp.MechListMIC != nil:
		if !done.CanSign() || !done.MIC(true).Verify(a.mechList, resp.MechListMIC) {
			return nil, nil, fmt.Errorf("%w: mechListMIC", ntlm.ErrLogonFailure)
		}
		sig := done.MIC(false).Sum(a.mechList)
		reply.MechListMIC = sig[:]
	case a.needMIC:
		return nil, nil, fmt.Errorf("%w: no mechListMIC", ntlm.ErrLogonFailure)
	}
	return reply.Append(nil), done, nil
}
