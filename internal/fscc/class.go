package fscc

import "strconv"

// InfoClass is a file information class, [MS-FSCC] 2.4.
type InfoClass uint8

// File information classes.
const (
	ClassDirectory       InfoClass = 1
	ClassFullDirectory   InfoClass = 2
	ClassBothDirectory   InfoClass = 3
	ClassBasic           InfoClass = 4
	ClassStandard        InfoClass = 5
	ClassInternal        InfoClass = 6
	ClassEA              InfoClass = 7
	ClassAccess          InfoClass = 8
	ClassName            InfoClass = 9
	ClassRename          InfoClass = 10
	ClassLink            InfoClass = 11
	ClassNames           InfoClass = 12
	ClassDisposition     InfoClass = 13
	ClassPosition        InfoClass = 14
	ClassFullEA          InfoClass = 15
	ClassMode            InfoClass = 16
	ClassAlignment       InfoClass = 17
	ClassAll             InfoClass = 18
	ClassAllocation      InfoClass = 19
	ClassEndOfFile       InfoClass = 20
	ClassAlternateName   InfoClass = 21
	ClassStream          InfoClass = 22
	ClassPipe            InfoClass = 23
	ClassPipeLocal       InfoClass = 24
	ClassPipeRemote      InfoClass = 25
	ClassCompression     InfoClass = 28
	ClassQuota           InfoClass = 32
	ClassReparsePoint    InfoClass = 33
	ClassNetworkOpen     InfoClass = 34
	ClassAttributeTag    InfoClass = 35
	ClassIDBothDirectory InfoClass = 37
	ClassIDFullDirectory InfoClass = 38
	ClassValidDataLength InfoClass = 39
	ClassShortName       InfoClass = 40
	ClassNormalizedName  InfoClass = 48
	ClassFileID          InfoClass = 59
	ClassIDExtdDirectory InfoClass = 60
	ClassDispositionEx   InfoClass = 64
	ClassRenameEx        InfoClass = 65
	ClassPosix           InfoClass = 100
)

// String returns the number; names would say nothing more in a log that quotes [MS-FSCC].
func (c InfoClass) String() string { return strconv.Itoa(int(c)) }

// FSClass is a file system information class, [MS-FSCC] 2.5.
type FSClass uint8

// File system information classes.
const (
	FSClassVolume     FSClass = 1
	FSClassLabel      FSClass = 2
	FSClassSize       FSClass = 3
	FSClassDevice     FSClass = 4
	FSClassAttribute  FSClass = 5
	FSClassControl    FSClass = 6
	FSClassFullSize   FSClass = 7
	FSClassObjectID   FSClass = 8
	FSClassSectorSize FSClass = 11
	FSClassPosix      FSClass = 100
)

// String returns the number.
func (c FSClass) String() string { return strconv.Itoa(int(c)) }

// FileAttributes is the attribute mask of [MS-FSCC] 2.6.
type FileAttributes uint32

// File attributes.
const (
	AttrReadonly          FileAttributes = 0x00000001
	AttrHidden            FileAttributes = 0x00000002
	AttrSystem            FileAttributes = 0x00000004
	AttrDirectory         FileAttributes = 0x00000010
	AttrArchive           FileAttributes = 0x00000020
	AttrNormal            FileAttributes = 0x00000080 // only valid alone
	AttrTemporary         FileAttributes = 0x00000100
	AttrSparseFile        FileAttributes = 0x00000200
	AttrReparsePoint      FileAttributes = 0x00000400
	AttrCompressed        FileAttributes = 0x00000800
	AttrOffline           FileAttributes = 0x00001000
	AttrNotContentIndexed FileAttributes = 0x00002000
	AttrEncrypted         FileAttributes = 0x00004000
	AttrIntegrityStream   FileAttributes = 0x00008000
	AttrNoScrubData       FileAttributes = 0x00020000
)

// Reparse tags, [MS-FSCC] 2.1.2.1.
const (
	ReparseTagMountPoint uint32 = 0xA0000003
	ReparseTagSymlink    uint32 = 0xA000000C
	ReparseTagLXSymlink  uint32 = 0xA000001D
	ReparseTagNFS        uint32 = 0x80000014
	ReparseTagAFUnix     uint32 = 0x80000023
	ReparseTagLXFIFO     uint32 = 0x80000024
	ReparseTagLXChar     uint32 = 0x80000025
	ReparseTagLXBlock    uint32 = 0x80000026
)

// FSAttributes is the file system attribute mask of [MS-FSCC] 2.5.1.
type FSAttributes uint32

// File system attributes.
const (
	FSCaseSensitiveSearch   FSAttributes = 0x00000001
	FSCasePreservedNames    FSAttributes = 0x00000002
	FSUnicodeOnDisk         FSAttributes = 0x00000004
	FSPersistentACLs        FSAttributes = 0x00000008
	FSFileCompression       FSAttributes = 0x00000010
	FSVolumeQuotas          FSAttributes = 0x00000020
	FSSupportsSparseFiles   FSAttributes = 0x00000040
	FSSupportsReparsePoints FSAttributes = 0x00000080
	FSSupportsObjectIDs     FSAttributes = 0x00010000
	FSSupportsEncryption    FSAttributes = 0x00020000
	FSNamedStreams          FSAttributes = 0x00040000
	FSReadOnlyVolume        FSAttributes = 0x00080000
	FSSupportsHardLinks     FSAttributes = 0x00400000
	FSSupportsEAs           FSAttributes = 0x00800000
	FSSupportsOpenByFileID  FSAttributes = 0x01000000
	FSSupportsBlockRefs     FSAttributes = 0x08000000
)

// Device types and characteristics of [MS-FSCC] 2.5.10.
const (
	DeviceDisk              uint32 = 0x00000007
	DeviceNamedPipe         uint32 = 0x00000011
	DeviceIsMounted         uint32 = 0x00000020
	DeviceRemoteDevice      uint32 = 0x00000010
	DeviceReadOnly          uint32 = 0x00000002
	DeviceVirtualVolume     uint32 = 0x00000040
	SectorFlagAligned       uint32 = 0x00000001 // SSINFO_FLAGS_ALIGNED_DEVICE
	SectorFlagPartitionFit  uint32 = 0x00000002 // SSINFO_FLAGS_PARTITION_ALIGNED_ON_DEVICE
	SectorFlagNoSeekPenalty uint32 = 0x00000004
	SectorFlagTrimEnabled   uint32 = 0x00000008
	SectorOffsetUnknown     uint32 = 0xFFFFFFFF // both ByteOffset fields: alignment not known
)

// Flags of [DispositionInfoEx].
const (
	DispositionDelete                  uint32 = 0x01
	DispositionPosixSemantics          uint32 = 0x02
	DispositionForceImageSectionCheck  uint32 = 0x04
	DispositionOnClose                 uint32 = 0x08
	DispositionIgnoreReadonlyAttribute uint32 = 0x10
)

// Flags of [RenameInfoEx].
const (
	RenameReplaceIfExists         uint32 = 0x01
	RenamePosixSemantics          uint32 = 0x02
	RenameSuppressPinInheritance  uint32 = 0x04
	RenameIgnoreReadonlyAttribute uint32 = 0x40
)
