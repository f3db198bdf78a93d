package spnego_test

import (
	"bytes"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/spnego"
)

func accounts(user, password string) ntlm.Lookup {
	hash := ntlm.NTHash(password)
	return func(u, _ string) ([16]byte, bool) { return hash, strings.EqualFold(u, user) }
}

var kerberos = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}

// outcome is what both ends have after a login.
type outcome struct {
	server    *ntlm.Result
	clientKey []byte
	clientErr error
	serverErr error
	steps     int // tokens that the client sent
}

// login runs a whole login. toServer and toClient, if not nil, may change the token with that
// number on its way.
func login(t *testing.T, in *spnego.Initiator, lookup ntlm.Lookup, toServer, toClient func(step int, token []byte) []byte) (out outcome) {
	t.Helper()
	a := spnego.NewAcceptor(&ntlm.Server{NetBIOSComputer: "LAB"}, lookup)
	same := func(_ int, token []byte) []byte { return token }
	if toServer == nil {
		toServer = same
	}
	if toClient == nil {
		toClient = same
	}
	token := spnego.HintToken()
	for {
		reply, done, key, err := in.Step(token)
		if out.clientErr = err; err != nil {
			require.Nil(t, reply)
			require.False(t, done)
			return out
		}
		if done {
			require.Nil(t, reply)
			require.NotNil(t, out.server, "the client believes in a login that the server has not accepted")
			require.Equal(t, key, in.Key())
			out.clientKey = key
			return out
		}
		require.Nil(t, key)
		require.Nil(t, out.server, "the client goes on after the end")
		require.Less(t, out.steps, 4)
		out.steps++
		reply, server, err := a.Step(toServer(out.steps, reply))
		if out.serverErr = err; err != nil {
			require.Nil(t, reply)
			require.Nil(t, server)
			_, _, err := a.Step(nil)
			require.ErrorIs(t, err, ntlm.ErrMalformed, "an ended login stays ended")
			return out
		}
		out.server = server
		token = toClient(out.steps, reply)
	}
}

func TestLogin(t *testing.T) {
	for name, opts := range map[string]spnego.Options{
		"SPNEGO with MIC":         {Workstation: "WS", TargetName: "cifs/lab"},
		"SPNEGO without MIC":      {NoMIC: true},
		"SPNEGO without any MIC":  {NoMIC: true, NoNTLMMIC: true},
		"SPNEGO, no MIC in NTLM":  {NoNTLMMIC: true},
		"raw":                     {Raw: true, TargetName: "cifs/lab"},
		"raw without MIC in NTLM": {Raw: true, NoNTLMMIC: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("right password", func(t *testing.T) {
				out := login(t, spnego.NewInitiator("eve", "D", "secret", opts), accounts("eve", "secret"), nil, nil)
				require.NoError(t, out.clientErr)
				require.NoError(t, out.serverErr)
				assert.Equal(t, "eve", out.server.User)
				assert.Equal(t, "D", out.server.Domain)
				assert.Equal(t, opts.Workstation, out.server.Workstation)
				assert.Equal(t, opts.TargetName, out.server.TargetName)
				assert.Len(t, out.clientKey, 16)
				assert.Equal(t, out.server.SessionKey, out.clientKey)
				assert.Equal(t, 2, out.steps)
			})
			t.Run("wrong password", func(t *testing.T) {
				out := login(t, spnego.NewInitiator("eve", "", "Secret", opts), accounts("eve", "secret"), nil, nil)
				require.ErrorIs(t, out.serverErr, ntlm.ErrLogonFailure)
				assert.NotErrorIs(t, out.serverErr, ntlm.ErrMalformed)
			})
			t.Run("unknown user", func(t *testing.T) {
				out := login(t, spnego.NewInitiator("bob", "", "secret", opts), accounts("eve", "secret"), nil, nil)
				require.ErrorIs(t, out.serverErr, ntlm.ErrLogonFailure)
			})
			t.Run("anonymous", func(t *testing.T) {
				out := login(t, spnego.NewInitiator("", "", "", opts), accounts("eve", "secret"), nil, nil)
				require.NoError(t, out.clientErr)
				assert.True(t, out.server.Anonymous)
				assert.Nil(t, out.clientKey)
			})
		})
	}
}

