//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/uringfs/uringfs/internal/supervise"
)

// scratchBytes is the size of a scratch file system's sparse image.
const scratchBytes = 512 << 20

// scratch is a file system of a row's own, behind a loop device.
type scratch struct {
	dir  string // root of the file system
	loop string // what the loop device does, for the line
	top  string
}

// newScratch makes and mounts a file system of kind, which needs root.
func newScratch(ctx context.Context, o Options, kind string) (*scratch, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: root, for %s on a loop device", ErrPrerequisite, kind)
	}
	top, err := os.MkdirTemp(o.Dir, "uringfs-bench-")
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: filepath.Join(top, "fs"), top: top}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, errors.Join(err, os.RemoveAll(top))
	}
	direct, err := supervise.MountScratch(ctx, supervise.ScratchFS{
		Kind: kind, Image: filepath.Join(top, "image"), Size: scratchBytes, DirectIO: true,
	}, s.dir)
	if err != nil {
		if errors.Is(err, supervise.ErrLacking) {
			err = fmt.Errorf("%w: %w; run ./setup", ErrPrerequisite, err)
		}
		return nil, errors.Join(err, os.RemoveAll(top))
	}
	s.loop = "buffered, image on " + fsName(top)
	if direct {
		s.loop = "direct I/O, image on " + fsName(top)
	}
	return s, nil
}

// close unmounts and removes all of it.
func (s *scratch) close() error {
	if err := supervise.UnmountScratch(s.dir); err != nil {
		return err // what is mounted must not be removed
	}
	return os.RemoveAll(s.top)
}
