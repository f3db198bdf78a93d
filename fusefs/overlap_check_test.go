//go:build linux

package fusefs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/supervise"
)

func TestPlaces(t *testing.T) {
	mounts := []supervise.Mount{
		{ID: 1, Parent: 0, Major: 8, Minor: 1, Root: "/", Point: "/"},
		{ID: 2, Parent: 1, Major: 8, Minor: 2, Root: "/", Point: "/home"},
		{ID: 3, Parent: 1, Major: 8, Minor: 2, Root: "/user/data", Point: "/bind"}, // a bind mount of part of /home
		{ID: 4, Parent: 3, Major: 0, Minor: 44, Root: "/", Point: "/bind/tmp"},
	}
	for _, test := range []struct {
		name string
		id   int
		want []place
	}{
		{"/etc", 1, []place{{8, 1, "/etc"}}},
		{"/", 1, []place{{8, 1, "/"}}},
		{"/home/user", 2, []place{{8, 2, "/user"}, {8, 1, "/home"}}},
		{"/home", 2, []place{{8, 2, "/"}, {8, 1, "/home"}}},
		{"/bind/x", 3, []place{{8, 2, "/user/data/x"}, {8, 1, "/bind"}}},
		{"/bind/tmp/y", 4, []place{{0, 44, "/y"}, {8, 2, "/user/data/tmp"}, {8, 1, "/bind"}}},
	} {
		got, err := placesOf(test.name, test.id, mounts)
		require.NoError(t, err, test.name)
		assert.Equal(t, test.want, got, test.name)
	}
	_, err := placesOf("/homeless", 2, mounts)
	assert.ErrorContains(t, err, "is not beneath its mount point")
	_, err = placesOf("/x", 99, mounts)
	assert.ErrorContains(t, err, "not in the mount table")
}

func TestBeneath(t *testing.T) {
	for _, test := range []struct {
		p, q place
		want bool
	}{
		{place{8, 1, "/a"}, place{8, 1, "/a"}, true},
		{place{8, 1, "/a/b"}, place{8, 1, "/a"}, true},
		{place{8, 1, "/ab"}, place{8, 1, "/a"}, false},
		{place{8, 1, "/a"}, place{8, 1, "/a/b"}, false},
		{place{8, 1, "/a"}, place{8, 1, "/"}, true},
		{place{8, 1, "/a/b"}, place{8, 2, "/a"}, false},
		{place{8, 1, "/a/b"}, place{9, 1, "/a"}, false},
	} {
		assert.Equal(t, test.want, test.p.beneath(test.q), "%v beneath %v", test.p, test.q)
	}
}

func TestCheckOverlapOfRealDirectories(t *testing.T) {
	top := t.TempDir()
	open := func(path string) int {
		t.Helper()
		require.NoError(t, unix.Mkdir(path, 0o755))
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	backing, beneath, beside := open(top+"/backing"), open(top+"/backing/mnt"), open(top+"/backing-too")
	assert.ErrorContains(t, checkOverlap(backing, beneath), "choose a mount point outside")
	assert.ErrorContains(t, checkOverlap(beneath, backing), "an empty directory of its own")
	assert.ErrorIs(t, checkOverlap(backing, backing), unix.EINVAL)
	assert.NoError(t, checkOverlap(backing, beside))
	assert.NoError(t, checkOverlap(beside, backing))
}
