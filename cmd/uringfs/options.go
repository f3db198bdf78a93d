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
	engine  string
	policy  string
	loop    string
	faults  string
	trace   string
	metrics string
	level   string
}

func (o *engineOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.engine, "engine", "auto", "backing I/O: auto, ring or syscall; ring never falls back silently")
	registerRoads(f, &o.policy, &o.loop)
	f.StringVar(&o.faults, "faults", "", "inject errors, as seed=N,read_at=EIO:0.01,…")
	f.StringVar(&o.trace, "trace", "", "write every backing operation to FILE.json (a line each) or FILE.perfetto (for the viewer)")
	f.StringVar(&o.metrics, "metrics", "", "serve Prometheus metrics at HOST:PORT; without a host on 127.0.0.1, port 0 takes a free one")
	f.StringVar(&o.level, "log", "info", "log level: debug, info, warn or error")
}

func (o *engineOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, usage("--log %q: debug, info, warn or error", o.level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

// registerRoads registers the flags that say how the ring is used, of servers and of what starts servers.
func registerRoads(f *pflag.FlagSet, policy, loop *string) {
	f.StringVar(policy, "engine-policy", "auto", "which operations take the ring: auto (as measured) or ring (all that can)")
	f.StringVar(loop, "loop", "ring", "how operations that may wait long are waited for: ring or netpoll")
}

func checkRoads(policy, loop string) error {
	if policy != "auto" && policy != "ring" {
		return usage("--engine-policy %q: auto or ring", policy)
	}
	if loop != "ring" && loop != "netpoll" {
		return usage("--loop %q: ring or netpoll", loop)
	}
	return nil
}

// check finds what is wrong with the flags before anything is opened.
func (o *engineOptions) check() error {
	if !slices.Contains([]string{"auto", "ring", "syscall"}, o.engine) {
		return usage("--engine %q: auto, ring or syscall", o.engine)
	}
	if err := checkRoads(o.policy, o.loop); err != nil {
		return err
	}
	if _, err := uringbackend.ParseFaults(o.faults); err != nil {
		return usage("--faults: %w", err)
	}
	if o.trace != "" {
		if _, err := traceFormat(o.trace); err != nil {
			return err
		}
	}
	if o.metrics != "" {
		if _, err := metricsAddress(o.metrics); err != nil {
			return err
		}
	}
	return nil
}

// open makes the engine that the flags ask for; dir is on the file system that it will work on, and observer, which
// may be nil, sees its operations.
func (o *engineOptions) open(dir string, observer uringbackend.Observer) (uringbackend.Engine, error) {
	cfg := uringbackend.Config{Policy: o.policy, Loop: o.loop, Observer: observer}
	e, err := uringbackend.Open(o.engine, uringbackend.Probe(dir), cfg)
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
