package smbserver_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	gosmb2 "github.com/cloudsoda/go-smb2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

// These tests use an independent client, so that a mistake which server and test client of this module share shows.

func TestGoSMB2Lifecycle(t *testing.T) {
	f := start(t)
	for _, c := range []struct {
		sign    bool
		dialect uint16
	}{{false, 0x0202}, {false, 0x0210}, {true, 0x0300}, {false, 0x0302}, {false, 0x0311}, {true, 0x0311}} {
		t.Run(fmt.Sprintf("%#x,sign=%t", c.dialect, c.sign), func(t *testing.T) {
			session, share := f.mount(c.sign, c.dialect)
			lifecycle(t, share)
			require.NoError(t, share.Umount())
			require.NoError(t, session.Logoff())
		})
	}
}

func lifecycle(t *testing.T, share *gosmb2.Share) {
	t.Helper()
	require.NoError(t, share.Mkdir("dir", 0o755))
	assert.ErrorIs(t, share.Mkdir("dir", 0o755), os.ErrExist)
	assert.ErrorIs(t, share.Mkdir(`missing\dir`, 0o755), os.ErrNotExist)

	content := bytes.Repeat([]byte("0123456789"), 150_000)
	require.NoError(t, share.WriteFile(`dir\file`, content, 0o644))
	got, err := share.ReadFile(`dir\file`)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))

	file, err := share.OpenFile(`dir\file`, os.O_RDWR, 0o644)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("ABC"), 5)
	require.NoError(t, err)
	p := make([]byte, 10)
	_, err = file.ReadAt(p, 0)
	require.NoError(t, err)
	assert.Equal(t, "01234ABC89", string(p))
	_, err = file.ReadAt(p, int64(len(content)))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, file.Truncate(5))
	require.NoError(t, file.Sync())
	require.NoError(t, file.Close())

	info, err := share.Stat(`dir\file`)
	require.NoError(t, err)
	assert.EqualValues(t, 5, info.Size())
	assert.False(t, info.IsDir())
	info, err = share.Stat("dir")
	require.NoError(t, err)
	assert.True(t, info.IsDir())

	_, err = share.OpenFile(`dir\file`, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	require.ErrorIs(t, err, os.ErrExist)
	_, err = share.Open("missing")
	require.ErrorIs(t, err, os.ErrNotExist)
	truncated, err := share.Create(`dir\file`)
	require.NoError(t, err)
	require.NoError(t, truncated.Close())
	info, err = share.Stat(`dir\file`)
	require.NoError(t, err)
	assert.Zero(t, info.Size())

	require.Error(t, share.Remove("dir"), "the directory is not empty")
	require.NoError(t, share.Rename(`dir\file`, "moved"))
	require.NoError(t, share.WriteFile("other", []byte("other"), 0o644))
	require.NoError(t, share.Rename("other", "moved"), "go-smb2 asks to replace")
	got, err = share.ReadFile("moved")
	require.NoError(t, err)
	assert.Equal(t, "other", string(got))
	target, err := share.Open("moved")
	require.NoError(t, err)
	require.NoError(t, share.WriteFile("third", []byte("third"), 0o644))
	require.ErrorIs(t, share.Rename("third", "moved"), os.ErrPermission, "the target is open")
	require.NoError(t, target.Close())
	require.NoError(t, share.Remove("third"))
	require.NoError(t, share.Remove("moved"))
	require.NoError(t, share.Rename("dir", "renamed"))
	require.NoError(t, share.MkdirAll(`renamed\a\b\c`, 0o755))
	require.NoError(t, share.WriteFile(`renamed\a\b\file`, []byte("x"), 0o644))
	require.NoError(t, share.RemoveAll("renamed"))
	left, err := share.ReadDir("")
	require.NoError(t, err)
	assert.Empty(t, left)

	v, err := share.Statfs("")
	require.NoError(t, err)
	assert.EqualValues(t, 4096, v.BlockSize())
	assert.Positive(t, v.AvailableBlockCount())
}

func TestGoSMB2Names(t *testing.T) {
	f := start(t)
	_, share := f.mount(false, 0)
	names := []string{"plain", "Üñí¢ødé", "日本語.txt", "\U0001F600", "with space", "…", "e\u0301", "\u00e9"}
	for _, name := range names {
		require.NoError(t, share.WriteFile(name, []byte(name), 0o644))
	}
	for _, name := range names {
		got, err := share.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, name, string(got))
	}
	assert.ElementsMatch(t, names, listed(t, share, ""))
}

func listed(t *testing.T, share *gosmb2.Share, dir string) (names []string) {
	t.Helper()
	list, err := share.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestGoSMB2TenThousandEntries(t *testing.T) {
	f := start(t)
	var want []string
	for i := range 10_000 {
		name := fmt.Sprintf("file-%05d with a name of some length", i)
		require.NoError(t, f.mem.WriteFile(name, nil))
		want = append(want, name)
	}
	_, share := f.mount(false, 0)
	got := listed(t, share, "")
	slices.Sort(got)
	assert.Equal(t, want, got)
	matches, err := share.Glob("file-0123?*")
	require.NoError(t, err)
	assert.Len(t, matches, 10)
	matches, err = share.Glob("nothing*")
	require.NoError(t, err)
	assert.Empty(t, matches)
}

func TestGoSMB2Times(t *testing.T) {
	f := start(t)
	_, share := f.mount(false, 0)
	require.NoError(t, share.WriteFile("file", []byte("x"), 0o644))
	for _, want := range []time.Time{
		time.Date(2024, 2, 29, 23, 59, 59, 123_456_700, time.UTC),
		time.Date(1999, 12, 31, 23, 59, 59, 999_999_900, time.UTC),
		time.Date(1970, 1, 1, 0, 0, 0, 100, time.UTC),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_900, time.UTC),
		time.Date(1950, 6, 1, 0, 0, 0, 100, time.UTC),
	} {
		require.NoError(t, share.Chtimes("file", want.Add(time.Hour), want))
		info, err := share.Stat("file")
		require.NoError(t, err)
		assert.True(t, want.Equal(info.ModTime()), "want %s, got %s", want, info.ModTime())
		stat, ok := info.Sys().(*gosmb2.FileStat)
		require.True(t, ok)
		assert.True(t, want.Add(time.Hour).Equal(stat.LastAccessTime))
	}
}

