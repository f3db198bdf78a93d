//go:build linux

package uringbackend

// OpEvent is one op of an engine, seen at its last report.
type OpEvent struct {
	Kind   Kind
	Ring   int   // number of the ring that carried it out; -1: a system call
	Start  int64 // submission: ns since the engine was opened, monotonic
	End    int64 // last report: as Start
	N      int   // of the last report
	Err    error // of the last report
	FD     int
	Offset int64
	More   int // reports before the last one
}

// Observer sees every op of an engine. Observe is called by whatever goroutine reports the op, before done; it must
// not block and must not Submit.
type Observer interface{ Observe(ev OpEvent) }
