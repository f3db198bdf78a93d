package dcerpc_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/dcerpc"
	"github.com/uringfs/uringfs/internal/hexdump"
)

type appender interface{ Append(b []byte) []byte }

// What smbclient 4.17.12 (-L) and smbd 4.17.12 said to each other over the srvsvc pipe, as in internal/smb2/testdata/wire/ioctl_*_pipe_*.
const (
	recordedBind = "05000b03100000004800000001000000 b810b810 00000000 01000000 0000 01 00" +
		"c84f324b7016d30112785a47bf6ee188 03000000 045d888aeb1cc9119fe808002b104860 02000000"
	recordedBindAck = "05000c03100000004400000001000000 b810b810 0ca10000 0d00 5c706970655c73727673766300 00" +
		"01000000 0000 0000 045d888aeb1cc9119fe808002b104860 02000000"
	recordedRequestHead  = "05000003100000005c00000002000000 44000000 0000 0f00"
	recordedRequestStub  = "00000200 0a000000 00000000 0a000000 3100320037002e0030002e0030002e0031000000 01000000 01000000 04000200 00000000 00000000 ffffffff 08000200 00000000"
	recordedResponseHead = "0500020310000000e400000002000000 cc000000 0000 00 00"
	recordedResponseStub = "01000000 01000000 0c000200 02000000 10000200 02000000 14000200 00000000 18000200 1c000200 03000080 20000200" +
		"06000000 00000000 06000000 730068006100720065000000 08000000 00000000 08000000 61002000730068006100720065000000" +
		"05000000 00000000 05000000 49005000430024000000 0000" +
		"1a000000 00000000 1a000000 49005000430020005300650072007600690063006500200028007400650073007400200073006500720076006500720029000000" +
		"02000000 24000200 00000000 00000000"
)

func recordedShares() []dcerpc.ShareInfo {
	return []dcerpc.ShareInfo{
		{Name: "share", Type: dcerpc.ShareTypeDisk, Comment: "a share"},
		{Name: "IPC$", Type: dcerpc.ShareTypeIPC | dcerpc.ShareTypeSpecial, Comment: "IPC Service (test server)"},
	}
}

// checkGolden requires that data parses to want, that want appends to data (unless its referents are numbered
// otherwise), and that no prefix panics.
func checkGolden[T appender](t *testing.T, parse func([]byte) (T, error), data []byte, want T, sameBytes bool) {
	t.Helper()
	got, err := parse(data)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	if sameBytes {
		assert.Equal(t, data, want.Append(nil))
	}
	for n := range data {
		if _, err := parse(data[:n:n]); err != nil {
			require.ErrorIs(t, err, dcerpc.ErrMalformed)
		}
	}
}

func TestGoldenPDUs(t *testing.T) {
	t.Parallel()
	h, err := dcerpc.ParseHeader(hexdump.Bytes(t, recordedBind))
	require.NoError(t, err)
	assert.Equal(t, dcerpc.Header{Type: dcerpc.TypeBind, Flags: 3, FragLength: 72, CallID: 1}, h)
	assert.Equal(t, hexdump.Bytes(t, recordedBind)[:dcerpc.HeaderLen], h.Append(nil))
	assert.True(t, h.IsWhole())

	checkGolden(t, dcerpc.ParseBind, hexdump.Bytes(t, recordedBind), dcerpc.Bind{
		CallID: 1, MaxXmit: 4280, MaxRecv: 4280,
		Contexts: []dcerpc.PresentationContext{{Abstract: dcerpc.SrvsvcSyntax(), Transfer: []dcerpc.SyntaxID{dcerpc.NDRSyntax()}}},
	}, true)
	checkGolden(t, dcerpc.ParseBindAck, hexdump.Bytes(t, recordedBindAck), dcerpc.BindAck{
		CallID: 1, MaxXmit: 4280, MaxRecv: 4280, AssocID: 0xA10C, SecondaryAddr: `\pipe\srvsvc`,
		Results: []dcerpc.ContextResult{{Transfer: dcerpc.NDRSyntax()}},
	}, true)
	request := hexdump.Bytes(t, recordedRequestHead+recordedRequestStub)
	checkGolden(t, dcerpc.ParseRequest, request, dcerpc.Request{
		CallID: 2, Flags: 3, AllocHint: 68, OpNum: dcerpc.OpNetShareEnumAll, Stub: request[24:],
	}, true)
	response := hexdump.Bytes(t, recordedResponseHead+recordedResponseStub)
	checkGolden(t, dcerpc.ParseResponse, response, dcerpc.Response{CallID: 2, Flags: 3, AllocHint: 204, Stub: response[24:]}, true)
	// [C706] 12.6.4.7
	checkGolden(t, dcerpc.ParseFault, hexdump.Bytes(t, "05000303100000002000000007000000 00000000 0100 00 00 0200011c 00000000"),
		dcerpc.Fault{CallID: 7, Flags: 3, ContextID: 1, Status: dcerpc.FaultOpRangeError}, true)
}

