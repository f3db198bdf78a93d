//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: embed ENGINE DIR")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, name, dir string) (err error) {
	engine, err := uringbackend.Open(name, uringbackend.Probe(dir), uringbackend.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	fmt.Fprintln(out, "engine", engine.Name())

	root, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer unix.Close(root)
	for _, step := range []func(context.Context, io.Writer, uringbackend.Engine, int) error{file, batch, queue} {
		if err := step(ctx, out, engine, root); err != nil {
			return err
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "embed-*"))
	if err != nil || len(left) > 0 {
		return fmt.Errorf("left behind: %v, %w", left, err)
	}
	fmt.Fprintln(out, "fallbacks", len(engine.Fallbacks()))
	return nil
}

func create(ctx context.Context, engine uringbackend.Engine, root int, name string) (*uringbackend.FD, error) {
	fd, err := engine.Openat2(ctx, root, name, unix.OpenHow{
		Flags: unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: 0o600, Resolve: unix.RESOLVE_BENEATH,
	})
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return engine.Own(fd), nil
}

func remove(ctx context.Context, engine uringbackend.Engine, root int, name string) error {
	if _, err := engine.Do(ctx, uringbackend.Op{Kind: uringbackend.KindUnlinkat, FD: root, Path: name}); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// file writes one file, makes it durable and reads it back.
func file(ctx context.Context, out io.Writer, engine uringbackend.Engine, root int) error {
	f, err := create(ctx, engine, root, "embed-file")
	if err != nil {
		return err
	}
	text := []byte("hello, ring")
	if n, err := engine.WriteAt(ctx, f.Num(), text, 0, 0); err != nil || n != len(text) {
		return fmt.Errorf("write: %d, %w", n, err)
	}
	if err := engine.Fsync(ctx, f.Num(), true); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	var st unix.Statx_t
	if err := engine.Statx(ctx, f.Num(), "", unix.AT_EMPTY_PATH, unix.STATX_SIZE, &st); err != nil {
		return fmt.Errorf("statx: %w", err)
	}
	got := make([]byte, 64)
	n, err := engine.ReadAt(ctx, f.Num(), got, 0)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	fmt.Fprintf(out, "file of %d bytes: %s\n", st.Size, got[:n])
	if err := f.Close(ctx); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return remove(ctx, engine, root, "embed-file")
}

const blocks, blockSize = 64, 4096

func block(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, blockSize) }

// batch writes blocks, each with an fsync that starts only when its write has succeeded, as one Submit.
func batch(ctx context.Context, out io.Writer, engine uringbackend.Engine, root int) error {
	f, err := create(ctx, engine, root, "embed-batch")
	if err != nil {
		return err
	}
	var ops []uringbackend.Op
	for i := range blocks {
		ops = append(ops,
			uringbackend.Op{Kind: uringbackend.KindWriteAt, FD: f.Num(), Buf: block(i), Offset: int64(i) * blockSize, Link: true},
			uringbackend.Op{Kind: uringbackend.KindFsync, FD: f.Num()})
	}
	// done runs on this goroutine, before Submit returns: none of these ops is Unbounded.
	reports, written := 0, 0
	engine.Submit(ctx, ops, func(_, n int, more bool, opErr error) {
		if !more {
			reports++
		}
		written += n
		err = errors.Join(err, opErr)
	})
	if err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	fmt.Fprintf(out, "batch of %d: %d reports, %d bytes\n", len(ops), reports, written)
	return f.Close(ctx)
}

// queue reads the blocks back with eight in flight.
func queue(ctx context.Context, out io.Writer, engine uringbackend.Engine, root int) error {
	fd, err := engine.Openat2(ctx, root, "embed-batch", unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	f := engine.Own(fd)
	const depth = 8
	q, err := engine.NewQueue(uringbackend.QueueConfig{Entries: depth})
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	var bufs [blocks][]byte
	next, right := 0, 0
	prepare := func() error {
		bufs[next] = make([]byte, blockSize)
		op := uringbackend.Op{Kind: uringbackend.KindReadAt, FD: f.Num(), Buf: bufs[next], Offset: int64(next) * blockSize}
		next++
		return q.Prepare(op, uint64(next-1))
	}
	for err == nil && next < depth {
		err = prepare()
	}
	for done := 0; err == nil && done < blocks; {
		if _, err = q.Wait(ctx, 1); err != nil {
			break
		}
		for c, ok := q.Next(); ok && err == nil; c, ok = q.Next() {
			done++
			if c.Err == nil && bytes.Equal(bufs[c.Tag][:c.N], block(int(c.Tag))) {
				right++
			}
			if next < blocks {
				err = prepare()
			}
		}
	}
	q.Close()
	if err = errors.Join(err, f.Close(ctx)); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	fmt.Fprintf(out, "queue of %d: %d of %d blocks right\n", depth, right, blocks)
	return remove(ctx, engine, root, "embed-batch")
}
