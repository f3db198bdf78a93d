//go:build linux

package racelab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/supervise"
)

// scratchPrefix begins the name of every run's directory.
const scratchPrefix = "uringfs-race-"

// sharedMemory is where every Linux has a tmpfs that anyone may write to.
const sharedMemory = "/dev/shm"

// imageSize is the size in bytes of a scratch file system's sparse image. xfs wants
// 300 MiB at least.
const imageSize = 512 << 20

// tmpfsSize is the most bytes that a tmpfs of the run's own holds.
const tmpfsSize = 1 << 30

// scratch is the run's directory: one file system in which the backing directories
// lie, and beside it the mount points. Close removes all of it.
type scratch struct {
	dir     string   // everything is beneath
	lock    *os.File // held with flock while the run lives
	fs      FS
	fsDir   string // root of the file system
	mounted bool
}

// newScratch makes the run's directory in parent (empty: where temporary files go)
// with a file system of kind fs: tmpfs is a directory on /dev/shm, anything else a
// mount of its own from an image behind a loop device, which needs root. Without root
// a directory must do, if parent is of that kind.
func newScratch(ctx context.Context, parent string, fs FS) (_ *scratch, err error) {
	if parent == "" {
		parent = os.TempDir()
	}
	if parent, err = filepath.Abs(parent); err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	if fs == FSTmpfs && fsOf(parent) != FSTmpfs && fsOf(sharedMemory) == FSTmpfs {
		parent = sharedMemory
	}
	if err := sweep(parent); err != nil {
		return nil, err
	}
	s := &scratch{fs: fs}
	if s.dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.lock, err = lockDir(s.dir); err != nil {
		return nil, err
	}
	s.fsDir = filepath.Join(s.dir, "fs")
	if err := os.Mkdir(s.fsDir, 0o777); err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	here := fsOf(s.fsDir)
	switch {
	case here == fs && (fs == FSTmpfs || os.Geteuid() != 0):
		return s, nil
	case os.Geteuid() != 0:
		return nil, missing("a scratch file system of kind %s needs root: %s is %s", fs, s.fsDir, here)
	}
	size := int64(imageSize)
	if fs == FSTmpfs {
		size = tmpfsSize
	}
	_, err = supervise.MountScratch(ctx, supervise.ScratchFS{Kind: string(fs), Image: filepath.Join(s.dir, "image"), Size: size}, s.fsDir)
	if errors.Is(err, supervise.ErrLacking) {
		return nil, missing("scratch file system: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("scratch file system: %w", err)
	}
	s.mounted = true
	return s, nil
}

// defaultFS is what a run uses that was not told: ext4 as root, else tmpfs.
func defaultFS() FS {
	if os.Geteuid() == 0 {
		return FSExt4
	}
	return FSTmpfs
}

// mkdir makes a directory beside the file system, for a mount point and the like.
func (s *scratch) mkdir(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("scratch: %w", err)
	}
	return dir, nil
}

// Close unmounts and removes everything. Children must be gone.
func (s *scratch) Close() error {
	var errs []error
	if s.mounted {
		if err := supervise.UnmountScratch(s.fsDir); err != nil {
			errs = append(errs, err)
		} else {
			s.mounted = false
		}
	}
	if len(errs) == 0 {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// lockName is the file in a run's directory that a living run holds locked. It
// appears there already locked, so that no other run mistakes a young directory for a
// dead one.
const lockName = "lock"

// lockDir marks dir as belonging to a living run.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("scratch lock: %w", err)
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("scratch lock: %w", err), f.Close())
	}
	return f, nil
}

// sweep removes what runs left behind that were killed: directories in parent whose
// lock nobody holds, with the mounts beneath them. One that is not ours to remove
// is left alone.
func sweep(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	if err != nil {
		return fmt.Errorf("scratch: %w", err)
	}
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // being made or removed, or another user's
		}
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			if err = clearMounts(dir); err == nil {
				err = os.RemoveAll(dir)
			}
			if err != nil {
				err = fmt.Errorf("remove what a killed run left in %s: %w", dir, err)
			}
		} else {
			err = nil // alive
		}
		if err = errors.Join(err, lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// clearMounts detaches every mount beneath dir, the last made first.
func clearMounts(dir string) error {
	mounts, err := supervise.Mounts()
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	for _, m := range slices.Backward(mounts) {
		if !strings.HasPrefix(m.Point, dir+"/") {
			continue
		}
		if m.IsFUSE() {
			err = supervise.Clear(m.Point)
		} else {
			err = supervise.UnmountScratch(m.Point)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fsOf names the file system that path lies on, as far as the fact tables know it.
func fsOf(path string) FS {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "unknown"
	}
	switch int64(st.Type) { //nolint:unconvert // 32 bits on some machines
	case unix.EXT4_SUPER_MAGIC:
		return FSExt4
	case unix.XFS_SUPER_MAGIC:
		return FSXFS
	case unix.BTRFS_SUPER_MAGIC:
		return FSBtrfs
	case unix.TMPFS_MAGIC:
		return FSTmpfs
	default:
		return "unknown"
	}
}
