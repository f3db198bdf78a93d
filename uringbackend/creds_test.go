//go:build linux

package uringbackend_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

const (
	alice = 12345
	staff = 23456
	extra = 34567
)

var aliceCreds = Creds{Valid: true, UID: alice, GID: staff}

// makers are all operations that make a name.
func makers(w *tree) map[string]func(dir *Ref, name string, c Creds) (Stat, error) {
	ctx := w.t.Context()
	finish := func(h *Handle, r *Ref, st Stat, err error) (Stat, error) {
		if err == nil {
			if h != nil {
				err = h.Close(ctx)
			}
			r.Release()
		}
		return st, err
	}
	return map[string]func(*Ref, string, Creds) (Stat, error){
		"create": func(d *Ref, n string, c Creds) (Stat, error) {
			return finish(w.Create(ctx, d, n, unix.O_RDWR, 0o664, c))
		},
		"tmpfile": func(d *Ref, n string, c Creds) (Stat, error) {
			return finish(w.Tmpfile(ctx, d, unix.O_RDWR, 0o664, c))
		},
		"mkdir": func(d *Ref, n string, c Creds) (Stat, error) {
			r, st, err := w.Mkdir(ctx, d, n, 0o775, c)
			return finish(nil, r, st, err)
		},
		"fifo": func(d *Ref, n string, c Creds) (Stat, error) {
			r, st, err := w.Mknod(ctx, d, n, unix.S_IFIFO|0o664, 0, c)
			return finish(nil, r, st, err)
		},
		"symlink": func(d *Ref, n string, c Creds) (Stat, error) {
			r, st, err := w.Symlink(ctx, d, n, "target", c)
			return finish(nil, r, st, err)
		},
	}
}

func TestNewNamesBelongToTheCaller(t *testing.T) {
	needRoot(t, "setfsuid(2)")
	onKernels(t, func(t *testing.T, w *tree) {
		dirs := map[string]uint32{"plain": 0o777, "sgid": 0o2777}
		for name, mode := range dirs {
			require.NoError(t, os.Mkdir(w.path(name), 0o700))
			require.NoError(t, os.Chown(w.path(name), 0, extra))
			require.NoError(t, unix.Chmod(w.path(name), mode))
		}
		require.NoError(t, os.Mkdir(w.path("closed"), 0o755))
		require.NoError(t, os.Mkdir(w.path("group"), 0o770))
		require.NoError(t, os.Chown(w.path("group"), 0, extra))
		require.NoError(t, unix.Chmod(w.path("group"), 0o770))
		for name, mk := range makers(w) {
			st, err := mk(w.ref("plain"), name, aliceCreds)
			require.NoError(t, err, name)
			assert.Equal(t, [2]uint32{alice, staff}, [2]uint32{st.UID, st.GID}, name)
			st, err = mk(w.ref("sgid"), name, aliceCreds)
			require.NoError(t, err, name)
			assert.Equal(t, [2]uint32{alice, extra}, [2]uint32{st.UID, st.GID}, "%s inherits the group", name)
			assert.Equal(t, name == "mkdir", st.Mode&unix.S_ISGID != 0, name)

			_, err = mk(w.ref("closed"), name, aliceCreds)
			assert.ErrorIs(t, err, unix.EACCES, name)
			checked := aliceCreds
			checked.Checked = true
			st, err = mk(w.ref("closed"), name, checked)
			require.NoError(t, err, "%s: somebody in front has checked", name)
			assert.EqualValues(t, alice, st.UID, name)

			_, err = mk(w.ref("group"), name, aliceCreds)
			assert.ErrorIs(t, err, unix.EACCES, name)
			member := aliceCreds
			member.Groups = []uint32{1, extra}
			_, err = mk(w.ref("group"), name, member)
			require.NoError(t, err, name)

			st, err = mk(w.ref("closed"), name+"-own", Creds{})
			require.NoError(t, err, name)
			assert.Zero(t, st.UID, "without credentials it is the process's")
			st, err = mk(w.ref("closed"), name+"-root", Creds{Valid: true, UID: 0, GID: extra})
			require.NoError(t, err, name)
			assert.Equal(t, [2]uint32{0, extra}, [2]uint32{st.UID, st.GID}, name)
		}
		_, _, err := w.Mknod(t.Context(), w.ref("plain"), "null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3), aliceCreds)
		require.ErrorIs(t, err, unix.EPERM, "a device is not for everybody to make")

		// A stranger may not give away set-group-id of a group that is not his.
		h, r, st, err := w.Create(t.Context(), w.ref("sgid"), "g", unix.O_RDWR, 0o2775, aliceCreds)
		require.NoError(t, err)
		closeLater(t, h)
		t.Cleanup(r.Release)
		assert.Zero(t, st.Mode&unix.S_ISGID)
		enginetest.ThreadsClean(t)
	})
}

// A default ACL decides about the mode, not a umask.
func TestDefaultACL(t *testing.T) {
	onEngines(t, func(t *testing.T, w *tree) {
		require.NoError(t, os.Mkdir(w.path("d"), 0o755))
		d := w.ref("d")
		acl := binary.LittleEndian.AppendUint32(nil, 2) // POSIX_ACL_XATTR_VERSION
		for _, e := range [][3]uint32{{0x01, 6, ^uint32(0)}, {0x02, 6, 4711}, {0x04, 4, ^uint32(0)}, {0x10, 6, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
			acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
			acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
			acl = binary.LittleEndian.AppendUint32(acl, e[2])
		}
		err := w.Setxattr(t.Context(), d, "system.posix_acl_default", acl, 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("the file system of the temporary directory has no ACLs")
		}
		require.NoError(t, err)
		h, r, st, err := w.Create(t.Context(), d, "f", unix.O_RDWR, 0o666, Creds{})
		require.NoError(t, err)
		closeLater(t, h)
		t.Cleanup(r.Release)
		assert.EqualValues(t, unix.S_IFREG|0o660, st.Mode)
		buf := make([]byte, 200)
		_, err = w.Getxattr(t.Context(), r, "system.posix_acl_access", buf)
		require.NoError(t, err)
	})
}

func TestCredentialsDoNotLeak(t *testing.T) {
	needRoot(t, "setfsuid(2)")
	onEngines(t, func(t *testing.T, w *tree) {
		require.NoError(t, unix.Chmod(w.dir, 0o777))
		root := w.root()
		var wg sync.WaitGroup
		for worker := range 8 {
			// ends after its files; waited by wg.Wait
			wg.Go(func() {
				for i := range 50 {
					c := Creds{Valid: worker%2 == 0, UID: uint32(20000 + worker), GID: uint32(30000 + i), Groups: []uint32{uint32(40000 + i)}}
					name := fmt.Sprintf("f-%d-%d", worker, i)
					h, r, st, err := w.Create(t.Context(), root, name, unix.O_RDWR, 0o600, c)
					if !assert.NoError(t, err) {
						return
					}
					want := [2]uint32{c.UID, c.GID}
					if !c.Valid {
						want = [2]uint32{}
					}
					assert.Equal(t, want, [2]uint32{st.UID, st.GID})
					assert.NoError(t, h.Close(t.Context()))
					r.Release()
				}
			})
		}
		wg.Wait()
		enginetest.ThreadsClean(t)
	})
}
