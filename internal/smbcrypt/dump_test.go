package smbcrypt_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type dumped struct {
	name string
	data []byte
}

// readDump reads a commented hex dump: "name:" lines, each with lines of hex below it.
func readDump(t testing.TB, file string) []dumped {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	require.NoError(t, err)
	defer f.Close()
	var all []dumped
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.HasSuffix(line, ":"):
			all = append(all, dumped{name: strings.TrimSuffix(line, ":")})
		default:
			require.NotEmpty(t, all, "hex before a name")
			last := &all[len(all)-1]
			last.data = append(last.data, unhex(t, line)...)
		}
	}
	require.NotEmpty(t, all)
	return all
}
