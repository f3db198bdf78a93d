package smbserver_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/spnego"
	"github.com/uringfs/uringfs/smbserver"
)

// packetsPerType is how many spoiled packets of each type are sent before logon, and as many after it.
const packetsPerType = 1000

// spoiler is a connection to a server under fire. It is made anew whenever the server has closed it.
type spoiler struct {
	t    *testing.T
	f    *fixture
	r    *rand.Rand
	auth bool

	token []byte // the first of a logon

	conn    net.Conn
	in      *bufio.Reader
	next    uint64
	session uint64
	tree    uint32
	file    smb2.FileID
	dialed  int
}

// templates returns how to make one right packet of each type, as it would be sent next. Only the one that is sent is made.
func (s *spoiler) templates() map[string]func() []byte {
	header := func(cmd smb2.Command) smb2.Header {
		return smb2.Header{Command: cmd, MessageID: s.next, CreditCharge: 1, Credits: 64, SessionID: s.session, TreeID: s.tree}
	}
	create := createRequest(`dir\file`)
	create.Contexts = []smb2.CreateContext{
		{Name: smb2.ContextMxAc},
		{Name: smb2.ContextQFid},
		{Name: smb2.ContextRqLs, Data: make([]byte, 32)},
	}
	list := map[string]func() []byte{
		"SMB1 NEGOTIATE": func() []byte {
			return smb2.SMB1Negotiate{Dialects: []string{smb2.SMB1Dialect202, smb2.SMB1DialectWildcard}}.Append(nil)
		},
		"transform": func() []byte { return append([]byte{0xFD, 'S', 'M', 'B'}, make([]byte, 120)...) },
		"compound": func() []byte {
			first := header(smb2.CommandCreate)
			msg := smb2.PadCompound(message(first, create), 0)
			second := first
			second.Command, second.MessageID, second.Flags = smb2.CommandClose, s.next+1, smb2.FlagRelated
			return smb2.CloseRequest{FileID: smb2.FileIDAny()}.Append(second.Append(msg))
		},
	}
	for cmd, body := range map[smb2.Command]interface{ Append([]byte) []byte }{
		smb2.CommandNegotiate: smb2.NegotiateRequest{
			Dialects: []smb2.Dialect{smb2.Dialect202, smb2.Dialect311},
			Contexts: []smb2.NegotiateContext{preauth(1), algorithms(smb2.ContextEncryption, 2, 1), algorithms(smb2.ContextSigning, 2, 1)},
		},
		smb2.CommandSessionSetup:   smb2.SessionSetupRequest{SecurityBuffer: s.token},
		smb2.CommandLogoff:         smb2.LogoffRequest{},
		smb2.CommandTreeConnect:    smb2.TreeConnectRequest{Path: `\\server\` + shareName},
		smb2.CommandTreeDisconnect: smb2.TreeDisconnectRequest{},
		smb2.CommandCreate:         create,
		smb2.CommandClose:          smb2.CloseRequest{Flags: 1, FileID: s.file},
		smb2.CommandFlush:          smb2.FlushRequest{FileID: s.file},
		smb2.CommandRead:           smb2.ReadRequest{FileID: s.file, Length: 4096},
		smb2.CommandWrite:          smb2.WriteRequest{FileID: s.file, Data: []byte("some data to write")},
		smb2.CommandLock:           smb2.LockRequest{FileID: s.file, Locks: []smb2.LockElement{{Length: 10, Flags: smb2.LockExclusive}}},
		smb2.CommandIoctl:          smb2.IoctlRequest{Code: smb2.FsctlSetSparse, FileID: s.file, Input: []byte{1}, Flags: smb2.IoctlIsFsctl},
		smb2.CommandCancel:         smb2.CancelRequest{},
		smb2.CommandEcho:           smb2.EchoRequest{},
		smb2.CommandQueryDirectory: smb2.QueryDirectoryRequest{Class: 37, FileID: s.file, Pattern: "*", OutputBufferLength: 4096},
		smb2.CommandChangeNotify:   smb2.ChangeNotifyRequest{FileID: s.file, OutputBufferLength: 4096},
		smb2.CommandQueryInfo:      smb2.QueryInfoRequest{Type: 1, Class: 18, FileID: s.file, OutputBufferLength: 4096},
		smb2.CommandSetInfo:        smb2.SetInfoRequest{Type: 1, Class: 20, FileID: s.file, Buffer: make([]byte, 8)},
		smb2.CommandOplockBreak:    smb2.OplockBreak{FileID: s.file},
	} {
		list[cmd.String()] = func() []byte { return message(header(cmd), body) }
	}
	return list
}

// spoil truncates a packet or flips some of its bits.
func spoil(r *rand.Rand, msg []byte) []byte {
	if r.IntN(4) == 0 {
		return msg[:r.IntN(len(msg))]
	}
	for range 1 + r.IntN(3) {
		at := r.IntN(len(msg))
		if r.IntN(3) > 0 && len(msg) > smb2.HeaderLen {
			at = smb2.HeaderLen + r.IntN(len(msg)-smb2.HeaderLen) // most flips go behind the header, where there is more to break
		}
		msg[at] ^= 1 << r.IntN(8)
	}
	return msg
}

// connect brings the connection to where packets are sent from.
func (s *spoiler) connect() {
	s.dialed++
	s.conn = s.f.dial()
	s.in = bufio.NewReader(s.conn)
	s.next, s.session, s.tree, s.file = 0, 0, 0, smb2.FileIDAny()
	if !s.auth {
		if s.r.IntN(2) == 0 { // half of them before NEGOTIATE even
			return
		}
		s.exchange(smb2.CommandNegotiate, smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect210}})
		return
	}
	s.exchange(smb2.CommandNegotiate, smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect302}})
	initiator := spnego.NewInitiator(userName, "", password, spnego.Options{})
	var token []byte
	for range 2 {
		reply, _, _, err := initiator.Step(token)
		require.NoError(s.t, err)
		r, err := smb2.ParseSessionSetupResponse(s.exchange(smb2.CommandSessionSetup, smb2.SessionSetupRequest{SecurityBuffer: reply}))
		require.NoError(s.t, err)
		token = r.SecurityBuffer
	}
	s.exchange(smb2.CommandTreeConnect, smb2.TreeConnectRequest{Path: `\\s\` + shareName})
	r, err := smb2.ParseCreateResponse(s.exchange(smb2.CommandCreate, createRequest("target")))
	require.NoError(s.t, err)
	s.file = r.FileID
}

func (s *spoiler) exchange(cmd smb2.Command, body interface{ Append([]byte) []byte }) []byte {
	s.t.Helper()
	h := smb2.Header{Command: cmd, MessageID: s.next, Credits: 64, SessionID: s.session, TreeID: s.tree}
	s.next++
	sendRaw(s.t, s.conn, message(h, body))
	msg, err := readFrame(s.in)
	require.NoError(s.t, err)
	got := header(s.t, msg)
	s.session = got.SessionID
	if cmd == smb2.CommandTreeConnect {
		s.tree = got.TreeID
	}
	return msg
}

func readFrame(in io.Reader) ([]byte, error) {
	head := make([]byte, smb2.FrameLen)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint32(head))
	_, err := io.ReadFull(in, msg)
	return msg, err
}

// fire sends one spoiled packet of a type and an ECHO behind it, and waits until the server has answered the ECHO or closed the
// connection: those are the only two things that may happen.
func (s *spoiler) fire(kind string) {
	if s.conn == nil {
		s.connect()
	}
	bad := spoil(s.r, s.templates()[kind]())
	used := uint64(1)
	if kind == "compound" {
		used = 2
	}
	echoID := s.next + used
	echo := message(smb2.Header{Command: smb2.CommandEcho, MessageID: echoID, Credits: 64}, smb2.EchoRequest{})
	s.next = echoID + 1
	_, err := s.conn.Write(append(frameOf(s.t, bad), frameOf(s.t, echo)...))
	for err == nil {
		var msg []byte
		if msg, err = readFrame(s.in); err != nil {
			break
		}
		if smb2.ProtocolOf(msg) == smb2.ProtocolSMB2 && header(s.t, msg).MessageID == echoID {
			return
		}
	}
	require.NotErrorIs(s.t, err, os.ErrDeadlineExceeded, "%s: the server hangs", kind)
	s.close()
}

func (s *spoiler) close() {
	if s.conn != nil {
		require.NoError(s.t, s.conn.Close())
		s.conn = nil
	}
}

// resources is what a server could leak.
type resources struct {
	goroutines, fds int
	heap            uint64
}

func measure(t *testing.T) resources {
	t.Helper()
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return resources{runtime.NumGoroutine(), len(fds), m.HeapAlloc}
}

// For each message type, spoiled packets before and after logon leave the server serving, and it holds nothing afterwards that it
// did not hold before.
func TestSpoiledPackets(t *testing.T) {
	packets := packetsPerType
	if testing.Short() {
		packets /= 10
	}
	for _, auth := range []bool{false, true} {
		name := map[bool]string{false: "before logon", true: "after logon"}[auth]
		t.Run(name, func(t *testing.T) {
			f := start(t, func(c *smbserver.Config) { c.Logger = nil })
			require.NoError(t, f.mem.WriteFile("target", make([]byte, 8192)))
			r := seed.FromTest(t)
			token, _, _, err := spnego.NewInitiator(userName, "", password, spnego.Options{}).Step(nil)
			require.NoError(t, err)
			s := &spoiler{t: t, f: f, r: r, auth: auth, token: token}
			s.connect() // what exists once is there when we measure
			kinds := s.templates()
			s.close()
			require.Eventually(t, func() bool { return f.Stats().OpenConnections == 0 }, patience, time.Millisecond)
			before := measure(t)
			names := make([]string, 0, len(kinds))
			for kind := range kinds {
				names = append(names, kind)
			}
			slices.Sort(names)
			for _, kind := range names {
				for range packets {
					s.fire(kind)
				}
			}
			s.close()
			require.Eventually(t, func() bool { return f.Stats().OpenConnections == 0 }, patience, time.Millisecond)

			c, tree := f.tree()
			require.NoError(t, createFile(t, tree, "afterwards").Close(t.Context()))
			require.NoError(t, c.Logoff(t.Context()))
			require.Eventually(t, func() bool { return f.Stats().OpenConnections == 0 }, patience, time.Millisecond)
			stats := f.Stats()
			assert.Zero(t, stats.Panics)
			assert.Zero(t, stats.Internal)
			assert.Zero(t, stats.OpenFiles)
			assert.Zero(t, f.mem.Opens())
			assert.Positive(t, stats.Malformed)
			var after resources
			assert.Eventually(t, func() bool { // on a goroutine of its own, which counts
				after = measure(t)
				after.goroutines--
				return after.goroutines <= before.goroutines && after.fds <= before.fds
			}, patience, 10*time.Millisecond, "goroutines or descriptors are left")
			assert.Less(t, after.heap, before.heap+8<<20, "heap before and after")
			t.Logf("%d packets on %d connections; malformed %d, lost %d; before %+v, after %+v",
				len(names)*packets, s.dialed, stats.Malformed, stats.Lost, before, after)
		})
	}
}
