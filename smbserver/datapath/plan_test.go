package datapath_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/smbserver/datapath"
)

// Every combination of facts: the unsafe path is taken only when it was asked for by name and nothing forbids it.
func TestPlanForEveryCombination(t *testing.T) {
	spliced := 0
	for bits := range 1 << 5 {
		for _, policy := range []datapath.Policy{datapath.PolicyInvalid, datapath.PolicyAuto, datapath.PolicyCopy, datapath.PolicyUnsafeSplice} {
			for _, length := range []int{1, 4095, 4096, 1 << 20} {
				f := datapath.Facts{
					Policy: policy,
					Signed: bits&1 != 0, Encrypted: bits&2 != 0, Compound: bits&4 != 0, File: bits&8 != 0, Transport: bits&16 != 0,
					Length: length,
				}
				p := datapath.Make(f)
				may := policy == datapath.PolicyUnsafeSplice && !f.Signed && !f.Encrypted && !f.Compound && f.File && f.Transport && length >= 4096
				switch {
				case may:
					spliced++
					assert.Equal(t, datapath.Plan{Path: datapath.PathUnsafeSplice, Reason: datapath.ReasonPolicy}, p, "%+v", f)
				case policy == datapath.PolicyUnsafeSplice:
					assert.Equal(t, datapath.PathCopy, p.Path, "%+v", f)
					assert.True(t, p.Reason.Refusal(), "%+v", f)
				default:
					assert.Equal(t, datapath.Plan{Path: datapath.PathCopy, Reason: datapath.ReasonPolicy}, p, "%+v", f)
				}
			}
		}
	}
	assert.Equal(t, 2, spliced)
}

func TestPlanNames(t *testing.T) {
	for _, p := range datapath.Paths() {
		assert.NotEqual(t, "invalid", p.String())
		policy, err := datapath.ParsePolicy(p.String())
		require.NoError(t, err)
		assert.Equal(t, p.String(), policy.String())
	}
	seen := map[string]bool{}
	for _, r := range datapath.Refusals() {
		assert.NotEqual(t, "invalid", r.String())
		assert.False(t, seen[r.String()])
		seen[r.String()] = true
	}
	for _, name := range []string{"", "auto"} {
		policy, err := datapath.ParsePolicy(name)
		require.NoError(t, err)
		assert.Equal(t, datapath.PolicyAuto, policy)
	}
	_, err := datapath.ParsePolicy("splice")
	require.Error(t, err)
}

type pieces struct {
	data []byte
	step int
	fail int // offset at which reading fails; 0: never
}

func (p pieces) ReadAt(_ context.Context, b []byte, off int64) (int, error) {
	if p.fail > 0 && int(off) >= p.fail {
		return 0, syscall.EIO
	}
	return copy(b[:min(len(b), p.step)], p.data[min(int(off), len(p.data)):]), nil
}

func TestCopyFillsFromShortReads(t *testing.T) {
	data := []byte("0123456789")
	buf := make([]byte, 6)
	n, err := datapath.Copy(t.Context(), pieces{data: data, step: 4}, buf, 1)
	require.NoError(t, err)
	assert.Equal(t, "123456", string(buf[:n]))
	n, err = datapath.Copy(t.Context(), pieces{data: data, step: 4}, buf, 7)
	require.NoError(t, err)
	assert.Equal(t, "789", string(buf[:n]))
	n, err = datapath.Copy(t.Context(), pieces{data: data, step: 4}, buf, 10)
	require.NoError(t, err)
	assert.Zero(t, n)
	_, err = datapath.Copy(t.Context(), pieces{data: data, step: 4, fail: 3}, buf, 0)
	require.ErrorIs(t, err, syscall.EIO)
}

type held struct{ n, released int }

func (h *held) Len() int { return h.n }
func (h *held) Release() { h.released++ }

func (h *held) Reference(context.Context, int64, int) (datapath.Payload, error) { return h, nil }

func TestLendReleasesWhatIsEmpty(t *testing.T) {
	empty := &held{}
	p, err := datapath.Lend(t.Context(), empty, 0, 4096)
	require.NoError(t, err)
	assert.Nil(t, p)
	assert.Equal(t, 1, empty.released)
	full := &held{n: 10}
	p, err = datapath.Lend(t.Context(), full, 0, 4096)
	require.NoError(t, err)
	assert.Equal(t, 10, p.Len())
	assert.Zero(t, full.released)
}
