package smbserver_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

func TestNewRefuses(t *testing.T) {
	mem := smbtest.NewMem(smbtest.Options{})
	good := func() smbserver.Config {
		return smbserver.Config{Shares: map[string]smbserver.Share{"data": mem}, Auth: users{}}
	}
	_, err := smbserver.New(good())
	require.NoError(t, err)
	for name, spoil := range map[string]func(*smbserver.Config){
		"nobody can log on":          func(c *smbserver.Config) { c.Auth = nil },
		"only guests, who must sign": func(c *smbserver.Config) { c.Auth, c.Guest, c.RequireSigning = nil, true, true },
		"no share":                   func(c *smbserver.Config) { c.Shares = nil },
		"a nil share":                func(c *smbserver.Config) { c.Shares = map[string]smbserver.Share{"x": nil} },
		"an empty name":              func(c *smbserver.Config) { c.Shares = map[string]smbserver.Share{"": mem} },
		"a name with a separator":    func(c *smbserver.Config) { c.Shares = map[string]smbserver.Share{`a\b`: mem} },
		"IPC$":                       func(c *smbserver.Config) { c.Shares = map[string]smbserver.Share{"ipc$": mem} },
		"names that differ in case":  func(c *smbserver.Config) { c.Shares = map[string]smbserver.Share{"a": mem, "A": mem} },
		"an unknown read path":       func(c *smbserver.Config) { c.ReadPath = "sendfile" },
		"an unknown dialect":         func(c *smbserver.Config) { c.MaxDialect = 0x0999 },
		"dialects upside down":       func(c *smbserver.Config) { c.MinDialect, c.MaxDialect = smbserver.Dialect311, smbserver.Dialect210 },
		"a long server name":         func(c *smbserver.Config) { c.ServerName = "0123456789ABCDEF" },
		"small transfers":            func(c *smbserver.Config) { c.Limits.MaxRead = 4096 },
		"too many credits":           func(c *smbserver.Config) { c.Limits.Credits = 8193 },
		"a negative limit":           func(c *smbserver.Config) { c.Limits.Opens = -1 },
		"a negative timeout":         func(c *smbserver.Config) { c.Limits.WriteTimeout = -1 },
	} {
		cfg := good()
		spoil(&cfg)
		_, err := smbserver.New(cfg)
		require.ErrorIs(t, err, smbserver.ErrConfig, name)
	}
}

// gated is a share whose files stop where a test wants them to.
type gated struct {
	smbserver.Share

	syncing chan struct{} // told when a Sync has begun
	finish  chan struct{} // closed: Sync may end
	closed  atomic.Int64  // files closed while a Sync ran: never
	inSync  atomic.Int64
	boom    atomic.Bool // ReadAt panics
}

func newGated() *gated {
	return &gated{syncing: make(chan struct{}, 16), finish: make(chan struct{})}
}

func (g *gated) install(c *smbserver.Config) {
	g.Share = c.Shares[shareName]
	c.Shares = map[string]smbserver.Share{shareName: g}
}

func (g *gated) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	f, err := g.Share.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return &gatedFile{f, g}, nil
}

type gatedFile struct {
	smbserver.File
	g *gated
}

func (f *gatedFile) Sync(ctx context.Context) error {
	f.g.inSync.Add(1)
	defer f.g.inSync.Add(-1)
	f.g.syncing <- struct{}{}
	select {
	case <-f.g.finish:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *gatedFile) Close() error {
	if f.g.inSync.Load() > 0 {
		f.g.closed.Add(1)
	}
	return f.File.Close()
}

func (f *gatedFile) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if f.g.boom.Load() {
		panic("test: storage panics")
	}
	return f.File.ReadAt(ctx, p, off)
}

func flushOf(tree *smbclient.Tree, file *smbclient.File) smbclient.Request {
	return smbclient.Request{Command: smb2.CommandFlush, TreeID: tree.ID(), Body: smb2.FlushRequest{FileID: file.ID}}
}

