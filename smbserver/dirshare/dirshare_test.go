//go:build linux

package dirshare_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/dirshare"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

// share is an empty share over dir; engine and Volume must be clean at its end.
func share(t *testing.T, engine, dir string) *dirshare.Share {
	t.Helper()
	s, err := dirshare.Open(t.Context(), dir, dirshare.Config{Engine: engine})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close(), "files are still open") })
	return s
}

func onEngines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range []string{"ring", "syscall"} {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

func TestShareSuite(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		smbtest.ShareSuite(t, func(t *testing.T) smbserver.Share { return share(t, engine, t.TempDir()) })
	})
}

func open(t *testing.T, s *dirshare.Share, path string, read bool) smbserver.File {
	t.Helper()
	f, err := s.Open(t.Context(), smbserver.OpenParams{Path: path, Read: read})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return f
}

// tcpPair is a connection and the far end of it.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	far, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	near, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// TestReference sends ranges by reference: aligned or not, longer than a pipe, up to the end, past the end.
func TestReference(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		data := make([]byte, 5<<20+123)
		for i := range data {
			data[i] = byte(i*7 + i>>12)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), data, 0o644))
		s := share(t, engine, dir)
		near, far := tcpPair(t)
		sender, ok := s.Transport(near).(smbserver.PayloadSender)
		require.True(t, ok)
		f := open(t, s, "f", true)
		for _, c := range []struct{ off, n int }{
			{0, 65536}, {100, 65536}, {4095, 2}, {1, 4 << 20}, {0, len(data)}, {len(data) - 5, 100}, {len(data), 10}, {len(data) + 4096, 10}, {0, 0},
		} {
			want := data[min(c.off, len(data)):min(c.off+c.n, len(data))]
			p, err := f.(smbserver.Referencer).Reference(t.Context(), int64(c.off), c.n)
			require.NoError(t, err)
			require.Equal(t, len(want), p.Len(), "%+v", c)
			got := make(chan []byte, 1)
			go func() {
				b := make([]byte, 6+len(want))
				_, _ = io.ReadFull(far, b)
				got <- b
			}()
			require.NoError(t, sender.SendPayload(t.Context(), []byte("header"), p))
			p.Release()
			b := <-got
			require.True(t, bytes.Equal(append([]byte("header"), want...), b), "%+v", c)
		}
	})
}

// TestReferenceReleasedUnsent gives pipes back with pages in them: the next payload must not start with those.
func TestReferenceReleasedUnsent(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte("a"), 65536), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b"), bytes.Repeat([]byte("b"), 65536), 0o644))
	s := share(t, "ring", dir)
	near, far := tcpPair(t)
	sender := s.Transport(near).(smbserver.PayloadSender)
	a, b := open(t, s, "a", true), open(t, s, "b", true)
	for range 3 {
		p, err := a.(smbserver.Referencer).Reference(t.Context(), 0, 65536)
		require.NoError(t, err)
		p.Release()
		p, err = b.(smbserver.Referencer).Reference(t.Context(), 0, 4096)
		require.NoError(t, err)
		require.NoError(t, sender.SendPayload(t.Context(), nil, p))
		p.Release()
		got := make([]byte, 4096)
		_, err = io.ReadFull(far, got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(bytes.Repeat([]byte("b"), 4096), got))
	}
}

// TestSendPayloadToADeadPeer ends with an error and gives everything back.
func TestSendPayloadToADeadPeer(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 8<<20), 0o644))
	s := share(t, "ring", dir)
	near, far := tcpPair(t)
	sender := s.Transport(near).(smbserver.PayloadSender)
	f := open(t, s, "f", true)
	p, err := f.(smbserver.Referencer).Reference(t.Context(), 0, 8<<20)
	require.NoError(t, err)
	require.NoError(t, far.Close())
	for err == nil {
		err = sender.SendPayload(t.Context(), []byte("header"), p)
	}
	p.Release()
}

// TestRenameSeenByOtherHandles removes, through one handle, what another has renamed.
func TestRenameSeenByOtherHandles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	s := share(t, "ring", dir)
	a, b := open(t, s, "f", true), open(t, s, "f", false)
	require.NoError(t, a.Rename(t.Context(), "g", false))
	assert.Equal(t, "g", b.Path())
	c := open(t, s, "g", false)
	require.NoError(t, c.Rename(t.Context(), "h", false))
	assert.Equal(t, "h", a.Path())
	require.NoError(t, b.Remove(t.Context()))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestRenameOverAnotherLink leaves one name of two, where rename(2) would leave both.
func TestRenameOverAnotherLink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	require.NoError(t, os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
	s := share(t, "syscall", dir)
	f := open(t, s, "f", false)
	require.NoError(t, f.Rename(t.Context(), "g", true))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	assert.Equal(t, "g", left[0].Name())
	assert.Equal(t, "g", f.Path())
}

// TestLinksThatLeadOut are as if they were not there, and can be opened and removed as links.
func TestLinksThatLeadOut(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	s := share(t, "ring", dir)
	for _, path := range []string{"out", "out/hostname", "dangling"} {
		_, err := s.Open(t.Context(), smbserver.OpenParams{Path: path})
		require.ErrorIs(t, err, os.ErrNotExist, "%s", path)
	}
	for _, path := range []string{"out", "dangling"} {
		f, err := s.OpenLink(t.Context(), smbserver.OpenParams{Path: path})
		require.NoError(t, err)
		a, err := f.Attr(t.Context())
		require.NoError(t, err)
		assert.True(t, a.Symlink)
		require.NoError(t, f.Remove(t.Context()))
		require.NoError(t, f.Close())
	}
}

// TestEmbedding is the package comment's example, with a client.
func TestEmbedding(t *testing.T) {
	s := share(t, "auto", t.TempDir())
	server, err := smbserver.New(smbserver.Config{Shares: map[string]smbserver.Share{"data": s}, Guest: true, Transport: s.Transport})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, server.Shutdown(context.Background()))
	<-served
}
