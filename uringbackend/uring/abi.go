//go:build linux

package uring

import "unsafe"

// Opcode is what a submission asks for: IORING_OP_*, include/uapi/linux/io_uring.h.
type Opcode uint8

// The opcodes, by the kernel's numbers.
const (
	OpNop            Opcode = 0
	OpReadv          Opcode = 1
	OpWritev         Opcode = 2
	OpFsync          Opcode = 3
	OpReadFixed      Opcode = 4
	OpWriteFixed     Opcode = 5
	OpPollAdd        Opcode = 6
	OpPollRemove     Opcode = 7
	OpSyncFileRange  Opcode = 8
	OpSendmsg        Opcode = 9
	OpRecvmsg        Opcode = 10
	OpTimeout        Opcode = 11
	OpTimeoutRemove  Opcode = 12
	OpAccept         Opcode = 13
	OpAsyncCancel    Opcode = 14
	OpLinkTimeout    Opcode = 15
	OpConnect        Opcode = 16
	OpFallocate      Opcode = 17
	OpOpenat         Opcode = 18
	OpClose          Opcode = 19
	OpFilesUpdate    Opcode = 20
	OpStatx          Opcode = 21
	OpRead           Opcode = 22
	OpWrite          Opcode = 23
	OpFadvise        Opcode = 24
	OpMadvise        Opcode = 25
	OpSend           Opcode = 26
	OpRecv           Opcode = 27
	OpOpenat2        Opcode = 28
	OpEpollCtl       Opcode = 29
	OpSplice         Opcode = 30
	OpProvideBuffers Opcode = 31
	OpRemoveBuffers  Opcode = 32
	OpTee            Opcode = 33
	OpShutdown       Opcode = 34
	OpRenameat       Opcode = 35
	OpUnlinkat       Opcode = 36
	OpMkdirat        Opcode = 37
	OpSymlinkat      Opcode = 38
	OpLinkat         Opcode = 39
	OpMsgRing        Opcode = 40
	OpFsetxattr      Opcode = 41
	OpSetxattr       Opcode = 42
	OpFgetxattr      Opcode = 43
	OpGetxattr       Opcode = 44
	OpSocket         Opcode = 45
	OpUringCmd       Opcode = 46
	OpSendZC         Opcode = 47
	OpSendmsgZC      Opcode = 48
	OpReadMultishot  Opcode = 49
	OpWaitid         Opcode = 50
	OpFutexWait      Opcode = 51
	OpFutexWake      Opcode = 52
	OpFutexWaitv     Opcode = 53
	OpFixedFDInstall Opcode = 54
	OpFtruncate      Opcode = 55
	OpBind           Opcode = 56
	OpListen         Opcode = 57
	OpRecvZC         Opcode = 58
	OpEpollWait      Opcode = 59
	OpReadvFixed     Opcode = 60
	OpWritevFixed    Opcode = 61
	OpPipe           Opcode = 62
)

// Flags of SQE.Flags, IOSQE_*.
const (
	SQEFixedFile    uint8 = 1 << 0 // FD is an index of the ring's file table
	SQEIODrain      uint8 = 1 << 1 // start after all earlier submissions have completed
	SQEIOLink       uint8 = 1 << 2 // the next submission starts when this one has succeeded
	SQEIOHardlink   uint8 = 1 << 3 // the same, whatever the result
	SQEAsync        uint8 = 1 << 4 // do not try inline, go to a worker
	SQEBufferSelect uint8 = 1 << 5 // take a buffer from group BufIndex
	SQECQESkip      uint8 = 1 << 6 // no completion on success
)

// Flags of CQE.Flags, IORING_CQE_F_*.
const (
	CQEBuffer      uint32 = 1 << 0 // the upper 16 bits are a buffer id
	CQEMore        uint32 = 1 << 1 // a further completion of the same submission follows
	CQESockNonempt uint32 = 1 << 2 // there is more to receive
	CQENotif       uint32 = 1 << 3 // a zero-copy send's second completion
	CQEBufMore     uint32 = 1 << 4 // the buffer is partly used and will be used again

	CQEBufferShift = 16
)

