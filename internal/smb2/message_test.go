package smb2_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
)

func TestGoldenHeader(t *testing.T) {
	t.Parallel()
	sync := wire(t, "tree_connect_request")
	h, err := smb2.ParseHeader(sync)
	require.NoError(t, err)
	assert.Equal(t, smb2.Header{
		CreditCharge: 1, Command: smb2.CommandTreeConnect, Credits: 1, Flags: smb2.FlagSigned | 0x10, MessageID: 3,
		SessionID: h.SessionID, Signature: [16]byte(sync[48:64]),
	}, h)
	assert.Equal(t, sync[:smb2.HeaderLen], h.Append(nil))

	async := wire(t, "error_response_pending")
	h, err = smb2.ParseHeader(async)
	require.NoError(t, err)
	assert.Equal(t, smb2.Header{
		Status: smb2.StatusPending, Command: smb2.CommandFlush, Credits: 1,
		Flags: smb2.FlagServerToRedir | smb2.FlagAsync, MessageID: 12, AsyncID: 12, SessionID: h.SessionID,
	}, h)
	assert.Equal(t, async[:smb2.HeaderLen], h.Append(nil))
	assert.True(t, h.IsResponse())

	h = h.WithChannelSequence(0x1234)
	assert.Equal(t, uint16(0x1234), h.ChannelSequence())
}

func TestHeaderPatches(t *testing.T) {
	t.Parallel()
	h := smb2.Header{Command: smb2.CommandEcho, Flags: smb2.FlagServerToRedir}
	msg := smb2.EchoResponse{}.Append(h.Append(nil))
	smb2.SetCredits(msg, 7)
	smb2.SetNextCommand(msg, 72)
	smb2.SetFlags(msg, smb2.FlagSigned)
	smb2.SetSignature(msg, [16]byte{1, 2, 3})
	got, err := smb2.ParseHeader(msg)
	require.NoError(t, err)
	h.Credits, h.NextCommand, h.Flags, h.Signature = 7, 72, h.Flags|smb2.FlagSigned, [16]byte{1, 2, 3}
	assert.Equal(t, h, got)
}

func TestGoldenCompound(t *testing.T) {
	t.Parallel()
	request := elements(t, wire(t, "compound_request"))
	require.Len(t, request, 2)
	create, err := smb2.ParseCreateRequest(request[0])
	require.NoError(t, err)
	assert.Equal(t, "compound_related1.dat", create.Name)
	closing, err := smb2.ParseCloseRequest(request[1])
	require.NoError(t, err)
	assert.True(t, closing.FileID.IsAny(), "the handle of the element before")
	h, err := smb2.ParseHeader(request[1])
	require.NoError(t, err)
	assert.True(t, h.Flags.Has(smb2.FlagRelated))

	// Rebuilding the compound from its parts gives the recorded bytes.
	msg := wire(t, "compound_response")
	response := elements(t, msg)
	require.Len(t, response, 2)
	created, err := smb2.ParseCreateResponse(response[0])
	require.NoError(t, err)
	closed, err := smb2.ParseCloseResponse(response[1])
	require.NoError(t, err)
	again := created.Append(append([]byte(nil), response[0][:smb2.HeaderLen]...))
	smb2.SetNextCommand(again, 0)
	again = smb2.PadCompound(again, 0)
	second := len(again)
	again = append(again, response[1][:smb2.HeaderLen]...)
	again = closed.Append(again)
	again = append(again, make([]byte, len(msg)-len(again))...) // smbd pads the last one as well
	assert.Equal(t, msg, again)
	assert.Equal(t, len(response[0]), second)
}

func TestNextInCompoundRefuses(t *testing.T) {
	t.Parallel()
	valid := wire(t, "compound_request")
	for _, tt := range []struct {
		why  string
		next uint32
	}{
		{"not a multiple of 8", 68},
		{"itself, within the header", 8},
		{"the end of the header", 64},
		{"the end of the message", uint32(len(valid))},
		{"less than an element before the end", uint32(len(valid) - 8)},
		{"beyond the end", 1 << 20},
		{"backwards, as a signed number", 0xFFFFFFF8},
	} {
		msg := slices.Clone(valid)
		smb2.SetNextCommand(msg, tt.next)
		_, _, err := smb2.NextInCompound(msg)
		assert.ErrorIs(t, err, smb2.ErrMalformed, tt.why)
	}
	_, _, err := smb2.NextInCompound(valid[:65])
	require.ErrorIs(t, err, smb2.ErrMalformed)
	_, _, err = smb2.NextInCompound(wire(t, "transform_request"))
	require.ErrorIs(t, err, smb2.ErrMalformed)
}

