//go:build linux

package uringbackend_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/uringbackend"
)

// message is a decoded protobuf message: values by field number, uint64 or []byte.
type message map[protowire.Number][]any

func decode(t *testing.T, b []byte) message {
	t.Helper()
	m := message{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		require.NoError(t, protowire.ParseError(n))
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			require.NoError(t, protowire.ParseError(n))
			m[num], b = append(m[num], v), b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			require.NoError(t, protowire.ParseError(n))
			m[num], b = append(m[num], v), b[n:]
		default:
			require.Failf(t, "wire type", "%d of field %d", typ, num)
		}
	}
	return m
}

func (m message) number(f protowire.Number) uint64 {
	if len(m[f]) == 0 {
		return 0
	}
	return m[f][0].(uint64)
}

func (m message) text(f protowire.Number) string {
	if len(m[f]) == 0 {
		return ""
	}
	return string(m[f][0].([]byte))
}

// only fails if there are other fields than these.
func (m message) only(t *testing.T, fields ...protowire.Number) {
	t.Helper()
	for f := range m {
		assert.Contains(t, fields, f, "unexpected field")
	}
}

type slice struct {
	track      uint64
	ring       string // name of the track
	name       string
	category   string
	start, end int64
	notes      map[string]any
}

// perfetto is a trace as a viewer would see it.
type perfetto struct {
	pid     uint64
	process string
	tracks  map[uint64]string
	slices  []slice
	lost    []int64
}

// decodePerfetto reads a trace by the schema's numbers, which it has of its own, and fails for whatever the schema
// or its rules on sequences do not allow.
func decodePerfetto(t *testing.T, b []byte) *perfetto {
	t.Helper()
	p := &perfetto{tracks: map[uint64]string{}}
	names := map[protowire.Number]map[uint64]string{1: {}, 2: {}, 3: {}}
	open := map[uint64]*slice{}
	var processTrack, lostTrack uint64
	first := true
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		require.Equal(t, protowire.Number(1), num) // Trace.packet
		require.Equal(t, protowire.BytesType, typ)
		b = b[n:]
		body, n := protowire.ConsumeBytes(b)
		require.NoError(t, protowire.ParseError(n))
		b = b[n:]
		packet := decode(t, body)
		packet.only(t, 8, 10, 11, 12, 13, 60, 87)
		require.NotZero(t, packet.number(10), "trusted_packet_sequence_id")
		if first {
			assert.Equal(t, uint64(1), packet.number(13), "SEQ_INCREMENTAL_STATE_CLEARED")
			assert.Equal(t, uint64(1), packet.number(87), "first_packet_on_sequence")
			first = false
		}
		if len(packet[12]) > 0 {
			interned := decode(t, packet[12][0].([]byte))
			interned.only(t, 1, 2, 3)
			for f, entries := range interned {
				for _, e := range entries {
					entry := decode(t, e.([]byte))
					entry.only(t, 1, 2)
					iid := entry.number(1)
					require.NotZero(t, iid)
					require.Empty(t, names[f][iid], "an iid twice")
					names[f][iid] = entry.text(2)
				}
			}
		}
		if len(packet[60]) > 0 {
			d := decode(t, packet[60][0].([]byte))
			d.only(t, 1, 2, 3, 5, 8)
			uuid := d.number(1)
			require.NotZero(t, uuid)
			require.NotContains(t, p.tracks, uuid)
			p.tracks[uuid] = d.text(2)
			if len(d[3]) > 0 {
				process := decode(t, d[3][0].([]byte))
				process.only(t, 1, 6)
				p.pid, p.process = process.number(1), process.text(6)
				processTrack = uuid
				continue
			}
			require.Equal(t, processTrack, d.number(5), "parent_uuid")
			if len(d[8]) > 0 {
				lostTrack = uuid
			}
			continue
		}
		require.NotEmpty(t, packet[11])
		require.Equal(t, uint64(2), packet.number(13), "SEQ_NEEDS_INCREMENTAL_STATE")
		require.Len(t, packet[8], 1, "timestamp")
		at := int64(packet.number(8))
		ev := decode(t, packet[11][0].([]byte))
		track := ev.number(11)
		require.Contains(t, p.tracks, track, "a track is described before its events")
		switch ev.number(9) {
		case 1: // TYPE_SLICE_BEGIN
			ev.only(t, 3, 4, 9, 10, 11, 23)
			require.Nil(t, open[track], "a slice begins in another of its track")
			s := &slice{track: track, ring: p.tracks[track], start: at, notes: map[string]any{}, name: ev.text(23)}
			if iid := ev.number(10); iid != 0 {
				s.name = names[2][iid]
			}
			s.category = names[1][ev.number(3)]
			for _, a := range ev[4] {
				note := decode(t, a.([]byte))
				note.only(t, 1, 4, 6)
				name := names[3][note.number(1)]
				require.NotEmpty(t, name)
				if len(note[6]) > 0 {
					s.notes[name] = note.text(6)
				} else {
					s.notes[name] = int64(note.number(4))
				}
			}
			open[track] = s
		case 2: // TYPE_SLICE_END
			ev.only(t, 9, 11)
			require.NotNil(t, open[track])
			open[track].end = at
			p.slices = append(p.slices, *open[track])
			delete(open, track)
		case 4: // TYPE_COUNTER
			ev.only(t, 9, 11, 30)
			require.Equal(t, lostTrack, track)
			p.lost = append(p.lost, int64(ev.number(30)))
		default:
			require.Fail(t, "type of event", "%d", ev.number(9))
		}
	}
	assert.Empty(t, open)
	return p
}

