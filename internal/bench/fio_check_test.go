//go:build linux

package bench

// Inside the package: what fio prints when it fails cannot be had from a row that works.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGoldenFioReport(t *testing.T) {
	s, err := parseFio([]byte("note: something\n" + `{"fio version":"fio-3.33","jobs":[{"error":0,"usr_cpu":10.0,"sys_cpu":40.0,
		"read":{"total_ios":524288,"runtime":4000,"iops":131072.0}}]}`))
	require.NoError(t, err)
	assert.InDelta(t, 131072, s["ops"], 1e-6)
	assert.InDelta(t, 1.0, s["cpu_s_per_gib"], 1e-9, "half of 4 s for 2 GiB")
	for _, bad := range []string{
		``, `no such engine`, `{"jobs":[]}`, `{"jobs":[{"error":5,"read":{"total_ios":1,"runtime":1}}]}`,
		`{"jobs":[{"error":0,"read":{"total_ios":0,"runtime":1}}]}`, `{"jobs":[{"error":0,"read":{"total_ios":1,"runtime":0}}]}`,
	} {
		_, err := parseFio([]byte(bad))
		assert.ErrorContains(t, err, "fio's report", bad)
	}
}
