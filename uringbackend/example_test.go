//go:build linux

package uringbackend_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// An engine is opened for what the kernel can do, and closed by whoever opened it. "auto" takes the ring where there is
// one, and Reason says why if there is none.
func ExampleOpen() {
	engine, err := uringbackend.Open("auto", uringbackend.Probe(""), uringbackend.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if engine.Name() == "syscall" {
		log.Println("no ring:", engine.Reason())
	}
	fmt.Println("closed:", engine.Close())

	// A kernel about which nothing is known, as a test plays it.
	engine, err = uringbackend.Open("auto", uringbackend.Features{}, uringbackend.Config{})
	fmt.Println(engine.Name(), err)
	_, err = uringbackend.Open("ring", uringbackend.Features{}, uringbackend.Config{})
	fmt.Println("by name:", errors.Is(err, uringbackend.ErrNoRing))
	// Output:
	// closed: <nil>
	// syscall <nil>
	// by name: true
}

// Abilities are values: they are asked once, travel with the engine, and can be printed.
func ExampleProbe() {
	features := uringbackend.Probe("")
	for row := range features.Rows() {
		if row.Name == "openat2.beneath" {
			fmt.Println(row.Name, "since", row.Since, "for", row.UsedBy)
		}
	}
	// Without it, an engine carries out the verb by its system call and counts that.
	features.OpStatx = uringbackend.Ability{Answer: uringbackend.No}
	fmt.Println("statx by the ring:", features.OpStatx.Answer)
	// Output:
	// openat2.beneath since 5.6 for every path
	// statx by the ring: no
}

// exampleDir is a directory and an engine for the examples, which have no *testing.T.
func exampleDir() (engine uringbackend.Engine, dir int, end func()) {
	name, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(name, "greeting"), []byte("hello from the page cache"), 0o600); err != nil {
		log.Fatal(err)
	}
	if dir, err = unix.Open(name, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
		log.Fatal(err)
	}
	if engine, err = uringbackend.Open("auto", uringbackend.Probe(name), uringbackend.Config{}); err != nil {
		log.Fatal(err)
	}
	return engine, dir, func() {
		unix.Close(dir)
		if err := errors.Join(engine.Close(), os.RemoveAll(name)); err != nil {
			log.Fatal(err)
		}
	}
}

// The typed functions are blocking calls. A path that leaves the directory is refused by the kernel.
func ExampleEngine_ReadAt() {
	engine, dir, end := exampleDir()
	defer end()
	ctx := context.Background()

	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	fd, err := engine.Openat2(ctx, dir, "greeting", how)
	if err != nil {
		log.Fatal(err)
	}
	file := engine.Own(fd) // closed once, through the engine
	defer file.Close(ctx)

	buf := make([]byte, 64)
	n, err := engine.ReadAt(ctx, file.Num(), buf, 6)
	fmt.Printf("%q %v\n", buf[:n], err)

	_, err = engine.Openat2(ctx, dir, "../greeting", how)
	fmt.Println(errors.Is(err, syscall.EXDEV))
	// Output:
	// "from the page cache" <nil>
	// true
}

// A batch is one Submit. Each op reports once, in any order, before Submit returns; a linked op starts only when the one
// before it has succeeded in full.
func ExampleEngine_submit() {
	engine, dir, end := exampleDir()
	defer end()
	ctx := context.Background()

	how := unix.OpenHow{Flags: unix.O_RDWR | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	fd, err := engine.Openat2(ctx, dir, "greeting", how)
	if err != nil {
		log.Fatal(err)
	}
	file := engine.Own(fd)
	defer file.Close(ctx)

	var st unix.Statx_t
	ops := []uringbackend.Op{
		{Kind: uringbackend.KindWriteAt, FD: file.Num(), Buf: []byte("HELLO"), Link: true},
		{Kind: uringbackend.KindFsync, FD: file.Num(), Link: true},
		{Kind: uringbackend.KindStatx, FD: file.Num(), Flags: unix.AT_EMPTY_PATH, Mask: unix.STATX_SIZE, Statx: &st},
	}
	results := make([]string, len(ops))
	engine.Submit(ctx, ops, func(i, n int, _ bool, err error) {
		results[i] = fmt.Sprint(ops[i].Kind, " ", n, " ", err)
	})
	for _, r := range results {
		fmt.Println(r)
	}
	fmt.Println(st.Size, "bytes")
	// Output:
	// write_at 5 <nil>
	// fsync 0 <nil>
	// statx 0 <nil>
	// 25 bytes
}

// Faults are a wrapper around any engine. The plan prints as the text that rebuilds it, so that what was seen once can
// be seen again.
func ExampleParseFaults() {
	engine, dir, end := exampleDir()
	defer end()
	ctx := context.Background()

	plan, err := uringbackend.ParseFaults("seed=7,statx=EIO:1")
	if err != nil {
		log.Fatal(err)
	}
	faulty := uringbackend.Faulty(engine, plan)

	var st unix.Statx_t
	fmt.Println(faulty.Statx(ctx, dir, "greeting", 0, unix.STATX_SIZE, &st))
	fmt.Println(engine.Statx(ctx, dir, "greeting", 0, unix.STATX_SIZE, &st), st.Size)
	fmt.Println(plan)
	// Output:
	// input/output error
	// <nil> 25
	// seed=7,statx=EIO:1
}
