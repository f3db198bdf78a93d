//go:build linux

package uring

import (
	"time"
	"unsafe"
)

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

// More says that a further completion of the same submission follows.
func (c CQE) More() bool { return c.Flags&CQEMore != 0 }

// Buffer is the id of the provided buffer that the completion used, the first of them for a bundle. False: none.
func (c CQE) Buffer() (uint16, bool) {
	return uint16(c.Flags >> CQEBufferShift), c.Flags&CQEBuffer != 0
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
	UserAddr                                                    uint64
}

// CQOffsets is struct io_cqring_offsets.
type CQOffsets struct {
	Head, Tail, RingMask, RingEntries, Overflow, CQEs, Flags, _ uint32
	UserAddr                                                    uint64
}

// Timespec is struct __kernel_timespec: 64-bit fields on every machine. OpTimeout and OpLinkTimeout point at one.
type Timespec struct {
	Sec, Nsec int64
}

// TimespecOf converts a duration.
func TimespecOf(d time.Duration) Timespec {
	return Timespec{Sec: int64(d / time.Second), Nsec: int64(d % time.Second)}
}

// GetEventsArg is struct io_uring_getevents_arg, the argument of io_uring_enter(2) with EnterExtArg.
type GetEventsArg struct {
	Sigmask     uint64
	SigmaskSize uint32
	MinWaitUsec uint32 // 6.12, FeatMinTimeout
	TS          uint64 // address of a Timespec, or 0
}

// SyncCancelReg is struct io_uring_sync_cancel_reg, see Ring.SyncCancel.
type SyncCancelReg struct {
	Addr    uint64 // the user data to match, unless Flags say otherwise
	FD      int32  // the descriptor to match with CancelFD
	Flags   uint32
	Timeout Timespec // how long to wait for what was found; both fields -1: without limit
	Opcode  Opcode   // with CancelOp
	_       [7]uint8
	_       [3]uint64
}

// RsrcRegister is struct io_uring_rsrc_register.
type RsrcRegister struct {
	Nr    uint32
	Flags uint32
	_     uint64
	Data  uint64
	Tags  uint64
}

// RsrcUpdate is struct io_uring_rsrc_update, and io_uring_files_update.
type RsrcUpdate struct {
	Offset uint32
	_      uint32
	Data   uint64
}

// RsrcUpdate2 is struct io_uring_rsrc_update2.
type RsrcUpdate2 struct {
	Offset uint32
	_      uint32
	Data   uint64
	Tags   uint64
	Nr     uint32
	_      uint32
}

// CloneBuffersReg is struct io_uring_clone_buffers, see Ring.CloneBuffers.
type CloneBuffersReg struct {
	SrcFD  uint32
	Flags  uint32 // CloneSrcRegistered, CloneDstReplace
	SrcOff uint32
	DstOff uint32
	Nr     uint32 // 0: the whole table, from SrcOff 0
	_      [3]uint32
}

// FileIndexRange is struct io_uring_file_index_range.
type FileIndexRange struct {
	Off, Len uint32
	_        uint64
}

// BufReg is struct io_uring_buf_reg.
type BufReg struct {
	RingAddr    uint64
	RingEntries uint32
	Group       uint16
	Flags       uint16
	_           [3]uint64
}

// BufStatus is struct io_uring_buf_status.
type BufStatus struct {
	Group uint32
	Head  uint32
	_     [8]uint32
}

// Buf is struct io_uring_buf, one place of a PbufRing. Resv of the first place is the ring's tail.
type Buf struct {
	Addr uint64
	Len  uint32
	ID   uint16
	Resv uint16
}

// RecvmsgOut is struct io_uring_recvmsg_out: a multishot OpRecvmsg puts it at the start of the provided buffer, before
// name, control data and payload.
type RecvmsgOut struct {
	NameLen, ControlLen, PayloadLen, Flags uint32
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
