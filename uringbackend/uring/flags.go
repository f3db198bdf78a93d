//go:build linux

package uring

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
	CQEBuffer      uint32 = 1 << 0  // 5.7: the upper 16 bits are a buffer id
	CQEMore        uint32 = 1 << 1  // 5.13: a further completion of the same submission follows
	CQESockNonempt uint32 = 1 << 2  // 5.19: there is more to receive
	CQENotif       uint32 = 1 << 3  // 6.0: a zero-copy send's second completion
	CQEBufMore     uint32 = 1 << 4  // 6.12: the buffer is partly used and will be used again
	CQESkip        uint32 = 1 << 5  // 6.18: fills a gap of a SetupCQEMixed ring
	CQELarge       uint32 = 1 << 15 // 6.18: 32 bytes, in a SetupCQEMixed ring

	CQEBufferShift = 16
)

// Flags of io_uring_setup(2).
const (
	SetupIOPoll           uint32 = 1 << 0  // 5.1: completions are polled for; direct I/O only
	SetupSQPoll           uint32 = 1 << 1  // 5.1: a kernel thread takes submissions without a system call
	SetupSQAff            uint32 = 1 << 2  // 5.1: Config.SQThreadCPU is given
	SetupCQSize           uint32 = 1 << 3  // 5.5: Params.CQEntries is given
	SetupClamp            uint32 = 1 << 4  // 5.6: sizes above the kernel's limits are cut instead of refused
	SetupAttachWQ         uint32 = 1 << 5  // 5.6: workers (and the polling thread, 5.12) are shared with the ring Config.WQFD
	SetupRDisabled        uint32 = 1 << 6  // 5.10: starts disabled; Ring.EnableRings starts it and names its one submitter
	SetupSubmitAll        uint32 = 1 << 7  // 5.18: a record that fails does not end the submission of those after it
	SetupCoopTaskrun      uint32 = 1 << 8  // 5.19: the submitter is not interrupted to finish an operation
	SetupTaskrunFlag      uint32 = 1 << 9  // 5.19: SQTaskrun says when such work waits
	SetupSQE128           uint32 = 1 << 10 // 5.19: submissions of 128 bytes; Push writes the first half and clears the second
	SetupCQE32            uint32 = 1 << 11 // 5.19: completions of 32 bytes; Next returns the first half
	SetupSingleIssuer     uint32 = 1 << 12 // 6.0: one thread submits and registers; others get EEXIST
	SetupDeferTaskrun     uint32 = 1 << 13 // 6.1: work is done only inside an enter with EnterGetEvents; needs SetupSingleIssuer
	SetupNoMmap           uint32 = 1 << 14 // 6.5: the caller gives the memory; Open does not do this
	SetupRegisteredFDOnly uint32 = 1 << 15 // 6.5: no descriptor, only an index; Open does not do this
	SetupNoSQArray        uint32 = 1 << 16 // 6.6: no index array between the queue and the records
	SetupHybridIOPoll     uint32 = 1 << 17 // 6.13: SetupIOPoll that sleeps first
	SetupCQEMixed         uint32 = 1 << 18 // 6.18: completions of both sizes; Next does not read these
)

// Features reported by io_uring_setup(2).
const (
	FeatSingleMmap     uint32 = 1 << 0  // 5.4: both rings in one mapping
	FeatNoDrop         uint32 = 1 << 1  // 5.5: completions are kept when the queue is full
	FeatSubmitStable   uint32 = 1 << 2  // 5.5: what a submission points at is read before enter returns
	FeatRWCurPos       uint32 = 1 << 3  // 5.6: offset -1 is the file's position
	FeatCurPersona     uint32 = 1 << 4  // 5.6: an op has the credentials of its submitter
	FeatFastPoll       uint32 = 1 << 5  // 5.7: sockets and pipes are polled for, not waited for by a worker
	FeatPoll32         uint32 = 1 << 6  // 5.9: all bits of a poll mask
	FeatSQPollNonfixed uint32 = 1 << 7  // 5.11: a polled ring takes plain descriptors
	FeatExtArg         uint32 = 1 << 8  // 5.11: enter takes a timeout
	FeatNativeWorker   uint32 = 1 << 9  // 5.12: workers are threads of the process
	FeatRsrcTags       uint32 = 1 << 10 // 5.13: registered buffers and files are updated one by one, with tags
	FeatCQESkip        uint32 = 1 << 11 // 5.17: SQECQESkip
	FeatLinkedFile     uint32 = 1 << 12 // 5.17: a descriptor is looked up when its op starts, not when it is submitted
	FeatRegRegRing     uint32 = 1 << 13 // 6.3: register takes a registered ring index
	FeatRecvSendBundle uint32 = 1 << 14 // 6.10: RecvSendBundle
	FeatMinTimeout     uint32 = 1 << 15 // 6.12: GetEventsArg.MinWaitUsec
	FeatRWAttr         uint32 = 1 << 16 // 6.14: protection information with reads and writes
	FeatNoIOWait       uint32 = 1 << 17 // 6.15: EnterNoIOWait
)

