package datapath_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver/datapath"
)

func TestPoolGivesTheLastBufferBackFirst(t *testing.T) {
	p := datapath.NewPool(&datapath.Budget{Max: 1 << 30}, false)
	a, b := p.Take(1000), p.Take(1000)
	require.Len(t, a, 1000)
	require.NotSame(t, &a[0], &b[0])
	p.Put(a)
	p.Put(b)
	assert.Same(t, &b[0], &p.Take(4)[0])
	assert.Same(t, &a[0], &p.Take(4000)[0])
}

func TestPoolPoisonsAndCountsInDebug(t *testing.T) {
	p := datapath.NewPool(&datapath.Budget{Max: 1 << 30}, true)
	b := p.Take(100)
	copy(b, "secret")
	assert.Equal(t, 1, p.Lent())
	p.Put(b)
	assert.Zero(t, p.Lent())
	assert.Equal(t, bytes.Repeat([]byte{0xDB}, 100), b)
	assert.Panics(t, func() { p.Put(b) }, "returned twice")
	huge := p.Take(9 << 20) // beyond the classes: the garbage collector's
	assert.Len(t, huge, 9<<20)
	p.Put(huge)
	assert.Zero(t, p.Lent())
}

func TestPoolGrowKeepsTheBytes(t *testing.T) {
	p := datapath.NewPool(&datapath.Budget{Max: 1 << 30}, true)
	b := p.Take(4)
	copy(b, "abcd")
	b = p.Grow(b, 100)
	b = p.Grow(b, 1<<20)
	assert.Len(t, b, 1<<20)
	assert.Equal(t, "abcd", string(b[:4]))
	assert.Equal(t, 1, p.Lent())
	p.Put(b)
	assert.Zero(t, p.Lent())
}

func TestPoolStaysInTheBudget(t *testing.T) {
	budget := &datapath.Budget{Max: 8 << 10}
	p, q := datapath.NewPool(budget, false), datapath.NewPool(budget, false)
	var list [][]byte
	for range 4 {
		list = append(list, p.Take(1))
	}
	for _, b := range list {
		p.Put(b)
	}
	assert.Equal(t, int64(8<<10), budget.Idle())
	b := q.Take(1)
	q.Put(b)
	assert.Equal(t, int64(8<<10), budget.Idle(), "another pool's share is the same budget")
	p.Close()
	assert.Zero(t, budget.Idle())
	late := q.Take(1)
	q.Close()
	q.Put(late)
	assert.Zero(t, budget.Idle(), "after Close nothing is kept")
}

func TestPoolConcurrently(t *testing.T) {
	p := datapath.NewPool(&datapath.Budget{Max: 1 << 20}, true)
	var wg sync.WaitGroup
	for i := range 4 {
		// ends after its rounds; waited below
		wg.Go(func() {
			for j := range 200 {
				b := p.Take(1 + (i*977+j*31)%70000)
				for k := range b {
					b[k] = byte(i)
				}
				for k := range b {
					if b[k] != byte(i) {
						t.Errorf("two owners of one buffer")
						return
					}
				}
				p.Put(b)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, p.Lent())
}
