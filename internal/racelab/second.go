//go:build linux

package racelab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	smb "github.com/cloudsoda/go-smb2"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
)

// second is the other client of a share, which makes changes. What go-smb2 can send,
// go-smb2 sends; the raw client does the rest over a connection of its own.
type second struct {
	gate  *Gate
	share *smb.Share
	raw   *smbclient.Client
	tree  *smbclient.Tree
	// broken says that a call failed and the connections may not be used again.
	broken bool
}

func newSecond(ctx context.Context, addr, share string) (_ *second, err error) {
	s := &second{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("second client: %w", err), s.close())
		}
	}()
	dialer := net.Dialer{}
	conn, err := dialer.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	s.gate = NewGate(conn)
	if s.share, err = login(ctx, s.gate, addr, share); err != nil {
		return nil, err
	}
	if conn, err = dialer.DialContext(ctx, "tcp4", addr); err != nil {
		return nil, err
	}
	if s.raw, err = smbclient.Dial(ctx, conn, smbclient.Config{User: targetUser, Password: targetPassword}); err != nil {
		return nil, err
	}
	s.tree, err = s.raw.TreeConnect(ctx, share)
	return s, err
}

// withFile opens name for writing by go-smb2, calls f and closes the file.
func (s *second) withFile(ctx context.Context, name string, f func(smbFile) error) (err error) {
	defer func() { s.broken = s.broken || err != nil }()
	file, err := s.share.WithContext(ctx).OpenFile(name, os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("second client: %w", err)
	}
	if err := f(file); err != nil {
		return errors.Join(fmt.Errorf("second client: %w", err), file.Close())
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("second client: %w", err)
	}
	return nil
}

// zero makes a hole of the span with SET_SPARSE and SET_ZERO_DATA.
func (s *second) zero(ctx context.Context, name string, hole span) (err error) {
	defer func() { s.broken = s.broken || err != nil }()
	file, err := s.tree.Open(ctx, name, smb2.FileGenericRead|smb2.FileGenericWrite)
	if err != nil {
		return fmt.Errorf("second client: %w", err)
	}
	err = file.SetSparse(ctx, true)
	if err == nil {
		err = file.SetZeroData(ctx, hole.from, hole.to)
	}
	if err = errors.Join(err, file.Close(ctx)); err != nil {
		return fmt.Errorf("second client: %w", err)
	}
	return nil
}

func (s *second) close() error {
	var errs []error
	if s.gate != nil {
		errs = append(errs, s.gate.Close())
	}
	if s.raw != nil {
		errs = append(errs, s.raw.Close())
	}
	return errors.Join(errs...)
}
