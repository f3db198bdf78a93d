//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/uringfs/uringfs/fusefs"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// Stats is what the metrics page needs to know of a service. Each call is a snapshot; all may be made at any time and
// at once.
type Stats interface {
	Engine() EngineStats
	SMB() (smbserver.Stats, bool) // false: no SMB
	Fuse() (fusefs.Stats, bool)   // false: no mount
	TraceLost() (uint64, bool)    // operations missing in the trace; false: no trace
}

// EngineStats are the numbers of a backing engine, by verb where they are maps.
type EngineStats struct {
	Name      string // ring or syscall
	Counts    map[string]uringbackend.Count
	Fallbacks map[string]uint64
	Bytes     map[string]uint64
	Health    uringbackend.Health
	Latencies []uringbackend.Latencies
}

// engineStats reads an engine and the histograms that observe it.
func engineStats(e uringbackend.Engine, h *uringbackend.Histograms) EngineStats {
	return EngineStats{
		Name: e.Name(), Counts: e.Counts(), Fallbacks: e.Fallbacks(), Bytes: e.Bytes(), Health: e.Health(), Latencies: h.Snapshot(),
	}
}

// metricsTimeout bounds each part of a scrape, so that a peer that stalls holds nothing for long.
const metricsTimeout = 10 * time.Second

// metricsServer answers GET /metrics with Prometheus text until Close.
type metricsServer struct {
	listener net.Listener
	http     *http.Server
	done     chan struct{}
}

// metricsAddress completes the address of --metrics: without a host it is the loopback's.
func metricsAddress(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return "", usage("--metrics %q: HOST:PORT, or :PORT for 127.0.0.1; port 0 takes a free one", addr)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// warnIfReachable speaks up when addr, an IP address and port, is not the loopback's: the page asks nobody who they are.
func warnIfReachable(log *slog.Logger, addr string) {
	if a, err := netip.ParseAddrPort(addr); err != nil || !a.Addr().IsLoopback() {
		log.Warn("metrics can be read from other machines, by anybody", "listen", addr)
	}
}

// listenMetrics starts the server.
func listenMetrics(addr string, s Stats, log *slog.Logger) (*metricsServer, error) {
	addr, err := metricsAddress(addr)
	if err != nil {
		return nil, err
	}
	registry, err := metricsRegistry(s)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", addr, err)
	}
	warnIfReachable(log, l.Addr().String())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), Timeout: metricsTimeout, MaxRequestsInFlight: 4,
	}))
	m := &metricsServer{
		listener: l, done: make(chan struct{}),
		http: &http.Server{
			Handler: mux, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			ReadTimeout: metricsTimeout, WriteTimeout: 2 * metricsTimeout, IdleTimeout: 2 * time.Minute,
		},
	}
	// ends when the listener closes; waited by Close
	go func() {
		defer close(m.done)
		_ = m.http.Serve(l) // always http.ErrServerClosed after Close
	}()
	return m, nil
}

// URL is where the page is.
func (m *metricsServer) URL() string { return "http://" + m.listener.Addr().String() + "/metrics" }

// Close stops listening and lets scrapes in flight end, until ctx does.
func (m *metricsServer) Close(ctx context.Context) error {
	err := m.http.Shutdown(ctx)
	if err != nil {
		_ = m.http.Close() // the connections that did not end
	}
	<-m.done
	return err
}

// metricsRegistry holds the service's metrics, and those of the Go runtime and the process.
func metricsRegistry(s Stats) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		newCollector(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return r, nil
}
