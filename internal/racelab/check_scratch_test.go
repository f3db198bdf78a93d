//go:build linux

package racelab

// Inside the package: what a killed run leaves behind cannot be made from outside.

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSweepRemovesOnlyDeadRuns(t *testing.T) {
	parent := t.TempDir()
	run := func(name string) (dir string, lock *os.File) {
		dir = filepath.Join(parent, scratchPrefix+name)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "fs", "backing"), 0o700))
		lock, err := lockDir(dir)
		require.NoError(t, err)
		return dir, lock
	}
	alive, lock := run("alive")
	defer lock.Close()
	dead, lock := run("dead")
	require.NoError(t, lock.Close()) // the kernel does this for a killed process
	young := filepath.Join(parent, scratchPrefix+"young")
	require.NoError(t, os.Mkdir(young, 0o700))
	other := filepath.Join(parent, "other")
	require.NoError(t, os.Mkdir(other, 0o700))

	require.NoError(t, sweep(parent))
	assert.DirExists(t, alive)
	assert.DirExists(t, young, "its lock may not be there yet")
	assert.DirExists(t, other)
	assert.NoDirExists(t, dead)
}

func TestScratchOnTmpfs(t *testing.T) {
	if fsOf(sharedMemory) != FSTmpfs {
		t.Fatalf("%s is %s; every Linux that this lab runs on has a tmpfs there", sharedMemory, fsOf(sharedMemory))
	}
	s, err := newScratch(t.Context(), "", FSTmpfs)
	require.NoError(t, err)
	assert.Equal(t, FSTmpfs, fsOf(s.fsDir))
	assert.False(t, s.mounted, "needs no privilege")
	dir, err := s.mkdir("mnt")
	require.NoError(t, err)
	assert.DirExists(t, dir)
	require.NoError(t, s.Close())
	assert.NoDirExists(t, s.dir)
}
