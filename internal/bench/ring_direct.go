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

// directRead is many random reads in flight, past the page cache, where a goroutine per read is what Go offers.
var directRead = bench{
	name:  "ring/direct-4k-qd128",
	about: "O_DIRECT random reads on xfs, 128 in flight by one queue over 128 goroutines with pread",
	metrics: []metric{
		{name: "ops", unit: "/s", goal: 2.0, better: More},
		{name: "cpu_s_per_gib", unit: "s", better: Less},
	},
	run: runDirectRead,
}

const (
	directBytes = 256 << 20 // of the file that is read
	directDepth = 128
)

// directFile is a file on xfs behind a loop device, open past the page cache.
type directFile struct {
	*scratch
	name string
	file *os.File
}

func newDirectFile(ctx context.Context, o Options) (_ *directFile, err error) {
	s, err := newScratch(ctx, o, "xfs")
	if err != nil {
		return nil, err
	}
	d := &directFile{scratch: s, name: filepath.Join(s.dir, "data")}
	if err = fill(d.name, directBytes); err == nil {
		d.file, err = os.OpenFile(d.name, os.O_RDONLY|unix.O_DIRECT, 0)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return d, nil
}

func (d *directFile) close() error { return errors.Join(d.file.Close(), d.scratch.close()) }

// randomOffsets is a walk over the blocks of the file, xorshift with a start of its own for each reader.
type randomOffsets uint64

func newOffsets(reader int) randomOffsets {
	return randomOffsets(uint64(reader+1) * 0x9e3779b97f4a7c15)
}

func (r *randomOffsets) next() int64 {
	x := uint64(*r)
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*r = randomOffsets(x)
	return int64(x%(directBytes/blockSize)) * blockSize
}

// alignedBlocks is n blocks as O_DIRECT wants them. release gives them back.
func alignedBlocks(n int) (blocks [][]byte, release func(), err error) {
	m, err := unix.Mmap(-1, 0, n*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("buffers: %w", err)
	}
	for i := range n {
		blocks = append(blocks, m[i*blockSize:][:blockSize:blockSize])
	}
	return blocks, func() { _ = unix.Munmap(m) }, nil
}

// counted is the sample of a load that read so many blocks.
func counted(reads int, wall time.Duration, cpu float64) sample {
	return sample{"ops": float64(reads) / wall.Seconds(), "cpu_s_per_gib": cpu / (float64(reads) * blockSize / (1 << 30))}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ownCPU is the user and system time of this process so far, in seconds; the kernel's workers for its rings are threads of it.
func ownCPU() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0 // EFAULT and EINVAL only, getrusage(2)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// timedReads runs load, which returns how many blocks it read, and adds the CPU time of this process.
func timedReads(load func() (int, error)) (sample, error) {
	cpu, start := ownCPU(), time.Now()
	reads, err := load()
	wall := time.Since(start)
	return counted(reads, wall, ownCPU()-cpu), err
}

// preadLoad is n goroutines with pread(2).
func preadLoad(o Options, fd, n int) side {
	return func(context.Context) (sample, error) {
		blocks, release, err := alignedBlocks(n)
		if err != nil {
			return nil, err
		}
		defer release()
		reads := make([]int, n)
		return timedReads(func() (int, error) {
			end := time.Now().Add(o.Sample)
			err := each(n, func(g int) error {
				offsets := newOffsets(g)
				for count := 0; ; count++ {
					if count%16 == 0 && !time.Now().Before(end) {
						reads[g] = count
						return nil
					}
					if n, err := unix.Pread(fd, blocks[g], offsets.next()); err != nil || n != blockSize {
						return fmt.Errorf("pread: %d, %w", n, err)
					}
				}
			})
			total := 0
			for _, r := range reads {
				total += r
			}
			return total, err
		})
	}
}

func runDirectRead(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) (_ []Line, err error) {
	d, err := newDirectFile(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	engine, err := openEngine("auto", d.dir, uringbackend.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }() // nothing is in flight any more
	fd := int(d.file.Fd())
	lines, err := pair(queueLoad(o, engine, fd, directDepth), preadLoad(o, fd, directDepth))
	return beside(described(lines, d.name, "direct"), map[string]string{
		"goroutines": strconv.Itoa(directDepth) + " with pread(2)", "loop device": d.loop,
	}), err
}
