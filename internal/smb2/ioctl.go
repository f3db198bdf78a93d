package smb2

import "fmt"

// FSCTL is the control code of IOCTL.
type FSCTL uint32

// Control codes, [MS-SMB2] 2.2.31 and [MS-FSCC] 2.3.
const (
	FsctlDFSGetReferrals        FSCTL = 0x00060194
	FsctlDFSGetReferralsEx      FSCTL = 0x000601B0
	FsctlPipePeek               FSCTL = 0x0011400C
	FsctlPipeWait               FSCTL = 0x00110018
	FsctlPipeTransceive         FSCTL = 0x0011C017
	FsctlSetReparsePoint        FSCTL = 0x000900A4
	FsctlGetReparsePoint        FSCTL = 0x000900A8
	FsctlDeleteReparsePoint     FSCTL = 0x000900AC
	FsctlCreateOrGetObjectID    FSCTL = 0x000900C0
	FsctlSetSparse              FSCTL = 0x000900C4
	FsctlSetZeroData            FSCTL = 0x000980C8
	FsctlQueryAllocatedRanges   FSCTL = 0x000940CF
	FsctlGetCompression         FSCTL = 0x0009003C
	FsctlSetCompression         FSCTL = 0x0009C040
	FsctlFileLevelTrim          FSCTL = 0x00098208
	FsctlGetIntegrityInfo       FSCTL = 0x0009027C
	FsctlSetIntegrityInfo       FSCTL = 0x0009C280
	FsctlDuplicateExtents       FSCTL = 0x00098344
	FsctlOffloadRead            FSCTL = 0x00094264
	FsctlOffloadWrite           FSCTL = 0x00098268
	FsctlSrvEnumerateSnapshots  FSCTL = 0x00144064
	FsctlSrvRequestResumeKey    FSCTL = 0x00140078
	FsctlSrvCopychunk           FSCTL = 0x001440F2
	FsctlSrvCopychunkWrite      FSCTL = 0x001480F2
	FsctlSrvReadHash            FSCTL = 0x001441BB
	FsctlLMRRequestResiliency   FSCTL = 0x001401D4
	FsctlQueryNetworkInterfaces FSCTL = 0x001401FC
	FsctlValidateNegotiateInfo  FSCTL = 0x00140204
)

// String returns the code in hexadecimal.
func (c FSCTL) String() string { return fmt.Sprintf("FSCTL %#08x", uint32(c)) }

// IoctlIsFsctl is the only legal value of Flags in an IOCTL request.
const IoctlIsFsctl uint32 = 1

// IoctlRequest is SMB2 IOCTL, [MS-SMB2] 2.2.31.
type IoctlRequest struct {
	Code              FSCTL
	FileID            FileID // FileIDAny for codes that act on the tree or connection
	Input             []byte
	MaxInputResponse  uint32 // bytes
	Output            []byte // clients send none
	MaxOutputResponse uint32 // bytes
	Flags             uint32
}

// ParseIoctlRequest parses SMB2 IOCTL. Input and Output alias msg.
func ParseIoctlRequest(msg []byte) (IoctlRequest, error) {
	const fixed = 56
	b, err := fixedPart(msg, "IOCTL request", fixed, 57)
	if err != nil {
		return IoctlRequest{}, err
	}
	r := IoctlRequest{
		Code:              FSCTL(le.Uint32(b[4:])),
		FileID:            parseFileID(b[8:]),
		MaxInputResponse:  le.Uint32(b[32:]),
		MaxOutputResponse: le.Uint32(b[44:]),
		Flags:             le.Uint32(b[48:]),
	}
	r.Input, err = region(msg, "IOCTL input", HeaderLen+fixed, le.Uint32(b[24:]), le.Uint32(b[28:]))
	if err != nil {
		return IoctlRequest{}, err
	}
	r.Output, err = region(msg, "IOCTL output", HeaderLen+fixed, le.Uint32(b[36:]), le.Uint32(b[40:]))
	if err != nil {
		return IoctlRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r IoctlRequest) Append(b []byte) []byte {
	start := len(b) - HeaderLen
	b = le.AppendUint16(b, 57)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, uint32(r.Code))
	b = r.FileID.append(b)
	at := len(b)
	b = appendZeros(b, 24)
	b = le.AppendUint32(b, r.Flags)
	b = append(b, 0, 0, 0, 0)
	le.PutUint32(b[at+8:], r.MaxInputResponse)
	le.PutUint32(b[at+20:], r.MaxOutputResponse)
	if len(r.Input)+len(r.Output) == 0 {
		return append(b, 0)
	}
	b = putRegion32(b, start, at, r.Input)
	return putRegion32(b, start, at+12, r.Output)
}

// putRegion32 appends data, 8-aligned, and writes its 32-bit offset and length to b[at:]; no data is offset 0.
func putRegion32(b []byte, start, at int, data []byte) []byte {
	if len(data) == 0 {
		return b
	}
	b = alignFrom(b, start)
	le.PutUint32(b[at:], len32(len(b)-start))
	le.PutUint32(b[at+4:], len32(len(data)))
	return append(b, data...)
}

// IoctlResponse is the answer to SMB2 IOCTL, [MS-SMB2] 2.2.32.
type IoctlResponse struct {
	Code   FSCTL
	FileID FileID
	Input  []byte // servers send none
	Output []byte
	Flags  uint32
}

// ParseIoctlResponse parses the answer to SMB2 IOCTL. Input and Output alias msg.
func ParseIoctlResponse(msg []byte) (IoctlResponse, error) {
	const fixed = 48
	b, err := fixedPart(msg, "IOCTL response", fixed, 49)
	if err != nil {
		return IoctlResponse{}, err
	}
	r := IoctlResponse{Code: FSCTL(le.Uint32(b[4:])), FileID: parseFileID(b[8:]), Flags: le.Uint32(b[40:])}
	r.Input, err = region(msg, "IOCTL input", HeaderLen+fixed, le.Uint32(b[24:]), le.Uint32(b[28:]))
	if err != nil {
		return IoctlResponse{}, err
	}
	r.Output, err = region(msg, "IOCTL output", HeaderLen+fixed, le.Uint32(b[32:]), le.Uint32(b[36:]))
	if err != nil {
		return IoctlResponse{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r IoctlResponse) Append(b []byte) []byte {
	start := len(b) - HeaderLen
	b = le.AppendUint16(b, 49)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, uint32(r.Code))
	b = r.FileID.append(b)
	at := len(b)
	// As smbd does it: both offsets even for empty regions, and no filler byte if both are empty.
	for range 2 {
		b = le.AppendUint32(b, HeaderLen+48)
		b = append(b, 0, 0, 0, 0)
	}
	b = le.AppendUint32(b, r.Flags)
	b = append(b, 0, 0, 0, 0)
	b = putRegion32(b, start, at, r.Input)
	return putRegion32(b, start, at+8, r.Output)
}
