//go:build linux

package uringbackend_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// opener opens engines of one kind, behind a fault plan unless that is empty.
func opener(name, faults string, cfg uringbackend.Config) func(t *testing.T) uringbackend.Engine {
	return func(t *testing.T) uringbackend.Engine {
		t.Helper()
		features := uringbackend.Probe("")
		if name == "ring" {
			enginetest.Require(t, features.Ring)
		}
		cfg.Strict = true
		e, err := uringbackend.Open(name, features, cfg)
		require.NoError(t, err)
		if faults == "" {
			return e
		}
		plan, err := uringbackend.ParseFaults(faults)
		require.NoError(t, err)
		return uringbackend.Faulty(e, plan)
	}
}

func TestOrdered(t *testing.T) {
	for _, c := range []struct{ name, engine, faults string }{
		{"syscall", "syscall", ""},
		{"faulty", "syscall", "seed=1,reorder:1e-9"},
		{"faulty-held", "syscall", "seed=1,delay(50us):1,reorder:0.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			enginetest.RunCases(t, opener(c.engine, c.faults, uringbackend.Config{}), enginetest.Ordered())
		})
	}
	t.Run("short", func(t *testing.T) {
		enginetest.RunCases(t, opener("syscall", "", uringbackend.Config{Entries: 8}), enginetest.Ordered())
	})
}
