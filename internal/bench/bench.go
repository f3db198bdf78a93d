//go:build linux

package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// MinRounds is the fewest interleaved pairs behind a ratio.
const MinRounds = 5

// Better says which way a ratio should go.
type Better string

// The two ways.
const (
	More Better = "more"
	Less Better = "less"
)

// Line is one result, in the form of `bench --json`. Ratio is the median over the pairs of A/B, Low and High the smallest
// and largest pair; A and B are medians of the absolute figures in Unit. A Goal of 0 is none: the line is reported and
// judged by nobody.
type Line struct {
	Name      string            `json:"name"`
	Metric    string            `json:"metric"` // throughput, latency, ops, cpu_s_per_gib, rss_mib
	A         float64           `json:"a"`
	B         float64           `json:"b"`
	Ratio     float64           `json:"ratio"`
	Low       float64           `json:"low"`
	High      float64           `json:"high"`
	N         int               `json:"n"`
	Goal      float64           `json:"goal"`
	Better    Better            `json:"better"`
	Unit      string            `json:"unit"`
	FS        string            `json:"fs"`
	Cache     string            `json:"cache"`
	PlanShare *float64          `json:"plan_share"` // part of the bytes that the named path served
	Kernel    string            `json:"kernel"`
	Peers     map[string]string `json:"peers,omitempty"` // version and configuration of what B is, and of what both stand on
	Error     string            `json:"error"`
}

// Met says whether the line was measured and its goal, if it has one, is reached.
func (l Line) Met() bool {
	switch {
	case l.Error != "":
		return false
	case l.Goal == 0:
		return true
	case l.Better == Less:
		return l.Ratio <= l.Goal
	default:
		return l.Ratio >= l.Goal
	}
}

// verdict is the end of the line in the table.
func (l Line) verdict() string {
	switch {
	case l.Goal == 0:
		return "reported"
	case l.Met():
		return goal(l.Better, l.Goal) + " met"
	default:
		return goal(l.Better, l.Goal) + " MISSED"
	}
}

func goal(b Better, v float64) string {
	switch {
	case v == 0:
		return "no goal, reported"
	case b == Less:
		return fmt.Sprintf("<= %g", v)
	default:
		return fmt.Sprintf(">= %g", v)
	}
}

// ErrPrerequisite is wrapped when a peer or tool is missing.
var ErrPrerequisite = errors.New("prerequisite missing")

// Options of a run.
type Options struct {
	Only       string        // a glob on names; empty: all
	Rounds     int           // interleaved pairs; at least MinRounds
	JSON       bool          // lines on Out instead of a table
	Out        io.Writer     // results
	Progress   io.Writer     // what is going on; may be nil
	Executable string        // the uringfs binary that serves
	Engine     string        // engine of the servers: auto, ring, syscall
	Dir        string        // where scratch files go; empty: the temporary directory
	Sample     time.Duration // how long one side of a pair runs where the load has no end of its own; 0: 1 s
	GoLib      string        // the program that is the peer of ring/vs-go-lib; doc.go says how it is called
}

// sample is what one side measured in one round, by metric.
type sample map[string]float64

// bench is one comparison: two sides that do the same work.
type bench struct {
	name    string
	about   string
	metrics []metric
	// run prepares both sides and hands them to pair, which calls them in turn.
	run func(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error)
}

type metric struct {
	name   string
	unit   string
	goal   float64
	better Better
}

type side func(ctx context.Context) (sample, error)

// benches is the suite, in the order it runs.
var benches = [...]bench{
	hotRead, hotReadRing, hotRead64, directRead, openClose, statxBatch, writeFsync,
	versusFio(1), versusFio(32), versusFio(128), versusGoLib, copyVersusSmbd,
}

// List writes names and what they compare.
func List(w io.Writer) {
	for _, b := range benches {
		fmt.Fprintf(w, "%-24s %s\n", b.name, b.about)
		for _, m := range b.metrics {
			fmt.Fprintf(w, "%-24s   %s %s\n", "", m.name, goal(m.better, m.goal))
		}
	}
}

