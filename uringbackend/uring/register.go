//go:build linux

package uring

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Register is io_uring_register(2). arg is borrowed.
func Register(fd int, opcode uint32, arg unsafe.Pointer, n uint32) (int, error) {
	r, _, errno := syscall.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), uintptr(opcode), uintptr(arg), uintptr(n), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// Opcodes is the set of opcodes that a kernel supports.
type Opcodes [4]uint64

// Has says whether op is in the set.
func (s Opcodes) Has(op Opcode) bool { return s[op/64]&(1<<(op%64)) != 0 }

// ProbeOpcodes asks the ring fd which opcodes the kernel supports. IORING_REGISTER_PROBE, 5.6.
func ProbeOpcodes(fd int) (Opcodes, error) {
	type probeOp struct {
		op    Opcode
		_     uint8
		flags uint16
		_     uint32
	}
	var p struct {
		last Opcode
		n    uint8
		_    uint16
		_    [3]uint32
		ops  [256]probeOp
	}
	var s Opcodes
	if _, err := Register(fd, RegisterProbe, unsafe.Pointer(&p), uint32(len(p.ops))); err != nil {
		return s, err
	}
	const supported = 1 << 0
	for _, o := range p.ops[:p.n] {
		if o.flags&supported != 0 {
			s[o.op/64] |= 1 << (o.op % 64)
		}
	}
	return s, nil
}

// SyncCancelReg is struct io_uring_sync_cancel_reg.
type SyncCancelReg struct {
	Addr    uint64
	FD      int32
	Flags   uint32
	Timeout unix.Timespec
	Opcode  uint8
	_       [7]uint8
	_       [3]uint64
}
