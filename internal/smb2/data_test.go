package smb2_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/smb2"
)

// ioctlInput and ioctlOutput return the buffer inside a recorded IOCTL.
func ioctlInput(tb testing.TB, name string) []byte {
	tb.Helper()
	r, err := smb2.ParseIoctlRequest(wire(tb, name))
	require.NoError(tb, err)
	return r.Input
}

func ioctlOutput(tb testing.TB, name string) []byte {
	tb.Helper()
	r, err := smb2.ParseIoctlResponse(wire(tb, name))
	require.NoError(tb, err)
	return r.Output
}

// negotiateContext returns the data of a context of a recorded NEGOTIATE.
func negotiateContext(tb testing.TB, name string, kind smb2.NegotiateContextType) []byte {
	tb.Helper()
	msg := wire(tb, name)
	h, err := smb2.ParseHeader(msg)
	require.NoError(tb, err)
	var list []smb2.NegotiateContext
	if h.IsResponse() {
		r, err := smb2.ParseNegotiateResponse(msg)
		require.NoError(tb, err)
		list = r.Contexts
	} else {
		r, err := smb2.ParseNegotiateRequest(msg)
		require.NoError(tb, err)
		list = r.Contexts
	}
	for _, c := range list {
		if c.Type == kind {
			return c.Data
		}
	}
	require.Fail(tb, "no such context", "%s %d", name, kind)
	return nil
}

// createContext returns the data of a create context of a recorded CREATE.
func createContext(tb testing.TB, name, context string) []byte {
	tb.Helper()
	msg := wire(tb, name)
	h, err := smb2.ParseHeader(msg)
	require.NoError(tb, err)
	var list []smb2.CreateContext
	if h.IsResponse() {
		r, err := smb2.ParseCreateResponse(msg)
		require.NoError(tb, err)
		list = r.Contexts
	} else {
		r, err := smb2.ParseCreateRequest(msg)
		require.NoError(tb, err)
		list = r.Contexts
	}
	data, ok := smb2.FindContext(list, context)
	require.True(tb, ok, context)
	return data
}

// checkGolden requires that data parses to want and that want appends to data.
func checkGolden[T appender](t *testing.T, parse func([]byte) (T, error), data []byte, want T) {
	t.Helper()
	got, err := parse(data)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, data, want.Append(nil))
}

// The server's GUID in the recordings is its name.
func fileserverGUID() smb2.GUID { return smb2.GUID([]byte("fileserver\x00\x00\x00\x00\x00\x00")) }

func TestGoldenIoctlData(t *testing.T) {
	t.Parallel()
	checkGolden(t, smb2.ParseValidateNegotiateRequest, ioctlInput(t, "ioctl_request_validate"), smb2.ValidateNegotiateRequest{
		Capabilities: smb2.CapDFS | smb2.CapLeasing | smb2.CapLargeMTU | smb2.CapMultiChannel | smb2.CapPersistentHandles | smb2.CapDirectoryLeasing | smb2.CapEncryption,
		GUID:         smb2.GUID(hexdump.Bytes(t, "bc0a5f424f47aa4b8282697a407f0dd1")),
		SecurityMode: smb2.SigningEnabled,
		Dialects:     []smb2.Dialect{smb2.Dialect300},
	})
	checkGolden(t, smb2.ParseValidateNegotiateResponse, ioctlOutput(t, "ioctl_response_validate"), smb2.ValidateNegotiateResponse{
		Capabilities: smb2.CapLeasing | smb2.CapLargeMTU | smb2.CapMultiChannel | smb2.CapEncryption,
		GUID:         fileserverGUID(),
		SecurityMode: smb2.SigningEnabled,
		Dialect:      smb2.Dialect300,
	})

	key := smb2.ResumeKey(ioctlOutput(t, "ioctl_response_resume_key")[:24])
	checkGolden(t, smb2.ParseResumeKeyResponse, ioctlOutput(t, "ioctl_response_resume_key"), key)
	checkGolden(t, smb2.ParseCopychunk, ioctlInput(t, "ioctl_request_copychunk"), smb2.Copychunk{
		SourceKey: key,
		Chunks:    []smb2.CopychunkRange{{SourceOffset: 0, TargetOffset: 0, Length: 4096}},
	})
	checkGolden(t, smb2.ParseCopychunkResponse, ioctlOutput(t, "ioctl_response_copychunk"),
		smb2.CopychunkResponse{ChunksWritten: 1, TotalBytesWritten: 4096})

	checkGolden(t, smb2.ParseZeroData, ioctlInput(t, "ioctl_request_zero_data"), smb2.ZeroData{Offset: 0, BeyondFinalZero: 4096})
	checkGolden(t, smb2.ParseAllocatedRange, ioctlInput(t, "ioctl_request_ranges"), smb2.AllocatedRange{FileOffset: 0, Length: 4096})
	checkGolden(t, smb2.ParseAllocatedRanges, ioctlOutput(t, "ioctl_response_ranges"),
		smb2.AllocatedRanges{{FileOffset: 0, Length: 4096}})
	sparse, err := smb2.ParseSetSparse(ioctlInput(t, "ioctl_request_set_sparse"))
	require.NoError(t, err)
	assert.Equal(t, smb2.SetSparse{Sparse: true}, sparse, "an empty input means true")
	checkGolden(t, smb2.ParseSetSparse, []byte{0}, smb2.SetSparse{Sparse: false})

	checkGolden(t, smb2.ParseNetworkInterfaces, ioctlOutput(t, "ioctl_response_interfaces"), smb2.NetworkInterfaces{{
		Index: 0xFFFFFFFF, LinkSpeed: 1_000_000_000, Addr: netip.MustParseAddr("127.0.0.2"),
	}})
	six := smb2.NetworkInterfaces{
		{Index: 2, Capability: smb2.InterfaceRSS, LinkSpeed: 10, Addr: netip.MustParseAddr("127.0.0.1"), Port: 445},
		{Index: 3, Addr: netip.MustParseAddr("2001:db8::1")},
	}
	data := six.Append(nil)
	assert.Len(t, data, 2*152)
	assert.Equal(t, hexdump.Bytes(t, "98000000 02000000 01000000 00000000 0a00000000000000 0200 01bd 7f000001 00"), data[:33])
	assert.Equal(t, hexdump.Bytes(t, "00000000 03000000 00000000 00000000 0000000000000000 1700 0000 00000000 20010db8000000000000000000000001 00"), data[152:][:49])
	checkGolden(t, smb2.ParseNetworkInterfaces, data, six)
}

