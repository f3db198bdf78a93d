//go:build linux

package fusefs_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/fusefs"
)

func TestGoldenParseCoherence(t *testing.T) {
	for text, want := range map[string]fusefs.Coherence{
		"": fusefs.CoherenceStrict, "strict": fusefs.CoherenceStrict, "server": fusefs.CoherenceServer, "cached": fusefs.CoherenceCached,
	} {
		got, err := fusefs.ParseCoherence(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	_, err := fusefs.ParseCoherence("Strict")
	assert.ErrorContains(t, err, "want strict, server or cached")
}

func FuzzCoherence(f *testing.F) {
	f.Add("strict")
	f.Add("nonsense")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := fusefs.ParseCoherence(s)
		if err != nil {
			assert.Empty(t, c)
			return
		}
		again, err := fusefs.ParseCoherence(string(c))
		require.NoError(t, err)
		assert.Equal(t, c, again)
	})
}

func TestMountRefusesPassthrough(t *testing.T) {
	_, err := fusefs.Mount(t.Context(), t.TempDir(), fusefs.Config{Passthrough: true})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
