package bench_test

import (
	"bytes"
	"encoding/json"
	"testing"

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
	} {
		assert.Equal(t, c.want, c.line.Met(), "%+v", c.line)
	}
}

func TestHotReadLine(t *testing.T) {
	var out bytes.Buffer
	_, err := bench.Run(t.Context(), bench.Options{Only: "ring/*", Rounds: 1, JSON: true, Out: &out, Dir: t.TempDir()})
	require.NoError(t, err)
	var l bench.Line
	require.NoError(t, json.Unmarshal(out.Bytes(), &l))
	var fields map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &fields))
	for _, name := range []string{
		"name", "metric", "a", "b", "ratio", "low", "high", "n", "goal", "better", "fs", "cache", "plan_share", "kernel", "error",
	} {
		assert.Contains(t, fields, name, "scripts read it")
	}
	assert.Equal(t, "ring/hot-4k-ring", l.Name)
	assert.Equal(t, bench.MinRounds, l.N, "fewer rounds than the least are not a measurement")
	assert.Empty(t, l.Error)
	assert.Positive(t, l.A)
	assert.Positive(t, l.B)
	assert.LessOrEqual(t, l.Low, l.Ratio)
	assert.GreaterOrEqual(t, l.High, l.Ratio)
}

func TestOnlyMustMatch(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Options{Only: "no/such", Out: &bytes.Buffer{}})
	require.ErrorContains(t, err, "--list")
}
