package bench_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/bench"
)

func TestMet(t *testing.T) {
	for _, c := range []struct {
		line bench.Line
		want bool
	}{
		{bench.Line{Ratio: 2.9, Goal: 3, Better: bench.Less}, true},
		{bench.Line{Ratio: 3.1, Goal: 3, Better: bench.Less}, false},
		{bench.Line{Ratio: 0.9, Goal: 0.8, Better: bench.More}, true},
		{bench.Line{Ratio: 0.7, Goal: 0.8, Better: bench.More}, false},
		{bench.Line{Ratio: 9, Goal: 0.8, Better: bench.More, Error: "x"}, false},
		{bench.Line{Ratio: 0.1, Better: bench.More}, true},
		{bench.Line{Ratio: 9, Better: bench.Less}, true},
		{bench.Line{Ratio: 9, Better: bench.Less, Error: "a line that was not measured is not reported"}, false},
	} {
		assert.Equal(t, c.want, c.line.Met(), "%+v", c.line)
	}
}

// lines runs the rows that only selects, briefly, and reads what scripts would read.
func lines(t *testing.T, o bench.Options) ([]bench.Line, error) {
	t.Helper()
	var out bytes.Buffer
	o.Rounds, o.JSON, o.Out, o.Sample = 1, true, &out, cmp.Or(o.Sample, 20*time.Millisecond)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	_, err := bench.Run(t.Context(), o)
	var ls []bench.Line
	for text := range strings.Lines(out.String()) {
		var l bench.Line
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &fields))
		for _, name := range []string{
			"name", "metric", "a", "b", "ratio", "low", "high", "n", "goal", "better", "fs", "cache", "plan_share", "kernel", "error",
		} {
			assert.Contains(t, fields, name, "scripts read it, without a goal too")
		}
		ls = append(ls, l)
	}
	entries, dirErr := os.ReadDir(o.Dir)
	require.NoError(t, dirErr)
	for _, e := range entries {
		assert.NotContains(t, e.Name(), "uringfs-bench-", "left behind")
	}
	return ls, err
}

func measured(t *testing.T, l bench.Line) {
	t.Helper()
	assert.Empty(t, l.Error, "%s", l.Name)
	assert.Equal(t, bench.MinRounds, l.N, "fewer rounds than the least are not a measurement")
	assert.Positive(t, l.A, "%s %s", l.Name, l.Metric)
	assert.Positive(t, l.B, "%s %s", l.Name, l.Metric)
	assert.LessOrEqual(t, l.Low, l.Ratio)
	assert.GreaterOrEqual(t, l.High, l.Ratio)
	assert.NotEmpty(t, l.Kernel)
}

func TestHotReadLines(t *testing.T) {
	ls, err := lines(t, bench.Options{Only: "ring/hot-4k*"})
	require.NoError(t, err)
	require.Len(t, ls, 3)
	for i, name := range []string{"ring/hot-4k", "ring/hot-4k-ring", "ring/hot-4k-64g"} {
		assert.Equal(t, name, ls[i].Name)
		assert.Equal(t, "hot", ls[i].Cache)
		measured(t, ls[i])
	}
}

// TestRowsOnLoopDevices runs each row that makes a file system: with root it measures, and otherwise it says what it lacks.
func TestRowsOnLoopDevices(t *testing.T) {
	for _, c := range []struct {
		only, fs, cache string
		goals           map[string]float64
		sample          time.Duration
	}{
		{"ring/direct-4k-qd128", "xfs", "direct", map[string]float64{"ops": 2, "cpu_s_per_gib": 0}, 0},
		{"ring/open-close-batch", "ext4", "hot", map[string]float64{"ops": 1.2}, 0},
		{"ring/statx-batch", "ext4", "hot", map[string]float64{"ops": 0}, 0},
		{"ring/write-fsync-32", "ext4", "hot", map[string]float64{"ops": 2.5}, 0},
		// fio counts its CPU time in percent of a time that it measures coarsely.
		{"ring/vs-fio-qd32", "xfs", "direct", map[string]float64{"ops": 0.8, "cpu_s_per_gib": 0}, 300 * time.Millisecond},
	} {
		t.Run(filepath.Base(c.only), func(t *testing.T) {
			ls, err := lines(t, bench.Options{Only: c.only, Sample: c.sample})
			require.Len(t, ls, len(c.goals))
			if err != nil {
				require.ErrorIs(t, err, bench.ErrPrerequisite)
			}
			for _, l := range ls {
				goal, known := c.goals[l.Metric]
				assert.True(t, known, "%s", l.Metric)
				assert.InDelta(t, goal, l.Goal, 0)
				if err != nil {
					assert.Equal(t, err.Error(), l.Error)
					continue
				}
				measured(t, l)
				assert.Equal(t, c.fs, l.FS)
				assert.Equal(t, c.cache, l.Cache)
				assert.NotEmpty(t, l.Peers["loop device"])
			}
			if os.Geteuid() != 0 {
				assert.ErrorIs(t, err, bench.ErrPrerequisite, "it cannot mount")
			}
		})
	}
}

