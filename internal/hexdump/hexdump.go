package hexdump

import (
	"bufio"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Entry is one named run of bytes.
type Entry struct {
	Name string
	Data []byte
}

// Read returns the entries of testdata/file in order.
func Read(tb testing.TB, file string) []Entry {
	tb.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	require.NoError(tb, err)
	defer f.Close()
	var all []Entry
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.HasSuffix(line, ":"):
			all = append(all, Entry{Name: strings.TrimSuffix(line, ":")})
		default:
			require.NotEmpty(tb, all, "hex before a name")
			last := &all[len(all)-1]
			last.Data = append(last.Data, Bytes(tb, line)...)
		}
	}
	require.NoError(tb, lines.Err())
	require.NotEmpty(tb, all)
	return all
}

// ReadMap returns the entries of testdata/file by name; no name may come twice.
func ReadMap(tb testing.TB, file string) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{}
	for _, e := range Read(tb, file) {
		require.NotContains(tb, all, e.Name)
		all[e.Name] = e.Data
	}
	return all
}

// Bytes decodes hexadecimal; spaces do not matter.
func Bytes(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err)
	return b
}
