//go:build linux

package uringbackend_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// TestConformance runs the suite on every engine, on the ring with every policy and every loop.
func TestConformance(t *testing.T) {
	features := uringbackend.Probe(t.TempDir())
	open := func(name string, cfg uringbackend.Config) func(t *testing.T) uringbackend.Engine {
		cfg.Strict = true
		return func(t *testing.T) uringbackend.Engine {
			t.Helper()
			if name == "ring" {
				enginetest.Require(t, features.Ring)
			}
			e, err := uringbackend.Open(name, features, cfg)
			require.NoError(t, err)
			require.Equal(t, name, e.Name())
			return e
		}
	}
	forced := uringbackend.Config{Policy: "ring"}
	for name, open := range map[string]func(t *testing.T) uringbackend.Engine{
		"syscall":      open("syscall", uringbackend.Config{}),
		"ring":         open("ring", forced),
		"ring-auto":    open("ring", uringbackend.Config{}),
		"ring-netpoll": open("ring", uringbackend.Config{Policy: "ring", Loop: "netpoll"}),
		"faulty": func(t *testing.T) uringbackend.Engine {
			return uringbackend.Faulty(open("ring", forced)(t), uringbackend.Faults{})
		},
	} {
		t.Run(name, func(t *testing.T) { enginetest.Run(t, open) })
	}
}
