//go:build linux

package uringbackend_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// place is a directory with something in it for each verb to work on.
type place struct {
	dir, fd int
	path    string
	pipes   [2][2]int
	mem     []byte
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{path: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(p.path, "f"), []byte("some bytes"), 0o600))
	var err error
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		return fd
	}
	p.dir, p.fd = open(p.path, unix.O_PATH|unix.O_DIRECTORY), open(filepath.Join(p.path, "f"), unix.O_RDWR)
	require.NoError(t, unix.Fsetxattr(p.fd, "user.a", []byte("v"), 0))
	for i := range p.pipes {
		p.pipes[i][0], p.pipes[i][1] = newPipe(t)
	}
	_, err = unix.Write(p.pipes[0][1], []byte("in the pipe"))
	require.NoError(t, err)
	p.mem, err = unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = unix.Close(p.dir), unix.Close(p.fd)
		assert.NoError(t, unix.Munmap(p.mem))
	})
	return p
}

// sample is an op of verb k that succeeds in a new place, and its result.
func (p *place) sample(t *testing.T, k uringbackend.Kind) (op uringbackend.Op, n int) {
	t.Helper()
	f := filepath.Join(p.path, "f")
	op = uringbackend.Op{Kind: k, FD: p.fd}
	if op, n, ok := socketSample(t, k); ok {
		return op, n
	}
	switch k {
	case uringbackend.KindReadAt:
		op.Buf, n = make([]byte, 4), 4
	case uringbackend.KindWriteAt:
		op.Buf, n = []byte("new"), 3
	case uringbackend.KindReadvAt:
		op.Bufs, n = [][]byte{make([]byte, 2), make([]byte, 100)}, 10
	case uringbackend.KindWritevAt:
		op.Bufs, n = [][]byte{[]byte("n"), []byte("ew")}, 3
	case uringbackend.KindFsync:
	case uringbackend.KindOpenat2:
		op.FD, op.Path, op.How = p.dir, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
		n = -1 // whichever is free
	case uringbackend.KindClose:
		fd, err := unix.Dup(p.fd)
		require.NoError(t, err)
		op.FD = fd
	case uringbackend.KindStatx:
		op.FD, op.Path, op.Statx, op.Mask = p.dir, "f", new(unix.Statx_t), unix.STATX_SIZE
	case uringbackend.KindMkdirat:
		op.FD, op.Path, op.Mask = p.dir, "d", 0o700
	case uringbackend.KindSymlinkat:
		op.FD, op.Path, op.Path2 = p.dir, "l", "f"
	case uringbackend.KindLinkat:
		op.FD, op.Path, op.FD2, op.Path2 = p.dir, "f", p.dir, "g"
	case uringbackend.KindUnlinkat:
		op.FD, op.Path = p.dir, "f"
	case uringbackend.KindRenameat2:
		op.FD, op.Path, op.FD2, op.Path2 = p.dir, "f", p.dir, "g"
	case uringbackend.KindFtruncate:
		op.Length = 3
	case uringbackend.KindFallocate:
		op.Length = 100
	case uringbackend.KindFgetxattr:
		op.Path, op.Buf, n = "user.a", make([]byte, 10), 1
	case uringbackend.KindFsetxattr:
		op.Path, op.Buf = "user.b", []byte("w")
	case uringbackend.KindGetxattr:
		op.Path, op.Path2, op.Buf, n = f, "user.a", make([]byte, 10), 1
	case uringbackend.KindSetxattr:
		op.Path, op.Path2, op.Buf = f, "user.b", []byte("w")
	case uringbackend.KindSplice:
		op.FD2, op.Offset2, op.Length, n = p.pipes[1][1], -1, 100, 10
	case uringbackend.KindTee:
		op.FD, op.FD2, op.Length, n = p.pipes[0][0], p.pipes[1][1], 100, 11
	case uringbackend.KindReadahead, uringbackend.KindFadvise:
		op.Length = 10
	case uringbackend.KindSyncFileRange:
		op.Flags = unix.SYNC_FILE_RANGE_WRITE
	case uringbackend.KindMadvise:
		op.Buf, op.Mask = p.mem, unix.MADV_DONTNEED
	default:
		t.Fatalf("%s has a ring half and no sample here", k)
	}
	return op, n
}

