package fscc

// Classes that only SET_INFO knows.

// RenameInfo is the SMB2 form of FileRenameInformation (2.4.42.2) and of FileLinkInformation (2.4.28.2), which have one layout.
type RenameInfo struct {
	ReplaceIfExists bool
	RootDirectory   uint64 // must be 0 over SMB2
	Name            string // from the root of the share
}

const renameFixed = 20

// ParseRenameInfo parses FileRenameInformation or FileLinkInformation. Bytes behind the name are padding and ignored.
func ParseRenameInfo(b []byte) (RenameInfo, error) {
	if err := need(b, renameFixed, "FileRenameInformation"); err != nil {
		return RenameInfo{}, err
	}
	s, err := name(b, renameFixed, le.Uint32(b[16:]), "FileRenameInformation")
	if err != nil {
		return RenameInfo{}, err
	}
	return RenameInfo{ReplaceIfExists: b[0] != 0, RootDirectory: le.Uint64(b[8:]), Name: s}, nil
}

// Append appends FileRenameInformation or FileLinkInformation; at least 24 bytes, as the specification wants it.
func (i RenameInfo) Append(b []byte) []byte {
	start := len(b)
	b = appendZeros(appendBool(b, i.ReplaceIfExists), 7)
	b = le.AppendUint64(b, i.RootDirectory)
	b = appendName32(b, i.Name)
	return appendZeros(b, max(0, start+24-len(b)))
}

// RenameInfoEx is FileRenameInformationEx, 2.4.43.
type RenameInfoEx struct {
	Flags         uint32
	RootDirectory uint64 // must be 0 over SMB2
	Name          string // from the root of the share
}

// ParseRenameInfoEx parses the class. Bytes behind the name are padding and ignored.
func ParseRenameInfoEx(b []byte) (RenameInfoEx, error) {
	if err := need(b, renameFixed, "FileRenameInformationEx"); err != nil {
		return RenameInfoEx{}, err
	}
	s, err := name(b, renameFixed, le.Uint32(b[16:]), "FileRenameInformationEx")
	if err != nil {
		return RenameInfoEx{}, err
	}
	return RenameInfoEx{Flags: le.Uint32(b), RootDirectory: le.Uint64(b[8:]), Name: s}, nil
}

// Append appends the class; at least 24 bytes.
func (i RenameInfoEx) Append(b []byte) []byte {
	start := len(b)
	b = appendZeros(le.AppendUint32(b, i.Flags), 4)
	b = le.AppendUint64(b, i.RootDirectory)
	b = appendName32(b, i.Name)
	return appendZeros(b, max(0, start+24-len(b)))
}

// DispositionInfo is FileDispositionInformation, 2.4.11.
type DispositionInfo struct{ DeletePending bool }

// ParseDispositionInfo parses the class.
func ParseDispositionInfo(b []byte) (DispositionInfo, error) {
	if err := need(b, 1, "FileDispositionInformation"); err != nil {
		return DispositionInfo{}, err
	}
	return DispositionInfo{DeletePending: b[0] != 0}, nil
}

// Append appends the byte of the class.
func (i DispositionInfo) Append(b []byte) []byte { return appendBool(b, i.DeletePending) }

// DispositionInfoEx is FileDispositionInformationEx, 2.4.12.
type DispositionInfoEx struct{ Flags uint32 }

// ParseDispositionInfoEx parses the class.
func ParseDispositionInfoEx(b []byte) (DispositionInfoEx, error) {
	if err := need(b, 4, "FileDispositionInformationEx"); err != nil {
		return DispositionInfoEx{}, err
	}
	return DispositionInfoEx{Flags: le.Uint32(b)}, nil
}

// Append appends the 4 bytes of the class.
func (i DispositionInfoEx) Append(b []byte) []byte { return le.AppendUint32(b, i.Flags) }

// EndOfFileInfo is FileEndOfFileInformation, 2.4.14.
type EndOfFileInfo struct{ EndOfFile int64 }

// ParseEndOfFileInfo parses the class.
func ParseEndOfFileInfo(b []byte) (EndOfFileInfo, error) {
	if err := need(b, 8, "FileEndOfFileInformation"); err != nil {
		return EndOfFileInfo{}, err
	}
	return EndOfFileInfo{EndOfFile: size(b)}, nil
}

// Append appends the 8 bytes of the class.
func (i EndOfFileInfo) Append(b []byte) []byte { return appendSize(b, i.EndOfFile) }

// AllocationInfo is FileAllocationInformation, 2.4.4.
type AllocationInfo struct{ AllocationSize int64 }

// ParseAllocationInfo parses the class.
func ParseAllocationInfo(b []byte) (AllocationInfo, error) {
	if err := need(b, 8, "FileAllocationInformation"); err != nil {
		return AllocationInfo{}, err
	}
	return AllocationInfo{AllocationSize: size(b)}, nil
}

// Append appends the 8 bytes of the class.
func (i AllocationInfo) Append(b []byte) []byte { return appendSize(b, i.AllocationSize) }
