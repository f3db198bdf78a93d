package smbserver_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

// What a fuzzed conversation may say about one of its messages. A message is [flags][length, 16 bits][bytes]; the flags have its
// header put right, so that the fuzzer need not guess ids to get past the first check.
const (
	fixHeader    = 1 << iota // protocol, StructureSize, MessageId, charge, credits, no status, no NextCommand
	fixSession               // the session that is logged on
	fixTree                  // the tree connection, and not that of IPC$
	fixFile                  // all bytes FF in the body's FileId become the open file's
	onPipeTree               // the tree connection to IPC$ instead
	startUnknown             // (first message) no logon before it
)

func conversation(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func utterance(flags byte, msg []byte) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{flags}, uint16(len(msg)))
	return append(b, msg...)
}

// FuzzConn (run it with -fuzzminimizetime 1x: which goroutine runs when changes coverage, and minimising takes that for news)
// holds a whole conversation with a server over a share in memory: whatever is said, the server neither panics nor
// hangs, and holds nothing when the connection has ended.
func FuzzConn(f *testing.F) {
	any := smb2.FileIDAny()
	const all = fixHeader | fixSession | fixTree | fixFile
	request := func(cmd smb2.Command, body interface{ Append([]byte) []byte }) []byte {
		return message(smb2.Header{Command: cmd}, body)
	}
	f.Add(conversation(
		utterance(all, request(smb2.CommandRead, smb2.ReadRequest{FileID: any, Length: 100})),
		utterance(all, request(smb2.CommandWrite, smb2.WriteRequest{FileID: any, Data: []byte("data")})),
		utterance(all, request(smb2.CommandFlush, smb2.FlushRequest{FileID: any})),
		utterance(all, request(smb2.CommandClose, smb2.CloseRequest{FileID: any, Flags: 1})),
	))
	f.Add(conversation(
		utterance(all, request(smb2.CommandCreate, createRequest(`a\b`))),
		utterance(all, request(smb2.CommandQueryInfo, smb2.QueryInfoRequest{FileID: any, Type: 1, Class: 18, OutputBufferLength: 500})),
		utterance(all, request(smb2.CommandSetInfo, smb2.SetInfoRequest{FileID: any, Type: 1, Class: 20, Buffer: make([]byte, 8)})),
		utterance(all, request(smb2.CommandQueryDirectory, smb2.QueryDirectoryRequest{FileID: any, Class: 37, Pattern: "*", OutputBufferLength: 999})),
		utterance(all, request(smb2.CommandIoctl, smb2.IoctlRequest{FileID: any, Code: smb2.FsctlSetSparse, Flags: 1})),
		utterance(all, request(smb2.CommandLogoff, smb2.LogoffRequest{})),
	))
	f.Add(conversation(
		utterance(all|onPipeTree, request(smb2.CommandCreate, createRequest("srvsvc"))),
		utterance(all|onPipeTree, request(smb2.CommandWrite, smb2.WriteRequest{FileID: any, Data: make([]byte, 72)})),
	))
	f.Add(conversation(
		utterance(startUnknown, negotiateWith([]smb2.Dialect{smb2.Dialect311}, preauth(1))),
		utterance(fixHeader, request(smb2.CommandSessionSetup, smb2.SessionSetupRequest{SecurityBuffer: []byte("NTLMSSP\x00\x01\x00\x00\x00\x05\x02\x88\xa2")})),
	))
	f.Add(utterance(startUnknown, smb2.SMB1Negotiate{Dialects: []string{smb2.SMB1DialectWildcard}}.Append(nil)))
	first := request(smb2.CommandCreate, createRequest("c"))
	chain := smb2.PadCompound(first, 0)
	f.Add(utterance(all, append(chain, message(smb2.Header{Command: smb2.CommandClose, Flags: smb2.FlagRelated}, smb2.CloseRequest{FileID: any})...)))
	f.Fuzz(fuzzConversation)
}

