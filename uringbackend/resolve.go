//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Component says which part of a path an error is about.
type Component uint8

// Components.
const (
	ComponentUnknown Component = iota
	Last                       // the last name of the path
	Parent                     // a name before it
)

// String is for logs.
func (c Component) String() string {
	switch c {
	case Last:
		return "last"
	case Parent:
		return "parent"
	default:
		return "unknown"
	}
}

// PathError is the error of an operation on a path.
type PathError struct {
	Op        string
	Path      string
	Component Component
	Err       error // a syscall.Errno
}

// Error names the operation, the path, the component and the cause.
func (e *PathError) Error() string {
	return e.Op + " " + e.Path + " (" + e.Component.String() + "): " + e.Err.Error()
}

// Unwrap returns Err.
func (e *PathError) Unwrap() error { return e.Err }

// How a path may lead on. The fallback walk does the same without the kernel's help.
const (
	openPath    = unix.O_PATH | unix.O_CLOEXEC
	resolveBase = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
)

// checkName refuses what is not exactly one component. The kernel checks its length.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 || hasNUL(name) {
		return unix.EINVAL
	}
	return nil
}

// resolvePath opens path beneath the root as O_PATH. Symbolic links are followed beneath the root only, the last
// one if follow. With a trailing slash the result must be a directory, and follow decides about a link all the same.
func (v *Volume) resolvePath(ctx context.Context, path string, follow bool, extra int) (int, error) {
	if hasNUL(path) {
		return -1, unix.EINVAL
	}
	if trimmed := strings.TrimRight(path, "/"); trimmed != path {
		if trimmed == "" {
			return -1, unix.EXDEV // absolute
		}
		path, extra = trimmed, extra|unix.O_DIRECTORY
	}
	if path == "" {
		path = "."
	}
	flags := openPath | extra
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	return v.openRetrying(func() (int, error) {
		if v.walks() {
			return v.walk(ctx, path, flags)
		}
		return v.engine.Openat2(ctx, v.rootFD, path, unix.OpenHow{Flags: uint64(flags), Resolve: v.resolveFlags})
	})
}

// walks says that the Volume, not the kernel, goes from name to name: without openat2, and where the kernel could
// go through a mount that must not be touched.
func (v *Volume) walks() bool { return v.noOpenat2 || v.crossDevices && v.refuses.Load() }

// openChild opens one name of the directory dirfd as O_PATH, a symbolic link itself.
func (v *Volume) openChild(ctx context.Context, dirfd int, name string) (int, error) {
	return v.openRetrying(func() (int, error) {
		if v.noOpenat2 {
			fd, _, err := v.step(ctx, dirfd, name)
			return fd, err
		}
		return v.engine.Openat2(ctx, dirfd, name, unix.OpenHow{Flags: openPath | unix.O_NOFOLLOW, Resolve: v.resolveFlags})
	})
}

// openNew opens name of dirfd with O_CREAT and O_EXCL, or "." with O_TMPFILE, as c. The syscall half of the verb does
// that without openat2(2) too.
func (v *Volume) openNew(ctx context.Context, c *Creds, dirfd int, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode), Resolve: v.resolveFlags | unix.RESOLVE_NO_SYMLINKS}
	e := v.engine.As(c)
	return v.openRetrying(func() (int, error) { return e.Openat2(ctx, dirfd, name, how) })
}

// reopen opens the object that fd is open on once more, with other flags and without a path.
func (v *Volume) reopen(ctx context.Context, fd, flags int) (int, error) {
	flags |= unix.O_CLOEXEC
	return v.openRetrying(func() (int, error) {
		if v.noOpenat2 {
			return openat(unix.AT_FDCWD, procFD(fd), flags, 0)
		}
		return v.engine.Openat2(ctx, unix.AT_FDCWD, procFD(fd), unix.OpenHow{Flags: uint64(flags)})
	})
}

func openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// blame finds the component that err is about: the last one if the directory before it can be reached.
func (v *Volume) blame(ctx context.Context, op, path string, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	e := &PathError{Op: op, Path: path, Component: Last, Err: errno}
	switch errno {
	case unix.ECANCELED, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO:
		e.Component = ComponentUnknown
		return e
	}
	trimmed := strings.TrimRight(path, "/")
	slash := strings.LastIndexByte(trimmed, '/')
	if slash < 0 {
		return e
	}
	fd, err := v.resolvePath(ctx, trimmed[:slash], true, unix.O_DIRECTORY)
	if err != nil {
		e.Component = Parent
		return e
	}
	v.closeFD(fd)
	return e
}

