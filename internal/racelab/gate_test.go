package racelab_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/racelab"
)

// pair returns two ends of a loopback TCP connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp4", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	accepted, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	return conn.(*net.TCPConn), accepted.(*net.TCPConn)
}

func TestGateTakesNothingWhileShut(t *testing.T) {
	client, server := pair(t)
	gate := racelab.NewGate(client)
	received := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(gate)
		received <- b
	}()
	_, err := server.Write([]byte("before "))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return gate.Taken() == 7 }, 10*time.Second, time.Millisecond)

	for round := range 3 {
		// The reader waits in the kernel at this point; Shut must call it back.
		require.NoError(t, gate.Shut())
		taken := gate.Taken()
		_, err = server.Write([]byte("while "))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return queued(t, client) == 6 }, 10*time.Second, time.Millisecond)
		assert.Equal(t, taken, gate.Taken(), "round %d", round)
		require.NoError(t, gate.Open())
		require.Eventually(t, func() bool { return queued(t, client) == 0 && gate.Taken() == taken+6 }, 10*time.Second, time.Millisecond)
	}

	_, err = server.Write([]byte("after"))
	require.NoError(t, err)
	require.NoError(t, server.CloseWrite())
	assert.Equal(t, "before while while while after", string(<-received), "nothing lost, nothing twice")
}

func TestGateClosesWhileShut(t *testing.T) {
	client, _ := pair(t)
	gate := racelab.NewGate(client)
	require.NoError(t, gate.Shut())
	done := make(chan error)
	go func() {
		_, err := gate.Read(make([]byte, 1))
		done <- err
	}()
	require.NoError(t, gate.Close())
	assert.ErrorIs(t, <-done, net.ErrClosed)
}

func TestGateSendsWhileShut(t *testing.T) {
	client, server := pair(t)
	gate := racelab.NewGate(client)
	require.NoError(t, gate.Shut())
	_, err := gate.Write([]byte("request"))
	require.NoError(t, err)
	b := make([]byte, 7)
	_, err = io.ReadFull(server, b)
	require.NoError(t, err)
	assert.Equal(t, "request", string(b))
	assert.Error(t, gate.SetReadDeadline(time.Now()), "the gate needs the deadline itself")
}
