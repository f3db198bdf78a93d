package smb2

import (
	"fmt"

	"github.com/uringfs/uringfs/internal/fscc"
)

// OplockLevel is an oplock level as CREATE and OPLOCK_BREAK carry it.
type OplockLevel uint8

// Oplock levels.
const (
	OplockNone      OplockLevel = 0x00
	OplockLevelII   OplockLevel = 0x01
	OplockExclusive OplockLevel = 0x08
	OplockBatch     OplockLevel = 0x09
	OplockLease     OplockLevel = 0xFF
)

// ImpersonationLevel is what a client lets the server do in its name.
type ImpersonationLevel uint32

// Impersonation levels.
const (
	ImpersonationAnonymous      ImpersonationLevel = 0
	ImpersonationIdentification ImpersonationLevel = 1
	ImpersonationImpersonation  ImpersonationLevel = 2
	ImpersonationDelegate       ImpersonationLevel = 3
)

// ShareAccess says what other opens may do.
type ShareAccess uint32

// Share access bits.
const (
	ShareRead   ShareAccess = 1
	ShareWrite  ShareAccess = 2
	ShareDelete ShareAccess = 4
)

// Disposition says what CREATE does if the file exists or not.
type Disposition uint32

// Dispositions.
const (
	FileSupersede   Disposition = 0
	FileOpen        Disposition = 1
	FileCreate      Disposition = 2
	FileOpenIf      Disposition = 3
	FileOverwrite   Disposition = 4
	FileOverwriteIf Disposition = 5
)

// CreateOptions are the options of CREATE.
type CreateOptions uint32

// Create options.
const (
	FileDirectoryFile           CreateOptions = 0x00000001
	FileWriteThrough            CreateOptions = 0x00000002
	FileSequentialOnly          CreateOptions = 0x00000004
	FileNoIntermediateBuffering CreateOptions = 0x00000008
	FileSynchronousIOAlert      CreateOptions = 0x00000010
	FileSynchronousIONonalert   CreateOptions = 0x00000020
	FileNonDirectoryFile        CreateOptions = 0x00000040
	FileCompleteIfOplocked      CreateOptions = 0x00000100
	FileNoEAKnowledge           CreateOptions = 0x00000200
	FileOpenRemoteInstance      CreateOptions = 0x00000400
	FileRandomAccess            CreateOptions = 0x00000800
	FileDeleteOnClose           CreateOptions = 0x00001000
	FileOpenByFileID            CreateOptions = 0x00002000
	FileOpenForBackupIntent     CreateOptions = 0x00004000
	FileNoCompression           CreateOptions = 0x00008000
	FileOpenRequiringOplock     CreateOptions = 0x00010000
	FileReserveOpfilter         CreateOptions = 0x00100000
	FileOpenReparsePoint        CreateOptions = 0x00200000
	FileOpenNoRecall            CreateOptions = 0x00400000
	FileOpenForFreeSpaceQuery   CreateOptions = 0x00800000
)

// CreateAction is what CREATE did.
type CreateAction uint32

// Create actions.
const (
	ActionSuperseded  CreateAction = 0
	ActionOpened      CreateAction = 1
	ActionCreated     CreateAction = 2
	ActionOverwritten CreateAction = 3
)

// FileID is the handle of an open, [MS-SMB2] 2.2.14.1.
type FileID struct {
	Persistent uint64
	Volatile   uint64
}

// FileIDAny is all ones: in a related compound "the handle of the element before", elsewhere no handle.
func FileIDAny() FileID { return FileID{Persistent: ^uint64(0), Volatile: ^uint64(0)} }

// IsAny tells whether id is all ones.
func (id FileID) IsAny() bool { return id == FileIDAny() }

const fileIDLen = 16

func parseFileID(b []byte) FileID {
	return FileID{Persistent: le.Uint64(b), Volatile: le.Uint64(b[8:])}
}

func (id FileID) append(b []byte) []byte {
	return le.AppendUint64(le.AppendUint64(b, id.Persistent), id.Volatile)
}

// CreateRequest is SMB2 CREATE, [MS-SMB2] 2.2.13.
type CreateRequest struct {
	Oplock         OplockLevel
	Impersonation  ImpersonationLevel
	DesiredAccess  AccessMask
	FileAttributes fscc.FileAttributes
	ShareAccess    ShareAccess
	Disposition    Disposition
	Options        CreateOptions
	Name           string // relative to the share, separators '\'; at most 32767 UTF-16 units
	Contexts       []CreateContext
}

