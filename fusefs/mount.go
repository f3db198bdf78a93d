//go:build linux

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/supervise"
	"github.com/uringfs/uringfs/uringbackend"
)

const (
	// maxTransfer is the largest READ and WRITE in bytes: what the kernel takes by default (max_pages_limit).
	maxTransfer = 1 << 20
	// maxBackground bounds readahead and asynchronous direct requests in flight; the kernel's default of 12 starves
	// io_uring queues deeper than that.
	maxBackground = 64
	// answerLimit is how long an older mount at the mount point may take to answer before it counts as hung.
	answerLimit = 3 * time.Second
	// busyGrace is what the users of open files get after an unmount, before they are cut off.
	busyGrace = 2 * time.Second
	// flushLimit bounds the writing back of mapped pages when files are cut off from an unmounted server.
	flushLimit = 5 * time.Second
)

// Config is what to mount, and how.
type Config struct {
	Volume *uringbackend.Volume // required; borrowed until Wait returns
	View   *uringbackend.View   // Volume's, with OriginMount; nil: made
	// Backing is what df(1) shows as the source; empty: the path of the Volume's root.
	Backing string
	// Coherence: empty is CoherenceStrict.
	Coherence Coherence
	// Passthrough would let the kernel do reads and writes by itself, past this server. It must be asked for, and is not
	// there yet: Mount refuses it.
	Passthrough bool
	// AllowOther lets users other than ours in; permissions are checked by the kernel either way.
	AllowOther bool
	// Options are further options of fuse(8) and mount(8): "ro", "noatime", …
	Options []string
	Logger  *slog.Logger // nil: slog.Default
}

// Server is one mount.
type Server struct {
	// Immutable after Mount.
	mnt    string // absolute
	minor  uint32 // of st_dev; the major is 0
	fs     *rawFS
	fuse   *fuse.Server
	notify *notifier
	log    *slog.Logger
	done   chan struct{} // closed when serve has given everything back
}

// Mount mounts cfg at the directory mnt and serves it until Unmount, or until somebody else unmounts it; ctx bounds the
// mounting only. It sets the umask of the process to 0, because callers' umasks arrive with their requests.
//
// Refused with an error that says what to do: a stale mount left behind by a crash, a live one, a mount point within the
// backing directory and the reverse, bind mounts included.
func Mount(ctx context.Context, mnt string, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Passthrough {
		return nil, fmt.Errorf("passthrough: %w: this server does all reads and writes itself", errors.ErrUnsupported)
	}
	coherence, err := ParseCoherence(string(cfg.Coherence))
	if err != nil {
		return nil, err
	}
	cfg.Coherence = coherence
	if cfg.View == nil {
		cfg.View = cfg.Volume.View(uringbackend.OriginMount)
	}
	mnt, err = filepath.Abs(mnt)
	if err != nil {
		return nil, fmt.Errorf("mount point: %w", err)
	}
	if err := checkFree(ctx, mnt); err != nil {
		return nil, err
	}
	backing, err := checkPoint(ctx, mnt, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Backing == "" {
		cfg.Backing = backing
	}
	unix.Umask(0)

	options := slices.Clone(cfg.Options)
	for option, on := range map[string]bool{"default_permissions": true, "allow_other": cfg.AllowOther} {
		if on && !slices.Contains(options, option) {
			options = append(options, option)
		}
	}
	dev, err := supervise.MountFUSE(ctx, supervise.FUSEMount{
		Point: mnt, Source: cfg.Backing, Subtype: "uringfs", MaxRead: maxTransfer, Options: options,
	})
	if err != nil {
		return nil, err
	}
	s, err := newServer(mnt, dev, cfg)
	if err != nil {
		return nil, errors.Join(err, supervise.Unmount(mnt))
	}
	// ends when the connection does; waited by Wait and Unmount.
	go s.serve()
	return s, nil
}

// newServer takes dev, the device of a connection whose INIT is waiting.
func newServer(mnt string, dev *os.File, cfg Config) (*Server, error) {
	copyFd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy of /dev/fuse: %w", err), dev.Close())
	}
	deviceCopy := os.NewFile(uintptr(copyFd), "/dev/fuse")
	// The table, not the mount, says its number: a stat would wait for a server that does not run yet.
	at, err := supervise.MountAt(mnt)
	if err != nil {
		return nil, errors.Join(err, dev.Close(), deviceCopy.Close())
	}
	if err := cfg.Volume.RefuseDevice(unix.Mkdev(at.Major, at.Minor)); err != nil {
		return nil, errors.Join(fmt.Errorf("refuse own device: %w", err), dev.Close(), deviceCopy.Close())
	}
	raw := newRawFS(cfg)
	// go-fuse takes over the descriptor by its number.
	devFd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = dev.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hand over /dev/fuse: %w", err), deviceCopy.Close())
	}
	server, err := fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", devFd), raw.mountOptions(cfg))
	if err != nil {
		raw.nodes.clear()
		return nil, errors.Join(fmt.Errorf("FUSE handshake: %w", err), deviceCopy.Close())
	}
	s := &Server{mnt: mnt, minor: at.Minor, fs: raw, fuse: server, log: cfg.Logger, done: make(chan struct{})}
	s.notify = startNotifier(&notifier{
		fs: raw, sub: cfg.Volume.Subscribe(notifyQueue), server: server, dev: deviceCopy,
		names: raw.ttl > 0, log: cfg.Logger,
	})
	return s, nil
}

