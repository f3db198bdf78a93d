package spnego_test

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/spnego"
)

func seedAll(f *testing.F, kinds ...string) {
	f.Helper()
	for _, file := range []string{"smbclient.hex", "go-smb2.hex", "anonymous.hex"} {
		dump := hexdump.ReadMap(f, file)
		for _, kind := range kinds {
			f.Add(dump[kind])
			f.Add(dump[kind][:len(dump[kind])/2])
		}
	}
}

func FuzzSPNEGOInit(f *testing.F) {
	seedAll(f, "hint", "init")
	f.Add(spnego.Init{MechTypes: []asn1.ObjectIdentifier{kerberos}, MechListMIC: []byte("mic")}.Append(nil))
	f.Add(spnego.Init{HintName: "x", MechListMIC: []byte("mic"), MechToken: []byte{}}.Append(nil))
	f.Fuzz(func(t *testing.T, token []byte) {
		first, err := spnego.ParseInit(token)
		if err != nil {
			require.ErrorIs(t, err, ntlm.ErrMalformed)
			return
		}
		second, err := spnego.ParseInit(first.Append(nil))
		require.NoError(t, err)
		require.Equal(t, first, second)
	})
}

func FuzzSPNEGOResp(f *testing.F) {
	seedAll(f, "challenge", "authenticate", "completed")
	f.Fuzz(func(t *testing.T, token []byte) {
		first, err := spnego.ParseResp(token)
		if err != nil {
			require.ErrorIs(t, err, ntlm.ErrMalformed)
			return
		}
		second, err := spnego.ParseResp(first.Append(nil))
		require.NoError(t, err)
		require.Equal(t, first, second)
	})
}

// FuzzSPNEGO is a whole conversation: whatever two tokens come, the Acceptor ends in one of its
// documented ways, and never lets a named user in.
func FuzzSPNEGO(f *testing.F) {
	for _, file := range []string{"smbclient.hex", "go-smb2.hex", "anonymous.hex"} {
		dump := hexdump.ReadMap(f, file)
		f.Add(dump["init"], dump["authenticate"])
		resp, err := spnego.ParseResp(dump["authenticate"])
		require.NoError(f, err)
		in, err := spnego.ParseInit(dump["init"])
		require.NoError(f, err)
		f.Add(in.MechToken, resp.ResponseToken)
	}
	lookup := accounts("daemon", "not what the captured client typed")
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a := spnego.NewAcceptor(&ntlm.Server{}, lookup)
		for _, token := range [][]byte{one, two, two} {
			reply, done, err := a.Step(token)
			if err != nil {
				require.True(t, errors.Is(err, ntlm.ErrMalformed) || errors.Is(err, ntlm.ErrLogonFailure), "%v", err)
				require.Nil(t, reply)
				require.Nil(t, done)
				continue
			}
			if done != nil {
				require.True(t, done.Anonymous)
				require.Nil(t, done.SessionKey)
			}
		}
	})
}

func TestTruncations(t *testing.T) {
	dump := hexdump.ReadMap(t, "smbclient.hex")
	for n := range dump["init"] {
		_, err := spnego.ParseInit(dump["init"][:n])
		require.ErrorIs(t, err, ntlm.ErrMalformed, "cut to %d", n)
	}
	for n := range dump["authenticate"] {
		_, err := spnego.ParseResp(dump["authenticate"][:n])
		require.ErrorIs(t, err, ntlm.ErrMalformed, "cut to %d", n)
	}
}

func TestBounds(t *testing.T) {
	mechs := func(n int) []byte {
		in := spnego.Init{}
		for range n {
			in.MechTypes = append(in.MechTypes, spnego.OIDNTLM())
		}
		return in.Append(nil)
	}
	_, err := spnego.ParseInit(mechs(32))
	require.NoError(t, err)
	for name, token := range map[string][]byte{
		"33 mechanisms":       mechs(33),
		"token over 64 KiB":   spnego.Init{MechToken: make([]byte, spnego.MaxToken)}.Append(nil),
		"nested far":          bytes.Repeat([]byte{0x60, 0x80}, 20000),
		"indefinite length":   {0x60, 0x80, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02, 0, 0},
		"length over the end": {0x60, 0x84, 0xff, 0xff, 0xff, 0xff},
		"another frame":       {0x60, 0x0a, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x03, 0xa0, 0x00},
	} {
		_, err := spnego.ParseInit(token)
		assert.ErrorIs(t, err, ntlm.ErrMalformed, name)
		_, err = spnego.ParseResp(token)
		assert.ErrorIs(t, err, ntlm.ErrMalformed, name)
	}
	for name, token := range map[string][]byte{
		"negState 4":       {0xa1, 0x07, 0x30, 0x05, 0xa0, 0x03, 0x0a, 0x01, 0x04},
		"negState −1":      {0xa1, 0x07, 0x30, 0x05, 0xa0, 0x03, 0x0a, 0x01, 0xff},
		"a field too many": {0xa1, 0x06, 0x30, 0x04, 0xa4, 0x02, 0x04, 0x00},
		"fields reversed":  {0xa1, 0x0b, 0x30, 0x09, 0xa2, 0x02, 0x04, 0x00, 0xa0, 0x03, 0x0a, 0x01, 0x00},
		"bytes behind":     {0xa1, 0x07, 0x30, 0x05, 0xa0, 0x03, 0x0a, 0x01, 0x00, 0x00},
	} {
		_, err := spnego.ParseResp(token)
		assert.ErrorIs(t, err, ntlm.ErrMalformed, name)
	}
}

// What older and other clients put in: a reqFlags field, a MIC in the place of NegTokenInit.
func TestOptionalFields(t *testing.T) {
	token := spnego.Init{MechTypes: []asn1.ObjectIdentifier{spnego.OIDNTLM()}, MechListMIC: []byte("mic")}.Append(nil)
	in, err := spnego.ParseInit(token)
	require.NoError(t, err)
	assert.Equal(t, []byte("mic"), in.MechListMIC)
	token = spnego.Init{MechTypes: []asn1.ObjectIdentifier{spnego.OIDNTLM()}, HintName: "h", MechListMIC: []byte("mic")}.Append(nil)
	in, err = spnego.ParseInit(token)
	require.NoError(t, err)
	assert.Equal(t, "h", in.HintName)
	assert.Equal(t, []byte("mic"), in.MechListMIC)

	// 60 … a0 30 [a0 mechTypes] [a1 BIT STRING] : lengths grow by the field's six bytes.
	token = spnego.Init{MechTypes: []asn1.ObjectIdentifier{spnego.OIDNTLM()}}.Append(nil)
	token = append(token, 0xa1, 0x04, 0x03, 0x02, 0x01, 0x02)
	for _, at := range []int{1, 11, 13} {
		token[at] += 6
	}
	in, err = spnego.ParseInit(token)
	require.NoError(t, err)
	assert.Equal(t, mechList, in.MechList)
}
