package racelab

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Verdict is what a cell showed.
type Verdict string

// The verdicts. From Foreign to Old they are ordered worst first.
const (
	Foreign     Verdict = "FOREIGN"      // bytes of another file, or of none
	Ghost       Verdict = "GHOST"        // bytes that the file never held at that offset, before or after
	Shifted     Verdict = "SHIFTED"      // bytes of this file from another offset
	Short       Verdict = "SHORT"        // fewer bytes than announced
	Torn        Verdict = "TORN"         // the mutated range is partly old and partly not
	New         Verdict = "NEW"          // bytes written after the reply was in flight
	Zero        Verdict = "ZERO"         // zeros of a hole or cut made after the reply was in flight
	Stale       Verdict = "STALE"        // old, and a fresh read of the file does not show the mutation either
	Old         Verdict = "OLD"          // bytes as they were when the reply was put in flight
	FramingLost Verdict = "FRAMING_LOST" // the stream no longer parses
	Error       Verdict = "ERROR"        // the READ, the mutation or the target failed
	Unsupported Verdict = "UNSUPPORTED"  // the mutation does not exist there
	// Inconclusive means that the window was not proven open on both sides of
	// the mutation, or that the mutation was not seen to arrive.
	Inconclusive Verdict = "INCONCLUSIVE"
)

// worstFirst is the order of the verdicts that bytes can give.
func worstFirst() []Verdict {
	return []Verdict{Foreign, Ghost, Shifted, Short, Torn, New, Zero, Stale, Old}
}

// Letters of the pages column, one per 4096 bytes of payload.
const (
	letterOld     = 'O'
	letterNew     = 'N'
	letterZero    = 'Z'
	letterTorn    = 'T'
	letterShifted = 'H'
	letterShort   = '-'
	letterStale   = 'L'
	letterGhost   = 'G'
	letterForeign = 'F'
	letterUnknown = '?' // counts as Foreign
)

func letterVerdict(letter rune) Verdict {
	switch letter {
	case letterOld:
		return Old
	case letterNew:
		return New
	case letterZero:
		return Zero
	case letterTorn:
		return Torn
	case letterShifted:
		return Shifted
	case letterShort:
		return Short
	case letterStale:
		return Stale
	case letterGhost:
		return Ghost
	default:
		return Foreign
	}
}

// layout is what a payload may hold: the ground truth of one cell.
type layout struct {
	payload  span
	mutated  span // what the mutation changes, clipped to nothing but the file
	after    holds
	old, new uint8 // generations
	size     int64 // of the file before the mutation
}

// judge classifies a payload. missing pages are letterShort. applied says that a
// fresh read of the file showed the mutation.
func (l layout) judge(payload []byte, applied bool) (pages string, v Verdict) {
	var letters strings.Builder
	var touched strings.Builder // letters of the pages that the mutation touches
	for off := l.payload.from; off < l.payload.to; off += pageSize {
		at := off - l.payload.from
		inside := l.after != holdsOld && off < l.mutated.to && off+pageSize > l.mutated.from
		letter := rune(letterShort)
		if at+pageSize <= int64(len(payload)) {
			letter = l.page(payload, int(at))
		}
		if letter == letterOld && inside && !applied {
			letter = letterStale
		}
		letters.WriteRune(letter)
		if inside {
			touched.WriteString(string(letter))
		}
	}
	pages = letters.String()
	return pages, worst(pages, touched.String())
}

// worst gives the verdict of a row of letters. A mutated range of which some
// pages are old and others are not is torn, although each page is whole.
func worst(pages, touched string) Verdict {
	worst := Old
	order := worstFirst()
	for _, letter := range pages {
		if v := letterVerdict(letter); slices.Index(order, v) < slices.Index(order, worst) {
			worst = v
		}
	}
	kinds := make(map[rune]bool)
	for _, letter := range touched {
		kinds[letter] = true
	}
	mixed := len(kinds) > 1
	if mixed && slices.Index(order, Torn) < slices.Index(order, worst) {
		return Torn
	}
	return worst
}

// page gives the letter of the page at byte at of the payload. Words inside and
// outside the mutated range are judged apart: outside, only the old word is right.
func (l layout) page(payload []byte, at int) rune {
	var olds, news, zeros, ghosts, shifted, foreign, unknown int
	for i := at; i < at+pageSize; i += 8 {
		off := l.payload.from + int64(i)
		v := binary.LittleEndian.Uint64(payload[i:])
		inside := l.after != holdsOld && l.mutated.contains(off)
		switch {
		case v == word(l.old, off):
			if inside || l.after == holdsOld {
				olds++
			}
		case inside && l.after == holdsNew && v == word(l.new, off):
			news++
		case inside && l.after == holdsZero && v == 0:
			zeros++
		case v == 0, v == word(l.new, off):
			ghosts++
		case l.moved(payload, i):
			shifted++
		case l.elsewhere(v):
			foreign++
		default:
			unknown++
		}
	}
	switch {
	case unknown > 0:
		return letterUnknown
	case foreign > 0:
		return letterForeign
	case ghosts > 0:
		return letterGhost
	case shifted > 0:
		return letterShifted
	case (news > 0 || zeros > 0) && olds > 0:
		return letterTorn
	case news > 0:
		return letterNew
	case zeros > 0:
		return letterZero
	default:
		return letterOld
	}
}

// moved reports whether the 8 bytes at i share a byte with a word of this file from
// another offset, whatever its alignment in the stream.
func (l layout) moved(payload []byte, i int) bool {
	for at := max(i-7, 0); at <= min(i+7, len(payload)-8); at++ {
		v := binary.LittleEndian.Uint64(payload[at:])
		gen, off := uint8(v>>offsetBits), int64(v&(1<<offsetBits-1)) // #nosec G115 -- 8 and 56 bits
		if (gen == l.old || gen == l.new) && off < l.size && off%8 == 0 && off != l.payload.from+int64(at) {
			return true
		}
	}
	return false
}

// elsewhere reports whether v is a word of some other file of the run.
func (l layout) elsewhere(v uint64) bool {
	gen, off := v>>offsetBits, int64(v&(1<<offsetBits-1)) // #nosec G115 -- 56 bits
	return gen != 0 && off < l.size && off%8 == 0
}

// fresh reports whether content, a fresh read of the mutated range clipped to
// the payload, shows the mutation. A range cut off shows as missing bytes.
func (l layout) fresh(content []byte) bool {
	from, to := max(l.mutated.from, l.payload.from), min(l.mutated.to, l.payload.to)
	switch l.after {
	case holdsNew:
		if int64(len(content)) != to-from {
			return false
		}
		for i := 0; i+8 <= len(content); i += 8 {
			if binary.LittleEndian.Uint64(content[i:]) != word(l.new, from+int64(i)) {
				return false
			}
		}
	case holdsZero:
		return !slices.ContainsFunc(content, func(b byte) bool { return b != 0 })
	case holdsOld:
	}
	return true
}