// editResp changes the NegTokenResp with the given number.
func editResp(t *testing.T, step int, f func(r *spnego.Resp)) func(int, []byte) []byte {
	t.Helper()
	return func(n int, token []byte) []byte {
		if n != step {
			return token
		}
		r, err := spnego.ParseResp(token)
		require.NoError(t, err)
		f(&r)
		return r.Append(nil)
	}
}

func TestTamperedByClientSide(t *testing.T) {
	for name, f := range map[string]func(r *spnego.Resp){
		"MIC changed":   func(r *spnego.Resp) { r.MechListMIC[7] ^= 1 },
		"MIC zeroed":    func(r *spnego.Resp) { clear(r.MechListMIC) },
		"MIC emptied":   func(r *spnego.Resp) { r.MechListMIC = []byte{} },
		"MIC cut":       func(r *spnego.Resp) { r.MechListMIC = r.MechListMIC[:15] },
		"MIC of seq 1":  func(r *spnego.Resp) { r.MechListMIC[12] = 1 },
		"client reject": func(r *spnego.Resp) { r.State = spnego.StateReject },
		"sign flag off in AUTHENTICATE": func(r *spnego.Resp) {
			r.ResponseToken[60] &^= byte(ntlm.FlagSign)
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := login(t, spnego.NewInitiator("eve", "", "secret", spnego.Options{}), accounts("eve", "secret"), editResp(t, 2, f), nil)
			require.ErrorIs(t, out.serverErr, ntlm.ErrLogonFailure)
		})
	}
	t.Run("a MIC where signing was negotiated away", func(t *testing.T) {
		// Without a MIC in NTLM the flag can be cleared unseen; the mechListMIC
		// then cannot be checked, and unchecked is not right.
		out := login(t, spnego.NewInitiator("eve", "", "secret", spnego.Options{NoNTLMMIC: true}), accounts("eve", "secret"),
			editResp(t, 2, func(r *spnego.Resp) { r.ResponseToken[60] &^= byte(ntlm.FlagSign) }), nil)
		require.ErrorIs(t, out.serverErr, ntlm.ErrLogonFailure)
	})
	t.Run("mechanisms added on the way", func(t *testing.T) {
		// A man in the middle appends a mechanism: NTLM is still first, so nothing
		// but the client's MIC shows it.
		grow := func(n int, token []byte) []byte {
			if n != 1 {
				return token
			}
			in, err := spnego.ParseInit(token)
			require.NoError(t, err)
			in.MechTypes = append(in.MechTypes, kerberos)
			return in.Append(nil)
		}
		out := login(t, spnego.NewInitiator("eve", "", "secret", spnego.Options{}), accounts("eve", "secret"), grow, nil)
		require.ErrorIs(t, out.serverErr, ntlm.ErrLogonFailure)
		out = login(t, spnego.NewInitiator("eve", "", "secret", spnego.Options{NoMIC: true}), accounts("eve", "secret"), grow, nil)
		require.NoError(t, out.serverErr, "who proves nothing gets no proof")
	})
}

