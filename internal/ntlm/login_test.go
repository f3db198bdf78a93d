package ntlm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/ntlm"
)

// accounts is a Lookup with one user, found in any case and any domain, as standalone servers do.
func accounts(user, password string) ntlm.Lookup {
	hash := ntlm.NTHash(password)
	return func(u, _ string) ([16]byte, bool) { return hash, strings.EqualFold(u, user) }
}

// middle is what sits between client and server: it may change each message, on its own copy.
type middle struct {
	negotiate, challenge, authenticate func([]byte) []byte
}

// login runs one exchange and returns both ends' results.
func login(t *testing.T, cli *ntlm.Client, lookup ntlm.Lookup, m middle) (server, client *ntlm.Result, err error) {
	t.Helper()
	pass := func(f func([]byte) []byte, msg []byte) []byte {
		if f == nil {
			return msg
		}
		return f(append([]byte(nil), msg...))
	}
	sx, cx := (&ntlm.Server{NetBIOSComputer: "lab"}).Accept(), cli.Start()
	negotiate, err := cx.Negotiate()
	require.NoError(t, err)
	challenge, err := sx.Challenge(pass(m.negotiate, negotiate))
	if err != nil {
		return nil, nil, err
	}
	auth, client, err := cx.Authenticate(pass(m.challenge, challenge))
	if err != nil {
		return nil, nil, err
	}
	server, err = sx.Authenticate(pass(m.authenticate, auth), lookup)
	return server, client, err
}

func TestLogin(t *testing.T) {
	for name, v := range map[string]struct {
		cli    ntlm.Client
		lookup ntlm.Lookup
		err    error
	}{
		"right password":               {ntlm.Client{User: "eve", Password: "secret"}, accounts("eve", "secret"), nil},
		"with a domain":                {ntlm.Client{User: "eve", Domain: "D", Password: "secret"}, accounts("eve", "secret"), nil},
		"user in another case":         {ntlm.Client{User: "EvE", Password: "secret"}, accounts("eve", "secret"), nil},
		"non-ASCII names":              {ntlm.Client{User: "zoë", Domain: "Ωμ", Password: "pässwörd 🔑"}, accounts("zoë", "pässwörd 🔑"), nil},
		"a name outside the BMP":       {ntlm.Client{User: "𐐨x", Password: "p"}, accounts("𐐨x", "p"), nil},
		"no MIC":                       {ntlm.Client{User: "eve", Password: "secret", NoMIC: true}, accounts("eve", "secret"), nil},
		"names a target":               {ntlm.Client{User: "eve", Password: "secret", TargetName: "cifs/lab"}, accounts("eve", "secret"), nil},
		"empty password of an account": {ntlm.Client{User: "eve"}, accounts("eve", ""), nil},
		"wrong password":               {ntlm.Client{User: "eve", Password: "Secret"}, accounts("eve", "secret"), ntlm.ErrLogonFailure},
		"wrong password, no MIC":       {ntlm.Client{User: "eve", Password: "x", NoMIC: true}, accounts("eve", "secret"), ntlm.ErrLogonFailure},
		"unknown user":                 {ntlm.Client{User: "bob", Password: "secret"}, accounts("eve", "secret"), ntlm.ErrLogonFailure},
		"empty password":               {ntlm.Client{User: "eve"}, accounts("eve", "secret"), ntlm.ErrLogonFailure},
	} {
		t.Run(name, func(t *testing.T) {
			v.cli.Workstation = "WS"
			server, client, err := login(t, &v.cli, v.lookup, middle{})
			if v.err != nil {
				require.ErrorIs(t, err, v.err)
				assert.NotErrorIs(t, err, ntlm.ErrMalformed)
				assert.Nil(t, server)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, v.cli.User, server.User)
			assert.Equal(t, v.cli.Domain, server.Domain)
			assert.Equal(t, "WS", server.Workstation)
			assert.Equal(t, v.cli.TargetName, server.TargetName)
			assert.False(t, server.Anonymous)
			assert.Len(t, server.SessionKey, 16)
			assert.Equal(t, client.SessionKey, server.SessionKey)
			for _, fromClient := range []bool{true, false} {
				sum, check := client.MIC(fromClient), server.MIC(fromClient)
				for i := range 3 {
					msg := fmt.Appendf(nil, "message %d", i)
					sig := sum.Sum(msg)
					assert.True(t, check.Verify(msg, sig[:]), "message %d", i)
				}
			}
		})
	}
}

