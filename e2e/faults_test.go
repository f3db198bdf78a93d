//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/seed"
)

// harmless are faults that no client may notice: transfers are resumed, what was interrupted is done again, and late or
// reordered reports are waited for.
const harmless = "read_at=short:0.2,write_at=short:0.2,read_at=EINTR:0.05,write_at=EINTR:0.05,read_at=EAGAIN:0.05,write_at=EAGAIN:0.05," +
	"EINTR:0.01,openat2=EAGAIN:0.02,statx=EAGAIN:0.02,fsync=EAGAIN:0.1,delay(200us):0.02,late(5ms):0.1,reorder:0.3"

// TestFaultsNobodyNotices copies a tree in by both doors of a server that meets harmless faults, and out again.
func TestFaultsNobodyNotices(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		r := seed.FromTest(t)
		plan := fmt.Sprintf("seed=%d,%s", r.Uint64(), harmless)
		t.Logf("faults: %s", plan)
		s := startServe(t, mountOptions{engine: engine, args: []string{"--faults", plan}})

		local := t.TempDir()
		tree := filepath.Join(local, "tree")
		files := map[string][]byte{}
		for i := range 24 {
			name := filepath.Join(fmt.Sprintf("d%d", i%3), fmt.Sprintf("e%d", i%2), fmt.Sprintf("f%d", i))
			size := r.IntN(64 << 10)
			if i%4 == 0 {
				size = r.IntN(2 << 20)
			}
			files[name] = pattern(size)
			require.NoError(t, os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(tree, name), files[name], 0o644))
		}
		require.NoError(t, os.CopyFS(s.path("mount"), os.DirFS(tree)))
		s.ok(t, "mkdir smb; cd smb; prompt off; recurse on; lcd "+tree+"; mput *")
		down := t.TempDir()
		s.ok(t, "prompt off; recurse on; lcd "+down+"; mget mount; mget smb")

		for name, want := range files {
			for _, door := range []string{"mount", "smb"} {
				for _, root := range []string{s.mnt, s.backing, down} {
					got, err := os.ReadFile(filepath.Join(root, door, name))
					require.NoError(t, err)
					require.True(t, bytes.Equal(want, got), "%s in by %s, seen at %s: %d bytes of %d", name, door, root, len(got), len(want))
				}
			}
		}
		// Direct transfers cannot go on within a sector, so a cut there is the hardest.
		unaligned(t, s.mounted, files)
		require.NoError(t, os.RemoveAll(s.path("mount")))
		s.ok(t, "deltree smb")
		left, err := os.ReadDir(s.backing)
		require.NoError(t, err)
		assert.Empty(t, left)
		st := s.mounted.status(t)
		assert.Zero(t, st.SMB.Panics)
		assert.Equal(t, engine, st.Engine.Name)
	})
}

// unaligned reads the files with O_DIRECT.
func unaligned(t *testing.T, m *mounted, files map[string][]byte) {
	t.Helper()
	buf := aligned(2 << 20)
	for name, want := range files {
		f, err := os.OpenFile(m.path(filepath.Join("mount", name)), os.O_RDONLY|directFlag, 0)
		require.NoError(t, err)
		total := 0
		for total < len(buf) {
			n, err := f.ReadAt(buf[total:], int64(total))
			if total += n; err != nil {
				break
			}
		}
		require.NoError(t, f.Close())
		require.True(t, bytes.Equal(want, buf[:total]), "%s: %d bytes of %d", name, total, len(want))
	}
}

// TestFaultsOfPayloads reads by reference while splices are short, are interrupted, and fail: a client gets the right bytes,
// or an error, or loses its connection, and the server goes on.
func TestFaultsOfPayloads(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		r := seed.FromTest(t)
		for _, test := range []struct {
			name, faults string
			fails        bool
		}{
			{"harmless", "splice=short:0.3,splice=EINTR:0.1,splice=delay(200us):0.05,late:0.1,reorder:0.2", false},
			{"honest", "splice=short:0.1,splice=EIO:0.03", true},
		} {
			t.Run(test.name, func(t *testing.T) {
				plan := fmt.Sprintf("seed=%d,%s", r.Uint64(), test.faults)
				t.Logf("faults: %s", plan)
				s := startSMB(t, engine, "--read-path", "unsafe-splice", "--faults", plan)
				data := pattern(6<<20 + 77)
				require.NoError(t, os.WriteFile(filepath.Join(s.dir, "f"), data, 0o644))
				back := filepath.Join(t.TempDir(), "f")
				good := 0
				for range 4 {
					out, err := s.smbclient(t, "get f "+back)
					if test.fails && (err != nil || strings.Contains(out, "NT_STATUS_")) {
						continue
					}
					require.NoError(t, err, "%s", out)
					got, err := os.ReadFile(back)
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, got), "%s", out)
					good++
				}
				if !test.fails {
					assert.GreaterOrEqual(t, s.status(t).Reads["unsafe-splice"].Bytes, int64(4*len(data)), "nothing was copied instead")
				}
				t.Logf("%d of 4 whole", good)
			})
		}
	})
}

