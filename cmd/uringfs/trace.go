//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/uringfs/uringfs/uringbackend"
)

// traceFile is the file of --trace.
type traceFile struct {
	*uringbackend.Tracer
	file *os.File
}

// traceFormat reads the format off the name of the file.
func traceFormat(name string) (uringbackend.TraceFormat, error) {
	switch filepath.Ext(name) {
	case ".json":
		return uringbackend.TraceJSON, nil
	case ".perfetto":
		return uringbackend.TracePerfetto, nil
	default:
		return 0, usage("--trace %q: the name must end in .json (a line for each operation) or .perfetto (for the viewer)", name)
	}
}

// openTrace starts a trace in a new file, or one that it empties.
func openTrace(name string) (*traceFile, error) {
	format, err := traceFormat(name)
	if err != nil {
		return nil, err
	}
	// Offsets, lengths and times of other people's files: for the owner alone.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // #nosec G304 -- the user names it
	if err != nil {
		return nil, missing(fmt.Errorf("--trace: %w", err))
	}
	t, err := uringbackend.NewTracer(f, format, uringbackend.TraceConfig{Process: "uringfs", PID: os.Getpid()})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &traceFile{Tracer: t, file: f}, nil
}

// close ends the trace. Whoever observes must have stopped.
func (t *traceFile) close() error {
	err := errors.Join(t.Close(), t.file.Close())
	if err != nil {
		return fmt.Errorf("--trace %s: %w", t.file.Name(), err)
	}
	return nil
}
