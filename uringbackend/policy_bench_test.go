//go:build linux

package uringbackend_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/supervise"
	. "github.com/uringfs/uringfs/uringbackend"
)

const (
	policyRounds = 7
	policyFile   = 64 << 20 // bytes
	policyNames  = 256
)

// policyRoad is one way to carry ops out: an engine, how many ops a Submit has, and the hint.
type policyRoad struct {
	name  string
	e     Engine
	batch int
	async bool
}

// policyCase is a verb under one load. Each round makes n objects, times n ops, and undoes them.
type policyCase struct {
	name   string
	n      int // ops a round
	before func(n int)
	op     func(i int) Op
	after  func(results []int)
}

// BenchmarkPolicy measures what policy.go decides by: ns of each road per verb, medians of interleaved rounds. With
// -benchtime 1x it prints one line a verb and file system; ext4 is behind a loop device and needs root.
func BenchmarkPolicy(b *testing.B) {
	for _, fs := range []string{"tmpfs", "ext4"} {
		dir := policyDir(b, fs)
		if dir == "" {
			continue
		}
		features := Probe(dir)
		calls, err := Open("syscall", features, Config{})
		require.NoError(b, err)
		ring, err := Open("ring", features, Config{Policy: "ring"})
		if err != nil {
			require.NoError(b, calls.Close())
			b.Fatal(err)
		}
		roads := []policyRoad{
			{"inline", calls, 1, false},
			{"ring", ring, 1, false},
			{"ring_async", ring, 1, true},
			{"ring8", ring, 8, false},
			{"ring32", ring, 32, false},
			{"ring32_async", ring, 32, true},
		}
		for _, c := range policyCases(b, dir, fs != "tmpfs") {
			b.Run("fs="+fs+"/verb="+c.name, func(b *testing.B) {
				for b.Loop() {
					samples := make([][]float64, len(roads))
					for round := range policyRounds + 1 {
						for i, r := range roads {
							ns := c.round(b, r)
							if round > 0 { // the first warms up
								samples[i] = append(samples[i], ns)
							}
						}
					}
					for i, r := range roads {
						slices.Sort(samples[i])
						b.ReportMetric(samples[i][policyRounds/2], r.name+"-ns")
					}
				}
			})
		}
		require.NoError(b, ring.Close())
		require.NoError(b, calls.Close())
	}
}

// round times the ops of one road and says how many ns each took.
func (c *policyCase) round(b *testing.B, r policyRoad) float64 {
	if c.before != nil {
		c.before(c.n)
	}
	ops := make([]Op, c.n)
	for i := range ops {
		ops[i] = c.op(i)
		ops[i].Async = r.async
	}
	results := make([]int, c.n)
	var failed error
	start := time.Now()
	for at := 0; at < c.n; at += r.batch {
		if r.batch == 1 {
			n, err := r.e.Do(context.Background(), ops[at])
			if results[at] = n; err != nil {
				failed = err
			}
			continue
		}
		r.e.Submit(context.Background(), ops[at:min(at+r.batch, c.n)], func(i, n int, _ bool, err error) {
			if results[at+i] = n; err != nil {
				failed = err
			}
		})
	}
	took := time.Since(start)
	require.NoError(b, failed, "%s by %s", c.name, r.name)
	if c.after != nil {
		c.after(results)
	}
	return float64(took.Nanoseconds()) / float64(c.n)
}

// policyDir is a directory on a file system of that kind; empty without the privilege to make one.
func policyDir(b *testing.B, fs string) string {
	if os.Geteuid() != 0 {
		if fs == "tmpfs" {
			dir, err := os.MkdirTemp("/dev/shm", "policy") //nolint:usetesting // of that file system
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
			return dir
		}
		b.Log("no root: no ext4")
		return ""
	}
	top := b.TempDir()
	dir := filepath.Join(top, "fs")
	require.NoError(b, os.Mkdir(dir, 0o700))
	_, err := supervise.MountScratch(b.Context(), supervise.ScratchFS{
		Kind: fs, Image: filepath.Join(top, "image"), Size: 512 << 20, DirectIO: true,
	}, dir)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, supervise.UnmountScratch(dir)) })
	return dir
}