func TestSessionKeysAreFresh(t *testing.T) {
	seen := map[string]bool{}
	for range 8 {
		r, _, err := login(t, &ntlm.Client{User: "eve", Password: "secret"}, accounts("eve", "secret"), middle{})
		require.NoError(t, err)
		assert.False(t, seen[string(r.SessionKey)])
		seen[string(r.SessionKey)] = true
	}
}

func TestAnonymous(t *testing.T) {
	server, client, err := login(t, &ntlm.Client{Workstation: "WS"}, noLookup(t), middle{})
	require.NoError(t, err)
	for _, r := range []*ntlm.Result{server, client} {
		assert.True(t, r.Anonymous)
		assert.Nil(t, r.SessionKey)
		assert.Empty(t, r.User)
		assert.False(t, r.CanSign())
		assert.Nil(t, r.MIC(false))
	}
}

// A hash handed out by mistake with "unknown" must not let anyone in.
func TestUnknownUserFailsEvenWithRightProof(t *testing.T) {
	_, _, err := login(t, &ntlm.Client{User: "eve", Password: "secret"},
		func(string, string) ([16]byte, bool) { return ntlm.NTHash("secret"), false }, middle{})
	require.ErrorIs(t, err, ntlm.ErrLogonFailure)
}

// A client may compute its proof for no domain and yet send one, and lookup sees what it sent.
func TestProofForEmptyDomain(t *testing.T) {
	withDomain := func(msg []byte) []byte {
		a, err := ntlm.ParseAuthenticate(msg)
		require.NoError(t, err)
		a.Domain = utf16le("ELSEWHERE")
		return a.Append(nil)
	}
	asked := ""
	r, _, err := login(t, &ntlm.Client{User: "eve", Password: "secret", NoMIC: true}, func(user, domain string) ([16]byte, bool) {
		asked += user + "@" + domain
		return ntlm.NTHash("secret"), true
	}, middle{authenticate: withDomain})
	require.NoError(t, err)
	assert.Equal(t, "eve@ELSEWHERE", asked, "one lookup")
	assert.Equal(t, "ELSEWHERE", r.Domain)
}

// edit changes fields of AUTHENTICATE and leaves the rest.
func edit(t *testing.T, f func(a *ntlm.Authenticate)) func([]byte) []byte {
	t.Helper()
	return func(msg []byte) []byte {
		a, err := ntlm.ParseAuthenticate(msg)
		require.NoError(t, err)
		f(&a)
		return a.Append(nil)
	}
}

func flagsAt(at int, clear ntlm.Flags) func([]byte) []byte {
	return func(msg []byte) []byte {
		f := binary.LittleEndian.Uint32(msg[at:])
		binary.LittleEndian.PutUint32(msg[at:], f&^uint32(clear))
		return msg
	}
}

