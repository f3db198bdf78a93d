//go:build linux

package racelab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/uringfs/uringfs/internal/passwd"
)

// Options says what to run. The zero value is the default plan, silent.
type Options struct {
	Seed       uint64    // decides payload offsets and generations
	Case       string    // one cell instead of a plan, see [ParseCase]
	Targets    []string  // NAME[:PATH]; none: uringfs on the paths below
	Paths      []string  // none: all of [DefaultPaths]
	FS         string    // scratch file system; "": ext4 as root, else tmpfs
	Engine     string    // handed to the target as --engine; "": its default
	Policy     string    // as --engine-policy
	Loop       string    // as --loop
	Executable string    // the uringfs binary; "": this process's own
	WorkDir    string    // where the scratch directory is made; "": where temporary files go
	Out        io.Writer // the table; nil: none
	JSON       io.Writer // a line a cell, as it ends; nil: none
	Progress   io.Writer // a line that is overwritten, for terminals; nil: none
}

// Run works through the plan that o describes and reports. The error is nil when the
// plan was run to its end, whatever it showed: ask [Summary.Outcome]. It is ErrCase
// for options that mean nothing, ErrPrerequisite when the machine lacks something,
// and the context's when that ended first.
func Run(ctx context.Context, o Options) (Summary, error) {
	start := time.Now()
	cases, err := o.plan()
	if err != nil {
		return Summary{}, err
	}
	if o.Executable == "" {
		if o.Executable, err = os.Executable(); err != nil {
			return Summary{}, fmt.Errorf("own executable: %w", err)
		}
	}
	diag := newSockDiag()
	defer diag.Close() //nolint:errcheck // a socket that was only asked
	r := &run{options: o, diag: diag}
	err = r.all(ctx, cases)
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = errors.Join(ended, err)
	}
	if err != nil {
		return r.summary(), err
	}
	s := r.summary()
	s.Took = time.Since(start)
	if o.Out != nil {
		if err := s.write(o.Out); err != nil {
			return s, fmt.Errorf("table: %w", err)
		}
	}
	return s, nil
}

// plan makes the list of cases.
func (o Options) plan() ([]Case, error) {
	if o.Case != "" {
		c, err := ParseCase(o.Case)
		return []Case{c}, err
	}
	fs := FS(o.FS)
	if fs == "" {
		fs = defaultFS()
	}
	targets := o.Targets
	if len(targets) == 0 {
		targets = []string{targetUringfs}
	}
	var out []Case
	for _, text := range targets {
		name, path, one := strings.Cut(text, ":")
		names := o.Paths
		if one {
			names = []string{path}
		}
		paths, err := selectPaths(names)
		if err != nil {
			return nil, err
		}
		for _, c := range Plan(name, paths, fs) {
			if err := c.Check(); err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// run is the state of one Run.
type run struct {
	options Options
	diag    *sockDiag
	results []Result
}

// all runs the cases, which come grouped by file system and target.
func (r *run) all(ctx context.Context, cases []Case) (err error) {
	for len(cases) > 0 {
		n := 1
		for n < len(cases) && cases[n].FS == cases[0].FS {
			n++
		}
		if err := r.onScratch(ctx, cases[:n], len(cases)-n); err != nil {
			return err
		}
		cases = cases[n:]
	}
	return nil
}

func (r *run) onScratch(ctx context.Context, cases []Case, later int) (err error) {
	s, err := newScratch(ctx, r.options.WorkDir, cases[0].FS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	passwdFile := filepath.Join(s.dir, "passwd")
	if err := passwd.Set(passwdFile, targetUser, targetPassword); err != nil {
		return fmt.Errorf("the target's password file: %w", err)
	}
	for i := 0; len(cases) > 0; i++ {
		n := 1
		for n < len(cases) && cases[n].Target == cases[0].Target {
			n++
		}
		cfg := targetConfig{executable: r.options.Executable, passwdFile: passwdFile}
		cfg.engine, cfg.policy, cfg.loop = r.options.Engine, r.options.Policy, r.options.Loop
		cfg.backing = filepath.Join(s.fsDir, fmt.Sprintf("backing%d", i))
		if err := os.Mkdir(cfg.backing, 0o755); err != nil { // #nosec G301 -- a scratch directory
			return fmt.Errorf("backing directory: %w", err)
		}
		if cfg.mount, err = s.mkdir(fmt.Sprintf("mnt%d", i)); err != nil {
			return err
		}
		if err := r.onTarget(ctx, cases[:n], cfg, later+len(cases)-n); err != nil {
			return err
		}
		cases = cases[n:]
	}
	return nil
}

func (r *run) onTarget(ctx context.Context, cases []Case, cfg targetConfig, later int) (err error) {
	t, err := newTarget(ctx, cases[0], cfg)
	if err != nil {
		return err
	}
	var hung sync.WaitGroup
	defer func() {
		err = errors.Join(err, t.close(ctx))
		hung.Wait()
	}()
	l := &lab{target: t, diag: r.diag, seed: r.options.Seed, hung: &hung}
	for i, c := range cases {
		r.progress("%3d cells to go: %s, %s by %s", later+len(cases)-i, c.Target, c.Mutation, c.Mutator)
		result := l.run(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.results = append(r.results, result)
		if r.options.JSON != nil {
			if err := json.NewEncoder(r.options.JSON).Encode(result); err != nil {
				return fmt.Errorf("JSON lines: %w", err)
			}
		}
		if fault := t.fault(); fault != "" {
			return errors.New(fault)
		}
	}
	r.progress("")
	return nil
}

// progress overwrites the terminal's line.
func (r *run) progress(format string, args ...any) {
	if r.options.Progress != nil {
		fmt.Fprintf(r.options.Progress, "\r\x1b[K"+format, args...)
	}
}

func (r *run) summary() Summary { return summarize(r.results, r.options.Seed) }
