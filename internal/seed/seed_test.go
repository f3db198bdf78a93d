package seed_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/seed"
)

// fakeT is a test that the real one watches fail.
type fakeT struct {
	name    string
	failed  bool
	cleanup []func()
	log     []string
	fatal   string
}

func (t *fakeT) Helper()                      {}
func (t *fakeT) Name() string                 { return t.name }
func (t *fakeT) Failed() bool                 { return t.failed }
func (t *fakeT) Cleanup(f func())             { t.cleanup = append(t.cleanup, f) }
func (t *fakeT) Logf(format string, a ...any) { t.log = append(t.log, fmt.Sprintf(format, a...)) }
func (t *fakeT) Fatalf(format string, a ...any) {
	t.fatal = fmt.Sprintf(format, a...)
	panic(t)
}

func (t *fakeT) end() string {
	for _, f := range t.cleanup {
		f()
	}
	return strings.Join(t.log, "\n")
}

func TestFromTestPrintsHowToRepeat(t *testing.T) {
	const pkg = "github.com/uringfs/uringfs/internal/seed"
	t.Run("a failure names seed, test and package", func(t *testing.T) {
		t.Setenv(seed.Env, "0x2a")
		f := &fakeT{name: "TestX/a_case_(2)"}
		seed.FromTest(f)
		f.failed = true
		assert.Equal(t, `repeat: URINGFS_SEED=42 go test -run '^TestX$/^a_case_\(2\)$' `+pkg, f.end())
	})
	t.Run("a success says nothing", func(t *testing.T) {
		t.Setenv(seed.Env, "")
		f := &fakeT{name: "TestX"}
		seed.FromTest(f)
		assert.Empty(t, f.end())
	})
	t.Run("a bad seed stops the test", func(t *testing.T) {
		t.Setenv(seed.Env, "-1")
		f := &fakeT{name: "TestX"}
		require.Panics(t, func() { seed.FromTest(f) })
		assert.Contains(t, f.fatal, "URINGFS_SEED")
	})
}

func TestSeedDecidesTheStream(t *testing.T) {
	draw := func(rng *rand.Rand) (out [8]uint64) {
		for i := range out {
			out[i] = rng.Uint64()
		}
		return out
	}
	t.Setenv(seed.Env, "")
	assert.Equal(t, draw(seed.New(seed.Default)), draw(seed.FromTest(t)), "the default")
	t.Setenv(seed.Env, "77")
	assert.Equal(t, draw(seed.New(77)), draw(seed.FromTest(t)))
	assert.NotEqual(t, draw(seed.New(1)), draw(seed.New(2)))
	// Published seeds mean this stream; it may never change.
	assert.Equal(t, uint64(7871437228242056218), seed.New(1).Uint64())
}