// Flags of io_uring_enter(2).
const (
	EnterGetEvents      uint32 = 1 << 0 // 5.1: wait for completions
	EnterSQWakeup       uint32 = 1 << 1 // 5.1: wake the polling thread
	EnterSQWait         uint32 = 1 << 2 // 5.10: wait for room in the submission queue
	EnterExtArg         uint32 = 1 << 3 // 5.11: the argument is a GetEventsArg
	EnterRegisteredRing uint32 = 1 << 4 // 5.18: the descriptor is an index made by RegisterRingFDs
	EnterAbsTimer       uint32 = 1 << 5 // 6.12: the timeout is a point in time
	EnterExtArgReg      uint32 = 1 << 6 // 6.13: the argument is an offset into a registered region
	EnterNoIOWait       uint32 = 1 << 7 // 6.15: waiting does not count as waiting for a disk
)

// Opcodes of io_uring_register(2).
const (
	RegisterBuffers         uint32 = 0       // 5.1
	UnregisterBuffers       uint32 = 1       // 5.1
	RegisterFiles           uint32 = 2       // 5.1
	UnregisterFiles         uint32 = 3       // 5.1
	RegisterEventFD         uint32 = 4       // 5.2
	UnregisterEventFD       uint32 = 5       // 5.2
	RegisterFilesUpdate     uint32 = 6       // 5.5
	RegisterEventFDAsync    uint32 = 7       // 5.6
	RegisterProbe           uint32 = 8       // 5.6
	RegisterPersonality     uint32 = 9       // 5.6
	UnregisterPersonality   uint32 = 10      // 5.6
	RegisterRestrictions    uint32 = 11      // 5.10
	RegisterEnableRings     uint32 = 12      // 5.10
	RegisterFiles2          uint32 = 13      // 5.13
	RegisterFilesUpdate2    uint32 = 14      // 5.13
	RegisterBuffers2        uint32 = 15      // 5.13
	RegisterBuffersUpdate   uint32 = 16      // 5.13
	RegisterIOWQAff         uint32 = 17      // 5.14
	UnregisterIOWQAff       uint32 = 18      // 5.14
	RegisterIOWQMaxWorkers  uint32 = 19      // 5.15
	RegisterRingFDs         uint32 = 20      // 5.18
	UnregisterRingFDs       uint32 = 21      // 5.18
	RegisterPbufRing        uint32 = 22      // 5.19
	UnregisterPbufRing      uint32 = 23      // 5.19
	RegisterSyncCancel      uint32 = 24      // 6.0
	RegisterFileAllocRange  uint32 = 25      // 6.0
	RegisterPbufStatus      uint32 = 26      // 6.8
	RegisterNAPI            uint32 = 27      // 6.9
	UnregisterNAPI          uint32 = 28      // 6.9
	RegisterClock           uint32 = 29      // 6.12
	RegisterCloneBuffers    uint32 = 30      // 6.12
	RegisterSendMsgRing     uint32 = 31      // 6.13
	RegisterZCRXIfq         uint32 = 32      // 6.15
	RegisterResizeRings     uint32 = 33      // 6.13
	RegisterMemRegion       uint32 = 34      // 6.13
	RegisterQuery           uint32 = 35      // 6.18
	RegisterUseRegisteredFD uint32 = 1 << 31 // 6.3, or-ed in: the descriptor is a registered one
)

// Flags and special values of the register calls.
const (
	RsrcRegisterSparse uint32 = 1 << 0 // 5.19: RsrcRegister.Flags: a table of empty places

	FileClear int32 = -1 // in UpdateFiles: empties the place
	FileSkip  int32 = -2 // in UpdateFiles, 5.12: leaves the place as it is

	CloneSrcRegistered uint32 = 1 << 0 // 6.12: the source is a registered ring index
	CloneDstReplace    uint32 = 1 << 1 // 6.13: places in use at the destination are replaced instead of refused

	PbufRingMmap uint16 = 1 << 0 // 6.4: the kernel gives the memory
	PbufRingInc  uint16 = 1 << 1 // 6.12: a buffer is used bit by bit, see CQEBufMore
)

// Bits of the submission queue's flags word, written by the kernel.
const (
	SQNeedWakeup uint32 = 1 << 0 // the polling thread sleeps
	SQCQOverflow uint32 = 1 << 1 // completions wait in the kernel because the queue is full
	SQTaskrun    uint32 = 1 << 2 // work waits for the submitter to enter
)

