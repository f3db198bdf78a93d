package fscc

// Each type is the buffer of one information class, for QUERY_INFO, SET_INFO or both; sections are those of [MS-FSCC].
// Sizes and offsets are bytes, signed as on the wire: whoever takes them from a peer refuses negative ones.

// BasicInfo is FileBasicInformation, 2.4.7.
type BasicInfo struct {
	CreationTime   Filetime
	LastAccessTime Filetime
	LastWriteTime  Filetime
	ChangeTime     Filetime
	Attributes     FileAttributes // 0 in SET_INFO: leave them
}

const (
	basicLen    = 40
	standardLen = 24
	allFixedLen = 100
)

// ParseBasicInfo parses the class. The four reserved bytes at the end may be missing.
func ParseBasicInfo(b []byte) (BasicInfo, error) {
	if err := need(b, basicLen-4, "FileBasicInformation"); err != nil {
		return BasicInfo{}, err
	}
	return BasicInfo{
		CreationTime:   filetime(b),
		LastAccessTime: filetime(b[8:]),
		LastWriteTime:  filetime(b[16:]),
		ChangeTime:     filetime(b[24:]),
		Attributes:     FileAttributes(le.Uint32(b[32:])),
	}, nil
}

// Append appends the 40 bytes of the class.
func (i BasicInfo) Append(b []byte) []byte {
	b = i.CreationTime.append(b)
	b = i.LastAccessTime.append(b)
	b = i.LastWriteTime.append(b)
	b = i.ChangeTime.append(b)
	b = le.AppendUint32(b, uint32(i.Attributes))
	return append(b, 0, 0, 0, 0)
}

// StandardInfo is FileStandardInformation, 2.4.47.
type StandardInfo struct {
	AllocationSize int64
	EndOfFile      int64
	NumberOfLinks  uint32
	DeletePending  bool
	Directory      bool
}

// ParseStandardInfo parses the class. The two reserved bytes at the end may be missing.
func ParseStandardInfo(b []byte) (StandardInfo, error) {
	if err := need(b, standardLen-2, "FileStandardInformation"); err != nil {
		return StandardInfo{}, err
	}
	return StandardInfo{
		AllocationSize: size(b),
		EndOfFile:      size(b[8:]),
		NumberOfLinks:  le.Uint32(b[16:]),
		DeletePending:  b[20] != 0,
		Directory:      b[21] != 0,
	}, nil
}

// Append appends the 24 bytes of the class.
func (i StandardInfo) Append(b []byte) []byte {
	b = appendSize(b, i.AllocationSize)
	b = appendSize(b, i.EndOfFile)
	b = le.AppendUint32(b, i.NumberOfLinks)
	b = appendBool(b, i.DeletePending)
	b = appendBool(b, i.Directory)
	return append(b, 0, 0)
}

// InternalInfo is FileInternalInformation, 2.4.27: the inode number.
type InternalInfo struct{ IndexNumber uint64 }

// ParseInternalInfo parses the class.
func ParseInternalInfo(b []byte) (InternalInfo, error) {
	if err := need(b, 8, "FileInternalInformation"); err != nil {
		return InternalInfo{}, err
	}
	return InternalInfo{IndexNumber: le.Uint64(b)}, nil
}

// Append appends the 8 bytes of the class.
func (i InternalInfo) Append(b []byte) []byte { return le.AppendUint64(b, i.IndexNumber) }

// EAInfo is FileEaInformation, 2.4.13.
type EAInfo struct{ EASize uint32 }

// ParseEAInfo parses the class.
func ParseEAInfo(b []byte) (EAInfo, error) {
	if err := need(b, 4, "FileEaInformation"); err != nil {
		return EAInfo{}, err
	}
	return EAInfo{EASize: le.Uint32(b)}, nil
}

// Append appends the 4 bytes of the class.
func (i EAInfo) Append(b []byte) []byte { return le.AppendUint32(b, i.EASize) }

// AccessInfo is FileAccessInformation, 2.4.1: the access mask of the open.
type AccessInfo struct{ AccessFlags uint32 }

// ParseAccessInfo parses the class.
func ParseAccessInfo(b []byte) (AccessInfo, error) {
	if err := need(b, 4, "FileAccessInformation"); err != nil {
		return AccessInfo{}, err
	}
	return AccessInfo{AccessFlags: le.Uint32(b)}, nil
}

// Append appends the 4 bytes of the class.
func (i AccessInfo) Append(b []byte) []byte { return le.AppendUint32(b, i.AccessFlags) }

// PositionInfo is FilePositionInformation, 2.4.40.
type PositionInfo struct{ CurrentByteOffset int64 }

// ParsePositionInfo parses the class.
func ParsePositionInfo(b []byte) (PositionInfo, error) {
	if err := need(b, 8, "FilePositionInformation"); err != nil {
		return PositionInfo{}, err
	}
	return PositionInfo{CurrentByteOffset: size(b)}, nil
}

// Append appends the 8 bytes of the class.
func (i PositionInfo) Append(b []byte) []byte { return appendSize(b, i.CurrentByteOffset) }