func TestTamperedByServerSide(t *testing.T) {
	for name, v := range map[string]struct {
		step int
		f    func(r *spnego.Resp)
		err  error
	}{
		"server's MIC changed":  {2, func(r *spnego.Resp) { r.MechListMIC[5] ^= 1 }, ntlm.ErrLogonFailure},
		"server's MIC dropped":  {2, func(r *spnego.Resp) { r.MechListMIC = nil }, ntlm.ErrLogonFailure},
		"not completed":         {2, func(r *spnego.Resp) { r.State = spnego.StateAcceptIncomplete }, ntlm.ErrLogonFailure},
		"rejected at the end":   {2, func(r *spnego.Resp) { r.State = spnego.StateReject }, ntlm.ErrLogonFailure},
		"rejected at once":      {1, func(r *spnego.Resp) { r.State = spnego.StateReject }, ntlm.ErrLogonFailure},
		"another mechanism":     {1, func(r *spnego.Resp) { r.SupportedMech = kerberos }, ntlm.ErrMalformed},
		"no challenge":          {1, func(r *spnego.Resp) { r.ResponseToken = nil }, ntlm.ErrMalformed},
		"challenge without key": {1, func(r *spnego.Resp) { r.ResponseToken[23] &^= 0x40 }, ntlm.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			out := login(t, spnego.NewInitiator("eve", "", "secret", spnego.Options{}), accounts("eve", "secret"), nil, editResp(t, v.step, v.f))
			require.NoError(t, out.serverErr)
			require.ErrorIs(t, out.clientErr, v.err)
		})
	}
	t.Run("the client's own MIC comes back", func(t *testing.T) {
		var mine []byte
		out := login(t, spnego.NewInitiator("eve", "", "secret", spnego.Options{}), accounts("eve", "secret"),
			editResp(t, 2, func(r *spnego.Resp) { mine = bytes.Clone(r.MechListMIC) }),
			editResp(t, 2, func(r *spnego.Resp) { r.MechListMIC = mine }))
		require.ErrorIs(t, out.clientErr, ntlm.ErrLogonFailure)
	})
}

// slow is a client of another mechanism's preference, or without an optimistic token, put
// together by hand from ntlm.
type slow struct {
	mechs     []asn1.ObjectIdentifier
	mechToken []byte
	noMIC     bool
	user      string
}

func (s slow) login(t *testing.T) (first spnego.Resp, last spnego.Resp, done *ntlm.Result, err error) {
	t.Helper()
	a := spnego.NewAcceptor(&ntlm.Server{}, accounts("eve", "secret"))
	init := spnego.Init{MechTypes: s.mechs, MechToken: s.mechToken}.Append(nil)
	parsed, err := spnego.ParseInit(init)
	require.NoError(t, err)
	reply, done, err := a.Step(init)
	require.NoError(t, err)
	require.Nil(t, done)
	first, err = spnego.ParseResp(reply)
	require.NoError(t, err)

	password := "secret"
	if s.user == "" {
		password = ""
	}
	x := (&ntlm.Client{User: s.user, Password: password}).Start()
	negotiate, err := x.Negotiate()
	require.NoError(t, err)
	reply, done, err = a.Step(spnego.Resp{State: spnego.StateAcceptIncomplete, ResponseToken: negotiate}.Append(nil))
	require.NoError(t, err)
	require.Nil(t, done)
	resp, err := spnego.ParseResp(reply)
	require.NoError(t, err)
	auth, result, err := x.Authenticate(resp.ResponseToken)
	require.NoError(t, err)
	answer := spnego.Resp{State: spnego.StateNone, ResponseToken: auth}
	if !s.noMIC && result.CanSign() {
		sig := result.MIC(true).Sum(parsed.MechList)
		answer.MechListMIC = sig[:]
	}
	reply, done, err = a.Step(answer.Append(nil))
	if err != nil {
		return first, last, nil, err
	}
	last, err = spnego.ParseResp(reply)
	require.NoError(t, err)
	if done.CanSign() && last.MechListMIC != nil {
		assert.True(t, result.MIC(false).Verify(parsed.MechList, last.MechListMIC))
	}
	return first, last, done, nil
}

