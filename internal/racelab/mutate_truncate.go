//go:build linux

package racelab

import (
	"context"
	"fmt"
	"os"
)

// truncateFile cuts the file where the span begins.
func truncateFile(path string, c change) error {
	if err := os.Truncate(path, c.span.from); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	return nil
}

// truncateSMB sets FileEndOfFileInformation, [MS-FSCC] 2.4.14.
func truncateSMB(ctx context.Context, s *second, name string, c change) error {
	return s.withFile(ctx, name, func(f smbFile) error { return f.Truncate(c.span.from) })
}
