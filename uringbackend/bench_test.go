//go:build linux

package uringbackend_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// BenchmarkReadAt reads one place of a cached file again and again: the price of an engine, next to the bare system
// call.
func BenchmarkReadAt(b *testing.B) {
	path := filepath.Join(b.TempDir(), "hot")
	require.NoError(b, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	f, err := os.Open(path)
	require.NoError(b, err)
	defer func() { require.NoError(b, f.Close()) }()
	fd := int(f.Fd())

	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	features := uringbackend.Probe("")
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		buf := make([]byte, size)
		b.Run(fmt.Sprintf("engine=pread/size=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if n, err := unix.Pread(fd, buf, 0); n != size || err != nil {
					b.Fatal(n, err)
				}
			}
		})
		for _, name := range []string{"syscall", "ring"} {
			e, err := uringbackend.Open(name, features, uringbackend.Config{})
			require.NoError(b, err)
			for _, c := range []struct {
				name string
				ctx  context.Context //nolint:containedctx // a row of a table
			}{{"", context.Background()}, {"/ctx=cancellable", cancellable}} {
				b.Run(fmt.Sprintf("engine=%s/size=%d%s", name, size, c.name), func(b *testing.B) {
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						if n, err := e.ReadAt(c.ctx, fd, buf, 0); n != size || err != nil {
							b.Fatal(n, err)
						}
					}
				})
			}
			require.NoError(b, e.Close())
		}
	}
}
