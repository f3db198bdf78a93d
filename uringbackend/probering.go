//go:build linux

package uringbackend

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

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
		for a := range allAbilities() {
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
	err = r.SyncCancel(uring.SyncCancelReg{Addr: 1, FD: -1, Timeout: uring.Timespec{Sec: -1, Nsec: -1}})
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	f.SyncCancel.settle(err)

	probeKinds(f)
	probeRegister(f, r)
	probeByDoing(f)

	ops, err := uring.ProbeOpcodes(r.FD())
	for _, o := range opcodeAbilities {
		switch {
		case err != nil:
			o.of(f).settle(err)
		case ops.Has(o.op):
			o.of(f).settle(nil)
		default:
			o.of(f).settle(unix.EOPNOTSUPP)
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

// probeKinds makes a ring of each kind that needs no opcode to be asked for.
func probeKinds(f *Features) {
	for _, kind := range []struct {
		a     *Ability
		flags uint32
	}{
		{&f.SQE128, uring.SetupSQE128},
		{&f.DeferTaskrun, uring.SetupSingleIssuer | uring.SetupDeferTaskrun},
		{&f.SQPoll, uring.SetupSQPoll},
	} {
		r, err := uring.New(2, 0, uring.SetupClamp|kind.flags)
		if err == nil {
			_ = r.Close()
		}
		kind.a.settle(err)
	}
}

// probeRegister asks a ring for what is registered with it.
func probeRegister(f *Features, r *uring.Ring) {
	f.BuffersSparse.settle(r.RegisterBufferTable(1))
	f.FilesSparse.settle(r.RegisterFileTable(1))
	f.CloneBuffers.settle(probeClone(r))

	id, err := r.RegisterPersonality()
	if err == nil {
		err = r.UnregisterPersonality(id)
	}
	f.Personality.settle(err)

	_, err = r.SetWorkers(uring.Workers{}) // zeros change nothing
	f.IOWQMaxWorkers.settle(err)

	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		if err = r.RegisterEventFD(event); err == nil {
			err = r.UnregisterEventFD()
		}
		_ = unix.Close(event) // an eventfd has nothing to lose
	}
	f.EventFD.settle(err)

	// The place belongs to the thread, so the same one gives it back.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err = r.RegisterRingFD(); err == nil {
		err = r.UnregisterRingFD()
	}
	f.RegisteredRing.settle(err)
}

// probeByDoing asks what no bit tells: flags of receives, polls and cancellations, which a kernel that does not know
// them refuses with EINVAL.
func probeByDoing(f *Features) {
	_, err := ask(uring.SQE{Opcode: uring.OpAsyncCancel, OpFlags: uring.CancelFD | uring.CancelAll}, false)
	f.CancelFD.settle(unless(unix.ENOENT, err)) // there is nothing to be cancelled
	_, err = ask(uring.SQE{
		Opcode: uring.OpPollAdd, OpFlags: unix.POLLIN, Len: uring.PollAddMulti | uring.PollAddLevel,
	}, false)
	f.PollLevel.settle(err)

	_, err = ask(uring.SQE{Opcode: uring.OpNop}, true)
	f.PbufRing.settle(err)
	for _, recv := range []struct {
		a     *Ability
		flags uint16
	}{
		{&f.RecvMultishot, uring.RecvMultishot},
		{&f.RecvBundle, uring.RecvMultishot | uring.RecvSendBundle},
	} {
		c, err := ask(uring.SQE{Opcode: uring.OpRecv, Flags: uring.SQEBufferSelect, IOPrio: recv.flags}, true)
		if err == nil && c.Flags&uring.CQEMore == 0 {
			err = unix.EOPNOTSUPP
		}
		recv.a.settle(err)
	}
}

// ask carries out one submission on a socket, which gets a byte to read, and returns the first completion. With
// buffers the ring has two to provide, in group 0: a bundle ends when there is none left. What is in flight afterwards ends with the ring.
func ask(sqe uring.SQE, buffers bool) (uring.CQE, error) {
	r, err := uring.New(2, 0, uring.SetupClamp)
	if err != nil {
		return uring.CQE{}, err
	}
	defer func() { _ = r.Close() }()
	socket, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return uring.CQE{}, fmt.Errorf("socketpair: %w", err)
	}
	defer func() { _, _ = unix.Close(socket[0]), unix.Close(socket[1]) }()
	if buffers {
		half := os.Getpagesize() / 2
		mem, err := unix.Mmap(-1, 0, 2*half, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return uring.CQE{}, fmt.Errorf("mmap: %w", err)
		}
		defer func() { _ = unix.Munmap(mem) }() // the kernel holds the pages while it needs them
		provided, err := r.RegisterPbufRing(0, 2, 0)
		if err != nil {
			return uring.CQE{}, err
		}
		// Before the ring is closed: the queue's memory is not the ring's.
		defer func() { _ = r.UnregisterPbufRing(provided) }()
		for i := range 2 {
			provided.Add(unsafe.Pointer(&mem[i*half]), uint32(half), uint16(i))
		}
		provided.Advance()
	}
	if sqe.Opcode != uring.OpNop {
		sqe.FD = int32(socket[0])
	}
	r.Push(&sqe) // an empty queue has room
	for sent := false; ; {
		// The first round submits; the byte comes after, because a level-triggered poll reports what happens next.
		wait := uint32(1)
		if !sent {
			wait = 0
		}
		if _, errno := r.Enter(wait, uring.EnterGetEvents); errno != 0 && errno != unix.EINTR {
			return uring.CQE{}, errno
		}
		if c, ok := r.Next(); ok {
			if c.Res < 0 {
				return c, unix.Errno(-c.Res)
			}
			return c, nil
		}
		if !sent && r.Unsubmitted() == 0 {
			if _, err := unix.Write(socket[1], make([]byte, 1)); err != nil {
				return uring.CQE{}, fmt.Errorf("write to a socket: %w", err)
			}
			sent = true
		}
	}
}
