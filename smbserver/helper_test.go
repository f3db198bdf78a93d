package smbserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gosmb2 "github.com/cloudsoda/go-smb2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

const (
	shareName = "data"
	userName  = "alice"
	password  = "correct horse"
)

// patience bounds what must happen soon; it only matters when a test fails.
const patience = 20 * time.Second

// users is an Authenticator over a map of passwords.
type users map[string]string

func (u users) NTHash(user, _ string) ([16]byte, bool) {
	p, ok := u[strings.ToLower(user)]
	return ntlm.NTHash(p), ok
}

// logBuffer collects the server's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fixture is a server under test with its in-memory share.
type fixture struct {
	*smbserver.Server
	t    *testing.T
	mem  *smbtest.Mem
	log  *logBuffer
	addr net.Addr
}

// start serves a share in memory until the test ends, and then demands that nothing is left and nothing panicked.
func start(t *testing.T, change ...func(*smbserver.Config)) *fixture {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "smb"))
	require.NoError(t, err)
	return startOn(t, l, change...)
}

func startOn(t *testing.T, l net.Listener, change ...func(*smbserver.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, mem: smbtest.NewMem(smbtest.Options{}), log: &logBuffer{}, addr: l.Addr()}
	cfg := smbserver.Config{
		Shares:        map[string]smbserver.Share{shareName: f.mem},
		Auth:          users{userName: password, "bob": "builder"},
		Logger:        slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		PoisonBuffers: true,
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	f.Server, err = smbserver.New(cfg)
	require.NoError(t, err)
	served := make(chan error, 1)
	// ends at Shutdown; waited in the cleanup
	go func() { served <- f.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.Shutdown(ctx))
		require.ErrorIs(t, <-served, smbserver.ErrServerClosed)
		s := f.Stats()
		assert.Zero(t, s.Panics, "panics:\n%s", f.log)
		assert.Zero(t, s.Internal, "internal errors:\n%s", f.log)
		assert.Zero(t, s.OpenConnections)
		assert.Zero(t, s.OpenSessions)
		assert.Zero(t, s.OpenFiles)
		assert.Zero(t, s.IdleBuffers)
		if t.Failed() {
			t.Logf("server log:\n%s", f.log)
		}
	})
	return f
}

func (f *fixture) dial() net.Conn {
	f.t.Helper()
	conn, err := net.Dial(f.addr.Network(), f.addr.String())
	require.NoError(f.t, err)
	require.NoError(f.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// client logs in with the raw client of this module.
func (f *fixture) client(change ...func(*smbclient.Config)) *smbclient.Client {
	f.t.Helper()
	c, err := f.tryClient(change...)
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			f.t.Errorf("close client: %v", err)
		}
	})
	return c
}

func (f *fixture) tryClient(change ...func(*smbclient.Config)) (*smbclient.Client, error) {
	f.t.Helper()
	cfg := smbclient.Config{User: userName, Password: password}
	for _, c := range change {
		c(&cfg)
	}
	return smbclient.Dial(f.t.Context(), f.dial(), cfg)
}

// tree logs in and connects to the share.
func (f *fixture) tree(change ...func(*smbclient.Config)) (*smbclient.Client, *smbclient.Tree) {
	f.t.Helper()
	c := f.client(change...)
	tree, err := c.TreeConnect(f.t.Context(), shareName)
	require.NoError(f.t, err)
	return c, tree
}

func dialects(d ...smb2.Dialect) func(*smbclient.Config) {
	return func(c *smbclient.Config) { c.Dialects = d }
}

func signed(c *smbclient.Config) { c.Sign = true }

func readPath(name string) func(*smbserver.Config) {
	return func(c *smbserver.Config) { c.ReadPath = name }
}

// mount connects the independent client.
func (f *fixture) mount(sign bool, dialect uint16) (*gosmb2.Session, *gosmb2.Share) {
	f.t.Helper()
	d := &gosmb2.Dialer{
		Negotiator: gosmb2.Negotiator{RequireMessageSigning: sign, SpecifiedDialect: dialect},
		Initiator:  &gosmb2.NTLMInitiator{User: userName, Password: password},
	}
	s, err := d.DialConn(f.t.Context(), f.dial(), "127.0.0.1:4450")
	require.NoError(f.t, err)
	share, err := s.Mount(shareName)
	require.NoError(f.t, err)
	return s, share
}

// createFile makes or opens name for reading and writing.
func createFile(t *testing.T, tree *smbclient.Tree, name string) *smbclient.File {
	t.Helper()
	f, err := tree.Create(t.Context(), createRequest(name))
	require.NoError(t, err)
	return f
}

func createRequest(name string) smb2.CreateRequest {
	return smb2.CreateRequest{
		Impersonation: smb2.ImpersonationImpersonation,
		DesiredAccess: smb2.FileGenericRead | smb2.FileGenericWrite | smb2.Delete,
		ShareAccess:   smb2.ShareRead | smb2.ShareWrite | smb2.ShareDelete,
		Disposition:   smb2.FileOpenIf,
		Name:          name,
	}
}

// status is the status of an answer, for comparison.
func status(t *testing.T, err error) smb2.Status {
	t.Helper()
	if err == nil {
		return smb2.StatusSuccess
	}
	var s smb2.Status
	require.ErrorAs(t, err, &s)
	return s
}

// requireClosed demands that the server closes the connection without another byte.
func requireClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := conn.Read(make([]byte, 1))
	require.Zero(t, n, "the server answered")
	require.Error(t, err)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection is still open")
}

// exchangeRaw sends one message and returns the elements of the answer.
func exchangeRaw(t *testing.T, conn net.Conn, msg []byte) [][]byte {
	t.Helper()
	sendRaw(t, conn, msg)
	return receiveRaw(t, conn)
}

func sendRaw(t *testing.T, conn net.Conn, msg []byte) {
	t.Helper()
	_, err := conn.Write(frameOf(t, msg))
	require.NoError(t, err)
}

func frameOf(t *testing.T, msg []byte) []byte {
	t.Helper()
	head := make([]byte, smb2.FrameLen)
	require.NoError(t, smb2.PutFrame(head, len(msg)))
	return append(head, msg...)
}

func receiveRaw(t *testing.T, conn net.Conn) [][]byte {
	t.Helper()
	head := make([]byte, smb2.FrameLen)
	_, err := io.ReadFull(conn, head)
	require.NoError(t, err)
	n, err := smb2.ParseFrame(head)
	require.NoError(t, err)
	msg := make([]byte, n)
	_, err = io.ReadFull(conn, msg)
	require.NoError(t, err)
	var list [][]byte
	for rest := msg; rest != nil; {
		var e []byte
		e, rest, err = smb2.NextInCompound(rest)
		require.NoError(t, err)
		list = append(list, e)
	}
	return list
}

func header(t *testing.T, msg []byte) smb2.Header {
	t.Helper()
	h, err := smb2.ParseHeader(msg)
	require.NoError(t, err)
	return h
}

func message(h smb2.Header, body interface{ Append([]byte) []byte }) []byte {
	return body.Append(h.Append(nil))
}
