//go:build linux

package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// The cases act as other users where the process may; as an ordinary user they hold that it is refused.
var credsCases = []Case{
	{"CredsOwner", asRoot(testCredsOwner)},
	{"CredsDenied", asRoot(testCredsDenied)},
	{"CredsGroups", asRoot(testCredsGroups)},
	{"CredsChecked", asRoot(testCredsChecked)},
	{"CredsBatch", asRoot(testCredsBatch)},
	{"CredsConcurrent", asRoot(testCredsConcurrent)},
	{"CredsUnbounded", asRoot(testCredsUnbounded)},
	{"CredsOwn", testCredsOwn},
	{"CredsEndedContext", testCredsEndedContext},
}

const (
	uid      = 1001
	gid      = 1002
	member   = 1004 // a supplementary group of user
	stranger = 2001
)

// user has its groups in no order, and one twice.
func user() *uringbackend.Creds {
	return &uringbackend.Creds{Valid: true, UID: uid, GID: gid, Groups: []uint32{member, 1003, member}}
}

func asRoot(run func(t *testing.T, e uringbackend.Engine)) func(t *testing.T, e uringbackend.Engine) {
	return func(t *testing.T, e uringbackend.Engine) {
		t.Helper()
		if os.Geteuid() != 0 {
			testCredsRefused(t, e)
			return
		}
		run(t, e)
		ThreadsClean(t)
	}
}

// testCredsRefused: a process without privilege can be nobody but itself, and nothing is done as somebody else.
func testCredsRefused(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	e = e.As(user())
	_, err := e.Openat2(background(), dir, "f", newFile(0o600))
	assert.Equal(t, unix.EPERM, err)
	assert.Equal(t, unix.EPERM, e.Mkdirat(background(), uringbackend.At{Dir: dir, Name: "d"}, 0o700))
	left, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Empty(t, left)
	ThreadsClean(t)
}

func newFile(mode uint64) unix.OpenHow {
	return unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: mode}
}

// creators are the verbs that make an inode; each returns what it made, as O_PATH or better.
var creators = map[string]func(e uringbackend.Engine, dir int, name string) error{
	"openat2": func(e uringbackend.Engine, dir int, name string) error {
		fd, err := e.Openat2(background(), dir, name, newFile(0o664))
		if err != nil {
			return err
		}
		return e.CloseFD(background(), fd) // KindClose does not look at credentials
	},
	"mkdirat": func(e uringbackend.Engine, dir int, name string) error {
		return e.Mkdirat(background(), uringbackend.At{Dir: dir, Name: name}, 0o775)
	},
	"mknodat": func(e uringbackend.Engine, dir int, name string) error {
		return e.Mknodat(background(), uringbackend.At{Dir: dir, Name: name}, unix.S_IFIFO|0o664, 0)
	},
	"symlinkat": func(e uringbackend.Engine, dir int, name string) error {
		return e.Symlinkat(background(), "target", uringbackend.At{Dir: dir, Name: name})
	},
}

// subdirectory makes a directory of root with this group and mode.
func subdirectory(t *testing.T, parent, name string, group int, mode uint32) string {
	t.Helper()
	path := filepath.Join(parent, name)
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.Chown(path, 0, group))
	require.NoError(t, unix.Chmod(path, mode))
	return path
}

func lstat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st), path)
	return st
}

