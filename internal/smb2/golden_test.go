package smb2_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/smb2"
)

// golden is a recorded message and what it says.
type golden struct {
	name  string // a file of testdata/wire
	parse func([]byte) (appender, error)
	want  func(t *testing.T, msg []byte) appender
	// again tells whether Append gives the same bytes. Where it differs, the peer used a freedom of the format: an offset
	// for an empty region, padding at the end, a value in a reserved field.
	again bool
}

const (
	same    = true
	differs = false
)

func as[T appender](parse func([]byte) (T, error)) func([]byte) (appender, error) {
	return func(msg []byte) (appender, error) { return parse(msg) }
}

func TestGoldenMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range goldenMessages() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			msg := wire(t, tt.name)
			got, err := tt.parse(msg)
			require.NoError(t, err)
			require.Equal(t, tt.want(t, msg), got)
			n := smb2.HeaderLen
			if smb2.ProtocolOf(msg) == smb2.ProtocolSMB1 {
				n = 0
			}
			again := got.Append(append([]byte(nil), msg[:n]...))
			if tt.again {
				assert.Equal(t, msg, again)
			} else {
				assert.NotEqual(t, msg, again, "the row should say same")
			}
		})
	}
}

// Long byte slices are given by their place in the message.
func goldenMessages() []golden {
	return []golden{
		{"cancel_request", as(smb2.ParseCancelRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CancelRequest{}
		}, same},
		{"change_notify_request", as(smb2.ParseChangeNotifyRequest), func(t *testing.T, msg []byte) appender {
			return smb2.ChangeNotifyRequest{Flags: 0x1, OutputBufferLength: 0x3e8, FileID: smb2.FileID{Persistent: 0x7b0fbc0, Volatile: 0xf6b50d56}, CompletionFilter: 0x3}
		}, same},
		{"change_notify_response", as(smb2.ParseChangeNotifyResponse), func(t *testing.T, msg []byte) appender {
			return smb2.ChangeNotifyResponse{Buffer: msg[72:216]}
		}, same},
		{"close_request", as(smb2.ParseCloseRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CloseRequest{FileID: smb2.FileID{Persistent: 0xc7ef5dd2, Volatile: 0x38a54425}}
		}, same},
		{"close_request_postquery", as(smb2.ParseCloseRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CloseRequest{Flags: 0x1, FileID: smb2.FileID{Persistent: 0x1e021e34, Volatile: 0x5cf87d7c}}
		}, same},
		{"close_response", as(smb2.ParseCloseResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CloseResponse{}
		}, same},
		{"close_response_postquery", as(smb2.ParseCloseResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CloseResponse{
				Flags:        0x1,
				CreationTime: 134399666738765895, LastAccessTime: 134399666739021493, LastWriteTime: 134399666739060736, ChangeTime: 134399666739060736, AllocationSize: 65536, EndOfFile: 65536, FileAttributes: 0x20,
			}
		}, same},
		{"create_request", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{Impersonation: 0x2, DesiredAccess: 0x12019f, ShareAccess: 0x3, Disposition: 0x5, Options: 0x40, Name: "a.txt"}
		}, differs},
		{"create_request_contexts", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{
				DesiredAccess: 0x2000000, FileAttributes: 0x80, ShareAccess: 0x7, Disposition: 0x5, Options: 0x200064, Name: "test_create.dat",
				Contexts: []smb2.CreateContext{
					{Name: "MxAc"},
					{Name: "AlSi", Data: hexdump.Bytes(t, "0000100000000000")},
					{Name: "DHnQ", Data: hexdump.Bytes(t, "00000000000000000000000000000000")},
					{Name: "TWrp", Data: hexdump.Bytes(t, "1027000000000000")},
				},
			}
		}, differs},
		{"create_request_durable2", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{
				Oplock: 0x9, Impersonation: 0x2, DesiredAccess: 0x1f01ff, FileAttributes: 0x80, Disposition: 0x3, Options: 0x200064, Name: "durable_v2_open_reopen1_zhY63bF#.dat",
				Contexts: []smb2.CreateContext{{Name: "DH2Q", Data: hexdump.Bytes(t, "ffffffff000000000000000000000000ba8071a7219ef5488a74d419a890a3dd")}},
			}
		}, same},
		{"create_request_lease1", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{
				Oplock: 0xff, Impersonation: 0x2, DesiredAccess: 0x1f01ff, FileAttributes: 0x80, ShareAccess: 0x7, Disposition: 0x3, Options: 0x200064, Name: "lease_break.dat",
				Contexts: []smb2.CreateContext{{Name: "RqLs", Data: hexdump.Bytes(t, "0df0dde0fe0fdcbaf20f221f01f0234501000000000000000000000000000000")}},
			}
		}, same},
		{"create_request_lease2", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{
				Oplock: 0xff, Impersonation: 0x2, DesiredAccess: 0x1f01ff, FileAttributes: 0x80, ShareAccess: 0x7, Disposition: 0x3, Options: 0x200064, Name: "lease_v2_epoch1.dat",
				Contexts: []smb2.CreateContext{{Name: "RqLs", Data: msg[184:236]}},
			}
		}, same},
		{"create_request_reconnect1", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{
				Oplock: 0x78, Impersonation: 0x12345678, DesiredAccess: 0x12345678, FileAttributes: 0x12345678, ShareAccess: 0x12345678, Disposition: 0x12345678, Options: 0x12345678, Name: "__non_existing_fname__",
				Contexts: []smb2.CreateContext{{Name: "DHnC", Data: hexdump.Bytes(t, "8e6d805e000000003ae0bba100000000")}},
			}
		}, differs},
		{"create_request_reconnect2", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{
				Contexts: []smb2.CreateContext{{Name: "DH2C", Data: hexdump.Bytes(t, "626197ed0000000088293fc900000000ba8071a7219ef5488a74d419a890a3dd00000000")}},
			}
		}, same},
		{"create_request_root", as(smb2.ParseCreateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.CreateRequest{Impersonation: 0x2, DesiredAccess: 0x81, FileAttributes: 0x10, ShareAccess: 0x3, Disposition: 0x1, Options: 0x1}
		}, same},
		{"create_response", as(smb2.ParseCreateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CreateResponse{
				Action:       0x2,
				CreationTime: 134399666155620021, LastAccessTime: 134399666155620021, LastWriteTime: 134399666155620021, ChangeTime: 134399666155620021, FileAttributes: 0x20, FileID: smb2.FileID{Persistent: 0xc7ef5dd2, Volatile: 0x38a54425},
			}
		}, same},
		{"create_response_contexts", as(smb2.ParseCreateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CreateResponse{
				Action:       0x3,
				CreationTime: 134399666752968698, LastAccessTime: 134399666752968698, LastWriteTime: 134399666753081763, ChangeTime: 134399666753081763, AllocationSize: 1048576, FileAttributes: 0x20, FileID: smb2.FileID{Persistent: 0x8f782790, Volatile: 0xae821823},
				Contexts: []smb2.CreateContext{{Name: "MxAc", Data: hexdump.Bytes(t, "00000000ff011f00")}},
			}
		}, same},
		{"create_response_durable2", as(smb2.ParseCreateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CreateResponse{
				Oplock: 0x9, Action: 0x2,
				CreationTime: 134399666689547361, LastAccessTime: 134399666689547361, LastWriteTime: 134399666689547361, ChangeTime: 134399666689547361, FileAttributes: 0x20, FileID: smb2.FileID{Persistent: 0xed976162, Volatile: 0xc93f2988},
				Contexts: []smb2.CreateContext{{Name: "DH2Q", Data: hexdump.Bytes(t, "e093040000000000")}},
			}
		}, same},
		{"create_response_lease1", as(smb2.ParseCreateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CreateResponse{
				Oplock: 0xff, Action: 0x2,
				CreationTime: 134399666437391251, LastAccessTime: 134399666437391251, LastWriteTime: 134399666437391251, ChangeTime: 134399666437391251, FileAttributes: 0x20, FileID: smb2.FileID{Persistent: 0xcd605302, Volatile: 0x89293a90},
				Contexts: []smb2.CreateContext{{Name: "RqLs", Data: hexdump.Bytes(t, "0df0dde0fe0fdcbaf20f221f01f0234501000000000000000000000000000000")}},
			}
		}, same},
		{"create_response_lease2", as(smb2.ParseCreateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.CreateResponse{
				Oplock: 0xff, Action: 0x2,
				CreationTime: 134399666684618830, LastAccessTime: 134399666684618830, LastWriteTime: 134399666684618830, ChangeTime: 134399666684618830, FileAttributes: 0x20, FileID: smb2.FileID{Persistent: 0x4e238ddc, Volatile: 0x58871e19},
				Contexts: []smb2.CreateContext{{Name: "RqLs", Data: msg[176:228]}},
			}
		}, same},
		{"echo_request", as(smb2.ParseEchoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.EchoRequest{}
		}, same},
		{"echo_response", as(smb2.ParseEchoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.EchoResponse{}
		}, same},
		{"error_response_logon_failure", as(smb2.ParseErrorResponse), func(t *testing.T, msg []byte) appender {
			return smb2.ErrorResponse{}
		}, same},
		{"error_response_no_more_files", as(smb2.ParseErrorResponse), func(t *testing.T, msg []byte) appender {
			return smb2.ErrorResponse{}
		}, same},
		{"error_response_pending", as(smb2.ParseErrorResponse), func(t *testing.T, msg []byte) appender {
			return smb2.ErrorResponse{}
		}, differs},
		{"error_response_session_deleted", as(smb2.ParseErrorResponse), func(t *testing.T, msg []byte) appender {
			return smb2.ErrorResponse{}
		}, same},
		{"flush_request", as(smb2.ParseFlushRequest), func(t *testing.T, msg []byte) appender {
			return smb2.FlushRequest{FileID: smb2.FileID{Persistent: 0x4a269209, Volatile: 0x85bb15e6}}
		}, same},
		{"flush_response", as(smb2.ParseFlushResponse), func(t *testing.T, msg []byte) appender {
			return smb2.FlushResponse{}
		}, same},
		{"ioctl_request_copychunk", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x1440f2, FileID: smb2.FileID{Persistent: 0xd9f3e81d, Volatile: 0x629c9773}, Input: msg[120:176], MaxOutputResponse: 0xc, Flags: 0x1}
		}, same},
		{"ioctl_request_pipe_bind", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x11c017, FileID: smb2.FileID{Persistent: 0xa9f2255c, Volatile: 0xa96927d0}, Input: msg[120:192], MaxOutputResponse: 0x10b8, Flags: 0x1}
		}, differs},
		{"ioctl_request_pipe_enum", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x11c017, FileID: smb2.FileID{Persistent: 0xa9f2255c, Volatile: 0xa96927d0}, Input: msg[120:212], MaxOutputResponse: 0x10b8, Flags: 0x1}
		}, differs},
		{"ioctl_request_ranges", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x940cf, FileID: smb2.FileID{Persistent: 0xfe82306b, Volatile: 0x5a7da7ee}, Input: hexdump.Bytes(t, "00000000000000000010000000000000"), MaxOutputResponse: 0x400, Flags: 0x1}
		}, same},
		{"ioctl_request_resume_key", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x140078, FileID: smb2.FileID{Persistent: 0x1bfae1b5, Volatile: 0x1b94b903}, MaxOutputResponse: 0x20, Flags: 0x1}
		}, same},
		{"ioctl_request_set_sparse", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x900c4, FileID: smb2.FileID{Persistent: 0xfe82306b, Volatile: 0x5a7da7ee}, Input: hexdump.Bytes(t, "ff"), Flags: 0x1}
		}, same},
		{"ioctl_request_validate", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x140204, FileID: smb2.FileID{Persistent: 0xffffffffffffffff, Volatile: 0xffffffffffffffff}, Input: hexdump.Bytes(t, "7f000000bc0a5f424f47aa4b8282697a407f0dd1010001000003"), MaxOutputResponse: 0x18, Flags: 0x1}
		}, differs},
		{"ioctl_request_zero_data", as(smb2.ParseIoctlRequest), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlRequest{Code: 0x980c8, FileID: smb2.FileID{Persistent: 0xfe82306b, Volatile: 0x5a7da7ee}, Input: hexdump.Bytes(t, "00000000000000000010000000000000"), Flags: 0x1}
		}, same},
		{"ioctl_response_copychunk", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x1440f2, FileID: smb2.FileID{Persistent: 0xd9f3e81d, Volatile: 0x629c9773}, Output: hexdump.Bytes(t, "010000000000000000100000")}
		}, same},
		{"ioctl_response_interfaces", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x1401fc, FileID: smb2.FileID{Persistent: 0xffffffffffffffff, Volatile: 0xffffffffffffffff}, Output: msg[112:264]}
		}, same},
		{"ioctl_response_pipe_bind", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x11c017, FileID: smb2.FileID{Persistent: 0xa9f2255c, Volatile: 0xa96927d0}, Output: msg[112:180]}
		}, same},
		{"ioctl_response_pipe_enum", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x11c017, FileID: smb2.FileID{Persistent: 0xa9f2255c, Volatile: 0xa96927d0}, Output: msg[112:340]}
		}, same},
		{"ioctl_response_ranges", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x940cf, FileID: smb2.FileID{Persistent: 0xfe82306b, Volatile: 0x5a7da7ee}, Output: hexdump.Bytes(t, "00000000000000000010000000000000")}
		}, same},
		{"ioctl_response_resume_key", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x140078, FileID: smb2.FileID{Persistent: 0x1bfae1b5, Volatile: 0x1b94b903}, Output: hexdump.Bytes(t, "b5e1fa1b0000000003b9941b0000000078001400000000000000000000000000")}
		}, same},
		{"ioctl_response_validate", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x140204, FileID: smb2.FileID{Persistent: 0xffffffffffffffff, Volatile: 0xffffffffffffffff}, Output: hexdump.Bytes(t, "4e00000066696c6573657276657200000000000001000003")}
		}, same},
		{"ioctl_response_zero_data", as(smb2.ParseIoctlResponse), func(t *testing.T, msg []byte) appender {
			return smb2.IoctlResponse{Code: 0x980c8, FileID: smb2.FileID{Persistent: 0xfe82306b, Volatile: 0x5a7da7ee}}
		}, same},
		{"lease_break_ack", as(smb2.ParseLeaseBreakAck), func(t *testing.T, msg []byte) appender {
			return smb2.LeaseBreakAck{LeaseKey: [16]uint8{0xd, 0xf0, 0xdd, 0xe0, 0xfe, 0xf, 0xdc, 0xba, 0xf2, 0xf, 0x22, 0x1f, 0x1, 0xf0, 0x23, 0x45}, State: 0x1}
		}, same},
		{"lease_break_notification", as(smb2.ParseLeaseBreakNotification), func(t *testing.T, msg []byte) appender {
			return smb2.LeaseBreakNotification{Flags: 0x1, LeaseKey: [16]uint8{0xd, 0xf0, 0xdd, 0xe0, 0xfe, 0xf, 0xdc, 0xba, 0xf2, 0xf, 0x22, 0x1f, 0x1, 0xf0, 0x23, 0x45}, CurrentState: 0x5, NewState: 0x1}
		}, same},
		{"lease_break_response", as(smb2.ParseLeaseBreakAck), func(t *testing.T, msg []byte) appender {
			return smb2.LeaseBreakAck{LeaseKey: [16]uint8{0xd, 0xf0, 0xdd, 0xe0, 0xfe, 0xf, 0xdc, 0xba, 0xf2, 0xf, 0x22, 0x1f, 0x1, 0xf0, 0x23, 0x45}, State: 0x1}
		}, same},
		{"lock_request", as(smb2.ParseLockRequest), func(t *testing.T, msg []byte) appender {
			return smb2.LockRequest{FileID: smb2.FileID{Persistent: 0x4d6c827c, Volatile: 0xc1aeb45e}, Locks: []smb2.LockElement{{Offset: 0x64, Length: 0xa, Flags: 0x2}}}
		}, same},
		{"lock_response", as(smb2.ParseLockResponse), func(t *testing.T, msg []byte) appender {
			return smb2.LockResponse{}
		}, same},
		{"logoff_request", as(smb2.ParseLogoffRequest), func(t *testing.T, msg []byte) appender {
			return smb2.LogoffRequest{}
		}, same},
		{"logoff_response", as(smb2.ParseLogoffResponse), func(t *testing.T, msg []byte) appender {
			return smb2.LogoffResponse{}
		}, same},
		{"negotiate_request_300", as(smb2.ParseNegotiateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateRequest{SecurityMode: 0x1, Capabilities: 0x7f, ClientGUID: smb2.GUID{0xbc, 0xa, 0x5f, 0x42, 0x4f, 0x47, 0xaa, 0x4b, 0x82, 0x82, 0x69, 0x7a, 0x40, 0x7f, 0xd, 0xd1}, Dialects: []smb2.Dialect{0x300}}
		}, same},
		{"negotiate_request_311", as(smb2.ParseNegotiateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateRequest{
				SecurityMode: 0x1, Capabilities: 0x7f, ClientGUID: smb2.GUID{0x1a, 0x25, 0x6a, 0x3c, 0xee, 0xd, 0xe5, 0x45, 0xb8, 0x3b, 0x1f, 0xf5, 0x3a, 0xea, 0x4c, 0xa0}, Dialects: []smb2.Dialect{0x202, 0x210, 0x300, 0x302, 0x311},
				Contexts: []smb2.NegotiateContext{
					{Type: 0x1, Data: hexdump.Bytes(t, "010020000100ca8622f7ce5fd4dd5cb42a7a7b7873a71cc67abd30c56f717cedf6074822c2cc")},
					{Type: 0x2, Data: hexdump.Bytes(t, "04000200010004000300")},
					{Type: 0x8, Data: hexdump.Bytes(t, "0300020001000000")},
					{Type: 0x5, Data: hexdump.Bytes(t, "3100320037002e0030002e0030002e003100")},
				},
			}
		}, same},
		{"negotiate_request_gosmb2", as(smb2.ParseNegotiateRequest), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateRequest{
				SecurityMode: 0x1, Capabilities: 0x44, ClientGUID: smb2.GUID{0x13, 0xd7, 0xcb, 0x2a, 0x52, 0xe1, 0x65, 0x40, 0xb6, 0x45, 0xf0, 0xe3, 0x51, 0xbe, 0x85, 0xfd}, Dialects: []smb2.Dialect{0x311, 0x302, 0x300, 0x210, 0x202},
				Contexts: []smb2.NegotiateContext{
					{Type: 0x1, Data: hexdump.Bytes(t, "01002000010096ff404c8b9cb2607048141cc4ce06747365b4b191e68f9fef9c9a7c4115d832")},
					{Type: 0x2, Data: hexdump.Bytes(t, "020002000100")},
				},
			}
		}, same},
		{"negotiate_request_smb1", as(smb2.ParseSMB1Negotiate), func(t *testing.T, msg []byte) appender {
			return smb2.SMB1Negotiate{Dialects: []string{"NT LANMAN 1.0", "NT LM 0.12", "SMB 2.002", "SMB 2.???"}}
		}, same},
		{"negotiate_response_2ff", as(smb2.ParseNegotiateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateResponse{SecurityMode: 0x1, Dialect: 0x2ff, ServerGUID: smb2.GUID{0x66, 0x69, 0x6c, 0x65, 0x73, 0x65, 0x72, 0x76, 0x65, 0x72, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0}, Capabilities: 0x6, MaxTransactSize: 0x800000, MaxReadSize: 0x800000, MaxWriteSize: 0x800000, SystemTime: 134399666185641920, SecurityBuffer: msg[128:202]}
		}, same},
		{"negotiate_response_300", as(smb2.ParseNegotiateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateResponse{SecurityMode: 0x1, Dialect: 0x300, ServerGUID: smb2.GUID{0x66, 0x69, 0x6c, 0x65, 0x73, 0x65, 0x72, 0x76, 0x65, 0x72, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0}, Capabilities: 0x4e, MaxTransactSize: 0x800000, MaxReadSize: 0x800000, MaxWriteSize: 0x800000, SystemTime: 134399666172053300, SecurityBuffer: msg[128:202]}
		}, same},
		{"negotiate_response_311", as(smb2.ParseNegotiateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateResponse{
				SecurityMode: 0x1, Dialect: 0x311, ServerGUID: smb2.GUID{0x66, 0x69, 0x6c, 0x65, 0x73, 0x65, 0x72, 0x76, 0x65, 0x72, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0}, Capabilities: 0xe, MaxTransactSize: 0x800000, MaxReadSize: 0x800000, MaxWriteSize: 0x800000, SystemTime: 134399666155392200, SecurityBuffer: msg[128:202],
				Contexts: []smb2.NegotiateContext{
					{Type: 0x1, Data: hexdump.Bytes(t, "010020000100a6278a136084a69a5ad9a17a4cfab421a31175cae8071b07ca602f571e82e176")},
					{Type: 0x2, Data: hexdump.Bytes(t, "01000200")},
					{Type: 0x8, Data: hexdump.Bytes(t, "01000200")},
				},
			}
		}, same},
		{"negotiate_response_gosmb2", as(smb2.ParseNegotiateResponse), func(t *testing.T, msg []byte) appender {
			return smb2.NegotiateResponse{
				SecurityMode: 0x1, Dialect: 0x311, ServerGUID: smb2.GUID{0x66, 0x69, 0x6c, 0x65, 0x73, 0x65, 0x72, 0x76, 0x65, 0x72, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0}, Capabilities: 0x6, MaxTransactSize: 0x800000, MaxReadSize: 0x800000, MaxWriteSize: 0x800000, SystemTime: 134399666190124890, SecurityBuffer: msg[128:202],
				Contexts: []smb2.NegotiateContext{
					{Type: 0x1, Data: hexdump.Bytes(t, "0100200001009e879f80e046b3d2f0cb759996b88892061986b37f8e1ffcb5259590772d0904")},
					{Type: 0x2, Data: hexdump.Bytes(t, "01000200")},
				},
			}
		}, same},
		{"oplock_break_ack", as(smb2.ParseOplockBreak), func(t *testing.T, msg []byte) appender {
			return smb2.OplockBreak{Level: 0x1, FileID: smb2.FileID{Persistent: 0x2f406d8, Volatile: 0x11a1e78d}}
		}, same},
		{"oplock_break_notification", as(smb2.ParseOplockBreak), func(t *testing.T, msg []byte) appender {
			return smb2.OplockBreak{Level: 0x1, FileID: smb2.FileID{Persistent: 0x2f406d8, Volatile: 0x11a1e78d}}
		}, same},
		{"oplock_break_response", as(smb2.ParseOplockBreak), func(t *testing.T, msg []byte) appender {
			return smb2.OplockBreak{Level: 0x1, FileID: smb2.FileID{Persistent: 0x2f406d8, Volatile: 0x11a1e78d}}
		}, same},
		{"query_directory_request", as(smb2.ParseQueryDirectoryRequest), func(t *testing.T, msg []byte) appender {
			return smb2.QueryDirectoryRequest{Class: 0x25, FileID: smb2.FileID{Persistent: 0x4327cc29, Volatile: 0x161b4da8}, Pattern: "*", OutputBufferLength: 0x800000}
		}, same},
		{"query_directory_response", as(smb2.ParseQueryDirectoryResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryDirectoryResponse{Buffer: msg[72:642]}
		}, same},
		{"query_directory_response_names", as(smb2.ParseQueryDirectoryResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryDirectoryResponse{Buffer: msg[72:136]}
		}, same},
		{"query_info_request_all", as(smb2.ParseQueryInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoRequest{Type: 0x1, Class: 0x12, OutputBufferLength: 0xffff, FileID: smb2.FileID{Persistent: 0xd6665b02, Volatile: 0x1de7c5e5}}
		}, same},
		{"query_info_request_fs_volume", as(smb2.ParseQueryInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoRequest{Type: 0x2, Class: 0x1, OutputBufferLength: 0x10000, FileID: smb2.FileID{Persistent: 0x7232c913, Volatile: 0x5a4d8309}}
		}, same},
		{"query_info_response_all", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: msg[72:184]}
		}, same},
		{"query_info_response_alternate", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "12000000740065007300740039002e00640061007400")}
		}, same},
		{"query_info_response_basic", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "1648eee7c87bdd011648eee7c87bdd011648eee7c87bdd011648eee7c87bdd012000000000000000")}
		}, same},
		{"query_info_response_fs_attribute", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "6f000100ff000000080000004e00540046005300")}
		}, same},
		{"query_info_response_fs_control", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: msg[69:117]}
		}, same},
		{"query_info_response_fs_device", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "0700000020000000")}
		}, same},
		{"query_info_response_fs_full_size", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "748ebf0f000000009c69e504000000009c69e504000000000200000000020000")}
		}, same},
		{"query_info_response_fs_object_id", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: msg[72:136]}
		}, same},
		{"query_info_response_fs_sector_size", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "00020000000200000002000000020000030000000000000000000000")}
		}, same},
		{"query_info_response_fs_size", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "748ebf0f00000000bc69e504000000000200000000020000")}
		}, same},
		{"query_info_response_fs_volume", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "6d0ed6e8c87bdd013d3cbec00a000000000073006800610072006500")}
		}, same},
		{"query_info_response_stream", as(smb2.ParseQueryInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.QueryInfoResponse{Buffer: hexdump.Bytes(t, "000000000e000000000001000000000000000100000000003a003a0024004400410054004100")}
		}, same},
		{"read_request", as(smb2.ParseReadRequest), func(t *testing.T, msg []byte) appender {
			return smb2.ReadRequest{Length: 0x12c, FileID: smb2.FileID{Persistent: 0xd6665b02, Volatile: 0x1de7c5e5}}
		}, same},
		{"read_response", as(smb2.ParseReadResponse), func(t *testing.T, msg []byte) appender {
			return smb2.ReadResponse{Data: msg[80:380]}
		}, same},
		{"session_setup_request_1", as(smb2.ParseSessionSetupRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SessionSetupRequest{SecurityMode: 0x1, Capabilities: 0x1, SecurityBuffer: msg[88:162]}
		}, same},
		{"session_setup_request_2", as(smb2.ParseSessionSetupRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SessionSetupRequest{SecurityMode: 0x1, Capabilities: 0x1, SecurityBuffer: msg[88:518]}
		}, same},
		{"session_setup_response_1", as(smb2.ParseSessionSetupResponse), func(t *testing.T, msg []byte) appender {
			return smb2.SessionSetupResponse{SecurityBuffer: msg[72:251]}
		}, same},
		{"session_setup_response_2", as(smb2.ParseSessionSetupResponse), func(t *testing.T, msg []byte) appender {
			return smb2.SessionSetupResponse{SecurityBuffer: hexdump.Bytes(t, "a11b3019a0030a0100a31204100100000063e1c7ca1a0a61e400000000")}
		}, same},
		{"set_info_request_basic", as(smb2.ParseSetInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SetInfoRequest{Type: 0x1, Class: 0x4, FileID: smb2.FileID{Persistent: 0xcb3a8469, Volatile: 0xd6817a86}, Buffer: hexdump.Bytes(t, "ffffffffffffffffffffffffffffffff0000000000000000ffffffffffffffff2100000000000000")}
		}, same},
		{"set_info_request_disposition", as(smb2.ParseSetInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SetInfoRequest{Type: 0x1, Class: 0xd, FileID: smb2.FileID{Persistent: 0x2480fe26, Volatile: 0x86de78d6}, Buffer: hexdump.Bytes(t, "01")}
		}, same},
		{"set_info_request_end_of_file", as(smb2.ParseSetInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SetInfoRequest{Type: 0x1, Class: 0x14, FileID: smb2.FileID{Persistent: 0x4a269209, Volatile: 0x85bb15e6}, Buffer: hexdump.Bytes(t, "0500000000000000")}
		}, same},
		{"set_info_request_link", as(smb2.ParseSetInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SetInfoRequest{Type: 0x1, Class: 0xb, FileID: smb2.FileID{Persistent: 0xaa2b4f2c, Volatile: 0xbf5fb946}, Buffer: hexdump.Bytes(t, "000000000000000000000000000000000c0000005c0065002e00740078007400")}
		}, same},
		{"set_info_request_rename", as(smb2.ParseSetInfoRequest), func(t *testing.T, msg []byte) appender {
			return smb2.SetInfoRequest{Type: 0x1, Class: 0xa, FileID: smb2.FileID{Persistent: 0x341d265c, Volatile: 0xc08ab81a}, Buffer: hexdump.Bytes(t, "000000000000000000000000000000000a00000062002e00740078007400")}
		}, same},
		{"set_info_response", as(smb2.ParseSetInfoResponse), func(t *testing.T, msg []byte) appender {
			return smb2.SetInfoResponse{}
		}, same},
		{"tree_connect_request", as(smb2.ParseTreeConnectRequest), func(t *testing.T, msg []byte) appender {
			return smb2.TreeConnectRequest{Path: "\\\\127.0.0.1\\share"}
		}, same},
		{"tree_connect_request_port", as(smb2.ParseTreeConnectRequest), func(t *testing.T, msg []byte) appender {
			return smb2.TreeConnectRequest{Path: "\\\\127.0.0.1:44580\\IPC$"}
		}, same},
		{"tree_connect_response", as(smb2.ParseTreeConnectResponse), func(t *testing.T, msg []byte) appender {
			return smb2.TreeConnectResponse{ShareType: 0x1, MaximalAccess: 0x1f01ff}
		}, same},
		{"tree_connect_response_ipc", as(smb2.ParseTreeConnectResponse), func(t *testing.T, msg []byte) appender {
			return smb2.TreeConnectResponse{ShareType: 0x2, MaximalAccess: 0x1f00a9}
		}, same},
		{"tree_disconnect_request", as(smb2.ParseTreeDisconnectRequest), func(t *testing.T, msg []byte) appender {
			return smb2.TreeDisconnectRequest{}
		}, same},
		{"tree_disconnect_response", as(smb2.ParseTreeDisconnectResponse), func(t *testing.T, msg []byte) appender {
			return smb2.TreeDisconnectResponse{}
		}, same},
		{"write_request", as(smb2.ParseWriteRequest), func(t *testing.T, msg []byte) appender {
			return smb2.WriteRequest{FileID: smb2.FileID{Persistent: 0xc7ef5dd2, Volatile: 0x38a54425}, Data: msg[112:412]}
		}, same},
		{"write_response", as(smb2.ParseWriteResponse), func(t *testing.T, msg []byte) appender {
			return smb2.WriteResponse{Count: 0x12c}
		}, same},
	}
}

// TestEveryRecordingIsUsed keeps files from lying about untested.
func TestEveryRecordingIsUsed(t *testing.T) {
	t.Parallel()
	elsewhere := []string{"compound_request", "compound_response", "transform_request", "transform_response"}
	var want []string
	for _, g := range goldenMessages() {
		want = append(want, g.name)
	}
	assert.ElementsMatch(t, append(want, elsewhere...), wireNames(t, ""))
}