// CVE-2019-1040 and its kind: whoever changes a message on the way must not get through.
func TestDropMIC(t *testing.T) {
	const sign = ntlm.FlagSign | ntlm.FlagAlwaysSign
	for name, v := range map[string]struct {
		m   middle
		err error
	}{
		"MIC zeroed":              {middle{authenticate: func(b []byte) []byte { clear(b[72:88]); return b }}, ntlm.ErrLogonFailure},
		"MIC cut out":             {middle{authenticate: edit(t, func(a *ntlm.Authenticate) { a.HasMIC = false })}, ntlm.ErrMalformed},
		"version and MIC cut out": {middle{authenticate: edit(t, func(a *ntlm.Authenticate) { a.HasMIC, a.HasVersion = false, false })}, ntlm.ErrMalformed},
		"MIC and its announcement cut out": {middle{authenticate: edit(t, func(a *ntlm.Authenticate) {
			a.HasMIC = false
			a.NTResponse = bytes.Replace(a.NTResponse, []byte{6, 0, 4, 0, 2, 0, 0, 0}, []byte{6, 0, 4, 0, 0, 0, 0, 0}, 1)
		})}, ntlm.ErrLogonFailure},
		"sign flag off in NEGOTIATE":    {middle{negotiate: flagsAt(12, sign)}, ntlm.ErrLogonFailure},
		"sign flag off in CHALLENGE":    {middle{challenge: flagsAt(20, sign)}, ntlm.ErrLogonFailure},
		"sign flag off in AUTHENTICATE": {middle{authenticate: flagsAt(60, sign)}, ntlm.ErrLogonFailure},
		"key exchange off at the end":   {middle{authenticate: flagsAt(60, ntlm.FlagKeyExch)}, ntlm.ErrLogonFailure},
		"another workstation":           {middle{authenticate: edit(t, func(a *ntlm.Authenticate) { a.Workstation = utf16le("XX") })}, ntlm.ErrLogonFailure},
		"another encrypted key":         {middle{authenticate: edit(t, func(a *ntlm.Authenticate) { a.EncryptedSessionKey[3] ^= 1 })}, ntlm.ErrLogonFailure},
		"timestamp taken out of CHALLENGE, so that no MIC is sent": {middle{challenge: func(b []byte) []byte {
			c, err := ntlm.ParseChallenge(b)
			require.NoError(t, err)
			info, err := ntlm.ParseTargetInfo(c.TargetInfo)
			require.NoError(t, err)
			c.TargetInfo = info[:len(info)-1].Append(nil)
			return c.Append(nil)
		}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := login(t, &ntlm.Client{User: "eve", Password: "secret", Workstation: "WS"}, accounts("eve", "secret"), v.m)
			if v.err == nil {
				// Nothing can be done about this one here: a client that sees no
				// timestamp is an old client. Signing and mechListMIC are left.
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, v.err)
		})
	}
}

func TestRefusedResponses(t *testing.T) {
	for name, v := range map[string]struct {
		f   func(a *ntlm.Authenticate)
		err error
	}{
		"NTLMv1":                         {func(a *ntlm.Authenticate) { a.NTResponse = make([]byte, 24) }, ntlm.ErrLogonFailure},
		"LM alone":                       {func(a *ntlm.Authenticate) { a.NTResponse = nil; a.LMResponse = make([]byte, 24) }, ntlm.ErrLogonFailure},
		"nothing for a named user":       {func(a *ntlm.Authenticate) { a.NTResponse, a.LMResponse = nil, nil }, ntlm.ErrLogonFailure},
		"nobody with an LM response":     {func(a *ntlm.Authenticate) { a.User, a.NTResponse = nil, nil }, ntlm.ErrLogonFailure},
		"NTLMv2 cut short":               {func(a *ntlm.Authenticate) { a.NTResponse = a.NTResponse[:43] }, ntlm.ErrMalformed},
		"NTLMv2 without end of pairs":    {func(a *ntlm.Authenticate) { a.NTResponse = a.NTResponse[:50] }, ntlm.ErrMalformed},
		"NTLMv2 of version 2":            {func(a *ntlm.Authenticate) { a.NTResponse[16] = 2 }, ntlm.ErrMalformed},
		"key of 15 bytes":                {func(a *ntlm.Authenticate) { a.EncryptedSessionKey = a.EncryptedSessionKey[1:] }, ntlm.ErrMalformed},
		"no key":                         {func(a *ntlm.Authenticate) { a.EncryptedSessionKey = nil }, ntlm.ErrMalformed},
		"OEM character set":              {func(a *ntlm.Authenticate) { a.Flags &^= ntlm.FlagUnicode }, ntlm.ErrMalformed},
		"odd user name":                  {func(a *ntlm.Authenticate) { a.User = []byte{'e', 0, 'v'} }, ntlm.ErrMalformed},
		"lone high surrogate in a name":  {func(a *ntlm.Authenticate) { a.User = []byte{0x00, 0xd8, 'v', 0} }, ntlm.ErrMalformed},
		"lone high surrogate at the end": {func(a *ntlm.Authenticate) { a.Domain = []byte{0x00, 0xd8} }, ntlm.ErrMalformed},
		"lone low surrogate":             {func(a *ntlm.Authenticate) { a.Workstation = []byte{0x00, 0xdc, 'v', 0} }, ntlm.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, err := login(t, &ntlm.Client{User: "eve", Password: "secret", Workstation: "WS"}, noLookup(t), middle{authenticate: edit(t, v.f)})
			require.ErrorIs(t, err, v.err)
			assert.Nil(t, r)
		})
	}
}

