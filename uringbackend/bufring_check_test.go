//go:build linux

package uringbackend

// In the package because it drives a BufRing from the receiver's side, which only engines see, against a ring of its
// own.

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// receiver is a loop ring with a socket that receives into a BufRing.
type receiver struct {
	t      *testing.T
	r      *uring.Ring
	b      *BufRing
	group  uint16
	in     int // receives here
	out    int // the peer
	bundle bool
	armed  bool
	last   error // of the final report
	eof    bool
}

func newReceiver(t *testing.T, cfg BufRingConfig, bundle bool) *receiver {
	t.Helper()
	f := Probe("")
	require.Equal(t, Yes, f.PbufRing.Answer, "%v", f.PbufRing.Why)
	require.Equal(t, Yes, f.RecvBundle.Answer, "%v", f.RecvBundle.Why)
	r, err := uring.New(8, 256, uring.SetupClamp)
	require.NoError(t, err)
	b, err := NewBufRing(cfg)
	require.NoError(t, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	v := &receiver{t: t, r: r, b: b, in: pair[0], out: pair[1], bundle: bundle}
	t.Cleanup(func() {
		_, _ = unix.Close(v.in), unix.Close(v.out)
		require.NoError(t, b.detach())
		b.Close()
		require.NoError(t, r.Close())
	})
	return v
}

// arm starts the receive.
func (v *receiver) arm() {
	v.t.Helper()
	group, err := v.b.attach(v.r, 7)
	require.NoError(v.t, err)
	v.group = group
	sqe := uring.SQE{
		Opcode: uring.OpRecv, Flags: uring.SQEBufferSelect, FD: int32(v.in), IOPrio: uring.RecvMultishot,
		BufIndex: group, UserData: 1,
	}
	if v.bundle {
		sqe.IOPrio |= uring.RecvSendBundle
	}
	require.True(v.t, v.r.Push(&sqe))
	v.armed, v.last, v.eof = true, nil, false
	v.enter(0)
}

func (v *receiver) enter(wait uint32) {
	v.t.Helper()
	_, errno := v.r.Enter(wait, uring.EnterGetEvents)
	require.Zero(v.t, errno)
	for {
		c, ok := v.r.Next()
		if !ok {
			return
		}
		n, err := result(c.Res)
		if err == nil {
			require.NoError(v.t, v.b.arrive(c.Flags, n))
			v.eof = n == 0
		}
		if c.Flags&uring.CQEMore == 0 {
			v.armed, v.last = false, err
		}
	}
}

func (v *receiver) send(p []byte) {
	v.t.Helper()
	n, err := unix.Write(v.out, p)
	require.NoError(v.t, err)
	require.Equal(v.t, len(p), n)
}

// TestBufRingStream sends far more than the buffers hold, with pieces of every size, and reads it back in pieces of
// other sizes: ids and counters go round many times, the receive ends with ENOBUFS often and is started again.
func TestBufRingStream(t *testing.T) {
	for _, bundle := range []bool{false, true} {
		for _, cfg := range []BufRingConfig{{Size: 100, Count: 1}, {Size: 100, Count: 4}, {Size: 10, Count: 64}} {
			count := cfg.Count
			t.Run(fmt.Sprintf("bundle=%t/count=%d", bundle, count), func(t *testing.T) {
				v := newReceiver(t, cfg, bundle)
				var sent, got []byte
				full, bundled := 0, 0
				v.arm()
				for i := range 3000 {
					piece := make([]byte, 1+(i*37)%450)
					for j := range piece {
						piece[j] = byte(len(sent) + j*7 + i)
					}
					v.send(piece)
					sent = append(sent, piece...)
					before := len(v.b.Segments(nil))
					v.enter(0)
					if len(v.b.Segments(nil)) > before+1 {
						bundled++
					}
					for len(got) < len(sent) {
						if !v.armed {
							// A bundle that takes the last buffer is itself the last report.
							if v.last != nil || !bundle {
								require.Equal(t, unix.ENOBUFS, v.last)
							}
							full++
						}
						// Consume a part, so that buffers are read in several goes.
						if seg, ok := v.b.Next(); ok {
							n := min(len(seg), 1+i%130)
							got = append(got, seg[:n]...)
							v.b.Consume(n)
						}
						if !v.armed && v.b.Free() > 0 {
							v.arm()
						}
						if i%8 != 7 && v.armed {
							break // leave some for the next round
						}
						v.enter(0)
					}
				}
				for {
					seg, ok := v.b.Next()
					if !ok && len(got) == len(sent) {
						break
					}
					got = append(got, seg...)
					v.b.Consume(len(seg))
					if !v.armed {
						v.arm()
					}
					v.enter(0)
				}
				require.True(t, bytes.Equal(sent, got))
				assert.Equal(t, count, v.b.Free())
				v.b.mu.Lock()
				if cfg.Size == 10 {
					assert.Greater(t, v.b.tail, uint32(1<<16), "the kernel's counters have 16 bits")
				}
				v.b.mu.Unlock()
				assert.Positive(t, full, "never ran out of buffers")
				if count > 1 {
					assert.Positive(t, bundled, "never filled several buffers at once")
				}
				require.NoError(t, unix.Shutdown(v.out, unix.SHUT_WR))
				for v.armed {
					v.enter(1)
				}
				assert.True(t, v.eof)
				assert.NoError(t, v.last)
				assert.Equal(t, count, v.b.Free(), "the end of the stream keeps no buffer")
			})
		}
	}
}

// TestBufRingBundle: one completion, several buffers.
func TestBufRingBundle(t *testing.T) {
	v := newReceiver(t, BufRingConfig{Size: 64, Count: 8}, true)
	v.send(bytes.Repeat([]byte("abcdefgh"), 25)) // 200 bytes: three buffers and a bit
	v.arm()
	var sizes []int
	for _, s := range v.b.Segments(nil) {
		sizes = append(sizes, len(s))
	}
	assert.Equal(t, []int{64, 64, 64, 8}, sizes)
	assert.Equal(t, 4, v.b.Free())
	v.b.Consume(65)
	assert.Equal(t, 5, v.b.Free())
	seg, ok := v.b.Next()
	require.True(t, ok)
	assert.Len(t, seg, 63)
	assert.Equal(t, "bcdefgh", string(seg[:7]))
	assert.Equal(t, 135, v.b.Buffered())
	assert.PanicsWithValue(t, "uringbackend: consuming 136 of 135 received bytes", func() { v.b.Consume(136) })
}

// TestBufRingReattach: data not yet read survives a change of ring, and so does its order.
func TestBufRingReattach(t *testing.T) {
	v := newReceiver(t, BufRingConfig{Size: 10, Count: 4}, false)
	v.arm()
	for i := range 3 {
		v.send([]byte{byte('a' + i)})
		v.enter(1)
	}
	v.b.Consume(1)
	// The receive ends with its socket, then the ring lets go.
	require.NoError(t, unix.Shutdown(v.in, unix.SHUT_RD))
	for v.armed {
		v.enter(1)
	}
	require.NoError(t, v.b.detach())
	require.NoError(t, v.b.detach(), "a second time does nothing")

	other, err := uring.New(8, 256, uring.SetupClamp)
	require.NoError(t, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	_, _, _ = unix.Close(v.in), unix.Close(v.out), v.r.Close()
	v.r, v.in, v.out = other, pair[0], pair[1]
	v.arm()
	third, err := uring.New(8, 0, uring.SetupClamp)
	require.NoError(t, err)
	_, err = v.b.attach(third, 0)
	assert.Equal(t, unix.EBUSY, err)
	require.NoError(t, third.Close())

	for i := range 3 {
		v.send([]byte{byte('d' + i)})
		v.enter(1)
	}
	for v.armed { // two of four buffers hold b and c: the third send finds none
		v.enter(1)
	}
	assert.Equal(t, unix.ENOBUFS, v.last)
	assert.Equal(t, "bcde", string(bytes.Join(v.b.Segments(nil), nil)))
	v.b.Consume(4)
	v.arm()
	assert.Equal(t, "f", string(bytes.Join(v.b.Segments(nil), nil)))
}

// TestBufRingPlain is the way of engines without provided buffers.
func TestBufRingPlain(t *testing.T) {
	b, err := NewBufRing(BufRingConfig{Size: 3, Count: 2})
	require.NoError(t, err)
	defer b.Close()
	var got []byte
	for i := range 1000 {
		for range 2 {
			bid, buf, ok := b.take()
			require.True(t, ok)
			require.Len(t, buf, 3)
			again, _, _ := b.take()
			require.Equal(t, bid, again, "a receive without data keeps the turn")
			n := copy(buf, fmt.Sprint(i % 1000)[:min(3, len(fmt.Sprint(i)))])
			require.NoError(t, b.arrived(bid, n))
		}
		_, _, ok := b.take()
		require.False(t, ok, "all full")
		got = got[:0]
		for {
			seg, ok := b.Next()
			if !ok {
				break
			}
			got = append(got, seg...)
			b.Consume(len(seg))
		}
		require.Equal(t, fmt.Sprint(i, i), string(got[:len(got)/2])+" "+string(got[len(got)/2:]))
	}
}

// TestBufRingBugs: what a kernel or a loop may not do is found.
func TestBufRingBugs(t *testing.T) {
	b, err := NewBufRing(BufRingConfig{Size: 10, Count: 2})
	require.NoError(t, err)
	assert.ErrorIs(t, b.arrived(1, 5), unix.EPROTO, "not its turn")
	assert.ErrorIs(t, b.arrived(0, 21), unix.EPROTO, "more than fits")
	assert.NoError(t, b.arrive(0, 5), "no buffer, nothing to note")
	b.Close()
	b.Close()
	_, ok := b.Next()
	assert.False(t, ok)
	_, _, ok = b.take()
	assert.False(t, ok)
	r, err := uring.New(8, 0, uring.SetupClamp)
	require.NoError(t, err)
	_, err = b.attach(r, 0)
	assert.Equal(t, unix.ECANCELED, err)
	require.NoError(t, r.Close())
	for _, cfg := range []BufRingConfig{{0, 1}, {-1, 1}, {1, 0}, {1, 3}, {1, 1 << 16}, {1 << 40, 1}} {
		_, err := NewBufRing(cfg)
		assert.Equal(t, unix.EINVAL, err, "%+v", cfg)
	}
}

// TestBufRingCloseAttached: the memory stays until the ring has let go.
func TestBufRingCloseAttached(t *testing.T) {
	b, err := NewBufRing(BufRingConfig{Size: 10, Count: 2})
	require.NoError(t, err)
	r, err := uring.New(8, 0, uring.SetupClamp)
	require.NoError(t, err)
	_, err = b.attach(r, 3)
	require.NoError(t, err)
	b.Close()
	b.mu.Lock()
	assert.NotNil(t, b.mem)
	b.mu.Unlock()
	require.NoError(t, b.detach())
	require.NoError(t, r.Close())
	b.mu.Lock()
	assert.Nil(t, b.mem)
	b.mu.Unlock()
}

// TestBufferTableSingle: on a ring that only its own thread may register with, a closed arena goes at the next use.
func TestBufferTableSingle(t *testing.T) {
	f := Probe("")
	require.Equal(t, Yes, f.BuffersSparse.Answer, "%v", f.BuffersSparse.Why)
	e, err := Open("ring", f, Config{Strict: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := uring.New(8, 0, uring.SetupClamp|uring.SetupSingleIssuer)
	require.NoError(t, err)
	var single, plain bufferTable
	r2, err := uring.New(8, 0, uring.SetupClamp)
	require.NoError(t, err)

	arenas := make([]*Arena, 3)
	for i := range arenas {
		arenas[i], err = e.NewArena(ArenaConfig{Chunk: 4096, Count: 1})
		require.NoError(t, err)
		place, ok := single.place(r, arenas[i])
		require.True(t, ok)
		require.EqualValues(t, i, place)
		_, ok = plain.place(r2, arenas[i])
		require.True(t, ok)
		require.EqualValues(t, 3, arenas[i].holders.Load())
	}
	require.NoError(t, arenas[0].Close())
	require.NoError(t, arenas[1].Close())
	require.EqualValues(t, 1, arenas[0].holders.Load(), "one ring has not let go")
	var sqe uring.SQE
	single.fix(r, &Op{Kind: KindFsync}, &sqe)
	require.Zero(t, arenas[0].holders.Load())
	require.Zero(t, arenas[1].holders.Load())
	require.Zero(t, sqe)

	// A place is given to another once nobody has it.
	next, err := e.NewArena(ArenaConfig{Chunk: 4096, Count: 1})
	require.NoError(t, err)
	require.Zero(t, next.place)
	b := next.Get()
	single.fix(r, &Op{Kind: KindWriteAt, Buf: b.Bytes(), Fixed: next}, &sqe)
	assert.Equal(t, uring.SQE{Opcode: uring.OpWriteFixed}, sqe)
	b.Release()
	require.NoError(t, arenas[2].Close())
	single.close()
	require.Zero(t, arenas[2].holders.Load(), "a ring that closes lets go of all")
	require.EqualValues(t, 1, next.holders.Load())
	plain.close()
	require.NoError(t, next.Close())
	require.Zero(t, next.holders.Load())
	require.NoError(t, r.Close())
	require.NoError(t, r2.Close())
}
