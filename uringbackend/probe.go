//go:build linux

package uringbackend

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// Probe asks the kernel. dir, if not empty, is a directory of the file system that the volume will be on; without
// it the questions that a file system decides are asked of an anonymous file and of the root directory. It changes
// nothing outside the process and keeps nothing.
func Probe(dir string) Features {
	var f Features
	for _, a := range abilities {
		*a.of(&f) = Ability{Since: a.since}
	}
	probeRing(&f)
	probeCalls(&f, dir)
	return f
}

// settle turns the errno of a question into an answer: nil is Yes, a refusal is Unknown, the rest is No.
func (a *Ability) settle(err error) {
	switch {
	case err == nil:
		a.Answer, a.Why = Yes, nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		a.Answer, a.Why = Unknown, err
	default:
		a.Answer, a.Why = No, err
	}
}

func probeRing(f *Features) {
	r, err := uring.New(4, 0, uring.SetupClamp)
	if err == nil {
		err = nop(r)
		if err != nil {
			_ = r.Close()
		}
	}
	if err != nil {
		f.Ring.settle(err)
		refusal(&f.Ring)
		for _, a := range abilities {
			if ab := a.of(f); strings.HasPrefix(a.name, "io_uring.") {
				ab.Answer, ab.Why = f.Ring.Answer, f.Ring.Why
			}
		}
		return
	}
	defer func() { _ = r.Close() }()
	f.Ring.settle(nil)
	feature := func(a *Ability, bit uint32) {
		a.Answer, a.Why = Yes, nil
		if r.Features()&bit == 0 {
			a.Answer, a.Why = No, unix.EOPNOTSUPP
		}
	}
	feature(&f.NoDrop, uring.FeatNoDrop)
	feature(&f.RWCurPos, uring.FeatRWCurPos)
	feature(&f.ExtArg, uring.FeatExtArg)

	// Nothing is in flight, so a kernel that knows the request answers ENOENT.
	_, err = uring.Register(r.FD(), uring.RegisterSyncCancel, unsafe.Pointer(&uring.SyncCancelReg{
		Addr: 1, FD: -1, Timeout: unix.Timespec{Sec: -1, Nsec: -1},
	}), 1)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	f.SyncCancel.settle(err)

	wide, err := uring.New(2, 0, uring.SetupClamp|uring.SetupSQE128)
	if err == nil {
		_ = wide.Close()
	}
	f.SQE128.settle(err)
	f.Personality.settle(probePersonality(r))

	ops, err := uring.ProbeOpcodes(r.FD())
	for _, o := range []struct {
		a  *Ability
		op uring.Opcode
	}{
		{&f.OpRead, uring.OpRead},
		{&f.OpWrite, uring.OpWrite},
		{&f.OpReadv, uring.OpReadv},
		{&f.OpWritev, uring.OpWritev},
		{&f.OpFsync, uring.OpFsync},
		{&f.OpOpenat2, uring.OpOpenat2},
		{&f.OpClose, uring.OpClose},
		{&f.OpStatx, uring.OpStatx},
		{&f.OpAsyncCancel, uring.OpAsyncCancel},
	} {
		switch {
		case err != nil:
			o.a.settle(err)
		case ops.Has(o.op):
			o.a.settle(nil)
		default:
			o.a.settle(unix.EOPNOTSUPP)
		}
	}
}

// nop sends one empty operation around: a filter may allow setup and refuse enter.
func nop(r *uring.Ring) error {
	r.Push(&uring.SQE{Opcode: uring.OpNop, UserData: 1}) // an empty queue has room
	for {
		_, errno := r.Enter(1, uring.EnterGetEvents)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("io_uring_enter: %w", errno)
		}
		if c, ok := r.Next(); ok {
			if c.UserData != 1 || c.Res != 0 {
				return fmt.Errorf("io_uring no-op returned %d: %w", c.Res, unix.EIO)
			}
			return nil
		}
	}
}

// refusal finds out who refused the ring, as far as that can be known.
func refusal(a *Ability) {
	const sysctl = "/proc/sys/kernel/io_uring_disabled" // 6.6
	b, err := os.ReadFile(sysctl)
	setting := strings.TrimSpace(string(b))
	switch {
	case errors.Is(a.Why, unix.EPERM) && setting == "1", errors.Is(a.Why, unix.EPERM) && setting == "2":
		a.Answer, a.Why = Unknown, fmt.Errorf("sysctl kernel.io_uring_disabled=%s: %w", setting, a.Why)
	case errors.Is(a.Why, unix.EPERM), errors.Is(a.Why, unix.EACCES):
		a.Answer, a.Why = Unknown, fmt.Errorf("refused, by a seccomp filter or a security module: %w", a.Why)
	case errors.Is(a.Why, unix.ENOSYS) && err == nil:
		// The sysctl exists only where io_uring is compiled in.
		a.Answer, a.Why = Unknown, fmt.Errorf("refused, by a seccomp filter: %w", a.Why)
	case errors.Is(a.Why, unix.ENOMEM), errors.Is(a.Why, unix.EMFILE), errors.Is(a.Why, unix.ENFILE):
		a.Answer, a.Why = Unknown, fmt.Errorf("no resources to ask: %w", a.Why)
	}
}

