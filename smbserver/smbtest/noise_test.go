package smbtest_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

func TestNoiseKeepsTheStream(t *testing.T) {
	r := seed.FromTest(t)
	a, b := net.Pipe()
	left, right := smbtest.NewNoise(a, r.Uint64()), smbtest.NewNoise(b, r.Uint64())
	want := make([]byte, 100_000)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	wrote := make(chan error, 1)
	// ends when everything is written; waited by the receive below
	go func() {
		n, err := left.Write(want)
		if err == nil && n != len(want) {
			err = io.ErrShortWrite
		}
		wrote <- err
		left.Close()
	}()
	got, err := io.ReadAll(right)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	assert.True(t, bytes.Equal(want, got))
	require.NoError(t, right.Close())
}

func TestNoiseIsSeeded(t *testing.T) {
	pieces := func(number uint64) (sizes []int) {
		a, b := net.Pipe()
		n := smbtest.NewNoise(a, number)
		done := make(chan struct{})
		// ends when the pipe is closed; waited by the receive below
		go func() {
			defer close(done)
			p := make([]byte, 1000)
			for {
				m, err := b.Read(p)
				if err != nil {
					return
				}
				sizes = append(sizes, m)
			}
		}()
		_, err := n.Write(make([]byte, 1000))
		assert.NoError(t, err)
		assert.NoError(t, n.Close())
		<-done
		return sizes
	}
	first := pieces(7)
	assert.Equal(t, first, pieces(7))
	assert.NotEqual(t, pieces(7), pieces(8))
}