func TestGoldenTransformHeader(t *testing.T) {
	t.Parallel()
	msg := wire(t, "transform_request")
	h, err := smb2.ParseTransformHeader(msg)
	require.NoError(t, err)
	assert.Equal(t, smb2.TransformHeader{
		Signature: [16]byte(msg[4:20]), Nonce: [16]byte(msg[20:36]), OriginalSize: 106, Flags: smb2.TransformEncrypted, SessionID: h.SessionID,
	}, h)
	assert.NotZero(t, h.SessionID)
	assert.Len(t, msg, smb2.TransformLen+106)
	assert.Equal(t, make([]byte, 4), h.Nonce[12:], "GCM uses twelve bytes")
	assert.Equal(t, msg[:smb2.TransformLen], h.Append(nil))
}

func TestGoldenFrame(t *testing.T) {
	t.Parallel()
	n, err := smb2.ParseFrame([]byte{0, 1, 2, 3, 0xFE})
	require.NoError(t, err)
	assert.Equal(t, 0x010203, n)
	b := make([]byte, smb2.FrameLen)
	require.NoError(t, smb2.PutFrame(b, smb2.MaxFrame))
	assert.Equal(t, []byte{0, 0xFF, 0xFF, 0xFF}, b)
	require.ErrorIs(t, smb2.PutFrame(b, smb2.MaxFrame+1), smb2.ErrMalformed)
	_, err = smb2.ParseFrame([]byte{0x85, 0, 0, 0})
	require.ErrorIs(t, err, smb2.ErrMalformed, "a NetBIOS keep-alive")

	for first, want := range map[byte]smb2.Protocol{
		0xFC: smb2.ProtocolCompressed, 0xFD: smb2.ProtocolTransform, 0xFE: smb2.ProtocolSMB2, 0xFF: smb2.ProtocolSMB1, 0xFB: smb2.ProtocolUnknown,
	} {
		assert.Equal(t, want, smb2.ProtocolOf([]byte{first, 'S', 'M', 'B'}))
	}
	assert.Equal(t, smb2.ProtocolUnknown, smb2.ProtocolOf([]byte{0xFE, 'S', 'M'}))
}

func TestSMB1Offers(t *testing.T) {
	t.Parallel()
	n, err := smb2.ParseSMB1Negotiate(wire(t, "negotiate_request_smb1"))
	require.NoError(t, err)
	d202, wildcard := n.OffersSMB2()
	assert.True(t, d202)
	assert.True(t, wildcard)
	d202, wildcard = smb2.SMB1Negotiate{Dialects: []string{"NT LM 0.12", "SMB 2.002"}}.OffersSMB2()
	assert.True(t, d202)
	assert.False(t, wildcard)
}

// TestSplicedPayload checks that the fixed parts alone, with the payload behind them, are the whole message.
func TestSplicedPayload(t *testing.T) {
	t.Parallel()
	data := []byte("payload")
	hdr := smb2.Header{Command: smb2.CommandRead}.Append(nil)
	whole := smb2.ReadResponse{Data: data}.Append(slices.Clone(hdr))
	split := smb2.AppendReadResponseHeader(slices.Clone(hdr), len(data))
	assert.Len(t, split, smb2.ReadResponsePrefix)
	assert.Equal(t, whole, append(split, data...))

	w := smb2.WriteRequest{Offset: 5, Data: data}
	split = w.AppendHeader(slices.Clone(hdr), len(data))
	assert.Len(t, split, smb2.WriteRequestPrefix)
	assert.Equal(t, w.Append(slices.Clone(hdr)), append(split, data...))

	whole = smb2.QueryDirectoryResponse{Buffer: data}.Append(slices.Clone(hdr))
	split = smb2.AppendOutputBufferHeader(slices.Clone(hdr), 0)
	assert.Len(t, split, smb2.OutputBufferPrefix)
	split = append(split, data...)
	smb2.PutOutputBufferLength(split, len(data))
	assert.Equal(t, whole, split)
}

