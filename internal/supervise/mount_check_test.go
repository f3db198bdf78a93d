//go:build linux

package supervise

// Internal: the parser has no exported face, because the kernel is its only writer.

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGoldenMountinfo(t *testing.T) {
	const table = "22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n" +
		"36 22 0:31 /sub\\040dir /mnt/a\\040b\\134c\\012d rw master:2 propagate_from:1 - fuse.uringfs /data\\011x rw,user_id=0,group_id=0\n" +
		"40 36 0:32 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n"
	ms, err := parseMountinfo([]byte(table))
	require.NoError(t, err)
	assert.Equal(t, []Mount{
		{ID: 22, Parent: 1, Major: 252, Minor: 1, Root: "/", Point: "/", Options: "rw,relatime", FSType: "ext4", Source: "/dev/vda1", SuperOptions: "rw,errors=remount-ro"},
		{ID: 36, Parent: 22, Major: 0, Minor: 31, Root: "/sub dir", Point: "/mnt/a b\\c\nd", Options: "rw", FSType: "fuse.uringfs", Source: "/data\tx", SuperOptions: "rw,user_id=0,group_id=0"},
		{ID: 40, Parent: 36, Major: 0, Minor: 32, Root: "/", Point: "/sys/fs/fuse/connections", Options: "rw", FSType: "fusectl", Source: "fusectl", SuperOptions: "rw"},
	}, ms)
	assert.False(t, ms[0].IsFUSE())
	assert.True(t, ms[1].IsFUSE())
	assert.False(t, ms[2].IsFUSE())
}

func TestMountinfoRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, line := range []string{
		"\n",
		"22 1 252:1 / / rw,relatime shared:1 ext4 /dev/vda1 rw\n",
		"22 1 252 / / rw - ext4 /dev/vda1 rw\n",
		"x 1 252:1 / / rw - ext4 /dev/vda1 rw\n",
		"22 1 252:1 / - ext4 /dev/vda1 rw\n",
	} {
		_, err := parseMountinfo([]byte(line))
		assert.ErrorIs(t, err, syscall.EINVAL, "%q", line)
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add([]byte("22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"))
	f.Add([]byte("36 22 0:31 /sub\\040dir /mnt/a\\134 rw - fuse.uringfs /data rw\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := parseMountinfo(b)
		if err != nil {
			assert.ErrorIs(t, err, syscall.EINVAL)
			return
		}
		for _, m := range ms {
			assert.NotContains(t, m.FSType, " ")
		}
	})
}

func TestMountAtSeesProc(t *testing.T) {
	m, err := MountAt("/proc") // "/" is no mount point in a chroot
	require.NoError(t, err)
	assert.Equal(t, "/proc", m.Point)
	assert.Equal(t, "proc", m.FSType)
	assert.False(t, m.IsFUSE())
}

func TestAPlainDirectoryIsNoMount(t *testing.T) {
	dir := t.TempDir()
	_, err := MountAt(dir)
	assert.ErrorIs(t, err, ErrNotMounted)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	stale, err := Stale(ctx, dir)
	assert.NoError(t, err)
	assert.False(t, stale)
	assert.ErrorIs(t, AbortMount(dir), ErrNotMounted)
	assert.ErrorIs(t, Unmount(dir), ErrNotMounted)
	assert.ErrorIs(t, UnmountIdle(dir), ErrNotMounted)
	assert.NoError(t, Clear(dir), "nothing to clear")
	assert.ErrorContains(t, AbortMount("/proc"), "no FUSE connection")
}

func TestMountPathFollowsParentsOnly(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkdir(dir+"/real", 0o755))
	require.NoError(t, syscall.Symlink(dir+"/real", dir+"/link"))
	p, err := mountPath(dir + "/link/./mnt")
	require.NoError(t, err)
	assert.Equal(t, dir+"/real/mnt", p)
	p, err = mountPath(dir + "/link")
	require.NoError(t, err)
	assert.Equal(t, dir+"/link", p, "the last component may be a dead mount and is not looked up")
}
