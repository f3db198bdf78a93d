package smb2

import (
	"fmt"
)

// HeaderLen is the length of the SMB2 header, [MS-SMB2] 2.2.1, in bytes.
const HeaderLen = 64

// Command is an SMB2 command code.
type Command uint16

// Commands.
const (
	CommandNegotiate Command = iota
	CommandSessionSetup
	CommandLogoff
	CommandTreeConnect
	CommandTreeDisconnect
	CommandCreate
	CommandClose
	CommandFlush
	CommandRead
	CommandWrite
	CommandLock
	CommandIoctl
	CommandCancel
	CommandEcho
	CommandQueryDirectory
	CommandChangeNotify
	CommandQueryInfo
	CommandSetInfo
	CommandOplockBreak
	CommandServerToClientNotification

	// CommandCount is one more than the highest command code.
	CommandCount
)

// String returns the name of the command in the specification, or its number.
func (c Command) String() string {
	names := [CommandCount]string{
		"NEGOTIATE", "SESSION_SETUP", "LOGOFF", "TREE_CONNECT", "TREE_DISCONNECT", "CREATE", "CLOSE", "FLUSH", "READ", "WRITE",
		"LOCK", "IOCTL", "CANCEL", "ECHO", "QUERY_DIRECTORY", "CHANGE_NOTIFY", "QUERY_INFO", "SET_INFO", "OPLOCK_BREAK",
		"SERVER_TO_CLIENT_NOTIFICATION",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// Flags are the header flags.
type Flags uint32

// Header flags.
const (
	FlagServerToRedir Flags = 0x00000001
	FlagAsync         Flags = 0x00000002
	FlagRelated       Flags = 0x00000004
	FlagSigned        Flags = 0x00000008
	FlagPriorityMask  Flags = 0x00000070
	FlagDFS           Flags = 0x10000000
	FlagReplay        Flags = 0x20000000
)

// Has tells whether all bits of x are set.
func (f Flags) Has(x Flags) bool { return f&x == x }

// MessageIDUnsolicited is the MessageID of oplock and lease break notifications.
const MessageIDUnsolicited = ^uint64(0)

// Header is the SMB2 header, [MS-SMB2] 2.2.1.1 (FlagAsync) and 2.2.1.2.
type Header struct {
	CreditCharge uint16
	Status       Status // in a request of dialect 3.x the low half is the ChannelSequence
	Command      Command
	Credits      uint16 // CreditRequest or CreditResponse
	Flags        Flags
	NextCommand  uint32 // offset of the next element in a compound from this header, 0 in the last one
	MessageID    uint64
	AsyncID      uint64 // only with FlagAsync, in the place of ProcessID and TreeID
	ProcessID    uint32 // the reserved field; clients send 0xFEFF, servers echo it
	TreeID       uint32
	SessionID    uint64
	Signature    [16]byte
}

// ChannelSequence returns the ChannelSequence of a request of dialect 3.x.
func (h Header) ChannelSequence() uint16 { return uint16(h.Status & 0xFFFF) }

// WithChannelSequence returns h with seq where a request of dialect 3.x has it.
func (h Header) WithChannelSequence(seq uint16) Header {
	h.Status = Status(seq)
	return h
}

// IsResponse tells whether FlagServerToRedir is set.
func (h Header) IsResponse() bool { return h.Flags.Has(FlagServerToRedir) }

// Offsets of the fields that are patched in an encoded message.
const (
	offFlags       = 16
	offCredits     = 14
	offNextCommand = 20
	offSignature   = 48
)

// ParseHeader parses the header at the start of b. It checks the protocol id (0xFE 'S' 'M' 'B') and StructureSize.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, malformed("header of %d bytes", len(b))
	}
	b = b[:HeaderLen]
	if ProtocolOf(b) != ProtocolSMB2 {
		return Header{}, malformed("protocol id %x", b[:4])
	}
	if size := le.Uint16(b[4:]); size != HeaderLen {
		return Header{}, malformed("header StructureSize %d", size)
	}
	h := Header{
		CreditCharge: le.Uint16(b[6:]),
		Status:       Status(le.Uint32(b[8:])),
		Command:      Command(le.Uint16(b[12:])),
		Credits:      le.Uint16(b[offCredits:]),
		Flags:        Flags(le.Uint32(b[offFlags:])),
		NextCommand:  le.Uint32(b[offNextCommand:]),
		MessageID:    le.Uint64(b[24:]),
		SessionID:    le.Uint64(b[40:]),
		Signature:    [16]byte(b[offSignature:]),
	}
	if h.Flags.Has(FlagAsync) {
		h.AsyncID = le.Uint64(b[32:])
	} else {
		h.ProcessID, h.TreeID = le.Uint32(b[32:]), le.Uint32(b[36:])
	}
	return h, nil
}

