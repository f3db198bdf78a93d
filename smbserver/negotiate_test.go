package smbserver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/smbserver"
)

func preauth(hashes ...uint16) smb2.NegotiateContext {
	return smb2.NegotiateContext{
		Type: smb2.ContextPreauthIntegrity,
		Data: smb2.PreauthIntegrity{HashAlgorithms: hashes, Salt: make([]byte, 32)}.Append(nil),
	}
}

func algorithms(kind smb2.NegotiateContextType, ids ...uint16) smb2.NegotiateContext {
	return smb2.NegotiateContext{Type: kind, Data: smb2.AlgorithmList(ids).Append(nil)}
}

func negotiateWith(d []smb2.Dialect, contexts ...smb2.NegotiateContext) []byte {
	return message(smb2.Header{Command: smb2.CommandNegotiate, Credits: 10},
		smb2.NegotiateRequest{SecurityMode: smb2.SigningEnabled, Dialects: d, Contexts: contexts})
}

func TestNegotiateChoosesTheHighestCommonDialect(t *testing.T) {
	all := []smb2.Dialect{smb2.Dialect202, smb2.Dialect210, smb2.Dialect300, smb2.Dialect302, smb2.Dialect311}
	for _, c := range []struct {
		name     string
		min, max smbserver.Dialect
		offered  []smb2.Dialect
		want     smb2.Dialect
		status   smb2.Status
	}{
		{"everything", 0, 0, all, smb2.Dialect311, 0},
		{"in another order", 0, 0, []smb2.Dialect{smb2.Dialect302, smb2.Dialect202}, smb2.Dialect302, 0},
		{"one", 0, 0, []smb2.Dialect{smb2.Dialect202}, smb2.Dialect202, 0},
		{"with unknown ones", 0, 0, []smb2.Dialect{0x0999, smb2.Dialect210, 0x0312}, smb2.Dialect210, 0},
		{"up to the server's limit", 0, smbserver.Dialect300, all, smb2.Dialect300, 0},
		{"below the server's limit", smbserver.Dialect300, 0, []smb2.Dialect{smb2.Dialect202, smb2.Dialect210}, 0, smb2.StatusNotSupported},
		{"none in common", 0, 0, []smb2.Dialect{0x0400}, 0, smb2.StatusNotSupported},
		{"none at all", 0, 0, nil, 0, smb2.StatusInvalidParameter},
		{"the wildcard, which is an answer", 0, 0, []smb2.Dialect{smb2.Dialect2FF}, 0, smb2.StatusNotSupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, func(cfg *smbserver.Config) { cfg.MinDialect, cfg.MaxDialect = c.min, c.max })
			conn := f.dial()
			defer conn.Close()
			answer := exchangeRaw(t, conn, negotiateWith(c.offered, preauth(smb2.HashSHA512)))
			require.Len(t, answer, 1)
			h := header(t, answer[0])
			require.Equal(t, c.status, h.Status)
			assert.Equal(t, smb2.FlagServerToRedir, h.Flags)
			assert.Positive(t, h.Credits)
			if c.status != smb2.StatusSuccess {
				return
			}
			r, err := smb2.ParseNegotiateResponse(answer[0])
			require.NoError(t, err)
			assert.Equal(t, c.want, r.Dialect)
			assert.Equal(t, smb2.SigningEnabled, r.SecurityMode)
			assert.Zero(t, r.Capabilities&(smb2.CapEncryption|smb2.CapLeasing|smb2.CapMultiChannel|smb2.CapDFS))
			if c.want == smb2.Dialect202 {
				assert.Equal(t, uint32(65536), r.MaxReadSize)
				assert.Zero(t, r.Capabilities)
			} else {
				assert.Equal(t, uint32(8<<20), r.MaxWriteSize)
				assert.Equal(t, smb2.CapLargeMTU, r.Capabilities)
			}
			assert.NotEmpty(t, r.SecurityBuffer)
			assert.NotZero(t, r.SystemTime)
		})
	}
}

