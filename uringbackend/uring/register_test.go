//go:build linux

package uring_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend/enginetest"
	"github.com/uringfs/uringfs/uringbackend/uring"
)

// file makes a file of the given text and returns it open.
func file(t *testing.T, text string) (fd int, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	return fd, path
}

func readFixed(fd int, b []byte, index uint16) uring.SQE {
	return uring.SQE{
		Opcode: uring.OpReadFixed, FD: int32(fd), Addr: addr(b), Len: uint32(len(b)), BufIndex: index, UserData: uint64(index) + 100,
	}
}

func TestBufferTable(t *testing.T) {
	r := open(t, 8, 0)
	fd, _ := file(t, "registered")
	b := mem(t, 8192)

	_, err := r.UpdateBuffers(0, []unix.Iovec{iovec(b)}, nil)
	require.ErrorIs(t, err, unix.ENXIO, "no table")
	need(t, r.RegisterBufferTable(4), "5.19")
	require.ErrorIs(t, r.RegisterBufferTable(4), unix.EBUSY)
	_, err = r.UpdateBuffers(4, []unix.Iovec{iovec(b)}, nil)
	require.ErrorIs(t, err, unix.EINVAL, "outside")
	_, err = r.UpdateBuffers(0, nil, nil)
	require.ErrorIs(t, err, unix.EINVAL)
	_, err = r.UpdateBuffers(0, []unix.Iovec{iovec(b)}, []uint64{1, 2})
	require.ErrorIs(t, err, unix.EINVAL)

	submit(t, r, readFixed(fd, b[:10], 1))
	assert.Equal(t, errno(unix.EFAULT), next(t, r).Res, "an empty place")

	n, err := r.UpdateBuffers(1, []unix.Iovec{iovec(b[:4096]), iovec(b[4096:])}, []uint64{901, 902})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	submit(t, r, readFixed(fd, b[:10], 1), readFixed(fd, b[8000:8010], 2))
	assert.Equal(t, map[uint64]int32{101: 10, 102: 10}, collect(t, r, 2))
	assert.Equal(t, "registered", string(b[:10]))
	assert.Equal(t, "registered", string(b[8000:8010]))
	submit(t, r, readFixed(fd, b[:10], 2))
	assert.Equal(t, errno(unix.EFAULT), next(t, r).Res, "of another entry's memory")

	// A tag comes when the place is emptied.
	quiet(t, r)
	n, err = r.UpdateBuffers(1, []unix.Iovec{{}}, nil)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	assert.Equal(t, uring.CQE{UserData: 901}, next(t, r))
	require.NoError(t, r.UnregisterBuffers())
	assert.Equal(t, uring.CQE{UserData: 902}, next(t, r))
	require.ErrorIs(t, r.UnregisterBuffers(), unix.ENXIO)
}

func TestCloneBuffers(t *testing.T) {
	src, all, some := open(t, 4, 0), open(t, 4, 0), open(t, 4, 0)
	fd, _ := file(t, "cloned")
	b := mem(t, 4096)
	clone := uring.CloneBuffersReg{SrcFD: uint32(src.FD())}
	err := all.CloneBuffers(clone)
	if !errors.Is(err, unix.ENXIO) { // the source has no table yet
		need(t, err, "6.12")
	}
	need(t, src.RegisterBufferTable(8), "5.19")
	_, err = src.UpdateBuffers(5, []unix.Iovec{iovec(b)}, nil)
	require.NoError(t, err)

	need(t, all.CloneBuffers(clone), "6.12")
	submit(t, all, readFixed(fd, b[:6], 5))
	assert.EqualValues(t, 6, next(t, all).Res)
	assert.Equal(t, "cloned", string(b[:6]))
	assert.ErrorIs(t, all.CloneBuffers(clone), unix.EBUSY, "it has a table")

	need(t, some.RegisterBufferTable(2), "5.19")
	clone.SrcOff, clone.DstOff, clone.Nr, clone.Flags = 5, 1, 1, uring.CloneDstReplace
	need(t, some.CloneBuffers(clone), "6.13")
	require.NoError(t, src.UnregisterBuffers(), "the clones keep the memory")
	submit(t, some, readFixed(fd, b[100:103], 1))
	assert.EqualValues(t, 3, next(t, some).Res)
	assert.Equal(t, "clo", string(b[100:103]))
}

// TestMemoryLimit: a process without CAP_IPC_LOCK may pin no more than RLIMIT_MEMLOCK. It runs in a child without
// privileges, by its own binary.
func TestMemoryLimit(t *testing.T) {
	const child = "URING_TEST_MEMORY_LIMIT"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestMemoryLimit$", "-test.v")
		cmd.Dir, cmd.Env = "/", append(os.Environ(), child+"=1")
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestMemoryLimit")
		return
	}
	require.NotZero(t, os.Getuid())
	r := open(t, 2, 0)
	need(t, r.RegisterBufferTable(2), "5.19")
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	big := mem(t, 4<<20)
	_, err := r.UpdateBuffers(0, []unix.Iovec{iovec(big)}, nil)
	require.ErrorIs(t, err, unix.ENOMEM)
	n, err := r.UpdateBuffers(0, []unix.Iovec{iovec(big[:64<<10])}, nil)
	require.NoError(t, err, "a small one fits")
	require.Equal(t, 1, n)
}

