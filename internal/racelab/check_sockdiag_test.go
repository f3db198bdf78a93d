//go:build linux

package racelab

// Inside the package: how the kernel is asked is not for anyone else, but both ways
// must give the same answer.

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQueuesOfALoopbackPair(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	diag := newSockDiag()
	defer diag.Close()
	// The receiver's window is tiny, so that most of what is sent stays unsent.
	w, err := dialWire(t.Context(), l.Addr().String(), WindowSender.receiveBuffer(), diag)
	require.NoError(t, err)
	defer w.conn.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	defer server.Close()

	q, err := diag.queues(w.remote, w.local)
	require.NoError(t, err)
	assert.Equal(t, queues{written: q.written}, q, "nothing was sent yet")
	require.NoError(t, w.mark())

	const size = 60000
	_, err = server.Write(make([]byte, size))
	require.NoError(t, err)
	head := func([]byte) (int, error) { return size, nil }
	r, err := WindowSender.await(t.Context(), func() (Reading, error) { return w.look(head) })
	require.NoError(t, err)
	assert.Equal(t, size, r.Handed)
	assert.GreaterOrEqual(t, r.FIONREAD+r.SIOCOUTQ, size)
	assert.Positive(t, r.SIOCOUTQ)

	q, err = diag.queues(w.local, w.remote)
	require.NoError(t, err)
	assert.Zero(t, q.send, "the client's end has sent nothing")
	assert.GreaterOrEqual(t, q.receive, r.FIONREAD)

	// The kernel still moves bytes; in the end both ways say the same.
	require.Eventually(t, func() bool {
		f, err := os.Open("/proc/net/tcp")
		require.NoError(t, err)
		defer f.Close()
		text, err := procQueues(f, w.remote, w.local)
		require.NoError(t, err)
		q, err := diag.queues(w.remote, w.local)
		require.NoError(t, err)
		return text.send == q.send && text.receive == q.receive && q.send > 0
	}, 10*time.Second, time.Millisecond, "/proc and sock_diag")

	require.NoError(t, w.widen())
	_, err = io.ReadFull(w.conn, make([]byte, size))
	require.NoError(t, err)
	_, err = WindowSender.await(t.Context(), func() (Reading, error) {
		r, err := w.look(head)
		return r, err
	})
	assert.ErrorIs(t, err, errWindow, "the window has closed")
}

func TestQueuesOfNoSocket(t *testing.T) {
	diag := newSockDiag()
	defer diag.Close()
	nowhere := netip.MustParseAddrPort("127.0.0.1:1")
	_, err := diag.queues(nowhere, nowhere)
	assert.ErrorIs(t, err, errNoSocket)
}

func TestGoldenProcNetTCP(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:115A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:115A 0100007F:D431 01 0000E7C4:00000010 01:00000014 00000000     0        0 2 2 0 20 4 30 10 -1
`
	q, err := procQueues(strings.NewReader(table), netip.MustParseAddrPort("127.0.0.1:4442"), netip.MustParseAddrPort("127.0.0.1:54321"))
	require.NoError(t, err)
	assert.Equal(t, queues{send: 0xE7C4, receive: 0x10}, q)
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	start := time.Now()
	_, err := WindowReceiver.await(t.Context(), func() (Reading, error) { return Reading{1, 2, 3, 3}, nil })
	assert.ErrorIs(t, err, errWindow)
	assert.ErrorContains(t, err, "1 B in client's queue, 2 unsent, of 3")
	assert.Less(t, time.Since(start), 10*windowWait)
}