// ModeInfo is FileModeInformation, 2.4.31: a subset of the create options.
type ModeInfo struct{ Mode uint32 }

// ParseModeInfo parses the class.
func ParseModeInfo(b []byte) (ModeInfo, error) {
	if err := need(b, 4, "FileModeInformation"); err != nil {
		return ModeInfo{}, err
	}
	return ModeInfo{Mode: le.Uint32(b)}, nil
}

// Append appends the 4 bytes of the class.
func (i ModeInfo) Append(b []byte) []byte { return le.AppendUint32(b, i.Mode) }

// AlignmentInfo is FileAlignmentInformation, 2.4.3: 0 for bytes, else the alignment minus 1.
type AlignmentInfo struct{ AlignmentRequirement uint32 }

// ParseAlignmentInfo parses the class.
func ParseAlignmentInfo(b []byte) (AlignmentInfo, error) {
	if err := need(b, 4, "FileAlignmentInformation"); err != nil {
		return AlignmentInfo{}, err
	}
	return AlignmentInfo{AlignmentRequirement: le.Uint32(b)}, nil
}

// Append appends the 4 bytes of the class.
func (i AlignmentInfo) Append(b []byte) []byte { return le.AppendUint32(b, i.AlignmentRequirement) }

// NameInfo is the layout of FileNameInformation (2.4.32), FileAlternateNameInformation (2.4.5) and
// FileNormalizedNameInformation (2.4.36).
type NameInfo struct{ Name string }

// ParseNameInfo parses one of the three classes.
func ParseNameInfo(b []byte) (NameInfo, error) {
	if err := need(b, 4, "file name information"); err != nil {
		return NameInfo{}, err
	}
	s, err := name(b, 4, le.Uint32(b), "file name information")
	return NameInfo{Name: s}, err
}

// Append appends one of the three classes.
func (i NameInfo) Append(b []byte) []byte { return appendName32(b, i.Name) }

// AllInfo is FileAllInformation, 2.4.2.
type AllInfo struct {
	Basic     BasicInfo
	Standard  StandardInfo
	Internal  InternalInfo
	EA        EAInfo
	Access    AccessInfo
	Position  PositionInfo
	Mode      ModeInfo
	Alignment AlignmentInfo
	Name      NameInfo
}

// ParseAllInfo parses the class. A name that the answer cuts off (STATUS_BUFFER_OVERFLOW) is malformed here.
func ParseAllInfo(b []byte) (AllInfo, error) {
	if err := need(b, allFixedLen, "FileAllInformation"); err != nil {
		return AllInfo{}, err
	}
	var i AllInfo
	var errs [9]error
	i.Basic, errs[0] = ParseBasicInfo(b[0:])
	i.Standard, errs[1] = ParseStandardInfo(b[40:])
	i.Internal, errs[2] = ParseInternalInfo(b[64:])
	i.EA, errs[3] = ParseEAInfo(b[72:])
	i.Access, errs[4] = ParseAccessInfo(b[76:])
	i.Position, errs[5] = ParsePositionInfo(b[80:])
	i.Mode, errs[6] = ParseModeInfo(b[88:])
	i.Alignment, errs[7] = ParseAlignmentInfo(b[92:])
	i.Name, errs[8] = ParseNameInfo(b[96:])
	for _, err := range errs {
		if err != nil {
			return AllInfo{}, err
		}
	}
	return i, nil
}

// Append appends the class: 100 bytes and the name.
func (i AllInfo) Append(b []byte) []byte {
	b = i.Basic.Append(b)
	b = i.Standard.Append(b)
	b = i.Internal.Append(b)
	b = i.EA.Append(b)
	b = i.Access.Append(b)
	b = i.Position.Append(b)
	b = i.Mode.Append(b)
	b = i.Alignment.Append(b)
	return i.Name.Append(b)
}

// NetworkOpenInfo is FileNetworkOpenInformation, 2.4.34.
type NetworkOpenInfo struct {
	CreationTime   Filetime
	LastAccessTime Filetime
	LastWriteTime  Filetime
	ChangeTime     Filetime
	AllocationSize int64
	EndOfFile      int64
	Attributes     FileAttributes
}

// ParseNetworkOpenInfo parses the class. The four reserved bytes at the end may be missing.
func ParseNetworkOpenInfo(b []byte) (NetworkOpenInfo, error) {
	if err := need(b, 52, "FileNetworkOpenInformation"); err != nil {
		return NetworkOpenInfo{}, err
	}
	return NetworkOpenInfo{
		CreationTime:   filetime(b),
		LastAccessTime: filetime(b[8:]),
		LastWriteTime:  filetime(b[16:]),
		ChangeTime:     filetime(b[24:]),
		AllocationSize: size(b[32:]),
		EndOfFile:      size(b[40:]),
		Attributes:     FileAttributes(le.Uint32(b[48:])),
	}, nil
}