// No recorded peer asks for a referral; [MS-DFSC] 2.2.2.
func TestGoldenDFSReferral(t *testing.T) {
	t.Parallel()
	checkGolden(t, smb2.ParseDFSReferralRequest, hexdump.Bytes(t, "0400 5c00 6800 5c00 7300 0000"),
		smb2.DFSReferralRequest{MaxReferralLevel: 4, Path: `\h\s`})
}

func TestGoldenNegotiateContexts(t *testing.T) {
	t.Parallel()
	checkGolden(t, smb2.ParsePreauthIntegrity, negotiateContext(t, "negotiate_request_311", smb2.ContextPreauthIntegrity), smb2.PreauthIntegrity{
		HashAlgorithms: []uint16{smb2.HashSHA512},
		Salt:           hexdump.Bytes(t, "ca8622f7ce5fd4dd5cb42a7a7b7873a71cc67abd30c56f717cedf6074822c2cc"),
	})
	checkGolden(t, smb2.ParseAlgorithmList, negotiateContext(t, "negotiate_request_311", smb2.ContextEncryption),
		smb2.AlgorithmList{smb2.CipherAES128GCM, smb2.CipherAES128CCM, smb2.CipherAES256GCM, smb2.CipherAES256CCM})
	checkGolden(t, smb2.ParseAlgorithmList, negotiateContext(t, "negotiate_response_311", smb2.ContextSigning),
		smb2.AlgorithmList{smb2.SigningAESGMAC})
	name, err := smb2.ParseNetname(negotiateContext(t, "negotiate_request_311", smb2.ContextNetname))
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", name)
	assert.Equal(t, negotiateContext(t, "negotiate_request_311", smb2.ContextNetname), smb2.AppendNetname(nil, name))
	// No recorded peer offers compression; [MS-SMB2] 2.2.3.1.3.
	checkGolden(t, smb2.ParseCompressionCapabilities, hexdump.Bytes(t, "0200 0000 01000000 0200 0400"), smb2.CompressionCapabilities{
		Flags: 1, Algorithms: []uint16{smb2.CompressionLZ77, smb2.CompressionPatternV1},
	})
}

