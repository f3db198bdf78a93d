//go:build linux

package enginetest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

var pollCases = []Case{
	{"Poll", testPoll},
	{"PollLevel", testPollLevel},
	{"PollHangup", testPollHangup},
	{"PollManyOnOne", testPollManyOnOne},
	{"PollMultishot", testPollMultishot},
	{"PollClosed", testPollClosed},
	{"CancelFD", testCancelFD},
}

type polled struct {
	revents int
	err     error
}

func poll(ctx context.Context, e uringbackend.Engine, fd, events int) chan polled {
	c := make(chan polled, 1)
	// ends when the poll does; waited by the receiver of c
	go func() {
		revents, err := e.Poll(ctx, fd, events)
		c <- polled{revents, err}
	}()
	return c
}

func testPoll(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	revents, err := e.Poll(background(), w, unix.POLLOUT)
	require.NoError(t, err)
	assert.Equal(t, unix.POLLOUT, revents)
	c := poll(background(), e, r, unix.POLLIN)
	waiting(t, e, 1)
	_, err = unix.Write(w, []byte("x"))
	require.NoError(t, err)
	within(t, "poll", func() { assert.Equal(t, polled{unix.POLLIN, nil}, <-c) })
	assert.Equal(t, "x", string(drain(t, r, 1)), "a poll reads nothing")

	ctx, cancel := context.WithCancel(background())
	c = poll(ctx, e, r, unix.POLLIN)
	waiting(t, e, 1)
	cancel()
	within(t, "cancelled poll", func() { assert.Equal(t, polled{0, unix.ECANCELED}, <-c) })
	_, err = e.Poll(background(), 1<<20, unix.POLLIN)
	assert.Equal(t, unix.EBADF, err)
}

// testPollLevel: it reports as long as the condition holds, also without anything new, and waits when it does not.
func testPollLevel(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	_, err := unix.Write(w, []byte("abc"))
	require.NoError(t, err)
	var got []byte
	within(t, "level", func() {
		err = e.PollLevel(background(), r, unix.POLLIN, func(revents int) bool {
			assert.Equal(t, unix.POLLIN, revents)
			buf := make([]byte, 1)
			n, err := unix.Read(r, buf)
			assert.NoError(t, err)
			got = append(got, buf[:n]...)
			return len(got) < 3
		})
	})
	require.NoError(t, err)
	assert.Equal(t, "abc", string(got))
	var reports atomic.Int32
	ctx, cancel := context.WithCancel(background())
	over := make(chan error, 1)
	// ends when ctx does; waited by the receive from over
	go func() {
		over <- e.PollLevel(ctx, r, unix.POLLIN, func(int) bool {
			reports.Add(1)
			return true
		})
	}()
	waiting(t, e, 1)
	cancel()
	within(t, "level", func() { assert.Equal(t, unix.ECANCELED, <-over) })
	assert.Zero(t, reports.Load(), "the pipe is empty")
}