// mountOptions is what we negotiate.
func (fs *rawFS) mountOptions(cfg Config) *fuse.MountOptions {
	return &fuse.MountOptions{
		Name: fs.String(), FsName: cfg.Backing,
		MaxWrite: maxTransfer, MaxBackground: maxBackground,
		EnableLocks: true,
		// With DONT_MASK: default ACLs, and not umasks, rule in directories that have one.
		EnableAcl: true,
		// Data is copied, see Read.
		DisableSplice: true,
		// Attributes that are stale on arrival are not worth a lookup of every name.
		DisableReadDirPlus: cfg.Coherence == CoherenceStrict,
		ExtraCapabilities: fuse.CAP_DONT_MASK | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ASYNC_DIO |
			fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_SETXATTR_EXT,
		// go-fuse would ask for passthrough, which silently takes READ and WRITE away from a server that runs as root.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH | fuse.CAP_WRITEBACK_CACHE,
		Logger:               slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}
}

// Init is called by go-fuse once INIT is answered and before any other request.
func (fs *rawFS) Init(s *fuse.Server) {
	fs.ttl, fs.keep = fs.coherence.policy(s.KernelSettings().Minor)
}

// checkFree explains a mount that is already there.
func checkFree(ctx context.Context, mnt string) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	clean := fmt.Sprintf("run: fusermount3 -u %s (or, as root: umount -l %s)", mnt, mnt)
	stale, err := supervise.Stale(ctx, mnt)
	switch {
	case err != nil:
		return fmt.Errorf("an earlier mount hangs: %w; %s, then start again", err, clean)
	case stale:
		return fmt.Errorf("%s is a stale mount, left behind by a server that crashed or was killed: %w; %s, then start again",
			mnt, unix.ENOTCONN, clean)
	}
	if m, err := supervise.MountAt(mnt); err == nil && m.IsFUSE() {
		return fmt.Errorf("%s is already mounted (%s): %w; %s, or choose another mount point", mnt, m.FSType, unix.EBUSY, clean)
	}
	return nil
}

// checkPoint checks the mount point against the backing directory, whose path it returns.
func checkPoint(ctx context.Context, mnt string, cfg Config) (string, error) {
	root := cfg.View.Root()
	defer root.Release()
	backing, err := root.Dup(ctx)
	if err != nil {
		return "", fmt.Errorf("backing directory: %w", err)
	}
	defer unix.Close(backing)
	point, err := unix.Open(mnt, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w; create the directory first", mnt, err)
	}
	defer unix.Close(point)
	if err := checkOverlap(backing, point); err != nil {
		return "", err
	}
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", backing))
}

// Mountpoint is the absolute path of the mount.
func (s *Server) Mountpoint() string { return s.mnt }

// Device is st_dev of the mount.
func (s *Server) Device() uint64 { return unix.Mkdev(0, s.minor) }

// Stats counts requests since Mount.
func (s *Server) Stats() Stats {
	st := s.fs.stats()
	st.Notified, st.EventsLost = s.notify.sent.Load(), s.notify.sub.Lost()
	return st
}

// serve answers requests until the mount is gone, by Unmount or by anybody else, and then gives back every node and handle.
func (s *Server) serve() {
	defer close(s.done)
	s.fuse.Serve()
	s.notify.close()
	s.fs.closeAll()
	s.fs.nodes.clear()
}

// Wait waits until the mount is gone and everything is given back: the Volume may then be closed. The error is nil: a mount
// ends for no reason of its own.
func (s *Server) Wait() error {
	<-s.done
	return nil
}

// Unmount takes the mount out of the tree at once. Files that are still open may be finished with for two seconds, or until
// ctx ends if that is sooner; then their mapped pages are written back and the connection is aborted: their users get
// ENOTCONN. It includes Wait. A mount that somebody else has already taken away is no error.
func (s *Server) Unmount(ctx context.Context) error {
	busy, err := s.detach()
	if err != nil {
		return err
	}
	if busy {
		s.log.Warn("mount is busy: detached, waiting for its open files", "mnt", s.mnt, "open", s.fs.files.count())
	}
	grace := time.NewTimer(busyGrace)
	defer grace.Stop()
	select {
	case <-s.done:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}
	s.log.Warn("files are still open after unmount: cutting them off", "mnt", s.mnt, "open", s.fs.files.count())
	s.flushMapped()
	if err := supervise.AbortConnection(s.minor); err != nil {
		return fmt.Errorf("open files on %s keep its connection: %w; the end of this process cuts them off", s.mnt, err)
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(flushLimit):
		return fmt.Errorf("unmount %s: requests in progress did not end: %w", s.mnt, unix.EBUSY)
	}
}

// detach unmounts, lazily if it must be.
func (s *Server) detach() (busy bool, err error) {
	at, err := supervise.MountAt(s.mnt)
	if errors.Is(err, supervise.ErrNotMounted) || err == nil && at.Minor != s.minor {
		return false, nil // gone, or hidden by another mount that is not ours to touch
	}
	if err != nil {
		return false, err
	}
	err = supervise.UnmountIdle(s.mnt)
	if !errors.Is(err, unix.EBUSY) {
		return false, err
	}
	return true, supervise.Unmount(s.mnt)
}

// flushMapped makes the kernel write back the dirty pages of mappings: an abort would lose them. Invalidation does it, and the
// writes come to us as requests.
func (s *Server) flushMapped() {
	flushed := make(chan struct{})
	// ends when the kernel has written the pages or the connection is aborted; waited by flushMapped, and by Serve's end.
	go func() {
		defer close(flushed)
		for _, id := range s.fs.files.inodes() {
			if node := s.fs.nodes.known(id); node != 0 {
				s.fuse.InodeNotify(node, 0, 0)
			}
		}
	}()
	select {
	case <-flushed:
	case <-time.After(flushLimit):
		s.log.Error("mapped pages could not be written back in time", "mnt", s.mnt)
	}
}
