package smb2_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
)

// appender is what every structure of the codec offers.
type appender interface{ Append(b []byte) []byte }

// wire returns one recorded message of testdata/wire: a commented hex dump, one frame without its transport header. The
// comments say who sent it to whom.
func wire(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "wire", name+".hex"))
	require.NoError(tb, err)
	var msg []byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		_, line, _ = strings.Cut(line, "  ") // the offset
		line, _, _ = strings.Cut(line, "|")  // the characters
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		require.NoError(tb, err, "%s: %s", name, line)
		msg = append(msg, b...)
	}
	require.NotEmpty(tb, msg, name)
	return msg
}

// wireNames lists the recorded messages whose names begin with prefix.
func wireNames(tb testing.TB, prefix string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "wire", prefix+"*.hex"))
	require.NoError(tb, err)
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".hex")
	}
	return files
}

// elements cuts a message into its compound elements; what is not SMB2 stays whole.
func elements(tb testing.TB, msg []byte) [][]byte {
	tb.Helper()
	if smb2.ProtocolOf(msg) != smb2.ProtocolSMB2 {
		return [][]byte{msg}
	}
	var list [][]byte
	for rest := msg; rest != nil; {
		var element []byte
		var err error
		element, rest, err = smb2.NextInCompound(rest)
		require.NoError(tb, err)
		list = append(list, element)
	}
	return list
}

// checkRoundTrip requires the rules of the package of one parse: errors are ErrMalformed; parse, append, parse is equal;
// the place of a message in its buffer makes no difference; old bytes of a reused buffer do not show. headerLen is the part of
// msg in front of what Append writes.
func checkRoundTrip[T appender](t *testing.T, parse func([]byte) (T, error), msg []byte, headerLen int) {
	t.Helper()
	v, err := parse(msg)
	if err != nil {
		require.ErrorIs(t, err, smb2.ErrMalformed)
		return
	}
	header := msg[:headerLen:headerLen]
	again := v.Append(slices.Clone(header))
	w, err := parse(again)
	require.NoError(t, err)
	require.Equal(t, v, w)

	dirty := slices.Repeat([]byte{0xA5}, 24+len(again)+64)
	moved := v.Append(append(dirty[:24], header...))
	assert.Equal(t, again, moved[24:])
}

// fuzzMessage fuzzes a parser of whole messages, seeded with the recorded ones that have one of the prefixes.
func fuzzMessage[T appender](f *testing.F, parse func([]byte) (T, error), prefixes ...string) {
	f.Helper()
	for _, prefix := range prefixes {
		names := wireNames(f, prefix)
		require.NotEmpty(f, names, prefix)
		for _, name := range names {
			for _, e := range elements(f, wire(f, name)) {
				f.Add(e)
				f.Add(e[:min(len(e), smb2.HeaderLen+8)])
			}
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) { checkRoundTrip(t, parse, msg, min(len(msg), smb2.HeaderLen)) })
}

// fuzzData fuzzes a parser of a part of a message.
func fuzzData[T appender](f *testing.F, parse func([]byte) (T, error), seeds ...[]byte) {
	f.Helper()
	for _, s := range seeds {
		f.Add(s)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) { checkRoundTrip(t, parse, data, 0) })
}
