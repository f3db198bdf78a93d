//go:build linux

package uringbackend

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets of a latency histogram: upper bounds 256 ns, then four to each doubling, up to 2^36 ns (68.7 s), and one
// for what took longer. A power of two is always a bound, so that coarser buckets can be summed without error.
const (
	firstBits     = 8  // 256 ns
	lastBits      = 36 // 68.7 s
	perDoubling   = 4
	boundedCount  = 1 + (lastBits-firstBits)*perDoubling
	overflowIndex = boundedCount
)

// bucketIndex finds the bucket of a latency; upper bounds belong to their bucket.
func bucketIndex(ns int64) int {
	if ns <= 1<<firstBits {
		return 0
	}
	x := uint64(ns - 1)
	doubling := bits.Len64(x) - 1
	if doubling >= lastBits {
		return overflowIndex
	}
	return 1 + (doubling-firstBits)*perDoubling + int(x>>(doubling-2)&3)
}

// bucketBound is the upper bound of a bucket other than the last, in ns.
func bucketBound(i int) int64 {
	if i == 0 {
		return 1 << firstBits
	}
	doubling, part := firstBits+(i-1)/perDoubling, (i-1)%perDoubling
	return int64(perDoubling+part+1) << (doubling - 2)
}

// Histograms is an Observer that keeps, for each verb, a histogram of latencies and counts of ops, errors and bytes.
// The zero value is ready. It is of fixed size, allocates nothing and never locks.
type Histograms struct {
	verbs [kinds]histogram
}

type histogram struct {
	// Atomic.
	buckets     [boundedCount + 1]atomic.Uint64
	nanoseconds atomic.Uint64
	errors      atomic.Uint64
	bytes       atomic.Uint64
	_           [64]byte // verbs do not share a cache line
}

// Observe implements Observer.
func (h *Histograms) Observe(ev OpEvent) {
	if !ev.Kind.valid() {
		return
	}
	v := &h.verbs[ev.Kind]
	ns := max(ev.End-ev.Start, 0)
	v.buckets[bucketIndex(ns)].Add(1)
	v.nanoseconds.Add(uint64(ns))
	if ev.Err != nil {
		v.errors.Add(1)
	}
	if ev.Bytes > 0 {
		v.bytes.Add(uint64(ev.Bytes))
	}
}

// Latencies is a snapshot of the histogram of one verb. Buckets and Ops agree with each other; ops that reported while the
// snapshot was taken may be in Total, Errors and Bytes only, or not yet.
type Latencies struct {
	Verb   string
	Ops    uint64        // observed, failed ones included
	Errors uint64        // of them with an error
	Bytes  uint64        // moved
	Total  time.Duration // of all ops
	// Buckets count ops by latency, each from the bound before it, exclusive, to its own, inclusive. Ops that
	// are in none of them took longer than the last bound.
	Buckets []LatencyBucket
}

// LatencyBucket is one bucket of a histogram.
type LatencyBucket struct {
	Upper time.Duration // inclusive
	Ops   uint64        // in this bucket alone
}

// Snapshot returns the histograms of verbs that were observed, in table order.
func (h *Histograms) Snapshot() []Latencies {
	var all []Latencies
	for k := kindInvalid + 1; k < kinds; k++ {
		v := &h.verbs[k]
		l := Latencies{
			Verb: k.String(), Errors: v.errors.Load(), Bytes: v.bytes.Load(),
			Total: time.Duration(v.nanoseconds.Load()), Buckets: make([]LatencyBucket, boundedCount),
		}
		for i := range l.Buckets {
			n := v.buckets[i].Load()
			l.Buckets[i] = LatencyBucket{Upper: time.Duration(bucketBound(i)), Ops: n}
			l.Ops += n
		}
		l.Ops += v.buckets[overflowIndex].Load()
		if l.Ops > 0 {
			all = append(all, l)
		}
	}
	return all
}

// Quantile returns a latency that a part q (0 to 1) of the ops did not exceed, by linear interpolation in its
// bucket, so at most a quarter off. Without ops it is 0; beyond the last bound it is that bound.
func (l Latencies) Quantile(q float64) time.Duration {
	if l.Ops == 0 {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(l.Ops)
	var below uint64
	var lower time.Duration
	for _, b := range l.Buckets {
		if b.Ops > 0 && float64(below+b.Ops) >= rank {
			part := (rank - float64(below)) / float64(b.Ops)
			return lower + time.Duration(part*float64(b.Upper-lower))
		}
		below += b.Ops
		lower = b.Upper
	}
	return lower
}
