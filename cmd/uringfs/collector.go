//go:build linux

package main

import (
	"math/bits"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/uringfs/uringfs/fusefs"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// collector makes metrics of Stats, anew at each scrape: the numbers are kept where the work is done, once.
type collector struct {
	stats Stats
	descs map[string]*prometheus.Desc
}

// metric is one row of the page.
type metric struct {
	name, help string
	labels     []string
}

// metrics are all rows but those of the Go runtime and the process. docs/trace.md explains them.
func metrics() []metric {
	verb := []string{"verb"}
	return []metric{
		{"engine_info", "The backing engine that runs: ring or syscall.", []string{"engine"}},
		{"engine_ops_total", "Operations carried out, by verb and by road.", []string{"verb", "road"}},
		{"engine_fallbacks_total", "Operations that belong on the ring and took a system call, because the kernel lacks the opcode.", verb},
		{"engine_bytes_total", "Data moved, by verb.", verb},
		{"engine_errors_total", "Operations that reported an error, by verb.", verb},
		{"engine_op_duration_seconds", "Time from submission to the last report, by verb.", verb},
		{"engine_in_flight", "Operations accepted and not yet reported.", nil},
		{"engine_rings", "Rings that exist.", nil},
		{"engine_open_fds", "Descriptors that the engine owns.", nil},
		{"engine_stale_completions_total", "Completions of operations that were over: a bug, if not 0.", nil},
		{"engine_cq_overflows_total", "Times the kernel's completion queue overflowed; nothing is lost.", nil},
		{"engine_resubmitted_total", "Operations submitted again because a signal or the end of a thread came first.", nil},
		{"engine_trace_lost_total", "Operations missing in the trace because its writer did not keep up.", nil},

		{"smb_requests_total", "SMB requests, by command.", []string{"command"}},
		{"smb_reads_total", "READ replies with data, by the path that served them.", []string{"path"}},
		{"smb_read_bytes_total", "Payload of READ replies, by the path that served them.", []string{"path"}},
		{"smb_read_refusals_total", "READs that did not take the path asked for, by reason.", []string{"reason"}},
		{"smb_connections", "Connections open.", nil},
		{"smb_sessions", "Sessions open.", nil},
		{"smb_open_files", "Opens.", nil},
		{"smb_connections_total", "Connections accepted and served.", nil},
		{"smb_connections_refused_total", "Connections closed at once: a limit was reached.", nil},
		{"smb_logons_total", "Logons that succeeded.", nil},
		{"smb_logons_failed_total", "Logons that failed.", nil},
		{"smb_malformed_total", "Requests whose bytes made no sense.", nil},
		{"smb_connections_lost_total", "Connections closed for what the peer sent.", nil},
		{"smb_bad_signatures_total", "Requests with a wrong signature.", nil},
		{"smb_internal_errors_total", "Errors that have no place in the protocol: a bug, if not 0.", nil},
		{"smb_panics_total", "Requests that panicked: a bug, if not 0.", nil},
		{"smb_idle_buffer_bytes", "Memory that connections keep for reuse.", nil},

		{"fuse_requests_total", "Requests of the kernel, by operation.", []string{"op"}},
		{"fuse_read_bytes_total", "Data sent in READ replies.", nil},
		{"fuse_written_bytes_total", "Data accepted by WRITE.", nil},
		{"fuse_nodes", "Inodes that the kernel holds.", nil},
		{"fuse_open_files", "Open files and directories.", nil},
		{"fuse_notifications_total", "Invalidations sent to the kernel.", nil},
		{"fuse_events_lost_total", "Changes that did not fit the queue; each drops all caches.", nil},
	}
}

func newCollector(s Stats) *collector {
	c := &collector{stats: s, descs: make(map[string]*prometheus.Desc)}
	for _, m := range metrics() {
		c.descs[m.name] = prometheus.NewDesc("uringfs_"+m.name, m.help, m.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	p := page{descs: c.descs, ch: ch}
	p.engine(c.stats.Engine())
	if lost, ok := c.stats.TraceLost(); ok {
		p.counter("engine_trace_lost_total", float64(lost))
	}
	if s, ok := c.stats.SMB(); ok {
		p.smb(s)
	}
	if s, ok := c.stats.Fuse(); ok {
		p.fuse(s)
	}
}

// page is one scrape.
type page struct {
	descs map[string]*prometheus.Desc
	ch    chan<- prometheus.Metric
}

func (p page) counter(name string, v float64, labels ...string) {
	p.ch <- prometheus.MustNewConstMetric(p.descs[name], prometheus.CounterValue, v, labels...)
}

func (p page) gauge(name string, v float64, labels ...string) {
	p.ch <- prometheus.MustNewConstMetric(p.descs[name], prometheus.GaugeValue, v, labels...)
}

// counters is one counter for each key of m, which becomes the label.
func counters[N int64 | uint64](p page, name string, m map[string]N) {
	for label, v := range m {
		p.counter(name, float64(v), label)
	}
}

func (p page) engine(s EngineStats) {
	p.gauge("engine_info", 1, s.Name)
	for verb, c := range s.Counts {
		p.counter("engine_ops_total", float64(c.Ring), verb, "ring")
		p.counter("engine_ops_total", float64(c.Syscall), verb, "syscall")
	}
	counters(p, "engine_fallbacks_total", s.Fallbacks)
	counters(p, "engine_bytes_total", s.Bytes)
	for _, l := range s.Latencies {
		p.counter("engine_errors_total", float64(l.Errors), l.Verb)
		p.ch <- prometheus.MustNewConstHistogram(
			p.descs["engine_op_duration_seconds"], l.Ops, l.Total.Seconds(), cumulative(l), l.Verb)
	}
	p.gauge("engine_in_flight", float64(s.Health.InFlight))
	p.gauge("engine_rings", float64(s.Health.Rings))
	p.gauge("engine_open_fds", float64(s.Health.OpenFDs))
	p.counter("engine_stale_completions_total", float64(s.Health.Stale))
	p.counter("engine_cq_overflows_total", float64(s.Health.Overflows))
	p.counter("engine_resubmitted_total", float64(s.Health.Resubmitted))
}

// cumulative gives a histogram the page's form: ops up to each bound, in seconds. Of the bounds only the powers of two
// are taken: a quarter of the rows, and still a factor of two.
func cumulative(l uringbackend.Latencies) map[float64]uint64 {
	buckets := make(map[float64]uint64)
	var n uint64
	for _, b := range l.Buckets {
		n += b.Ops
		if bits.OnesCount64(uint64(b.Upper)) == 1 {
			buckets[b.Upper.Seconds()] = n
		}
	}
	return buckets
}

func (p page) smb(s smbserver.Stats) {
	counters(p, "smb_requests_total", s.Requests)
	counters(p, "smb_read_refusals_total", s.Refusals)
	for path, c := range s.Paths {
		p.counter("smb_reads_total", float64(c.PDUs), path)
		p.counter("smb_read_bytes_total", float64(c.Bytes), path)
	}
	p.gauge("smb_connections", float64(s.OpenConnections))
	p.gauge("smb_sessions", float64(s.OpenSessions))
	p.gauge("smb_open_files", float64(s.OpenFiles))
	p.gauge("smb_idle_buffer_bytes", float64(s.IdleBuffers))
	p.counter("smb_connections_total", float64(s.Connections))
	p.counter("smb_connections_refused_total", float64(s.Refused))
	p.counter("smb_logons_total", float64(s.Logons))
	p.counter("smb_logons_failed_total", float64(s.FailedLogons))
	p.counter("smb_malformed_total", float64(s.Malformed))
	p.counter("smb_connections_lost_total", float64(s.Lost))
	p.counter("smb_bad_signatures_total", float64(s.BadSignatures))
	p.counter("smb_internal_errors_total", float64(s.Internal))
	p.counter("smb_panics_total", float64(s.Panics))
}

func (p page) fuse(s fusefs.Stats) {
	counters(p, "fuse_requests_total", s.Requests)
	p.counter("fuse_read_bytes_total", float64(s.BytesRead))
	p.counter("fuse_written_bytes_total", float64(s.BytesWritten))
	p.gauge("fuse_nodes", float64(s.Nodes))
	p.gauge("fuse_open_files", float64(s.OpenFiles))
	p.counter("fuse_notifications_total", float64(s.Notified))
	p.counter("fuse_events_lost_total", float64(s.EventsLost))
}