func TestCancelEndsAFlush(t *testing.T) {
	g := newGated()
	f := start(t, g.install)
	for _, sign := range []bool{false, true} {
		c, tree := f.tree(func(c *smbclient.Config) { c.Sign = sign })
		file := createFile(t, tree, "f")
		ids, err := c.Send(t.Context(), flushOf(tree, file))
		require.NoError(t, err)
		<-g.syncing
		require.NoError(t, c.Echo(t.Context()), "the connection goes on meanwhile")
		_, err = c.Send(t.Context(), smbclient.Request{Command: smb2.CommandCancel, MessageID: ids[0], Body: smb2.CancelRequest{}})
		require.NoError(t, err)
		answers, err := c.Recv(t.Context())
		require.NoError(t, err)
		require.Len(t, answers, 1, "CANCEL itself is not answered")
		assert.Equal(t, smb2.StatusCancelled, answers[0].Header.Status)
		assert.Equal(t, ids[0], answers[0].Header.MessageID)
		assert.Equal(t, sign, answers[0].Header.Flags.Has(smb2.FlagSigned))
		_, err = c.Send(t.Context(), smbclient.Request{Command: smb2.CommandCancel, MessageID: ids[0], Body: smb2.CancelRequest{}})
		require.NoError(t, err)
		require.NoError(t, c.Echo(t.Context()), "a late CANCEL is no error")
		require.NoError(t, file.Close(t.Context()))
	}
}

func TestCancelOfAnotherSessionDoesNothing(t *testing.T) {
	g := newGated()
	f := start(t, g.install)
	c, tree := f.tree()
	file := createFile(t, tree, "f")
	ids, err := c.Send(t.Context(), flushOf(tree, file))
	require.NoError(t, err)
	<-g.syncing
	h := smb2.Header{Command: smb2.CommandCancel, MessageID: ids[0], SessionID: c.SessionID() + 1}
	require.NoError(t, c.SendBytes(t.Context(), frameOf(t, message(h, smb2.CancelRequest{}))))
	require.NoError(t, c.Echo(t.Context()))
	assert.Equal(t, int64(1), g.inSync.Load())
	close(g.finish)
	answers, err := c.Recv(t.Context())
	require.NoError(t, err)
	assert.Equal(t, smb2.StatusSuccess, answers[0].Header.Status)
}

// CLOSE, TREE_DISCONNECT, LOGOFF and a lost connection all leave a file open until the request that uses it has ended.
func TestFilesCloseAfterTheRequestsThatUseThem(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, c *smbclient.Client, tree *smbclient.Tree)
		lost bool
	}{
		{"TREE_DISCONNECT", func(t *testing.T, _ *smbclient.Client, tree *smbclient.Tree) {
			t.Helper()
			require.NoError(t, tree.Disconnect(t.Context()))
		}, false},
		{"LOGOFF", func(t *testing.T, c *smbclient.Client, _ *smbclient.Tree) {
			t.Helper()
			_, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandLogoff, Body: smb2.LogoffRequest{}})
			require.NoError(t, err)
		}, false},
		{"lost connection", func(t *testing.T, c *smbclient.Client, _ *smbclient.Tree) {
			t.Helper()
			require.NoError(t, c.Close())
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGated()
			f := start(t, g.install)
			client, tree := f.tree()
			file := createFile(t, tree, "f")
			_, err := client.Send(t.Context(), flushOf(tree, file))
			require.NoError(t, err)
			<-g.syncing
			c.end(t, client, tree)
			if !c.lost { // a lost connection cancels what nobody waits for
				assert.Equal(t, int64(1), f.Stats().OpenFiles)
				close(g.finish)
				answers, err := client.Recv(t.Context())
				require.NoError(t, err)
				assert.Equal(t, smb2.StatusSuccess, answers[0].Header.Status)
			}
			require.Eventually(t, func() bool { return f.Stats().OpenFiles == 0 && f.mem.Opens() == 0 }, patience, time.Millisecond)
			assert.Zero(t, g.closed.Load(), "closed under a request")
		})
	}
}

func TestLogoffRace(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("f", make([]byte, 1<<16)))
	for i := range 30 {
		c, tree := f.tree(func(c *smbclient.Config) { c.CreditRequest = 300 })
		file := createFile(t, tree, "f")
		for range 10 {
			_, err := c.Send(t.Context(), flushOf(tree, file))
			require.NoError(t, err)
			_, err = c.Send(t.Context(), file.ReadRequest(0, 65536))
			require.NoError(t, err)
		}
		switch i % 4 {
		case 0:
			_, err := c.Send(t.Context(), smbclient.Request{Command: smb2.CommandLogoff, Body: smb2.LogoffRequest{}})
			require.NoError(t, err)
		case 1:
			_, err := c.Send(t.Context(), smbclient.Request{Command: smb2.CommandTreeDisconnect, TreeID: tree.ID(), Body: smb2.TreeDisconnectRequest{}})
			require.NoError(t, err)
		case 2:
			_, err := c.Send(t.Context(), smbclient.Request{Command: smb2.CommandClose, TreeID: tree.ID(), Body: smb2.CloseRequest{FileID: file.ID}})
			require.NoError(t, err)
		}
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool { return f.Stats().OpenConnections == 0 }, patience, time.Millisecond)
	assert.Zero(t, f.mem.Opens())
}