func fuzzConversation(t *testing.T, data []byte) {
	mem := smbtest.NewMem(smbtest.Options{Capacity: 1 << 24})
	srv, err := smbserver.New(smbserver.Config{
		Shares: map[string]smbserver.Share{shareName: mem}, Auth: users{userName: password}, PoisonBuffers: true,
	})
	require.NoError(t, err)
	l := newPipeListener()
	served := make(chan error, 1)
	// ends at Shutdown; waited below
	go func() { served <- srv.Serve(l) }()
	conn := l.dial()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	converse(t, conn, data)
	require.NoError(t, conn.Close())
	require.NoError(t, srv.Shutdown(t.Context()))
	require.ErrorIs(t, <-served, smbserver.ErrServerClosed)
	s := srv.Stats()
	require.Zero(t, s.Panics)
	require.Zero(t, s.Internal)
	require.Zero(t, s.OpenFiles)
	require.Zero(t, mem.Opens())
}

// converse logs on, unless the conversation says not to, and sends its messages; answers are taken and dropped.
func converse(t *testing.T, conn net.Conn, data []byte) {
	t.Helper()
	var ids struct {
		next, session uint64
		tree, pipes   uint32
		file          smb2.FileID
	}
	if len(data) > 0 && data[0]&startUnknown == 0 {
		c, err := smbclient.Dial(t.Context(), conn, smbclient.Config{User: userName, Password: password, Dialects: []smb2.Dialect{smb2.Dialect302}})
		require.NoError(t, err)
		tree, err := c.TreeConnect(t.Context(), shareName)
		require.NoError(t, err)
		pipes, err := c.TreeConnect(t.Context(), "IPC$")
		require.NoError(t, err)
		file := createFile(t, tree, "target")
		sent, err := c.Send(t.Context(), smbclient.Request{Command: smb2.CommandEcho, Body: smb2.EchoRequest{}})
		require.NoError(t, err)
		_, err = c.Recv(t.Context())
		require.NoError(t, err)
		ids.next, ids.session, ids.tree, ids.pipes, ids.file = sent[0]+1, c.SessionID(), tree.ID(), pipes.ID(), file.ID
	}
	drained := make(chan struct{})
	// ends when the connection does; waited below
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn) // how it ends says nothing
	}()
	le := binary.LittleEndian
	for n := 0; len(data) >= 3 && n < 64; n++ {
		flags, size := data[0], int(le.Uint16(data[1:]))
		msg := append([]byte(nil), data[3:min(len(data), 3+size)]...)
		data = data[3+len(msg):]
		if len(msg) >= smb2.HeaderLen && flags&fixHeader != 0 {
			h := smb2.Header{Command: smb2.Command(le.Uint16(msg[12:]) % 20), Credits: 64, MessageID: ids.next, CreditCharge: 1}
			h.SessionID, h.TreeID, h.NextCommand = le.Uint64(msg[40:]), le.Uint32(msg[36:]), le.Uint32(msg[20:])
			if flags&fixSession != 0 {
				h.SessionID = ids.session
			}
			if flags&fixTree != 0 {
				h.TreeID = ids.tree
				if flags&onPipeTree != 0 {
					h.TreeID = ids.pipes
				}
			}
			h.Append(msg[:0])
			if h.NextCommand == 0 {
				h.NextCommand = uint32(len(msg))
			}
			ids.next++
			fixRest(msg, int(h.NextCommand), &ids.next)
			if flags&fixFile != 0 {
				fillFileID(msg, ids.file)
			}
		}
		if _, err := conn.Write(frameOf(t, msg)); err != nil {
			break
		}
	}
	if err := conn.SetReadDeadline(time.Now()); err != nil {
		require.ErrorIs(t, err, io.ErrClosedPipe) // the server has hung up, which ends the reading too
	}
	<-drained
}

// fixRest gives the further elements of a compound MessageIds that follow.
func fixRest(msg []byte, at int, next *uint64) {
	for at > 0 && at <= len(msg)-smb2.HeaderLen {
		binary.LittleEndian.PutUint64(msg[at+24:], *next)
		*next++
		step := int(binary.LittleEndian.Uint32(msg[at+20:]))
		if step <= 0 || step > len(msg) {
			return
		}
		at += step
	}
}

// fillFileID replaces the first FileId of all ones in the body.
func fillFileID(msg []byte, id smb2.FileID) {
	for i := smb2.HeaderLen; i+16 <= len(msg); i++ {
		if binary.LittleEndian.Uint64(msg[i:]) == ^uint64(0) && binary.LittleEndian.Uint64(msg[i+8:]) == ^uint64(0) {
			binary.LittleEndian.PutUint64(msg[i:], id.Persistent)
			binary.LittleEndian.PutUint64(msg[i+8:], id.Volatile)
			return
		}
	}
}
