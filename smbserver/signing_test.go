package smbserver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/internal/spnego"
	"github.com/uringfs/uringfs/smbserver"
)

// signingPeer is a logged-on raw connection that signs when told to, built from the specification's steps.
type signingPeer struct {
	t       *testing.T
	f       *fixture
	send    func(msg []byte) [][]byte
	only    func(msg []byte)
	closed  func()
	signer  *smbcrypt.Signer
	session uint64
	next    uint64
}

func newSigningPeer(t *testing.T, f *fixture, d smb2.Dialect, alg smbcrypt.SigningAlg) *signingPeer {
	t.Helper()
	conn := f.dial()
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	var preauthHash smbcrypt.PreauthHash
	ask := negotiateWith([]smb2.Dialect{d}, preauth(1), algorithms(smb2.ContextSigning, uint16(alg)))
	answer := exchangeRaw(t, conn, ask)[0]
	preauthHash.Update(ask)
	preauthHash.Update(answer)
	p := &signingPeer{
		t: t, f: f, next: 1,
		send:   func(msg []byte) [][]byte { return exchangeRaw(t, conn, msg) },
		only:   func(msg []byte) { sendRaw(t, conn, msg) },
		closed: func() { requireClosed(t, conn) },
	}
	initiator := spnego.NewInitiator(userName, "", password, spnego.Options{})
	var token []byte
	for {
		reply, _, _, err := initiator.Step(token)
		require.NoError(t, err)
		ask := message(p.header(smb2.CommandSessionSetup), smb2.SessionSetupRequest{SecurityBuffer: reply})
		answer := p.send(ask)[0]
		preauthHash.Update(ask)
		h := header(t, answer)
		p.session = h.SessionID
		setup, err := smb2.ParseSessionSetupResponse(answer)
		require.NoError(t, err)
		token = setup.SecurityBuffer
		if h.Status == smb2.StatusMoreProcessingRequired {
			assert.Zero(t, h.Flags&smb2.FlagSigned)
			preauthHash.Update(answer)
			continue
		}
		require.Equal(t, smb2.StatusSuccess, h.Status)
		keys, err := smbcrypt.DeriveKeys(uint16(d), smbcrypt.CipherNone, initiator.Key(), preauthHash)
		require.NoError(t, err)
		p.signer, err = smbcrypt.NewSigner(alg, keys.Signing)
		require.NoError(t, err)
		p.demand(answer, true)
		return p
	}
}

func (p *signingPeer) header(cmd smb2.Command) smb2.Header {
	h := smb2.Header{Command: cmd, MessageID: p.next, Credits: 100, SessionID: p.session}
	p.next++
	return h
}

// demand checks that an answer is signed rightly, or not at all.
func (p *signingPeer) demand(answer []byte, signed bool) {
	p.t.Helper()
	has := header(p.t, answer).Flags.Has(smb2.FlagSigned)
	require.Equal(p.t, signed, has, "signed answer")
	if has {
		require.True(p.t, p.signer.Verify(answer), "signature of the answer")
	}
}

func (p *signingPeer) sign(msg []byte) []byte {
	smb2.SetFlags(msg, smb2.FlagSigned)
	p.signer.Sign(msg)
	return msg
}