func TestNegotiateContexts(t *testing.T) {
	encryption := algorithms(smb2.ContextEncryption, smb2.CipherAES128GCM, smb2.CipherAES128CCM)
	for _, c := range []struct {
		name     string
		contexts []smb2.NegotiateContext
		status   smb2.Status
		signing  []uint16 // nil: no context
	}{
		{"only preauth", []smb2.NegotiateContext{preauth(1)}, 0, nil},
		{"unknown hash first", []smb2.NegotiateContext{preauth(7, 1)}, 0, nil},
		{"a cipher, which is not shared", []smb2.NegotiateContext{encryption, preauth(1)}, 0, nil},
		{"all signing algorithms", []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextSigning, 1, 0, 2)}, 0, []uint16{2}},
		{"CMAC and HMAC", []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextSigning, 0, 1)}, 0, []uint16{1}},
		{"HMAC", []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextSigning, 0)}, 0, []uint16{0}},
		{"unknown signing algorithm", []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextSigning, 9)}, 0, nil},
		{"unknown contexts", []smb2.NegotiateContext{{Type: 0x4242, Data: []byte("x")}, preauth(1), {Type: 0x4242}}, 0, nil},
		{"no context", nil, smb2.StatusInvalidParameter, nil},
		{"no preauth", []smb2.NegotiateContext{encryption}, smb2.StatusInvalidParameter, nil},
		{"two preauth", []smb2.NegotiateContext{preauth(1), preauth(1)}, smb2.StatusInvalidParameter, nil},
		{"two encryption", []smb2.NegotiateContext{preauth(1), encryption, encryption}, smb2.StatusInvalidParameter, nil},
		{"no hash", []smb2.NegotiateContext{preauth()}, smb2.StatusInvalidParameter, nil},
		{"no common hash", []smb2.NegotiateContext{preauth(2)}, smb2.StatusSMBNoPreauthHashOverlap, nil},
		{"no cipher", []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextEncryption)}, smb2.StatusInvalidParameter, nil},
		{"no algorithm", []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextSigning)}, smb2.StatusInvalidParameter, nil},
		{"truncated preauth", []smb2.NegotiateContext{{Type: smb2.ContextPreauthIntegrity, Data: []byte{1, 0}}}, smb2.StatusInvalidParameter, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t)
			conn := f.dial()
			defer conn.Close()
			answer := exchangeRaw(t, conn, negotiateWith([]smb2.Dialect{smb2.Dialect311}, c.contexts...))
			require.Equal(t, c.status, header(t, answer[0]).Status)
			if c.status != smb2.StatusSuccess {
				return
			}
			r, err := smb2.ParseNegotiateResponse(answer[0])
			require.NoError(t, err)
			got := map[smb2.NegotiateContextType][]byte{}
			for _, x := range r.Contexts {
				got[x.Type] = x.Data
			}
			p, err := smb2.ParsePreauthIntegrity(got[smb2.ContextPreauthIntegrity])
			require.NoError(t, err)
			assert.Equal(t, []uint16{smb2.HashSHA512}, p.HashAlgorithms)
			assert.Len(t, p.Salt, 32)
			want := 1
			if c.signing != nil {
				want++
				assert.Equal(t, smb2.AlgorithmList(c.signing).Append(nil), got[smb2.ContextSigning])
			}
			assert.Len(t, r.Contexts, want)
		})
	}
}

func TestNegotiateFromSMB1(t *testing.T) {
	both := smb2.SMB1Negotiate{Dialects: []string{"NT LM 0.12", smb2.SMB1Dialect202, smb2.SMB1DialectWildcard}}
	t.Run("wildcard asks for another round", func(t *testing.T) {
		f := start(t)
		conn := f.dial()
		defer conn.Close()
		answer := exchangeRaw(t, conn, both.Append(nil))
		h := header(t, answer[0])
		require.Equal(t, smb2.StatusSuccess, h.Status)
		assert.Zero(t, h.MessageID)
		assert.Equal(t, uint16(1), h.Credits)
		r, err := smb2.ParseNegotiateResponse(answer[0])
		require.NoError(t, err)
		require.Equal(t, smb2.Dialect2FF, r.Dialect)

		again := message(smb2.Header{Command: smb2.CommandNegotiate, MessageID: 1, Credits: 1},
			smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect302}})
		r, err = smb2.ParseNegotiateResponse(exchangeRaw(t, conn, again)[0])
		require.NoError(t, err)
		assert.Equal(t, smb2.Dialect302, r.Dialect)
	})
	t.Run("2.002 alone is an answer", func(t *testing.T) {
		f := start(t)
		conn := f.dial()
		defer conn.Close()
		answer := exchangeRaw(t, conn, smb2.SMB1Negotiate{Dialects: []string{smb2.SMB1Dialect202}}.Append(nil))
		r, err := smb2.ParseNegotiateResponse(answer[0])
		require.NoError(t, err)
		assert.Equal(t, smb2.Dialect202, r.Dialect)
		sendRaw(t, conn, message(smb2.Header{Command: smb2.CommandNegotiate, MessageID: 1}, smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect202}}))
		requireClosed(t, conn)
	})
	for _, c := range []struct {
		name string
		msgs [][]byte
		min  smbserver.Dialect
	}{
		{"no SMB2 dialect", [][]byte{smb2.SMB1Negotiate{Dialects: []string{"NT LM 0.12"}}.Append(nil)}, 0},
		{"2.002 where it is too old", [][]byte{smb2.SMB1Negotiate{Dialects: []string{smb2.SMB1Dialect202}}.Append(nil)}, smbserver.Dialect210},
		{"garbage", [][]byte{append([]byte{0xFF, 'S', 'M', 'B'}, make([]byte, 60)...)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, func(cfg *smbserver.Config) { cfg.MinDialect = c.min })
			conn := f.dial()
			defer conn.Close()
			for _, m := range c.msgs {
				sendRaw(t, conn, m)
			}
			requireClosed(t, conn)
			assert.Equal(t, int64(1), f.Stats().Lost)
		})
	}
	t.Run("twice", func(t *testing.T) {
		f := start(t)
		conn := f.dial()
		defer conn.Close()
		exchangeRaw(t, conn, both.Append(nil))
		sendRaw(t, conn, both.Append(nil))
		requireClosed(t, conn)
	})
}

