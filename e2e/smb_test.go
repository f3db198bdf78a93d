//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/supervise"
)

func TestSmbclientPutGet(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		for _, size := range []int{0, 1, 4095, 4096, 65536, 65537, 1<<20 + 10, 9 << 20} {
			data := pattern(size)
			local, back := filepath.Join(t.TempDir(), "up"), filepath.Join(t.TempDir(), "down")
			require.NoError(t, os.WriteFile(local, data, 0o600))
			s.ok(t, fmt.Sprintf("put %s f; get f %s", local, back))
			got, err := os.ReadFile(back)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got), "%d bytes down", size)
			got, err = os.ReadFile(filepath.Join(s.dir, "f"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got), "%d bytes on the backing directory", size)
		}
	})
}

func TestSmbclientEveryDialectAndProtection(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		data := pattern(3 << 20)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "f"), data, 0o644))
		local, names := t.TempDir(), []string{"a", "d/b", "d/e/c"}
		for i, name := range names {
			require.NoError(t, os.MkdirAll(filepath.Join(local, "tree", filepath.Dir(name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(local, "tree", name), data[:i*70_000], 0o644))
		}
		for _, dialect := range []string{"SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02", "SMB3_11"} {
			for _, protection := range []string{"off", "sign"} {
				t.Run(dialect+"/"+protection, func(t *testing.T) {
					down := t.TempDir()
					s.ok(t, "prompt off; recurse on; lcd "+local+"; mput tree; lcd "+down+"; mget tree; deltree tree; get f; ls",
						"-m", dialect, "--option=clientminprotocol="+dialect, "--client-protection="+protection)
					got, err := os.ReadFile(filepath.Join(down, "f"))
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, got))
					for i, name := range names {
						got, err := os.ReadFile(filepath.Join(down, "tree", name))
						require.NoError(t, err)
						require.True(t, bytes.Equal(data[:i*70_000], got), "%s", name)
					}
					_, err = os.Stat(filepath.Join(s.dir, "tree"))
					require.ErrorIs(t, err, fs.ErrNotExist)
				})
			}
		}
	})
}

