//go:build linux

package uringbackend

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// TraceFormat is how a Tracer writes.
type TraceFormat uint8

// Formats of traces.
const (
	// TraceJSON is one object a line: an op, or a count of ops written and lost.
	TraceJSON TraceFormat = iota + 1
	// TracePerfetto is the native format of the Perfetto viewer: a track for each ring, a slice for each op.
	TracePerfetto
)

// TraceConfig bounds a Tracer and names the traced process. The zero value means the defaults.
type TraceConfig struct {
	// Buffer is how many events may wait for the writer; further ones are lost, and counted. Default 32768.
	Buffer int
	// Process and PID name the process in the viewer.
	Process string
	PID     int
}

// Tracer is an Observer that writes each op to a file. What Observe is told it copies into a bounded buffer; one
// goroutine writes. When the writer cannot keep up, events are lost, never waited for: the trace says how many.
//
// Each Write carries whole lines or packets, and is made as soon as there is something to write, so that the file of
// a killed process can be read up to the end.
type Tracer struct {
	// Immutable after NewTracer.
	wake  chan struct{} // holds one
	ended chan struct{} // closed when the writer has ended

	mu sync.Mutex
	// +checklocks:mu
	events []OpEvent // waiting; the capacity is the bound
	// +checklocks:mu
	lost uint64 // events that found no room, or met a write error
	// +checklocks:mu
	closed bool

	// Owned by the writer goroutine until ended is closed.
	w       io.Writer
	encoder traceEncoder
	buf     []byte // encoded and not yet written
	inBuf   uint64 // events in buf
	written uint64 // events
	marked  uint64 // lost events, as last written
	err     error  // of the first write that failed
}

// traceEncoder appends to b. Each method appends whole records.
type traceEncoder interface {
	begin(b []byte) []byte
	event(b []byte, ev *OpEvent) []byte
	// count tells how many ops were written before, and how many are missing; last says that nothing follows.
	count(b []byte, written, lost uint64, last bool) []byte
}

const (
	defaultTraceBuffer = 32768
	traceWriteSize     = 64 << 10
)

// NewTracer starts a tracer that writes to w, which stays the caller's. The caller must Close it.
func NewTracer(w io.Writer, format TraceFormat, cfg TraceConfig) (*Tracer, error) {
	if cfg.Buffer <= 0 {
		cfg.Buffer = defaultTraceBuffer
	}
	t := &Tracer{
		w: w, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		events: make([]OpEvent, 0, cfg.Buffer),
	}
	switch format {
	case TraceJSON:
		t.encoder = jsonEncoder{}
	case TracePerfetto:
		t.encoder = newPerfettoEncoder(cfg.Process, cfg.PID)
	default:
		return nil, fmt.Errorf("trace format %d: %w", format, unix.EINVAL)
	}
	spare := make([]OpEvent, 0, cfg.Buffer)
	// ends when Close has been called and the rest is written; waited by Close (ended)
	go t.write(spare)
	return t, nil
}

// Observe implements Observer. It allocates nothing. After Close it does nothing.
func (t *Tracer) Observe(ev OpEvent) {
	t.mu.Lock()
	first := false
	switch {
	case t.closed:
	case len(t.events) == cap(t.events):
		t.lost++
	default:
		t.events = append(t.events, ev)
		first = len(t.events) == 1
	}
	t.mu.Unlock()
	if first {
		t.ring()
	}
}

func (t *Tracer) ring() {
	select {
	case t.wake <- struct{}{}:
	default: // the writer will look anyway
	}
}

// Lost is how many events are missing in the trace, because the writer did not keep up or because of a write error.
func (t *Tracer) Lost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// Close writes what is waiting, ends the trace with a count of ops written and lost, and returns the error of the
// first write that failed; what came after that write is missing. It may be called again, also by several.
func (t *Tracer) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.ring()
	<-t.ended
	return t.err
}

// write is the writer. It and Observe exchange two buffers.
func (t *Tracer) write(spare []OpEvent) {
	defer close(t.ended)
	t.buf = t.encoder.begin(t.buf)
	t.flush()
	for last := false; !last; {
		<-t.wake
		t.mu.Lock()
		batch := t.events
		t.events = spare
		lost := t.lost
		last = t.closed
		t.mu.Unlock()
		for i := range batch {
			t.buf = t.encoder.event(t.buf, &batch[i])
			if t.inBuf++; len(t.buf) >= traceWriteSize {
				t.flush()
			}
		}
		if last || lost != t.marked {
			t.marked = lost
			t.buf = t.encoder.count(t.buf, t.written+t.inBuf, lost, last)
		}
		t.flush()
		clear(batch) // lets go of the errors
		spare = batch[:0]
	}
}

// flush writes what is encoded. After an error it only counts what is lost.
func (t *Tracer) flush() {
	if t.err == nil && len(t.buf) > 0 {
		n, err := t.w.Write(t.buf)
		if err == nil && n < len(t.buf) {
			err = io.ErrShortWrite
		}
		t.err = err
	}
	if t.err == nil {
		t.written += t.inBuf
	} else {
		t.mu.Lock()
		t.lost += t.inBuf
		t.mu.Unlock()
	}
	t.buf, t.inBuf = t.buf[:0], 0
}

// jsonEncoder writes a line for each op, and one that counts.
type jsonEncoder struct{}

func (jsonEncoder) begin(b []byte) []byte { return b }

func (jsonEncoder) event(b []byte, ev *OpEvent) []byte {
	b = append(b, `{"verb":"`...)
	b = append(b, ev.Kind.String()...)
	b = appendNumber(append(b, '"'), "ring", int64(ev.Ring))
	b = appendNumber(b, "start_ns", ev.Start)
	b = appendNumber(b, "end_ns", ev.End)
	b = appendNumber(b, "n", int64(ev.N))
	b = appendNumber(b, "bytes", ev.Bytes)
	b = appendNumber(b, "fd", int64(ev.FD))
	b = appendNumber(b, "offset", ev.Offset)
	b = appendNumber(b, "more", int64(ev.More))
	if ev.Err != nil {
		b = append(b, `,"errno":`...)
		if name := errnoName(ev.Err); name != "" {
			b = append(append(append(b, '"'), name...), '"')
		} else if quoted, err := json.Marshal(ev.Err.Error()); err == nil {
			b = append(b, quoted...)
		}
	}
	return append(b, '}', '\n')
}

func appendNumber(b []byte, name string, v int64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendInt(b, v, 10)
}

func (jsonEncoder) count(b []byte, written, lost uint64, last bool) []byte {
	b = append(b, `{"written":`...)
	b = strconv.AppendUint(b, written, 10)
	b = append(b, `,"lost":`...)
	b = strconv.AppendUint(b, lost, 10)
	if last {
		b = append(b, `,"end":true`...)
	}
	return append(b, '}', '\n')
}

// errnoName names an error of an op, which is a bare errno: engines report nothing else. Empty for errors without a name.
func errnoName(err error) string {
	errno, _ := errors.AsType[unix.Errno](err)
	return unix.ErrnoName(errno)
}