// ParseCreateRequest parses SMB2 CREATE. Context data aliases msg.
func ParseCreateRequest(msg []byte) (CreateRequest, error) {
	const fixed = 56
	b, err := fixedPart(msg, "CREATE request", fixed, 57)
	if err != nil {
		return CreateRequest{}, err
	}
	r := CreateRequest{
		Oplock:         OplockLevel(b[3]),
		Impersonation:  ImpersonationLevel(le.Uint32(b[4:])),
		DesiredAccess:  AccessMask(le.Uint32(b[24:])),
		FileAttributes: fscc.FileAttributes(le.Uint32(b[28:])),
		ShareAccess:    ShareAccess(le.Uint32(b[32:])),
		Disposition:    Disposition(le.Uint32(b[36:])),
		Options:        CreateOptions(le.Uint32(b[40:])),
	}
	r.Name, err = nameRegion(msg, "CREATE name", HeaderLen+fixed, uint32(le.Uint16(b[44:])), uint32(le.Uint16(b[46:])))
	if err != nil {
		return CreateRequest{}, err
	}
	r.Contexts, err = createContexts(msg, HeaderLen+fixed, le.Uint32(b[48:]), le.Uint32(b[52:]))
	if err != nil {
		return CreateRequest{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r CreateRequest) Append(b []byte) []byte {
	start := len(b) - HeaderLen
	name := encodeName16(r.Name)
	b = le.AppendUint16(b, 57)
	b = append(b, 0, uint8(r.Oplock))
	b = le.AppendUint32(b, uint32(r.Impersonation))
	b = appendZeros(b, 16) // SmbCreateFlags, Reserved
	b = le.AppendUint32(b, uint32(r.DesiredAccess))
	b = le.AppendUint32(b, uint32(r.FileAttributes))
	b = le.AppendUint32(b, uint32(r.ShareAccess))
	b = le.AppendUint32(b, uint32(r.Disposition))
	b = le.AppendUint32(b, uint32(r.Options))
	b = le.AppendUint16(b, HeaderLen+56)
	b = le.AppendUint16(b, len16(name))
	at := len(b)
	b = appendZeros(b, 8)
	if len(r.Contexts) == 0 {
		return appendBuffer(b, name)
	}
	b = alignFrom(append(b, name...), start)
	return putCreateContexts(b, start, at, r.Contexts)
}

// CreateResponse is the answer to SMB2 CREATE, [MS-SMB2] 2.2.14.
type CreateResponse struct {
	Oplock         OplockLevel
	Flags          uint8 // 1: the file is a reparse point
	Action         CreateAction
	CreationTime   fscc.Filetime
	LastAccessTime fscc.Filetime
	LastWriteTime  fscc.Filetime
	ChangeTime     fscc.Filetime
	AllocationSize int64 // bytes
	EndOfFile      int64 // bytes
	FileAttributes fscc.FileAttributes
	FileID         FileID
	Contexts       []CreateContext
}

// ParseCreateResponse parses the answer to SMB2 CREATE. Context data aliases msg.
func ParseCreateResponse(msg []byte) (CreateResponse, error) {
	const fixed = 88
	b, err := fixedPart(msg, "CREATE response", fixed, 89)
	if err != nil {
		return CreateResponse{}, err
	}
	r := CreateResponse{
		Oplock: OplockLevel(b[2]),
		Flags:  b[3],
		Action: CreateAction(le.Uint32(b[4:])),
		FileID: parseFileID(b[64:]),
	}
	f := parseFileTimes(b[8:])
	r.CreationTime, r.LastAccessTime, r.LastWriteTime, r.ChangeTime = f.creation, f.access, f.write, f.change
	r.AllocationSize, r.EndOfFile, r.FileAttributes = f.allocation, f.end, f.attributes
	r.Contexts, err = createContexts(msg, HeaderLen+fixed, le.Uint32(b[80:]), le.Uint32(b[84:]))
	if err != nil {
		return CreateResponse{}, err
	}
	return r, nil
}

// Append appends the body; the message starts HeaderLen bytes before it.
func (r CreateResponse) Append(b []byte) []byte {
	start := len(b) - HeaderLen
	b = le.AppendUint16(b, 89)
	b = append(b, uint8(r.Oplock), r.Flags)
	b = le.AppendUint32(b, uint32(r.Action))
	b = fileTimes{
		r.CreationTime, r.LastAccessTime, r.LastWriteTime, r.ChangeTime, r.AllocationSize, r.EndOfFile, r.FileAttributes,
	}.append(b)
	b = append(b, 0, 0, 0, 0)
	b = r.FileID.append(b)
	at := len(b)
	b = appendZeros(b, 8)
	if len(r.Contexts) == 0 {
		return b // smbd writes no filler byte here, whatever StructureSize says
	}
	return putCreateContexts(b, start, at, r.Contexts)
}

// fileTimes are the 52 bytes that the responses to CREATE and CLOSE share.
type fileTimes struct {
	creation, access, write, change fscc.Filetime
	allocation, end                 int64
	attributes                      fscc.FileAttributes
}

func parseFileTimes(b []byte) fileTimes {
	at := func(i int) int64 { return int64(le.Uint64(b[8*i:])) } //nolint:gosec // the same 64 bits
	return fileTimes{
		creation: fscc.Filetime(at(0)), access: fscc.Filetime(at(1)), write: fscc.Filetime(at(2)), change: fscc.Filetime(at(3)),
		allocation: at(4), end: at(5), attributes: fscc.FileAttributes(le.Uint32(b[48:])),
	}
}

func (f fileTimes) append(b []byte) []byte {
	for _, v := range [...]int64{int64(f.creation), int64(f.access), int64(f.write), int64(f.change), f.allocation, f.end} {
		b = le.AppendUint64(b, uint64(v)) //nolint:gosec // the same 64 bits
	}
	return le.AppendUint32(b, uint32(f.attributes))
}

// putCreateContexts appends the list, which must start aligned, and writes its place to the eight bytes at b[at:].
func putCreateContexts(b []byte, start, at int, list []CreateContext) []byte {
	off := len(b)
	b = AppendCreateContexts(b, list)
	le.PutUint32(b[at:], len32(off-start))
	le.PutUint32(b[at+4:], len32(len(b)-off))
	return b
}

func createContexts(msg []byte, start int, off, n uint32) ([]CreateContext, error) {
	b, err := region(msg, "create contexts", start, off, n)
	if err != nil || b == nil {
		return nil, err
	}
	if off%8 != 0 {
		return nil, malformed("create contexts at %d", off)
	}
	list, err := ParseCreateContexts(b)
	if err != nil {
		return nil, fmt.Errorf("CREATE: %w", err)
	}
	return list, nil
}
