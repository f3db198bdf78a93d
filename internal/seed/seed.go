package seed

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// Env names the environment variable that [FromTest] and [FromEnv] read.
const Env = "URINGFS_SEED"

// Default is the seed when the environment names none.
const Default uint64 = 1

// stream is PCG's second state word: any constant, but fixed for ever,
// because a published seed means this stream.
const stream = 0x7572696e676673 // "uringfs"

// T is the part of testing.TB that FromTest needs.
type T interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(f func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// New returns the generator of seed n. It is for one goroutine at a time;
// give each goroutine its own, with a seed drawn from the parent's.
func New(n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(n, stream))
}

// FromEnv returns the seed in URINGFS_SEED, or [Default] if it is unset or empty.
// The value is decimal, or hexadecimal after 0x.
func FromEnv() (uint64, error) {
	text := os.Getenv(Env)
	if text == "" {
		return Default, nil
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", Env, err)
	}
	return n, nil
}

// FromTest returns the generator of the seed in URINGFS_SEED (or [Default]) and
// arranges that a failing test logs the line that repeats it. It must be called
// from a function of the package under test, so that the line names that package.
func FromTest(t T) *rand.Rand {
	t.Helper()
	n, err := FromEnv()
	if err != nil {
		t.Fatalf("%v", err)
	}
	pkg := callerPackage()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat: %s=%d go test -run '%s' %s", Env, n, runPattern(t.Name()), pkg)
		}
	})
	return New(n)
}

// runPattern anchors each level of a test name; -run splits it at slashes.
func runPattern(name string) string {
	levels := strings.Split(name, "/")
	for i, level := range levels {
		levels[i] = "^" + regexp.QuoteMeta(level) + "$"
	}
	return strings.Join(levels, "/")
}

// callerPackage returns the import path of FromTest's caller. An external test
// package reports itself as path_test, which is not something go test accepts.
func callerPackage() string {
	pc, _, _, ok := runtime.Caller(2)
	if !ok {
		return "."
	}
	name := runtime.FuncForPC(pc).Name()
	slash := strings.LastIndexByte(name, '/') + 1
	dot := strings.IndexByte(name[slash:], '.')
	if dot < 0 {
		return "."
	}
	return strings.TrimSuffix(name[:slash+dot], "_test")
}
