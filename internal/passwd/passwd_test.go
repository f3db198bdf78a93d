package passwd_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/passwd"
)

func TestSetLoadDelete(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	_, err := passwd.Load(file)
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, passwd.Set(file, "Ann", "secret"))
	require.NoError(t, passwd.Set(file, "bob", "other"))
	require.NoError(t, passwd.Set(file, "ann", "changed"), "names compare without case")
	db, err := passwd.Load(file)
	require.NoError(t, err)
	assert.Equal(t, 2, db.Len())
	hash, ok := db.NTHash("ANN", "ANY")
	assert.True(t, ok)
	assert.Equal(t, ntlm.NTHash("changed"), hash)
	_, ok = db.NTHash("eve", "")
	assert.False(t, ok)

	require.ErrorIs(t, passwd.Delete(file, "eve"), passwd.ErrUnknownUser)
	require.NoError(t, passwd.Delete(file, "ANN"))
	db, err = passwd.Load(file)
	require.NoError(t, err)
	_, ok = db.NTHash("ann", "")
	assert.False(t, ok)
	_, ok = db.NTHash("bob", "")
	assert.True(t, ok)
	st, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), st.Mode().Perm())
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	good := "ann:0123456789abcdef0123456789abcdef\n"
	for name, c := range map[string]struct {
		content string
		mode    fs.FileMode
	}{
		"readable by others":   {good, 0o644},
		"no colon":             {"ann\n", 0o600},
		"short hash":           {"ann:0123\n", 0o600},
		"not hexadecimal":      {"ann:zz23456789abcdef0123456789abcdef\n", 0o600},
		"name with backslash":  {"a\\b:0123456789abcdef0123456789abcdef\n", 0o600},
		"line over the buffer": {good + string(make([]byte, 70000)) + "\n", 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "users")
			require.NoError(t, os.WriteFile(file, []byte(c.content), 0o600))
			require.NoError(t, os.Chmod(file, c.mode))
			_, err := passwd.Load(file)
			require.Error(t, err)
		})
	}
	require.Error(t, passwd.Set(filepath.Join(dir, "x"), "ann", ""), "empty password")
	require.Error(t, passwd.Set(filepath.Join(dir, "x"), "a:b", "p"), "colon in a name")
	require.Error(t, passwd.Set(filepath.Join(dir, "x"), "", "p"), "no name")
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { assert.NoError(t, passwd.Set(file, string(rune('a'+i)), "p")) })
	}
	wg.Wait()
	db, err := passwd.Load(file)
	require.NoError(t, err)
	assert.Equal(t, 16, db.Len())
}