// What ends the connection without an answer, [MS-SMB2] 3.3.5.2 and 3.3.5.4.
func TestFramesThatEndTheConnection(t *testing.T) {
	ok := negotiateWith([]smb2.Dialect{smb2.Dialect210})
	echo := func(h smb2.Header) []byte {
		h.Command = smb2.CommandEcho
		return message(h, smb2.EchoRequest{})
	}
	for _, c := range []struct {
		name  string
		raw   []byte // sent as it is
		after bool   // after a NEGOTIATE
	}{
		{"an empty frame", []byte{0, 0, 0, 0}, false},
		{"a frame of two bytes", []byte{0, 0, 0, 2, 0xFE, 'S'}, false},
		{"a NetBIOS session request", []byte{0x81, 0, 0, 4, 1, 2, 3, 4}, false},
		{"a frame too long before logon", []byte{0, 1, 2, 0}, false},
		{"the longest frame", []byte{0, 0xFF, 0xFF, 0xFF}, false},
		{"another protocol", frameOf(t, []byte("GET / HTTP/1.1\r\n")), false},
		{"a short header", frameOf(t, ok[:50]), false},
		{"an encrypted frame", frameOf(t, append([]byte{0xFD, 'S', 'M', 'B'}, make([]byte, 100)...)), true},
		{"a compressed frame", frameOf(t, append([]byte{0xFC, 'S', 'M', 'B'}, make([]byte, 100)...)), true},
		{"a request before NEGOTIATE", frameOf(t, echo(smb2.Header{})), false},
		{"a second NEGOTIATE", frameOf(t, message(smb2.Header{Command: smb2.CommandNegotiate, MessageID: 1}, smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect210}})), true},
		{"SMB1 after NEGOTIATE", frameOf(t, smb2.SMB1Negotiate{Dialects: []string{smb2.SMB1DialectWildcard}}.Append(nil)), true},
		{"an unknown command", frameOf(t, message(smb2.Header{Command: 0x77, MessageID: 1}, smb2.EchoRequest{})), true},
		{"a notification", frameOf(t, message(smb2.Header{Command: smb2.CommandServerToClientNotification, MessageID: 1}, smb2.EchoRequest{})), true},
		{"a response", frameOf(t, echo(smb2.Header{MessageID: 1, Flags: smb2.FlagServerToRedir})), true},
		{"a MessageId not granted", frameOf(t, echo(smb2.Header{MessageID: 5000})), true},
		{"a MessageId used before", frameOf(t, echo(smb2.Header{MessageID: 0})), true},
		{"a charge beyond the window", frameOf(t, echo(smb2.Header{MessageID: 1, CreditCharge: 0xFFFF})), true},
		{"a NextCommand to itself", frameOf(t, echo(smb2.Header{MessageID: 1, NextCommand: 8})), true},
		{"a NextCommand behind the end", frameOf(t, echo(smb2.Header{MessageID: 1, NextCommand: 4096})), true},
		{"a NextCommand not aligned", frameOf(t, append(echo(smb2.Header{MessageID: 1, NextCommand: 68}), echo(smb2.Header{MessageID: 2})...)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t)
			conn := f.dial()
			defer conn.Close()
			if c.after {
				require.Equal(t, smb2.StatusSuccess, header(t, exchangeRaw(t, conn, ok)[0]).Status)
			}
			_, err := conn.Write(c.raw)
			require.NoError(t, err)
			requireClosed(t, conn)
			assert.Equal(t, int64(1), f.Stats().Lost)
			assert.Contains(t, f.log.String(), "connection closed")
			require.NoError(t, f.client().Echo(t.Context()), "the server goes on")
		})
	}
}

func TestHeaderFlagsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect smb2.Dialect
		flags   smb2.Flags
		want    smb2.Status
	}{
		{"async, which is for CANCEL", smb2.Dialect311, smb2.FlagAsync, smb2.StatusInvalidParameter},
		{"an unknown flag", smb2.Dialect311, 0x40000000, smb2.StatusInvalidParameter},
		{"related, but alone", smb2.Dialect311, smb2.FlagRelated, smb2.StatusInvalidParameter},
		{"replay in 2.1", smb2.Dialect210, smb2.FlagReplay, smb2.StatusInvalidParameter},
		{"replay in 3.0", smb2.Dialect300, smb2.FlagReplay, smb2.StatusSuccess},
		{"priority in 3.0.2", smb2.Dialect302, 0x20, smb2.StatusInvalidParameter},
		{"priority in 3.1.1", smb2.Dialect311, 0x20, smb2.StatusSuccess},
		{"DFS", smb2.Dialect210, smb2.FlagDFS, smb2.StatusSuccess},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t)
			conn := f.dial()
			defer conn.Close()
			exchangeRaw(t, conn, negotiateWith([]smb2.Dialect{c.dialect}, preauth(1)))
			h := smb2.Header{Command: smb2.CommandEcho, MessageID: 1, Flags: c.flags}
			assert.Equal(t, c.want, header(t, exchangeRaw(t, conn, message(h, smb2.EchoRequest{}))[0]).Status)
		})
	}
}
