package smb2_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
)

func FuzzNegotiateRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseNegotiateRequest, "negotiate_request_3")
}

func FuzzNegotiateResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseNegotiateResponse, "negotiate_response")
}

func FuzzSessionSetupRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseSessionSetupRequest, "session_setup_request")
}

func FuzzSessionSetupResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseSessionSetupResponse, "session_setup_response")
}

func FuzzLogoffRequest(f *testing.F) { fuzzMessage(f, smb2.ParseLogoffRequest, "logoff_request") }

func FuzzLogoffResponse(f *testing.F) { fuzzMessage(f, smb2.ParseLogoffResponse, "logoff_response") }

func FuzzTreeConnectRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseTreeConnectRequest, "tree_connect_request")
}

func FuzzTreeConnectResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseTreeConnectResponse, "tree_connect_response")
}

func FuzzTreeDisconnectRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseTreeDisconnectRequest, "tree_disconnect_request")
}

func FuzzTreeDisconnectResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseTreeDisconnectResponse, "tree_disconnect_response")
}

func FuzzCreateRequest(f *testing.F) { fuzzMessage(f, smb2.ParseCreateRequest, "create_request") }

func FuzzCreateResponse(f *testing.F) { fuzzMessage(f, smb2.ParseCreateResponse, "create_response") }

func FuzzCloseRequest(f *testing.F) { fuzzMessage(f, smb2.ParseCloseRequest, "close_request") }

func FuzzCloseResponse(f *testing.F) { fuzzMessage(f, smb2.ParseCloseResponse, "close_response") }

func FuzzFlushRequest(f *testing.F) { fuzzMessage(f, smb2.ParseFlushRequest, "flush_request") }

func FuzzFlushResponse(f *testing.F) { fuzzMessage(f, smb2.ParseFlushResponse, "flush_response") }

func FuzzReadRequest(f *testing.F) { fuzzMessage(f, smb2.ParseReadRequest, "read_request") }

func FuzzReadResponse(f *testing.F) { fuzzMessage(f, smb2.ParseReadResponse, "read_response") }

func FuzzWriteRequest(f *testing.F) { fuzzMessage(f, smb2.ParseWriteRequest, "write_request") }

func FuzzWriteResponse(f *testing.F) { fuzzMessage(f, smb2.ParseWriteResponse, "write_response") }

func FuzzLockRequest(f *testing.F) { fuzzMessage(f, smb2.ParseLockRequest, "lock_request") }

func FuzzLockResponse(f *testing.F) { fuzzMessage(f, smb2.ParseLockResponse, "lock_response") }

func FuzzIoctlRequest(f *testing.F) { fuzzMessage(f, smb2.ParseIoctlRequest, "ioctl_request") }

func FuzzIoctlResponse(f *testing.F) { fuzzMessage(f, smb2.ParseIoctlResponse, "ioctl_response") }

func FuzzCancelRequest(f *testing.F) { fuzzMessage(f, smb2.ParseCancelRequest, "cancel_request") }

func FuzzEchoRequest(f *testing.F) { fuzzMessage(f, smb2.ParseEchoRequest, "echo_request") }

func FuzzEchoResponse(f *testing.F) { fuzzMessage(f, smb2.ParseEchoResponse, "echo_response") }

func FuzzQueryDirectoryRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseQueryDirectoryRequest, "query_directory_request")
}

func FuzzQueryDirectoryResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseQueryDirectoryResponse, "query_directory_response")
}

func FuzzChangeNotifyRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseChangeNotifyRequest, "change_notify_request")
}

func FuzzChangeNotifyResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseChangeNotifyResponse, "change_notify_response")
}

func FuzzQueryInfoRequest(f *testing.F) {
	fuzzMessage(f, smb2.ParseQueryInfoRequest, "query_info_request")
}

func FuzzQueryInfoResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseQueryInfoResponse, "query_info_response")
}

func FuzzSetInfoRequest(f *testing.F) { fuzzMessage(f, smb2.ParseSetInfoRequest, "set_info_request") }

func FuzzSetInfoResponse(f *testing.F) {
	fuzzMessage(f, smb2.ParseSetInfoResponse, "set_info_response")
}

func FuzzOplockBreak(f *testing.F) { fuzzMessage(f, smb2.ParseOplockBreak, "oplock_break") }

func FuzzLeaseBreakNotification(f *testing.F) {
	fuzzMessage(f, smb2.ParseLeaseBreakNotification, "lease_break_notification")
}

func FuzzLeaseBreakAck(f *testing.F) {
	fuzzMessage(f, smb2.ParseLeaseBreakAck, "lease_break_ack", "lease_break_response")
}

func FuzzErrorResponse(f *testing.F) { fuzzMessage(f, smb2.ParseErrorResponse, "error_response") }

func FuzzHeader(f *testing.F) {
	for _, name := range wireNames(f, "") {
		f.Add(wire(f, name))
	}
	f.Fuzz(func(t *testing.T, msg []byte) { checkRoundTrip(t, smb2.ParseHeader, msg, 0) })
}

func FuzzTransformHeader(f *testing.F) {
	fuzzData(f, smb2.ParseTransformHeader, wire(f, "transform_request"), wire(f, "transform_response"))
}

func FuzzSMB1Negotiate(f *testing.F) {
	fuzzData(f, smb2.ParseSMB1Negotiate, wire(f, "negotiate_request_smb1"))
}

// FuzzFrame checks that ParseFrame and PutFrame are inverse.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2})
	f.Add([]byte{0x85, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := smb2.ParseFrame(b)
		if err != nil {
			require.ErrorIs(t, err, smb2.ErrMalformed)
			return
		}
		again := make([]byte, smb2.FrameLen)
		require.NoError(t, smb2.PutFrame(again, n))
		require.Equal(t, b[:smb2.FrameLen], again)
	})
}

// FuzzCompound cuts arbitrary bytes: the elements are in order, whole, and together they are the message.
func FuzzCompound(f *testing.F) {
	f.Add(wire(f, "compound_request"))
	f.Add(wire(f, "compound_response"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var joined []byte
		for rest := msg; rest != nil; {
			element, next, err := smb2.NextInCompound(rest)
			if err != nil {
				require.ErrorIs(t, err, smb2.ErrMalformed)
				return
			}
			require.GreaterOrEqual(t, len(element), smb2.HeaderLen+2)
			joined, rest = append(joined, element...), next
		}
		require.Equal(t, msg, joined)
	})
}