// Flags of io_uring_setup(2).
const (
	SetupIOPoll       uint32 = 1 << 0
	SetupSQPoll       uint32 = 1 << 1
	SetupSQAff        uint32 = 1 << 2
	SetupCQSize       uint32 = 1 << 3 // Params.CQEntries is given
	SetupClamp        uint32 = 1 << 4 // sizes above the kernel's limits are cut instead of refused
	SetupAttachWQ     uint32 = 1 << 5
	SetupRDisabled    uint32 = 1 << 6 // starts disabled; RegisterEnableRings starts it and names its one submitter
	SetupSubmitAll    uint32 = 1 << 7 // a record that fails does not end the submission of those after it
	SetupCoopTaskrun  uint32 = 1 << 8
	SetupTaskrunFlag  uint32 = 1 << 9
	SetupSQE128       uint32 = 1 << 10
	SetupCQE32        uint32 = 1 << 11
	SetupSingleIssuer uint32 = 1 << 12
	SetupDeferTaskrun uint32 = 1 << 13
	SetupNoSQArray    uint32 = 1 << 16
)

// Features reported by io_uring_setup(2).
const (
	FeatSingleMmap   uint32 = 1 << 0 // 5.4: both rings in one mapping
	FeatNoDrop       uint32 = 1 << 1 // 5.5: completions are kept when the queue is full
	FeatSubmitStable uint32 = 1 << 2 // 5.5: what a submission points at is read before enter returns
	FeatRWCurPos     uint32 = 1 << 3 // 5.6: offset -1 is the file's position
	FeatCurPersona   uint32 = 1 << 4 // 5.6: an op has the credentials of its submitter
	FeatFastPoll     uint32 = 1 << 5 // 5.7: sockets and pipes are polled for, not waited for by a worker
	FeatPoll32       uint32 = 1 << 6 // 5.9: all bits of a poll mask
	FeatNativeWorker uint32 = 1 << 9 // 5.12: workers are threads of the process
	FeatRsrcTags     uint32 = 1 << 10
	FeatCQESkip      uint32 = 1 << 11
	FeatLinkedFile   uint32 = 1 << 12
	FeatRegRegRing   uint32 = 1 << 13
	FeatExtArg       uint32 = 1 << 8 // 5.11: enter takes a timeout
)

// Flags of io_uring_enter(2).
const (
	EnterGetEvents      uint32 = 1 << 0 // wait for completions
	EnterSQWakeup       uint32 = 1 << 1 // wake the polling thread
	EnterSQWait         uint32 = 1 << 2 // wait for room in the submission queue
	EnterExtArg         uint32 = 1 << 3 // the argument is a GetEventsArg
	EnterRegisteredRing uint32 = 1 << 4 // the descriptor is an index made by RegisterRingFDs
)

// Opcodes of io_uring_register(2).
const (
	RegisterBuffers         uint32 = 0
	UnregisterBuffers       uint32 = 1
	RegisterFiles           uint32 = 2
	UnregisterFiles         uint32 = 3
	RegisterEventFD         uint32 = 4
	UnregisterEventFD       uint32 = 5
	RegisterFilesUpdate     uint32 = 6
	RegisterEventFDAsync    uint32 = 7
	RegisterProbe           uint32 = 8
	RegisterPersonality     uint32 = 9
	UnregisterPersonality   uint32 = 10
	RegisterRestrictions    uint32 = 11
	RegisterEnableRings     uint32 = 12
	RegisterFiles2          uint32 = 13
	RegisterFilesUpdate2    uint32 = 14
	RegisterBuffers2        uint32 = 15
	RegisterBuffersUpdate   uint32 = 16
	RegisterIOWQAff         uint32 = 17
	RegisterIOWQMaxWorkers  uint32 = 19
	RegisterRingFDs         uint32 = 20
	UnregisterRingFDs       uint32 = 21
	RegisterPbufRing        uint32 = 22
	UnregisterPbufRing      uint32 = 23
	RegisterSyncCancel      uint32 = 24
	RegisterFileAllocRange  uint32 = 25
	RegisterPbufStatus      uint32 = 26
	RegisterNAPI            uint32 = 27
	RegisterClock           uint32 = 29
	RegisterCloneBuffers    uint32 = 30
	RegisterResizeRings     uint32 = 33
	RegisterMemRegion       uint32 = 34
	RegisterUseRegisteredFD uint32 = 1 << 31 // or-ed in: the descriptor is a registered one
)

// Bits of the submission queue's flags word, written by the kernel.
const (
	SQNeedWakeup uint32 = 1 << 0 // the polling thread sleeps
	SQCQOverflow uint32 = 1 << 1 // completions wait in the kernel because the queue is full
	SQTaskrun    uint32 = 1 << 2 // work waits for the submitter to enter
)