func TestReadAliasesMessage(t *testing.T) {
	t.Parallel()
	msg := wire(t, "write_request")
	w, err := smb2.ParseWriteRequest(msg)
	require.NoError(t, err)
	require.Len(t, w.Data, 300)
	assert.Same(t, &msg[112], &w.Data[0])
	assert.Equal(t, len(w.Data), cap(w.Data), "an append must not reach what follows")
}

// TestRegionBounds moves the one variable part of a message to every kind of wrong place.
func TestRegionBounds(t *testing.T) {
	t.Parallel()
	set := func(off uint16, n uint32) []byte {
		msg := wire(t, "write_request")
		msg[66], msg[67] = byte(off&0xFF), byte(off>>8)
		copy(msg[68:], []byte{byte(n & 0xFF), byte(n >> 8 & 0xFF), byte(n >> 16 & 0xFF), byte(n >> 24)})
		return msg
	}
	for _, tt := range []struct {
		why string
		off uint16
		n   uint32
		ok  bool
	}{
		{"as recorded", 112, 300, true},
		{"shorter", 112, 1, true},
		{"later", 113, 299, true},
		{"nothing, wherever", 0, 0, true},
		{"in the fixed part", 111, 1, false},
		{"in the header", 0, 300, false},
		{"one too long", 112, 301, false},
		{"length wraps", 112, math.MaxUint32, false},
		{"offset beyond the end", math.MaxUint16, 1, false},
	} {
		w, err := smb2.ParseWriteRequest(set(tt.off, tt.n))
		if tt.ok {
			require.NoError(t, err, tt.why)
			assert.Len(t, w.Data, int(tt.n), tt.why)
		} else {
			assert.ErrorIs(t, err, smb2.ErrMalformed, tt.why)
		}
	}
}

// TestEveryTruncation cuts every recorded message at every length: no parser panics, and none accepts less than a body.
func TestEveryTruncation(t *testing.T) {
	t.Parallel()
	for _, tt := range goldenMessages() {
		msg := wire(t, tt.name)
		for n := range msg {
			_, err := tt.parse(msg[:n:n])
			if err != nil {
				require.ErrorIs(t, err, smb2.ErrMalformed, "%s cut to %d", tt.name, n)
			} else {
				require.GreaterOrEqual(t, n, smb2.HeaderLen+2, tt.name)
			}
		}
	}
}

// TestTooWide checks that what does not fit its field is cut and never wraps.
func TestTooWide(t *testing.T) {
	t.Parallel()
	hdr := smb2.Header{}.Append(nil)
	long := strings.Repeat("n", 40000)
	c, err := smb2.ParseCreateRequest(smb2.CreateRequest{Name: long, Contexts: []smb2.CreateContext{{Name: long, Data: []byte{1}}}}.Append(slices.Clone(hdr)))
	require.NoError(t, err)
	assert.Equal(t, long[:32767], c.Name)
	assert.Equal(t, []smb2.CreateContext{{Name: long[:255], Data: []byte{1}}}, c.Contexts)

	s, err := smb2.ParseSessionSetupRequest(smb2.SessionSetupRequest{SecurityBuffer: make([]byte, 70000)}.Append(slices.Clone(hdr)))
	require.NoError(t, err)
	assert.Len(t, s.SecurityBuffer, 65535)

	n, err := smb2.ParseNegotiateRequest(smb2.NegotiateRequest{
		Dialects: append([]smb2.Dialect{smb2.Dialect311}, make([]smb2.Dialect, 70000)...),
		Contexts: make([]smb2.NegotiateContext, 70000),
	}.Append(slices.Clone(hdr)))
	require.NoError(t, err)
	assert.Len(t, n.Dialects, 64)
	assert.Len(t, n.Contexts, 64)

	l, err := smb2.ParseLockRequest(smb2.LockRequest{Locks: make([]smb2.LockElement, 70000)}.Append(slices.Clone(hdr)))
	require.NoError(t, err)
	assert.Len(t, l.Locks, smb2.MaxLockElements)

	e, err := smb2.ParseSymlinkError(smb2.SymlinkError{SubstituteName: long, PrintName: long}.Append(nil))
	require.NoError(t, err)
	assert.Len(t, e.SubstituteName, 16377)
	assert.Len(t, e.PrintName, 16377)
}