// honest are faults that reach clients as errors.
const honest = "read_at=short:0.1,write_at=short:0.1,read_at=EIO:0.05,write_at=EIO:0.04,write_at=ENOSPC:0.04,write_at=EDQUOT:0.04,fsync=EIO:0.1," +
	"ftruncate=EIO:0.1,fallocate=ENOSPC:0.2,openat2=EIO:0.02,openat2=ENOSPC:0.02,statx=EIO:0.01,mkdirat=ENOSPC:0.1,unlinkat=EIO:0.1," +
	"renameat2=EDQUOT:0.1,getdents=EIO:0.05,fgetxattr=EIO:0.02,fsetxattr=EDQUOT:0.05,close=EIO:0.02,delay(100us):0.02"

// TestFaultsAreTold works by both doors of a server that meets errors. Each operation tells of its failure or has done what
// it says, which a server without faults shows afterwards: what was written with success is there.
func TestFaultsAreTold(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		r := seed.FromTest(t)
		o := mountOptions{engine: engine, backing: publicDir(t), mnt: publicDir(t), keep: true}
		s := startDespiteFaults(t, o, r.Uint64)
		j := newJournal(r)
		doors := []door{mountDoor{s.mnt}, smbDoorOf(t, s.smbServer)}
		for i := range 1500 {
			require.NoError(t, j.step(doors[i%len(doors)]), "operation %d", i)
		}
		puts := putDespiteFaults(t, s.smbServer)
		assert.Greater(t, j.failed, 50, "faults were met")
		assert.Greater(t, j.done, 500, "most went well")
		assert.Zero(t, s.mounted.status(t).SMB.Panics)
		s.mounted.stop(t)

		o.keep = false
		s = startServe(t, o)
		for _, d := range []door{mountDoor{s.mnt}, mountDoor{s.backing}, smbDoorOf(t, s.smbServer)} {
			require.NoError(t, j.check(d))
		}
		for name, want := range puts {
			got, err := os.ReadFile(s.path(name))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "%s was put with success", name)
		}
		t.Logf("%d operations done, %d failed, %d of %d puts", j.done, j.failed, len(puts), putTries)
	})
}

// startDespiteFaults starts a server with honest faults; one that meets a fault while it starts says so and goes.
func startDespiteFaults(t *testing.T, o mountOptions, next func() uint64) *served {
	t.Helper()
	for range 20 {
		plan := fmt.Sprintf("seed=%d,%s", next(), honest)
		t.Logf("faults: %s", plan)
		o.args = []string{"--faults", plan}
		s, err := tryServe(t, o)
		if err == nil {
			return s
		}
		require.Regexp(t, "input/output error|no space left", err.Error())
	}
	t.Fatal("no server starts")
	return nil
}

const putTries = 8

// putDespiteFaults puts files with smbclient, and returns those of which it says nothing bad.
func putDespiteFaults(t *testing.T, s *smbServer) map[string][]byte {
	t.Helper()
	puts := map[string][]byte{}
	local := filepath.Join(t.TempDir(), "up")
	for i := range putTries {
		name, data := fmt.Sprintf("put%d", i), pattern(i*5000)
		require.NoError(t, os.WriteFile(local, data, 0o600))
		out, err := s.smbclient(t, "put "+local+" "+name)
		if err == nil && !strings.Contains(out, "NT_STATUS_") && !strings.Contains(out, "ERR") {
			puts[name] = data
		}
	}
	return puts
}

// TestFaultsOfMappings dirties a mapping again and again: when msync(2) succeeds, the backing file has all of it. A short
// write of pages that the kernel writes back by itself must not pass for a whole one.
func TestFaultsOfMappings(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		const size = 64 << 10
		plan := fmt.Sprintf("seed=%d,write_at=short:0.5,write_at=EIO:0.2,write_at=ENOSPC:0.1,write_at=EINTR:0.1", seed.FromTest(t).Uint64())
		t.Logf("faults: %s", plan)
		m := startMount(t, mountOptions{engine: engine, args: []string{"--faults", plan}})
		name := "mapped"
		require.NoError(t, os.WriteFile(m.under(name), make([]byte, size), 0o644))
		f, err := os.OpenFile(m.path(name), os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		p, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		synced, failed := 0, 0
		for version := byte(1); version <= 100; version++ {
			want := bytes.Repeat([]byte{version}, size)
			copy(p, want)
			err := unix.Msync(p, unix.MS_SYNC)
			if err != nil {
				require.True(t, mountDoor{}.injected(err), "%v", err)
				failed++
				continue
			}
			got, err := os.ReadFile(m.under(name))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "version %d", version)
			synced++
		}
		require.NoError(t, unix.Munmap(p))
		assert.Positive(t, synced)
		assert.Positive(t, failed)
		t.Logf("%d mappings written, %d failed", synced, failed)
	})
}

// door is a way to a tree. Names are plain; errors are the client's.
type door interface {
	// create makes a new file.
	create(name string) error
	write(name string, b []byte, off int64) (int, error)
	read(name string, b []byte, off int64) (int, error)
	truncate(name string, size int64) error
	remove(name string) error
	rename(from, to string) error
	list() ([]string, error)
	// injected says that err is one of the faults, as this door tells them.
	injected(err error) bool
}

var (
	_ door = mountDoor{}
	_ door = smbDoor{}
)
