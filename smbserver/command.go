package smbserver

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
)

// request is one element of a frame on its way through a handler. It is lent to the handler: nothing of it, msg
// included, may be used after the handler has returned.
type request struct {
	hdr     smb2.Header // SessionID and TreeID are those that apply, also in a related compound
	msg     []byte      // the whole element, header and padding included
	conn    *conn
	sess    *session // nil where the command needs none and the header names none
	tree    *tree    // nil where the command needs none
	file    *open    // the open that FileId names; CREATE puts the new one here, with the reference it got from addOpen
	signed  bool     // the request carried a signature, and it was right
	alone   bool     // not part of a compound
	arrived time.Time

	credits   uint16                // granted by the reply
	out       *frame                // where the reply is built
	signReply bool                  // the reply will carry a signature
	hash      *smbcrypt.PreauthHash // takes the bytes of the reply, if set
}

// reply is the body of a response; the smb2.XResponse types are replies.
type reply interface {
	// Append appends the body; the header is the 64 bytes before.
	Append(b []byte) []byte
}

// payloadReply is a reply whose body goes on in a Payload. Only a request that is alone gets one.
type payloadReply interface {
	reply
	payload() Payload
}

// handler answers one request. An error that is a smb2.Status answers the request; with a reply beside it the reply is the
// body of a response with that status (a warning, MORE_PROCESSING_REQUIRED, or error data). A *connError closes the
// connection. Anything else is mapped by statusOf.
type handler func(ctx context.Context, r *request) (reply, error)

// command is one row of the dispatch table: what holds for every request of its kind before the handler sees it.
type command struct {
	handle  handler
	size    uint16 // StructureSize
	session bool   // needs a session that is logged on
	tree    bool   // needs a tree connection
	fileID  int    // offset of FileId in the body; 0: none
	anyFile bool   // FileId may be all ones: no open
	charge  func(body []byte) (n uint64)
	alone   bool // refused in a compound
	beside  bool // may wait for long: runs beside the reader when it is alone, so that CANCEL can reach it
}

var commands = [smb2.CommandCount]command{
	smb2.CommandNegotiate:      {handle: handleNegotiate, size: 36, alone: true},
	smb2.CommandSessionSetup:   {handle: handleSessionSetup, size: 25, alone: true},
	smb2.CommandLogoff:         {handle: handleLogoff, size: 4, session: true},
	smb2.CommandTreeConnect:    {handle: handleTreeConnect, size: 9, session: true},
	smb2.CommandTreeDisconnect: {handle: handleTreeDisconnect, size: 4, session: true, tree: true},
	smb2.CommandCreate:         {handle: handleCreate, size: 57, session: true, tree: true},
	smb2.CommandClose:          {handle: handleClose, size: 24, session: true, tree: true, fileID: 8},
	smb2.CommandFlush:          {handle: handleFlush, size: 24, session: true, tree: true, fileID: 8, beside: true},
	smb2.CommandRead:           {handle: handleRead, size: 49, session: true, tree: true, fileID: 16, charge: chargeRead},
	smb2.CommandWrite:          {handle: handleWrite, size: 49, session: true, tree: true, fileID: 16, charge: chargeWrite},
	smb2.CommandLock:           {handle: handleLock, size: 48, session: true, tree: true, fileID: 8},
	smb2.CommandIoctl:          {handle: handleIoctl, size: 57, session: true, tree: true, fileID: 8, anyFile: true, charge: chargeIoctl},
	smb2.CommandCancel:         {size: 4}, // never dispatched: cancel.go
	smb2.CommandEcho:           {handle: handleEcho, size: 4},
	smb2.CommandQueryDirectory: {handle: handleQueryDirectory, size: 33, session: true, tree: true, fileID: 8, charge: chargeQueryDirectory},
	smb2.CommandChangeNotify:   {handle: handleChangeNotify, size: 32, session: true, tree: true, fileID: 8},
	smb2.CommandQueryInfo:      {handle: handleQueryInfo, size: 41, session: true, tree: true, fileID: 24},
	smb2.CommandSetInfo:        {handle: handleSetInfo, size: 33, session: true, tree: true, fileID: 16},
	smb2.CommandOplockBreak:    {handle: handleOplockBreak, session: true, tree: true}, // two sizes: oplock 24, lease 36
}

// The charge functions give the payload that a request's credits must pay for, [MS-SMB2] 3.3.5.2.5: the larger of what it
// brings and what it asks for. body has at least the fixed part.

func chargeRead(body []byte) uint64  { return uint64(binary.LittleEndian.Uint32(body[4:])) }
func chargeWrite(body []byte) uint64 { return uint64(binary.LittleEndian.Uint32(body[4:])) }

func chargeQueryDirectory(body []byte) uint64 { return uint64(binary.LittleEndian.Uint32(body[28:])) }

func chargeIoctl(body []byte) uint64 {
	u32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(body[at:])) }
	return max(u32(28)+u32(40), u32(32)+u32(44))
}
