package smb2

// Status is an NTSTATUS, [MS-ERREF] 2.3.
type Status uint32

// Severity and meaning are the specification's; what uringfs answers when is the server's table.
const (
	StatusSuccess                  Status = 0x00000000
	StatusPending                  Status = 0x00000103
	StatusNotifyCleanup            Status = 0x0000010B
	StatusNotifyEnumDir            Status = 0x0000010C
	StatusBufferOverflow           Status = 0x80000005
	StatusNoMoreFiles              Status = 0x80000006
	StatusNoMoreEAs                Status = 0x80000012
	StatusNoMoreEntries            Status = 0x8000001A
	StatusStoppedOnSymlink         Status = 0x8000002D
	StatusUnsuccessful             Status = 0xC0000001
	StatusNotImplemented           Status = 0xC0000002
	StatusInvalidInfoClass         Status = 0xC0000003
	StatusInfoLengthMismatch       Status = 0xC0000004
	StatusInvalidHandle            Status = 0xC0000008
	StatusInvalidParameter         Status = 0xC000000D
	StatusNoSuchDevice             Status = 0xC000000E
	StatusNoSuchFile               Status = 0xC000000F
	StatusInvalidDeviceRequest     Status = 0xC0000010
	StatusEndOfFile                Status = 0xC0000011
	StatusNoMediaInDevice          Status = 0xC0000013
	StatusMoreProcessingRequired   Status = 0xC0000016
	StatusNoMemory                 Status = 0xC0000017
	StatusAccessDenied             Status = 0xC0000022
	StatusBufferTooSmall           Status = 0xC0000023
	StatusObjectTypeMismatch       Status = 0xC0000024
	StatusObjectNameInvalid        Status = 0xC0000033
	StatusObjectNameNotFound       Status = 0xC0000034
	StatusObjectNameCollision      Status = 0xC0000035
	StatusPortDisconnected         Status = 0xC0000037
	StatusObjectPathInvalid        Status = 0xC0000039
	StatusObjectPathNotFound       Status = 0xC000003A
	StatusObjectPathSyntaxBad      Status = 0xC000003B
	StatusDataError                Status = 0xC000003E
	StatusSharingViolation         Status = 0xC0000043
	StatusEATooLarge               Status = 0xC0000050
	StatusNonexistentEAEntry       Status = 0xC0000051
	StatusNoEAsOnFile              Status = 0xC0000052
	StatusFileLockConflict         Status = 0xC0000054
	StatusLockNotGranted           Status = 0xC0000055
	StatusDeletePending            Status = 0xC0000056
	StatusPrivilegeNotHeld         Status = 0xC0000061
	StatusNoSuchUser               Status = 0xC0000064
	StatusWrongPassword            Status = 0xC000006A
	StatusLogonFailure             Status = 0xC000006D
	StatusAccountRestriction       Status = 0xC000006E
	StatusPasswordExpired          Status = 0xC0000071
	StatusAccountDisabled          Status = 0xC0000072
	StatusInvalidSecurityDescr     Status = 0xC0000079
	StatusRangeNotLocked           Status = 0xC000007E
	StatusDiskFull                 Status = 0xC000007F
	StatusInsufficientResources    Status = 0xC000009A
	StatusMediaWriteProtected      Status = 0xC00000A2
	StatusInstanceNotAvailable     Status = 0xC00000AB
	StatusPipeNotAvailable         Status = 0xC00000AC
	StatusInvalidPipeState         Status = 0xC00000AD
	StatusPipeBusy                 Status = 0xC00000AE
	StatusPipeDisconnected         Status = 0xC00000B0
	StatusPipeClosing              Status = 0xC00000B1
	StatusIOTimeout                Status = 0xC00000B5
	StatusFileIsADirectory         Status = 0xC00000BA
	StatusNotSupported             Status = 0xC00000BB
	StatusDuplicateName            Status = 0xC00000BD
	StatusBadNetworkPath           Status = 0xC00000BE
	StatusNetworkNameDeleted       Status = 0xC00000C9
	StatusNetworkAccessDenied      Status = 0xC00000CA
	StatusBadDeviceType            Status = 0xC00000CB
	StatusBadNetworkName           Status = 0xC00000CC
	StatusRequestNotAccepted       Status = 0xC00000D0
	StatusNotSameDevice            Status = 0xC00000D4
	StatusFileRenamed              Status = 0xC00000D5
	StatusInvalidOplockProtocol    Status = 0xC00000E3
	StatusInternalError            Status = 0xC00000E5
	StatusUnexpectedIOError        Status = 0xC00000E9
	StatusDirectoryNotEmpty        Status = 0xC0000101
	StatusNotADirectory            Status = 0xC0000103
	StatusNameTooLong              Status = 0xC0000106
	StatusTooManyOpenedFiles       Status = 0xC000011F
	StatusCancelled                Status = 0xC0000120
	StatusCannotDelete             Status = 0xC0000121
	StatusFileDeleted              Status = 0xC0000123
	StatusFileClosed               Status = 0xC0000128
	StatusInvalidDeviceState       Status = 0xC0000184
	StatusIODeviceError            Status = 0xC0000185
	StatusInvalidLockRange         Status = 0xC00001A1
	StatusUserSessionDeleted       Status = 0xC0000203
	StatusConnectionDisconnected   Status = 0xC000020C
	StatusConnectionReset          Status = 0xC000020D
	StatusNotFound                 Status = 0xC0000225
	StatusDuplicateObjectID        Status = 0xC000022A
	StatusNotAReparsePoint         Status = 0xC0000275
	StatusIOReparseTagInvalid      Status = 0xC0000276
	StatusIOReparseTagMismatch     Status = 0xC0000277
	StatusIOReparseDataInvalid     Status = 0xC0000278
	StatusReparsePointNotResolved  Status = 0xC0000280
	StatusPathNotCovered           Status = 0xC0000257
	StatusNetworkSessionExpired    Status = 0xC000035C
	StatusFileNotAvailable         Status = 0xC0000467
	StatusFileSystemLimitation     Status = 0xC0000427
	StatusHashNotSupported         Status = 0xC000A100
	StatusHashNotPresent           Status = 0xC000A101
	StatusOffloadReadNotSupported  Status = 0xC000A2A3
	StatusOffloadWriteNotSupported Status = 0xC000A2A4
	StatusSMBNoPreauthHashOverlap  Status = 0xC05D0000
	StatusSMBBadClusterDialect     Status = 0xC05D0001
)

// IsError tells whether the severity is error (0xC…).
func (s Status) IsError() bool { return s>>30 == 3 }

// IsWarning tells whether the severity is warning (0x8…).
func (s Status) IsWarning() bool { return s>>30 == 2 }

// Error returns the same as [Status.String], so that a Status can travel as an error.
func (s Status) Error() string { return s.String() }
