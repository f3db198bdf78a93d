//go:build linux

package uring

import "unsafe"

// Opcode is what a submission asks for: IORING_OP_*, include/uapi/linux/io_uring.h.
type Opcode uint8

// The opcodes in use, by the kernel's numbers.
const (
	OpNop         Opcode = 0
	OpReadv       Opcode = 1
	OpWritev      Opcode = 2
	OpFsync       Opcode = 3
	OpAsyncCancel Opcode = 14
	OpOpenat      Opcode = 18
	OpClose       Opcode = 19
	OpStatx       Opcode = 21
	OpRead        Opcode = 22
	OpWrite       Opcode = 23
	OpFadvise     Opcode = 24
	OpOpenat2     Opcode = 28
	OpSplice      Opcode = 30
	OpUnlinkat    Opcode = 36
	OpMkdirat     Opcode = 37
	OpSendZC      Opcode = 47
	OpFtruncate   Opcode = 55
)

// Flags of io_uring_setup(2).
const (
	SetupCQSize uint32 = 1 << 3 // Params.CQEntries is given
	SetupClamp  uint32 = 1 << 4 // sizes above the kernel's limits are cut instead of refused
	SetupSQE128 uint32 = 1 << 10
)

// Features reported by io_uring_setup(2).
const (
	FeatSingleMmap   uint32 = 1 << 0 // 5.4: both rings in one mapping
	FeatNoDrop       uint32 = 1 << 1 // 5.5: completions are kept when the queue is full
	FeatSubmitStable uint32 = 1 << 2 // 5.5: what a submission points at is read before enter returns
	FeatRWCurPos     uint32 = 1 << 3 // 5.6: offset -1 is the file's position
	FeatExtArg       uint32 = 1 << 8 // 5.11: enter takes a timeout
)

// EnterGetEvents is a flag of io_uring_enter(2): wait for completions.
const EnterGetEvents uint32 = 1 << 0

// Opcodes of io_uring_register(2).
const (
	RegisterProbe      uint32 = 8
	RegisterSyncCancel uint32 = 24
)

// SQCQOverflow is a bit of the submission queue's flags word, written by the kernel: completions wait in it because the
// queue is full.
const SQCQOverflow uint32 = 1 << 1

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