func testCredsOwner(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	subdirectory(t, path, "plain", 0, 0o777)
	subdirectory(t, path, "setgid", 3000, 0o2777)
	subdirectory(t, path, "group", member, 0o770)
	for name, mk := range creators {
		for _, c := range []struct {
			dir        string
			creds      *uringbackend.Creds
			owner, grp uint32
		}{
			{"plain", user(), uid, gid},
			{"setgid", user(), uid, 3000},
			{"group", user(), uid, gid},
			{"plain", &uringbackend.Creds{Valid: true, UID: stranger, GID: 7}, stranger, 7},
			{"plain", &uringbackend.Creds{Valid: true, GID: 7}, 0, 7},
			{"plain", &uringbackend.Creds{}, 0, 0},
			{"plain", nil, 0, 0},
		} {
			at := c.dir + "/" + name
			require.NoError(t, mk(e.As(c.creds), dir, at), at)
			st := lstat(t, filepath.Join(path, at))
			assert.Equal(t, [2]uint32{c.owner, c.grp}, [2]uint32{st.Uid, st.Gid}, "%s %+v", at, c.creds)
			assert.Equal(t, name == "mkdirat" && c.dir == "setgid", st.Mode&unix.S_ISGID != 0, "%s %+v", at, c.creds)
			if c.creds != nil && name != "symlinkat" {
				assert.Equal(t, map[bool]uint32{true: 0o775, false: 0o664}[name == "mkdirat"], st.Mode&0o777, "%s %+v", at, c.creds)
			}
			require.NoError(t, os.Remove(filepath.Join(path, at)))
		}
	}
	fd, err := e.As(user()).Openat2(background(), dir, "plain", unix.OpenHow{
		Flags: unix.O_TMPFILE | unix.O_RDWR | unix.O_CLOEXEC, Mode: 0o666,
	})
	require.NoError(t, err)
	own(t, fd)
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	assert.Equal(t, [3]uint32{uid, gid, 0o666}, [3]uint32{st.Uid, st.Gid, st.Mode & 0o777}, "O_TMPFILE")
}