// TestFileTable: open into the table, read from it and close it in one chain, without a descriptor.
func TestFileTable(t *testing.T) {
	r := open(t, 8, 0)
	_, path := file(t, "direct")
	need(t, r.RegisterFileTable(4), "5.19")
	require.ErrorIs(t, r.RegisterFileTable(4), unix.EBUSY)
	name, b := cstr(t, path), mem(t, 32)

	openAt := uring.SQE{Opcode: uring.OpOpenat, FD: unix.AT_FDCWD, Addr: name, FileIndex: 2 + 1, UserData: 1, Flags: uring.SQEIOLink}
	// A short read would break the chain.
	read := uring.SQE{Opcode: uring.OpRead, FD: 2, Addr: addr(b), Len: 6, UserData: 2, Flags: uring.SQEIOLink | uring.SQEFixedFile}
	submit(t, r, openAt, read, uring.SQE{Opcode: uring.OpClose, FileIndex: 2 + 1, UserData: 3})
	assert.Equal(t, map[uint64]int32{1: 0, 2: 6, 3: 0}, collect(t, r, 3))
	assert.Equal(t, "direct", string(b[:6]))
	read.Flags = uring.SQEFixedFile
	submit(t, r, read)
	assert.Equal(t, errno(unix.EBADF), next(t, r).Res, "closed")

	// The kernel chooses from a range.
	need(t, r.FileAllocRange(1, 2), "6.0")
	require.Error(t, r.FileAllocRange(1, 9), "outside")
	openAt.FileIndex, openAt.Flags = uring.FileIndexAlloc, 0
	for i, want := range []int32{1, 2, errno(unix.ENFILE)} {
		openAt.UserData = uint64(i)
		submit(t, r, openAt)
		assert.Equal(t, want, next(t, r).Res)
	}

	// Files by descriptor; the table keeps them open.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	n, err := r.UpdateFiles(1, []int32{uring.FileClear, uring.FileSkip, int32(fd)})
	need(t, err, "5.12")
	require.Equal(t, 3, n)
	require.NoError(t, unix.Close(fd))
	for place, want := range []int32{errno(unix.EBADF), errno(unix.EBADF), 6, 6} {
		read.FD = int32(place)
		submit(t, r, read)
		assert.Equal(t, want, next(t, r).Res, "place %d", place)
	}
	_, err = r.UpdateFiles(0, []int32{int32(r.FD())})
	require.ErrorIs(t, err, unix.EBADF, "a ring")
	_, err = r.UpdateFiles(0, nil)
	require.ErrorIs(t, err, unix.EINVAL)
	require.NoError(t, r.UnregisterFiles())
	require.ErrorIs(t, r.UnregisterFiles(), unix.ENXIO)
}

// TestPersonality: a file that only root may read is opened by a personality of nobody, and by the process. Without root
// the personality is the process's own.
func TestPersonality(t *testing.T) {
	lock(t)
	r := open(t, 4, 0)
	_, path := file(t, "private")
	name := cstr(t, path)
	root := os.Getuid() == 0
	if root {
		// Only this thread, and its effective user alone, so that the way back is open.
		setEUID(t, 65534)
	}
	id, err := r.RegisterPersonality()
	if root {
		setEUID(t, 0)
	}
	need(t, err, "5.6")
	require.NotZero(t, id)

	try := func(personality uint16) int32 {
		submit(t, r, uring.SQE{
			Opcode: uring.OpOpenat, FD: unix.AT_FDCWD, Addr: name, OpFlags: unix.O_RDONLY | unix.O_CLOEXEC, Personality: personality,
		})
		res := next(t, r).Res
		if res >= 0 {
			require.NoError(t, unix.Close(int(res)))
		}
		return res
	}
	if root {
		assert.Equal(t, errno(unix.EACCES), try(id))
	} else {
		assert.Positive(t, try(id))
	}
	assert.Positive(t, try(0), "the process itself")
	require.NoError(t, r.UnregisterPersonality(id))
	assert.Equal(t, errno(unix.EINVAL), try(id), "forgotten")
	assert.ErrorIs(t, r.UnregisterPersonality(id), unix.EINVAL)
}

func setEUID(t *testing.T, uid uintptr) {
	t.Helper()
	keep := ^uintptr(0)
	_, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, keep, uid, keep)
	require.Zero(t, e)
}

