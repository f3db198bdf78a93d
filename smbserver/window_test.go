package smbserver

// Inside the package: the window's invariant is about fields that nothing outside can see.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/seed"
)

func (w *window) check(t *testing.T) {
	t.Helper()
	require.LessOrEqual(t, w.high-w.low, uint64(maxCredits))
	require.True(t, w.low == w.high || !w.isSpent(w.low), "low is spent")
	free := 0
	for id := w.low; id < w.high; id++ {
		if !w.isSpent(id) {
			free++
		}
	}
	require.Equal(t, free, w.held)
	bits := 0
	for _, word := range w.spent {
		for ; word != 0; word &= word - 1 {
			bits++
		}
	}
	require.Equal(t, int(w.high-w.low)-free, bits, "bits outside the window")
}

func TestWindowAgainstModel(t *testing.T) {
	r := seed.FromTest(t)
	for range 20 {
		w := newWindow(1 + r.IntN(maxCredits))
		unspent := map[uint64]bool{0: true}
		next := uint64(1)
		for step := range 2000 {
			if r.IntN(2) == 0 {
				want := uint16(r.IntN(300))
				n := w.grant(want)
				require.LessOrEqual(t, n, max(want, 1))
				if len(unspent) == 0 {
					require.Positive(t, n, "a client without credits is stuck")
				}
				for range n {
					unspent[next] = true
					next++
				}
				require.LessOrEqual(t, len(unspent), w.max)
			} else {
				id := uint64(max(0, int64(w.low)+int64(r.IntN(400))-20))
				charge := 1 + r.IntN(20)
				want := true
				for i := range uint64(charge) {
					want = want && unspent[id+i]
				}
				require.Equal(t, want, w.spend(id, charge), "spend %d+%d", id, charge)
				if want {
					for i := range uint64(charge) {
						delete(unspent, id+i)
					}
				}
			}
			if step%100 == 0 {
				w.check(t)
			}
		}
		w.check(t)
	}
}

func TestWindowRefuses(t *testing.T) {
	open := func() *window {
		w := newWindow(maxCredits)
		require.True(t, w.spend(0, 1))
		require.Equal(t, uint16(100), w.grant(100)) // 1…100
		return &w
	}
	for _, c := range []struct {
		name   string
		id     uint64
		charge int
	}{
		{"an id spent before", 0, 1},
		{"an id beyond the window", 101, 1},
		{"an id far away", math.MaxUint64 - 1, 1},
		{"the id of notifications", math.MaxUint64, 1},
		{"a charge that leaves the window", 100, 2},
		{"the largest charge", 1, 65535},
		{"a charge of nothing", 1, 0},
		{"a charge that overflows", math.MaxUint64, 2},
	} {
		w := open()
		assert.False(t, w.spend(c.id, c.charge), c.name)
		w.check(t)
		assert.True(t, w.spend(1, 1), "%s: the window still works", c.name)
	}
	w := open()
	require.True(t, w.spend(10, 5))
	assert.False(t, w.spend(14, 2), "overlapping a spent range")
	assert.False(t, w.spend(6, 5), "overlapping from below")
	assert.True(t, w.spend(15, 1))
}

func TestWindowSkippedIdBoundsGrants(t *testing.T) {
	w := newWindow(maxCredits)
	require.True(t, w.spend(0, 1))
	w.grant(2) // 1, 2; 1 is never used
	for id := uint64(2); ; id++ {
		if !w.spend(id, 1) {
			assert.Equal(t, uint64(maxCredits+1), id)
			break
		}
		w.grant(1)
	}
	w.check(t)
	assert.Equal(t, 1, w.held)
	assert.Zero(t, w.grant(100), "a hole at the low end stops the window")
	assert.True(t, w.spend(1, 1))
	assert.Equal(t, uint16(100), w.grant(100))
}

func TestWindowNeverReachesTheLastId(t *testing.T) {
	w := newWindow(maxCredits)
	w.low, w.high, w.held = math.MaxUint64-2, math.MaxUint64-1, 1
	require.Equal(t, uint16(1), w.grant(50))
	assert.Equal(t, uint64(math.MaxUint64), w.high, "ids end below 2^64-1")
	assert.False(t, w.spend(math.MaxUint64, 1))
}

func TestChargeFor(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 1, 1: 1, 65536: 1, 65537: 2, 1 << 20: 16, 8 << 20: 128, math.MaxUint32: 65536} {
		assert.Equal(t, want, chargeFor(n), "%d bytes", n)
	}
}
