//go:build linux

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEmbed builds a module outside of this one against it, as a user would, and runs it on each engine.
func TestEmbed(t *testing.T) {
	// A copy, beside which nothing of ours lies: what it needs is in its go.mod and in what that names.
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "embed")
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(dir, os.DirFS("embed")))
	build := func(name string, args ...string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	}
	build("go", "mod", "edit", "-replace", "github.com/uringfs/uringfs="+root)
	build("go", "vet", ".")
	build("go", "build", "-o", program, ".")

	onEngines(t, func(t *testing.T, engine string) {
		data := t.TempDir()
		cmd := exec.CommandContext(t.Context(), program, engine, data)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Run(), "%s", errs.String())
		assert.Equal(t, "engine "+engine+"\n"+
			"file of 11 bytes: hello, ring\n"+
			"batch of 128: 128 reports, 262144 bytes\n"+
			"queue of 8: 64 of 64 blocks right\n"+
			"fallbacks 0\n", out.String())
		left, err := os.ReadDir(data)
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}
