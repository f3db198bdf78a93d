//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// TestTraceAndMetrics runs a server with both, on both formats: the page counts what was done, and the file holds it.
func TestTraceAndMetrics(t *testing.T) {
	for engine, format := range map[string]string{"ring": "json", "syscall": "perfetto"} {
		t.Run(format, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "trace."+format)
			s := startServe(t, mountOptions{engine: engine, args: []string{"--trace", file, "--metrics", ":0"}, keep: true})
			data := pattern(1<<20 + 3)
			require.NoError(t, os.WriteFile(s.path("f"), data, 0o644))
			local := filepath.Join(t.TempDir(), "f")
			s.ok(t, "get f "+local)
			got, err := os.ReadFile(local)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))

			page := s.metrics(t)
			assert.Contains(t, page, `uringfs_engine_info{engine="`+engine+`"} 1`)
			assert.GreaterOrEqual(t, sum(t, page, `uringfs_engine_ops_total{road="[a-z]+",verb="read_at"}`), 1.0)
			assert.GreaterOrEqual(t, sum(t, page, `uringfs_engine_bytes_total{verb="read_at"}`), float64(len(data)))
			assert.GreaterOrEqual(t, sum(t, page, `uringfs_engine_bytes_total{verb="write_at"}`), float64(len(data)))
			assert.GreaterOrEqual(t, sum(t, page, `uringfs_engine_op_duration_seconds_count{verb="read_at"}`), 1.0)
			assert.Zero(t, sum(t, page, `uringfs_engine_stale_completions_total`))
			assert.Zero(t, sum(t, page, `uringfs_engine_trace_lost_total`))

			s.mounted.stop(t)
			trace, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotEmpty(t, trace)
			if format == "json" {
				checkJSONTrace(t, trace, int64(len(data)))
			} else {
				checkPerfettoTrace(t, trace)
			}
		})
	}
}

// metrics reads the page of the server.
func (s *served) metrics(t *testing.T) string {
	t.Helper()
	var ready struct{ Metrics string }
	require.NoError(t, json.Unmarshal(s.mounted.child.Ready(), &ready))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ready.Metrics, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	page, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(page)
}

// sum adds up the samples whose name and labels match; there is one at least.
func sum(t *testing.T, page, sample string) (total float64) {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^`+sample+` (\S+)$`).FindAllStringSubmatch(page, -1)
	require.NotEmpty(t, lines, "%s is not in\n%s", sample, page)
	for _, line := range lines {
		v, err := strconv.ParseFloat(line[1], 64)
		require.NoError(t, err)
		total += v
	}
	return total
}

// checkJSONTrace reads every line: operations that make sense, which moved wanted bytes each way, and the count at the end.
func checkJSONTrace(t *testing.T, trace []byte, wanted int64) {
	t.Helper()
	require.True(t, bytes.HasSuffix(trace, []byte("\n")), "whole lines")
	type line struct {
		Verb    string
		Ring    int
		Start   int64 `json:"start_ns"`
		End     int64 `json:"end_ns"`
		N       int
		Bytes   int64
		Errno   string
		Written *int64
		Lost    int64
		Last    bool `json:"end"`
	}
	var last line
	var ops int64
	moved, onRing := map[string]int64{}, 0
	for text := range bytes.Lines(trace) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		var l struct {
			line
			FD, Offset, More int64
		}
		require.NoError(t, d.Decode(&l), "%s", text)
		require.False(t, last.Last, "nothing follows the end: %s", text)
		if last = l.line; l.Written != nil {
			continue
		}
		ops++
		require.NotEmpty(t, l.Verb)
		require.LessOrEqual(t, l.Start, l.End, "%s", text)
		moved[l.Verb] += l.Bytes
		if l.Ring >= 0 {
			onRing++
		}
	}
	require.True(t, last.Last, "the trace has an end")
	assert.Equal(t, ops, *last.Written)
	assert.Zero(t, last.Lost)
	assert.GreaterOrEqual(t, moved["read_at"], wanted)
	assert.GreaterOrEqual(t, moved["write_at"], wanted)
	assert.Positive(t, onRing, "writes take the ring")
}

// checkPerfettoTrace reads the framing of every packet, as perfetto_trace.proto has it.
func checkPerfettoTrace(t *testing.T, trace []byte) {
	t.Helper()
	packets, events := 0, 0
	for b := trace; len(b) > 0; packets++ {
		num, typ, n := protowire.ConsumeTag(b)
		require.NoError(t, protowire.ParseError(n), "packet %d", packets)
		require.Equal(t, protowire.Number(1), num, "Trace.packet")
		require.Equal(t, protowire.BytesType, typ)
		packet, m := protowire.ConsumeBytes(b[n:])
		require.NoError(t, protowire.ParseError(m), "packet %d", packets)
		b = b[n+m:]
		for len(packet) > 0 {
			num, typ, n := protowire.ConsumeTag(packet)
			require.NoError(t, protowire.ParseError(n))
			m := protowire.ConsumeFieldValue(num, typ, packet[n:])
			require.NoError(t, protowire.ParseError(m))
			packet = packet[n+m:]
			if num == 11 { // TracePacket.track_event
				events++
			}
		}
	}
	assert.Greater(t, events, 10, "of %d packets", packets)
	for _, name := range []string{"read_at", "write_at", "openat2"} {
		assert.True(t, bytes.Contains(trace, []byte(name)), "%s is named", name)
	}
}