func TestPanicEndsOneConnection(t *testing.T) {
	g := newGated()
	mem := smbtest.NewMem(smbtest.Options{})
	g.Share = mem
	srv, err := smbserver.New(smbserver.Config{Shares: map[string]smbserver.Share{shareName: g}, Auth: users{userName: password}})
	require.NoError(t, err)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "smb"))
	require.NoError(t, err)
	served := make(chan error, 1)
	// ends at Shutdown; waited below
	go func() { served <- srv.Serve(l) }()
	f := &fixture{Server: srv, t: t, addr: l.Addr(), log: &logBuffer{}}
	require.NoError(t, mem.WriteFile("f", []byte("x")))
	c, tree := f.tree()
	file := createFile(t, tree, "f")
	other, _ := f.tree()
	g.boom.Store(true)
	_, err = file.Read(t.Context(), 0, 1)
	require.Error(t, err)
	var s smb2.Status
	require.NotErrorAs(t, err, &s, "no answer")
	require.NoError(t, other.Echo(t.Context()), "others go on")
	assert.Equal(t, int64(1), srv.Stats().Panics)
	require.NoError(t, c.Close())
	require.NoError(t, other.Close())
	require.NoError(t, srv.Shutdown(t.Context()))
	require.ErrorIs(t, <-served, smbserver.ErrServerClosed)
	assert.Zero(t, srv.Stats().OpenFiles)
	assert.Zero(t, mem.Opens())
}

func TestConnectionLimits(t *testing.T) {
	f := start(t, func(c *smbserver.Config) {
		c.Limits.ConnectionsPerIP, c.Limits.HalfOpenPerIP = 6, 3
	})
	var half []net.Conn
	for range 3 {
		half = append(half, f.dial())
	}
	require.Eventually(t, func() bool { return f.Stats().OpenConnections == 3 }, patience, time.Millisecond)
	conn := f.dial()
	requireClosed(t, conn)
	require.NoError(t, conn.Close())
	assert.Equal(t, int64(1), f.Stats().Refused)
	require.NoError(t, half[0].Close())
	require.Eventually(t, func() bool { return f.Stats().OpenConnections == 2 }, patience, time.Millisecond)
	var clients []*smbclient.Client
	for range 4 {
		clients = append(clients, f.client())
	}
	conn = f.dial()
	requireClosed(t, conn)
	require.NoError(t, conn.Close())
	assert.Equal(t, int64(2), f.Stats().Refused)
	for _, c := range clients {
		require.NoError(t, c.Echo(t.Context()))
	}
	for _, c := range half[1:] {
		require.NoError(t, c.Close())
	}
}

func TestOpensPerSessionAreBounded(t *testing.T) {
	f := start(t, func(c *smbserver.Config) { c.Limits.Opens = 5 })
	_, tree := f.tree()
	for range 5 {
		createFile(t, tree, "f")
	}
	_, err := tree.Create(t.Context(), createRequest("f"))
	assert.Equal(t, smb2.StatusTooManyOpenedFiles, status(t, err))
	assert.Equal(t, int64(5), f.mem.Opens())
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	g := newGated()
	f := start(t, g.install)
	c, tree := f.tree()
	idle := f.client()
	file := createFile(t, tree, "f")
	_, err := c.Send(t.Context(), flushOf(tree, file))
	require.NoError(t, err)
	<-g.syncing
	done := make(chan error, 1)
	// ends when Shutdown returns; waited below
	go func() { done <- f.Shutdown(context.WithoutCancel(t.Context())) }()
	_, err = idle.Recv(t.Context())
	require.Error(t, err, "an idle connection is closed")
	select {
	case err := <-done:
		require.Fail(t, "Shutdown did not wait", "%v", err)
	default:
	}
	close(g.finish)
	answers, err := c.Recv(t.Context())
	require.NoError(t, err)
	assert.Equal(t, smb2.StatusSuccess, answers[0].Header.Status)
	require.NoError(t, <-done)
	assert.Zero(t, f.mem.Opens())
	_, err = net.Dial(f.addr.Network(), f.addr.String())
	require.Error(t, err)
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	g := newGated()
	f := start(t, g.install)
	c, tree := f.tree()
	file := createFile(t, tree, "f")
	_, err := c.Send(t.Context(), flushOf(tree, file))
	require.NoError(t, err)
	<-g.syncing
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Shutdown(ctx), context.Canceled)
	if answers, err := c.Recv(t.Context()); err == nil { // the cancelled request may still get its answer out
		require.Len(t, answers, 1)
		assert.Equal(t, smb2.StatusCancelled, answers[0].Header.Status)
		_, err = c.Recv(t.Context())
		require.Error(t, err)
	}
	require.Eventually(t, func() bool { return f.Stats().OpenConnections == 0 }, patience, time.Millisecond)
}