func TestGoldenCreateContexts(t *testing.T) {
	t.Parallel()
	list, err := smb2.ParseCreateContexts(wire(t, "create_response_contexts")[152:])
	require.NoError(t, err)
	assert.Equal(t, []smb2.CreateContext{{Name: "MxAc", Data: hexdump.Bytes(t, "00000000ff011f00")}}, list)
	assert.Equal(t, wire(t, "create_response_contexts")[152:], smb2.AppendCreateContexts(nil, list))
	checkGolden(t, smb2.ParseMaximalAccessResponse, createContext(t, "create_response_contexts", smb2.ContextMxAc),
		smb2.MaximalAccessResponse{MaximalAccess: smb2.FileAllAccess})
	checkGolden(t, smb2.ParseAllocationSize, createContext(t, "create_request_contexts", smb2.ContextAlSi), smb2.AllocationSize(1<<20))
	checkGolden(t, smb2.ParseSnapshotTime, createContext(t, "create_request_contexts", smb2.ContextTWrp), smb2.SnapshotTime(10000))
	checkGolden(t, smb2.ParseLease, createContext(t, "create_request_lease1", smb2.ContextRqLs), smb2.Lease{
		Version: 1, Key: [16]byte(hexdump.Bytes(t, "0df0dde0fe0fdcbaf20f221f01f02345")), State: smb2.LeaseRead,
	})
	v2, err := smb2.ParseLease(createContext(t, "create_response_lease2", smb2.ContextRqLs))
	require.NoError(t, err)
	assert.Equal(t, smb2.Lease{
		Version: 2, Key: v2.Key, State: smb2.LeaseRead | smb2.LeaseHandle | smb2.LeaseWrite, Epoch: v2.Epoch,
	}, v2)
	checkGolden(t, smb2.ParseLease, createContext(t, "create_response_lease2", smb2.ContextRqLs), v2)
	checkGolden(t, smb2.ParseDurableReconnect, createContext(t, "create_request_reconnect1", smb2.ContextDHnC),
		smb2.DurableReconnect{FileID: smb2.FileID{Persistent: 0x5e806d8e, Volatile: 0xa1bbe03a}})
	checkGolden(t, smb2.ParseDurableRequestV2, createContext(t, "create_request_durable2", smb2.ContextDH2Q),
		smb2.DurableRequestV2{Timeout: 0xFFFFFFFF, CreateGUID: smb2.GUID(hexdump.Bytes(t, "ba8071a7219ef5488a74d419a890a3dd"))})
	checkGolden(t, smb2.ParseDurableResponseV2, createContext(t, "create_response_durable2", smb2.ContextDH2Q),
		smb2.DurableResponseV2{Timeout: 300_000})
	checkGolden(t, smb2.ParseDurableReconnectV2, createContext(t, "create_request_reconnect2", smb2.ContextDH2C), smb2.DurableReconnectV2{
		FileID:     smb2.FileID{Persistent: 0xed976162, Volatile: 0xc93f2988},
		CreateGUID: smb2.GUID(hexdump.Bytes(t, "ba8071a7219ef5488a74d419a890a3dd")),
	})
	// smbclient and smbtorture ask for no QFid where smbd answers it; [MS-SMB2] 2.2.14.2.9.
	checkGolden(t, smb2.ParseDiskIDResponse, hexdump.Bytes(t, "0100000000000000 0200000000000000 00000000000000000000000000000000"),
		smb2.DiskIDResponse{DiskFileID: 1, VolumeID: 2})
}

func TestGoldenSymlinkError(t *testing.T) {
	t.Parallel()
	// [MS-SMB2] 2.2.2.2.1, written out by hand: "\??\C:\x" shown as "C:\x", four bytes of path left.
	data := hexdump.Bytes(t, "36000000 53594d4c 0c0000a0 2600 0400 0000 1000 1000 0800 00000000"+
		"5c003f003f005c0043003a005c007800"+"43003a005c007800")
	data[0] = byte(len(data) - 4)
	data[12] = byte(len(data) - 16)
	checkGolden(t, smb2.ParseSymlinkError, data, smb2.SymlinkError{UnparsedPathLength: 4, SubstituteName: `\??\C:\x`, PrintName: `C:\x`})

	msg := wire(t, "error_response_no_more_files")[:smb2.HeaderLen]
	for _, r := range []smb2.ErrorResponse{
		{Data: data},
		{Contexts: []smb2.ErrorContext{{Data: data}}},
		{Contexts: []smb2.ErrorContext{{Data: data}, {ID: smb2.ErrorIDShareRedirect, Data: data[:5]}}},
	} {
		got, err := smb2.ParseErrorResponse(r.Append(slices.Clip(msg)))
		require.NoError(t, err)
		assert.Equal(t, r, got)
	}
	short, err := smb2.ParseErrorResponse(append(slices.Clip(msg), 9, 0, 0, 0, 0, 0, 0, 0))
	require.NoError(t, err)
	assert.Equal(t, smb2.ErrorResponse{}, short, "eight bytes without the filler")
}

func FuzzValidateNegotiateRequest(f *testing.F) {
	fuzzData(f, smb2.ParseValidateNegotiateRequest, ioctlInput(f, "ioctl_request_validate"))
}

func FuzzValidateNegotiateResponse(f *testing.F) {
	fuzzData(f, smb2.ParseValidateNegotiateResponse, ioctlOutput(f, "ioctl_response_validate"))
}

func FuzzResumeKeyResponse(f *testing.F) {
	fuzzData(f, smb2.ParseResumeKeyResponse, ioctlOutput(f, "ioctl_response_resume_key"))
}

func FuzzCopychunk(f *testing.F) {
	fuzzData(f, smb2.ParseCopychunk, ioctlInput(f, "ioctl_request_copychunk"))
}