func TestWorkers(t *testing.T) {
	lock(t)
	r := open(t, 4, 0)
	before, err := r.SetWorkers(uring.Workers{})
	need(t, err, "5.15")
	require.NotZero(t, before.Bounded)
	require.NotZero(t, before.Unbounded)
	_, err = r.SetWorkers(uring.Workers{Bounded: 3, Unbounded: 5})
	require.NoError(t, err)
	_, err = r.SetWorkers(uring.Workers{Bounded: 2})
	require.NoError(t, err)
	got, err := r.SetWorkers(before)
	require.NoError(t, err)
	assert.Equal(t, uring.Workers{Bounded: 2, Unbounded: 5}, got)
}

func TestEventFD(t *testing.T) {
	r := open(t, 4, 0)
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	count := func() int {
		var b [8]byte
		if _, err := unix.Read(fd, b[:]); err != nil {
			require.ErrorIs(t, err, unix.EAGAIN)
			return 0
		}
		return int(b[0])
	}
	require.NoError(t, r.RegisterEventFD(fd))
	require.ErrorIs(t, r.RegisterEventFD(fd), unix.EBUSY)
	submit(t, r, nop(1))
	assert.Positive(t, count())
	require.NoError(t, r.UnregisterEventFD())
	require.ErrorIs(t, r.UnregisterEventFD(), unix.ENXIO)

	need(t, r.RegisterEventFDAsync(fd), "5.6")
	submit(t, r, nop(2))
	assert.Zero(t, count(), "it finished inside Enter")
	submit(t, r, uring.SQE{Opcode: uring.OpNop, Flags: uring.SQEAsync, UserData: 3})
	require.Eventually(t, func() bool { return count() > 0 }, 10*time.Second, time.Millisecond)
	assert.Len(t, collect(t, r, 3), 3)
}

// TestProbeMatchesOpcodes: the kernel's last opcode is one that this package names, or it is newer than the package.
func TestProbeMatchesOpcodes(t *testing.T) {
	r := open(t, 2, 0)
	ops, err := uring.ProbeOpcodes(r.FD())
	require.NoError(t, err)
	for _, o := range []struct {
		op    uring.Opcode
		since string
	}{
		{uring.OpSendmsg, "5.3"},
		{uring.OpOpenat2, "5.6"},
		{uring.OpTee, "5.8"},
		{uring.OpUnlinkat, "5.11"},
		{uring.OpLinkat, "5.15"},
		{uring.OpMsgRing, "5.18"},
		{uring.OpGetxattr, "5.19"},
		{uring.OpSendZC, "6.0"},
		{uring.OpSendmsgZC, "6.1"},
		{uring.OpReadMultishot, "6.7"},
		{uring.OpFixedFDInstall, "6.8"},
		{uring.OpFtruncate, "6.9"},
		{uring.OpListen, "6.11"},
		{uring.OpWritevFixed, "6.15"},
		{uring.OpPipe, "6.16"},
	} {
		if !enginetest.OlderKernel(t, o.since) {
			assert.True(t, ops.Has(o.op), "opcode %d came with %s", o.op, o.since)
		}
	}
	if strings.HasPrefix(enginetest.Release(t), "6.18.") {
		assert.False(t, ops.Has(uring.OpPipe+1), "the last of this kernel")
	}
}

// TestSyncCancel: what waits is cancelled and has completed when the call returns.
func TestSyncCancel(t *testing.T) {
	r := open(t, 8, 0)
	a, _ := socketpair(t)
	c, _ := socketpair(t)
	b := mem(t, 4096)
	recv := func(fd int, data uint64) uring.SQE {
		return uring.SQE{Opcode: uring.OpRecv, FD: int32(fd), Addr: addr(b), Len: 16, UserData: data}
	}
	forever := uring.Timespec{Sec: -1, Nsec: -1}
	err := r.SyncCancel(uring.SyncCancelReg{Addr: 9, FD: -1, Timeout: forever})
	if !errors.Is(err, unix.ENOENT) {
		need(t, err, "6.0")
	}
	require.ErrorIs(t, err, unix.ENOENT)
	submit(t, r, recv(a, 1), recv(a, 2), recv(c, 3))
	require.NoError(t, r.SyncCancel(uring.SyncCancelReg{
		FD: int32(a), Flags: uring.CancelFD | uring.CancelAll, Timeout: uring.TimespecOf(10 * time.Second),
	}))
	require.Equal(t, map[uint64]int32{1: errno(unix.ECANCELED), 2: errno(unix.ECANCELED)}, collect(t, r, 2))
	quiet(t, r)
	require.NoError(t, r.SyncCancel(uring.SyncCancelReg{Addr: 3, FD: -1, Timeout: forever}))
	require.Equal(t, map[uint64]int32{3: errno(unix.ECANCELED)}, collect(t, r, 1))
	require.NoError(t, r.SyncCancel(uring.SyncCancelReg{FD: int32(a), Flags: uring.CancelFD | uring.CancelAll, Timeout: forever}),
		"none is as good as all")
	assert.True(t, bytes.Equal(b, make([]byte, len(b))), "nothing was received")
}