func (p *signingPeer) treeConnect() []byte {
	return message(p.header(smb2.CommandTreeConnect), smb2.TreeConnectRequest{Path: `\\s\` + shareName})
}

type signingCase struct {
	dialect smb2.Dialect
	alg     smbcrypt.SigningAlg
}

func signingCases() []signingCase {
	return []signingCase{
		{smb2.Dialect202, smbcrypt.HMACSHA256},
		{smb2.Dialect210, smbcrypt.HMACSHA256},
		{smb2.Dialect300, smbcrypt.AESCMAC},
		{smb2.Dialect302, smbcrypt.AESCMAC},
		{smb2.Dialect311, smbcrypt.AESCMAC},
		{smb2.Dialect311, smbcrypt.HMACSHA256},
		{smb2.Dialect311, smbcrypt.AESGMAC},
	}
}

// A client that signs nothing but TREE_CONNECT is the common one: each answer is signed exactly if its request was.
func TestMixedSigning(t *testing.T) {
	for _, c := range signingCases() {
		t.Run(c.dialect.String()+"/"+c.alg.String(), func(t *testing.T) {
			p := newSigningPeer(t, start(t), c.dialect, c.alg)
			answer := p.send(p.sign(p.treeConnect()))[0]
			p.demand(answer, true)
			require.Equal(t, smb2.StatusSuccess, header(t, answer).Status)

			answer = p.send(message(p.header(smb2.CommandEcho), smb2.EchoRequest{}))[0]
			p.demand(answer, false)
			answer = p.send(p.sign(message(p.header(smb2.CommandEcho), smb2.EchoRequest{})))[0]
			p.demand(answer, true)
			bad := p.header(smb2.CommandTreeDisconnect)
			bad.TreeID = 77
			answer = p.send(p.sign(message(bad, smb2.TreeDisconnectRequest{})))[0]
			p.demand(answer, true)
			require.Equal(t, smb2.StatusNetworkNameDeleted, header(t, answer).Status, "errors are signed, too")
		})
	}
}

func TestUnsignedTreeConnect(t *testing.T) {
	for _, c := range signingCases() {
		t.Run(c.dialect.String(), func(t *testing.T) {
			p := newSigningPeer(t, start(t), c.dialect, c.alg)
			if c.dialect == smb2.Dialect311 {
				p.only(p.treeConnect())
				p.closed()
				return
			}
			require.Equal(t, smb2.StatusSuccess, header(t, p.send(p.treeConnect())[0]).Status)
		})
	}
}

func TestRequiredSigning(t *testing.T) {
	for _, c := range signingCases() {
		t.Run(c.dialect.String()+"/"+c.alg.String(), func(t *testing.T) {
			f := start(t, mustSign, func(cfg *smbserver.Config) { cfg.Limits.BadSignatures = 100 })
			p := newSigningPeer(t, f, c.dialect, c.alg)
			echo := func() []byte { return message(p.header(smb2.CommandEcho), smb2.EchoRequest{}) }
			for name, spoil := range map[string]func([]byte) []byte{
				"no signature":        func(m []byte) []byte { return m },
				"the flag alone":      func(m []byte) []byte { smb2.SetFlags(m, smb2.FlagSigned); return m },
				"a flipped bit":       func(m []byte) []byte { m = p.sign(m); m[60] ^= 1; return m },
				"a changed body":      func(m []byte) []byte { m = p.sign(m); m[66] ^= 1; return m },
				"a flag taken away":   func(m []byte) []byte { m = p.sign(m); m[16] &^= byte(smb2.FlagSigned); return m },
				"a shortened message": func(m []byte) []byte { return p.sign(append(m, 0, 0, 0, 0))[:len(m)] },
			} {
				answer := p.send(spoil(echo()))[0]
				assert.Equal(t, smb2.StatusAccessDenied, header(t, answer).Status, name)
				p.demand(answer, true)
			}
			answer := p.send(p.sign(echo()))[0]
			assert.Equal(t, smb2.StatusSuccess, header(t, answer).Status)
			assert.Equal(t, int64(6), f.Stats().BadSignatures)
		})
	}
}

func TestBadSignaturesEndTheConnection(t *testing.T) {
	f := start(t, func(cfg *smbserver.Config) { cfg.Limits.BadSignatures = 3 })
	p := newSigningPeer(t, f, smb2.Dialect311, smbcrypt.AESGMAC)
	spoiled := func() []byte {
		msg := p.sign(message(p.header(smb2.CommandEcho), smb2.EchoRequest{}))
		msg[50] ^= 0x80
		return msg
	}
	for range 2 {
		require.Equal(t, smb2.StatusAccessDenied, header(t, p.send(spoiled())[0]).Status)
		p.demand(p.send(p.sign(message(p.header(smb2.CommandEcho), smb2.EchoRequest{})))[0], true)
	}
	p.only(spoiled())
	p.closed()
	assert.Equal(t, int64(3), f.Stats().BadSignatures)
	assert.Equal(t, int64(1), f.Stats().Lost)
}

// Each element of a compound has a signature of its own, over its padding and NextCommand too, in both directions.
func TestCompoundSigning(t *testing.T) {
	for _, c := range signingCases() {
		t.Run(c.dialect.String()+"/"+c.alg.String(), func(t *testing.T) {
			f := start(t)
			client, tree := f.tree(dialects(c.dialect), signed)
			createFile(t, tree, "x")
			ids, err := client.Send(t.Context(),
				smbclient.Request{Command: smb2.CommandCreate, TreeID: tree.ID(), Body: createRequest("x")},
				smbclient.Request{Command: smb2.CommandWrite, TreeID: tree.ID(), Related: true, Body: smb2.WriteRequest{FileID: smb2.FileIDAny(), Data: []byte("odd")}},
				smbclient.Request{Command: smb2.CommandRead, TreeID: tree.ID(), Related: true, Body: smb2.ReadRequest{FileID: smb2.FileIDAny(), Length: 3}},
				smbclient.Request{Command: smb2.CommandClose, TreeID: tree.ID(), Related: true, Body: smb2.CloseRequest{FileID: smb2.FileIDAny()}},
			)
			require.NoError(t, err)
			answers, err := client.Recv(t.Context()) // verifies every element
			require.NoError(t, err)
			require.Len(t, answers, 4)
			for i, a := range answers {
				require.NoError(t, a.Err(), "element %d", i)
				assert.Equal(t, ids[i], a.Header.MessageID)
				assert.True(t, a.Header.Flags.Has(smb2.FlagSigned))
			}
		})
	}
}