// check fails if slices of a track overlap, or come out of order.
func (p *perfetto) check(t *testing.T) {
	t.Helper()
	ends := map[uint64]int64{}
	for _, s := range p.slices {
		require.LessOrEqual(t, ends[s.track], s.start, "slices of track %d overlap", s.track)
		require.LessOrEqual(t, s.start, s.end)
		ends[s.track] = s.end
	}
}

func TestPerfettoSaysWhatItWasTold(t *testing.T) {
	var out bytes.Buffer
	tr := newTracer(t, &out, uringbackend.TracePerfetto, uringbackend.TraceConfig{Process: "uringfs", PID: 4711})
	tr.Observe(uringbackend.OpEvent{
		Kind: uringbackend.KindReadAt, Ring: 3, Start: 1 << 40, End: 1<<40 + 25, N: 4096, FD: 7, Offset: 1 << 50, More: 2, Bytes: 8192,
	})
	tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindOpenat2, Ring: -1, Start: 30, End: 31, Err: unix.ENOENT, FD: -100, Offset: -1})
	tr.Observe(uringbackend.OpEvent{Kind: 250, Ring: 3, Start: -7, End: -9})
	require.NoError(t, tr.Close())
	p := decodePerfetto(t, out.Bytes())
	p.check(t)
	assert.Equal(t, uint64(4711), p.pid)
	assert.Equal(t, "uringfs", p.process)
	assert.Equal(t, []int64{0}, p.lost)
	for i := range p.slices {
		p.slices[i].track = 0
	}
	assert.Equal(t, []slice{
		{
			ring: "ring 3", name: "read_at", category: "ring", start: 1 << 40, end: 1<<40 + 25,
			notes: map[string]any{"n": int64(4096), "bytes": int64(8192), "fd": int64(7), "offset": int64(1 << 50), "more": int64(2)},
		},
		{
			ring: "system calls", name: "openat2", category: "syscall", start: 30, end: 31,
			notes: map[string]any{"n": int64(0), "bytes": int64(0), "fd": int64(-100), "offset": int64(-1), "more": int64(0), "errno": "ENOENT"},
		},
		{
			ring: "ring 3", name: "kind(250)", category: "ring", start: 0, end: 0,
			notes: map[string]any{"n": int64(0), "bytes": int64(0), "fd": int64(0), "offset": int64(0), "more": int64(0)},
		},
	}, p.slices)
}

func TestPerfettoInternsEveryVerb(t *testing.T) {
	var out bytes.Buffer
	tr := newTracer(t, &out, uringbackend.TracePerfetto, uringbackend.TraceConfig{})
	for i, k := range uringbackend.Kinds() {
		tr.Observe(uringbackend.OpEvent{Kind: k, Start: int64(i), End: int64(i) + 1})
	}
	require.NoError(t, tr.Close())
	p := decodePerfetto(t, out.Bytes())
	require.Len(t, p.slices, len(uringbackend.Kinds()))
	for i, k := range uringbackend.Kinds() {
		assert.Equal(t, k.String(), p.slices[i].name)
	}
	assert.Len(t, p.tracks, 3, "ops one after the other share a track")
}

