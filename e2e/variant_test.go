//go:build linux

package e2e_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/uringfs/uringfs/internal/ctl"
)

// flagsEnv holds flags for every server and lab that the tests start, as "--engine-policy ring --loop netpoll".
const flagsEnv = "URINGFS_E2E_FLAGS"

// extra are the flags of flagsEnv by command. Set once, before the tests.
var extra map[string][]string

// variant is what the tests run with, for people.
func variant() string { return cmp.Or(strings.TrimSpace(os.Getenv(flagsEnv)), "as shipped") }

// policy is the --engine-policy that servers run with.
func policy() string {
	if flags := extra["serve"]; slices.Contains(flags, "--engine-policy=ring") {
		return "ring"
	}
	return "auto"
}

// serving is the command line of a server or the lab: args, then those flags of flagsEnv that its command knows.
func serving(args ...string) []string { return append(slices.Clip(args), extra[args[0]]...) }

// checkRoads judges by which road the operations of a server went: those that the policy gives the ring took nothing else.
func checkRoads(t *testing.T, st ctl.Status, engine string) {
	t.Helper()
	assert.Equal(t, engine, st.Engine.Name)
	assert.Empty(t, st.Engine.Fallbacks, "the kernel has it all")
	if engine != "ring" {
		assert.Empty(t, st.Engine.Ring)
		return
	}
	verbs := []string{"fsync"} // small writes are calls, uringbackend/policy.go
	if policy() == "ring" {
		for _, verb := range []string{"statx", "openat2"} {
			assert.Positive(t, st.Engine.Ring[verb], "nothing went through the ring")
		}
		// Not what makes files: the umask of the process's threads would be in the way (Op.Creds).
		verbs = append(verbs, "read_at", "write_at", "close", "statx", "linkat", "unlinkat", "renameat2", "ftruncate", "fallocate", "fgetxattr", "fsetxattr")
	}
	for _, verb := range verbs {
		assert.Zero(t, st.Engine.Syscall[verb], "%s is the ring's: %v", verb, st.Engine.Syscall)
	}
}

// parseExtra reads flagsEnv. A flag that no command has is an error; one that only some have goes to those.
func parseExtra(text string) (map[string][]string, error) {
	out := map[string][]string{}
	var flags []string // as --flag=value
	for word := range strings.FieldsSeq(text) {
		switch {
		case strings.HasPrefix(word, "--"):
			flags = append(flags, word)
		case len(flags) == 0 || strings.Contains(flags[len(flags)-1], "="):
			return nil, fmt.Errorf("%q belongs to no flag", word)
		default:
			flags[len(flags)-1] += "=" + word
		}
	}
	known := map[string]bool{}
	for _, command := range []string{"serve", "mount", "smb", "race"} {
		help, err := exec.Command(binary, command, "--help").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s --help: %w: %s", command, err, help)
		}
		for _, flag := range flags {
			name, _, _ := strings.Cut(flag, "=")
			if regexp.MustCompile(`(?m)^ .*` + regexp.QuoteMeta(name) + `(\s|$)`).Match(help) {
				out[command] = append(out[command], flag)
				known[flag] = true
			}
		}
	}
	for _, flag := range flags {
		if !known[flag] {
			return nil, fmt.Errorf("no command has %s", flag)
		}
	}
	return out, nil
}
