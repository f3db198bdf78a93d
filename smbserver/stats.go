package smbserver

import (
	"sync/atomic"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/smbserver/datapath"
)

// Stats is a snapshot of a server's counters. Counters without "Open" in their name only grow.
type Stats struct {
	OpenConnections int64 `json:"open_connections"`
	OpenSessions    int64 `json:"open_sessions"`
	OpenFiles       int64 `json:"open_files"`
	Connections     int64 `json:"connections"` // accepted and served
	Refused         int64 `json:"refused"`     // closed at accept: a limit was reached
	Logons          int64 `json:"logons"`
	FailedLogons    int64 `json:"failed_logons"`
	// Requests counts by the command's name in [MS-SMB2], refused ones included.
	Requests map[string]int64 `json:"requests"`
	// Paths counts READ replies with data by the path that really served them.
	Paths map[string]PathStats `json:"paths"`
	// Refusals counts READs that did not take the path the policy asks for, by reason.
	Refusals map[string]int64 `json:"refusals"`
	// Malformed counts requests whose bytes made no sense, answered or not; Lost those connections that were closed because
	// of it, or because of a signature or sequence error.
	Malformed     int64 `json:"malformed"`
	Lost          int64 `json:"lost"`
	BadSignatures int64 `json:"bad_signatures"`
	// Internal counts errors that have no place in the protocol, Panics requests that panicked: both are bugs.
	Internal int64 `json:"internal"`
	Panics   int64 `json:"panics"`
	// IdleBuffers is the memory that connections keep for reuse, in bytes.
	IdleBuffers int64 `json:"idle_buffers"`
}

// PathStats counts what one read path carried.
type PathStats struct {
	PDUs  int64 `json:"pdus"`
	Bytes int64 `json:"bytes"`
}

// counters is the live form of Stats. All fields are atomic.
type counters struct {
	connsOpen, sessions, opens atomic.Int64
	conns, refused             atomic.Int64
	logons, failedLogons       atomic.Int64
	requests                   [smb2.CommandCount]atomic.Int64
	pdus, bytes                [datapath.PathCount]atomic.Int64
	refusals                   [datapath.ReasonCount]atomic.Int64
	malformed, lost, badSig    atomic.Int64
	internal, panics           atomic.Int64
}

// Stats returns the counters as they are now. They are read one by one, so that sums of several need not agree exactly.
func (s *Server) Stats() Stats {
	c := &s.stats
	out := Stats{
		OpenConnections: c.connsOpen.Load(), OpenSessions: c.sessions.Load(), OpenFiles: c.opens.Load(),
		Connections: c.conns.Load(), Refused: c.refused.Load(),
		Logons: c.logons.Load(), FailedLogons: c.failedLogons.Load(),
		Requests: make(map[string]int64), Paths: make(map[string]PathStats), Refusals: make(map[string]int64),
		Malformed: c.malformed.Load(), Lost: c.lost.Load(), BadSignatures: c.badSig.Load(),
		Internal: c.internal.Load(), Panics: c.panics.Load(), IdleBuffers: s.budget.Idle(),
	}
	for i := range c.requests {
		if n := c.requests[i].Load(); n > 0 {
			out.Requests[smb2.Command(i).String()] = n
		}
	}
	for _, p := range datapath.Paths() {
		out.Paths[p.String()] = PathStats{PDUs: c.pdus[p].Load(), Bytes: c.bytes[p].Load()}
	}
	for _, r := range datapath.Refusals() {
		if n := c.refusals[r].Load(); n > 0 {
			out.Refusals[r.String()] = n
		}
	}
	return out
}