func probeCalls(f *Features, dir string) {
	if dir == "" {
		dir = "/"
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = fmt.Errorf("open %s: %w", dir, err)
		for _, a := range []*Ability{
			&f.Openat2Beneath, &f.StatxMountID, &f.StatxBirthTime, &f.StatxDIOAlign, &f.RWFDontCache,
			&f.LinkatEmptyPath, &f.NameToHandle, &f.OpenByHandle,
		} {
			a.Answer, a.Why = Unknown, err
		}
	} else {
		defer func() { _ = unix.Close(root) }()
		probeDir(f, root)
	}
	probeFile(f)

	// A descriptor that cannot be open: the flag is checked first, so EBADF means that it is known.
	f.UtimensatEmptyPath.settle(unless(unix.EBADF, unix.UtimesNanoAt(-1, "", make([]unix.Timespec, 2), unix.AT_EMPTY_PATH)))
	_, _, errno := unix.Syscall6(unix.SYS_FCHMODAT2, ^uintptr(0), uintptr(unsafe.Pointer(&emptyPath[0])), 0, unix.AT_EMPTY_PATH, 0, 0)
	f.Fchmodat2.settle(unless(unix.EBADF, errnoErr(errno)))
	_, err = unix.CopyFileRange(-1, nil, -1, nil, 1, 0)
	f.CopyFileRange.settle(unless(unix.EBADF, err))
}

// unless reads one errno as success.
func unless(expected unix.Errno, err error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func probeDir(f *Features, root int) {
	fd, err := unix.Openat2(root, ".", &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == nil {
		_ = unix.Close(fd)
	}
	f.Openat2Beneath.settle(err)

	var st unix.Statx_t
	err = unix.Statx(root, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID|unix.STATX_BTIME, &st)
	has := func(a *Ability, bit uint32) {
		switch {
		case err != nil:
			a.settle(err)
		case st.Mask&bit == 0:
			a.settle(unix.EOPNOTSUPP)
		default:
			a.settle(nil)
		}
	}
	has(&f.StatxMountID, unix.STATX_MNT_ID)
	has(&f.StatxBirthTime, unix.STATX_BTIME)

	probeTemporary(f, root)

	// Linking a descriptor by AT_EMPTY_PATH: EPERM or EXDEV or EEXIST come after the permission check, which
	// says ENOENT to those who may not. The name exists, so nothing is ever made.
	f.LinkatEmptyPath.settle(unless(unix.EEXIST, unix.Linkat(root, "", root, ".", unix.AT_EMPTY_PATH)))

	h, _, err := unix.NameToHandleAt(root, "", unix.AT_EMPTY_PATH)
	f.NameToHandle.settle(err)
	if err != nil {
		f.OpenByHandle.settle(err)
		return
	}
	mount, err := unix.Openat(root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		fd, err = unix.OpenByHandleAt(mount, h, unix.O_PATH|unix.O_CLOEXEC)
		_ = unix.Close(mount)
		if err == nil {
			_ = unix.Close(fd)
		}
	}
	f.OpenByHandle.settle(err)
}

// probeTemporary asks what the file system of root decides for each file, of a file without a name.
func probeTemporary(f *Features, root int) {
	tmp, err := unix.Openat(root, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		err = fmt.Errorf("temporary file: %w", err)
		f.StatxDIOAlign.Answer, f.StatxDIOAlign.Why = Unknown, err
		f.RWFDontCache.Answer, f.RWFDontCache.Why = Unknown, err
		return
	}
	defer func() { _ = unix.Close(tmp) }()
	var st unix.Statx_t
	err = unix.Statx(tmp, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN == 0 {
		err = unix.EOPNOTSUPP
	}
	f.StatxDIOAlign.settle(err)
	buf := [1][]byte{make([]byte, 1)}
	_, err = unix.Preadv2(tmp, buf[:], 0, unix.RWF_DONTCACHE)
	f.RWFDontCache.settle(err)
}

// probeFile asks what an anonymous file and a pipe can answer; every kernel has both.
func probeFile(f *Features) {
	if fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC); err != nil {
		f.Cachestat.Answer, f.Cachestat.Why = Unknown, fmt.Errorf("memfd: %w", err)
	} else {
		var cs unix.Cachestat_t
		f.Cachestat.settle(unix.Cachestat(uint(fd), &unix.CachestatRange{Len: 1}, &cs, 0))
		_ = unix.Close(fd)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		f.RWFNoWait.Answer, f.RWFNoWait.Why = Unknown, fmt.Errorf("pipe: %w", err)
		return
	}
	// The writing end is closed only afterwards: an empty pipe with a writer is what would wait. A kernel that
	// does not know the flag for pipes refuses it before it looks.
	buf := [1][]byte{make([]byte, 1)}
	_, err := unix.Preadv2(p[0], buf[:], -1, unix.RWF_NOWAIT)
	f.RWFNoWait.settle(unless(unix.EAGAIN, err))
	_, _ = unix.Close(p[0]), unix.Close(p[1])
}