func TestGoSMB2ReadOnlyFile(t *testing.T) {
	f := start(t)
	_, share := f.mount(false, 0)
	require.NoError(t, share.WriteFile("file", []byte("x"), 0o644))
	require.NoError(t, share.Chmod("file", 0o444))
	_, err := share.OpenFile("file", os.O_RDWR, 0o644)
	require.ErrorIs(t, err, os.ErrPermission)
	got, err := share.ReadFile("file")
	require.NoError(t, err)
	assert.Equal(t, "x", string(got))
	require.NoError(t, share.Chmod("file", 0o644))
	require.NoError(t, share.WriteFile("file", []byte("y"), 0o644))
	require.NoError(t, share.Remove("file"))
}

func TestGoSMB2ListsShares(t *testing.T) {
	more := func(c *smbserver.Config) {
		for i := range 120 { // more than fits one RPC fragment
			c.Shares[fmt.Sprintf("Share with a long name, number %03d", i)] = smbtest.NewMem(smbtest.Options{})
		}
	}
	for name, change := range map[string]func(*smbserver.Config){"one": func(*smbserver.Config) {}, "many": more} {
		t.Run(name, func(t *testing.T) {
			f := start(t, change)
			session, _ := f.mount(false, 0)
			names, err := session.ListSharenames()
			require.NoError(t, err)
			assert.Contains(t, names, "IPC$")
			assert.Contains(t, names, shareName)
			if name == "many" {
				assert.Len(t, names, 122)
			}
		})
	}
}

func TestGoSMB2SymlinksAreFollowedBeneathTheRoot(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("file", []byte("content")))
	require.NoError(t, f.mem.Symlink("file", "link"))
	require.NoError(t, f.mem.Symlink("../../etc/passwd", "out"))
	require.NoError(t, f.mem.Symlink("nowhere", "dangling"))
	_, share := f.mount(false, 0)
	got, err := share.ReadFile("link")
	require.NoError(t, err)
	assert.Equal(t, "content", string(got))
	for _, path := range []string{"out", "dangling"} {
		_, err = share.ReadFile(path)
		require.ErrorIs(t, err, os.ErrNotExist, path)
	}
	for _, path := range []string{"out", "dangling", "link"} {
		require.NoError(t, share.Remove(path), path)
	}
	assert.Equal(t, []string{"file"}, listed(t, share, ""))
}

func TestGoSMB2OverNoise(t *testing.T) {
	r := seed.FromTest(t)
	f := start(t, func(c *smbserver.Config) {
		inner := c.Transport
		c.Transport = func(conn net.Conn) smbserver.Transport {
			if inner != nil {
				conn = inner(conn)
			}
			return smbtest.NewNoise(conn, 7)
		}
	})
	d := &gosmb2.Dialer{Initiator: &gosmb2.NTLMInitiator{User: userName, Password: password}}
	session, err := d.DialConn(t.Context(), smbtest.NewNoise(f.dial(), r.Uint64()), "127.0.0.1:4450")
	require.NoError(t, err)
	share, err := session.Mount(shareName)
	require.NoError(t, err)
	lifecycle(t, share)
	require.NoError(t, session.Logoff())
}

func TestGoSMB2ClientsAtOnce(t *testing.T) {
	f := start(t)
	const clients, rounds = 4, 25
	errs := make(chan error, clients)
	for i := range clients {
		_, share := f.mount(i%2 == 0, 0)
		// ends when its rounds are done; waited by the receives below
		go func() { errs <- hammer(share, i, rounds) }()
	}
	for range clients {
		require.NoError(t, <-errs)
	}
}

// hammer works on names of its own and on one that all clients fight for.
func hammer(share *gosmb2.Share, i, rounds int) error {
	for round := range rounds {
		own := fmt.Sprintf("own-%d-%d", i, round)
		if err := share.WriteFile(own, []byte(own), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", own, err)
		}
		// Each of these may lose against the others, in ways that a client expects.
		if err := share.WriteFile("shared", []byte(own), 0o644); err != nil && !lostRace(err) {
			return fmt.Errorf("write shared: %w", err)
		}
		if err := share.Remove("shared"); err != nil && !lostRace(err) {
			return fmt.Errorf("remove shared: %w", err)
		}
		if _, err := share.ReadDir(""); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		got, err := share.ReadFile(own)
		if err != nil || string(got) != own {
			return fmt.Errorf("read %s: %q, %w", own, got, err)
		}
		if err := share.Remove(own); err != nil {
			return fmt.Errorf("remove %s: %w", own, err)
		}
	}
	return nil
}

func lostRace(err error) bool {
	const sharingViolation, deletePending = 0xC0000043, 0xC0000056
	var re *gosmb2.ResponseError
	if errors.As(err, &re) && (re.Code == sharingViolation || re.Code == deletePending) {
		return true
	}
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)
}