// TestEachVerbFallsBack: without its opcode a verb does the same by a system call, and is counted.
func TestEachVerbFallsBack(t *testing.T) {
	features := uringbackend.Probe("")
	enginetest.Require(t, features.Ring)
	for _, k := range uringbackend.Kinds() {
		if !k.RingHalf() {
			continue
		}
		t.Run(k.String(), func(t *testing.T) {
			for _, missing := range []bool{false, true} {
				f, want := features, uringbackend.Count{Ring: 1}
				fallbacks := map[string]uint64{}
				if missing {
					f, want = features.WithoutOpcodeForTest(k), uringbackend.Count{Syscall: 1}
					fallbacks[k.String()] = 1
				} else {
					enginetest.Require(t, f.Opcode(k))
				}
				e, err := uringbackend.Open("ring", f, uringbackend.Config{Strict: true, Policy: "ring"})
				require.NoError(t, err)
				op, n := newPlace(t).sample(t, k)
				got, err := e.Do(context.Background(), op)
				require.NoError(t, err)
				if n < 0 {
					require.NoError(t, unix.Close(got))
				} else {
					assert.Equal(t, n, got)
				}
				assert.Equal(t, map[string]uringbackend.Count{k.String(): want}, e.Counts())
				assert.Equal(t, fallbacks, e.Fallbacks())
				require.NoError(t, e.Close())
			}
		})
	}
}

// socketSample is sample for the verbs of sockets: on a connection with something to read and its end behind it.
func socketSample(t *testing.T, k uringbackend.Kind) (op uringbackend.Op, n int, ok bool) {
	t.Helper()
	if k < uringbackend.KindSend || k > uringbackend.KindPoll {
		return op, 0, false
	}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, unix.Close(fd)) })
		return fd
	}
	listener, peer := socket(), socket()
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(listener, 1))
	addr, err := unix.Getsockname(listener)
	require.NoError(t, err)
	require.NoError(t, unix.Connect(peer, addr))
	op = uringbackend.Op{Kind: k, FD: listener}
	if k == uringbackend.KindAccept {
		return op, -1, true
	}
	op.FD, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Close(op.FD)) })
	_, err = unix.Write(peer, []byte("data"))
	require.NoError(t, err)
	require.NoError(t, unix.Shutdown(peer, unix.SHUT_WR))
	op.Flags = unix.MSG_WAITALL
	switch k {
	case uringbackend.KindSend, uringbackend.KindRecv:
		op.Buf, n = []byte("some"), 4
	case uringbackend.KindSendmsg, uringbackend.KindRecvmsg:
		op.Bufs, n = [][]byte{[]byte("so"), []byte("me")}, 4
	case uringbackend.KindSendZC:
		op.Buf, n = []byte("some"), 1 // the last report says that loopback copied
	case uringbackend.KindSendmsgZC:
		op.Bufs, n = [][]byte{[]byte("so"), []byte("me")}, 1
	case uringbackend.KindRecvMulti:
		op.Flags = 0 // the last report is the end of the stream
		op.Provided, err = uringbackend.NewBufRing(uringbackend.BufRingConfig{Size: 64, Count: 2})
		require.NoError(t, err)
		t.Cleanup(op.Provided.Close)
	case uringbackend.KindShutdown:
		op.Mask = unix.SHUT_RDWR
	case uringbackend.KindPoll:
		op.Flags, op.Mask, n = 0, unix.POLLIN, unix.POLLIN|unix.POLLRDHUP
	default:
	}
	return op, n, true
}

