//go:build linux

package uringbackend_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

func TestConformance(t *testing.T) {
	features := uringbackend.Probe(t.TempDir())
	open := func(name string) func(t *testing.T) uringbackend.Engine {
		return func(t *testing.T) uringbackend.Engine {
			t.Helper()
			if name == "ring" {
				enginetest.Require(t, features.Ring)
			}
			e, err := uringbackend.Open(name, features, uringbackend.Config{Strict: true})
			require.NoError(t, err)
			require.Equal(t, name, e.Name())
			return e
		}
	}
	t.Run("syscall", func(t *testing.T) { enginetest.Run(t, open("syscall")) })
	t.Run("ring", func(t *testing.T) { enginetest.Run(t, open("ring")) })
	t.Run("faulty", func(t *testing.T) {
		enginetest.Run(t, func(t *testing.T) uringbackend.Engine {
			return uringbackend.Faulty(open("ring")(t), uringbackend.Faults{})
		})
	})
}
