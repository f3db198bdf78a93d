//go:build linux

package uring

import (
	"runtime"
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

func (r *Ring) register(opcode uint32, arg unsafe.Pointer, n uint32) error {
	_, err := Register(r.fd, opcode, arg, n)
	return err
}

// EnableRings starts a ring made with SetupRDisabled. With SetupSingleIssuer the calling thread becomes the submitter.
// IORING_REGISTER_ENABLE_RINGS, 5.10; EBADFD: it is running.
func (r *Ring) EnableRings() error { return r.register(RegisterEnableRings, nil, 0) }

// RegisterBufferTable makes a table of n empty places for buffers. IORING_RSRC_REGISTER_SPARSE, 5.19; EBUSY: there is a
// table; EINVAL: more than 16384 places.
func (r *Ring) RegisterBufferTable(n uint32) error {
	reg := RsrcRegister{Nr: n, Flags: RsrcRegisterSparse}
	return r.register(RegisterBuffers2, unsafe.Pointer(&reg), uint32(unsafe.Sizeof(reg)))
}

// UpdateBuffers puts bufs into the table from place at on; a zero Iovec empties a place. The kernel pins the pages until
// the place is emptied or overwritten and the operations that use it are over: then it posts a completion with the tag as
// user data, if tags are given and this one is not 0. The memory must not be used for anything else meanwhile; memory of
// the Go heap must be kept alive by the caller. It returns how many places were done, an error only if none.
// IORING_REGISTER_BUFFERS_UPDATE, 5.13; ENOMEM: RLIMIT_MEMLOCK (not for CAP_IPC_LOCK); EFAULT: over 1 GiB or not mapped;
// EINVAL: outside the table; ENXIO: no table.
func (r *Ring) UpdateBuffers(at uint32, bufs []unix.Iovec, tags []uint64) (int, error) {
	if len(bufs) == 0 || tags != nil && len(tags) != len(bufs) {
		return -1, unix.EINVAL
	}
	// The kernel gets the addresses as numbers, so the slices must not be on a stack, which moves.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&bufs[0])
	u := RsrcUpdate2{Offset: at, Data: address(unsafe.Pointer(&bufs[0])), Nr: uint32(len(bufs))} //nolint:gosec // small
	if tags != nil {
		pin.Pin(&tags[0])
		u.Tags = address(unsafe.Pointer(&tags[0]))
	}
	return Register(r.fd, RegisterBuffersUpdate, unsafe.Pointer(&u), uint32(unsafe.Sizeof(u)))
}

// UnregisterBuffers removes the table; operations that use a buffer keep it until they are over. 5.1; ENXIO: no table.
func (r *Ring) UnregisterBuffers() error { return r.register(UnregisterBuffers, nil, 0) }

// CloneBuffers fills the ring's buffer table with entries of another ring's, which share the pinned pages.
// IORING_REGISTER_CLONE_BUFFERS, 6.12, of the whole table (Nr, SrcOff and DstOff 0) into a ring without one. Ranges and
// CloneDstReplace came with 6.13. EBUSY: the ring has a table and CloneDstReplace is not set; ENXIO: the source has none;
// EOVERFLOW or EINVAL: outside the source's table. The destination's table grows where needed.
func (r *Ring) CloneBuffers(c CloneBuffersReg) error {
	return r.register(RegisterCloneBuffers, unsafe.Pointer(&c), 1)
}

// RegisterFileTable makes a table of n empty places for files. IORING_RSRC_REGISTER_SPARSE, 5.19; EBUSY: there is a
// table; EMFILE: more places than RLIMIT_NOFILE or 32768.
func (r *Ring) RegisterFileTable(n uint32) error {
	reg := RsrcRegister{Nr: n, Flags: RsrcRegisterSparse}
	return r.register(RegisterFiles2, unsafe.Pointer(&reg), uint32(unsafe.Sizeof(reg)))
}

// UpdateFiles puts the files of fds into the table from place at on. FileClear empties a place, FileSkip leaves it. The
// descriptors are borrowed: the table has references of its own. It returns how many places were done, an error only if
// none. IORING_REGISTER_FILES_UPDATE, 5.5; EBADF: no such descriptor, or that of a ring; ENXIO: no table.
func (r *Ring) UpdateFiles(at uint32, fds []int32) (int, error) {
	if len(fds) == 0 {
		return -1, unix.EINVAL
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&fds[0])
	u := RsrcUpdate{Offset: at, Data: address(unsafe.Pointer(&fds[0]))}
	return Register(r.fd, RegisterFilesUpdate, unsafe.Pointer(&u), uint32(len(fds))) //nolint:gosec // small
}

// UnregisterFiles removes the table; operations that use a file keep it until they are over. 5.1; ENXIO: no table.
func (r *Ring) UnregisterFiles() error { return r.register(UnregisterFiles, nil, 0) }

// FileAllocRange says from which n places, starting with at, FileIndexAlloc chooses. IORING_REGISTER_FILE_ALLOC_RANGE,
// 6.0; EINVAL or EOVERFLOW: outside the table.
func (r *Ring) FileAllocRange(at, n uint32) error {
	reg := FileIndexRange{Off: at, Len: n}
	return r.register(RegisterFileAllocRange, unsafe.Pointer(&reg), 0)
}

// RegisterPersonality keeps the credentials of the calling thread (user, groups, capabilities) under an id, never 0, that
// SQE.Personality takes. IORING_REGISTER_PERSONALITY, 5.6; up to 65535 a ring.
func (r *Ring) RegisterPersonality() (uint16, error) {
	id, err := Register(r.fd, RegisterPersonality, nil, 0)
	if err != nil {
		return 0, err
	}
	return uint16(id), nil //nolint:gosec // the kernel's limit
}

// UnregisterPersonality forgets the credentials; operations that have started keep them. 5.6; EINVAL: no such id.
func (r *Ring) UnregisterPersonality(id uint16) error {
	return r.register(UnregisterPersonality, nil, uint32(id))
}

// Workers are limits of the worker threads: Bounded for files, Unbounded for what can wait forever.
type Workers struct {
	Bounded, Unbounded uint32
}

// SetWorkers sets the limits per NUMA node, for the calling thread's workers and, without SetupSQPoll, those of every
// thread that comes to use the ring; 0 leaves a limit. It returns the limits before, so that a zero Workers asks.
// IORING_REGISTER_IOWQ_MAX_WORKERS, 5.15.
func (r *Ring) SetWorkers(w Workers) (Workers, error) {
	v := [2]uint32{w.Bounded, w.Unbounded}
	err := r.register(RegisterIOWQMaxWorkers, unsafe.Pointer(&v), 2)
	return Workers{v[0], v[1]}, err
}

// RegisterEventFD makes each completion signal an eventfd, which is borrowed. IORING_REGISTER_EVENTFD, 5.2; EBUSY: there
// is one.
func (r *Ring) RegisterEventFD(fd int) error {
	v := int32(fd) //nolint:gosec // a descriptor
	return r.register(RegisterEventFD, unsafe.Pointer(&v), 1)
}

// RegisterEventFDAsync is RegisterEventFD for completions of work that did not finish inside Enter. 5.6.
func (r *Ring) RegisterEventFDAsync(fd int) error {
	v := int32(fd) //nolint:gosec // a descriptor
	return r.register(RegisterEventFDAsync, unsafe.Pointer(&v), 1)
}

// UnregisterEventFD ends the signals. 5.2; ENXIO: there is none.
func (r *Ring) UnregisterEventFD() error { return r.register(UnregisterEventFD, nil, 0) }

// SyncCancel cancels what c matches and waits until it has completed, no longer than c.Timeout; the completions are
// posted as ever. IORING_REGISTER_SYNC_CANCEL, 6.0; ENOENT: nothing matched (with CancelAll: nil); ETIME: it was found
// and has not completed; EINTR: a signal came first.
func (r *Ring) SyncCancel(c SyncCancelReg) error {
	return r.register(RegisterSyncCancel, unsafe.Pointer(&c), 1)
}

// Resize changes the sizes of both queues (cqEntries 0: twice the entries) without losing a record of either. Only for
// rings with SetupDeferTaskrun and SetupNoSQArray, on their thread: EINVAL for others, as the kernel (6.18) does not say
// where a new index array lies, and may move only the first half of records of double size.
// IORING_REGISTER_RESIZE_RINGS, 6.13; EOVERFLOW: what is in a queue does not fit the new one. After an error of the
// mapping the ring can only be closed.
func (r *Ring) Resize(entries, cqEntries uint32) error {
	if r.setup&SetupNoSQArray == 0 || r.sqShift|r.cqShift != 0 {
		return unix.EINVAL
	}
	p := Params{SQEntries: entries}
	if cqEntries != 0 {
		p.CQEntries, p.Flags = cqEntries, SetupCQSize
	}
	r.publish(0) // the kernel moves what it can see
	if err := r.register(RegisterResizeRings, unsafe.Pointer(&p), 1); err != nil {
		return err
	}
	if err := r.unmap(); err != nil {
		return err
	}
	return r.mmap(&p)
}

func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }
