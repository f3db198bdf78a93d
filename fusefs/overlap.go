//go:build linux

package fusefs

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/supervise"
)

// place is a directory as seen by its file system: by whatever mount, bind mount included, it is reached.
type place struct {
	major, minor uint32
	path         string // from the root of the file system
	chroot       bool   // path is from the root of a chroot, of which nothing says where it lies in the file system
}

// beneath reports whether p is q or lies beneath it. It fails where that cannot be known.
func (p place) beneath(q place) (bool, error) {
	if p.major != q.major || p.minor != q.minor {
		return false, nil
	}
	if p.chroot != q.chroot {
		return false, errChroot
	}
	return p.path == q.path || q.path == "/" || strings.HasPrefix(p.path, q.path+"/"), nil
}

// errChroot is the answer for a bind mount in a chroot whose root is no mount point.
var errChroot = errors.New("in this chroot nothing tells whether the mount point and the backing directory overlap: " +
	"make its root a mount point (mount --bind ROOT ROOT) before you enter it, or avoid the bind mount")

// placesOf returns the place of the directory and those of the mount points above it, up to the root.
func placesOf(name string, mountID int, mounts []supervise.Mount) ([]place, error) {
	byID := make(map[int]supervise.Mount, len(mounts))
	for _, m := range mounts {
		byID[m.ID] = m
	}
	var places []place
	// Each step goes one mount up; a longer walk than there are mounts would be a loop.
	for range mounts {
		m, ok := byID[mountID]
		if !ok {
			return nil, fmt.Errorf("mount %d of %s is not in the mount table", mountID, name)
		}
		rel, ok := cutPath(name, m.Point)
		if !ok {
			return nil, fmt.Errorf("%s is not beneath its mount point %s", name, m.Point)
		}
		places = append(places, place{m.Major, m.Minor, path.Join(cmp.Or(m.Root, "/"), rel), m.Root == ""})
		if _, above := byID[m.Parent]; !above || m.Parent == m.ID {
			return places, nil
		}
		name, mountID = m.Point, m.Parent
	}
	return places, nil
}

func cutPath(name, dir string) (string, bool) {
	if dir == "/" || name == dir {
		return strings.TrimPrefix(name, dir), true
	}
	return strings.CutPrefix(name, dir+"/")
}

// checkOverlap refuses a mount point beneath the backing directory, or the reverse: the server would then meet itself on
// its own paths and wait for its own answer, for ever. Both are given as O_PATH descriptors.
func checkOverlap(backing, mnt int) error {
	mounts, err := supervise.Mounts()
	if err != nil {
		return err
	}
	if mounts, err = withRoot(mounts); err != nil {
		return err
	}
	b, bName, err := locate(backing, mounts)
	if err != nil {
		return fmt.Errorf("backing directory: %w", err)
	}
	m, mName, err := locate(mnt, mounts)
	if err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	for _, p := range m {
		if within, err := p.beneath(b[0]); err != nil {
			return err
		} else if within {
			return fmt.Errorf("%w: the mount point %s lies within the backing directory %s: choose a mount point outside of it",
				unix.EINVAL, mName, bName)
		}
	}
	for _, p := range b {
		if within, err := p.beneath(m[0]); err != nil {
			return err
		} else if within {
			return fmt.Errorf("%w: the backing directory %s lies within the mount point %s and would be hidden by the mount: "+
				"choose a mount point that is an empty directory of its own", unix.EINVAL, bName, mName)
		}
	}
	return nil
}

// withRoot adds the mount of "/" where the table lacks it: in a chroot whose root is not a mount point. Its Root is empty: where
// the chroot lies in its file system cannot be known.
func withRoot(mounts []supervise.Mount) ([]supervise.Mount, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID, &st); err != nil {
		return nil, fmt.Errorf("mount id of /: %w", err)
	}
	id := int(st.Mnt_id)
	if slices.ContainsFunc(mounts, func(m supervise.Mount) bool { return m.ID == id }) {
		return mounts, nil
	}
	return append(mounts, supervise.Mount{ID: id, Parent: id, Major: st.Dev_major, Minor: st.Dev_minor, Point: "/"}), nil
}

func locate(fd int, mounts []supervise.Mount) ([]place, string, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return nil, "", fmt.Errorf("mount id: %w", err)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), buf)
	if err != nil {
		return nil, "", fmt.Errorf("path: %w", err)
	}
	name := string(buf[:n])
	places, err := placesOf(name, int(st.Mnt_id), mounts)
	return places, name, err
}
