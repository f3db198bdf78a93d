package racelab_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/racelab"
)

func TestGoldenParseCase(t *testing.T) {
	const text = "target=uringfs:copy,path=copy,fs=xfs,cache=4k,window=sender-queue,mutation=punch-inside,mutator=smb,size=131072"
	got, err := racelab.ParseCase(text)
	require.NoError(t, err)
	assert.Equal(t, racelab.Case{
		Target: "uringfs:copy", Path: racelab.PathCopy, FS: racelab.FSXFS, Cache: racelab.CacheSmall,
		Window: racelab.WindowSender, Mutation: racelab.MutationPunchInside, Mutator: racelab.MutatorSMB, Size: 128 << 10,
	}, got)
	assert.Equal(t, text, got.String())
}

func TestParseCaseDefaults(t *testing.T) {
	got, err := racelab.ParseCase("path=unsafe-splice, mutation=overwrite")
	require.NoError(t, err)
	assert.Equal(t, "target=uringfs:unsafe-splice,path=unsafe-splice,fs=ext4,cache=large,window=receiver-queue,mutation=overwrite,mutator=mount,size=65536", got.String())

	got, err = racelab.ParseCase("target=bare,path=copy,mutation=none")
	require.NoError(t, err)
	assert.Equal(t, "bare:copy", got.Target)
	assert.Equal(t, racelab.MutatorBacking, got.Mutator, "the only one that the bare target has")
}

func TestParseCaseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                        "",
		"a word":                         "overwrite",
		"an unknown field":               "path=copy,mutation=none,colour=red",
		"a field twice":                  "path=copy,path=copy,mutation=none",
		"no path":                        "mutation=none",
		"no mutation":                    "path=copy",
		"an unknown path":                "path=teleport,mutation=none",
		"an unknown mutation":            "path=copy,mutation=burn",
		"an unknown mutator":             "path=copy,mutation=none,mutator=gremlin",
		"an unknown window":              "path=copy,mutation=none,window=barn-door",
		"an unknown cache":               "path=copy,mutation=none,cache=huge",
		"an unknown target":              "target=smbx,path=copy,mutation=none",
		"a target of another path":       "target=uringfs:copy,path=unsafe-splice,mutation=none",
		"a mount for the bare target":    "target=bare,path=copy,mutation=none,mutator=mount",
		"a size that is not whole pages": "path=copy,mutation=none,size=65537",
		"a size too small to cut":        "path=copy,mutation=none,size=4096",
		"a size beyond the bound":        "path=copy,mutation=none,size=2097152",
		"a size that is not a number":    "path=copy,mutation=none,size=big",
	} {
		_, err := racelab.ParseCase(text)
		assert.ErrorIs(t, err, racelab.ErrCase, "%s: %q", name, text)
	}
}

func FuzzParseCase(f *testing.F) {
	for _, c := range racelab.Plan("uringfs", racelab.DefaultPaths(), racelab.FSExt4) {
		f.Add(c.String())
	}
	f.Add("target=bare,path=copy,mutation=none")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := racelab.ParseCase(text)
		if err != nil {
			require.ErrorIs(t, err, racelab.ErrCase)
			return
		}
		again, err := racelab.ParseCase(c.String())
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}

func TestPlan(t *testing.T) {
	for _, fs := range []racelab.FS{racelab.FSExt4, racelab.FSXFS, racelab.FSBtrfs, racelab.FSTmpfs} {
		plan := racelab.Plan("uringfs", racelab.DefaultPaths(), fs)
		seen := make(map[string]bool)
		for _, c := range plan {
			text := c.String()
			assert.False(t, seen[text], "twice: %s", text)
			seen[text] = true
			require.NoError(t, c.Check())
			back, err := racelab.ParseCase(text)
			require.NoError(t, err)
			assert.Equal(t, c, back)
			for _, folio := range []racelab.Folio{racelab.FolioUnknown, racelab.FolioLarge, racelab.FolioSmall} {
				expect := racelab.Expect(c, folio)
				assert.NotEmpty(t, expect, "no expectation for %s over %v folios", text, folio)
				if c.Path == racelab.PathCopy || c.Mutation == racelab.MutationNone {
					assert.Equal(t, []racelab.Verdict{racelab.Old}, expect, text)
				} else if c.Mutation == racelab.MutationOverwrite {
					assert.Equal(t, []racelab.Verdict{racelab.New}, expect, text)
				}
			}
		}
		// The table: both paths, three mutators, both cache states, and each of these changes.
		for _, want := range []string{"mutation=none", "mutation=overwrite", "mutation=truncate,", "mutation=punch,", "mutation=punch-inside"} {
			n := 0
			for text := range seen {
				if strings.Contains(text, want) && strings.Contains(text, "window=receiver-queue") {
					n++
				}
			}
			assert.Equal(t, 2*3*2, n, want)
		}
	}
}

func TestExpectIsTheUnionWhereFoliosAreUnknown(t *testing.T) {
	c, err := racelab.ParseCase("path=unsafe-splice,mutation=truncate")
	require.NoError(t, err)
	assert.Equal(t, []racelab.Verdict{racelab.Zero}, racelab.Expect(c, racelab.FolioLarge))
	assert.Equal(t, []racelab.Verdict{racelab.Old}, racelab.Expect(c, racelab.FolioSmall))
	assert.ElementsMatch(t, []racelab.Verdict{racelab.Zero, racelab.Old}, racelab.Expect(c, racelab.FolioUnknown))
	c.FS = "zfs"
	assert.Nil(t, racelab.Expect(c, racelab.FolioLarge), "nothing was measured there")
}