// maxLinks is the kernel's bound on symbolic links in one path (MAXSYMLINKS).
const maxLinks = 40

// walk does what openat2 does with RESOLVE_BENEATH, one component at a time: each name is opened without following
// links beneath the directory before it, and ".." goes back to a directory that was come from, never by the name
// "..". So a rename meanwhile can lead to an inode that has just left the tree, never further up.
func (v *Volume) walk(ctx context.Context, path string, flags int) (int, error) {
	if strings.HasPrefix(path, "/") {
		return -1, unix.EXDEV
	}
	if len(path) >= unix.PathMax {
		return -1, unix.ENAMETOOLONG
	}
	dirs := []int{v.rootFD}
	defer func() {
		for _, fd := range dirs[1:] {
			v.closeFD(fd)
		}
	}()
	todo := names(nil, path)
	links := 0
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		last := len(todo) == 0
		if name == "." {
			continue
		}
		if name == ".." {
			if len(dirs) == 1 {
				return -1, unix.EXDEV
			}
			v.closeFD(dirs[len(dirs)-1])
			dirs = dirs[:len(dirs)-1]
			continue
		}
		fd, mode, err := v.step(ctx, dirs[len(dirs)-1], name)
		if err != nil {
			return -1, err
		}
		switch {
		case mode == unix.S_IFLNK && (!last || flags&unix.O_NOFOLLOW == 0):
			target, err := v.readLink(ctx, fd)
			v.closeFD(fd)
			if links++; err == nil && links > maxLinks {
				err = unix.ELOOP
			}
			if err == nil && strings.HasPrefix(target, "/") {
				err = unix.EXDEV
			}
			if err == nil && target == "" {
				err = unix.ENOENT
			}
			if err != nil {
				return -1, err
			}
			todo = names(todo, target)
		case mode == unix.S_IFDIR:
			dirs = append(dirs, fd)
		case !last:
			v.closeFD(fd)
			return -1, unix.ENOTDIR
		case flags&unix.O_DIRECTORY != 0:
			v.closeFD(fd)
			return -1, unix.ENOTDIR
		default:
			return fd, nil
		}
	}
	if len(dirs) == 1 {
		return v.dup(v.rootFD)
	}
	fd := dirs[len(dirs)-1]
	dirs = dirs[:len(dirs)-1]
	return fd, nil
}

// names pushes the components of path on todo, the first one on top. A trailing slash pushes "." as the last.
func names(todo []string, path string) []string {
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] == "" && i == len(parts)-1 && len(parts) > 1 {
			parts[i] = "."
		}
		if parts[i] != "" {
			todo = append(todo, parts[i])
		}
	}
	return todo
}

// step opens one name as O_PATH and says its type. A mount point is refused, or its device checked.
func (v *Volume) step(ctx context.Context, dirfd int, name string) (fd int, mode uint32, err error) {
	fd, err = openat(dirfd, name, openPath|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, 0, err
	}
	stx := new(unix.Statx_t)
	err = v.engine.Statx(ctx, fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_MNT_ID, stx)
	if err == nil {
		key := deviceKey{dev: unix.Mkdev(stx.Dev_major, stx.Dev_minor), mount: mountOf(stx)}
		if v.isRefused(key.dev) || !v.crossDevices && !v.sameMount(key) {
			err = unix.EXDEV
		}
	}
	if err != nil {
		v.closeFD(fd)
		return -1, 0, err
	}
	return fd, uint32(stx.Mode) & unix.S_IFMT, nil
}

// sameMount compares by mount id, which subvolumes share, or by device where the kernel does not tell.
func (v *Volume) sameMount(k deviceKey) bool {
	if k.mount != 0 {
		return k.mount == v.rootKey.mount
	}
	return k.dev == v.rootKey.dev
}

// readLink reads the symbolic link that the O_PATH descriptor fd is open on.
func (v *Volume) readLink(ctx context.Context, fd int) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := v.engine.Readlinkat(ctx, At{Dir: fd}, buf)
		if err != nil {
			return "", err
		}
		if n < size || size > unix.PathMax {
			return string(buf[:n]), nil
		}
	}
}
