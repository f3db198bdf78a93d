//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/supervise"
)

// engines are what every test of the server runs on.
var engines = []string{"ring", "syscall"}

// onEngines runs test once per engine.
func onEngines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

// endpoint is where a server listens.
type endpoint struct{ host, port string }

// endpointOf reads the ready line of a server.
func endpointOf(t *testing.T, child *supervise.Child) endpoint {
	t.Helper()
	var ready struct{ Listen string }
	require.NoError(t, json.Unmarshal(child.Ready(), &ready))
	host, port, err := net.SplitHostPort(ready.Listen)
	require.NoError(t, err)
	return endpoint{host, port}
}

// String is host:port.
func (e endpoint) String() string { return net.JoinHostPort(e.host, e.port) }

// smbclientLimit is what one smbclient may take: some of them transfer trees to a server with the race detector.
const smbclientLimit = 4 * time.Minute

// smbclient runs Debian's smbclient on a share, without the machine's own configuration, and returns what it printed.
func (e endpoint) smbclient(t *testing.T, share string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), smbclientLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "smbclient", append([]string{"//" + e.host + "/" + share, "-s", "/dev/null", "-p", e.port}, args...)...).CombinedOutput()
	return string(out), err
}

// pattern is n bytes that depend on their place.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}
