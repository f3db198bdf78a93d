package smbserver

import "math"

// maxCredits is the size of the MessageId window, [MS-SMB2] 3.3.1.1.
const maxCredits = 8192

// window is the set of MessageIds that a client may use, [MS-SMB2] 3.3.1.1 and 3.3.1.2. It belongs to the reader goroutine.
//
// INVARIANT: ids below low are spent; ids in [low, high) have been granted, and those whose bit is set are spent;
// low itself is not spent unless low == high; held is the number of granted ids that are not spent; high-low <= maxCredits.
type window struct {
	low, high uint64
	held      int
	max       int // credits that a client may hold, at most maxCredits
	spent     [maxCredits / 64]uint64
}

// newWindow returns the window of a new connection: id 0 is granted, for NEGOTIATE.
func newWindow(most int) window { return window{high: 1, held: 1, max: most} }

// spend uses up the ids from id on. It reports false, and changes nothing, if one of them was not granted or is spent.
func (w *window) spend(id uint64, charge int) bool {
	if charge < 1 || id < w.low || id >= w.high || uint64(charge) > w.high-id {
		return false
	}
	for i := range uint64(charge) {
		if w.isSpent(id + i) {
			return false
		}
	}
	for i := range uint64(charge) {
		at := (id + i) % maxCredits
		w.spent[at/64] |= 1 << (at % 64)
	}
	w.held -= charge
	for w.low < w.high && w.isSpent(w.low) {
		at := w.low % maxCredits
		w.spent[at/64] &^= 1 << (at % 64)
		w.low++
	}
	return true
}

func (w *window) isSpent(id uint64) bool {
	at := id % maxCredits
	return w.spent[at/64]&(1<<(at%64)) != 0
}

// grant widens the window by up to want ids, by at least one while the client holds none, and returns by how many.
func (w *window) grant(want uint16) uint16 {
	n := int(want)
	if w.held == 0 {
		n = max(n, 1)
	}
	span := int(w.high - w.low)
	n = max(0, min(n, w.max-w.held, maxCredits-span, math.MaxUint16))
	if left := math.MaxUint64 - w.high; uint64(n) > left { // 2^64-1 is never a request's id
		n = int(left)
	}
	w.high += uint64(n)
	w.held += n
	return uint16(n)
}

// chargeFor is the number of credits that pay for n bytes, [MS-SMB2] 3.1.5.2.
func chargeFor(n uint64) uint64 { return (max(n, 1)-1)/creditUnit + 1 }