func TestServeAfterShutdown(t *testing.T) {
	srv, err := smbserver.New(smbserver.Config{Shares: map[string]smbserver.Share{"x": smbtest.NewMem(smbtest.Options{})}, Guest: true})
	require.NoError(t, err)
	require.NoError(t, srv.Shutdown(t.Context()))
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "smb"))
	require.NoError(t, err)
	require.ErrorIs(t, srv.Serve(l), smbserver.ErrServerClosed)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed, "the listener was taken")
}

// pipeListener hands out one end of net.Pipe connections, whose deadlines follow the clock of a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func TestLogonTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		f := startOn(t, l)
		conn := l.dial()
		exchangeRaw(t, conn, negotiateWith([]smb2.Dialect{smb2.Dialect210}))
		began := time.Now()
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
		assert.Equal(t, smbserver.DefaultLimits().LogonTimeout, time.Since(began))
		assert.Contains(t, f.log.String(), "timeout")

		c, err := smbclient.Dial(t.Context(), l.dial(), smbclient.Config{User: userName, Password: password})
		require.NoError(t, err)
		<-time.After(24 * time.Hour) // the bubble's clock
		require.NoError(t, c.Echo(t.Context()), "a client may idle for as long as it likes")
		require.NoError(t, c.Close())
	})
}

// A client that does not take its replies holds one goroutine and one buffer for so long, and no more.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		f := startOn(t, l)
		require.NoError(t, f.mem.WriteFile("f", make([]byte, 1<<20)))
		c, err := smbclient.Dial(t.Context(), l.dial(), smbclient.Config{User: userName, Password: password})
		require.NoError(t, err)
		tree, err := c.TreeConnect(t.Context(), shareName)
		require.NoError(t, err)
		file := createFile(t, tree, "f")
		_, err = c.Send(t.Context(), file.ReadRequest(0, 1<<20))
		require.NoError(t, err)
		<-time.After(smbserver.DefaultLimits().WriteTimeout / 2) // the bubble's clock
		synctest.Wait()
		assert.Equal(t, int64(1), f.Stats().OpenConnections)
		<-time.After(smbserver.DefaultLimits().WriteTimeout) // the bubble's clock
		synctest.Wait()
		assert.Zero(t, f.Stats().OpenConnections)
		assert.Zero(t, f.mem.Opens())
		require.NoError(t, c.Close())
	})
}

func TestStorageErrorsReachTheClient(t *testing.T) {
	g := &failing{err: syscall.EIO}
	f := start(t, func(c *smbserver.Config) {
		g.Share = c.Shares[shareName]
		c.Shares = map[string]smbserver.Share{shareName: g}
	})
	_, tree := f.tree()
	file := createFile(t, tree, "f")
	_, err := file.Read(t.Context(), 0, 10)
	assert.Equal(t, smb2.StatusIODeviceError, status(t, err))
	_, err = file.Write(t.Context(), 0, []byte("x"))
	assert.Equal(t, smb2.StatusIODeviceError, status(t, err))
	assert.Equal(t, smb2.StatusIODeviceError, status(t, file.Flush(t.Context())))
}

// failing is a share whose files cannot be read or written.
type failing struct {
	smbserver.Share
	err error
}

func (g *failing) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	f, err := g.Share.Open(ctx, p)
	return failingFile{f, g.err}, err
}

type failingFile struct {
	smbserver.File
	err error
}

func (f failingFile) ReadAt(context.Context, []byte, int64) (int, error) { return 0, f.err }
func (f failingFile) Sync(context.Context) error                         { return f.err }
func (f failingFile) WriteAt(context.Context, []byte, int64, smbserver.WriteOptions) (int, error) {
	return 0, f.err
}