// testCredsDenied: what the user may not do is refused, by every verb, and what it may do works.
func testCredsDenied(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, os.Chmod(path, 0o755))
	closed := subdirectory(t, path, "closed", 0, 0o700)
	open := subdirectory(t, path, "open", 0, 0o777)
	for _, name := range []string{filepath.Join(closed, "f"), filepath.Join(open, "f")} {
		require.NoError(t, os.WriteFile(name, []byte("root's"), 0o600))
		require.NoError(t, os.Chmod(name, 0o644))
	}
	require.NoError(t, os.Symlink("f", filepath.Join(closed, "l")))
	require.NoError(t, os.WriteFile(filepath.Join(open, "mine"), nil, 0o600))
	require.NoError(t, os.Chown(filepath.Join(open, "mine"), uid, gid))
	fd, err := unix.Open(filepath.Join(open, "f"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, fd)
	pathFD, err := unix.Open(filepath.Join(open, "f"), unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, pathFD)
	mine, err := unix.Open(filepath.Join(open, "mine"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, mine)
	handle, _, err := e.NameToHandle(background(), uringbackend.At{Dir: dir, Name: "open/f"}, 0)
	require.NoError(t, err)
	at := func(name string) uringbackend.At { return uringbackend.At{Dir: dir, Name: name} }
	times := unix.Timespec{Sec: 1}
	u := e.As(user())
	openAs := func(name string, flags uint64) error {
		fd, err := u.Openat2(background(), dir, name, unix.OpenHow{Flags: flags | unix.O_CLOEXEC})
		if err == nil {
			own(t, fd)
		}
		return err
	}
	var st unix.Statx_t
	_, handleErr := u.OpenByHandle(background(), fd, handle, unix.O_RDONLY|unix.O_CLOEXEC)
	_, _, nameErr := u.NameToHandle(background(), at("closed/f"), 0)
	_, linkErr := u.Readlinkat(background(), at("closed/l"), make([]byte, 10))
	for name, err := range map[string][2]error{
		"openat2 in a closed directory": {openAs("closed/f", unix.O_RDONLY), unix.EACCES},
		"openat2 for writing":           {openAs("open/f", unix.O_WRONLY), unix.EACCES},
		"openat2 for reading":           {openAs("open/f", unix.O_RDONLY), nil},
		"openat2 without an atime":      {openAs("open/f", unix.O_RDONLY|unix.O_NOATIME), unix.EPERM},
		"statx":                         {u.Statx(background(), dir, "closed/f", 0, unix.STATX_BASIC_STATS, &st), unix.EACCES},
		"statx of what all may see":     {u.Statx(background(), dir, "open/f", 0, unix.STATX_BASIC_STATS, &st), nil},
		"mkdirat":                       {creators["mkdirat"](u, dir, "closed/x"), unix.EACCES},
		"mknodat":                       {creators["mknodat"](u, dir, "closed/x"), unix.EACCES},
		"mknodat of a device":           {u.Mknodat(background(), at("open/null"), unix.S_IFCHR|0o666, unix.Mkdev(1, 3)), unix.EPERM},
		"symlinkat":                     {creators["symlinkat"](u, dir, "closed/x"), unix.EACCES},
		"openat2 of a new name":         {creators["openat2"](u, dir, "closed/x"), unix.EACCES},
		"unlinkat":                      {u.Unlinkat(background(), at("closed/f"), 0), unix.EACCES},
		"linkat":                        {u.Linkat(background(), at("open/mine"), at("closed/x"), 0), unix.EACCES},
		"renameat2":                     {u.Renameat2(background(), at("closed/f"), at("open/x"), 0), unix.EACCES},
		"readlinkat":                    {linkErr, unix.EACCES},
		"name_to_handle_at":             {nameErr, unix.EACCES},
		"open_by_handle_at":             {handleErr, unix.EPERM},
		"fchmod":                        {u.Fchmod(background(), pathFD, 0o666), unix.EPERM},
		"fchmod of one's own":           {u.Fchmod(background(), mine, 0o640), nil},
		"fchown":                        {u.Fchown(background(), pathFD, uid, gid), unix.EPERM},
		"fchown to a group of one's":    {u.Fchown(background(), mine, -1, member), nil},
		"fchown to another group":       {u.Fchown(background(), mine, -1, 3000), unix.EPERM},
		"utimens":                       {u.Utimens(background(), pathFD, times, times), unix.EPERM},
		"utimens of one's own":          {u.Utimens(background(), mine, times, times), nil},
		"fsetxattr":                     {u.Fsetxattr(background(), fd, "user.x", []byte("x"), 0), unix.EACCES},
		"fsetxattr of the system's":     {u.Fsetxattr(background(), mine, "trusted.x", []byte("x"), 0), unix.EPERM},
		"fsetxattr of capabilities":     {u.Fsetxattr(background(), mine, "security.capability", fileCaps(), 0), unix.EPERM},
	} {
		if err[1] == nil {
			assert.NoError(t, err[0], name)
		} else {
			assert.Equal(t, err[1], err[0], name)
		}
	}
	assert.Equal(t, uint32(0o644), lstat(t, filepath.Join(open, "f")).Mode&0o777)
	assert.Equal(t, [2]uint32{uid, member}, [2]uint32{lstat(t, filepath.Join(open, "mine")).Uid, lstat(t, filepath.Join(open, "mine")).Gid})
	left, err := os.ReadDir(closed)
	require.NoError(t, err)
	assert.Len(t, left, 2, "nothing was made or removed")

	nobody := e.As(&uringbackend.Creds{Valid: true, UID: ^uint32(0), GID: gid})
	assert.Equal(t, unix.EPERM, nobody.Statx(background(), dir, "open/f", 0, unix.STATX_BASIC_STATS, &st), "no user has this number")
	nobody = e.As(&uringbackend.Creds{Valid: true, UID: uid, GID: ^uint32(0)})
	assert.Equal(t, unix.EPERM, nobody.Statx(background(), dir, "open/f", 0, unix.STATX_BASIC_STATS, &st), "no group has this number")
	assert.NoError(t, e.Statx(background(), dir, "closed/f", 0, unix.STATX_BASIC_STATS, &st), "the process may")
}

// fileCaps is a struct vfs_cap_data that gives CAP_CHOWN.
func fileCaps() []byte {
	return []byte{1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func testCredsGroups(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, os.WriteFile(filepath.Join(path, "f"), []byte("for members"), 0o600))
	require.NoError(t, os.Chown(filepath.Join(path, "f"), 0, member))
	require.NoError(t, os.Chmod(filepath.Join(path, "f"), 0o640))
	read := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC}
	for range 3 { // with what was put on for the one before
		for _, c := range []struct {
			groups []uint32
			want   error
		}{
			{[]uint32{1003, member}, nil},
			{[]uint32{1003}, unix.EACCES},
			{[]uint32{member, member, 1003, 5}, nil},
			{nil, unix.EACCES},
		} {
			as := e.As(&uringbackend.Creds{Valid: true, UID: uid, GID: gid, Groups: c.groups})
			fd, err := as.Openat2(background(), dir, "f", read)
			if c.want == nil {
				require.NoError(t, err, "%v", c.groups)
				require.NoError(t, as.CloseFD(background(), fd))
				continue
			}
			require.Equal(t, c.want, err, "%v", c.groups)
		}
	}
}

// testCredsChecked: CAP_DAC_OVERRIDE is there when asked for, alone, and gone afterwards.
func testCredsChecked(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, os.Chmod(path, 0o755))
	closed := subdirectory(t, path, "closed", 0, 0o700)
	require.NoError(t, os.WriteFile(filepath.Join(closed, "f"), nil, 0o600))
	file, err := unix.Open(filepath.Join(closed, "f"), unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	own(t, file)
	checked := user()
	checked.Checked = true
	other := &uringbackend.Creds{Valid: true, UID: stranger, GID: gid}
	for i := range 5 {
		for name, mk := range creators {
			at := fmt.Sprintf("closed/%s%d", name, i)
			require.NoError(t, mk(e.As(checked), dir, at), at)
			st := lstat(t, filepath.Join(path, at))
			assert.Equal(t, [2]uint32{uid, gid}, [2]uint32{st.Uid, st.Gid}, at)
			assert.Equal(t, unix.EACCES, mk(e.As(user()), dir, at+"x"), "%s: the same user, not checked", at)
			assert.Equal(t, unix.EACCES, mk(e.As(other), dir, at+"x"), "%s: another user", at)
			require.NoError(t, mk(e, dir, at+"x"), "%s: the process", at)
			assert.Zero(t, lstat(t, filepath.Join(path, at+"x")).Uid, at)
		}
		assert.Equal(t, unix.EPERM, e.As(checked).Fchown(background(), file, uid, gid), "no CAP_CHOWN")
		assert.Equal(t, unix.EPERM, e.As(checked).Fchmod(background(), file, 0o666), "no CAP_FOWNER")
		assert.Equal(t, unix.EPERM, e.As(checked).FsetxattrPath(background(), file, "trusted.x", []byte("x"), 0), "no CAP_SYS_ADMIN")
		ThreadsClean(t)
	}
}

// testCredsBatch: ops of one Submit have users of their own, more than a ring remembers by default.
func testCredsBatch(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, os.Chmod(path, 0o777))
	const count = 200
	for round := range 2 {
		ops := make([]uringbackend.Op, count)
		for i := range ops {
			how := newFile(0o600)
			ops[i] = uringbackend.Op{Kind: uringbackend.KindOpenat2, FD: dir, Path: fmt.Sprintf("f%d-%d", round, i), How: &how}
			if i%5 != 0 {
				ops[i].Creds = &uringbackend.Creds{Valid: true, UID: uint32(10000 + i%100), GID: uint32(20000 + i), Groups: []uint32{uint32(i)}}
			}
		}
		reports := make([]int, count)
		var mu sync.Mutex
		e.Submit(background(), ops, func(i, n int, more bool, err error) {
			mu.Lock()
			defer mu.Unlock()
			assert.NoError(t, err, i)
			assert.False(t, more)
			reports[i]++
			if err == nil {
				assert.NoError(t, unix.Close(n))
			}
		})
		for i, n := range reports {
			require.Equal(t, 1, n, i)
			st := lstat(t, filepath.Join(path, ops[i].Path))
			want := [2]uint32{}
			if c := ops[i].Creds; c != nil {
				want = [2]uint32{c.UID, c.GID}
			}
			require.Equal(t, want, [2]uint32{st.Uid, st.Gid}, i)
		}
	}
}

