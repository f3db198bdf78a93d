//go:build linux

package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// hotRead is the price of one cached 4 KiB read through the ring, with one submitter that reaps for itself, over pread(2).
var hotRead = bench{
	name:    "ring/hot-4k-ring",
	about:   "one cached 4 KiB read through the ring over pread",
	metrics: []metric{{name: "latency", unit: "us", goal: 3.0, better: Less}},
	run:     runHotRead,
}

const hotReads = 50_000 // reads a sample

func runHotRead(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
	f, err := os.CreateTemp(o.Dir, "uringfs-bench-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	engine, err := uringbackend.Open("ring", uringbackend.Probe(o.Dir), uringbackend.Config{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPrerequisite, err)
	}
	defer func() { _ = engine.Close() }() // nothing is in flight any more
	fd, buf := int(f.Fd()), make([]byte, 4096)
	timed := func(read func(off int64) (int, error)) side {
		return func(context.Context) (sample, error) {
			start := time.Now()
			for i := range hotReads {
				n, err := read(int64(i%256) * 4096)
				if err != nil || n != len(buf) {
					return nil, fmt.Errorf("read of %d bytes: %d, %w", len(buf), n, err)
				}
			}
			return sample{"latency": time.Since(start).Seconds() * 1e6 / hotReads}, nil
		}
	}
	lines, err := pair(
		timed(func(off int64) (int, error) { return engine.ReadAt(ctx, fd, buf, off) }),
		timed(func(off int64) (int, error) { return unix.Pread(fd, buf, off) }),
	)
	if fallbacks := engine.Fallbacks()["read_at"]; err == nil && fallbacks > 0 {
		err = fmt.Errorf("%d reads did not go through the ring", fallbacks)
	}
	return described(lines, f.Name(), "hot"), err
}

// described notes the file system and cache state of a comparison.
func described(lines []Line, name, cache string) []Line {
	for i := range lines {
		lines[i].FS, lines[i].Cache = fsName(name), cache
	}
	return lines
}

func fsName(name string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return ""
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	default:
		return fmt.Sprintf("%#x", st.Type)
	}
}
