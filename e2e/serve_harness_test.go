//go:build linux

package e2e_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/passwd"
)

// served is a running `uringfs serve`: a mount and a share of the same directory.
type served struct {
	*mounted
	*smbServer
}

// startServe starts one, with the user ann; the end of the test ends and judges it, as startMount says.
func startServe(t *testing.T, o mountOptions) *served {
	t.Helper()
	s, err := tryServe(t, o)
	require.NoError(t, err)
	return s
}

// tryServe is startServe for tests that expect a refusal.
func tryServe(t *testing.T, o mountOptions) (*served, error) {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	require.NoError(t, passwd.Set(users, user, secret))
	o.command = "serve"
	o.args = append([]string{"--passwd-file", users, "--listen", "127.0.0.1:0", "--share", "share"}, o.args...)
	m, err := tryMount(t, o)
	if err != nil {
		return nil, err
	}
	return &served{mounted: m, smbServer: &smbServer{child: m.child, dir: m.backing, at: endpointOf(t, m.child), ctl: m.ctl}}, nil
}
