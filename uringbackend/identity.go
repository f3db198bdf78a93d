//go:build linux

package uringbackend

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"

	"golang.org/x/sys/unix"
)

// FileID is the identity of one inode for as long as the inode lives: device, inode number, and Gen, which tells
// a reused inode number from its former owner. Comparable. The zero value names nothing.
//
// Gen comes from the file handle (name_to_handle_at(2)), which holds the generation number of the file system; it
// needs no privilege, works for every file type (FS_IOC_GETVERSION does not) and, unlike birth time, tells apart two
// files made within one clock tick. Handles that cannot be opened again still identify (AT_HANDLE_FID). Without
// handles Gen is the birth time, and where that is unknown 0: then a reused inode number looks like the old file.
type FileID struct {
	Dev uint64 // st_dev as in stat(2)
	Ino uint64
	Gen uint64
}

// String is for logs and test failures.
func (id FileID) String() string {
	return fmt.Sprintf("%d:%d/%d.%x", unix.Major(id.Dev), unix.Minor(id.Dev), id.Ino, id.Gen)
}

const (
	atHandleFID = 0x200 // AT_HANDLE_FID, Linux 6.5: the handle need not be openable

	statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
)

// inodeSource says what Gen is made of on one device. It is decided once, so that one inode has one identity.
type inodeSource uint8

const (
	sourceUnknown   inodeSource = iota
	sourceHandle                // handle that open_by_handle_at(2) takes
	sourceHandleFID             // handle that only identifies
	sourceBirth                 // birth time or nothing
)

// deviceKey is a mount as far as the kernel tells: bind mounts of one file system differ in mount.
type deviceKey struct{ dev, mount uint64 }

// device is what the Volume knows about one mounted file system. All of it is decided under mu, once.
type device struct {
	key deviceKey

	mu sync.Mutex
	// +checklocks:mu
	source inodeSource
	// +checklocks:mu
	mount int // O_RDONLY directory on it, for open_by_handle_at; -1: none yet
	// +checklocks:mu
	tried bool // reopening was tried
	// +checklocks:mu
	reopens bool // and worked
}

// reopener returns the descriptor by which handles of the device can be opened, false if they cannot.
func (d *device) reopener() (mount int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mount, d.reopens
}

// known is what one look at an open O_PATH descriptor tells.
type known struct {
	id     FileID
	st     Stat // ID is set too
	dev    *device
	handle unix.FileHandle // valid with sourceHandle
}

// look fills what statx(2) tells about fd, and refuses devices that this process must not touch. k.id has no Gen yet.
func (v *Volume) look(ctx context.Context, fd int) (known, error) {
	if v.refuses.Load() {
		if err := v.checkDevice(ctx, fd); err != nil {
			return known{}, err
		}
	}
	stx := new(unix.Statx_t)
	if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, statMask|unix.STATX_MNT_ID, stx); err != nil {
		return known{}, err
	}
	return v.known(stx), nil
}

// known is what a statx with statMask and the mount id says.
func (v *Volume) known(stx *unix.Statx_t) (k known) {
	k.st = statOf(stx, FileID{Dev: unix.Mkdev(stx.Dev_major, stx.Dev_minor), Ino: stx.Ino})
	k.id = k.st.ID
	k.dev = v.device(deviceKey{dev: k.id.Dev, mount: mountOf(stx)})
	return k
}

// checkDevice fails with EXDEV for a device of RefuseDevice. It asks the file system for nothing: with an empty
// mask and DONT_SYNC a FUSE file system answers from what the kernel has (fs/fuse/dir.c fuse_update_get_attr).
func (v *Volume) checkDevice(ctx context.Context, fd int) error {
	stx := new(unix.Statx_t)
	if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, stx); err != nil {
		return err
	}
	if v.isRefused(unix.Mkdev(stx.Dev_major, stx.Dev_minor)) {
		return unix.EXDEV
	}
	return nil
}

// mountOf is the mount id, 0 where the kernel does not tell (before Linux 5.8).
func mountOf(stx *unix.Statx_t) uint64 {
	if stx.Mask&unix.STATX_MNT_ID != 0 {
		return stx.Mnt_id
	}
	return 0
}