func TestGoldenSrvsvc(t *testing.T) {
	t.Parallel()
	checkGolden(t, dcerpc.ParseNetShareEnumAllRequest, hexdump.Bytes(t, recordedRequestStub), dcerpc.NetShareEnumAllRequest{
		ServerName: "127.0.0.1", Level: 1, PreferredLength: 0xFFFFFFFF, HasResume: true,
	}, true)
	checkGolden(t, dcerpc.ParseNetShareEnumAllResponse, hexdump.Bytes(t, recordedResponseStub), dcerpc.NetShareEnumAllResponse{
		Level: 1, Shares: recordedShares(), Total: 2, HasResume: true,
	}, false)
	got, err := dcerpc.ParseNetShareEnumAllResponse(dcerpc.NetShareEnumAllResponse{
		Level: 1, Shares: recordedShares(), Total: 2, HasResume: true,
	}.Append(nil))
	require.NoError(t, err)
	assert.Equal(t, recordedShares(), got.Shares)

	// [MS-SRVS] 3.1.4.10
	checkGolden(t, dcerpc.ParseNetShareGetInfoRequest, hexdump.Bytes(t, "00000200 02000000 00000000 02000000 68000000 02000000 00000000 02000000 73000000 01000000"),
		dcerpc.NetShareGetInfoRequest{ServerName: "h", NetName: "s", Level: 1}, true)
	checkGolden(t, dcerpc.ParseNetShareGetInfoResponse,
		hexdump.Bytes(t, "01000000 00000200 04000200 00000000 08000200 02000000 00000000 02000000 73000000 01000000 00000000 01000000 0000 0000 00000000"),
		dcerpc.NetShareGetInfoResponse{Level: 1, Found: true, Share: dcerpc.ShareInfo{Name: "s"}}, true)
	checkGolden(t, dcerpc.ParseNetShareGetInfoResponse, hexdump.Bytes(t, "ed030000 00000200 00010000 00000000"),
		dcerpc.NetShareGetInfoResponse{Level: 1005, Found: true, Share: dcerpc.ShareInfo{Type: 0x100}}, true)
	checkGolden(t, dcerpc.ParseNetShareGetInfoResponse, hexdump.Bytes(t, "01000000 00000000 06090000"),
		dcerpc.NetShareGetInfoResponse{Level: 1, Status: dcerpc.ErrorNetNameNotFound}, true)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	change := func(s string, at int, with ...byte) []byte {
		b := hexdump.Bytes(t, s)
		copy(b[at:], with)
		return b
	}
	for why, pdu := range map[string][]byte{
		"version":                change(recordedBind, 0, 4),
		"big endian":             change(recordedBind, 4, 0),
		"fragment beyond":        change(recordedBind, 8, 73),
		"fragment in the header": change(recordedBind, 8, 15),
		"trailer beyond":         change(recordedBind, 10, 0xFF, 0xFF),
		"type":                   change(recordedBind, 2, 0),
		"many contexts":          change(recordedBind, 24, 255),
		"many transfer syntaxes": change(recordedBind, 30, 255),
	} {
		_, err := dcerpc.ParseBind(pdu)
		assert.ErrorIs(t, err, dcerpc.ErrMalformed, why)
	}
	for why, stub := range map[string][]byte{
		"string length":       change(recordedRequestStub, 12, 0xFF, 0xFF, 0xFF, 0xFF),
		"string offset":       change(recordedRequestStub, 8, 1),
		"string without NUL":  change(recordedRequestStub, 34, 1),
		"two levels":          change(recordedRequestStub, 40, 2),
		"entries in the call": change(recordedRequestStub, 48, 1),
	} {
		_, err := dcerpc.ParseNetShareEnumAllRequest(stub)
		assert.ErrorIs(t, err, dcerpc.ErrMalformed, why)
	}
	for why, stub := range map[string][]byte{
		"more entries than array": change(recordedResponseStub, 12, 3),
		"four billion entries":    change(change2(hexdump.Bytes(t, recordedResponseStub)), 12, 0xFF, 0xFF, 0xFF, 0xFF),
	} {
		_, err := dcerpc.ParseNetShareEnumAllResponse(stub)
		assert.ErrorIs(t, err, dcerpc.ErrMalformed, why)
	}
}

