//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// hotRead is what a program pays that takes the engine as it comes.
var hotRead = bench{
	name:    "ring/hot-4k",
	about:   "one cached 4 KiB read by the engine as shipped over pread",
	metrics: []metric{{name: "latency", unit: "us", goal: 1.5, better: Less}},
	run: func(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
		return runHotRead(ctx, o, uringbackend.Config{}, 1, pair)
	},
}

// hotReadRing is the price of the ring itself, with one submitter that reaps for itself.
var hotReadRing = bench{
	name:    "ring/hot-4k-ring",
	about:   "one cached 4 KiB read through the ring over pread",
	metrics: []metric{{name: "latency", unit: "us", goal: 2.6, better: Less}},
	run: func(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
		return runHotRead(ctx, o, uringbackend.Config{Policy: "ring"}, 1, pair)
	},
}

// hotRead64 says whether the engine stands in the way of many goroutines.
var hotRead64 = bench{
	name:    "ring/hot-4k-64g",
	about:   "cached 4 KiB reads by 64 goroutines, the engine as shipped over pread",
	metrics: []metric{{name: "throughput", unit: "GB/s", goal: 1.0, better: More}},
	run: func(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
		return runHotRead(ctx, o, uringbackend.Config{}, 64, pair)
	},
}

const (
	hotReads  = 200_000 // in a sample of a second, by one goroutine; sixteen times fewer by each of many
	hotBytes  = 1 << 20 // of the file that is read
	blockSize = 4096    // of every load here
)

// runHotRead reads a cached file by so many goroutines, each with a buffer of its own.
func runHotRead(ctx context.Context, o Options, cfg uringbackend.Config, goroutines int, pair func(a, b side) ([]Line, error)) ([]Line, error) {
	f, err := os.CreateTemp(o.Dir, "uringfs-bench-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, hotBytes)); err != nil {
		return nil, err
	}
	name := "auto"
	if cfg.Policy == "ring" {
		name = "ring"
	}
	engine, err := openEngine(name, o.Dir, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }() // nothing is in flight any more
	fd, reads := int(f.Fd()), max(1, int(hotReads*o.Sample.Seconds()))
	if goroutines > 1 {
		reads = max(1, reads/16)
	}
	timed := func(read func(b []byte, off int64) (int, error)) side {
		return func(context.Context) (sample, error) {
			start := time.Now()
			err := each(goroutines, func(int) error {
				buf := make([]byte, blockSize)
				for i := range reads {
					if n, err := read(buf, int64(i%(hotBytes/blockSize))*blockSize); err != nil || n != len(buf) {
						return fmt.Errorf("read of %d bytes: %d, %w", len(buf), n, err)
					}
				}
				return nil
			})
			s := time.Since(start).Seconds()
			total := float64(reads * goroutines)
			return sample{"latency": s * 1e6 / total, "throughput": total * blockSize / 1e9 / s}, err
		}
	}
	lines, err := pair(
		timed(func(b []byte, off int64) (int, error) { return engine.ReadAt(ctx, fd, b, off) }),
		timed(func(b []byte, off int64) (int, error) { return unix.Pread(fd, b, off) }),
	)
	if fallbacks := engine.Fallbacks()["read_at"]; err == nil && fallbacks > 0 {
		err = fmt.Errorf("%d reads did not go through the ring", fallbacks)
	}
	return described(lines, f.Name(), "hot"), err
}

// openEngine opens an engine that has a ring: without one there is nothing to compare.
func openEngine(name, dir string, cfg uringbackend.Config) (uringbackend.Engine, error) {
	engine, err := uringbackend.Open(name, uringbackend.Probe(dir), cfg)
	if err != nil {
		return uringbackend.Engine{}, fmt.Errorf("%w: %w", ErrPrerequisite, err)
	}
	if engine.Name() != "ring" {
		_ = engine.Close() // not used
		return uringbackend.Engine{}, fmt.Errorf("%w: io_uring: %s", ErrPrerequisite, engine.Reason())
	}
	return engine, nil
}

// each runs f by n goroutines, on the caller's own where that is one, and joins their errors.
func each(n int, f func(i int) error) error {
	if n == 1 {
		return f(0)
	}
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		// ends when f does; waited by Wait below
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// described notes the file system and cache state of a comparison.
func described(lines []Line, name, cache string) []Line {
	for i := range lines {
		lines[i].FS, lines[i].Cache = fsName(name), cache
	}
	return lines
}

// beside notes what B is and what both stand on.
func beside(lines []Line, peers map[string]string) []Line {
	for i := range lines {
		lines[i].Peers = peers
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