// testCredsConcurrent: users at the same time, with cancellations, are never mixed.
func testCredsConcurrent(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, os.Chmod(path, 0o777))
	const goroutines, files, users = 32, 40, 6
	var wg sync.WaitGroup
	for g := range goroutines {
		// ends after its files; waited by wg.Wait
		wg.Go(func() {
			for i := range files {
				n := (g + i) % users
				as := e
				if n > 0 {
					as = e.As(&uringbackend.Creds{
						Valid: true, UID: uint32(10000 + n), GID: uint32(20000 + n), Groups: []uint32{uint32(30000 + n)}, Checked: n%2 == 0,
					})
				}
				ctx, cancel := background(), context.CancelFunc(func() {})
				if i%3 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*5*time.Microsecond)
				}
				name := fmt.Sprintf("%d-%d-%d", n, g, i)
				var err error
				if i%2 == 0 {
					err = as.Mkdirat(ctx, uringbackend.At{Dir: dir, Name: name}, 0o700)
				} else {
					var fd int
					if fd, err = as.Openat2(ctx, dir, name, newFile(0o600)); err == nil {
						err = as.CloseFD(ctx, fd)
					}
				}
				cancel()
				if !errors.Is(err, unix.ECANCELED) || i%3 != 0 {
					assert.NoError(t, err, name)
				}
			}
		})
	}
	wg.Wait()
	made, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(made), goroutines*files*2/3)
	for _, f := range made {
		st := lstat(t, filepath.Join(path, f.Name()))
		want := [2]uint32{}
		if n := uint32(f.Name()[0] - '0'); n > 0 {
			want = [2]uint32{10000 + n, 20000 + n}
		}
		require.Equal(t, want, [2]uint32{st.Uid, st.Gid}, f.Name())
	}
}

