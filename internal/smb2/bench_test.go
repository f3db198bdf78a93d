package smb2_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
)

// BenchmarkReadExchange is the codec's part of one READ in the server: header and request in, header and fixed part out.
func BenchmarkReadExchange(b *testing.B) {
	msg := wire(b, "read_request")
	out := make([]byte, 0, smb2.ReadResponsePrefix)
	b.ReportAllocs()
	for b.Loop() {
		h, err := smb2.ParseHeader(msg)
		if err != nil {
			b.Fatal(err)
		}
		r, err := smb2.ParseReadRequest(msg)
		if err != nil {
			b.Fatal(err)
		}
		h.Flags |= smb2.FlagServerToRedir
		out = smb2.AppendReadResponseHeader(h.Append(out[:0]), int(r.Length))
	}
}

// TestReadExchangeAllocates nothing: the codec must not be what a hot READ costs.
func TestReadExchangeAllocates(t *testing.T) {
	msg := wire(t, "read_request")
	out := make([]byte, 0, smb2.ReadResponsePrefix)
	n := testing.AllocsPerRun(100, func() {
		h, err := smb2.ParseHeader(msg)
		require.NoError(t, err)
		r, err := smb2.ParseReadRequest(msg)
		require.NoError(t, err)
		out = smb2.AppendReadResponseHeader(h.Append(out[:0]), int(r.Length))
	})
	require.Zero(t, n)
}
