//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Creds are the credentials that an op is carried out with, so that permissions, owner, group, set-group-id
// directories, quotas and default ACLs follow the caller as they would without us in between. The zero value means the
// process's own. Borrowed like all that an Op points at, and not changed meanwhile.
//
// Another user than root has no effective capabilities, but see Checked. What the process may not put on reports EPERM: it
// needs CAP_SETUID and CAP_SETGID for what is not its own.
type Creds struct {
	Valid    bool
	UID, GID uint32
	Groups   []uint32 // supplementary groups, in any order; nil: none
	// Checked says that somebody in front (the kernel's default_permissions) has already decided that the caller
	// may do this, knowing groups that are not passed on here: CAP_DAC_OVERRIDE is kept, all else follows the
	// fields above.
	Checked bool
}

// As is the same engine with c for every typed call and every Do whose Op has no Creds; ops given to Submit keep theirs.
// c is borrowed as long as the value is used, and nil means the process's own, with its umask. An op with credentials
// has the umask 0, also with those of the process (the zero Creds).
func (e Engine) As(c *Creds) Engine {
	e.creds = c
	return e
}

// maxThreads bounds the threads that lend credentials; more calls wait for one.
const maxThreads = 16

// threads are OS threads of our own for calls that need credentials or a umask other than the process's. Credentials
// are put on by raw system calls, which change one thread only, around one call; then they are taken off and what the
// kernel says is compared. Where that fails the process ends: it must not go on with a thread of unknown rights. No
// other goroutine ever runs on these threads, and the runtime makes no thread from one of them (it has a template
// thread for that once a goroutine is locked), so nothing leaks.
//
// A thread has umask and working directory of its own from its birth, so AT_FDCWD is the directory of then. A process
// that changes its own credentials does that before its first op with Creds.
type threads struct {
	// Immutable after init.
	calls   chan *lending
	closing chan struct{}
	umask   func() (uint64, error)

	// Atomic.
	mask  atomic.Uint32          // what is known about the umask of the process
	alone atomic.Pointer[string] // why a thread could not have a umask of its own

	once sync.Once // close
	wg   sync.WaitGroup
	mu   sync.Mutex
	// +checklocks:mu
	count int
}

const (
	maskUnknown uint32 = iota
	maskZero
	maskOther
)

// lending is one call to be made with credentials.
type lending struct {
	creds *Creds
	call  func()
	done  chan error
}

// thread is a locked OS thread with the process's credentials on, between calls.
type thread struct {
	// Immutable after newThread.
	known    bool // what the process has; else nothing can be put on
	uid, gid uint32
	groups   []uint32 // sorted, as the kernel keeps them
	caps     [2]unix.CapUserData

	scratch []uint32
}

func (t *threads) init() {
	t.calls = make(chan *lending)
	t.closing = make(chan struct{})
	t.umask = processUmask
}

// close waits for the threads. No call is under way, and none comes later.
func (t *threads) close() {
	t.once.Do(func() { close(t.closing) })
	t.wg.Wait()
}

// needed says that op must run on one of these threads, unless the ring takes its credentials along.
func (t *threads) needed(op *Op) bool {
	if op.Creds == nil || op.Kind == KindClose { // a close acts with the credentials of the open
		return false
	}
	return op.Creds.Valid || t.masks(op)
}

// masks says that op has Creds, so that its umask is 0, makes something with a mode, and that the process's umask is not 0.
// The umask is a property of the process and cannot be given to a ring. It is read at the first op that it matters to.
func (t *threads) masks(op *Op) bool {
	switch op.Kind {
	case KindMkdirat, KindMknodat:
	case KindOpenat2:
		const tmpfile = unix.O_TMPFILE &^ unix.O_DIRECTORY
		if op.How == nil || op.How.Flags&(unix.O_CREAT|tmpfile) == 0 {
			return false
		}
	default:
		return false
	}
	mask := t.mask.Load()
	if mask == maskUnknown {
		mask = maskOther
		if umask, err := t.umask(); err == nil && umask == 0 {
			mask = maskZero
		}
		t.mask.Store(mask)
	}
	return mask == maskOther
}

// run makes call on a thread with the credentials c and umask 0, and returns when it is over. An error means that call
// was not made: ECANCELED when ctx ended while all threads were busy, EPERM when c could not be put on.
func (t *threads) run(ctx context.Context, c *Creds, call func()) error {
	l := &lending{creds: c, call: call, done: make(chan error, 1)}
	select {
	case t.calls <- l: // an idle thread
		return <-l.done
	default:
	}
	t.grow()
	select {
	case t.calls <- l:
		return <-l.done
	case <-ctx.Done():
		return unix.ECANCELED
	}
}

// runAlone is run on a new thread, for a call that may wait without bound.
func (t *threads) runAlone(c *Creds, call func()) error {
	done := make(chan error, 1)
	t.start(nil, func() { done <- t.newThread().lend(c, call) })
	return <-done
}

func (t *threads) grow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count < maxThreads {
		t.count++
		t.start(nil, t.serve)
	}
}

// start runs body on a goroutine that has a thread for itself, which ends with it. started, if not nil, is closed when
// it has that thread.
func (t *threads) start(started chan struct{}, body func()) {
	// ends when body returns; waited by threads.close
	t.wg.Go(func() {
		runtime.LockOSThread() // not unlocked below: the thread ends with this goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread does not end, and /proc/self shows its umask and directory as the process's. While
			// it is held here another goroutine gets another thread.
			other := make(chan struct{})
			t.start(other, body)
			<-other
			runtime.UnlockOSThread()
			body = func() {}
		}
		if started != nil {
			close(started)
		}
		body()
	})
}

