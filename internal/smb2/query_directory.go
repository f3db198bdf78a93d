package smb2

import "github.com/uringfs/uringfs/internal/fscc"

// Flags of QUERY_DIRECTORY.
const (
	QueryDirRestartScans      uint8 = 0x01
	QueryDirReturnSingleEntry uint8 = 0x02
	QueryDirIndexSpecified    uint8 = 0x04
	QueryDirReopen            uint8 = 0x10
)

// QueryDirectoryRequest is SMB2 QUERY_DIRECTORY, [MS-SMB2] 2.2.33.
type QueryDirectoryRequest struct {
	Class              fscc.InfoClass
	Flags              uint8
	FileIndex          uint32
	FileID             FileID
	Pattern            string // at most 32767 UTF-16 units
	OutputBufferLength uint32 // bytes
}

// ParseQueryDirectoryRequest parses SMB2 QUERY_DIRECTORY.
func ParseQueryDirectoryRequest(msg []byte) (QueryDirectoryRequest, error) {
	const fixed = 32
	b, err := fixedPart(msg, "QUERY_DIRECTORY request", fixed, 33)
	if err != nil {
		return QueryDirectoryRequest{}, err
	}
	r := QueryDirectoryRequest{
		Class:              fscc.InfoClass(b[2]),
		Flags:              b[3],
		FileIndex:          le.Uint32(b[4:]),
		FileID:             parseFileID(b[8:]),
		OutputBufferLength: le.Uint32(b[28:]),
	}
	r.Pattern, err = nameRegion(msg, "QUERY_DIRECTORY pattern", HeaderLen+fixed, uint32(le.Uint16(b[24:])), uint32(le.Uint16(b[26:])))
	if err != nil {
		return QueryDirectoryRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r QueryDirectoryRequest) Append(b []byte) []byte {
	pattern := encodeName16(r.Pattern)
	b = le.AppendUint16(b, 33)
	b = append(b, uint8(r.Class), r.Flags)
	b = le.AppendUint32(b, r.FileIndex)
	b = r.FileID.append(b)
	b = le.AppendUint16(b, HeaderLen+32)
	b = le.AppendUint16(b, len16(pattern))
	b = le.AppendUint32(b, r.OutputBufferLength)
	return appendBuffer(b, pattern)
}

// outputBuffer is the layout that the answers to QUERY_DIRECTORY, QUERY_INFO and CHANGE_NOTIFY share.
func parseOutputBuffer(msg []byte, what string) ([]byte, error) {
	const fixed = 8
	b, err := fixedPart(msg, what, fixed, 9)
	if err != nil {
		return nil, err
	}
	return region(msg, what, HeaderLen+fixed, uint32(le.Uint16(b[2:])), le.Uint32(b[4:]))
}

func appendOutputBuffer(b, data []byte) []byte {
	b = appendOutputHeader(b, len(data))
	return appendBuffer(b, data)
}

func appendOutputHeader(b []byte, n int) []byte {
	b = le.AppendUint16(b, 9)
	b = le.AppendUint16(b, OutputBufferPrefix)
	return le.AppendUint32(b, len32(n))
}

// OutputBufferPrefix is the length of header and fixed part of the answers to QUERY_DIRECTORY, QUERY_INFO and CHANGE_NOTIFY,
// in bytes: whoever encodes entries in place begins there and calls [PutOutputBufferLength] afterwards.
const OutputBufferPrefix = HeaderLen + 8

// AppendOutputBufferHeader appends the fixed part of an answer to QUERY_DIRECTORY, QUERY_INFO or CHANGE_NOTIFY for n bytes that
// the caller appends right behind it. With n 0 the body is complete only with one more zero byte.
func AppendOutputBufferHeader(b []byte, n int) []byte { return appendOutputHeader(b, n) }

// PutOutputBufferLength writes the length n, in bytes, into an encoded answer; msg begins with its header.
func PutOutputBufferLength(msg []byte, n int) { le.PutUint32(msg[HeaderLen+4:], len32(n)) }

// QueryDirectoryResponse is the answer to SMB2 QUERY_DIRECTORY, [MS-SMB2] 2.2.34.
type QueryDirectoryResponse struct {
	Buffer []byte // entries of the class that was asked for, see internal/fscc
}

// ParseQueryDirectoryResponse parses the answer to SMB2 QUERY_DIRECTORY. Buffer aliases msg.
func ParseQueryDirectoryResponse(msg []byte) (QueryDirectoryResponse, error) {
	b, err := parseOutputBuffer(msg, "QUERY_DIRECTORY response")
	return QueryDirectoryResponse{Buffer: b}, err
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r QueryDirectoryResponse) Append(b []byte) []byte { return appendOutputBuffer(b, r.Buffer) }
