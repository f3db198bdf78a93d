//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/uringfs/uringfs/uringbackend"
)

// versusFio compares a queue with fio's io_uring engine, which is C, at the same depth.
func versusFio(depth int) bench {
	return bench{
		name:  "ring/vs-fio-qd" + strconv.Itoa(depth),
		about: fmt.Sprintf("O_DIRECT random reads on xfs, %d in flight by one queue over fio's io_uring engine", depth),
		metrics: []metric{
			{name: "ops", unit: "/s", goal: 0.8, better: More},
			{name: "cpu_s_per_gib", unit: "s", better: Less},
		},
		run: func(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
			return runVersus(ctx, o, depth, fioPeer, pair)
		},
	}
}

// versusGoLib compares a queue with the Go module that a user would take instead.
var versusGoLib = bench{
	name:  "ring/vs-go-lib",
	about: "O_DIRECT random reads on xfs, 128 in flight by one queue over another Go module for io_uring (--go-lib)",
	metrics: []metric{
		{name: "ops", unit: "/s", goal: 1.3, better: More},
		{name: "cpu_s_per_gib", unit: "s", better: Less},
	},
	run: func(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
		return runVersus(ctx, o, directDepth, goLibPeer, pair)
	},
}

// peer makes the other side of a comparison that is a program of its own: it reads the file name at a depth, and peers
// says what it is.
type peer func(ctx context.Context, o Options, name string, depth int) (load side, peers map[string]string, err error)

func runVersus(ctx context.Context, o Options, depth int, other peer, pair func(a, b side) ([]Line, error)) (_ []Line, err error) {
	// A missing program is found before a file system is made for it.
	if _, _, err := other(ctx, o, "", depth); err != nil {
		return nil, err
	}
	d, err := newDirectFile(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	theirs, peers, err := other(ctx, o, d.name, depth)
	if err != nil {
		return nil, err
	}
	peers["loop device"] = d.loop
	engine, err := openEngine("auto", d.dir, uringbackend.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }() // nothing is in flight any more
	lines, err := pair(queueLoad(o, engine, int(d.file.Fd()), depth), theirs)
	return beside(described(lines, d.name, "direct"), peers), err
}

// fioPeer is one job of fio as its manual page has it: no fixed buffers, no fixed files, no polling.
func fioPeer(ctx context.Context, o Options, name string, depth int) (side, map[string]string, error) {
	fio, err := find("fio")
	if err != nil {
		return nil, nil, err
	}
	version, err := exec.CommandContext(ctx, fio, "--version").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("fio --version: %w", err)
	}
	args := []string{
		"--name=peer", "--filename=" + name, "--readonly", "--rw=randread", "--direct=1", "--bs=" + strconv.Itoa(blockSize),
		"--ioengine=io_uring", "--iodepth=" + strconv.Itoa(depth), "--time_based",
		fmt.Sprintf("--runtime=%dms", o.Sample.Milliseconds()), "--output-format=json",
	}
	load := func(ctx context.Context) (sample, error) {
		out, err := output(ctx, fio, args...)
		if err != nil {
			return nil, err
		}
		return parseFio(out)
	}
	what := strings.TrimSpace(string(version)) + ", one job, --ioengine=io_uring, no fixed buffers or files, else default"
	return load, map[string]string{"fio": what}, nil
}

// parseFio reads the JSON report of one job that only reads. Its CPU time is that of the job without fio's start, as the
// job itself measured it.
func parseFio(out []byte) (sample, error) {
	if i := bytes.IndexByte(out, '{'); i > 0 {
		out = out[i:] // fio may print notes first
	}
	var report struct {
		Jobs []struct {
			Error int     `json:"error"`
			User  float64 `json:"usr_cpu"` // percent of the job's time
			Sys   float64 `json:"sys_cpu"`
			Read  struct {
				TotalIOs int `json:"total_ios"`
				Runtime  int `json:"runtime"` // ms
			} `json:"read"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("fio's report: %w", err)
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 || report.Jobs[0].Read.Runtime == 0 || report.Jobs[0].Read.TotalIOs == 0 {
		return nil, fmt.Errorf("fio's report has no job that read: %.200s", out)
	}
	j := report.Jobs[0]
	wall := float64(j.Read.Runtime) / 1000
	return counted(j.Read.TotalIOs, seconds(wall), (j.User+j.Sys)/100*wall), nil
}

// goLibPeer is a program that the user names; how it is called and what it prints is in doc.go.
func goLibPeer(ctx context.Context, o Options, name string, depth int) (side, map[string]string, error) {
	if o.GoLib == "" {
		return nil, nil, fmt.Errorf("%w: a program that reads by another Go module for io_uring; name it with --go-lib", ErrPrerequisite)
	}
	if _, err := exec.LookPath(o.GoLib); err != nil {
		return nil, nil, fmt.Errorf("%w: --go-lib: %w", ErrPrerequisite, err)
	}
	peers := map[string]string{}
	load := func(ctx context.Context) (sample, error) {
		out, err := output(ctx, o.GoLib, name, strconv.Itoa(blockSize), strconv.Itoa(depth), strconv.FormatInt(o.Sample.Milliseconds(), 10))
		if err != nil {
			return nil, err
		}
		var report struct {
			Module  string  `json:"module"`
			Reads   int     `json:"reads"`
			Seconds float64 `json:"seconds"`
			CPU     float64 `json:"cpu_seconds"`
		}
		if err := json.Unmarshal(out, &report); err != nil {
			return nil, fmt.Errorf("%s: its line: %w", o.GoLib, err)
		}
		if report.Module == "" || report.Reads <= 0 || report.Seconds <= 0 || report.CPU <= 0 {
			return nil, fmt.Errorf("%s: its line lacks module, reads, seconds or cpu_seconds: %s", o.GoLib, bytes.TrimSpace(out))
		}
		peers["go module"] = report.Module
		return counted(report.Reads, seconds(report.Seconds), report.CPU), nil
	}
	return load, peers, nil
}

// output runs a program to its end and returns its standard output; its standard error goes into the error.
func output(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return out, nil
}
