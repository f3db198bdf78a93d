//go:build linux

package uringbackend

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
)

// Field numbers of the messages in Perfetto's protos/perfetto/trace that a trace of slices needs. The viewer takes a
// file that is a Trace: TracePackets, each preceded by its tag and length.
const (
	// trace.proto: Trace
	tracePacket = 1

	// trace_packet.proto: TracePacket
	packetTimestamp     = 8  // ns
	packetSequenceID    = 10 // trusted_packet_sequence_id: packets with the same number share interned data
	packetTrackEvent    = 11
	packetInternedData  = 12
	packetSequenceFlags = 13
	packetDescriptor    = 60 // track_descriptor
	packetFirst         = 87 // first_packet_on_sequence

	sequenceStateCleared = 1
	sequenceNeedsState   = 2

	// track_event/track_descriptor.proto: TrackDescriptor
	descriptorUUID    = 1
	descriptorName    = 2
	descriptorProcess = 3
	descriptorParent  = 5 // parent_uuid
	descriptorCounter = 8

	// track_event/process_descriptor.proto: ProcessDescriptor
	processPID  = 1
	processName = 6

	// track_event/track_event.proto: TrackEvent
	eventCategoryIID = 3
	eventAnnotation  = 4
	eventType        = 9
	eventNameIID     = 10
	eventTrack       = 11 // track_uuid
	eventName        = 23
	eventCounter     = 30 // counter_value

	typeSliceBegin = 1
	typeSliceEnd   = 2
	typeCounter    = 4

	// track_event/debug_annotation.proto: DebugAnnotation
	annotationNameIID = 1
	annotationInt     = 4
	annotationString  = 6

	// interned_data/interned_data.proto: InternedData, and its entries
	internedCategories      = 1
	internedEventNames      = 2
	internedAnnotationNames = 3
	entryIID                = 1
	entryName               = 2
)

// Interned categories.
const (
	categoryRing    = 1
	categorySyscall = 2
)

// Interned names of annotations.
const (
	noteN = iota + 1
	noteBytes
	noteFD
	noteOffset
	noteMore
	noteErrno
)

// The sequence that all packets are on, and the first tracks.
const (
	sequenceID   = 1
	trackProcess = 1
	trackLost    = 2
)

// perfettoEncoder writes packets. An op is known only when it is over, so both ends of its slice are written
// together; the viewer sorts by time. Slices of one track must nest, and ops overlap as they like: each ring has as
// many tracks, of one name, as ops overlapped on it, which the viewer draws as one.
type perfettoEncoder struct {
	process string
	pid     int
	tracks  uint64 // numbers given out
	rings   map[int]*ringTracks
	end     int64 // latest time seen

	packet, message, note []byte // scratch: a message needs its length before it
}

// ringTracks are the tracks of one ring.
type ringTracks struct {
	name string
	// INVARIANT: in order of the end of the last slice.
	tracks []perfettoTrack
}

type perfettoTrack struct {
	uuid uint64
	end  int64
}

func newPerfettoEncoder(process string, pid int) *perfettoEncoder {
	return &perfettoEncoder{process: process, pid: pid, tracks: trackLost, rings: make(map[int]*ringTracks)}
}

// begin describes the process and interns all names: there are few, and no later packet needs to bring any.
func (p *perfettoEncoder) begin(b []byte) []byte {
	var names []byte
	entry := func(field int, iid uint64, name string) {
		p.note = appendVarint(p.note[:0], entryIID, iid)
		p.note = appendBytes(p.note, entryName, name)
		names = appendBytes(names, field, p.note)
	}
	entry(internedCategories, categoryRing, "ring")
	entry(internedCategories, categorySyscall, "syscall")
	for k := kindInvalid + 1; k < kinds; k++ {
		entry(internedEventNames, uint64(k), k.String())
	}
	for _, n := range []struct {
		iid  uint64
		name string
	}{{noteN, "n"}, {noteBytes, "bytes"}, {noteFD, "fd"}, {noteOffset, "offset"}, {noteMore, "more"}, {noteErrno, "errno"}} {
		entry(internedAnnotationNames, n.iid, n.name)
	}

	p.note = appendVarint(p.note[:0], processPID, uint64(p.pid))
	if p.process != "" {
		p.note = appendBytes(p.note, processName, p.process)
	}
	p.message = appendVarint(p.message[:0], descriptorUUID, trackProcess)
	p.message = appendBytes(p.message, descriptorProcess, p.note)
	p.packet = appendVarint(p.packet[:0], packetSequenceID, sequenceID)
	p.packet = appendVarint(p.packet, packetSequenceFlags, sequenceStateCleared)
	p.packet = appendVarint(p.packet, packetFirst, 1)
	p.packet = appendBytes(p.packet, packetInternedData, names)
	p.packet = appendBytes(p.packet, packetDescriptor, p.message)
	b = appendBytes(b, tracePacket, p.packet)

	return p.describe(b, trackLost, "lost ops", true)
}

