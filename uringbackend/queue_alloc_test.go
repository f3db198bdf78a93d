//go:build linux

package uringbackend_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/uringbackend"
)

// TestNothingAllocated: reading and writing allocates nothing, and starts no goroutine, by whatever road.
func TestNothingAllocated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, make([]byte, 64<<10), 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	fd, buf := int(f.Fd()), make([]byte, 4096)
	cancellable, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, cfg := range map[string]uringbackend.Config{
		"auto": {}, "ring": {Policy: "ring"}, "netpoll": {Policy: "ring", Loop: "netpoll"},
	} {
		t.Run(name, func(t *testing.T) {
			e := openWith(t, cfg)
			q, err := e.NewQueue(uringbackend.QueueConfig{Entries: 16})
			require.NoError(t, err)
			defer q.Close()
			for what, op := range map[string]func(){
				"read":             func() { _, err = e.ReadAt(context.Background(), fd, buf, 0) },
				"cancellable read": func() { _, err = e.ReadAt(cancellable, fd, buf, 0) },
				"write":            func() { _, err = e.WriteAt(context.Background(), fd, buf, 0, 0) },
				"queue": func() {
					for i := range 16 {
						err = q.Prepare(uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: buf, Offset: int64(i) * 4096}, uint64(i))
					}
					_, err = q.Wait(context.Background(), 16)
					for _, ok := q.Next(); ok; _, ok = q.Next() {
					}
				},
			} {
				for range 8 { // slots and arrays grow to their size
					op()
					require.NoError(t, err, what)
				}
				before := runtime.NumGoroutine()
				assert.Zero(t, testing.AllocsPerRun(200, op), what)
				assert.Equal(t, before, runtime.NumGoroutine(), what)
				require.NoError(t, err, what)
			}
		})
	}
}

// openWith opens a ring engine that is closed at the end.
func openWith(t *testing.T, cfg uringbackend.Config) uringbackend.Engine {
	t.Helper()
	e, err := uringbackend.Open("ring", uringbackend.Probe(t.TempDir()), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}