// testPollHangup: a peer that ends its direction, closes, or resets is noticed, whatever was asked for.
func testPollHangup(t *testing.T, e uringbackend.Engine) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, peer int)
		want int
	}{
		{"shut down", func(t *testing.T, peer int) {
			t.Helper()
			require.NoError(t, unix.Shutdown(peer, unix.SHUT_WR))
		}, unix.POLLRDHUP},
		{"reset", func(t *testing.T, peer int) {
			t.Helper()
			require.NoError(t, unix.SetsockoptLinger(peer, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			copied, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			require.NoError(t, err)
			require.NoError(t, unix.Dup3(copied, peer, unix.O_CLOEXEC)) // closes the socket, keeps the number
			require.NoError(t, unix.Close(copied))
		}, unix.POLLHUP},
	} {
		a, b := tcp(t)
		watch := poll(background(), e, b, unix.POLLRDHUP)
		waiting(t, e, 1)
		c.end(t, a)
		within(t, c.name, func() {
			got := <-watch
			assert.NoError(t, got.err, c.name)
			assert.Equal(t, c.want, got.revents&c.want, c.name)
		})
	}
}

// testPollManyOnOne: polls for different events of one descriptor do not keep each other from being reported.
func testPollManyOnOne(t *testing.T, e uringbackend.Engine) {
	a, b := unixPair(t)
	gone := poll(background(), e, b, unix.POLLRDHUP)
	waiting(t, e, 1)
	in := poll(background(), e, b, unix.POLLIN)
	waiting(t, e, 2)
	_, err := unix.Write(a, []byte("x"))
	require.NoError(t, err)
	within(t, "POLLIN", func() { assert.Equal(t, polled{unix.POLLIN, nil}, <-in) })
	waiting(t, e, 1)
	require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
	within(t, "POLLRDHUP", func() {
		got := <-gone
		assert.NoError(t, got.err)
		assert.NotZero(t, got.revents&unix.POLLRDHUP)
	})
}

// testPollMultishot: each write is noticed, whether the kernel goes on by itself or wants to be asked again.
func testPollMultishot(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	reports := make(chan polled, 64)
	over := make(chan struct{})
	var ask func()
	again := make(chan struct{}, 1)
	ask = func() {
		e.Submit(ctx, []uringbackend.Op{{
			Kind: uringbackend.KindPoll, Unbounded: true, FD: r, Mask: unix.POLLIN, Flags: uringbackend.Multishot,
		}}, func(_, n int, more bool, err error) {
			if err == nil {
				reports <- polled{n, nil}
			}
			if !more {
				again <- struct{}{}
			}
		})
	}
	// ends when ctx does; waited by the receive from over
	go func() {
		defer close(over)
		for {
			ask()
			<-again
			if ctx.Err() != nil {
				return
			}
		}
	}()
	for range 20 {
		_, err := unix.Write(w, []byte("x"))
		require.NoError(t, err)
		within(t, "multishot poll", func() { assert.Equal(t, unix.POLLIN, (<-reports).revents) })
		assert.Equal(t, "x", string(drain(t, r, 1)))
		for len(reports) > 0 { // asked again before the pipe was emptied
			<-reports
		}
	}
	cancel()
	within(t, "cancelled multishot poll", func() { <-over })
}

// testPollClosed: a descriptor closed through the engine takes its polls along before its number is another file's.
func testPollClosed(t *testing.T, e uringbackend.Engine) {
	for range 300 {
		r, w := unowned(t)
		c := poll(background(), e, r, unix.POLLIN)
		d := poll(background(), e, r, unix.POLLRDHUP)
		waiting(t, e, 2)
		require.NoError(t, e.CloseFD(background(), r))
		// The next pipe has the number of the one that is gone, and something to read.
		r2, w2 := unowned(t)
		assert.Equal(t, r, r2, "the number is free")
		_, err := unix.Write(w2, []byte("x"))
		require.NoError(t, err)
		within(t, "poll of a closed descriptor", func() {
			assert.Equal(t, polled{0, unix.ECANCELED}, <-c)
			assert.Equal(t, polled{0, unix.ECANCELED}, <-d)
		})
		for _, fd := range []int{w, r2, w2} {
			require.NoError(t, e.CloseFD(background(), fd))
		}
	}
}

// unowned is a pipe that the caller closes.
func unowned(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	return p[0], p[1]
}

func testCancelFD(t *testing.T, e uringbackend.Engine) {
	r, w := pipe(t)
	r2, w2 := pipe(t)
	first, second := poll(background(), e, r, unix.POLLIN), poll(background(), e, r, unix.POLLIN)
	other := poll(background(), e, r2, unix.POLLIN)
	waiting(t, e, 3)
	assert.Equal(t, 2, e.CancelFD(r))
	within(t, "cancelled polls", func() {
		assert.Equal(t, polled{0, unix.ECANCELED}, <-first)
		assert.Equal(t, polled{0, unix.ECANCELED}, <-second)
	})
	assert.Zero(t, e.CancelFD(r))
	assert.Zero(t, e.CancelFD(w))
	_, err := unix.Write(w2, []byte("x"))
	require.NoError(t, err)
	within(t, "the other poll", func() { assert.Equal(t, polled{unix.POLLIN, nil}, <-other) })
}
