//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// VolumeConfig is how a Volume works. Engine must be set; the rest has defaults.
type VolumeConfig struct {
	// Engine carries out every call. Borrowed until the Volume is closed.
	Engine Engine
	// CrossDevices lets paths lead through mount points beneath the root. Otherwise they report EXDEV. A mount
	// whose files are referenced stays busy.
	CrossDevices bool
	// MaxDescriptors bounds the cached O_PATH descriptors; 0: three quarters of RLIMIT_NOFILE.
	MaxDescriptors int
	// Logger gets what an administrator should know; nil: nothing is logged.
	Logger *slog.Logger
	// RefuseDevices are devices as for RefuseDevice.
	RefuseDevices []uint64
}

// Volume is one directory tree of the backing file system, shared by all who serve it. Its operations hang on a
// View. Safe for concurrent use.
//
// Lock order, none of them held while a callback, a peer or a subscriber is waited for:
//
//	range of an inode (BeginChange, BeginShare)
//	  Handle.dir (position of a directory)
//	  lockedInode.mu (byte-range locks)
//	    lockTable.mu
//	  device.mu
//	  refShard.mu
//	    fdCache.mu
//	  Subscription.mu
//
// A range is held around one operation on the backing file, and nobody who holds one begins another.
type Volume struct {
	// Immutable after OpenVolume.
	engine       Engine // of VolumeConfig, behind persist
	plain        Engine // of VolumeConfig
	log          *slog.Logger
	rootFD       int
	rootKey      deviceKey
	crossDevices bool
	noOpenat2    bool // the kernel lacks it: names are walked one by one
	resolveFlags uint64
	root         *Ref

	ranges  rangeTable
	events  events
	refs    [refShards]refShard
	cache   fdCache
	locks   lockTable
	devices sync.Map // deviceKey → *device

	// Atomic.
	handles atomic.Int64
	refuses atomic.Bool // refused is not empty
	closed  atomic.Bool

	refusedMu sync.RWMutex
	// +checklocks:refusedMu
	refused map[uint64]bool
}

// OpenVolume opens the tree at root, a path as the process sees it, and raises the soft RLIMIT_NOFILE to the hard
// one. The caller must Close it. The modes of new files are exact, whatever the umask of the process (Op.Creds).
func OpenVolume(ctx context.Context, root string, cfg VolumeConfig) (*Volume, error) {
	limit, err := raiseDescriptorLimit()
	if err != nil {
		return nil, fmt.Errorf("descriptor limit: %w", err)
	}
	v := &Volume{
		engine: persist(cfg.Engine), plain: cfg.Engine, log: cfg.Logger, crossDevices: cfg.CrossDevices, refused: make(map[uint64]bool),
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	v.noOpenat2 = cfg.Engine.Features().Openat2Beneath.Answer != Yes
	v.resolveFlags = resolveBase
	if !cfg.CrossDevices {
		v.resolveFlags |= unix.RESOLVE_NO_XDEV
	}
	v.ranges.init()
	v.locks.init()
	for i := range v.refs {
		v.refs[i].refs = make(map[refKey]*Ref)
	}
	v.cache.v = v
	v.cache.max = cfg.MaxDescriptors
	if v.cache.max <= 0 {
		v.cache.max = int(min(limit/4*3, math.MaxInt32))
	}
	if err := v.openRoot(ctx, root); err != nil {
		return nil, fmt.Errorf("volume root: %w", err)
	}
	for _, dev := range cfg.RefuseDevices {
		if err := v.RefuseDevice(dev); err != nil {
			v.shutdown()
			return nil, err
		}
	}
	return v, nil
}

func (v *Volume) openRoot(ctx context.Context, root string) error {
	fd, err := openat(unix.AT_FDCWD, root, openPath|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	v.rootFD = fd
	stx := new(unix.Statx_t)
	if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, stx); err != nil {
		v.closeFD(fd)
		return err
	}
	v.rootKey = deviceKey{dev: unix.Mkdev(stx.Dev_major, stx.Dev_minor), mount: mountOf(stx)}
	own, err := v.dup(fd)
	if err == nil {
		v.root, _, err = v.adopt(ctx, own)
	}
	if err != nil {
		v.shutdown()
		return err
	}
	return nil
}

// Close gives back descriptors and closes subscriptions. It fails with EBUSY, says how many, and does
// nothing, while handles are open. References that are still held find EBADF afterwards and may be released.
func (v *Volume) Close() error {
	if v.closed.Swap(true) {
		return unix.EBADF
	}
	if n := v.handles.Load(); n > 0 {
		v.closed.Store(false)
		return fmt.Errorf("%d handles open: %w", n, unix.EBUSY)
	}
	v.root.Release()
	v.shutdown()
	return nil
}

func (v *Volume) shutdown() {
	v.events.close()
	var held []*Ref
	for i := range v.refs {
		s := &v.refs[i]
		s.mu.Lock()
		for _, head := range s.refs {
			for r := head; r != nil; r = r.next {
				held = append(held, r)
			}
		}
		s.mu.Unlock()
	}
	v.cache.close(held)
	v.devices.Range(func(_, value any) bool {
		d := value.(*device)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.mount >= 0 {
			v.closeFD(d.mount)
			d.mount, d.reopens = -1, false
		}
		return true
	})
	v.closeFD(v.rootFD)
}

// View returns the operations, attributed to o. It costs nothing to make one.
func (v *Volume) View(o Origin) *View { return &View{v: v, origin: o} }

// Engine is the engine that the Volume was opened with.
func (v *Volume) Engine() Engine { return v.plain }

// Descriptors says how many O_PATH descriptors the cache holds now, and its bound.
func (v *Volume) Descriptors() (open, bound int) {
	v.cache.mu.Lock()
	defer v.cache.mu.Unlock()
	return v.cache.open, v.cache.max
}

// RefuseDevice makes the Volume never resolve onto the file system dev (st_dev): a mount that this process serves
// itself, which it would wait for for ever. Such a name reports EXDEV, and no request reaches that file system. It
// fails with EXDEV for the device of the root.
func (v *Volume) RefuseDevice(dev uint64) error {
	if dev == v.rootKey.dev {
		return fmt.Errorf("refuse device %d:%d of the root: %w", unix.Major(dev), unix.Minor(dev), unix.EXDEV)
	}
	v.refusedMu.Lock()
	defer v.refusedMu.Unlock()
	v.refused[dev] = true
	v.refuses.Store(true)
	return nil
}

func (v *Volume) isRefused(dev uint64) bool {
	if !v.refuses.Load() {
		return false
	}
	v.refusedMu.RLock()
	defer v.refusedMu.RUnlock()
	return v.refused[dev]
}

// closeFD closes a descriptor on which nothing can be lost by an error: O_PATH, read only, or already flushed.
func (v *Volume) closeFD(fd int) {
	if err := v.engine.CloseFD(context.Background(), fd); errors.Is(err, unix.EBADF) {
		v.log.Error("a descriptor was closed behind the volume", "fd", fd)
	}
}

// raiseDescriptorLimit returns the soft limit after raising it as far as it goes without privilege.
func raiseDescriptorLimit() (uint64, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, err
	}
	if lim.Cur < lim.Max {
		raised := unix.Rlimit{Cur: lim.Max, Max: lim.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
			return lim.Cur, nil //nolint:nilerr // an infinite hard limit above fs.nr_open: stay as we are
		}
		lim = raised
	}
	return lim.Cur, nil
}