// Run runs what o.Only selects. met is false when a goal was missed; an error that wraps ErrPrerequisite names what to
// install, after all other lines were written.
func Run(ctx context.Context, o Options) (met bool, err error) {
	o.Rounds = max(o.Rounds, MinRounds)
	o.Sample = cmp.Or(o.Sample, time.Second)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	met = true
	var missing error
	selected := 0
	if !o.JSON {
		fmt.Fprintf(o.Out, "%-22s %-14s %12s %12s %8s %15s  %s\n", "name", "metric", "uringfs", "peer", "ratio", "low..high", "goal")
	}
	for _, b := range benches {
		if ok, err := path.Match(cmp.Or(o.Only, "*/*"), b.name); err != nil {
			return false, fmt.Errorf("--only %q: %w", o.Only, err)
		} else if !ok {
			continue
		}
		selected++
		fmt.Fprintf(o.Progress, "%s: %s, %d pairs after a warm-up\n", b.name, b.about, o.Rounds)
		lines, err := b.run(ctx, o, func(a, bb side) ([]Line, error) { return pair(ctx, o, b, a, bb) })
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			if errors.Is(err, ErrPrerequisite) {
				missing = err
			}
			lines = nil
			for _, m := range b.metrics {
				lines = append(lines, Line{Name: b.name, Metric: m.name, Goal: m.goal, Better: m.better, Unit: m.unit, Error: err.Error()})
			}
		}
		for i, l := range lines {
			l.Kernel = kernel()
			met = met && l.Met()
			write(o, l)
			if i == len(lines)-1 && !o.JSON {
				writePeers(o.Out, l.Peers) // the same for all lines of a comparison
			}
		}
	}
	if selected == 0 {
		return false, fmt.Errorf("--only %q matches none of the names that --list shows", o.Only)
	}
	return met, missing
}

// pair runs the two sides in turn and computes the lines.
func pair(ctx context.Context, o Options, b bench, left, right side) ([]Line, error) {
	as, bs := make([]sample, 0, o.Rounds), make([]sample, 0, o.Rounds)
	for round := -1; round < o.Rounds; round++ { // round -1 warms up
		x, err := left(ctx)
		if err != nil {
			return nil, err
		}
		y, err := right(ctx)
		if err != nil {
			return nil, err
		}
		if round < 0 {
			continue
		}
		as, bs = append(as, x), append(bs, y)
		fmt.Fprintf(o.Progress, "  pair %d of %d\n", round+1, o.Rounds)
	}
	var lines []Line
	for _, m := range b.metrics {
		var ratios, xs, ys []float64
		for i := range as {
			x, y := as[i][m.name], bs[i][m.name]
			if x <= 0 || y <= 0 {
				return nil, fmt.Errorf("%s: pair %d measured %g and %g %s: too short to tell", m.name, i+1, x, y, m.unit)
			}
			xs, ys, ratios = append(xs, x), append(ys, y), append(ratios, x/y)
		}
		lines = append(lines, Line{
			Name: b.name, Metric: m.name, Unit: m.unit, A: median(xs), B: median(ys), Ratio: median(ratios),
			Low: slices.Min(ratios), High: slices.Max(ratios), N: len(ratios), Goal: m.goal, Better: m.better,
		})
	}
	return lines, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func write(o Options, l Line) {
	if o.JSON {
		_ = json.NewEncoder(o.Out).Encode(l) // a closed pipe ends the run at the next line
		return
	}
	if l.Error != "" {
		fmt.Fprintf(o.Out, "%-22s %-14s not measured: %s\n", l.Name, l.Metric, l.Error)
		return
	}
	fmt.Fprintf(o.Out, "%-22s %-14s %12s %12s %8.2f %6.2f..%-7.2f  %s\n",
		l.Name, l.Metric, figure(l.A, l.Unit), figure(l.B, l.Unit), l.Ratio, l.Low, l.High, l.verdict())
}

func writePeers(w io.Writer, peers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		fmt.Fprintf(w, "%-22s   %s: %s\n", "", name, peers[name])
	}
}

// figure is v with three digits, thousands as k.
func figure(v float64, unit string) string {
	if v >= 10_000 {
		return fmt.Sprintf("%.3gk %s", v/1000, unit)
	}
	return fmt.Sprintf("%.4g %s", v, unit)
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS
	}
	return unix.ByteSliceToString(u.Release[:])
}

// within polls cond until it holds; an error names what was waited for.
func within(ctx context.Context, limit time.Duration, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s", what, limit)
		case <-tick.C:
		}
	}
	return nil
}