// describe makes a track of the process.
func (p *perfettoEncoder) describe(b []byte, uuid uint64, name string, counter bool) []byte {
	p.message = appendVarint(p.message[:0], descriptorUUID, uuid)
	p.message = appendBytes(p.message, descriptorName, name)
	p.message = appendVarint(p.message, descriptorParent, trackProcess)
	if counter {
		p.message = appendBytes(p.message, descriptorCounter, "")
	}
	p.packet = appendVarint(p.packet[:0], packetSequenceID, sequenceID)
	p.packet = appendBytes(p.packet, packetDescriptor, p.message)
	return appendBytes(b, tracePacket, p.packet)
}

// event writes the beginning and the end of a slice.
func (p *perfettoEncoder) event(b []byte, ev *OpEvent) []byte {
	start := max(ev.Start, 0)
	end := max(ev.End, start)
	p.end = max(p.end, end)
	b, track := p.place(b, ev.Ring, start, end)

	p.message = appendVarint(p.message[:0], eventType, typeSliceBegin)
	p.message = appendVarint(p.message, eventTrack, track)
	if ev.Kind.valid() {
		p.message = appendVarint(p.message, eventNameIID, uint64(ev.Kind))
	} else {
		p.message = appendBytes(p.message, eventName, ev.Kind.String())
	}
	category := uint64(categoryRing)
	if ev.Ring < 0 {
		category = categorySyscall
	}
	p.message = appendVarint(p.message, eventCategoryIID, category)
	p.annotate(noteN, int64(ev.N))
	p.annotate(noteBytes, ev.Bytes)
	p.annotate(noteFD, int64(ev.FD))
	p.annotate(noteOffset, ev.Offset)
	p.annotate(noteMore, int64(ev.More))
	if ev.Err != nil {
		text := errnoName(ev.Err)
		if text == "" {
			text = ev.Err.Error()
		}
		p.note = appendVarint(p.note[:0], annotationNameIID, noteErrno)
		p.note = appendBytes(p.note, annotationString, text)
		p.message = appendBytes(p.message, eventAnnotation, p.note)
	}
	b = p.appendEvent(b, start)

	p.message = appendVarint(p.message[:0], eventType, typeSliceEnd)
	p.message = appendVarint(p.message, eventTrack, track)
	return p.appendEvent(b, end)
}

func (p *perfettoEncoder) annotate(iid uint64, v int64) {
	p.note = appendVarint(p.note[:0], annotationNameIID, iid)
	p.note = appendVarint(p.note, annotationInt, uint64(v))
	p.message = appendBytes(p.message, eventAnnotation, p.note)
}

// appendEvent writes the TrackEvent in p.message.
func (p *perfettoEncoder) appendEvent(b []byte, at int64) []byte {
	p.packet = appendVarint(p.packet[:0], packetTimestamp, uint64(at))
	p.packet = appendVarint(p.packet, packetSequenceID, sequenceID)
	p.packet = appendVarint(p.packet, packetSequenceFlags, sequenceNeedsState)
	p.packet = appendBytes(p.packet, packetTrackEvent, p.message)
	return appendBytes(b, tracePacket, p.packet)
}

// place finds a track of the ring that is free from start on: the one that has been idle for the shortest time, so
// that few are needed. Only if there is none it makes one.
func (p *perfettoEncoder) place(b []byte, ring int, start, end int64) ([]byte, uint64) {
	r := p.rings[ring]
	if r == nil {
		r = &ringTracks{name: "system calls"}
		if ring >= 0 {
			r.name = "ring " + strconv.Itoa(ring)
		}
		p.rings[ring] = r
	}
	// The first track that ends after start; those before it are free.
	i, _ := slices.BinarySearchFunc(r.tracks, start, func(t perfettoTrack, start int64) int {
		if t.end <= start {
			return -1
		}
		return 1
	})
	var track perfettoTrack
	if i > 0 {
		track = r.tracks[i-1]
		r.tracks = slices.Delete(r.tracks, i-1, i)
	} else {
		p.tracks++
		track.uuid = p.tracks
		b = p.describe(b, track.uuid, r.name, false)
	}
	track.end = end
	at, _ := slices.BinarySearchFunc(r.tracks, track, func(a, b perfettoTrack) int { return cmp.Compare(a.end, b.end) })
	r.tracks = slices.Insert(r.tracks, at, track)
	return b, track.uuid
}

// count sets the counter of lost ops; a trace that ends with one was closed in order.
func (p *perfettoEncoder) count(b []byte, _, lost uint64, _ bool) []byte {
	p.message = appendVarint(p.message[:0], eventType, typeCounter)
	p.message = appendVarint(p.message, eventTrack, trackLost)
	p.message = appendVarint(p.message, eventCounter, lost)
	return p.appendEvent(b, p.end)
}

// Wire types of protocol buffers.
const (
	wireVarint = 0
	wireBytes  = 2
)

func appendVarint(b []byte, field int, v uint64) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|wireVarint)
	return binary.AppendUvarint(b, v)
}

func appendBytes[T []byte | string](b []byte, field int, v T) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|wireBytes)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}
