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
		{"/etc", 1, []place{{8, 1, "/etc", false}}},
		{"/", 1, []place{{8, 1, "/", false}}},
		{"/home/user", 2, []place{{8, 2, "/user", false}, {8, 1, "/home", false}}},
		{"/home", 2, []place{{8, 2, "/", false}, {8, 1, "/home", false}}},
		{"/bind/x", 3, []place{{8, 2, "/user/data/x", false}, {8, 1, "/bind", false}}},
		{"/bind/tmp/y", 4, []place{{0, 44, "/y", false}, {8, 2, "/user/data/tmp", false}, {8, 1, "/bind", false}}},
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
		{place{8, 1, "/a", false}, place{8, 1, "/a", false}, true},
		{place{8, 1, "/a/b", false}, place{8, 1, "/a", false}, true},
		{place{8, 1, "/ab", false}, place{8, 1, "/a", false}, false},
		{place{8, 1, "/a", false}, place{8, 1, "/a/b", false}, false},
		{place{8, 1, "/a", false}, place{8, 1, "/", false}, true},
		{place{8, 1, "/a/b", false}, place{8, 2, "/a", false}, false},
		{place{8, 1, "/a/b", false}, place{9, 1, "/a", false}, false},
	} {
		got, err := test.p.beneath(test.q)
		require.NoError(t, err)
		assert.Equal(t, test.want, got, "%v beneath %v", test.p, test.q)
	}
}

// TestPlacesInAChroot: where the table lacks the mount of "/", paths beneath it compare among themselves, and with nothing else
// on their file system.
func TestPlacesInAChroot(t *testing.T) {
	mounts := []supervise.Mount{
		{ID: 26, Parent: 26, Major: 8, Minor: 1, Point: "/"},
		{ID: 30, Parent: 26, Major: 8, Minor: 1, Root: "/jail/data/sub", Point: "/bind"},
		{ID: 31, Parent: 26, Major: 0, Minor: 44, Root: "/", Point: "/tmp"},
	}
	at := func(name string, id int) place {
		places, err := placesOf(name, id, mounts)
		require.NoError(t, err)
		return places[0]
	}
	data, within, bound, tmp := at("/data", 26), at("/data/sub/mnt", 26), at("/bind/mnt", 30), at("/tmp/mnt", 31)
	for _, test := range []struct {
		p, q place
		want bool
	}{{within, data, true}, {data, within, false}, {tmp, data, false}, {data, tmp, false}} {
		got, err := test.p.beneath(test.q)
		require.NoError(t, err)
		assert.Equal(t, test.want, got, "%v beneath %v", test.p, test.q)
	}
	_, err := bound.beneath(data)
	require.ErrorIs(t, err, errChroot)
	_, err = data.beneath(bound)
	require.ErrorIs(t, err, errChroot)
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