func TestReflection(t *testing.T) {
	srv := &ntlm.Server{}
	cli := &ntlm.Client{User: "eve", Password: "secret"}
	lookup := accounts("eve", "secret")
	begin := func() (*ntlm.ServerExchange, *ntlm.ClientExchange, []byte) {
		sx, cx := srv.Accept(), cli.Start()
		negotiate, err := cx.Negotiate()
		require.NoError(t, err)
		challenge, err := sx.Challenge(negotiate)
		require.NoError(t, err)
		return sx, cx, challenge
	}
	t.Run("the server's own challenge is no AUTHENTICATE", func(t *testing.T) {
		sx, _, challenge := begin()
		_, err := sx.Authenticate(challenge, lookup)
		require.ErrorIs(t, err, ntlm.ErrMalformed)
	})
	t.Run("nor is it a NEGOTIATE", func(t *testing.T) {
		_, _, challenge := begin()
		_, err := srv.Accept().Challenge(challenge)
		require.ErrorIs(t, err, ntlm.ErrMalformed)
	})
	t.Run("an answer to another exchange's challenge is refused", func(t *testing.T) {
		sx, _, _ := begin()
		_, cx, other := begin()
		auth, _, err := cx.Authenticate(other)
		require.NoError(t, err)
		_, err = sx.Authenticate(auth, lookup)
		require.ErrorIs(t, err, ntlm.ErrLogonFailure)
	})
	t.Run("a challenge is good for one answer", func(t *testing.T) {
		sx, cx, challenge := begin()
		auth, _, err := cx.Authenticate(challenge)
		require.NoError(t, err)
		_, err = sx.Authenticate(auth, lookup)
		require.NoError(t, err)
		_, err = sx.Authenticate(auth, lookup)
		require.ErrorIs(t, err, ntlm.ErrMalformed)
	})
	t.Run("and a failed one uses it up too", func(t *testing.T) {
		sx, cx, challenge := begin()
		auth, _, err := cx.Authenticate(challenge)
		require.NoError(t, err)
		_, err = sx.Authenticate(auth[:70], lookup)
		require.ErrorIs(t, err, ntlm.ErrMalformed)
		_, err = sx.Authenticate(auth, lookup)
		require.ErrorIs(t, err, ntlm.ErrMalformed)
	})
	t.Run("a server's signature is not a client's", func(t *testing.T) {
		r := ntlm.NewResult(make([]byte, 16), 0xe28a8233)
		sig := r.MIC(false).Sum([]byte("x"))
		assert.False(t, r.MIC(true).Verify([]byte("x"), sig[:]))
		assert.True(t, r.MIC(false).Verify([]byte("x"), sig[:]))
	})
	t.Run("challenges do not repeat", func(t *testing.T) {
		seen := map[string]bool{}
		for range 64 {
			_, _, challenge := begin()
			assert.False(t, seen[string(challenge[24:32])])
			seen[string(challenge[24:32])] = true
		}
	})
}

func TestOutOfTurn(t *testing.T) {
	x := new(ntlm.Server).Accept()
	_, err := x.Authenticate(hexdump.Bytes(t, specAuthenticate), noLookup(t))
	require.ErrorIs(t, err, ntlm.ErrMalformed)
	_, err = x.Challenge(ntlm.Negotiate{Flags: ntlm.FlagUnicode}.Append(nil))
	require.ErrorIs(t, err, ntlm.ErrMalformed)

	c := new(ntlm.Client).Start()
	_, _, err = c.Authenticate(hexdump.Bytes(t, specChallenge))
	require.ErrorIs(t, err, ntlm.ErrMalformed)
	_, err = c.Negotiate()
	require.ErrorIs(t, err, ntlm.ErrMalformed)
}

