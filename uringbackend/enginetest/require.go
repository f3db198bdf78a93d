//go:build linux

package enginetest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// Require skips the test if the kernel lacks an ability. It is the only way to skip, and the claim is checked: No on
// a kernel at least as new as the ability fails the test instead, unless no release has it. Abilities that a file system
// decides (direct I/O alignment, uncached I/O) can be missing on a new kernel; ask for those with RequireHere.
func Require(t *testing.T, a uringbackend.Ability) {
	t.Helper()
	switch a.Answer {
	case uringbackend.Yes:
		return
	case uringbackend.No:
		if a.Since != "none" && (a.Since == "" || !OlderKernel(t, a.Since)) {
			t.Fatalf("kernel %s lacks an ability that came with %q: %v", Release(t), a.Since, a.Why)
		}
	default:
	}
	t.Skipf("needs a kernel of %s; answer %s: %v", a.Since, a.Answer, a.Why)
}

// RequireHere is Require for what the file system of the test decides: No skips on any kernel.
func RequireHere(t *testing.T, a uringbackend.Ability) {
	t.Helper()
	if a.Answer != uringbackend.Yes {
		t.Skipf("needs a kernel of %s and a file system with it; answer %s: %v", a.Since, a.Answer, a.Why)
	}
}

// OlderKernel says whether the kernel that runs is older than a release such as "6.0".
func OlderKernel(t *testing.T, than string) bool {
	t.Helper()
	return older(Release(t), than)
}

// Release is the kernel's, uname(2).
func Release(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	return unix.ByteSliceToString(u.Release[:])
}

// older compares kernel releases by their first two numbers.
func older(release, than string) bool {
	a, b := version(release), version(than)
	if a[0] != b[0] {
		return a[0] < b[0]
	}
	return a[1] < b[1]
}

func version(s string) (v [2]int) {
	for i, part := range strings.SplitN(s, ".", 3) {
		if i == len(v) {
			break
		}
		digits := strings.IndexFunc(part+"x", func(r rune) bool { return r < '0' || r > '9' })
		v[i], _ = strconv.Atoi(part[:digits]) // no digits: 0
	}
	return v
}