// Flags of OpAsyncCancel, in SQE.OpFlags and SyncCancelReg.Flags.
const (
	CancelAll      uint32 = 1 << 0
	CancelFD       uint32 = 1 << 1 // match by descriptor instead of by user data
	CancelAny      uint32 = 1 << 2
	CancelFDFixed  uint32 = 1 << 3
	CancelUserData uint32 = 1 << 4
	CancelOp       uint32 = 1 << 5
)

// Flags of OpTimeout and OpLinkTimeout, in SQE.OpFlags.
const (
	TimeoutAbs          uint32 = 1 << 0
	TimeoutUpdate       uint32 = 1 << 1
	TimeoutBoottime     uint32 = 1 << 2
	TimeoutRealtime     uint32 = 1 << 3
	TimeoutETimeSuccess uint32 = 1 << 5
	TimeoutMultishot    uint32 = 1 << 6
)

// Flags of OpPollAdd, in SQE.Len.
const (
	PollAddMulti  uint32 = 1 << 0
	PollUpdEvents uint32 = 1 << 1
	PollUpdData   uint32 = 1 << 2
	PollAddLevel  uint32 = 1 << 3
)

// Flags of sends and receives, in SQE.IOPrio, and what a notification says in CQE.Res.
const (
	RecvSendPollFirst uint16 = 1 << 0
	RecvMultishot     uint16 = 1 << 1
	RecvSendFixedBuf  uint16 = 1 << 2
	SendZCReportUsage uint16 = 1 << 3
	RecvSendBundle    uint16 = 1 << 4

	AcceptMultishot uint16 = 1 << 0

	NotifUsageZCCopied uint32 = 1 << 31 // the kernel copied after all
)

// SpliceFDInFixed in SQE.OpFlags of OpSplice and OpTee: FileIndex is an index of the file table.
const SpliceFDInFixed uint32 = 1 << 31

// FileIndexAlloc in SQE.FileIndex: the kernel chooses a free place of the file table. Otherwise FileIndex is the place
// plus one, and 0 asks for a descriptor.
const FileIndexAlloc = ^uint32(0)

// FsyncDatasync in SQE.OpFlags makes OpFsync an fdatasync.
const FsyncDatasync uint32 = 1 << 0

// Offsets for mmap(2) of a ring.
const (
	offSQRing = 0
	offCQRing = 0x8000000
	offSQEs   = 0x10000000
)

// SQE is one submission, struct io_uring_sqe. Addresses in it are plain numbers: whoever fills it keeps the
// memory alive and in place until the completion.
type SQE struct {
	Opcode      Opcode
	Flags       uint8
	IOPrio      uint16
	FD          int32
	Off         uint64 // also addr2
	Addr        uint64
	Len         uint32
	OpFlags     uint32 // rw_flags, fsync_flags, statx_flags, cancel_flags, …
	UserData    uint64
	BufIndex    uint16
	Personality uint16
	FileIndex   uint32 // also splice_fd_in
	Addr3       uint64
	_           uint64
}

// CQE is one completion, struct io_uring_cqe.
type CQE struct {
	UserData uint64
	Res      int32 // result, or -errno
	Flags    uint32
}

// Params is struct io_uring_params.
type Params struct {
	SQEntries    uint32
	CQEntries    uint32
	Flags        uint32
	SQThreadCPU  uint32
	SQThreadIdle uint32
	Features     uint32
	WQFD         uint32
	_            [3]uint32
	SQOff        SQOffsets
	CQOff        CQOffsets
}

// SQOffsets is struct io_sqring_offsets.
type SQOffsets struct {
	Head, Tail, RingMask, RingEntries, Flags, Dropped, Array, _ uint32
	_                                                           uint64
}

// CQOffsets is struct io_cqring_offsets.
type CQOffsets struct {
	Head, Tail, RingMask, RingEntries, Overflow, CQEs, Flags, _ uint32
	_                                                           uint64
}

// The kernel's sizes; a wrong one does not compile.
var (
	_ [64 - unsafe.Sizeof(SQE{})]byte
	_ [unsafe.Sizeof(SQE{}) - 64]byte
	_ [16 - unsafe.Sizeof(CQE{})]byte
	_ [unsafe.Sizeof(CQE{}) - 16]byte
	_ [120 - unsafe.Sizeof(Params{})]byte
	_ [unsafe.Sizeof(Params{}) - 120]byte
)