// change2 makes the array as long as the count of the next change.
func change2(b []byte) string {
	copy(b[20:], []byte{0xFF, 0xFF, 0xFF, 0xFF})
	return hex.EncodeToString(b)
}

// TestTooWide checks that what does not fit its field is cut, and still parses.
func TestTooWide(t *testing.T) {
	t.Parallel()
	r, err := dcerpc.ParseRequest(dcerpc.Request{Stub: make([]byte, 1<<17)}.Append(nil))
	require.NoError(t, err)
	assert.Len(t, r.Stub, dcerpc.MaxStub)
	p, err := dcerpc.ParseNetShareEnumAllResponse(dcerpc.NetShareEnumAllResponse{
		Level: 1, Shares: make([]dcerpc.ShareInfo, 5000),
	}.Append(nil))
	require.NoError(t, err)
	assert.Len(t, p.Shares, 4096)
	q, err := dcerpc.ParseNetShareGetInfoRequest(dcerpc.NetShareGetInfoRequest{NetName: strings.Repeat("n", 9999)}.Append(nil))
	require.NoError(t, err)
	assert.Len(t, q.NetName, 4095)
}

func fuzz[T appender](f *testing.F, parse func([]byte) (T, error), seeds ...string) {
	f.Helper()
	for _, s := range seeds {
		f.Add(hexdump.Bytes(f, s))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parse(data)
		if err != nil {
			require.ErrorIs(t, err, dcerpc.ErrMalformed)
			return
		}
		again := v.Append(nil)
		w, err := parse(again)
		require.NoError(t, err)
		require.Equal(t, v, w)
		// Alignment counts from where the structure begins, not from where the buffer does.
		require.Equal(t, again, v.Append(slices.Repeat([]byte{0xA5}, 7))[7:])
	})
}

// header is a Header that appends enough to be parsed again.
type header struct{ dcerpc.Header }

func (h header) Append(b []byte) []byte {
	return append(h.Header.Append(b), make([]byte, int(h.FragLength)-dcerpc.HeaderLen)...)
}

func FuzzHeader(f *testing.F) {
	fuzz(f, func(b []byte) (header, error) {
		h, err := dcerpc.ParseHeader(b)
		return header{h}, err
	}, recordedBind)
}

func FuzzBind(f *testing.F)    { fuzz(f, dcerpc.ParseBind, recordedBind) }
func FuzzBindAck(f *testing.F) { fuzz(f, dcerpc.ParseBindAck, recordedBindAck) }
func FuzzRequest(f *testing.F) { fuzz(f, dcerpc.ParseRequest, recordedRequestHead+recordedRequestStub) }

func FuzzResponse(f *testing.F) {
	fuzz(f, dcerpc.ParseResponse, recordedResponseHead+recordedResponseStub)
}

func FuzzFault(f *testing.F) {
	fuzz(f, dcerpc.ParseFault, "05000303100000002000000007000000 00000000 0100 00 00 0200011c 00000000")
}

func FuzzNetShareEnumAllRequest(f *testing.F) {
	fuzz(f, dcerpc.ParseNetShareEnumAllRequest, recordedRequestStub)
}

func FuzzNetShareEnumAllResponse(f *testing.F) {
	fuzz(f, dcerpc.ParseNetShareEnumAllResponse, recordedResponseStub)
}

func FuzzNetShareGetInfoRequest(f *testing.F) {
	fuzz(f, dcerpc.ParseNetShareGetInfoRequest, "00000200 02000000 00000000 02000000 68000000 02000000 00000000 02000000 73000000 01000000")
}

func FuzzNetShareGetInfoResponse(f *testing.F) {
	fuzz(f, dcerpc.ParseNetShareGetInfoResponse, "01000000 00000000 06090000",
		"01000000 00000200 04000200 00000000 08000200 02000000 00000000 02000000 73000000 01000000 00000000 01000000 0000 0000 00000000")
}
