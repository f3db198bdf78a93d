//go:build linux

package racelab

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// punchFile makes a hole of the span; the file's size stays.
func punchFile(path string, c change) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("punch: %w", err)
	}
	defer f.Close()
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := unix.Fallocate(int(f.Fd()), mode, c.span.from, c.span.to-c.span.from); err != nil {
		return fmt.Errorf("punch: %w", err)
	}
	return nil
}

// punchSMB sends FSCTL_SET_ZERO_DATA, [MS-FSCC] 2.3.67. go-smb2 has no call for
// it, so the raw client does. The file is made sparse first: on a file that is
// not, a server may write zeros instead of making a hole.
func punchSMB(ctx context.Context, s *second, name string, c change) error {
	return s.zero(ctx, name, c.span)
}
