package smb2

// AccessMask is an access mask, [MS-SMB2] 2.2.13.1.
type AccessMask uint32

// Rights on files and pipes (2.2.13.1.1), and their names on directories (2.2.13.1.2).
const (
	FileReadData        AccessMask = 0x00000001
	FileListDirectory   AccessMask = 0x00000001
	FileWriteData       AccessMask = 0x00000002
	FileAddFile         AccessMask = 0x00000002
	FileAppendData      AccessMask = 0x00000004
	FileAddSubdirectory AccessMask = 0x00000004
	FileReadEA          AccessMask = 0x00000008
	FileWriteEA         AccessMask = 0x00000010
	FileExecute         AccessMask = 0x00000020
	FileTraverse        AccessMask = 0x00000020
	FileDeleteChild     AccessMask = 0x00000040
	FileReadAttributes  AccessMask = 0x00000080
	FileWriteAttributes AccessMask = 0x00000100

	Delete      AccessMask = 0x00010000
	ReadControl AccessMask = 0x00020000
	WriteDAC    AccessMask = 0x00040000
	WriteOwner  AccessMask = 0x00080000
	Synchronize AccessMask = 0x00100000

	AccessSystemSecurity AccessMask = 0x01000000
	MaximumAllowed       AccessMask = 0x02000000
	GenericAll           AccessMask = 0x10000000
	GenericExecute       AccessMask = 0x20000000
	GenericWrite         AccessMask = 0x40000000
	GenericRead          AccessMask = 0x80000000
)

// What the generic rights stand for on files, [MS-FSA] 2.1.1.3 and [MS-DTYP] 2.4.3.
const (
	FileGenericRead = FileReadData | FileReadAttributes | FileReadEA | ReadControl | Synchronize

	FileGenericWrite = FileWriteData | FileAppendData | FileWriteAttributes | FileWriteEA | ReadControl | Synchronize

	FileGenericExecute = FileExecute | FileReadAttributes | ReadControl | Synchronize

	FileAllAccess AccessMask = 0x001F01FF
)

// Has tells whether all bits of x are set.
func (m AccessMask) Has(x AccessMask) bool { return m&x == x }

// HasAny tells whether at least one bit of x is set.
func (m AccessMask) HasAny(x AccessMask) bool { return m&x != 0 }

// Expand replaces the generic bits by what they stand for on files; other bits, MaximumAllowed included, stay.
func (m AccessMask) Expand() AccessMask {
	out := m &^ (GenericAll | GenericExecute | GenericWrite | GenericRead)
	if m.Has(GenericAll) {
		out |= FileAllAccess
	}
	if m.Has(GenericExecute) {
		out |= FileGenericExecute
	}
	if m.Has(GenericWrite) {
		out |= FileGenericWrite
	}
	if m.Has(GenericRead) {
		out |= FileGenericRead
	}
	return out
}