func TestSmbclientNames(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		s.ok(t, `mkdir d; mkdir d\e; cd d\e; put /etc/hostname ünïcödé-日本語.txt; rename ünïcödé-日本語.txt 😀.txt; ls`)
		want, err := os.ReadFile("/etc/hostname")
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(s.dir, "d", "e", "😀.txt"))
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Contains(t, s.ok(t, `ls d\e\*`), "😀.txt")

		out, err := s.smbclient(t, `rmdir d\e`)
		require.True(t, err != nil || strings.Contains(out, "NT_STATUS_DIRECTORY_NOT_EMPTY"), "%s", out)
		s.ok(t, `del d\e\😀.txt; rmdir d\e; rmdir d`)
		left, err := os.ReadDir(s.dir)
		require.NoError(t, err)
		assert.Empty(t, left)

		out, _ = s.smbclient(t, "get nothing /dev/null")
		assert.Contains(t, out, "NT_STATUS_OBJECT_NAME_NOT_FOUND")
		out, _ = s.smbclient(t, `get no\thing /dev/null`)
		assert.Contains(t, out, "NT_STATUS_OBJECT_PATH_NOT_FOUND")

		deep := strings.TrimSuffix(strings.Repeat(`level\`, 30), `\`)
		var commands []string
		for at := "level"; len(at) <= len(deep); at += `\level` {
			commands = append(commands, "mkdir "+at)
		}
		s.ok(t, strings.Join(append(commands, `put /etc/hostname `+deep+`\leaf`, `ls `+deep+`\*`), "; "))
		got, err = os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(strings.ReplaceAll(deep, `\`, "/")), "leaf"))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
}

func TestSmbclientRecursive(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		local := t.TempDir()
		want := map[string][]byte{}
		for i := range 40 {
			name := filepath.Join(fmt.Sprintf("d%d", i%4), fmt.Sprintf("e%d", i%3), fmt.Sprintf("f%d", i))
			want[name] = pattern(i * 1000)
			require.NoError(t, os.MkdirAll(filepath.Join(local, "tree", filepath.Dir(name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(local, "tree", name), want[name], 0o644))
		}
		s.ok(t, "prompt off; recurse on; lcd "+local+"; mput tree")
		down := t.TempDir()
		s.ok(t, "prompt off; recurse on; lcd "+down+"; mget tree")
		for name, data := range want {
			for _, root := range []string{s.dir, down} {
				got, err := os.ReadFile(filepath.Join(root, "tree", name))
				require.NoError(t, err)
				require.True(t, bytes.Equal(data, got), "%s", name)
			}
		}
		s.ok(t, "deltree tree")
		_, err := os.Stat(filepath.Join(s.dir, "tree"))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestSmbclientResume(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		data := pattern(5 << 20)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "f"), data, 0o644))
		part := filepath.Join(t.TempDir(), "part")
		require.NoError(t, os.WriteFile(part, data[:3<<20+17], 0o600))
		s.ok(t, "reget f "+part)
		got, err := os.ReadFile(part)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
	})
}

func TestSmbclientLargeDirectory(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		const n = 10_000
		require.NoError(t, os.Mkdir(filepath.Join(s.dir, "many"), 0o755))
		for i := range n {
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "many", fmt.Sprintf("file-%05d.txt", i)), nil, 0o644))
		}
		out := s.ok(t, `ls many\*`)
		assert.Equal(t, n, strings.Count(out, ".txt"))
		assert.Equal(t, n/10, strings.Count(s.ok(t, `ls many\*7.txt`), ".txt"))
		assert.Equal(t, 1, strings.Count(s.ok(t, `ls many\file-0123?.txt; ls many\file-01234.txt`), "file-01234.txt ")-1)
		for i := range n {
			if name := fmt.Sprintf("file-%05d.txt", i); !strings.Contains(out, name) {
				t.Fatalf("%s is not in the listing", name)
			}
		}
	})
}

func TestSmbclientRefusals(t *testing.T) {
	s := startSMB(t, "ring")
	for name, c := range map[string]struct{ login, share, want string }{
		"wrong password": {user + "%wrong", "share", "NT_STATUS_LOGON_FAILURE"},
		"unknown user":   {"eve%" + secret, "share", "NT_STATUS_LOGON_FAILURE"},
		"anonymous":      {"%", "share", "NT_STATUS_"},
		"unknown share":  {user + "%" + secret, "other", "NT_STATUS_BAD_NETWORK_NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := s.at.smbclient(t, c.share, "-U", c.login, "-c", "ls")
			require.Error(t, err)
			assert.Contains(t, out, c.want)
		})
	}
	out, err := s.smbclient(t, "exit", "-L", s.at.host, "-g")
	require.NoError(t, err, "%s", out)
	assert.Contains(t, out, "Disk|share|")
}

func TestGoSMB2(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		for _, sign := range []bool{false, true} {
			session := s.dial(t, sign)
			names, err := session.ListSharenames()
			require.NoError(t, err)
			assert.True(t, slices.Contains(names, "share"), "%v", names)
			share, err := session.Mount("share")
			require.NoError(t, err)

			data := pattern(5<<20 + 3)
			require.NoError(t, share.WriteFile("f", data, 0o644))
			got, err := share.ReadFile("f")
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))

			f, err := share.OpenFile("f", os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("hello"), 1<<20)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(2<<20))
			require.NoError(t, f.Sync())
			st, err := f.Stat()
			require.NoError(t, err)
			assert.Equal(t, int64(2<<20), st.Size())
			buf := make([]byte, 5)
			_, err = f.ReadAt(buf, 1<<20)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(buf))
			require.NoError(t, f.Close())

			when := time.Date(2001, 2, 3, 4, 5, 6, 789012300, time.UTC)
			require.NoError(t, share.Chtimes("f", when, when))
			st, err = share.Stat("f")
			require.NoError(t, err)
			assert.True(t, st.ModTime().Equal(when), "%s", st.ModTime())

			require.NoError(t, share.MkdirAll(`a\b\c`, 0o755))
			require.NoError(t, share.Rename("f", `a\b\c\g`))
			require.ErrorIs(t, share.Mkdir(`a\b`, 0o755), fs.ErrExist)
			_, err = share.Stat("f")
			require.ErrorIs(t, err, fs.ErrNotExist)
			list, err := share.ReadDir(`a\b\c`)
			require.NoError(t, err)
			require.Len(t, list, 1)
			assert.Equal(t, "g", list[0].Name())
			require.Error(t, share.Remove("a"), "not empty")
			require.NoError(t, share.RemoveAll("a"))
			_, err = os.Stat(filepath.Join(s.dir, "a"))
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NoError(t, share.Umount())
			require.NoError(t, session.Logoff())
		}
	})
}

// TestConcurrentClients lets several sessions work at once; each sees its own bytes.
func TestConcurrentClients(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		var wg sync.WaitGroup
		for i := range 6 {
			session := s.dial(t, i%2 == 0)
			wg.Go(func() {
				share, err := session.Mount("share")
				if !assert.NoError(t, err) {
					return
				}
				for j := range 10 {
					name := fmt.Sprintf("f-%d-%d", i, j)
					data := pattern(100_000*i + 7777*j)
					if !assert.NoError(t, share.WriteFile(name, data, 0o644)) {
						return
					}
					got, err := share.ReadFile(name)
					assert.NoError(t, err)
					assert.True(t, bytes.Equal(data, got), "%s", name)
				}
			})
		}
		wg.Wait()
	})
}

// TestReadPathIsWhatServed asserts, by the server's own counters, that the path asked for is the path that ran, and that
// signed replies are never spliced.
func TestReadPathIsWhatServed(t *testing.T) {
	for path, other := range map[string]string{"copy": "unsafe-splice", "unsafe-splice": "copy"} {
		t.Run(path, func(t *testing.T) {
			s := startSMB(t, "ring", "--read-path", path)
			data := pattern(4<<20 + 4096)
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "f"), data, 0o644))
			share, err := s.dial(t, false).Mount("share")
			require.NoError(t, err)
			got, err := share.ReadFile("f")
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			st := s.status(t)
			assert.GreaterOrEqual(t, st.Reads[path].Bytes, int64(len(data)), "%+v", st.Reads)
			assert.Zero(t, st.Reads[other].Bytes, "%+v", st.Reads)

			signed, err := s.dial(t, true).Mount("share")
			require.NoError(t, err)
			got, err = signed.ReadFile("f")
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			after := s.status(t)
			assert.Equal(t, st.Reads["unsafe-splice"].Bytes, after.Reads["unsafe-splice"].Bytes, "a signed reply was spliced")
			if path == "unsafe-splice" {
				assert.Positive(t, after.Refused["signed"])
			}
		})
	}
}

// TestSymlinksStayInside swaps a directory and a link that leads out while a client works through it: nothing outside is read or
// made.
func TestSymlinksStayInside(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		s := startSMB(t, engine)
		outside := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(outside, "target"), []byte("outside"), 0o644))
		inner := filepath.Join(s.dir, "inner")
		require.NoError(t, os.Mkdir(inner, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(inner, "target"), []byte("inside"), 0o644))
		require.NoError(t, os.Symlink(outside, filepath.Join(s.dir, "link")))
		require.NoError(t, os.Symlink("inner", filepath.Join(s.dir, "fine")))
		require.NoError(t, os.Symlink("../../../../../../etc", filepath.Join(s.dir, "up")))
		require.NoError(t, os.Symlink("/proc/self/root", filepath.Join(s.dir, "magic")))

		share, err := s.dial(t, false).Mount("share")
		require.NoError(t, err)
		got, err := share.ReadFile(`fine\target`)
		require.NoError(t, err)
		assert.Equal(t, "inside", string(got))
		for _, path := range []string{`link\target`, `up\hostname`, `magic\etc\hostname`} {
			_, err := share.ReadFile(path)
			require.Error(t, err, "%s", path)
		}
		require.Error(t, share.WriteFile(`link\new`, []byte("x"), 0o644))

		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			swap, real := filepath.Join(s.dir, "swap"), filepath.Join(s.dir, "real")
			_ = os.Mkdir(swap, 0o755)
			_ = os.WriteFile(filepath.Join(swap, "target"), []byte("inside"), 0o644)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = os.Rename(swap, real)
				_ = os.Symlink(outside, swap)
				_ = os.Remove(swap)
				_ = os.Rename(real, swap)
			}
		})
		for i := range 300 {
			if got, err := share.ReadFile(`swap\target`); err == nil {
				require.Equal(t, "inside", string(got))
			}
			_ = share.WriteFile(fmt.Sprintf(`swap\new%d`, i), []byte("x"), 0o644)
			_ = share.Remove(fmt.Sprintf(`swap\new%d`, i))
		}
		close(stop)
		wg.Wait()
		left, err := os.ReadDir(outside)
		require.NoError(t, err)
		require.Len(t, left, 1, "something was made outside the share")
		got, err = os.ReadFile(filepath.Join(outside, "target"))
		require.NoError(t, err)
		assert.Equal(t, "outside", string(got))
	})
}

// TestKillUnderLoad kills the server while a client writes: nothing is left in uninterruptible sleep, and a new one starts on the same
// port.
func TestKillUnderLoad(t *testing.T) {
	dir := t.TempDir()
	start := func(port string) *supervise.Child {
		child, err := supervise.Start(t.Context(), supervise.Command{
			Path: binary, Args: serving("smb", dir, "--guest", "--listen", "127.0.0.1:"+port), Stderr: os.Stderr,
		})
		require.NoError(t, err)
		return child
	}
	child := start("0")
	at := endpointOf(t, child)
	client := startSMBLoad(t, at)
	require.Eventually(t, func() bool {
		st, err := os.Stat(filepath.Join(dir, "load"))
		return err == nil && st.Size() > 1<<20
	}, 30*time.Second, time.Millisecond)
	require.ErrorContains(t, child.Kill(), "killed")
	select {
	case <-client.Done():
	case <-time.After(5 * time.Second):
		t.Errorf("smbclient %d still runs", client.Pid())
	}
	for _, c := range []*supervise.Child{child, client} {
		assert.Empty(t, supervise.Uninterruptible(c.Pid()))
	}
	again := start(at.port)
	require.Equal(t, at, endpointOf(t, again))
	require.NoError(t, again.Stop(context.Background()))
}