// Append appends the 64 bytes of the header.
func (h Header) Append(b []byte) []byte {
	b = append(b, 0xFE, 'S', 'M', 'B', HeaderLen, 0)
	b = le.AppendUint16(b, h.CreditCharge)
	b = le.AppendUint32(b, uint32(h.Status))
	b = le.AppendUint16(b, uint16(h.Command))
	b = le.AppendUint16(b, h.Credits)
	b = le.AppendUint32(b, uint32(h.Flags))
	b = le.AppendUint32(b, h.NextCommand)
	b = le.AppendUint64(b, h.MessageID)
	if h.Flags.Has(FlagAsync) {
		b = le.AppendUint64(b, h.AsyncID)
	} else {
		b = le.AppendUint32(b, h.ProcessID)
		b = le.AppendUint32(b, h.TreeID)
	}
	b = le.AppendUint64(b, h.SessionID)
	return append(b, h.Signature[:]...)
}

// The functions below patch an encoded message in place; msg begins with its header, which must be whole.

// SetCredits writes the CreditRequest or CreditResponse.
func SetCredits(msg []byte, n uint16) { le.PutUint16(msg[:HeaderLen][offCredits:], n) }

// SetNextCommand writes NextCommand.
func SetNextCommand(msg []byte, n uint32) { le.PutUint32(msg[:HeaderLen][offNextCommand:], n) }

// SetFlags sets the bits f in Flags and leaves the others.
func SetFlags(msg []byte, f Flags) {
	b := msg[:HeaderLen][offFlags:]
	le.PutUint32(b, le.Uint32(b)|uint32(f))
}

// SetSignature writes the Signature; the zero value clears it.
func SetSignature(msg []byte, sig [16]byte) { copy(msg[:HeaderLen][offSignature:], sig[:]) }

// NextInCompound cuts the first element off msg. NextCommand must be a multiple of 8, at least a header and the two bytes
// of StructureSize, and leave room for as much again ([MS-SMB2] 3.3.5.2.7); the element includes the padding before
// the next one. rest is nil after the last element. Both alias msg.
func NextInCompound(msg []byte) (element, rest []byte, err error) {
	const least = HeaderLen + 2
	if len(msg) < least {
		return nil, nil, malformed("compound element of %d bytes", len(msg))
	}
	if ProtocolOf(msg) != ProtocolSMB2 {
		return nil, nil, malformed("protocol id %x in compound", msg[:4])
	}
	next := le.Uint32(msg[offNextCommand:])
	if next == 0 {
		return msg, nil, nil
	}
	if next%8 != 0 || next < least || uint64(next) > uint64(len(msg)-least) { //nolint:gosec // not negative: a header is there
		return nil, nil, malformed("NextCommand %d of %d bytes", next, len(msg))
	}
	return msg[:next:next], msg[next:], nil
}

// PadCompound pads the message that starts at b[start:] with zeros to a multiple of 8 and writes its NextCommand, so that
// another element can be appended.
func PadCompound(b []byte, start int) []byte {
	b = alignFrom(b, start)
	SetNextCommand(b[start:], len32(len(b)-start))
	return b
}
