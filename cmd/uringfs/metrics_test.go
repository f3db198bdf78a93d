//go:build linux

package main

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/fusefs"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// fakeStats has a number for every row of the page.
type fakeStats struct{ latencies uringbackend.Histograms }

func (f *fakeStats) Engine() EngineStats {
	return EngineStats{
		Name:      "ring",
		Counts:    map[string]uringbackend.Count{"read_at": {Ring: 3, Syscall: 2}},
		Fallbacks: map[string]uint64{"statx": 4},
		Bytes:     map[string]uint64{"read_at": 4096},
		Health:    uringbackend.Health{InFlight: 1, Rings: 2, OpenFDs: 3, Stale: 4, Overflows: 5, Resubmitted: 6},
		Latencies: f.latencies.Snapshot(),
	}
}

func (f *fakeStats) SMB() (smbserver.Stats, bool) {
	return smbserver.Stats{
		OpenConnections: 1, OpenSessions: 2, OpenFiles: 3, Connections: 4, Refused: 5, Logons: 6, FailedLogons: 7,
		Requests: map[string]int64{"READ": 8}, Paths: map[string]smbserver.PathStats{"copy": {PDUs: 9, Bytes: 10}},
		Refusals: map[string]int64{"signed": 11}, Malformed: 12, Lost: 13, BadSignatures: 14, Internal: 15, Panics: 16, IdleBuffers: 17,
	}, true
}

func (f *fakeStats) Fuse() (fusefs.Stats, bool) {
	return fusefs.Stats{
		Requests: map[string]uint64{"LOOKUP": 1}, BytesRead: 2, BytesWritten: 3, Nodes: 4, OpenFiles: 5, Notified: 6, EventsLost: 7,
	}, true
}

func (f *fakeStats) TraceLost() (uint64, bool) { return 8, true }

func newFakeStats() *fakeStats {
	f := &fakeStats{}
	for _, took := range []int64{100, 1000, 1_000_000} {
		f.latencies.Observe(uringbackend.OpEvent{Kind: uringbackend.KindReadAt, End: took})
	}
	f.latencies.Observe(uringbackend.OpEvent{Kind: uringbackend.KindReadAt, End: 200e9, Err: io.EOF})
	return f
}

func TestMetricsAreWellFormed(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(newCollector(newFakeStats())))
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	assert.Empty(t, problems)
	families, err := r.Gather()
	require.NoError(t, err)
	var names []string
	for _, f := range families {
		names = append(names, strings.TrimPrefix(f.GetName(), "uringfs_"))
	}
	var want []string
	for _, m := range metrics() {
		want = append(want, m.name)
	}
	slices.Sort(want)
	assert.Equal(t, want, names, "each row is on the page")
}

func TestMetricsSayWhatStatsSay(t *testing.T) {
	require.NoError(t, testutil.CollectAndCompare(newCollector(newFakeStats()), strings.NewReader(`
# HELP uringfs_engine_ops_total Operations carried out, by verb and by road.
# TYPE uringfs_engine_ops_total counter
uringfs_engine_ops_total{road="ring",verb="read_at"} 3
uringfs_engine_ops_total{road="syscall",verb="read_at"} 2
# HELP uringfs_engine_errors_total Operations that reported an error, by verb.
# TYPE uringfs_engine_errors_total counter
uringfs_engine_errors_total{verb="read_at"} 1
# HELP uringfs_smb_reads_total READ replies with data, by the path that served them.
# TYPE uringfs_smb_reads_total counter
uringfs_smb_reads_total{path="copy"} 9
# HELP uringfs_fuse_requests_total Requests of the kernel, by operation.
# TYPE uringfs_fuse_requests_total counter
uringfs_fuse_requests_total{op="LOOKUP"} 1
`), "uringfs_engine_ops_total", "uringfs_engine_errors_total", "uringfs_smb_reads_total", "uringfs_fuse_requests_total"))
}

func TestMetricsHistogramIsCumulative(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(newCollector(newFakeStats())))
	families, err := r.Gather()
	require.NoError(t, err)
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "uringfs_engine_op_duration_seconds" })
	require.GreaterOrEqual(t, i, 0)
	h := families[i].GetMetric()[0].GetHistogram()
	assert.Equal(t, uint64(4), h.GetSampleCount())
	assert.InDelta(t, 200.0010011, h.GetSampleSum(), 1e-9)
	require.Len(t, h.GetBucket(), 29)
	for _, b := range h.GetBucket() {
		want := uint64(0)
		for _, took := range []time.Duration{100, 1000, 1_000_000} {
			if took.Seconds() <= b.GetUpperBound() {
				want++
			}
		}
		assert.Equal(t, want, b.GetCumulativeCount(), "le %v", b.GetUpperBound())
	}
}

func TestMetricsAddress(t *testing.T) {
	for addr, want := range map[string]string{
		":9100": "127.0.0.1:9100", ":0": "127.0.0.1:0", "localhost:80": "localhost:80", "[::1]:80": "[::1]:80", "0.0.0.0:80": "0.0.0.0:80",
	} {
		got, err := metricsAddress(addr)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, addr := range []string{"", "9100", "host", "host:", "a:b:c"} {
		_, err := metricsAddress(addr)
		assert.Equal(t, exitUsage, code(err), "%q", addr)
	}
}

// scrape reads the page as Prometheus would.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	return families
}

func TestMetricsServer(t *testing.T) {
	var logged strings.Builder
	m, err := listenMetrics(":0", newFakeStats(), slog.New(slog.NewTextHandler(&logged, nil)))
	require.NoError(t, err)
	assert.Regexp(t, `^http://127\.0\.0\.1:\d+/metrics$`, m.URL())
	families := scrape(t, m.URL())
	for _, name := range []string{"uringfs_engine_ops_total", "go_goroutines", "process_open_fds"} {
		assert.Contains(t, families, name)
	}
	resp, err := http.Get(strings.TrimSuffix(m.URL(), "metrics") + "debug/pprof/")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	_, err = listenMetrics(strings.TrimSuffix(strings.TrimPrefix(m.URL(), "http://"), "/metrics"), newFakeStats(), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "--metrics", "the address is taken")
	require.NoError(t, m.Close(t.Context()))
	assert.Empty(t, logged.String(), "loopback is nothing to warn of")
	http.DefaultClient.CloseIdleConnections()
	resp, err = http.Get(m.URL())
	if err == nil {
		resp.Body.Close()
	}
	require.Error(t, err, "the server is gone")
}

func TestMetricsServerWarnsWhereOthersCanReachIt(t *testing.T) {
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, nil))
	warnIfReachable(log, "0.0.0.0:9100")
	warnIfReachable(log, "[::]:9100")
	assert.Equal(t, 2, strings.Count(logged.String(), "by anybody"))
	logged.Reset()
	warnIfReachable(log, "127.0.0.2:9100")
	warnIfReachable(log, "[::1]:9100")
	assert.Empty(t, logged.String())
}
