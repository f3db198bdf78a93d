//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// openClose opens and closes many files whose names are in the dentry cache.
var openClose = bench{
	name:    "ring/open-close-batch",
	about:   "openat2 and close of 10,000 files in batches over system calls in one goroutine",
	metrics: []metric{{name: "ops", unit: "/s", goal: 1.2, better: More}},
	run:     runOpenClose,
}

// statxBatch is reported without a goal: a statx of the ring always goes to a worker thread.
var statxBatch = bench{
	name:    "ring/statx-batch",
	about:   "statx of 10,000 files in batches by the ring (the policy is a call each) over system calls in one goroutine",
	metrics: []metric{{name: "ops", unit: "/s", better: More}},
	run:     runStatx,
}

// writeFsync makes 32 files durable at once.
var writeFsync = bench{
	name:    "ring/write-fsync-32",
	about:   "write 4 KiB and fsync, 32 files in one batch, over 32 goroutines",
	metrics: []metric{{name: "ops", unit: "/s", goal: 2.5, better: More}},
	run:     runWriteFsync,
}

const (
	manyFiles = 10_000
	batchSize = 128 // ops of one Submit
	syncFiles = 32
	syncBytes = 8 << 20 // where a file of writeFsync begins anew
)

// manyNames makes the files and opens their directory.
func manyNames(s *scratch) (dir *os.File, names []string, err error) {
	top := filepath.Join(s.dir, "many")
	if err := os.Mkdir(top, 0o700); err != nil {
		return nil, nil, err
	}
	for i := range manyFiles {
		name := "file-" + strconv.Itoa(i)
		if err := os.WriteFile(filepath.Join(top, name), nil, 0o600); err != nil {
			return nil, nil, err
		}
		names = append(names, name)
	}
	dir, err = os.Open(top)
	return dir, names, err
}

// onMany runs a comparison over the files of one directory on ext4, by an engine of that policy. ours and theirs
// handle every name once.
func onMany(ctx context.Context, o Options, policy string, pair func(a, b side) ([]Line, error),
	ours func(engine uringbackend.Engine, dir int, names []string) error, theirs func(dir int, names []string) error,
) (_ []Line, err error) {
	s, err := newScratch(ctx, o, "ext4")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	dir, names, err := manyNames(s)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	engine, err := openEngine("auto", s.dir, uringbackend.Config{Entries: batchSize, Policy: policy})
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }() // nothing is in flight any more
	timed := func(all func() error) side {
		return func(context.Context) (sample, error) {
			start := time.Now()
			err := all()
			return sample{"ops": manyFiles / time.Since(start).Seconds()}, err
		}
	}
	fd := int(dir.Fd())
	lines, err := pair(
		timed(func() error { return ours(engine, fd, names) }),
		timed(func() error { return theirs(fd, names) }),
	)
	return beside(described(lines, s.dir, "hot"), map[string]string{
		"batch": strconv.Itoa(batchSize) + " ops a Submit", "loop device": s.loop,
	}), err
}

func runOpenClose(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
	how := &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	opens, closes := make([]uringbackend.Op, batchSize), make([]uringbackend.Op, batchSize)
	return onMany(ctx, o, "auto", pair, func(engine uringbackend.Engine, dir int, names []string) error {
		var failed error
		for len(names) > 0 {
			n := min(batchSize, len(names))
			for i, name := range names[:n] {
				opens[i] = uringbackend.Op{Kind: uringbackend.KindOpenat2, FD: dir, Path: name, How: how}
			}
			engine.Submit(ctx, opens[:n], func(i, fd int, _ bool, err error) {
				closes[i] = uringbackend.Op{Kind: uringbackend.KindClose, FD: fd}
				if err != nil {
					closes[i].FD, failed = -1, err
				}
			})
			if failed != nil {
				return fmt.Errorf("openat2: %w", failed)
			}
			engine.Submit(ctx, closes[:n], func(_, _ int, _ bool, err error) {
				if err != nil {
					failed = err
				}
			})
			if failed != nil {
				return fmt.Errorf("close: %w", failed)
			}
			names = names[n:]
		}
		return nil
	}, func(dir int, names []string) error {
		for _, name := range names {
			fd, err := unix.Openat2(dir, name, how)
			if err != nil {
				return fmt.Errorf("openat2: %w", err)
			}
			if err := unix.Close(fd); err != nil {
				return fmt.Errorf("close: %w", err)
			}
		}
		return nil
	})
}

