//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is uringfs built with the race detector: what the tests run.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if role := os.Getenv(roleEnv); role != "" {
		return play(role, os.Args[1:]) // a helper process
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "e2e needs root: it mounts file systems and changes users")
		return 1
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e needs the fuse module:", err)
		return 1
	}
	for tool, pkg := range map[string]string{"smbclient": "smbclient", "fusermount3": "fuse3", "mkfs.ext4": "e2fsprogs"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "e2e needs %s, from the package %s; run ./setup\n", tool, pkg)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "uringfs-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // one test runs the binary as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "uringfs")
	build := exec.Command("go", "build", "-race", "-o", binary, "../cmd/uringfs")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		return 1
	}
	if extra, err = parseExtra(os.Getenv(flagsEnv)); err != nil {
		fmt.Fprintln(os.Stderr, flagsEnv+":", err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "e2e variant:", variant())
	return m.Run()
}
