//go:build linux

package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// FUSEMount describes a FUSE mount to make.
type FUSEMount struct {
	Point   string   // existing directory
	Source  string   // first column of df(1)
	Subtype string   // file system type "fuse.SUBTYPE"
	MaxRead int      // largest READ in bytes
	Options []string // fuse(8) options, and mount(8) flags such as "ro" and "noatime"
}

// mountFlags are the options that mount(2) takes as bits; set or cleared.
var mountFlags = map[string]struct {
	flag  uintptr
	clear bool
}{
	"ro": {unix.MS_RDONLY, false}, "rw": {unix.MS_RDONLY, true},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "nosymfollow": {unix.MS_NOSYMFOLLOW, false},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true}, "dirsync": {unix.MS_DIRSYNC, false},
}

// MountFUSE mounts a FUSE file system and returns the open /dev/fuse of its connection, close-on-exec, which the caller
// owns: when the last copy of it is closed the connection ends. Root mounts by itself, nosuid and nodev unless told
// otherwise; everybody else through fusermount3. The kernel's INIT request is waiting in the descriptor.
func MountFUSE(ctx context.Context, m FUSEMount) (*os.File, error) {
	f, err := mountDirect(m)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		helped, helperErr := mountByHelper(ctx, m)
		if helperErr == nil {
			return helped, nil
		}
		err = fmt.Errorf("neither mount(2): %w, nor the helper: %w", err, helperErr)
	}
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", m.Point, err)
	}
	return f, nil
}

func mountDirect(m FUSEMount) (*os.File, error) {
	if os.Geteuid() != 0 {
		return nil, unix.EPERM
	}
	var st unix.Stat_t
	if err := unix.Stat(m.Point, &st); err != nil {
		return nil, fmt.Errorf("mount point: %w", err)
	}
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	data := []string{
		fmt.Sprintf("fd=%d", dev.Fd()), fmt.Sprintf("rootmode=%o", st.Mode&unix.S_IFMT),
		fmt.Sprintf("user_id=%d", os.Geteuid()), fmt.Sprintf("group_id=%d", os.Getegid()),
		fmt.Sprintf("max_read=%d", m.MaxRead),
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	for _, o := range m.Options {
		f, ok := mountFlags[o]
		switch {
		case !ok:
			data = append(data, o)
		case f.clear:
			flags &^= f.flag
		default:
			flags |= f.flag
		}
	}
	if err := unix.Mount(m.Source, m.Point, "fuse."+m.Subtype, flags, strings.Join(data, ",")); err != nil {
		dev.Close()
		if errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("%w (an option that the kernel does not know? %s)", err, strings.Join(m.Options, ","))
		}
		return nil, err
	}
	return dev, nil
}

// mountByHelper lets the set-uid fusermount3 mount and hand us the device over a socket.
func mountByHelper(ctx context.Context, m FUSEMount) (*os.File, error) {
	bin, err := exec.LookPath("fusermount3")
	if err != nil {
		return nil, fmt.Errorf("install fuse3: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	escape := strings.NewReplacer(`\`, `\\`, ",", `\,`)
	options := []string{"fsname=" + escape.Replace(m.Source), "subtype=" + escape.Replace(m.Subtype), fmt.Sprintf("max_read=%d", m.MaxRead)}
	for _, o := range m.Options {
		options = append(options, escape.Replace(o))
	}
	cmd := exec.CommandContext(ctx, bin, "-o", strings.Join(options, ","), "--", m.Point)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("fusermount3: %w: %s", err, bytes.TrimSpace(out))
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 4), oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("device from fusermount3: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("device from fusermount3: %d messages: %w", len(messages), errors.Join(err, unix.EBADMSG))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("device from fusermount3: %d descriptors: %w", len(fds), errors.Join(err, unix.EBADMSG))
	}
	return os.NewFile(uintptr(fds[0]), "/dev/fuse"), nil
}