func TestPerfettoPutsOverlappingOpsOnTracksOfTheirOwn(t *testing.T) {
	var out bytes.Buffer
	tr := newTracer(t, &out, uringbackend.TracePerfetto, uringbackend.TraceConfig{})
	observe := func(ring int, start, end int64) {
		tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindReadAt, Ring: ring, Start: start, End: end})
	}
	observe(0, 0, 10)
	observe(0, 5, 15)  // overlaps the first
	observe(0, 10, 20) // begins where the first ends
	observe(1, 0, 20)  // another ring
	observe(0, 2, 100) // waited all the time
	observe(0, 100, 100)
	require.NoError(t, tr.Close())
	p := decodePerfetto(t, out.Bytes())
	p.check(t)
	require.Len(t, p.slices, 6)
	at := func(i int) uint64 { return p.slices[i].track }
	assert.Equal(t, at(0), at(2))
	assert.Equal(t, at(4), at(5))
	assert.Len(t, map[uint64]bool{at(0): true, at(1): true, at(3): true, at(4): true}, 4)
	assert.Equal(t, "ring 1", p.slices[3].ring)
}

// Random ops that end in any order: no overlap on a track, and not many more tracks than ops that overlap.
func TestPerfettoTracksOfRandomOps(t *testing.T) {
	rng := seed.FromTest(t)
	for _, depth := range []int{1, 4, 64} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			var events []uringbackend.OpEvent
			for lane := range depth {
				for at := int64(0); at < 1_000_000; {
					start := at + rng.Int64N(1000)
					at = start + rng.Int64N(10000*int64(lane+1))
					events = append(events, uringbackend.OpEvent{Kind: uringbackend.KindReadAt, Start: start, End: at})
				}
			}
			slices.SortStableFunc(events, func(a, b uringbackend.OpEvent) int { return int(a.End - b.End) })
			for i := len(events) - 1; i > 0; i-- { // reports of several goroutines arrive a little out of order
				if rng.IntN(4) == 0 {
					events[i], events[i-1] = events[i-1], events[i]
				}
			}
			var out bytes.Buffer
			tr := newTracer(t, &out, uringbackend.TracePerfetto, uringbackend.TraceConfig{Buffer: len(events)})
			for _, ev := range events {
				tr.Observe(ev)
			}
			require.NoError(t, tr.Close())
			p := decodePerfetto(t, out.Bytes())
			p.check(t)
			assert.Len(t, p.slices, len(events))
			assert.LessOrEqual(t, len(p.tracks)-2, 2*depth+1, "%v", slices.Sorted(maps.Keys(p.tracks)))
		})
	}
}

// chunks keeps each Write apart.
type chunks [][]byte

func (c *chunks) Write(b []byte) (int, error) {
	*c = append(*c, bytes.Clone(b))
	return len(b), nil
}

// A process that is killed leaves the Writes it has made: each prefix of them is a trace.
func TestTraceIsReadableUpToEachWrite(t *testing.T) {
	const n = 2000
	for name, f := range map[string]uringbackend.TraceFormat{"json": uringbackend.TraceJSON, "perfetto": uringbackend.TracePerfetto} {
		t.Run(name, func(t *testing.T) {
			var out chunks
			tr := newTracer(t, &out, f, uringbackend.TraceConfig{})
			for i := range int64(n) {
				tr.Observe(uringbackend.OpEvent{Kind: uringbackend.KindFsync, Ring: int(i % 5), Start: i, End: i + 10})
			}
			require.NoError(t, tr.Close())
			require.Greater(t, len(out), 2)
			var file []byte
			ops := 0
			for _, c := range out {
				file = append(file, c...)
				before := ops
				if f == uringbackend.TraceJSON {
					lines, _ := readTrace(t, bytes.NewReader(file))
					ops = len(lines)
					assert.True(t, bytes.HasSuffix(file, []byte("}\n")))
				} else {
					p := decodePerfetto(t, file)
					p.check(t)
					ops = len(p.slices)
				}
				assert.GreaterOrEqual(t, ops, before)
			}
			assert.Equal(t, n, ops)
		})
	}
}
