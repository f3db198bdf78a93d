//go:build linux

package uringbackend_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

// BenchmarkVolume is the price of the operations that a mount or a server asks for all the time.
func BenchmarkVolume(b *testing.B) {
	for _, engine := range []string{"syscall", "ring"} {
		e, err := Open(engine, Probe(b.TempDir()), Config{})
		if err != nil {
			b.Logf("%s: %v", engine, err)
			continue
		}
		dir := b.TempDir()
		require.NoError(b, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 8192), 0o600))
		ctx := b.Context()
		v, err := OpenVolume(ctx, dir, VolumeConfig{Engine: e})
		require.NoError(b, err)
		w := v.View(OriginLab)
		root := w.Root()
		r, _, err := w.Resolve(ctx, "f", false)
		require.NoError(b, err)
		h, err := w.Open(ctx, r, unix.O_RDWR)
		require.NoError(b, err)
		buf := make([]byte, 4096)
		for verb, run := range map[string]func() error{
			"lookup": func() error { r, _, err := w.Lookup(ctx, root, "f"); release(r, err); return err },
			"stat":   func() error { _, err := w.Stat(ctx, r); return err },
			"open":   func() error { return openAndClose(b, w, r) },
			"read":   func() error { _, err := h.ReadAt(ctx, buf, 0); return err },
			"write":  func() error { _, err := h.WriteAt(ctx, buf, 0, WriteOptions{}); return err },
			"create": func() error { return createAndUnlink(b, w, root, Creds{}) },
			"create_as": func() error {
				return createAndUnlink(b, w, root, Creds{Valid: true, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
			},
		} {
			b.Run("verb="+verb+"/engine="+engine, func(b *testing.B) {
				for b.Loop() {
					if err := run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		require.NoError(b, h.Close(ctx))
		r.Release()
		root.Release()
		require.NoError(b, v.Close())
		require.NoError(b, e.Close())
	}
}

func release(r *Ref, err error) {
	if err == nil {
		r.Release()
	}
}

func openAndClose(b *testing.B, w *View, r *Ref) error {
	h, err := w.Open(b.Context(), r, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return h.Close(b.Context())
}

func createAndUnlink(b *testing.B, w *View, dir *Ref, c Creds) error {
	h, r, _, err := w.Create(b.Context(), dir, "new", unix.O_RDWR, 0o600, c)
	if err != nil {
		return err
	}
	r.Release()
	if err := h.Close(b.Context()); err != nil {
		return err
	}
	return w.Unlink(b.Context(), dir, "new")
}
