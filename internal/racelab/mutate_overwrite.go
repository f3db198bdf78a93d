//go:build linux

package racelab

import (
	"context"
	"fmt"
	"os"
)

// overwriteFile writes the span in the new generation and closes the file, so that
// a mount with a write-back cache has handed everything over when it returns.
func overwriteFile(path string, c change) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("overwrite: %w", err)
	}
	if _, err := f.WriteAt(c.content(), c.span.from); err != nil {
		f.Close()
		return fmt.Errorf("overwrite: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("overwrite: %w", err)
	}
	return nil
}

func overwriteSMB(ctx context.Context, s *second, name string, c change) error {
	return s.withFile(ctx, name, func(f smbFile) error {
		_, err := f.WriteAt(c.content(), c.span.from)
		return err
	})
}

func (c change) content() []byte {
	b := make([]byte, c.span.to-c.span.from)
	fill(b, c.gen, c.span.from)
	return b
}
