package smbserver

// Inside the package: the table is not for callers.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/smb2"
)

func TestEveryErrnoHasARow(t *testing.T) {
	named := 0
	for n := range syscall.Errno(4096) {
		name := unix.ErrnoName(n)
		status, ok := errnoStatus(n)
		if n == 0 {
			assert.Equal(t, smb2.StatusSuccess, status)
			continue
		}
		assert.Equal(t, name != "", ok, "errno %d %s", n, name)
		if name == "" {
			continue
		}
		named++
		assert.True(t, status.IsError(), "%s is answered with %v", name, status)
	}
	assert.Greater(t, named, 120, "the list of errnos of x/sys")
}

func TestStatusOf(t *testing.T) {
	at := func(c Component, errno syscall.Errno) error {
		return fmt.Errorf("open: %w", &PathError{Component: c, Err: fmt.Errorf("deep: %w", errno)})
	}
	for _, c := range []struct {
		name  string
		err   error
		want  smb2.Status
		known bool
	}{
		{"nothing", nil, smb2.StatusSuccess, true},
		{"a status", smb2.StatusDeletePending, smb2.StatusDeletePending, true},
		{"a wrapped status", fmt.Errorf("x: %w", smb2.StatusDeletePending), smb2.StatusDeletePending, true},
		{"malformed bytes", fmt.Errorf("x: %w", smb2.ErrMalformed), smb2.StatusInvalidParameter, true},
		{"a missing file", at(Last, syscall.ENOENT), smb2.StatusObjectNameNotFound, true},
		{"a missing directory on the way", at(Parent, syscall.ENOENT), smb2.StatusObjectPathNotFound, true},
		{"a file on the way", at(Parent, syscall.ENOTDIR), smb2.StatusObjectPathNotFound, true},
		{"a file for a directory", at(Last, syscall.ENOTDIR), smb2.StatusNotADirectory, true},
		{"a link out of the share on the way", at(Parent, syscall.EXDEV), smb2.StatusObjectPathNotFound, true},
		{"a locked directory on the way", at(Parent, syscall.EACCES), smb2.StatusAccessDenied, true},
		{"a full quota", syscall.EDQUOT, smb2.StatusDiskFull, true},
		{"a cancelled request", fmt.Errorf("x: %w", context.Canceled), smb2.StatusCancelled, true},
		{"a timeout", context.DeadlineExceeded, smb2.StatusIOTimeout, true},
		{"a number that is no errno", syscall.Errno(4000), smb2.StatusUnexpectedIOError, false},
		{"an error of another kind", io.ErrShortBuffer, smb2.StatusInternalError, false},
		{"several", errors.Join(io.ErrShortBuffer, syscall.ENOSPC), smb2.StatusDiskFull, true},
	} {
		status, known := statusOf(c.err)
		assert.Equal(t, c.want, status, c.name)
		assert.Equal(t, c.known, known, c.name)
	}
}

func TestShareOfUNC(t *testing.T) {
	for path, want := range map[string]string{
		`\\server\share`: "share", `\\127.0.0.1:4450\Share`: "Share", `\\[::1]:4450\s`: "s", `\\x\IPC$`: "IPC$",
	} {
		got, ok := shareOfUNC(path)
		assert.True(t, ok, path)
		assert.Equal(t, want, got)
	}
	for _, path := range []string{``, `\`, `\\`, `\\s`, `\\s\`, `\\\s`, `s\h`, `\s\h`, `//s/h`, `\\s\h\`, `\\s\h\x`} {
		_, ok := shareOfUNC(path)
		assert.False(t, ok, path)
	}
}