func FuzzCopychunkResponse(f *testing.F) {
	fuzzData(f, smb2.ParseCopychunkResponse, ioctlOutput(f, "ioctl_response_copychunk"))
}

func FuzzZeroData(f *testing.F) {
	fuzzData(f, smb2.ParseZeroData, ioctlInput(f, "ioctl_request_zero_data"))
}

func FuzzSetSparse(f *testing.F) { fuzzData(f, smb2.ParseSetSparse, []byte{0}, []byte{1}) }

func FuzzAllocatedRange(f *testing.F) {
	fuzzData(f, smb2.ParseAllocatedRange, ioctlInput(f, "ioctl_request_ranges"))
}

func FuzzAllocatedRanges(f *testing.F) {
	fuzzData(f, smb2.ParseAllocatedRanges, ioctlOutput(f, "ioctl_response_ranges"))
}

func FuzzNetworkInterfaces(f *testing.F) {
	fuzzData(f, smb2.ParseNetworkInterfaces, ioctlOutput(f, "ioctl_response_interfaces"))
}

func FuzzDFSReferralRequest(f *testing.F) {
	fuzzData(f, smb2.ParseDFSReferralRequest, smb2.DFSReferralRequest{MaxReferralLevel: 4, Path: `\h\s`}.Append(nil))
}

func FuzzPreauthIntegrity(f *testing.F) {
	fuzzData(f, smb2.ParsePreauthIntegrity, negotiateContext(f, "negotiate_request_311", smb2.ContextPreauthIntegrity))
}

func FuzzAlgorithmList(f *testing.F) {
	fuzzData(f, smb2.ParseAlgorithmList, negotiateContext(f, "negotiate_request_311", smb2.ContextEncryption))
}

func FuzzCompressionCapabilities(f *testing.F) {
	fuzzData(f, smb2.ParseCompressionCapabilities, smb2.CompressionCapabilities{Algorithms: []uint16{1, 2}}.Append(nil))
}

// netname gives ParseNetname the shape of the other structures.
type netname string

func (n netname) Append(b []byte) []byte { return smb2.AppendNetname(b, string(n)) }

func FuzzNetname(f *testing.F) {
	fuzzData(f, func(data []byte) (netname, error) {
		s, err := smb2.ParseNetname(data)
		return netname(s), err
	}, negotiateContext(f, "negotiate_request_311", smb2.ContextNetname))
}

// contextList gives ParseCreateContexts the shape of the other structures.
type contextList []smb2.CreateContext

func (l contextList) Append(b []byte) []byte { return smb2.AppendCreateContexts(b, l) }

func FuzzCreateContexts(f *testing.F) {
	parse := func(data []byte) (contextList, error) {
		l, err := smb2.ParseCreateContexts(data)
		return l, err
	}
	fuzzData(f, parse, wire(f, "create_request_contexts")[152:], wire(f, "create_response_lease2")[152:])
}

func FuzzMaximalAccessResponse(f *testing.F) {
	fuzzData(f, smb2.ParseMaximalAccessResponse, createContext(f, "create_response_contexts", smb2.ContextMxAc))
}

func FuzzDiskIDResponse(f *testing.F) { fuzzData(f, smb2.ParseDiskIDResponse, make([]byte, 32)) }

func FuzzAllocationSize(f *testing.F) { fuzzData(f, smb2.ParseAllocationSize, make([]byte, 8)) }

func FuzzSnapshotTime(f *testing.F) { fuzzData(f, smb2.ParseSnapshotTime, make([]byte, 8)) }

func FuzzLease(f *testing.F) {
	fuzzData(f, smb2.ParseLease, createContext(f, "create_request_lease1", smb2.ContextRqLs), createContext(f, "create_request_lease2", smb2.ContextRqLs))
}

func FuzzDurableReconnect(f *testing.F) {
	fuzzData(f, smb2.ParseDurableReconnect, createContext(f, "create_request_reconnect1", smb2.ContextDHnC))
}

func FuzzDurableRequestV2(f *testing.F) {
	fuzzData(f, smb2.ParseDurableRequestV2, createContext(f, "create_request_durable2", smb2.ContextDH2Q))
}

func FuzzDurableResponseV2(f *testing.F) {
	fuzzData(f, smb2.ParseDurableResponseV2, createContext(f, "create_response_durable2", smb2.ContextDH2Q))
}

func FuzzDurableReconnectV2(f *testing.F) {
	fuzzData(f, smb2.ParseDurableReconnectV2, createContext(f, "create_request_reconnect2", smb2.ContextDH2C))
}

func FuzzSymlinkError(f *testing.F) {
	fuzzData(f, smb2.ParseSymlinkError, smb2.SymlinkError{SubstituteName: `\??\C:\x`, PrintName: `C:\x`}.Append(nil))
}