// Append appends the 56 bytes of the class.
func (i NetworkOpenInfo) Append(b []byte) []byte {
	b = i.CreationTime.append(b)
	b = i.LastAccessTime.append(b)
	b = i.LastWriteTime.append(b)
	b = i.ChangeTime.append(b)
	b = appendSize(b, i.AllocationSize)
	b = appendSize(b, i.EndOfFile)
	b = le.AppendUint32(b, uint32(i.Attributes))
	return append(b, 0, 0, 0, 0)
}

// AttributeTagInfo is FileAttributeTagInformation, 2.4.6.
type AttributeTagInfo struct {
	Attributes FileAttributes
	ReparseTag uint32
}

// ParseAttributeTagInfo parses the class.
func ParseAttributeTagInfo(b []byte) (AttributeTagInfo, error) {
	if err := need(b, 8, "FileAttributeTagInformation"); err != nil {
		return AttributeTagInfo{}, err
	}
	return AttributeTagInfo{Attributes: FileAttributes(le.Uint32(b)), ReparseTag: le.Uint32(b[4:])}, nil
}

// Append appends the 8 bytes of the class.
func (i AttributeTagInfo) Append(b []byte) []byte {
	return le.AppendUint32(le.AppendUint32(b, uint32(i.Attributes)), i.ReparseTag)
}

// CompressionInfo is FileCompressionInformation, 2.4.9.
type CompressionInfo struct {
	CompressedFileSize int64
	Format             uint16
	UnitShift          uint8
	ChunkShift         uint8
	ClusterShift       uint8
}

// ParseCompressionInfo parses the class. The three reserved bytes at the end may be missing.
func ParseCompressionInfo(b []byte) (CompressionInfo, error) {
	if err := need(b, 13, "FileCompressionInformation"); err != nil {
		return CompressionInfo{}, err
	}
	return CompressionInfo{
		CompressedFileSize: size(b), Format: le.Uint16(b[8:]), UnitShift: b[10], ChunkShift: b[11], ClusterShift: b[12],
	}, nil
}

// Append appends the 16 bytes of the class.
func (i CompressionInfo) Append(b []byte) []byte {
	b = appendSize(b, i.CompressedFileSize)
	b = le.AppendUint16(b, i.Format)
	return append(b, i.UnitShift, i.ChunkShift, i.ClusterShift, 0, 0, 0)
}

// FileIDInfo is FileIdInformation, 2.4.26.
type FileIDInfo struct {
	VolumeSerialNumber uint64
	FileID             [16]byte
}

// ParseFileIDInfo parses the class.
func ParseFileIDInfo(b []byte) (FileIDInfo, error) {
	if err := need(b, 24, "FileIdInformation"); err != nil {
		return FileIDInfo{}, err
	}
	return FileIDInfo{VolumeSerialNumber: le.Uint64(b), FileID: [16]byte(b[8:24])}, nil
}

// Append appends the 24 bytes of the class.
func (i FileIDInfo) Append(b []byte) []byte {
	return append(le.AppendUint64(b, i.VolumeSerialNumber), i.FileID[:]...)
}

// PipeInfo is FilePipeInformation, 2.4.37.
type PipeInfo struct {
	ReadMode       uint32 // 0: bytes, 1: messages
	CompletionMode uint32 // 0: blocks, 1: does not
}

// ParsePipeInfo parses the class.
func ParsePipeInfo(b []byte) (PipeInfo, error) {
	if err := need(b, 8, "FilePipeInformation"); err != nil {
		return PipeInfo{}, err
	}
	return PipeInfo{ReadMode: le.Uint32(b), CompletionMode: le.Uint32(b[4:])}, nil
}

// Append appends the 8 bytes of the class.
func (i PipeInfo) Append(b []byte) []byte {
	return le.AppendUint32(le.AppendUint32(b, i.ReadMode), i.CompletionMode)
}

// PipeLocalInfo is FilePipeLocalInformation, 2.4.38.
type PipeLocalInfo struct {
	Type                uint32
	Configuration       uint32
	MaximumInstances    uint32
	CurrentInstances    uint32
	InboundQuota        uint32 // bytes
	ReadDataAvailable   uint32 // bytes
	OutboundQuota       uint32 // bytes
	WriteQuotaAvailable uint32 // bytes
	State               uint32
	End                 uint32
}

func pipeLocalFields(i *PipeLocalInfo) [10]*uint32 {
	return [...]*uint32{
		&i.Type, &i.Configuration, &i.MaximumInstances, &i.CurrentInstances, &i.InboundQuota,
		&i.ReadDataAvailable, &i.OutboundQuota, &i.WriteQuotaAvailable, &i.State, &i.End,
	}
}

// ParsePipeLocalInfo parses the class.
func ParsePipeLocalInfo(b []byte) (PipeLocalInfo, error) {
	if err := need(b, 40, "FilePipeLocalInformation"); err != nil {
		return PipeLocalInfo{}, err
	}
	var i PipeLocalInfo
	for n, f := range pipeLocalFields(&i) {
		*f = le.Uint32(b[4*n:])
	}
	return i, nil
}

// Append appends the 40 bytes of the class.
func (i PipeLocalInfo) Append(b []byte) []byte {
	for _, f := range pipeLocalFields(&i) {
		b = le.AppendUint32(b, *f)
	}
	return b
}
