//go:build linux

package e2e_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloudsoda/go-smb2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// directFlag is O_DIRECT, for os.OpenFile.
const directFlag = unix.O_DIRECT

// mountDoor is a directory.
type mountDoor struct{ dir string }

func (d mountDoor) path(name string) string { return filepath.Join(d.dir, name) }

func (d mountDoor) open(name string, flags int, act func(f *os.File) error) error {
	f, err := os.OpenFile(d.path(name), flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(act(f), f.Close())
}

func (d mountDoor) create(name string) error {
	return d.open(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, func(*os.File) error { return nil })
}

func (d mountDoor) write(name string, b []byte, off int64) (n int, err error) {
	err = d.open(name, os.O_WRONLY, func(f *os.File) (err error) { n, err = f.WriteAt(b, off); return err })
	return n, err
}

func (d mountDoor) read(name string, b []byte, off int64) (n int, err error) {
	err = d.open(name, os.O_RDONLY, func(f *os.File) (err error) { n, err = f.ReadAt(b, off); return notEOF(err) })
	return n, err
}

func (d mountDoor) truncate(name string, size int64) error { return os.Truncate(d.path(name), size) }
func (d mountDoor) remove(name string) error               { return os.Remove(d.path(name)) }

func (d mountDoor) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d mountDoor) list() (names []string, err error) {
	entries, err := os.ReadDir(d.dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (mountDoor) injected(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// smbDoor is a share.
type smbDoor struct{ share *smb2.Share }

// smbDoorOf logs in.
func smbDoorOf(t *testing.T, s *smbServer) smbDoor {
	t.Helper()
	share, err := s.dial(t, false).Mount("share")
	require.NoError(t, err)
	return smbDoor{share}
}

func (d smbDoor) open(name string, flags int, act func(f *smb2.File) error) error {
	f, err := d.share.OpenFile(name, flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(act(f), f.Close())
}

func (d smbDoor) create(name string) error {
	return d.open(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, func(*smb2.File) error { return nil })
}

func (d smbDoor) write(name string, b []byte, off int64) (n int, err error) {
	err = d.open(name, os.O_WRONLY, func(f *smb2.File) (err error) { n, err = f.WriteAt(b, off); return err })
	return n, err
}

func (d smbDoor) read(name string, b []byte, off int64) (n int, err error) {
	err = d.open(name, os.O_RDONLY, func(f *smb2.File) (err error) { n, err = f.ReadAt(b, off); return notEOF(err) })
	return n, err
}

func (d smbDoor) truncate(name string, size int64) error { return d.share.Truncate(name, size) }
func (d smbDoor) remove(name string) error               { return d.share.Remove(name) }
func (d smbDoor) rename(from, to string) error           { return d.share.Rename(from, to) }

func (d smbDoor) list() (names []string, err error) {
	entries, err := d.share.ReadDir("")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (smbDoor) injected(err error) bool {
	var answer *smb2.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case 0xC0000185, 0xC000007F: // STATUS_IO_DEVICE_ERROR, STATUS_DISK_FULL
		return true
	}
	return false
}

// notEOF forgets that a read met the end: its count says so.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