func TestOtherMechanismFirst(t *testing.T) {
	both := []asn1.ObjectIdentifier{kerberos, spnego.OIDNTLM()}
	s := slow{mechs: both, mechToken: []byte("a Kerberos ticket"), user: "eve"}
	t.Run("its token is ignored, the MIC asked for and answered", func(t *testing.T) {
		first, last, done, err := s.login(t)
		require.NoError(t, err)
		assert.Equal(t, spnego.StateRequestMIC, first.State)
		assert.True(t, first.SupportedMech.Equal(spnego.OIDNTLM()))
		assert.Nil(t, first.ResponseToken)
		assert.Equal(t, spnego.StateAcceptCompleted, last.State)
		assert.Len(t, last.MechListMIC, 16)
		assert.Equal(t, "eve", done.User)
	})
	t.Run("no MIC, no login", func(t *testing.T) {
		s := s
		s.noMIC = true
		_, _, _, err := s.login(t)
		require.ErrorIs(t, err, ntlm.ErrLogonFailure)
	})
	t.Run("nobody needs no MIC", func(t *testing.T) {
		s := s
		s.user = ""
		_, last, done, err := s.login(t)
		require.NoError(t, err)
		assert.True(t, done.Anonymous)
		assert.Nil(t, last.MechListMIC)
	})
}

func TestNoOptimisticToken(t *testing.T) {
	for _, noMIC := range []bool{false, true} {
		first, last, done, err := slow{mechs: []asn1.ObjectIdentifier{spnego.OIDNTLM(), kerberos}, noMIC: noMIC, user: "eve"}.login(t)
		require.NoError(t, err)
		assert.Equal(t, spnego.StateAcceptIncomplete, first.State)
		assert.Nil(t, first.ResponseToken)
		assert.Equal(t, noMIC, last.MechListMIC == nil)
		assert.Equal(t, "eve", done.User)
	}
}

func TestAcceptorRefuses(t *testing.T) {
	x := (&ntlm.Client{User: "eve", Password: "secret"}).Start()
	negotiate, err := x.Negotiate()
	require.NoError(t, err)
	init := spnego.Init{MechTypes: []asn1.ObjectIdentifier{spnego.OIDNTLM()}, MechToken: negotiate}.Append(nil)
	wrap := func(token []byte) []byte {
		return spnego.Resp{State: spnego.StateNone, ResponseToken: token}.Append(nil)
	}
	for name, tokens := range map[string][][]byte{
		"no token":                        {nil},
		"bytes behind the token":          {append(spnego.HintToken(), 0)},
		"no common mechanism":             {spnego.Init{MechTypes: []asn1.ObjectIdentifier{kerberos}}.Append(nil)},
		"no mechanism at all":             {spnego.Init{}.Append(nil)},
		"an answer first":                 {wrap(negotiate)},
		"NTLM's last message first":       {[]byte(ntlm.Signature + "\x03\x00\x00\x00")},
		"SPNEGO, then raw":                {init, negotiate},
		"raw, then SPNEGO":                {negotiate, wrap(negotiate)},
		"the first token twice":           {init, init},
		"NEGOTIATE twice":                 {init, wrap(negotiate)},
		"raw NEGOTIATE twice":             {negotiate, negotiate},
		"an empty answer":                 {init, wrap(nil)},
		"an optimistic token of no bytes": {spnego.Init{MechTypes: []asn1.ObjectIdentifier{spnego.OIDNTLM()}, MechToken: []byte{}}.Append(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			a := spnego.NewAcceptor(&ntlm.Server{}, accounts("eve", "secret"))
			for i, token := range tokens {
				reply, done, err := a.Step(token)
				require.Nil(t, done)
				if i < len(tokens)-1 {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, ntlm.ErrMalformed)
				assert.Nil(t, reply)
			}
		})
	}
}

func TestInitiatorStepsAfterTheEnd(t *testing.T) {
	in := spnego.NewInitiator("eve", "", "secret", spnego.Options{Raw: true})
	assert.Nil(t, in.Key())
	out := login(t, in, accounts("eve", "secret"), nil, nil)
	require.NoError(t, out.clientErr)
	_, _, _, err := in.Step(nil)
	require.ErrorIs(t, err, ntlm.ErrMalformed)
}