// TestCreateContextLists holds the ways in which a list can lie.
func TestCreateContextLists(t *testing.T) {
	t.Parallel()
	two := smb2.AppendCreateContexts(nil, []smb2.CreateContext{{Name: "MxAc"}, {Name: "RqLs", Data: make([]byte, 32)}})
	for _, tt := range []struct {
		why  string
		at   int
		with []byte
	}{
		{"Next is not a multiple of 8", 0, []byte{20, 0, 0, 0}},
		{"Next is inside the fixed part", 0, []byte{8, 0, 0, 0}},
		{"Next is the end", 0, []byte{byte(len(two)), 0, 0, 0}},
		{"Next is beyond the end", 0, []byte{0xF8, 0xFF, 0xFF, 0xFF}},
		{"the name is in the fixed part", 4, []byte{15, 0}},
		{"the name is in the next entry", 4, []byte{22, 0}},
		{"the name is long", 6, []byte{0, 1}},
		{"data is in the next entry", 10, []byte{24, 0, 1, 0, 0, 0}},
		{"data wraps", 10, []byte{16, 0, 0xFF, 0xFF, 0xFF, 0xFF}},
	} {
		b := slices.Clone(two)
		copy(b[tt.at:], tt.with)
		_, err := smb2.ParseCreateContexts(b)
		assert.ErrorIs(t, err, smb2.ErrMalformed, tt.why)
	}
	full := smb2.AppendCreateContexts(nil, make([]smb2.CreateContext, 40))
	list, err := smb2.ParseCreateContexts(full)
	require.NoError(t, err)
	assert.Len(t, list, smb2.MaxCreateContexts)
	full[len(full)-16] = 16 // the last one has a successor now
	_, err = smb2.ParseCreateContexts(append(full, make([]byte, 16)...))
	require.ErrorIs(t, err, smb2.ErrMalformed)
}

func TestNames(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "QUERY_DIRECTORY", smb2.CommandQueryDirectory.String())
	assert.Equal(t, "command 99", smb2.Command(99).String())
	for d, want := range map[smb2.Dialect]string{
		smb2.Dialect202: "2.0.2", smb2.Dialect210: "2.1", smb2.Dialect300: "3.0", smb2.Dialect302: "3.0.2", smb2.Dialect311: "3.1.1", smb2.Dialect2FF: "2.???",
	} {
		assert.Equal(t, want, d.String())
	}
	assert.Equal(t, "STATUS_OBJECT_NAME_NOT_FOUND", smb2.StatusObjectNameNotFound.String())
	assert.Equal(t, "STATUS 0xC0FFEE00", smb2.Status(0xC0FFEE00).String())
	assert.True(t, smb2.StatusAccessDenied.IsError())
	assert.True(t, smb2.StatusNoMoreFiles.IsWarning())
	assert.False(t, smb2.StatusPending.IsError())
	assert.Equal(t, smb2.FileGenericRead|smb2.Delete, (smb2.GenericRead | smb2.Delete).Expand())
	assert.Equal(t, smb2.FileAllAccess|smb2.MaximumAllowed, (smb2.GenericAll | smb2.MaximumAllowed).Expand())
	assert.Equal(t, smb2.FileGenericRead, smb2.AccessMask(0x00120089))
	assert.Equal(t, smb2.FileGenericWrite, smb2.AccessMask(0x00120116))
	assert.Equal(t, smb2.FileGenericExecute, smb2.AccessMask(0x001200A0))
	assert.True(t, smb2.IsLeaseBreak(wire(t, "lease_break_ack")))
	assert.True(t, smb2.IsLeaseBreak(wire(t, "lease_break_notification")))
	assert.False(t, smb2.IsLeaseBreak(wire(t, "oplock_break_notification")))
}
