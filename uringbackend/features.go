//go:build linux

package uringbackend

import "iter"

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
	Since  string // first mainline release, "6.0"; distributions backport, so never compared to decide
	Why    error  // the errno behind No or Unknown
}

// Features are the abilities of a kernel, as a value that travels in Config. Probe fills it; a test plays an old
// kernel with a literal. Nothing else asks the kernel what it can do.
type Features struct {
	Ring        Ability // io_uring_setup(2), register and enter are allowed and work
	NoDrop      Ability
	RWCurPos    Ability
	ExtArg      Ability
	SyncCancel  Ability
	SQE128      Ability
	Personality Ability

	OpRead        Ability
	OpWrite       Ability
	OpReadv       Ability
	OpWritev      Ability
	OpFsync       Ability
	OpOpenat2     Ability
	OpClose       Ability
	OpStatx       Ability
	OpAsyncCancel Ability

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
	since    string
	usedBy   string
	fallback string
}

// abilities is the list of rows, in report order. A test holds it against the fields of Features.
var abilities = [...]abilityInfo{
	{"io_uring", func(f *Features) *Ability { return &f.Ring }, "5.1", "ring engine", "syscall engine"},
	{"io_uring.nodrop", func(f *Features) *Ability { return &f.NoDrop }, "5.5", "ring engine", "syscall engine"},
	{"io_uring.rw_cur_pos", func(f *Features) *Ability { return &f.RWCurPos }, "5.6", "ring engine: pipes, sockets", "syscall engine"},
	{"io_uring.ext_arg", func(f *Features) *Ability { return &f.ExtArg }, "5.11", "report", ""},
	{"io_uring.sync_cancel", func(f *Features) *Ability { return &f.SyncCancel }, "6.0", "report", "an ASYNC_CANCEL submission"},
	{"io_uring.sqe128", func(f *Features) *Ability { return &f.SQE128 }, "5.19", "FUSE over io_uring", "/dev/fuse"},
	{"io_uring.personality", func(f *Features) *Ability { return &f.Personality }, "5.6", "ops with credentials", "a thread with credentials"},
	{"io_uring.op.read", func(f *Features) *Ability { return &f.OpRead }, "5.6", "read_at", "pread"},
	{"io_uring.op.write", func(f *Features) *Ability { return &f.OpWrite }, "5.6", "write_at", "pwritev2"},
	{"io_uring.op.readv", func(f *Features) *Ability { return &f.OpReadv }, "5.1", "readv_at", "preadv2"},
	{"io_uring.op.writev", func(f *Features) *Ability { return &f.OpWritev }, "5.1", "writev_at", "pwritev2"},
	{"io_uring.op.fsync", func(f *Features) *Ability { return &f.OpFsync }, "5.1", "fsync", "fsync"},
	{"io_uring.op.openat2", func(f *Features) *Ability { return &f.OpOpenat2 }, "5.6", "openat2", "openat2"},
	{"io_uring.op.close", func(f *Features) *Ability { return &f.OpClose }, "5.6", "close", "close"},
	{"io_uring.op.statx", func(f *Features) *Ability { return &f.OpStatx }, "5.6", "statx", "statx"},
	{"io_uring.op.async_cancel", func(f *Features) *Ability { return &f.OpAsyncCancel }, "5.5", "ring engine", "syscall engine"},
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

// Rows yields every ability in report order.
func (f Features) Rows() iter.Seq[AbilityRow] {
	return func(yield func(AbilityRow) bool) {
		for _, a := range abilities {
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

// ringAbility is the ability behind a verb's ring half.
func ringAbility(f *Features, k Kind) Ability {
	switch k {
	case KindReadAt:
		return f.OpRead
	case KindWriteAt:
		return f.OpWrite
	case KindReadvAt:
		return f.OpReadv
	case KindWritevAt:
		return f.OpWritev
	case KindFsync:
		return f.OpFsync
	case KindOpenat2:
		return f.OpOpenat2
	case KindClose:
		return f.OpClose
	case KindStatx:
		return f.OpStatx
	default:
		return Ability{Answer: No}
	}
}
