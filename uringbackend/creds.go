//go:build linux

package uringbackend

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Creds are the credentials that a new name is made with, so that owner, group, set-group-id directories, quotas
// and default ACLs follow the caller as they would without us in between. The zero value means the process's own.
type Creds struct {
	Valid    bool
	UID, GID uint32
	Groups   []uint32 // supplementary groups; nil: none
	// Checked says that somebody in front (the kernel's default_permissions) has already decided that the caller
	// may do this, knowing groups that are not passed on here: CAP_DAC_OVERRIDE is kept, all else follows the
	// fields above.
	Checked bool
}

// maxThreads bounds the threads that lend credentials; more calls wait for one.
const maxThreads = 16

// threads are OS threads of our own for calls that need credentials or a umask other than the process's. Credentials
// are put on by raw calls, which change one thread only, around one operation; then they are taken off and what
// the kernel says is compared. A thread for which that fails is ended: a goroutine that exits while locked takes
// its thread along (runtime.LockOSThread). As no other goroutine ever runs on these threads, nothing leaks.
type threads struct {
	// Immutable after init.
	log     *slog.Logger
	always  bool // the umask of the process is not 0: every creation runs here
	calls   chan func(*thread) bool
	closing chan struct{}

	wg sync.WaitGroup
	mu sync.Mutex
	// +checklocks:mu
	count int
}

// thread is a locked OS thread with the process's credentials on, between calls.
type thread struct {
	uid, gid int
	groups   []int
	caps     [2]unix.CapUserData
}

func (t *threads) init(log *slog.Logger) {
	t.log = log
	t.calls = make(chan func(*thread) bool)
	t.closing = make(chan struct{})
	umask, err := processUmask()
	if err != nil {
		log.Warn("umask unknown, taken as not 0", "error", err)
	}
	t.always = err != nil || umask != 0
}

func (t *threads) close() {
	if t.closing == nil {
		return // OpenVolume failed before init
	}
	close(t.closing)
	t.wg.Wait()
}

// run makes call with the credentials c and umask 0. call is told whether it runs on a thread with either, because
// then it must make its system calls itself. ctx ends the wait for a thread.
func (t *threads) run(ctx context.Context, c Creds, call func(onThread bool) error) error {
	if !c.Valid && !t.always {
		return call(false)
	}
	done := make(chan error, 1)
	job := func(th *thread) (clean bool) {
		err := th.put(c)
		if err == nil {
			err = call(true)
		}
		if restored := th.restore(); restored != nil {
			t.log.Error("a thread did not get its credentials back and is ended", "error", restored)
			done <- err
			return false
		}
		done <- err
		return true
	}
	select {
	case t.calls <- job: // an idle thread
		return <-done
	default:
	}
	t.grow()
	select {
	case t.calls <- job:
		return <-done
	case <-ctx.Done():
		return unix.ECANCELED
	case <-t.closing:
		return unix.EBADF
	}
}

func (t *threads) grow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count < maxThreads {
		t.count++
		// ends when the Volume closes or its thread is not clean; waited by threads.close
		t.wg.Go(func() { t.serve(make(chan struct{})) })
	}
}

// serve closes started once it has its thread.
func (t *threads) serve(started chan struct{}) {
	runtime.LockOSThread() // not unlocked below: the thread ends with this goroutine
	if unix.Gettid() == unix.Getpid() {
		// The main thread does not end, and /proc/self shows its umask and directory as the process's. While it
		// is held here another goroutine gets another thread.
		other := make(chan struct{})
		// ends when the Volume closes or its thread is not clean; waited by threads.close
		t.wg.Go(func() { t.serve(other) })
		<-other
		runtime.UnlockOSThread()
		close(started)
		return
	}
	close(started)
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.count--
	}()
	th, err := newThread()
	if err != nil {
		t.log.Warn("modes of new files are narrowed by the umask of the process", "error", err)
	}
	for {
		select {
		case job := <-t.calls:
			if !job(th) {
				return
			}
		case <-t.closing:
			return
		}
	}
}