func TestGoLibIsAsked(t *testing.T) {
	ls, err := lines(t, bench.Options{Only: "ring/vs-go-lib"})
	require.ErrorIs(t, err, bench.ErrPrerequisite)
	assert.ErrorContains(t, err, "--go-lib")
	require.Len(t, ls, 2, "a peer that is missing is a line with an error, never a line left out")
	for _, l := range ls {
		assert.Equal(t, err.Error(), l.Error)
		assert.False(t, l.Met())
	}
	_, err = lines(t, bench.Options{Only: "ring/vs-go-lib", GoLib: filepath.Join(t.TempDir(), "no-such-program")})
	assert.ErrorIs(t, err, bench.ErrPrerequisite)
}

// peerProgram is a peer that was called as it must be and claims to have read so much.
func peerProgram(t *testing.T, line string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "peer")
	script := "#!/bin/sh\n[ -r \"$1\" ] && [ \"$2 $3 $4\" = '4096 128 20' ] || { echo \"called with $*\" >&2; exit 1; }\nprintf '%s\\n' '" + line + "'\n"
	require.NoError(t, os.WriteFile(name, []byte(script), 0o700))
	return name
}

func TestGoLibIsCalled(t *testing.T) {
	good := peerProgram(t, `{"module":"example.org/ring v1.2.3","reads":262144,"seconds":2,"cpu_seconds":0.5}`)
	ls, err := lines(t, bench.Options{Only: "ring/vs-go-lib", GoLib: good})
	if os.Geteuid() != 0 {
		require.ErrorIs(t, err, bench.ErrPrerequisite, "it cannot mount")
		return
	}
	require.Len(t, ls, 2)
	if errors.Is(err, bench.ErrPrerequisite) {
		require.NotContains(t, err.Error(), "--go-lib")
		return
	}
	for i, b := range []float64{131072, 0.5} {
		measured(t, ls[i])
		assert.InDelta(t, b, ls[i].B, 1e-9, "%s", ls[i].Metric)
		assert.Equal(t, "example.org/ring v1.2.3", ls[i].Peers["go module"])
	}
	for _, bad := range []string{`{"module":"x","reads":0,"seconds":2,"cpu_seconds":1}`, `{"reads":1,"seconds":2,"cpu_seconds":1}`, `fast`} {
		ls, err := lines(t, bench.Options{Only: "ring/vs-go-lib", GoLib: peerProgram(t, bad)})
		require.NoError(t, err)
		assert.Contains(t, ls[0].Error, "its line", bad)
	}
}

func TestTableSaysReported(t *testing.T) {
	var list bytes.Buffer
	bench.List(&list)
	assert.Contains(t, list.String(), "cpu_s_per_gib no goal, reported")
	assert.Contains(t, list.String(), "latency <= 2.6")
	var out bytes.Buffer
	met, err := bench.Run(t.Context(), bench.Options{Only: "ring/statx-batch", Out: &out, Dir: t.TempDir()})
	if err != nil {
		require.ErrorIs(t, err, bench.ErrPrerequisite)
		assert.Contains(t, out.String(), "not measured")
		return
	}
	assert.True(t, met, "what has no goal misses none")
	assert.Contains(t, out.String(), "  reported\n")
	assert.Contains(t, out.String(), "loop device: ")
	assert.NotContains(t, out.String(), "MISSED")
}

func TestOnlyMustMatch(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Options{Only: "no/such", Out: &bytes.Buffer{}})
	require.ErrorContains(t, err, "--list")
}
