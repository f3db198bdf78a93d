package spnego_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/spnego"
)

var mechList = []byte("\x30\x0c\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a")

func TestGoldenHint(t *testing.T) {
	hint := hexdump.ReadMap(t, "smbclient.hex")["hint"]
	in, err := spnego.ParseInit(hint)
	require.NoError(t, err)
	assert.Equal(t, "not_defined_in_RFC4178@please_ignore", in.HintName)
	assert.Equal(t, []asn1.ObjectIdentifier{spnego.OIDNTLM()}, in.MechTypes)
	assert.Equal(t, hex.EncodeToString(hint), hex.EncodeToString(spnego.HintToken()), "as smbd sends it")
}

func TestGoldenTokens(t *testing.T) {
	for _, file := range []string{"smbclient.hex", "go-smb2.hex", "anonymous.hex"} {
		t.Run(file, func(t *testing.T) {
			dump := hexdump.ReadMap(t, file)
			in, err := spnego.ParseInit(dump["init"])
			require.NoError(t, err)
			assert.Equal(t, []asn1.ObjectIdentifier{spnego.OIDNTLM()}, in.MechTypes)
			assert.Equal(t, mechList, in.MechList)
			assert.True(t, bytes.HasPrefix(in.MechToken, []byte(ntlm.Signature)))
			assert.Nil(t, in.MechListMIC)
			assert.Empty(t, in.HintName)
			assert.Equal(t, dump["init"], in.Append(nil))

			challenge, err := spnego.ParseResp(dump["challenge"])
			require.NoError(t, err)
			assert.Equal(t, spnego.StateAcceptIncomplete, challenge.State)
			assert.True(t, challenge.SupportedMech.Equal(spnego.OIDNTLM()))
			assert.Equal(t, dump["challenge"], challenge.Append(nil))

			auth, err := spnego.ParseResp(dump["authenticate"])
			require.NoError(t, err)
			assert.Nil(t, auth.SupportedMech)
			assert.Equal(t, dump["authenticate"], auth.Append(nil))

			completed, err := spnego.ParseResp(dump["completed"])
			require.NoError(t, err)
			assert.Equal(t, spnego.StateAcceptCompleted, completed.State)
			assert.Equal(t, file == "anonymous.hex", completed.MechListMIC == nil)
			assert.Equal(t, dump["completed"], completed.Append(nil))
		})
	}
}

// The captured clients log in at our Acceptor, which must answer with smbd's bytes.
func TestGoldenAcceptor(t *testing.T) {
	for _, file := range []string{"smbclient.hex", "go-smb2.hex", "anonymous.hex"} {
		t.Run(file, func(t *testing.T) {
			dump := hexdump.ReadMap(t, file)
			resp, err := spnego.ParseResp(dump["challenge"])
			require.NoError(t, err)
			c, err := ntlm.ParseChallenge(resp.ResponseToken)
			require.NoError(t, err)
			info, err := ntlm.ParseTargetInfo(c.TargetInfo)
			require.NoError(t, err)
			stamp, ok := info.Get(ntlm.AVTimestamp)
			require.True(t, ok)
			filetime := binary.LittleEndian.Uint64(stamp)

			a := spnego.NewAcceptor(&ntlm.Server{
				NetBIOSComputer: "LAB", DNSComputer: "vm", Rand: bytes.NewReader(c.ServerChallenge[:]),
				Now: func() time.Time { return time.Unix(int64(filetime/1e7)-11644473600, int64(filetime%1e7)*100) },
			}, accounts("daemon", "secret"))
			reply, done, err := a.Step(dump["init"])
			require.NoError(t, err)
			require.Nil(t, done)
			assert.Equal(t, hex.EncodeToString(dump["challenge"]), hex.EncodeToString(reply))
			reply, done, err = a.Step(dump["authenticate"])
			require.NoError(t, err)
			require.NotNil(t, done)
			assert.Equal(t, hex.EncodeToString(dump["completed"]), hex.EncodeToString(reply))
			assert.Equal(t, dump["session-key"], done.SessionKey)
			assert.Equal(t, file == "anonymous.hex", done.Anonymous)
		})
	}
}