// identify completes k with Gen and, where there is one, the handle.
func (v *Volume) identify(ctx context.Context, fd int, k *known) error {
	k.dev.mu.Lock()
	source := k.dev.source
	k.dev.mu.Unlock()
	if source == sourceUnknown {
		var err error
		if source, err = v.chooseSource(ctx, fd, k); err != nil {
			return err
		}
	}
	switch source {
	case sourceHandle, sourceHandleFID:
		flags := unix.AT_EMPTY_PATH
		if source == sourceHandleFID {
			flags |= atHandleFID
		}
		h, _, err := v.engine.NameToHandle(ctx, At{Dir: fd}, flags)
		if err != nil {
			return fmt.Errorf("file handle: %w", err)
		}
		k.id.Gen = digest(h)
		if source == sourceHandle {
			k.handle = h
			if err := v.tryReopen(ctx, fd, k); err != nil {
				return err
			}
		}
	default:
		if !k.st.Btime.IsZero() {
			k.id.Gen = uint64(k.st.Btime.UnixNano())
		}
	}
	k.st.ID = k.id
	return nil
}

// digest makes 64 bits of a handle. The device and inode number are compared beside it, so it only has to tell the
// few generations of one number apart. It does not depend on the process: clients keep it longer than that.
func digest(h unix.FileHandle) uint64 {
	sum := fnv.New64a()
	var kind [4]byte
	binary.LittleEndian.PutUint32(kind[:], uint32(h.Type()))
	sum.Write(kind[:])
	sum.Write(h.Bytes())
	return sum.Sum64()
}

// chooseSource decides what identities on the device of k are made of.
func (v *Volume) chooseSource(ctx context.Context, fd int, k *known) (inodeSource, error) {
	source := sourceBirth
	fuse, err := v.isFUSE(ctx, fd)
	if err != nil {
		return 0, err
	}
	// A FUSE handle holds the node id, which is another one after the kernel has forgotten the inode.
	if v.engine.Features().NameToHandle.Answer == Yes && !fuse {
		for _, try := range []struct {
			source inodeSource
			flags  int
		}{{sourceHandle, unix.AT_EMPTY_PATH}, {sourceHandleFID, unix.AT_EMPTY_PATH | atHandleFID}} {
			_, _, err := v.engine.NameToHandle(ctx, At{Dir: fd}, try.flags)
			if err == nil {
				source = try.source
				break
			}
			if errors.Is(err, unix.ECANCELED) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EBADF) {
				return 0, err
			}
		}
	}
	k.dev.mu.Lock()
	defer k.dev.mu.Unlock()
	if k.dev.source == sourceUnknown {
		k.dev.source = source
	}
	return k.dev.source, nil
}

func (v *Volume) isFUSE(ctx context.Context, fd int) (bool, error) {
	fs := new(unix.Statfs_t)
	if err := v.engine.Fstatfs(ctx, fd, fs); err != nil {
		return false, err
	}
	return fs.Type == unix.FUSE_SUPER_MAGIC, nil
}

// tryReopen finds out, with the first object for which it can, whether handles of the device open again here.
func (v *Volume) tryReopen(ctx context.Context, fd int, k *known) error {
	d := k.dev
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.tried && v.engine.Features().OpenByHandle.Answer != Yes {
		d.tried = true
	}
	if !d.tried && k.st.Mode&unix.S_IFMT == unix.S_IFDIR {
		// The mount descriptor must not be O_PATH (fs/fhandle.c get_path_anchor).
		mount, err := v.reopen(ctx, fd, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil // this directory is unreadable to us; the next one may do
		}
		again, err := v.engine.OpenByHandle(ctx, mount, k.handle, unix.O_PATH|unix.O_CLOEXEC)
		if errors.Is(err, unix.ECANCELED) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
			v.closeFD(mount)
			return err
		}
		d.tried = true
		if err == nil {
			d.reopens = v.sameInode(ctx, again, k.id)
			v.closeFD(again)
		}
		if d.reopens {
			d.mount = mount
		} else {
			v.closeFD(mount)
			v.log.Info("descriptors of this file system stay open", "device", k.id.Dev, "reason", "file handles cannot be opened")
		}
	}
	return nil
}

// sameInode compares device and inode number; the generation is compared by whoever decoded the handle.
func (v *Volume) sameInode(ctx context.Context, fd int, id FileID) bool {
	stx := new(unix.Statx_t)
	if err := v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, stx); err != nil {
		return false
	}
	return stx.Ino == id.Ino && unix.Mkdev(stx.Dev_major, stx.Dev_minor) == id.Dev
}

// device returns the one record of a mounted file system.
func (v *Volume) device(key deviceKey) *device {
	if d, ok := v.devices.Load(key); ok {
		return d.(*device)
	}
	d, _ := v.devices.LoadOrStore(key, &device{key: key, mount: -1})
	return d.(*device)
}