// newThread makes the calling thread one with umask 0. The error says that it is not; it can be used all the same.
func newThread() (*thread, error) {
	th := new(thread)
	th.uid, _ = unix.SetfsuidRetUid(-1) // -1 is no id: these return the current one and change nothing
	th.gid, _ = unix.SetfsgidRetGid(-1)
	var err error
	if th.groups, err = unix.Getgroups(); err != nil {
		return th, fmt.Errorf("getgroups: %w", err)
	}
	if th.caps, err = capabilities(); err != nil {
		return th, fmt.Errorf("capget: %w", err)
	}
	// The umask belongs to the fs_struct that all threads of a process share.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return th, fmt.Errorf("unshare fs: %w", err)
	}
	unix.Umask(0)
	return th, nil
}

// put puts c on. The order matters: after setfsuid to another than root the capabilities for files are gone.
func (th *thread) put(c Creds) error {
	if !c.Valid {
		return nil
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	if !slices.Equal(groups, th.groups) {
		if err := unix.Setgroups(groups); err != nil {
			return fmt.Errorf("setgroups: %w", err)
		}
	}
	if err := setID("setfsgid", unix.SetfsgidRetGid, int(c.GID), th.gid); err != nil {
		return err
	}
	if err := setID("setfsuid", unix.SetfsuidRetUid, int(c.UID), th.uid); err != nil {
		return err
	}
	if c.Checked && c.UID != 0 {
		return keepOverride(th.caps)
	}
	return nil
}

// setID sets an id from what it is now and verifies it: these calls report no error (setfsuid(2)).
func setID(name string, set func(int) (int, error), id, now int) error {
	if id == now {
		return nil
	}
	_, _ = set(id)
	if got, _ := set(-1); got != id {
		return fmt.Errorf("%s %d: %w", name, id, unix.EPERM)
	}
	return nil
}

// keepOverride gives back CAP_DAC_OVERRIDE, if the process has it, after setfsuid has taken it away.
func keepOverride(process [2]unix.CapUserData) error {
	const bit = 1 << unix.CAP_DAC_OVERRIDE
	if process[0].Effective&bit == 0 {
		return nil
	}
	caps, err := capabilities()
	if err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	caps[0].Effective |= bit
	if err := setCapabilities(caps); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// restore takes off what put has put on, also when put failed half way, and asks the kernel whether it worked.
func (th *thread) restore() error {
	if uid, _ := unix.SetfsuidRetUid(-1); uid != th.uid {
		_, _ = unix.SetfsuidRetUid(th.uid)
	}
	if gid, _ := unix.SetfsgidRetGid(-1); gid != th.gid {
		_, _ = unix.SetfsgidRetGid(th.gid)
	}
	groups, err := unix.Getgroups()
	if err == nil && !slices.Equal(groups, th.groups) {
		if err = unix.Setgroups(th.groups); err == nil {
			groups, err = unix.Getgroups()
		}
	}
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	caps, err := capabilities()
	if err == nil && caps != th.caps {
		if err = setCapabilities(th.caps); err == nil {
			caps, err = capabilities()
		}
	}
	if err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	if uid != th.uid || gid != th.gid || caps != th.caps || !slices.Equal(groups, th.groups) {
		return fmt.Errorf("thread is left with uid %d gid %d groups %v capabilities %x", uid, gid, groups, caps[0].Effective)
	}
	return nil
}

func capabilities() (caps [2]unix.CapUserData, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: this thread
	err = unix.Capget(&hdr, &caps[0])
	return caps, err
}

func setCapabilities(caps [2]unix.CapUserData) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&hdr, &caps[0])
}

// processUmask reads the umask without changing it, as umask(2) would.
func processUmask() (uint64, error) {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "Umask:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 8, 32)
		}
	}
	return 0, fmt.Errorf("no Umask in /proc/thread-self/status: %w", unix.ENODATA)
}
