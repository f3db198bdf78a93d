//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudsoda/go-smb2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ctl"
	"github.com/uringfs/uringfs/internal/passwd"
	"github.com/uringfs/uringfs/internal/supervise"
)

const (
	user   = "ann"
	secret = "s3cret"
)

// smbServer is a child `uringfs smb` over a directory of its own.
type smbServer struct {
	child *supervise.Child
	dir   string // what it serves
	at    endpoint
	ctl   string
}

// startSMB serves a fresh directory; the test fails if the server has logged a bug, a data race, or a fallback.
func startSMB(t *testing.T, engine string, args ...string) *smbServer {
	t.Helper()
	dir := t.TempDir()
	users := filepath.Join(t.TempDir(), "users")
	require.NoError(t, passwd.Set(users, user, secret))
	args = append([]string{"smb", dir, "--listen", "127.0.0.1:0", "--share", "share", "--passwd-file", users, "--engine", engine}, args...)
	child, err := supervise.Start(t.Context(), supervise.Command{Path: binary, Args: serving(args...), Stderr: os.Stderr})
	require.NoError(t, err)
	var ready struct{ Ctl string }
	require.NoError(t, json.Unmarshal(child.Ready(), &ready))
	s := &smbServer{child: child, dir: dir, at: endpointOf(t, child), ctl: ready.Ctl}
	t.Cleanup(func() {
		st, err := ctl.Get(context.Background(), s.ctl)
		if assert.NoError(t, err, "the server is gone: %s", child.Stderr()) {
			assert.Zero(t, st.SMB.Panics)
			checkRoads(t, st, engine)
		}
		require.NoError(t, child.Stop(context.Background()), "%s", child.Stderr())
	})
	return s
}

func (s *smbServer) status(t *testing.T) ctl.Status {
	t.Helper()
	st, err := ctl.Get(t.Context(), s.ctl)
	require.NoError(t, err)
	return st
}

// smbclient runs commands in one session of ann's and returns what it printed.
func (s *smbServer) smbclient(t *testing.T, commands string, args ...string) (string, error) {
	t.Helper()
	return s.at.smbclient(t, "share", append([]string{"-U", user + "%" + secret, "-c", commands}, args...)...)
}

func (s *smbServer) ok(t *testing.T, commands string, args ...string) string {
	t.Helper()
	out, err := s.smbclient(t, commands, args...)
	require.NoError(t, err, "%s: %s", commands, out)
	require.NotContains(t, out, "NT_STATUS_", "%s: %s", commands, out)
	return out
}

// dial logs a go-smb2 client in.
func (s *smbServer) dial(t *testing.T, sign bool) *smb2.Session {
	t.Helper()
	c, err := net.Dial("tcp", s.at.String())
	require.NoError(t, err)
	d := &smb2.Dialer{
		Initiator:  &smb2.NTLMInitiator{User: user, Password: secret},
		Negotiator: smb2.Negotiator{RequireMessageSigning: sign},
	}
	session, err := d.DialConn(t.Context(), c, s.at.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // a second Logoff would wait for ever; the test may have done the first
	return session
}

// startSMBLoad is an smbclient that writes as a guest until its server is gone.
func startSMBLoad(t *testing.T, at endpoint) *supervise.Child {
	t.Helper()
	local := filepath.Join(t.TempDir(), "load")
	require.NoError(t, os.WriteFile(local, pattern(64<<20), 0o600))
	path, err := exec.LookPath("smbclient")
	require.NoError(t, err)
	c, err := supervise.Start(t.Context(), supervise.Command{
		Path: path, NoReady: true,
		Args: []string{"//" + at.host + "/share", "-s", "/dev/null", "-p", at.port, "-N", "-c", strings.Repeat("put "+local+" load; ", 200)},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Kill() })
	return c
}