func TestChallengeEchoesFlags(t *testing.T) {
	const always = ntlm.FlagUnicode | ntlm.FlagNTLM | ntlm.FlagTargetInfo | ntlm.FlagTargetTypeServer
	for name, v := range map[string]struct{ asked, want ntlm.Flags }{
		"the least":         {ntlm.FlagUnicode, always},
		"what signing uses": {ntlm.FlagUnicode | ntlm.FlagSign | ntlm.FlagSeal | ntlm.FlagKeyExch | ntlm.Flag128 | ntlm.Flag56, always | ntlm.FlagSign | ntlm.FlagSeal | ntlm.FlagKeyExch | ntlm.Flag128 | ntlm.Flag56},
		"never LM keys, OEM or reserved bits": {^ntlm.Flags(0), always | ntlm.FlagRequestTarget | ntlm.FlagSign | ntlm.FlagSeal | ntlm.FlagAlwaysSign |
			ntlm.FlagExtendedSessionSecurity | ntlm.FlagVersion | ntlm.Flag128 | ntlm.FlagKeyExch | ntlm.Flag56},
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := new(ntlm.Server).Accept().Challenge(ntlm.Negotiate{Flags: v.asked}.Append(nil))
			require.NoError(t, err)
			c, err := ntlm.ParseChallenge(msg)
			require.NoError(t, err)
			assert.Equal(t, v.want, c.Flags)
			if v.asked&ntlm.FlagRequestTarget == 0 {
				assert.Empty(t, c.TargetName)
			} else {
				assert.Equal(t, utf16le("URINGFS"), c.TargetName)
			}
		})
	}
	_, err := new(ntlm.Server).Accept().Challenge(ntlm.Negotiate{Flags: ntlm.FlagOEM}.Append(nil))
	require.ErrorIs(t, err, ntlm.ErrMalformed)
}

func TestServerNames(t *testing.T) {
	now := time.Date(2026, 11, 24, 1, 2, 3, 400, time.UTC)
	srv := &ntlm.Server{
		TargetName: "T", NetBIOSDomain: "ND", NetBIOSComputer: "NC", DNSDomain: "dd", DNSComputer: "dc",
		Now: func() time.Time { return now },
	}
	msg, err := srv.Accept().Challenge(ntlm.Negotiate{Flags: ntlm.FlagUnicode | ntlm.FlagRequestTarget}.Append(nil))
	require.NoError(t, err)
	c, err := ntlm.ParseChallenge(msg)
	require.NoError(t, err)
	assert.Equal(t, utf16le("T"), c.TargetName)
	info, err := ntlm.ParseTargetInfo(c.TargetInfo)
	require.NoError(t, err)
	require.Len(t, info, 5)
	for i, want := range []string{"ND", "NC", "dd", "dc"} {
		assert.Equal(t, utf16le(want), info[i].Value)
	}
	assert.Equal(t, ntlm.AVTimestamp, info[4].ID)
	assert.True(t, now.Equal(timeOf(binary.LittleEndian.Uint64(info[4].Value))))

	for _, srv := range []*ntlm.Server{
		{TargetName: strings.Repeat("x", 257)},
		{DNSComputer: strings.Repeat("🔑", 129)},
	} {
		_, err := srv.Accept().Challenge(ntlm.Negotiate{Flags: ntlm.FlagUnicode}.Append(nil))
		require.ErrorIs(t, err, ntlm.ErrTooLong)
	}
}

func TestRandomnessFailureIsReported(t *testing.T) {
	broken := errors.New("no entropy")
	_, err := (&ntlm.Server{Rand: iotest.ErrReader(broken)}).Accept().Challenge(ntlm.Negotiate{Flags: ntlm.FlagUnicode}.Append(nil))
	require.ErrorIs(t, err, broken)

	x := (&ntlm.Client{User: "u", Rand: iotest.ErrReader(broken)}).Start()
	_, err = x.Negotiate()
	require.NoError(t, err)
	_, _, err = x.Authenticate(hexdump.Bytes(t, specChallenge))
	require.ErrorIs(t, err, broken)
}