// TestOpsThatSuitNoRing: what an opcode cannot carry out as the system call would goes by the system call, which is no
// fallback.
func TestOpsThatSuitNoRing(t *testing.T) {
	e := openRing(t, uringbackend.Config{Policy: "ring"})
	p := newPlace(t)
	for _, c := range []struct {
		name string
		op   uringbackend.Op
		err  error
	}{
		{"length beyond 32 bits", uringbackend.Op{Kind: uringbackend.KindFadvise, FD: p.fd, Length: 1 << 32}, nil},
		{"the same", uringbackend.Op{Kind: uringbackend.KindReadahead, FD: p.fd, Length: 1 << 32}, nil},
		{"the same", uringbackend.Op{Kind: uringbackend.KindSyncFileRange, FD: p.fd, Length: 1 << 32}, nil},
		{"negative length", uringbackend.Op{Kind: uringbackend.KindFtruncate, FD: p.fd, Length: -1}, unix.EINVAL},
		{"polled read", uringbackend.Op{Kind: uringbackend.KindReadAt, FD: p.fd, Buf: make([]byte, 1), Flags: unix.RWF_HIPRI}, nil},
		{"splice that may wait for a peer", uringbackend.Op{
			Kind: uringbackend.KindSplice, Unbounded: true, FD: p.pipes[0][0], Offset: -1, FD2: p.fd, Length: 1,
		}, nil},
	} {
		_, err := e.Do(context.Background(), c.op)
		assert.Equal(t, c.err, err, c.name)
	}
	for name, n := range e.Counts() {
		assert.Equal(t, uringbackend.Count{Syscall: 1}, n, name)
	}
	assert.Empty(t, e.Fallbacks())
}

// TestOldKernelCache: without cachestat nothing is known about the page cache, on every engine.
func TestOldKernelCache(t *testing.T) {
	for _, name := range []string{"syscall", "ring"} {
		t.Run(name, func(t *testing.T) {
			f := uringbackend.Probe("")
			if name == "ring" {
				enginetest.Require(t, f.Ring)
			}
			f.Cachestat = uringbackend.Ability{Answer: uringbackend.No, Why: unix.ENOSYS}
			e, err := uringbackend.Open(name, f, uringbackend.Config{Strict: true})
			require.NoError(t, err)
			_, err = e.Cachestat(context.Background(), newPlace(t).fd, 0, 0)
			assert.Equal(t, unix.EOPNOTSUPP, err)
			require.NoError(t, e.Close())
		})
	}
}

// TestProbeAnswers: on a kernel that has all opcodes of verbs the answers do not contradict each other.
func TestProbeAnswers(t *testing.T) {
	f := uringbackend.Probe(t.TempDir())
	enginetest.Require(t, f.Ring)
	before := descriptors(t)
	assert.Equal(t, uringbackend.Probe(t.TempDir()), f, "asked twice")
	assert.Equal(t, before, descriptors(t), "open descriptors")
	for row := range f.Rows() {
		if row.Answer == uringbackend.Yes {
			assert.NoError(t, row.Why, row.Name)
		} else {
			assert.Error(t, row.Why, row.Name)
		}
	}
	for _, implied := range []struct{ that, this uringbackend.Ability }{
		{f.RecvBundle, f.RecvMultishot},
		{f.RecvMultishot, f.PbufRing},
		{f.RecvMultishot, f.OpRecv},
		{f.CloneBuffers, f.BuffersSparse},
		{f.OpSendmsgZC, f.OpSendZC},
		{f.OpLinkat, f.OpUnlinkat},
		{f.OpFtruncate, f.OpFgetxattr},
	} {
		if implied.that.Answer == uringbackend.Yes {
			assert.Equal(t, uringbackend.Yes, implied.this.Answer, "%s without %s", implied.that.Since, implied.this.Since)
		}
	}
}
