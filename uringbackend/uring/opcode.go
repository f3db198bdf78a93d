//go:build linux

package uring

// Opcode is what a submission asks for: IORING_OP_*, include/uapi/linux/io_uring.h.
type Opcode uint8

// The opcodes, by the kernel's numbers, each with the first kernel that has it.
const (
	OpNop            Opcode = 0  // 5.1
	OpReadv          Opcode = 1  // 5.1
	OpWritev         Opcode = 2  // 5.1
	OpFsync          Opcode = 3  // 5.1
	OpReadFixed      Opcode = 4  // 5.1
	OpWriteFixed     Opcode = 5  // 5.1
	OpPollAdd        Opcode = 6  // 5.1
	OpPollRemove     Opcode = 7  // 5.1
	OpSyncFileRange  Opcode = 8  // 5.2
	OpSendmsg        Opcode = 9  // 5.3
	OpRecvmsg        Opcode = 10 // 5.3
	OpTimeout        Opcode = 11 // 5.4
	OpTimeoutRemove  Opcode = 12 // 5.5
	OpAccept         Opcode = 13 // 5.5
	OpAsyncCancel    Opcode = 14 // 5.5
	OpLinkTimeout    Opcode = 15 // 5.5
	OpConnect        Opcode = 16 // 5.5
	OpFallocate      Opcode = 17 // 5.6
	OpOpenat         Opcode = 18 // 5.6
	OpClose          Opcode = 19 // 5.6
	OpFilesUpdate    Opcode = 20 // 5.6
	OpStatx          Opcode = 21 // 5.6
	OpRead           Opcode = 22 // 5.6
	OpWrite          Opcode = 23 // 5.6
	OpFadvise        Opcode = 24 // 5.6
	OpMadvise        Opcode = 25 // 5.6
	OpSend           Opcode = 26 // 5.6
	OpRecv           Opcode = 27 // 5.6
	OpOpenat2        Opcode = 28 // 5.6
	OpEpollCtl       Opcode = 29 // 5.6
	OpSplice         Opcode = 30 // 5.7
	OpProvideBuffers Opcode = 31 // 5.7
	OpRemoveBuffers  Opcode = 32 // 5.7
	OpTee            Opcode = 33 // 5.8
	OpShutdown       Opcode = 34 // 5.11
	OpRenameat       Opcode = 35 // 5.11
	OpUnlinkat       Opcode = 36 // 5.11
	OpMkdirat        Opcode = 37 // 5.15
	OpSymlinkat      Opcode = 38 // 5.15
	OpLinkat         Opcode = 39 // 5.15
	OpMsgRing        Opcode = 40 // 5.18
	OpFsetxattr      Opcode = 41 // 5.19
	OpSetxattr       Opcode = 42 // 5.19
	OpFgetxattr      Opcode = 43 // 5.19
	OpGetxattr       Opcode = 44 // 5.19
	OpSocket         Opcode = 45 // 5.19
	OpUringCmd       Opcode = 46 // 5.19
	OpSendZC         Opcode = 47 // 6.0
	OpSendmsgZC      Opcode = 48 // 6.1
	OpReadMultishot  Opcode = 49 // 6.7
	OpWaitid         Opcode = 50 // 6.7
	OpFutexWait      Opcode = 51 // 6.7
	OpFutexWake      Opcode = 52 // 6.7
	OpFutexWaitv     Opcode = 53 // 6.7
	OpFixedFDInstall Opcode = 54 // 6.8
	OpFtruncate      Opcode = 55 // 6.9
	OpBind           Opcode = 56 // 6.11
	OpListen         Opcode = 57 // 6.11
	OpRecvZC         Opcode = 58 // 6.15
	OpEpollWait      Opcode = 59 // 6.15
	OpReadvFixed     Opcode = 60 // 6.15
	OpWritevFixed    Opcode = 61 // 6.15
	OpPipe           Opcode = 62 // 6.16
)