// Flags of OpAsyncCancel, in SQE.OpFlags and SyncCancelReg.Flags.
const (
	CancelAll      uint32 = 1 << 0 // 5.19: all that match; the result is their number, which may be 0
	CancelFD       uint32 = 1 << 1 // 5.19: match by descriptor instead of by user data
	CancelAny      uint32 = 1 << 2 // 5.19: match everything
	CancelFDFixed  uint32 = 1 << 3 // 6.0: the descriptor is an index of the file table
	CancelUserData uint32 = 1 << 4 // 6.6: match by user data as well
	CancelOp       uint32 = 1 << 5 // 6.6: match by opcode as well
)

// Flags of OpTimeout and OpLinkTimeout, in SQE.OpFlags.
const (
	TimeoutAbs          uint32 = 1 << 0 // 5.5: a point in time
	TimeoutUpdate       uint32 = 1 << 1 // 5.11: OpTimeoutRemove sets a new time
	TimeoutBoottime     uint32 = 1 << 2 // 5.15: counts while suspended
	TimeoutRealtime     uint32 = 1 << 3 // 5.15: the wall clock
	TimeoutLinkUpdate   uint32 = 1 << 4 // 5.15, together with TimeoutUpdate: it is an OpLinkTimeout
	TimeoutETimeSuccess uint32 = 1 << 5 // 5.16: running out does not break a chain
	TimeoutMultishot    uint32 = 1 << 6 // 6.4: again and again
)

// Flags of OpPollAdd, in SQE.Len; those that update go with OpPollRemove, which takes the poll whose user data is SQE.Addr.
//
// PollAddLevel is a number that no kernel accepts: it was switched off in io_poll_add_prep (io_uring/poll.c) before 6.0 came
// out, and OpPollAdd and OpPollRemove with it answer EINVAL, on 6.18 too. What a multishot poll does, on 6.18: one
// completion when it starts if the file is ready then, and one each time that the file wakes its waiters and is ready
// (wake-ups may be merged), even if nothing was read since; none as long as the file just stays ready, also after a read
// that leaves something. Who wants to hear of a state that lasts sends OpPollRemove with PollUpdEvents and the same events:
// that starts the poll again, still multishot, and it reports at once if the file is ready.
const (
	PollAddMulti  uint32 = 1 << 0 // 5.13: more than one completion, until one without CQEMore
	PollUpdEvents uint32 = 1 << 1 // 5.13: new events, from SQE.OpFlags
	PollUpdData   uint32 = 1 << 2 // 5.13: new user data, from SQE.Off
	PollAddLevel  uint32 = 1 << 3 // see above
)

// Flags of sends and receives, in SQE.IOPrio, and what a notification says in CQE.Res. A zero-copy send's first completion
// has CQEMore if a second, with CQENotif, will say that the memory is free. A failed send may have both too: CQEMore decides.
const (
	RecvSendPollFirst uint16 = 1 << 0 // 5.19: do not try at once, poll
	RecvMultishot     uint16 = 1 << 1 // 6.0: one submission, a completion per arrival; needs SQEBufferSelect
	RecvSendFixedBuf  uint16 = 1 << 2 // 6.0: the memory is the registered buffer BufIndex (zero-copy sends)
	SendZCReportUsage uint16 = 1 << 3 // 6.2: the notification says whether the kernel copied
	RecvSendBundle    uint16 = 1 << 4 // 6.10: several provided buffers in one go, from CQE.Buffer on

	AcceptMultishot uint16 = 1 << 0 // 5.19

	NotifUsageZCCopied uint32 = 1 << 31 // the kernel copied after all
)

// SpliceFDInFixed in SQE.OpFlags of OpSplice and OpTee: FileIndex is an index of the file table.
const SpliceFDInFixed uint32 = 1 << 31

// FileIndexAlloc in SQE.FileIndex: the kernel chooses a free place of the file table. Otherwise FileIndex is the place
// plus one, and 0 asks for a descriptor.
const FileIndexAlloc = ^uint32(0)

// FsyncDatasync in SQE.OpFlags makes OpFsync an fdatasync.
const FsyncDatasync uint32 = 1 << 0

// OpMsgRing: what is sent, in SQE.Addr, and its flags, in SQE.OpFlags.
const (
	MsgData   uint64 = 0 // 5.18: SQE.Len and SQE.Off become result and user data of a completion of the other ring
	MsgSendFD uint64 = 1 // 6.0: a file of this ring's table goes into the other's

	MsgRingCQESkip   uint32 = 1 << 0 // 6.0: MsgSendFD without a completion there
	MsgRingFlagsPass uint32 = 1 << 1 // 6.3: SQE.FileIndex becomes the completion's flags
)

// FixedFDNoCloexec in SQE.OpFlags of OpFixedFDInstall (6.8): the new descriptor stays open over exec.
const FixedFDNoCloexec uint32 = 1 << 0

// NopInjectResult in SQE.OpFlags of OpNop (6.10): SQE.Len is the result.
const NopInjectResult uint32 = 1 << 0
