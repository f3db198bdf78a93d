//go:build linux

package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/uringfs/uringfs/uringbackend"
)

// engineOptions are the flags of every command that does backing I/O.
type engineOptions struct {
	engine string
	faults string
	level  string
}

func (o *engineOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.engine, "engine", "auto", "backing I/O: auto, ring or syscall; ring never falls back silently")
	f.StringVar(&o.faults, "faults", "", "inject errors, as seed=N,read_at=EIO:0.01,…")
	f.StringVar(&o.level, "log", "info", "log level: debug, info, warn or error")
}

func (o *engineOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, usage("--log %q: debug, info, warn or error", o.level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

// open makes the engine that the flags ask for; dir is on the file system that it will work on.
func (o *engineOptions) open(dir string) (uringbackend.Engine, error) {
	if !slices.Contains([]string{"auto", "ring", "syscall"}, o.engine) {
		return uringbackend.Engine{}, usage("--engine %q: auto, ring or syscall", o.engine)
	}
	e, err := uringbackend.Open(o.engine, uringbackend.Probe(dir), uringbackend.Config{})
	if err != nil {
		return uringbackend.Engine{}, missing(fmt.Errorf("%w; see `uringfs probe`, or take --engine auto", err))
	}
	if o.faults == "" {
		return e, nil
	}
	plan, err := uringbackend.ParseFaults(o.faults)
	if err != nil {
		_ = e.Close() // it has done nothing yet
		return uringbackend.Engine{}, usage("--faults: %w", err)
	}
	return uringbackend.Faulty(e, plan), nil
}

// reportFallbacks says on w which operations did not take the ring although it was there.
func reportFallbacks(w io.Writer, e uringbackend.Engine) {
	fallbacks := e.Fallbacks()
	if len(fallbacks) == 0 {
		return
	}
	var parts []string
	for verb, n := range fallbacks {
		parts = append(parts, fmt.Sprintf("%s %d", verb, n))
	}
	slices.Sort(parts)
	fmt.Fprintf(w, "uringfs: by system call instead of the ring: %s\n", strings.Join(parts, ", "))
}
