//go:build linux

package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotMounted is wrapped when a path is not a mount point of this mount namespace.
var ErrNotMounted = errors.New("not a mount point")

// Mount is one line of /proc/self/mountinfo, proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent   int
	Major, Minor uint32 // of st_dev
	Root         string // of the mount within its file system
	Point        string // absolute, in this process's root
	Options      string // per mount
	FSType       string // "ext4", "fuse.uringfs", …
	Source       string
	SuperOptions string // per file system
}

// IsFUSE reports whether a FUSE server stands behind the mount; fusectl is not one.
func (m Mount) IsFUSE() bool {
	return m.FSType == "fuse" || m.FSType == "fuseblk" || strings.HasPrefix(m.FSType, "fuse.") || strings.HasPrefix(m.FSType, "fuseblk.")
}

// Mounts lists the mounts that this process sees, in the kernel's order: of two on one point the later one is on top.
// It reads /proc only and never touches a mount.
func Mounts() ([]Mount, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	return parseMountinfo(b)
}

// MountAt is the topmost mount on the point mnt; ErrNotMounted when there is none. Symlinks in the parents of mnt are
// followed, the last component is never looked up.
func MountAt(mnt string) (Mount, error) {
	point, err := mountPath(mnt)
	if err != nil {
		return Mount{}, err
	}
	all, err := Mounts()
	if err != nil {
		return Mount{}, err
	}
	for _, m := range slices.Backward(all) {
		if m.Point == point {
			return m, nil
		}
	}
	return Mount{}, fmt.Errorf("%s: %w", mnt, ErrNotMounted)
}

// Stale reports whether mnt is a FUSE mount whose server is gone: it answers ENOTCONN. A path that is no mount point, or no
// FUSE mount, is not stale. A server that neither answers nor is gone gives the error of ctx; the asking thread then stays
// in the kernel until AbortMount, so ask only from a process that does not serve mnt itself.
func Stale(ctx context.Context, mnt string) (bool, error) {
	m, err := MountAt(mnt)
	if errors.Is(err, ErrNotMounted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !m.IsFUSE() {
		return false, nil
	}
	answer := make(chan error, 1)
	// ends when the kernel answers; waited by Stale unless ctx ends, then by nobody: see above.
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(m.Point, &st)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED), nil
	case <-ctx.Done():
		return false, fmt.Errorf("%s does not answer: %w", mnt, ctx.Err())
	}
}

// AbortMount ends the FUSE connection behind mnt through fusectl: every request in flight, and every later one, fails with
// ENOTCONN or ECONNABORTED, which frees threads that nothing else can. The mount stays in the table: see Unmount.
// Where fusectl is not mounted a private instance is used, which needs CAP_SYS_ADMIN.
func AbortMount(mnt string) error {
	m, err := MountAt(mnt)
	if err != nil {
		return err
	}
	if !m.IsFUSE() {
		return fmt.Errorf("abort %s: a %s mount has no FUSE connection", mnt, m.FSType)
	}
	return AbortConnection(m.Minor)
}

// AbortConnection is AbortMount for a mount that is detached already: connections are named by the minor number of st_dev,
// whose major is 0.
func AbortConnection(minor uint32) error {
	name := strconv.FormatUint(uint64(minor), 10) + "/abort"
	err := os.WriteFile(filepath.Join("/sys/fs/fuse/connections", name), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = abortPrivately(name)
	}
	if err != nil {
		return fmt.Errorf("abort FUSE connection %d: %w", minor, err)
	}
	return nil
}

// abortPrivately mounts fusectl without attaching it anywhere, so that the mount table stays as it is.
func abortPrivately(name string) error {
	fsfd, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fusectl is not mounted and cannot be: %w", err)
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return fmt.Errorf("fusectl instance: %w", err)
	}
	dir, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fusectl mount: %w", err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fusectl connection: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("1")); err != nil {
		return fmt.Errorf("fusectl abort: %w", err)
	}
	return nil
}

// Unmount detaches the topmost mount on mnt (umount2 with MNT_DETACH: it vanishes from the tree at once, whoever still
// uses it). Without the privilege it asks fusermount3. A path that is not mounted gives ErrNotMounted.
func Unmount(mnt string) error { return unmount(mnt, true) }

// UnmountIdle is Unmount that fails with EBUSY while somebody uses the mount.
func UnmountIdle(mnt string) error { return unmount(mnt, false) }

func unmount(mnt string, lazy bool) error {
	m, err := MountAt(mnt)
	if err != nil {
		return err
	}
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err = unix.Unmount(m.Point, flags)
	if errors.Is(err, unix.EPERM) && m.IsFUSE() {
		err = fusermount(m.Point, lazy)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", mnt, err)
	}
	return nil
}

// fusermount lets the set-uid helper unmount, for users who may not.
func fusermount(point string, lazy bool) error {
	bin, err := exec.LookPath("fusermount3")
	if err != nil {
		return fmt.Errorf("%w, and there is no helper: %w", syscall.EPERM, err)
	}
	args := []string{"-u", "--", point}
	if lazy {
		args = []string{"-u", "-z", "--", point}
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil && bytes.Contains(out, []byte("busy")) {
		return syscall.EBUSY
	}
	if err != nil {
		return fmt.Errorf("fusermount3: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Clear aborts and detaches every FUSE mount stacked on mnt, live or stale, without touching any. A path with no FUSE
// mount on top is left alone and is no error.
func Clear(mnt string) error {
	for {
		m, err := MountAt(mnt)
		if errors.Is(err, ErrNotMounted) {
			return nil
		}
		if err != nil {
			return err
		}
		if !m.IsFUSE() {
			return nil
		}
		abortErr := AbortConnection(m.Minor)
		if err := Unmount(mnt); err != nil {
			return errors.Join(abortErr, err)
		}
	}
}

// mountPath makes mnt comparable with mountinfo: absolute, parents resolved, the last component untouched.
func mountPath(mnt string) (string, error) {
	abs, err := filepath.Abs(mnt)
	if err != nil {
		return "", fmt.Errorf("absolute path of %s: %w", mnt, err)
	}
	if abs == "/" {
		return abs, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("parent of %s: %w", mnt, err)
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}

// parseMountinfo parses proc_pid_mountinfo(5).
func parseMountinfo(b []byte) ([]Mount, error) {
	var ms []Mount
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		head, rest, ok := strings.Cut(line, " - ") // optional fields end with a lone hyphen
		h, r := strings.Split(head, " "), strings.Split(rest, " ")
		if !ok || len(h) < 6 || len(r) < 3 {
			return nil, fmt.Errorf("mount table line %q: %w", line, syscall.EINVAL)
		}
		m := Mount{Root: unescape(h[3]), Point: unescape(h[4]), Options: h[5], FSType: r[0], Source: unescape(r[1]), SuperOptions: r[2]}
		major, minor, _ := strings.Cut(h[2], ":")
		numbers := []struct {
			text string
			set  func(uint64)
		}{
			{h[0], func(n uint64) { m.ID = int(n) }},
			{h[1], func(n uint64) { m.Parent = int(n) }},
			{major, func(n uint64) { m.Major = uint32(n) }},
			{minor, func(n uint64) { m.Minor = uint32(n) }},
		}
		for _, f := range numbers {
			n, err := strconv.ParseUint(f.text, 10, 31)
			if err != nil {
				return nil, fmt.Errorf("mount table line %q: %w", line, syscall.EINVAL)
			}
			f.set(n)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// unescape undoes the kernel's \ooo for blanks, tabs, newlines, backslashes and hashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
