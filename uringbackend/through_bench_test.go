//go:build linux

package uringbackend_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

// BenchmarkThrough compares, on ext4, the ways to answer a write only when it is durable, and says whether early
// writeback helps a stream: ns each, medians of interleaved rounds. It needs root.
func BenchmarkThrough(b *testing.B) {
	dir := policyDir(b, "ext4")
	if dir == "" {
		return
	}
	e, err := Open("ring", Probe(dir), Config{})
	require.NoError(b, err)
	defer func() { require.NoError(b, e.Close()) }()
	fd, err := unix.Open(filepath.Join(dir, "file"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	require.NoError(b, err)
	defer func() { require.NoError(b, unix.Close(fd)) }()
	ctx := context.Background()
	write := func(p []byte, off int64, flags int) {
		n, err := e.WriteAt(ctx, fd, p, off, flags)
		require.NoError(b, err)
		require.Len(b, p, n)
	}
	type way struct {
		name string
		run  func(p []byte, off int64)
	}
	dsync := way{"rwf_dsync", func(p []byte, off int64) { write(p, off, unix.RWF_DSYNC) }}
	linked := way{"linked_fdatasync", func(p []byte, off int64) {
		ops := []Op{{Kind: KindWriteAt, FD: fd, Buf: p, Offset: off, Link: true}, {Kind: KindFsync, FD: fd, Flags: 1}}
		e.Submit(ctx, ops, func(_, _ int, _ bool, err error) { require.NoError(b, err) })
	}}
	two := way{"write_then_fdatasync", func(p []byte, off int64) {
		write(p, off, 0)
		require.NoError(b, e.Fsync(ctx, fd, true))
	}}
	compare := func(b *testing.B, ways []way, ops int, p []byte, end func()) {
		samples := make([][]float64, len(ways))
		for round := range policyRounds + 1 {
			for i, w := range ways {
				require.NoError(b, unix.Ftruncate(fd, 0))
				require.NoError(b, unix.Fsync(fd))
				start := time.Now()
				for j := range ops {
					w.run(p, int64(j)*int64(len(p)))
				}
				end()
				if round > 0 {
					samples[i] = append(samples[i], float64(time.Since(start).Nanoseconds())/float64(ops))
				}
			}
		}
		for i, w := range ways {
			slices.Sort(samples[i])
			b.ReportMetric(samples[i][policyRounds/2], w.name+"-ns")
		}
	}
	for name, size := range map[string]int{"4k": 4 << 10, "1m": 1 << 20} {
		b.Run("write="+name, func(b *testing.B) {
			for b.Loop() {
				compare(b, []way{dsync, linked, two}, 24, make([]byte, size), func() {})
			}
		})
	}
	b.Run("stream=128m", func(b *testing.B) {
		plain := way{"plain", func(p []byte, off int64) { write(p, off, 0) }}
		early := way{"sync_file_range", func(p []byte, off int64) {
			write(p, off, 0)
			const piece = 8 << 20
			if end := off + int64(len(p)); end%piece == 0 {
				require.NoError(b, e.SyncFileRange(ctx, fd, end-piece, piece, unix.SYNC_FILE_RANGE_WRITE))
			}
		}}
		for b.Loop() {
			compare(b, []way{plain, early}, 128, make([]byte, 1<<20), func() { require.NoError(b, unix.Fsync(fd)) })
		}
	})
	_ = os.Remove(filepath.Join(dir, "file")) // the file system goes anyway
}
