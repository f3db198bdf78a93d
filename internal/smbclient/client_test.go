package smbclient_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/internal/spnego"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

const (
	user     = "alice"
	password = "correct horse"
	share    = "mem"
)

type users struct{}

func (users) NTHash(name, _ string) ([16]byte, bool) {
	return ntlm.NTHash(password), strings.EqualFold(name, user)
}

// serve starts a server over an in-memory share and returns its address.
func serve(t *testing.T, cfg smbserver.Config) string {
	t.Helper()
	cfg.Shares = map[string]smbserver.Share{share: smbtest.NewMem(smbtest.Options{})}
	cfg.Auth = users{}
	cfg.Logger = slog.New(slog.DiscardHandler)
	server, err := smbserver.New(cfg)
	require.NoError(t, err)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		assert.NoError(t, server.Shutdown(ctx))
		assert.ErrorIs(t, <-served, smbserver.ErrServerClosed)
	})
	return l.Addr().String()
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func dial(t *testing.T, addr string, cfg smbclient.Config) (*smbclient.Client, *smbclient.Tree) {
	t.Helper()
	c, err := smbclient.Dial(t.Context(), connect(t, addr), cfg)
	require.NoError(t, err)
	tree, err := c.TreeConnect(t.Context(), share)
	require.NoError(t, err)
	return c, tree
}

func create(t *testing.T, tree *smbclient.Tree, name string) *smbclient.File {
	t.Helper()
	f, err := tree.Create(t.Context(), smb2.CreateRequest{Name: name, Disposition: smb2.FileOpenIf})
	require.NoError(t, err)
	return f
}

func TestEveryDialect(t *testing.T) {
	addr := serve(t, smbserver.Config{Guest: true})
	for _, d := range []smb2.Dialect{smb2.Dialect202, smb2.Dialect210, smb2.Dialect300, smb2.Dialect302, smb2.Dialect311} {
		for name, cfg := range map[string]smbclient.Config{
			"unsigned":  {User: user, Password: password},
			"signed":    {User: user, Password: password, Sign: true},
			"raw NTLM":  {User: user, Password: password, Sign: true, Login: spnego.Options{Raw: true}},
			"anonymous": {},
		} {
			t.Run(d.String()+" "+name, func(t *testing.T) {
				cfg.Dialects = []smb2.Dialect{d}
				c, tree := dial(t, addr, cfg)
				assert.Equal(t, d, c.Dialect())
				assert.NotZero(t, c.SessionID())
				f := create(t, tree, strings.ReplaceAll(t.Name(), "/", "_"))
				content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
				n, err := f.Write(t.Context(), 0, content)
				require.NoError(t, err)
				assert.Equal(t, len(content), n)
				require.NoError(t, f.Flush(t.Context()))
				got, err := f.Read(t.Context(), 0, uint32(len(content)))
				require.NoError(t, err)
				assert.Equal(t, content, got)
				require.NoError(t, c.Echo(t.Context()))
				require.NoError(t, f.Close(t.Context()))
				require.NoError(t, tree.Disconnect(t.Context()))
				require.NoError(t, c.Logoff(t.Context()))
			})
		}
	}
}

func TestZeroAndEndOfFile(t *testing.T) {
	_, tree := dial(t, serve(t, smbserver.Config{}), smbclient.Config{User: user, Password: password})
	f := create(t, tree, "f")
	_, err := f.Write(t.Context(), 0, bytes.Repeat([]byte{7}, 3*4096))
	require.NoError(t, err)
	require.NoError(t, f.SetSparse(t.Context(), true))
	require.NoError(t, f.SetZeroData(t.Context(), 4096, 8192))
	got, err := f.Read(t.Context(), 0, 3*4096)
	require.NoError(t, err)
	assert.Equal(t, bytes.Repeat([]byte{7}, 4096), got[:4096])
	assert.Equal(t, make([]byte, 4096), got[4096:8192])
	assert.Equal(t, bytes.Repeat([]byte{7}, 4096), got[8192:])

	require.NoError(t, f.SetEndOfFile(t.Context(), 100))
	info, err := f.QueryInfo(t.Context(), smb2.InfoFile, 5, 24) // FileStandardInformation, [MS-FSCC] 2.4.46
	require.NoError(t, err)
	assert.Equal(t, byte(100), info[8], "EndOfFile")
	_, err = f.Read(t.Context(), 100, 1)
	assert.ErrorIs(t, err, smb2.StatusEndOfFile)
}

