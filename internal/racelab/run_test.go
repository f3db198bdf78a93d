//go:build linux

package racelab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/racelab"
)

// bare runs a plan against the bare target on tmpfs, which needs no privilege.
func bare(t *testing.T, o racelab.Options) (racelab.Summary, string, []map[string]any) {
	t.Helper()
	var table, lines bytes.Buffer
	o.Targets, o.FS, o.Out, o.JSON = []string{"bare"}, "tmpfs", &table, &lines
	s, err := racelab.Run(t.Context(), o)
	require.NoError(t, err)
	var rows []map[string]any
	for line := range strings.Lines(lines.String()) {
		var row map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		rows = append(rows, row)
	}
	return s, table.String(), rows
}

func TestLabSeesTheKernelsRace(t *testing.T) {
	s, table, rows := bare(t, racelab.Options{Seed: 1})
	require.Equal(t, racelab.Held, s.Outcome, table)
	require.NotEmpty(t, rows)
	seen := make(map[racelab.Verdict]int)
	for i, r := range s.Results {
		assert.True(t, r.Proof.Open, r.Case)
		for _, reading := range []racelab.Reading{r.Proof.Before, r.Proof.After} {
			// Bytes received and not yet acknowledged count twice; none is anywhere else.
			assert.GreaterOrEqual(t, reading.FIONREAD+reading.SIOCOUTQ, reading.Expected, r.Case)
		}
		assert.Equal(t, 4+64+16+racelab.DefaultSize, r.Proof.After.Expected, r.Case)
		assert.Equal(t, string(r.Path), r.Plan)
		assert.Contains(t, r.Expect, r.Verdict, r.Case)
		assert.Len(t, r.Pages, r.Size/4096)
		if r.Path == racelab.PathUnsafeSplice {
			seen[r.Verdict]++
		} else {
			assert.Equal(t, racelab.Old, r.Verdict, r.Case)
		}
		for _, key := range []string{
			"case", "target", "path", "plan", "fs", "cache", "size", "mutator", "mutation", "window", "claim", "verdict",
			"expect", "pages", "proof", "attempts", "seed", "times",
		} {
			assert.Contains(t, rows[i], key)
		}
		assert.Equal(t, r.Case, rows[i]["case"])
	}
	assert.Positive(t, seen[racelab.New], "an overwrite in flight shows")
	assert.Positive(t, seen[racelab.Zero], "a hole inside a page shows")
	assert.Positive(t, seen[racelab.Torn], "a cut inside a page shows in that page")
	assert.Positive(t, seen[racelab.Old], "none stays none")
	assert.Contains(t, table, "65,620 B in client's queue, 0 unsent")
}

func TestOneSeedGivesOneResult(t *testing.T) {
	strip := func(rows []map[string]any) []map[string]any {
		for _, row := range rows {
			for _, key := range []string{"times", "proof", "attempts"} {
				delete(row, key)
			}
		}
		return rows
	}
	_, _, first := bare(t, racelab.Options{Seed: 4})
	_, _, second := bare(t, racelab.Options{Seed: 4})
	assert.Equal(t, strip(first), strip(second))
}

func TestOneCell(t *testing.T) {
	const text = "target=bare:unsafe-splice,path=unsafe-splice,fs=tmpfs,cache=dirty,window=sender-queue,mutation=overwrite,mutator=backing,size=262144"
	s, err := racelab.Run(t.Context(), racelab.Options{Case: text, Seed: 3})
	require.NoError(t, err)
	require.Len(t, s.Results, 1)
	assert.Equal(t, text, s.Results[0].Case)
	assert.Equal(t, racelab.New, s.Results[0].Verdict, s.Results[0].Note)
}

func TestRunLeavesNothing(t *testing.T) {
	left := func() []string {
		names, err := filepath.Glob("/dev/shm/uringfs-race-*")
		require.NoError(t, err)
		return names
	}
	before := left()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := racelab.Run(ctx, racelab.Options{Targets: []string{"bare"}, FS: "tmpfs", JSON: cancelWriter{cancel}})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Subset(t, before, left(), "a cancelled run has removed its directory")
}

// cancelWriter ends a run with its first row.
type cancelWriter struct{ cancel func() }

func (w cancelWriter) Write(p []byte) (int, error) {
	w.cancel()
	return len(p), nil
}

func TestRunRefuses(t *testing.T) {
	for name, o := range map[string]racelab.Options{
		"a bad case":         {Case: "path=copy"},
		"an unknown path":    {Paths: []string{"teleport"}},
		"an unknown target":  {Targets: []string{"smbx"}},
		"an unknown target:": {Targets: []string{"bare:teleport"}},
	} {
		_, err := racelab.Run(t.Context(), o)
		assert.ErrorIs(t, err, racelab.ErrCase, name)
	}
	_, err := racelab.Run(t.Context(), racelab.Options{Targets: []string{"bare"}, FS: "zfs"})
	assert.ErrorIs(t, err, racelab.ErrPrerequisite)
}

func TestTargetThatDoesNotStart(t *testing.T) {
	_, err := racelab.Run(t.Context(), racelab.Options{FS: "tmpfs", Executable: filepath.Join(t.TempDir(), "missing")})
	assert.ErrorIs(t, err, os.ErrNotExist)
}