// testCredsUnbounded: an op that may wait has its credentials on a thread of its own.
func testCredsUnbounded(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	require.NoError(t, unix.Mkfifo(filepath.Join(path, "closed"), 0o600))
	require.NoError(t, unix.Mkfifo(filepath.Join(path, "mine"), 0o600))
	require.NoError(t, os.Chown(filepath.Join(path, "mine"), uid, gid))
	open := func(name string) (int, error) {
		return e.Do(background(), uringbackend.Op{
			Kind: uringbackend.KindOpenat2, Unbounded: true, FD: dir, Path: name, Creds: user(),
			How: &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC},
		})
	}
	_, err := open("closed")
	assert.Equal(t, unix.EACCES, err)
	fd, err := open("mine")
	require.NoError(t, err)
	own(t, fd)

	r, w := pipe(t)
	ctx, cancel := context.WithCancel(background())
	done := make(chan error, 1)
	e.Submit(ctx, []uringbackend.Op{{Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: make([]byte, 1), Offset: -1, Creds: user()}},
		func(_, _ int, _ bool, err error) { done <- err })
	cancel()
	within(t, "cancelled read", func() { assert.Equal(t, unix.ECANCELED, <-done) })
	buf := make([]byte, 1)
	_, err = unix.Write(w, []byte("x"))
	require.NoError(t, err)
	n, err := e.Do(background(), uringbackend.Op{Kind: uringbackend.KindReadAt, Unbounded: true, FD: r, Buf: buf, Offset: -1, Creds: user()})
	require.NoError(t, err)
	assert.Equal(t, "x", string(buf[:n]))
}