func TestSendWithoutReceiving(t *testing.T) {
	c, tree := dial(t, serve(t, smbserver.Config{}), smbclient.Config{User: user, Password: password})
	f := create(t, tree, "f")
	_, err := f.Write(t.Context(), 0, []byte("0123456789"))
	require.NoError(t, err)

	before := c.Credits()
	first, err := c.Send(t.Context(), f.ReadRequest(0, 5))
	require.NoError(t, err)
	second, err := c.Send(t.Context(), f.ReadRequest(5, 5))
	require.NoError(t, err)
	assert.Equal(t, before-2, c.Credits(), "nothing was received, so nothing was granted")

	// A round trip in between sets the two answers aside; they are not lost.
	require.NoError(t, c.Echo(t.Context()))
	got := make(map[uint64]string)
	for len(got) < 2 {
		answers, err := c.Recv(t.Context())
		require.NoError(t, err)
		for _, a := range answers {
			require.NoError(t, a.Err())
			r, err := smb2.ParseReadResponse(a.Msg)
			require.NoError(t, err)
			got[a.Header.MessageID] = string(r.Data)
		}
	}
	assert.Equal(t, map[uint64]string{first[0]: "01234", second[0]: "56789"}, got)
}

func TestCompound(t *testing.T) {
	for _, sign := range []bool{false, true} {
		c, tree := dial(t, serve(t, smbserver.Config{}), smbclient.Config{User: user, Password: password, Sign: sign})
		ids, err := c.Send(
			t.Context(),
			smbclient.Request{Command: smb2.CommandCreate, TreeID: tree.ID(), Body: smb2.CreateRequest{
				Name: "made", Disposition: smb2.FileCreate, DesiredAccess: smb2.FileAllAccess,
				Impersonation: smb2.ImpersonationImpersonation, ShareAccess: smb2.ShareRead,
			}},
			smbclient.Request{
				Command: smb2.CommandWrite, TreeID: tree.ID(), Related: true,
				Body: smb2.WriteRequest{FileID: smb2.FileIDAny(), Data: []byte("hello")},
			},
			smbclient.Request{
				Command: smb2.CommandClose, TreeID: tree.ID(), Related: true,
				Body: smb2.CloseRequest{FileID: smb2.FileIDAny()},
			},
		)
		require.NoError(t, err)
		require.Len(t, ids, 3)
		var got []smbclient.Response
		for len(got) < 3 {
			answers, err := c.Recv(t.Context())
			require.NoError(t, err)
			got = append(got, answers...)
		}
		for i, a := range got {
			assert.NoError(t, a.Err(), "element %d", i)
			assert.Equal(t, ids[i], a.Header.MessageID)
		}
		f, err := tree.Open(t.Context(), "made", smb2.FileGenericRead)
		require.NoError(t, err)
		data, err := f.Read(t.Context(), 0, 10)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(data))
	}
}

func TestCreditsAreNotOverdrawn(t *testing.T) {
	c, tree := dial(t, serve(t, smbserver.Config{}), smbclient.Config{User: user, Password: password, CreditRequest: 1})
	f := create(t, tree, "f")
	left := c.Credits()
	// Each request of 1 MiB costs 16 credits; the first ones that no longer fit must stay here.
	var err error
	for range left/16 + 1 {
		if _, err = c.Send(t.Context(), f.ReadRequest(0, 1<<20)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, smbclient.ErrCredits)
	assert.Equal(t, left%16, c.Credits(), "a request that was not sent costs nothing")
	if c.Credits() > 0 {
		require.NoError(t, c.Echo(t.Context()), "and uses no message id")
	}
}

func TestLoginFails(t *testing.T) {
	addr := serve(t, smbserver.Config{})
	for name, cfg := range map[string]smbclient.Config{
		"a wrong password": {User: user, Password: "wrong"},
		"nobody":           {},
		"a stranger":       {User: "mallory", Password: password},
	} {
		_, err := smbclient.Dial(t.Context(), connect(t, addr), cfg)
		var status *smbclient.StatusError
		require.ErrorAs(t, err, &status, name)
		assert.Equal(t, smb2.CommandSessionSetup, status.Command, name)
	}
	_, err := smbclient.Dial(t.Context(), connect(t, serve(t, smbserver.Config{Guest: true})), smbclient.Config{Sign: true})
	assert.Error(t, err, "a guest cannot sign")
}

func TestUnknownShareAndFile(t *testing.T) {
	c, tree := dial(t, serve(t, smbserver.Config{}), smbclient.Config{User: user, Password: password})
	_, err := c.TreeConnect(t.Context(), "nothing")
	assert.ErrorIs(t, err, smb2.StatusBadNetworkName)
	_, err = tree.Open(t.Context(), "nothing", smb2.FileGenericRead)
	assert.ErrorIs(t, err, smb2.StatusObjectNameNotFound)
}

func TestCancelledCallClosesTheConnection(t *testing.T) {
	client, silent := net.Pipe()
	defer silent.Close()
	go io.Copy(io.Discard, silent)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := smbclient.Dial(ctx, client, smbclient.Config{})
		done <- err
	}()
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
	_, err := client.Write([]byte{0})
	assert.Error(t, err)
}
