//go:build linux

package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLacking is wrapped when the machine lacks what a mount needs: a privilege, a module, a tool. The text names it.
var ErrLacking = errors.New("not on this machine")

// ScratchFS describes a file system to be made, used and thrown away.
type ScratchFS struct {
	Kind string // "tmpfs", or what an image behind a loop device is formatted as: "ext4", "xfs", "btrfs"
	// Image is the file that holds the file system, made sparse and new; the caller's to remove. Not for tmpfs.
	Image string
	Size  int64 // bytes; xfs wants 300 MiB at least
	// DirectIO asks for a loop device that passes reads and writes by the page cache of the image's file system. Where
	// that file system cannot, the device works without; MountScratch says which it was.
	DirectIO bool
}

// MountScratch makes the file system and mounts it on the directory dir, open to every user. The loop device is freed by
// the kernel with its last user, so UnmountScratch is all there is to undo. It needs root.
func MountScratch(ctx context.Context, s ScratchFS, dir string) (direct bool, err error) {
	if s.Kind == "tmpfs" {
		return false, mountScratch("tmpfs", dir, "tmpfs", fmt.Sprintf("size=%d", s.Size))
	}
	var args []string
	switch s.Kind {
	case "ext4":
		// Small images get 1 KiB blocks unless told; large folios need whole pages.
		args = []string{"mkfs.ext4", "-q", "-F", "-b", "4096"}
	case "xfs":
		args = []string{"mkfs.xfs", "-q", "-f"}
	case "btrfs":
		args = []string{"mkfs.btrfs", "-q", "-f"}
	default:
		return false, fmt.Errorf("%w: a way to make a scratch file system of kind %q", ErrLacking, s.Kind)
	}
	tool, err := exec.LookPath(args[0])
	if err != nil {
		if tool, err = exec.LookPath("/usr/sbin/" + args[0]); err != nil {
			return false, fmt.Errorf("%w: %s", ErrLacking, args[0])
		}
	}
	f, err := os.OpenFile(s.Image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("scratch image: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(s.Size); err != nil {
		return false, fmt.Errorf("scratch image: %w", err)
	}
	if out, err := exec.CommandContext(ctx, tool, append(args[1:], s.Image)...).CombinedOutput(); err != nil {
		return false, fmt.Errorf("%s: %w: %s", filepath.Base(tool), err, strings.TrimSpace(string(out)))
	}
	dev, direct, err := attachLoop(f, s.DirectIO)
	if err != nil {
		return false, err
	}
	// Ours until the mount holds the device; LO_FLAGS_AUTOCLEAR frees it afterwards.
	defer dev.Close()
	return direct, mountScratch(dev.Name(), dir, s.Kind, "")
}

func mountScratch(source, dir, kind, data string) error {
	if err := unix.Mount(source, dir, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, data); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("%w: mount %s: %w", ErrLacking, kind, err)
		}
		return fmt.Errorf("mount %s: %w", kind, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // #nosec G302 -- the run's own, deleted with it
		return errors.Join(fmt.Errorf("scratch: %w", err), unix.Unmount(dir, unix.MNT_DETACH))
	}
	return nil
}

// attachLoop puts image behind a free loop device, loop(4), and returns it open. direct reports whether it passes the page
// cache by.
func attachLoop(image *os.File, wantDirect bool) (_ *os.File, direct bool, err error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, false, fmt.Errorf("%w: loop devices: %w", ErrLacking, err)
	}
	defer control.Close()
	// Others take loop devices too: the free one may be gone when it is configured.
	for range 64 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, false, fmt.Errorf("%w: a free loop device: %w", ErrLacking, err)
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, false, fmt.Errorf("%w: loop device: %w", ErrLacking, err)
		}
		config := unix.LoopConfig{Fd: uint32(image.Fd())} // #nosec G115 -- a descriptor
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if wantDirect {
			config.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			// The kernel drops LO_FLAGS_DIRECT_IO without a word where it cannot, drivers/block/loop.c loop_configure.
			info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
			return dev, err == nil && info.Flags&unix.LO_FLAGS_DIRECT_IO != 0, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, false, fmt.Errorf("loop device: %w", err)
		}
	}
	return nil, false, fmt.Errorf("%w: a free loop device: all are taken", ErrLacking)
}

// UnmountScratch detaches dir. A killed child may hold it for another moment, and nothing else ever does, so it is
// detached and freed with the last user.
func UnmountScratch(dir string) error {
	err := unix.Unmount(dir, 0)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(dir, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}
