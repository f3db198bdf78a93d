//go:build linux

package uringbackend

import (
	"iter"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Answer is what is known about an ability.
type Answer uint8

// Unknown means that the question could not be asked (seccomp, sysctl); code reads it as No, reports print it.
const (
	Unknown Answer = iota
	No
	Yes
)

// String is the form in probe's JSON.
func (a Answer) String() string {
	switch a {
	case No:
		return "no"
	case Yes:
		return "yes"
	default:
		return "unknown"
	}
}

// Ability is one answer about the kernel.
type Ability struct {
	Answer Answer
	Since  string // first mainline release, "6.0", or "none"; distributions backport, so never compared to decide
	Why    error  // the errno behind No or Unknown
}

// Features are the abilities of a kernel, as a value that travels in Config. Probe fills it; a test plays an old
// kernel with a literal. Nothing else asks the kernel what it can do.
type Features struct {
	Ring Ability // io_uring_setup(2), register and enter are allowed and work

	// What a ring can be or do.
	NoDrop, RWCurPos, ExtArg, SyncCancel, SQE128 Ability
	DeferTaskrun                                 Ability // with SINGLE_ISSUER
	RegisteredRing, SQPoll                       Ability
	BuffersSparse, CloneBuffers, FilesSparse     Ability
	Personality, PbufRing                        Ability
	RecvMultishot, RecvBundle                    Ability
	PollLevel, CancelFD                          Ability
	IOWQMaxWorkers, EventFD                      Ability

	// The opcodes that a verb or an engine uses.
	OpRead, OpWrite, OpReadv, OpWritev, OpReadFixed, OpWriteFixed Ability
	OpReadvFixed, OpWritevFixed                                   Ability
	OpFsync, OpSyncFileRange, OpFallocate, OpFtruncate            Ability
	OpFadvise, OpMadvise                                          Ability
	OpOpenat2, OpClose, OpStatx                                   Ability
	OpUnlinkat, OpRenameat, OpMkdirat, OpSymlinkat, OpLinkat      Ability
	OpFgetxattr, OpFsetxattr, OpGetxattr, OpSetxattr              Ability
	OpSplice, OpTee                                               Ability
	OpSend, OpRecv, OpSendmsg, OpRecvmsg, OpSendZC, OpSendmsgZC   Ability
	OpAccept, OpShutdown, OpPollAdd                               Ability
	OpTimeout, OpLinkTimeout, OpAsyncCancel                       Ability

	// What system calls and file systems can do.
	Openat2Beneath     Ability
	StatxMountID       Ability
	StatxBirthTime     Ability
	StatxDIOAlign      Ability
	Cachestat          Ability
	RWFNoWait          Ability // for pipes
	RWFDontCache       Ability
	Fchmodat2          Ability
	UtimensatEmptyPath Ability
	LinkatEmptyPath    Ability
	CopyFileRange      Ability
	NameToHandle       Ability
	OpenByHandle       Ability
}

// AbilityRow is an Ability with what a reader of the report wants to know. Field for field a line of
// `probe --json`.
type AbilityRow struct {
	Name string
	Ability
	UsedBy   string
	Fallback string // what happens without it; empty when nothing needs it
}

type abilityInfo struct {
	name     string
	of       func(f *Features) *Ability
	since    string // "none": no release has it yet
	usedBy   string
	fallback string
}

// opcodeInfo is the row of an ability that is an opcode; its name in the report is "io_uring.op." and name.
type opcodeInfo struct {
	op uring.Opcode
	abilityInfo
}

// abilities is the list of rows, in report order. A test holds it against the fields of Features.
var abilities = [...]abilityInfo{
	{"io_uring", func(f *Features) *Ability { return &f.Ring }, "5.1", "ring engine", "syscall engine"},
	{"io_uring.nodrop", func(f *Features) *Ability { return &f.NoDrop }, "5.5", "ring engine", "syscall engine"},
	{"io_uring.rw_cur_pos", func(f *Features) *Ability { return &f.RWCurPos }, "5.6", "ring engine: pipes, sockets", "syscall engine"},
	{"io_uring.ext_arg", func(f *Features) *Ability { return &f.ExtArg }, "5.11", "report", ""},
	{"io_uring.sync_cancel", func(f *Features) *Ability { return &f.SyncCancel }, "6.0", "report", "an ASYNC_CANCEL submission"},
	{"io_uring.sqe128", func(f *Features) *Ability { return &f.SQE128 }, "5.19", "FUSE over io_uring", "/dev/fuse"},
	{"io_uring.single_issuer_defer_taskrun", func(f *Features) *Ability { return &f.DeferTaskrun }, "6.1", "queues, ring loop", "a plain ring"},
	{"io_uring.registered_ring", func(f *Features) *Ability { return &f.RegisteredRing }, "5.18", "queues, ring loop", "the ring's descriptor"},
	{"io_uring.sqpoll", func(f *Features) *Ability { return &f.SQPoll }, "5.11", "queues that ask for it", "io_uring_enter per submission"},
	{"io_uring.buffers_sparse", func(f *Features) *Ability { return &f.BuffersSparse }, "5.19", "registered buffers", "plain buffers"},
	{"io_uring.clone_buffers", func(f *Features) *Ability { return &f.CloneBuffers }, "6.13", "registered buffers of many rings", "one registration per ring"},
	{"io_uring.files_sparse", func(f *Features) *Ability { return &f.FilesSparse }, "5.19", "direct descriptors", "descriptors"},
	{"io_uring.personality", func(f *Features) *Ability { return &f.Personality }, "5.6", "ops as a user", "credential threads"},
	{"io_uring.pbuf_ring", func(f *Features) *Ability { return &f.PbufRing }, "5.19", "multishot receive", "a buffer per receive"},
	{"io_uring.recv_multishot", func(f *Features) *Ability { return &f.RecvMultishot }, "6.0", "multishot receive", "a submission per receive"},
	{"io_uring.recv_bundle", func(f *Features) *Ability { return &f.RecvBundle }, "6.10", "multishot receive", "a buffer per completion"},
	// In the header since 6.0, and refused by io_poll_add_prep in each release from then on.
	{"io_uring.poll_level", func(f *Features) *Ability { return &f.PollLevel }, "none", "poll", "an edge-triggered poll, armed again after each report"},
	{"io_uring.cancel_fd", func(f *Features) *Ability { return &f.CancelFD }, "5.19", "cancel by descriptor", "a cancellation per op"},
	{"io_uring.iowq_max_workers", func(f *Features) *Ability { return &f.IOWQMaxWorkers }, "5.15", "ring engine", "the kernel's own limits"},
	{"io_uring.eventfd", func(f *Features) *Ability { return &f.EventFD }, "5.2", "netpoll loop", "ring loop"},
	{"openat2.beneath", func(f *Features) *Ability { return &f.Openat2Beneath }, "5.6", "every path", "none: the volume cannot be served"},
	{"statx.mnt_id", func(f *Features) *Ability { return &f.StatxMountID }, "5.8", "mount crossing", "st_dev"},
	{"statx.btime", func(f *Features) *Ability { return &f.StatxBirthTime }, "4.11", "creation time, identity", "change time, device and inode"},
	{"statx.dioalign", func(f *Features) *Ability { return &f.StatxDIOAlign }, "6.1", "direct I/O", "4096"},
	{"cachestat", func(f *Features) *Ability { return &f.Cachestat }, "6.5", "guarded splice", "copy"},
	{"rwf_nowait.pipe", func(f *Features) *Ability { return &f.RWFNoWait }, "6.4", "reads of streams by syscall", "a read that may hold its thread"},
	{"rwf_dontcache", func(f *Features) *Ability { return &f.RWFDontCache }, "6.14", "streaming reads", "the page cache"},
	{"fchmodat2", func(f *Features) *Ability { return &f.Fchmodat2 }, "6.6", "fchmod", "/proc/self/fd"},
	{"utimensat.empty_path", func(f *Features) *Ability { return &f.UtimensatEmptyPath }, "5.8", "utimens", "/proc/self/fd"},
	{"linkat.empty_path", func(f *Features) *Ability { return &f.LinkatEmptyPath }, "2.6.39", "linkat of a descriptor", "/proc/self/fd"},
	{"copy_file_range", func(f *Features) *Ability { return &f.CopyFileRange }, "4.5", "copy_file_range", "read and write"},
	{"name_to_handle_at", func(f *Features) *Ability { return &f.NameToHandle }, "2.6.39", "node cache", "descriptors stay open"},
	{"open_by_handle_at", func(f *Features) *Ability { return &f.OpenByHandle }, "2.6.39", "node cache", "descriptors stay open"},
}

// opcodeAbilities are the rows of opcodes, in report order, after the others. A verb's ring half names
// its opcode; this table says which field of Features decides about it.
var opcodeAbilities = [...]opcodeInfo{
	{uring.OpRead, abilityInfo{"read", func(f *Features) *Ability { return &f.OpRead }, "5.6", "read_at", "pread"}},
	{uring.OpWrite, abilityInfo{"write", func(f *Features) *Ability { return &f.OpWrite }, "5.6", "write_at", "pwritev2"}},
	{uring.OpReadv, abilityInfo{"readv", func(f *Features) *Ability { return &f.OpReadv }, "5.1", "readv_at", "preadv2"}},
	{uring.OpWritev, abilityInfo{"writev", func(f *Features) *Ability { return &f.OpWritev }, "5.1", "writev_at", "pwritev2"}},
	{uring.OpReadFixed, abilityInfo{"read_fixed", func(f *Features) *Ability { return &f.OpReadFixed }, "5.1", "reads into registered buffers", "read_at"}},
	{uring.OpWriteFixed, abilityInfo{"write_fixed", func(f *Features) *Ability { return &f.OpWriteFixed }, "5.1", "writes from registered buffers", "write_at"}},
	{uring.OpReadvFixed, abilityInfo{"readv_fixed", func(f *Features) *Ability { return &f.OpReadvFixed }, "6.15", "reads into parts of registered buffers", "readv_at"}},
	{uring.OpWritevFixed, abilityInfo{"writev_fixed", func(f *Features) *Ability { return &f.OpWritevFixed }, "6.15", "writes from parts of registered buffers", "writev_at"}},
	{uring.OpFsync, abilityInfo{"fsync", func(f *Features) *Ability { return &f.OpFsync }, "5.1", "fsync", "fsync"}},
	{uring.OpSyncFileRange, abilityInfo{"sync_file_range", func(f *Features) *Ability { return &f.OpSyncFileRange }, "5.2", "sync_file_range", "sync_file_range"}},
	{uring.OpFallocate, abilityInfo{"fallocate", func(f *Features) *Ability { return &f.OpFallocate }, "5.6", "fallocate", "fallocate"}},
	{uring.OpFtruncate, abilityInfo{"ftruncate", func(f *Features) *Ability { return &f.OpFtruncate }, "6.9", "ftruncate", "ftruncate"}},
	{uring.OpFadvise, abilityInfo{"fadvise", func(f *Features) *Ability { return &f.OpFadvise }, "5.6", "fadvise, readahead", "posix_fadvise"}},
	{uring.OpMadvise, abilityInfo{"madvise", func(f *Features) *Ability { return &f.OpMadvise }, "5.6", "madvise", "madvise"}},
	{uring.OpOpenat2, abilityInfo{"openat2", func(f *Features) *Ability { return &f.OpOpenat2 }, "5.6", "openat2", "openat2"}},
	{uring.OpClose, abilityInfo{"close", func(f *Features) *Ability { return &f.OpClose }, "5.6", "close", "close"}},
	{uring.OpStatx, abilityInfo{"statx", func(f *Features) *Ability { return &f.OpStatx }, "5.6", "statx", "statx"}},
	{uring.OpUnlinkat, abilityInfo{"unlinkat", func(f *Features) *Ability { return &f.OpUnlinkat }, "5.11", "unlinkat", "unlinkat"}},
	{uring.OpRenameat, abilityInfo{"renameat", func(f *Features) *Ability { return &f.OpRenameat }, "5.11", "renameat2", "renameat2"}},
	{uring.OpMkdirat, abilityInfo{"mkdirat", func(f *Features) *Ability { return &f.OpMkdirat }, "5.15", "mkdirat", "mkdirat"}},
	{uring.OpSymlinkat, abilityInfo{"symlinkat", func(f *Features) *Ability { return &f.OpSymlinkat }, "5.15", "symlinkat", "symlinkat"}},
	{uring.OpLinkat, abilityInfo{"linkat", func(f *Features) *Ability { return &f.OpLinkat }, "5.15", "linkat", "linkat"}},
	{uring.OpFgetxattr, abilityInfo{"fgetxattr", func(f *Features) *Ability { return &f.OpFgetxattr }, "5.19", "fgetxattr", "fgetxattr"}},
	{uring.OpFsetxattr, abilityInfo{"fsetxattr", func(f *Features) *Ability { return &f.OpFsetxattr }, "5.19", "fsetxattr", "fsetxattr"}},
	{uring.OpGetxattr, abilityInfo{"getxattr", func(f *Features) *Ability { return &f.OpGetxattr }, "5.19", "getxattr", "getxattr"}},
	{uring.OpSetxattr, abilityInfo{"setxattr", func(f *Features) *Ability { return &f.OpSetxattr }, "5.19", "setxattr", "setxattr"}},
	{uring.OpSplice, abilityInfo{"splice", func(f *Features) *Ability { return &f.OpSplice }, "5.7", "splice", "splice"}},
	{uring.OpTee, abilityInfo{"tee", func(f *Features) *Ability { return &f.OpTee }, "5.8", "tee", "tee"}},
	{uring.OpSend, abilityInfo{"send", func(f *Features) *Ability { return &f.OpSend }, "5.6", "send", "send"}},
	{uring.OpRecv, abilityInfo{"recv", func(f *Features) *Ability { return &f.OpRecv }, "5.6", "recv", "recv"}},
	{uring.OpSendmsg, abilityInfo{"sendmsg", func(f *Features) *Ability { return &f.OpSendmsg }, "5.3", "sendmsg", "sendmsg"}},
	{uring.OpRecvmsg, abilityInfo{"recvmsg", func(f *Features) *Ability { return &f.OpRecvmsg }, "5.3", "recvmsg", "recvmsg"}},
	{uring.OpSendZC, abilityInfo{"send_zc", func(f *Features) *Ability { return &f.OpSendZC }, "6.0", "zero-copy sends", "send"}},
	{uring.OpSendmsgZC, abilityInfo{"sendmsg_zc", func(f *Features) *Ability { return &f.OpSendmsgZC }, "6.1", "zero-copy sends", "sendmsg"}},
	{uring.OpAccept, abilityInfo{"accept", func(f *Features) *Ability { return &f.OpAccept }, "5.5", "accept", "accept4"}},
	{uring.OpShutdown, abilityInfo{"shutdown", func(f *Features) *Ability { return &f.OpShutdown }, "5.11", "shutdown", "shutdown"}},
	{uring.OpPollAdd, abilityInfo{"poll_add", func(f *Features) *Ability { return &f.OpPollAdd }, "5.1", "poll", "poll"}},
	{uring.OpTimeout, abilityInfo{"timeout", func(f *Features) *Ability { return &f.OpTimeout }, "5.4", "timeouts", "the runtime's timers"}},
	{uring.OpLinkTimeout, abilityInfo{"link_timeout", func(f *Features) *Ability { return &f.OpLinkTimeout }, "5.5", "timeouts of ops", "the runtime's timers"}},
	{uring.OpAsyncCancel, abilityInfo{"async_cancel", func(f *Features) *Ability { return &f.OpAsyncCancel }, "5.5", "ring engine", "syscall engine"}},
}

// allAbilities yields the rows of both tables in report order, with their full names.
func allAbilities() iter.Seq[abilityInfo] {
	return func(yield func(abilityInfo) bool) {
		for _, a := range abilities {
			if !yield(a) {
				return
			}
		}
		for _, o := range opcodeAbilities {
			o.name = "io_uring.op." + o.name
			if !yield(o.abilityInfo) {
				return
			}
		}
	}
}

// Rows yields every ability in report order.
func (f Features) Rows() iter.Seq[AbilityRow] {
	return func(yield func(AbilityRow) bool) {
		for a := range allAbilities() {
			row := AbilityRow{Name: a.name, Ability: *a.of(&f), UsedBy: a.usedBy, Fallback: a.fallback}
			if row.Since == "" {
				row.Since = a.since
			}
			if !yield(row) {
				return
			}
		}
	}
}

// Opcode is the ability behind the ring half of a verb; No for a verb without one.
func (f Features) Opcode(k Kind) Ability {
	if k.RingHalf() {
		for _, o := range opcodeAbilities {
			if o.op == verbs[k].ring.opcode {
				return *o.of(&f)
			}
		}
	}
	return Ability{Answer: No}
}