func TestClientRefusesWeakChallenges(t *testing.T) {
	for _, missing := range []ntlm.Flags{
		ntlm.FlagUnicode, ntlm.FlagNTLM, ntlm.FlagExtendedSessionSecurity, ntlm.FlagTargetInfo, ntlm.FlagKeyExch, ntlm.Flag128,
	} {
		x := (&ntlm.Client{User: "u", Password: "p"}).Start()
		_, err := x.Negotiate()
		require.NoError(t, err)
		_, _, err = x.Authenticate(flagsAt(20, missing)(hexdump.Bytes(t, specChallenge)))
		require.ErrorIs(t, err, ntlm.ErrMalformed, "without %#x", uint32(missing))
	}
	for name, cli := range map[string]ntlm.Client{
		"user":        {User: strings.Repeat("u", 257)},
		"domain":      {User: "u", Domain: strings.Repeat("u", 257)},
		"workstation": {User: "u", Workstation: strings.Repeat("u", 257)},
		"target":      {User: "u", TargetName: strings.Repeat("u", 257)},
	} {
		x := cli.Start()
		_, err := x.Negotiate()
		require.NoError(t, err)
		_, _, err = x.Authenticate(hexdump.Bytes(t, specChallenge))
		require.ErrorIs(t, err, ntlm.ErrTooLong, name)
	}
	c, err := ntlm.ParseChallenge(hexdump.Bytes(t, specChallenge))
	require.NoError(t, err)
	c.TargetInfo = ntlm.TargetInfo{{ID: 99, Value: make([]byte, 5000)}}.Append(nil)
	x := (&ntlm.Client{User: "u"}).Start()
	_, err = x.Negotiate()
	require.NoError(t, err)
	_, _, err = x.Authenticate(c.Append(nil))
	require.ErrorIs(t, err, ntlm.ErrMalformed, "huge target info")
}

func TestMICCountsMessages(t *testing.T) {
	r := ntlm.NewResult(make([]byte, 16), 0xe28a8233)
	a, b := r.MIC(true), r.MIC(true)
	first := a.Sum([]byte("x"))
	second := a.Sum([]byte("x"))
	assert.NotEqual(t, first, second)
	assert.False(t, b.Verify([]byte("x"), second[:]), "out of order")
	assert.True(t, b.Verify([]byte("x"), second[:]), "now it is its turn")
	for _, bad := range [][]byte{nil, first[:15], append(first[:], 0)} {
		assert.False(t, r.MIC(true).Verify([]byte("x"), bad))
	}
	// Weaker seal keys and no key exchange give other signatures of the same shape.
	for _, flags := range []ntlm.Flags{0xe28a8233 &^ ntlm.Flag128, 0x028a8233, 0x428a8233} {
		sig := ntlm.NewResult(make([]byte, 16), flags).MIC(true).Sum([]byte("x"))
		assert.NotEqual(t, first, sig)
	}
	assert.Nil(t, ntlm.NewResult(make([]byte, 16), 0xe28a8233&^ntlm.FlagSign).MIC(true))
	assert.Nil(t, ntlm.NewResult(make([]byte, 16), 0xe28a8233&^ntlm.FlagExtendedSessionSecurity).MIC(true))
}

func TestNoSecretsInText(t *testing.T) {
	r := ntlm.NewResult([]byte("0123456789abcdef"), 0)
	r.Domain = "D"
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %s", r, r, r, r), r.LogValue().String()} {
		assert.NotContains(t, s, "0123456789")
		assert.NotContains(t, s, "48 49 50")
		assert.Contains(t, s, `D\User`)
	}
}

// GODEBUG takes effect at start, so a copy of this test binary plays the restricted process.
func TestUnavailableUnderFIPS(t *testing.T) {
	const child = "URINGFS_NTLM_FIPS_CHILD"
	if os.Getenv(child) != "" {
		require.ErrorIs(t, ntlm.Available(), ntlm.ErrUnavailable)
		_, err := new(ntlm.Server).Accept().Challenge(ntlm.Negotiate{Flags: ntlm.FlagUnicode}.Append(nil))
		require.ErrorIs(t, err, ntlm.ErrUnavailable)
		_, err = new(ntlm.Client).Start().Negotiate()
		require.ErrorIs(t, err, ntlm.ErrUnavailable)
		return
	}
	require.NoError(t, ntlm.Available())
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUnavailableUnderFIPS$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1", "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestUnavailableUnderFIPS")
}
