package fscc

import (
	"math"
	"time"
)

// Filetime is a FILETIME, [MS-DTYP] 2.3.3: 100 ns ticks since 1601-01-01 UTC, signed as [MS-FSCC] uses it.
//
// In FileBasicInformation (2.4.7) three values are not times: [TimeUnchanged], [TimeFreeze] and [TimeThaw].
type Filetime int64

// Values that are not times.
const (
	TimeUnchanged Filetime = 0  // set: leave this time as it is; query: the time is not known
	TimeFreeze    Filetime = -1 // set: stop implicit updates of this time on this handle
	TimeThaw      Filetime = -2 // set: resume implicit updates
)

// ticks between 1601-01-01 and 1970-01-01.
const unixEpochTicks = 116444736000000000

const ticksPerSecond = 10_000_000

// NewFiletime converts t, cut to 100 ns. The zero time.Time and everything before 1601-01-01T00:00:00.0000001Z becomes
// 1 tick or, for the zero Time, [TimeUnchanged]; what lies past the range (after the year 30828) becomes its last tick.
func NewFiletime(t time.Time) Filetime {
	if t.IsZero() {
		return TimeUnchanged
	}
	const minSec, maxSec = -unixEpochTicks / ticksPerSecond, (math.MaxInt64 - unixEpochTicks) / ticksPerSecond
	sec := t.Unix()
	switch {
	case sec < minSec:
		return 1
	case sec >= maxSec:
		return math.MaxInt64
	}
	return max(1, Filetime(sec*ticksPerSecond+int64(t.Nanosecond())/100+unixEpochTicks))
}

// IsTime tells whether f is a point in time and not one of the special values or below them.
func (f Filetime) IsTime() bool { return f > 0 }

// Time converts f to UTC. Values that are no times (zero and below) give the zero time.Time; callers that
// tell them apart compare with the constants first.
func (f Filetime) Time() time.Time {
	if !f.IsTime() {
		return time.Time{}
	}
	ticks := int64(f) - unixEpochTicks
	sec, rest := ticks/ticksPerSecond, ticks%ticksPerSecond
	if rest < 0 {
		sec, rest = sec-1, rest+ticksPerSecond
	}
	return time.Unix(sec, rest*100).UTC()
}

func filetime(b []byte) Filetime { return Filetime(int64(le.Uint64(b))) } //nolint:gosec // same 64 bits

func (f Filetime) append(b []byte) []byte { return le.AppendUint64(b, uint64(f)) } //nolint:gosec // same 64 bits

func size(b []byte) int64 { return int64(le.Uint64(b)) } //nolint:gosec // LARGE_INTEGER: the same 64 bits

func appendSize(b []byte, n int64) []byte { return le.AppendUint64(b, uint64(n)) } //nolint:gosec // as above