// serve lends one thread's credentials until the engine closes.
func (t *threads) serve() {
	th := t.newThread()
	for {
		select {
		case l := <-t.calls:
			l.done <- th.lend(l.creds, l.call)
		case <-t.closing:
			return
		}
	}
}

// newThread makes the calling thread one with umask 0.
func (t *threads) newThread() *thread {
	th := &thread{uid: setfsuid(noID), gid: setfsgid(noID)}
	var noGroups, noCaps error
	th.groups, noGroups = getgroups(nil)
	th.caps, noCaps = capget()
	th.known = noGroups == nil && noCaps == nil
	// The umask belongs to the fs_struct that all threads of a process share.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		why := fmt.Sprintf("unshare of the umask: %v", err)
		t.alone.Store(&why)
		return th
	}
	unix.Umask(0)
	return th
}

// lend makes call with c put on. It returns only with the credentials of the process back on.
func (th *thread) lend(c *Creds, call func()) error {
	err := th.put(c)
	if err == nil {
		call()
	}
	if restored := th.restore(c); restored != nil {
		// Not to be caught: this is a goroutine of our own, and nothing on it recovers for good.
		panic("uringbackend: a thread did not get the credentials of the process back: " + restored.Error())
	}
	return err
}

// put puts c on. The order matters: the capabilities that allow the first steps are gone after the last.
func (th *thread) put(c *Creds) error {
	if !c.Valid {
		return nil
	}
	if !th.known {
		return unix.EPERM
	}
	th.scratch = groupSet(th.scratch[:0], c.Groups)
	if !slices.Equal(th.scratch, th.groups) {
		if err := setgroups(th.scratch); err != nil {
			return err
		}
	}
	// These two report no error (setfsuid(2)).
	if setfsgid(c.GID); setfsgid(noID) != c.GID || c.GID == noID {
		return unix.EPERM
	}
	if setfsuid(c.UID); setfsuid(noID) != c.UID || c.UID == noID {
		return unix.EPERM
	}
	if c.UID == 0 {
		return nil
	}
	// setfsuid has taken away the capabilities for files. The others act on files too: attributes of security and
	// trusted, limits of quotas, reserved blocks.
	const override = 1 << unix.CAP_DAC_OVERRIDE
	caps := th.caps
	caps[0].Effective, caps[1].Effective = 0, 0
	if c.Checked {
		caps[0].Effective = th.caps[0].Effective & override
	}
	return th.setCaps(&caps)
}

// restore takes off what put has put on, also when put failed half way, and asks the kernel whether it worked.
func (th *thread) restore(c *Creds) error {
	if !c.Valid || !th.known {
		return nil
	}
	// First, because the rest needs them; and at the end once more, because setfsuid to root raises some.
	if err := th.setCaps(&th.caps); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	setfsuid(th.uid)
	setfsgid(th.gid)
	groups, err := getgroups(th.scratch)
	if err == nil && !slices.Equal(groups, th.groups) {
		if err = setgroups(th.groups); err == nil {
			groups, err = getgroups(groups)
		}
	}
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	th.scratch = groups
	caps, err := capget()
	if err == nil && caps != th.caps {
		if err = th.setCaps(&th.caps); err == nil {
			caps, err = capget()
		}
	}
	if err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	uid, gid := setfsuid(noID), setfsgid(noID)
	if uid != th.uid || gid != th.gid || caps != th.caps || !slices.Equal(groups, th.groups) {
		return fmt.Errorf("uid %d gid %d groups %v capabilities %x", uid, gid, groups, caps[0].Effective)
	}
	return nil
}

// setCaps is capset(2), unless there have never been any.
func (th *thread) setCaps(caps *[2]unix.CapUserData) error {
	if th.caps[0].Permitted|th.caps[1].Permitted == 0 {
		return nil
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: this thread
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(caps)), 0)
	return errnoErr(errno)
}

// groupSet appends groups to dst as the kernel sorts them, each once.
func groupSet(dst, groups []uint32) []uint32 {
	dst = append(dst, groups...)
	slices.Sort(dst)
	return slices.Compact(dst)
}

// The following are raw system calls, as the kernel has them: for the calling thread. The functions of package syscall
// with such names change all threads of the process.

// noID is no user and no group: setting it changes nothing and returns what is.
const noID = ^uint32(0)

func setfsuid(uid uint32) uint32 {
	was, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	return uint32(was)
}

func setfsgid(gid uint32) uint32 {
	was, _, _ := unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	return uint32(was)
}

func setgroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	return errnoErr(errno)
}

// getgroups reads into buf, or into a new array if it is too small.
func getgroups(buf []uint32) ([]uint32, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_GETGROUPS, 0, 0, 0)
	if errno != 0 || n == 0 {
		return buf[:0], errnoErr(errno)
	}
	buf = slices.Grow(buf[:0], int(n))[:n]
	_, _, errno = unix.RawSyscall(unix.SYS_GETGROUPS, n, uintptr(unsafe.Pointer(unsafe.SliceData(buf))), 0)
	return buf, errnoErr(errno)
}

func capget() (caps [2]unix.CapUserData, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: this thread
	_, _, errno := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&caps)), 0)
	return caps, errnoErr(errno)
}

// processUmask reads the umask without changing it, as umask(2) would.
func processUmask() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "Umask:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 8, 32)
		}
	}
	return 0, fmt.Errorf("no Umask in /proc/self/status: %w", unix.ENODATA)
}