// testCredsOwn: anybody may act as oneself; modes are exact whatever the umask.
func testCredsOwn(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	groups, err := unix.Getgroups()
	require.NoError(t, err)
	own := &uringbackend.Creds{Valid: true, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	for _, g := range groups {
		own.Groups = append(own.Groups, uint32(g))
	}
	for i, c := range []*uringbackend.Creds{own, {}, own} {
		for name, mk := range creators {
			at := fmt.Sprint(name, i)
			require.NoError(t, mk(e.As(c), dir, at))
			st := lstat(t, filepath.Join(path, at))
			assert.Equal(t, [2]uint32{own.UID, own.GID}, [2]uint32{st.Uid, st.Gid}, at)
			if name != "symlinkat" {
				assert.Equal(t, map[bool]uint32{true: 0o775, false: 0o664}[name == "mkdirat"], st.Mode&0o777, at)
			}
			assert.Equal(t, unix.EEXIST, mk(e.As(c), dir, at), at)
			assert.Equal(t, unix.ENOENT, mk(e.As(c), dir, "none/"+at), at)
			assert.Equal(t, unix.EINVAL, mk(e.As(c), dir, "nul\x00"), at)
			assert.Equal(t, unix.EBADF, mk(e.As(c), 1<<20, at), at)
		}
		var st unix.Statx_t
		require.NoError(t, e.As(c).Statx(background(), dir, "mkdirat0", 0, unix.STATX_BASIC_STATS, &st))
		assert.Equal(t, unix.ENOENT, e.As(c).Statx(background(), dir, "none", 0, unix.STATX_BASIC_STATS, &st))
	}
	_, err = e.As(own).Do(background(), uringbackend.Op{Kind: uringbackend.KindOpenat2, FD: dir, Path: "f"})
	assert.Equal(t, unix.EFAULT, err, "no How")
	_, err = e.As(own).Do(background(), uringbackend.Op{Kind: 255, FD: dir})
	assert.Equal(t, unix.EINVAL, err, "no verb")
	ThreadsClean(t)
}

func testCredsEndedContext(t *testing.T, e uringbackend.Engine) {
	dir, path := directory(t)
	ended, cancel := context.WithCancel(background())
	cancel()
	for _, c := range []*uringbackend.Creds{user(), {}} {
		_, err := e.As(c).Openat2(ended, dir, "f", newFile(0o600))
		assert.Equal(t, unix.ECANCELED, err)
		assert.Equal(t, unix.ECANCELED, e.As(c).Mkdirat(ended, uringbackend.At{Dir: dir, Name: "d"}, 0o700))
	}
	left, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Empty(t, left)
	fd, err := e.Openat2(background(), dir, ".", unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	require.NoError(t, err)
	assert.NoError(t, e.As(user()).CloseFD(ended, fd), "a close needs no credentials")
}

// ThreadsClean fails unless each thread of the process has the user, groups and capabilities of the main thread, workers
// of io_uring included. Only meaningful while no op with credentials is under way.
func ThreadsClean(t *testing.T) {
	t.Helper()
	want, err := threadCreds("/proc/self/status")
	require.NoError(t, err)
	require.Len(t, want, 8)
	require.True(t, strings.HasPrefix(want["Uid"], fmt.Sprint(os.Getuid())), want["Uid"])
	threads, err := filepath.Glob("/proc/self/task/*/status")
	require.NoError(t, err)
	require.NotEmpty(t, threads)
	for _, path := range threads {
		got, err := threadCreds(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended meanwhile
		}
		require.NoError(t, err)
		assert.Equal(t, want, got, path)
	}
}

func threadCreds(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	creds := make(map[string]string)
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(string(line), ":")
		switch key {
		case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			creds[key] = strings.TrimSpace(value)
		}
	}
	return creds, nil
}
