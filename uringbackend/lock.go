//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// A waiting lock call cannot be cancelled without a signal to its thread, and would hold that thread for as long
// as another process likes. So the verbs never wait; waiting is a loop of tries with growing pauses.
const (
	lockPauseMin = time.Millisecond
	lockPauseMax = 64 * time.Millisecond
)

// Flock applies LOCK_SH, LOCK_EX or LOCK_UN to the open file of fd. With wait it returns when the lock is had or
// ctx ends (ECANCELED); without, EAGAIN says that another holds it. Waiters are not queued: no fairness.
func (e Engine) Flock(ctx context.Context, fd, how int, wait bool) error {
	return e.lock(ctx, Op{Kind: KindFlock, FD: fd, Flags: how}, wait)
}

// OFDSetlk sets or clears an open-file-description lock; lk.Pid must be 0. Waiting is as for Flock.
func (e Engine) OFDSetlk(ctx context.Context, fd int, lk unix.Flock_t, wait bool) error {
	return e.lock(ctx, Op{Kind: KindOFDSetlk, FD: fd, Lock: &lk}, wait)
}

// OFDGetlk returns the first lock that keeps lk from being set; its Type is F_UNLCK if there is none. Pid is -1
// for a lock that belongs to an open file description.
func (e Engine) OFDGetlk(ctx context.Context, fd int, lk unix.Flock_t) (unix.Flock_t, error) {
	_, err := e.Do(ctx, Op{Kind: KindOFDGetlk, FD: fd, Lock: &lk})
	return lk, err
}

func (e Engine) lock(ctx context.Context, op Op, wait bool) error {
	var timer *time.Timer
	for pause := lockPauseMin; ; pause = min(2*pause, lockPauseMax) {
		_, err := e.Do(ctx, op)
		if !errors.Is(err, unix.EAGAIN) || !wait {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return unix.ECANCELED
		}
	}
}

func directFlock(_ *Features, op *Op) (int, error) {
	return 0, untilNotInterrupted(func() error { return unix.Flock(op.FD, op.Flags|unix.LOCK_NB) })
}

func directOFDSetlk(_ *Features, op *Op) (int, error) {
	if op.Lock == nil {
		return 0, unix.EFAULT
	}
	err := untilNotInterrupted(func() error { return unix.FcntlFlock(uintptr(op.FD), unix.F_OFD_SETLK, op.Lock) })
	if errors.Is(err, unix.EACCES) {
		err = unix.EAGAIN // fcntl(2) allows either for a conflict
	}
	return 0, err
}

func directOFDGetlk(_ *Features, op *Op) (int, error) {
	if op.Lock == nil {
		return 0, unix.EFAULT
	}
	return 0, unix.FcntlFlock(uintptr(op.FD), unix.F_OFD_GETLK, op.Lock)
}
