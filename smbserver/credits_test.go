package smbserver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
)

func TestCreditsAreGrantedUpToTheLimit(t *testing.T) {
	f := start(t)
	c := f.client(func(c *smbclient.Config) { c.CreditRequest = 65535 })
	require.NoError(t, c.Echo(t.Context()))
	assert.Equal(t, 8192, c.Credits())
	for range 100 {
		require.NoError(t, c.Echo(t.Context()))
		require.Equal(t, 8192, c.Credits(), "what is spent is given back, no more")
	}
}

func TestAClientThatAsksForNothingKeepsOneCredit(t *testing.T) {
	f := start(t)
	conn := f.dial()
	defer conn.Close()
	h := header(t, exchangeRaw(t, conn, message(smb2.Header{Command: smb2.CommandNegotiate},
		smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect210}}))[0])
	assert.Equal(t, uint16(1), h.Credits)
	for id := range uint64(20) {
		h = header(t, exchangeRaw(t, conn, message(smb2.Header{Command: smb2.CommandEcho, MessageID: 1 + id}, smb2.EchoRequest{}))[0])
		require.Equal(t, smb2.StatusSuccess, h.Status)
		require.Equal(t, uint16(1), h.Credits)
	}
}

func TestAllCreditsAtOnce(t *testing.T) {
	f := start(t, func(c *smbserver.Config) { c.Limits.Credits = 300 })
	c := f.client(func(c *smbclient.Config) { c.CreditRequest = 1000 })
	require.NoError(t, c.Echo(t.Context()))
	require.Equal(t, 300, c.Credits())
	var ids []uint64
	for range 300 {
		id, err := c.Send(t.Context(), smbclient.Request{Command: smb2.CommandEcho, Body: smb2.EchoRequest{}})
		require.NoError(t, err)
		ids = append(ids, id...)
	}
	_, err := c.Send(t.Context(), smbclient.Request{Command: smb2.CommandEcho, Body: smb2.EchoRequest{}})
	require.ErrorIs(t, err, smbclient.ErrCredits)
	for _, id := range ids {
		answers, err := c.Recv(t.Context())
		require.NoError(t, err)
		require.Len(t, answers, 1)
		require.Equal(t, id, answers[0].Header.MessageID)
	}
	require.Equal(t, 300, c.Credits())
}

func TestCreditCharge(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("f", make([]byte, 1<<20)))
	c, tree := f.tree(func(c *smbclient.Config) { c.CreditRequest = 512 })
	file := createFile(t, tree, "f")
	ask := func(cmd smb2.Command, body smbclient.Appender, pay int) smb2.Status {
		_, err := c.RoundTrip(t.Context(), smbclient.Request{Command: cmd, TreeID: tree.ID(), Body: body, Payload: pay})
		return status(t, err)
	}
	read := func(n uint32) smb2.ReadRequest { return smb2.ReadRequest{FileID: file.ID, Length: n} }
	bad := smb2.StatusInvalidParameter
	assert.Equal(t, smb2.StatusSuccess, ask(smb2.CommandRead, read(65536), 1))
	assert.Equal(t, bad, ask(smb2.CommandRead, read(65537), 1))
	assert.Equal(t, smb2.StatusSuccess, ask(smb2.CommandRead, read(65537), 65537))
	assert.Equal(t, bad, ask(smb2.CommandRead, read(1<<20), 15<<16))
	assert.Equal(t, smb2.StatusSuccess, ask(smb2.CommandRead, read(1<<20), 1<<20))
	assert.Equal(t, smb2.StatusSuccess, ask(smb2.CommandRead, read(10), 1<<20), "too much is no error")
	write := smb2.WriteRequest{FileID: file.ID, Data: make([]byte, 65537)}
	assert.Equal(t, bad, ask(smb2.CommandWrite, write, 1))
	assert.Equal(t, smb2.StatusSuccess, ask(smb2.CommandWrite, write, 65537))
	info := smb2.QueryInfoRequest{FileID: file.ID, Type: 1, Class: 5, OutputBufferLength: 1 << 20}
	assert.Equal(t, smb2.StatusSuccess, ask(smb2.CommandQueryInfo, info, 1), "clients send one credit for QUERY_INFO, [MS-SMB2] 3.2.4.1.5")

	c, tree = f.tree(dialects(smb2.Dialect202))
	file = createFile(t, tree, "f")
	_, err := file.Read(t.Context(), 0, 65536)
	require.NoError(t, err, "2.0.2 has no charges")
	require.NoError(t, c.Echo(t.Context()))
}
