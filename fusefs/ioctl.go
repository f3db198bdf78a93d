//go:build linux

package fusefs

import (
	"runtime"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// ioctlRule describes an ioctl that may reach the backing file. Its argument is copied through a buffer of ours: the
// number alone says how large the kernel takes the argument to be, and some numbers lie (GETFLAGS is declared with a long
// and moves an int).
type ioctlRule struct {
	cmd    uint32
	size   int  // bytes of the argument in either direction
	change bool // it changes attributes
}

// ioctlRules is the whole list; all others are ENOTTY. FICLONE and FIEMAP never arrive, and those of fscrypt and fs-verity
// move arguments of variable size.
var ioctlRules = [...]ioctlRule{
	{cmd: unix.FS_IOC_GETFLAGS, size: 4},
	{cmd: unix.FS_IOC_SETFLAGS, size: 4, change: true},
	{cmd: fsIocGetVersion, size: 4},
	{cmd: fsIocFsGetXattr, size: 28},
	{cmd: fsIocFsSetXattr, size: 28, change: true},
}

// From linux/fs.h.
const (
	fsIocGetVersion = 0x80087601 // _IOR('v', 1, long)
	fsIocFsGetXattr = 0x801c581f // _IOR('X', 31, struct fsxattr)
	fsIocFsSetXattr = 0x401c5820 // _IOW('X', 32, struct fsxattr)
)

// Ioctl answers IOCTL for what is in ioctlRules. The kernel has checked the caller's right to change flags.
func (fs *rawFS) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, _ *fuse.IoctlOut, outbuf []byte) fuse.Status {
	fs.count(opIoctl)
	f := fs.files.get(in.Fh)
	if f == nil {
		return fuse.EBADF
	}
	for _, rule := range ioctlRules {
		if rule.cmd != in.Cmd {
			continue
		}
		return fs.status(fs.ioctl(f, rule, inbuf, outbuf))
	}
	return fuse.Status(unix.ENOTTY)
}

func (fs *rawFS) ioctl(f *file, rule ioctlRule, in, out []byte) (err error) {
	// 8 bytes more than any rule: a file system that takes a declared long literally still stays inside.
	var arg [36]byte
	if rule.change {
		if len(in) < rule.size {
			return unix.EINVAL
		}
		copy(arg[:rule.size], in)
		change, err := fs.vol.BeginChange(whole(), uringbackend.OriginMount, f.h.ID(), uringbackend.ChangeAttr, uringbackend.Range{})
		if err != nil {
			return err
		}
		defer func() { change.End(err) }()
	} else if len(out) < rule.size {
		return unix.EINVAL
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.h.Fd()), uintptr(rule.cmd), uintptr(unsafe.Pointer(&arg[0])))
	runtime.KeepAlive(f.h)
	if errno != 0 {
		return errno
	}
	if !rule.change {
		clear(out[copy(out, arg[:rule.size]):])
	}
	return nil
}