// policyCases are the loads, over one file and one directory. device says that the file system has a disk.
func policyCases(b *testing.B, dir string, device bool) []policyCase {
	path := filepath.Join(dir, "file")
	require.NoError(b, os.WriteFile(path, make([]byte, policyFile), 0o600))
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, unix.Close(fd)) })
		return fd
	}
	fd, dirfd := open(path, unix.O_RDWR), open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	require.NoError(b, unix.Fsetxattr(fd, "user.policy", []byte("value"), 0))
	small, large := AlignedBuffer(4096, 4096), make([]byte, 1<<20)
	name := func(i int) string { return "name-" + strconv.Itoa(i) }
	touch := func(n int) {
		for i := range n {
			made, err := unix.Openat(dirfd, name(i), unix.O_CREAT|unix.O_WRONLY, 0o600)
			require.NoError(b, err)
			require.NoError(b, unix.Close(made))
		}
	}
	unlink := func(flags int) func([]int) {
		return func(results []int) {
			for i := range results {
				require.NoError(b, unix.Unlinkat(dirfd, name(i), flags))
			}
		}
	}
	var fds []int
	openAll := func(n int) {
		fds = fds[:0]
		for range n {
			one, err := unix.Openat(dirfd, "file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			require.NoError(b, err)
			fds = append(fds, one)
		}
	}
	// Places a page apart would be found by readahead.
	scattered := func(i int) int64 { return int64(i*7919%(policyFile>>12)) << 12 }
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV}
	stats := make([]unix.Statx_t, policyNames)
	const n = policyNames
	cases := []policyCase{
		{name: "read_at_4k_hot", n: n, op: func(i int) Op { return Op{Kind: KindReadAt, FD: fd, Buf: small, Offset: scattered(i)} }},
		{name: "readv_at_4k_hot", n: n, op: func(i int) Op { return Op{Kind: KindReadvAt, FD: fd, Bufs: [][]byte{small}, Offset: scattered(i)} }},
		{name: "read_at_1m_hot", n: 32, op: func(i int) Op { return Op{Kind: KindReadAt, FD: fd, Buf: large, Offset: int64(i) << 20} }},
		{name: "write_at_4k", n: n, op: func(i int) Op { return Op{Kind: KindWriteAt, FD: fd, Buf: small, Offset: scattered(i)} }},
		{name: "writev_at_4k", n: n, op: func(i int) Op { return Op{Kind: KindWritevAt, FD: fd, Bufs: [][]byte{small}, Offset: scattered(i)} }},
		{name: "write_at_1m", n: 32, op: func(i int) Op { return Op{Kind: KindWriteAt, FD: fd, Buf: large, Offset: int64(i) << 20} }},
		{
			name: "openat2", n: n, op: func(int) Op { return Op{Kind: KindOpenat2, FD: dirfd, Path: "file", How: how} },
			after: func(results []int) {
				for _, one := range results {
					require.NoError(b, unix.Close(one))
				}
			},
		},
		{name: "close", n: n, before: openAll, op: func(i int) Op { return Op{Kind: KindClose, FD: fds[i]} }},
		{name: "statx", n: n, op: func(i int) Op {
			return Op{Kind: KindStatx, FD: fd, Flags: unix.AT_EMPTY_PATH, Mask: unix.STATX_BASIC_STATS, Statx: &stats[i]}
		}},
		{name: "mkdirat", n: n, op: func(i int) Op { return Op{Kind: KindMkdirat, FD: dirfd, Path: name(i), Mask: 0o700} }, after: unlink(unix.AT_REMOVEDIR)},
		{name: "unlinkat", n: n, before: touch, op: func(i int) Op { return Op{Kind: KindUnlinkat, FD: dirfd, Path: name(i)} }},
		{
			name: "renameat2", n: n, before: touch, after: func(results []int) {
				for i := range results {
					require.NoError(b, unix.Unlinkat(dirfd, "new-"+name(i), 0))
				}
			},
			op: func(i int) Op {
				return Op{Kind: KindRenameat2, FD: dirfd, Path: name(i), FD2: dirfd, Path2: "new-" + name(i)}
			},
		},
		{name: "symlinkat", n: n, op: func(i int) Op { return Op{Kind: KindSymlinkat, FD: dirfd, Path: name(i), Path2: "file"} }, after: unlink(0)},
		{name: "linkat", n: n, op: func(i int) Op { return Op{Kind: KindLinkat, FD: dirfd, Path: "file", FD2: dirfd, Path2: name(i)} }, after: unlink(0)},
		{name: "fgetxattr", n: n, op: func(int) Op { return Op{Kind: KindFgetxattr, FD: fd, Path: "user.policy", Buf: make([]byte, 64)} }},
		{name: "fsetxattr", n: n, op: func(i int) Op {
			return Op{Kind: KindFsetxattr, FD: fd, Path: "user.policy", Buf: []byte{byte(i), 'x'}}
		}},
		{name: "ftruncate", n: n, op: func(i int) Op { return Op{Kind: KindFtruncate, FD: fd, Length: policyFile + int64(i%2)<<12} }},
		{name: "fallocate", n: n, op: func(i int) Op {
			return Op{Kind: KindFallocate, FD: fd, Flags: unix.FALLOC_FL_KEEP_SIZE, Offset: scattered(i), Length: 4096}
		}},
		{name: "fadvise", n: n, op: func(int) Op { return Op{Kind: KindFadvise, FD: fd, Mask: unix.FADV_SEQUENTIAL} }},
		{name: "madvise", n: n, op: func(int) Op { return Op{Kind: KindMadvise, Buf: small, Mask: unix.MADV_NORMAL} }},
	}
	if !device {
		return cases
	}
	cold := open(path, unix.O_RDONLY)
	require.NoError(b, unix.Fadvise(cold, 0, 0, unix.FADV_RANDOM))
	direct := open(path, unix.O_RDONLY|unix.O_DIRECT)
	drop := func(int) {
		require.NoError(b, unix.Fsync(fd))
		require.NoError(b, unix.Fadvise(cold, 0, 0, unix.FADV_DONTNEED))
	}
	var many [32]int
	for i := range many {
		made := filepath.Join(dir, fmt.Sprintf("many-%d", i))
		require.NoError(b, os.WriteFile(made, nil, 0o600))
		many[i] = open(made, unix.O_RDWR)
	}
	dirty := func(int) {
		for _, one := range many {
			_, err := unix.Pwrite(one, small, 0)
			require.NoError(b, err)
		}
	}
	return append(cases,
		policyCase{name: "read_at_4k_cold", n: 64, before: drop, op: func(i int) Op {
			return Op{Kind: KindReadAt, FD: cold, Buf: AlignedBuffer(4096, 4096), Offset: scattered(i)}
		}},
		policyCase{name: "read_at_4k_direct", n: 64, op: func(i int) Op {
			return Op{Kind: KindReadAt, FD: direct, Buf: AlignedBuffer(4096, 4096), Offset: scattered(i)}
		}},
		policyCase{name: "fsync", n: len(many), before: dirty, op: func(i int) Op { return Op{Kind: KindFsync, FD: many[i]} }},
		policyCase{name: "write_dsync_4k", n: len(many), op: func(i int) Op {
			return Op{Kind: KindWriteAt, FD: many[i], Buf: small, Flags: unix.RWF_DSYNC}
		}},
		policyCase{name: "sync_file_range", n: len(many), before: dirty, op: func(i int) Op {
			return Op{Kind: KindSyncFileRange, FD: many[i], Flags: unix.SYNC_FILE_RANGE_WRITE}
		}},
	)
}
