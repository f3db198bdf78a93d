package ntlm_test

import (
	"bufio"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// readDump reads a commented hex dump: "name:" lines, each with lines of hex below it.
func readDump(t testing.TB, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	require.NoError(t, err)
	defer f.Close()
	all, name := map[string][]byte{}, ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.HasSuffix(line, ":"):
			name = strings.TrimSuffix(line, ":")
			require.NotContains(t, all, name)
		default:
			require.NotEmpty(t, name, "hex before a name")
			all[name] = append(all[name], unhex(t, line)...)
		}
	}
	require.NotEmpty(t, all)
	return all
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}