func runStatx(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
	ops, stats := make([]uringbackend.Op, batchSize), make([]unix.Statx_t, batchSize)
	return onMany(ctx, o, "ring", pair, func(engine uringbackend.Engine, dir int, names []string) error {
		var failed error
		for len(names) > 0 {
			n := min(batchSize, len(names))
			for i, name := range names[:n] {
				ops[i] = uringbackend.Op{
					Kind: uringbackend.KindStatx, FD: dir, Path: name, Flags: unix.AT_SYMLINK_NOFOLLOW,
					Mask: unix.STATX_BASIC_STATS, Statx: &stats[i],
				}
			}
			engine.Submit(ctx, ops[:n], func(_, _ int, _ bool, err error) {
				if err != nil {
					failed = err
				}
			})
			if failed != nil {
				return fmt.Errorf("statx: %w", failed)
			}
			names = names[n:]
		}
		return nil
	}, func(dir int, names []string) error {
		for _, name := range names {
			if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &stats[0]); err != nil {
				return fmt.Errorf("statx: %w", err)
			}
		}
		return nil
	})
}

func runWriteFsync(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) (_ []Line, err error) {
	s, err := newScratch(ctx, o, "ext4")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var fds [syncFiles]int
	for i := range fds {
		f, err := os.OpenFile(filepath.Join(s.dir, "file-"+strconv.Itoa(i)), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		fds[i] = int(f.Fd())
	}
	engine, err := openEngine("auto", s.dir, uringbackend.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }() // nothing is in flight any more
	data := make([]byte, blockSize)
	// Each side appends to files that it has emptied, so that each fsync has an extent and a length to log.
	timed := func(round func(off int64) error) side {
		return func(context.Context) (sample, error) {
			for _, fd := range fds {
				if err := unix.Ftruncate(fd, 0); err != nil {
					return nil, fmt.Errorf("truncate: %w", err)
				}
				if err := unix.Fsync(fd); err != nil {
					return nil, fmt.Errorf("fsync: %w", err)
				}
			}
			start, rounds := time.Now(), int64(0)
			for time.Since(start) < o.Sample {
				if err := round(rounds * blockSize % syncBytes); err != nil {
					return nil, err
				}
				rounds++
			}
			return sample{"ops": float64(rounds*syncFiles) / time.Since(start).Seconds()}, nil
		}
	}
	ops := make([]uringbackend.Op, 2*syncFiles)
	lines, err := pair(timed(func(off int64) error {
		var failed error
		for i, fd := range fds {
			// All fsyncs after all writes: they meet in one commit of the journal, where pairs linked file by
			// file come in time for two or three.
			ops[i] = uringbackend.Op{Kind: uringbackend.KindWriteAt, FD: fd, Buf: data, Offset: off}
			ops[syncFiles+i] = uringbackend.Op{Kind: uringbackend.KindFsync, FD: fd, Drain: i == 0}
		}
		engine.Submit(ctx, ops, func(i, n int, _ bool, err error) {
			if err != nil || i < syncFiles && n != len(data) {
				failed = fmt.Errorf("op %d of the batch: %d, %w", i, n, err)
			}
		})
		return failed
	}), timed(func(off int64) error {
		return each(syncFiles, func(i int) error {
			if n, err := unix.Pwrite(fds[i], data, off); err != nil || n != len(data) {
				return fmt.Errorf("pwrite: %d, %w", n, err)
			}
			return unix.Fsync(fds[i])
		})
	}))
	return beside(described(lines, s.dir, "hot"), map[string]string{
		"goroutines": "32 with pwrite(2) and fsync(2)", "loop device": s.loop,
	}), err
}
