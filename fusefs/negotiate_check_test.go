//go:build linux

package fusefs

// Internal: what is asked of the kernel decides about races and lost writes, so it is pinned here.

import (
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
)

func TestNegotiation(t *testing.T) {
	o := new(rawFS).mountOptions(Config{Coherence: CoherenceStrict, Logger: discard()})
	assert.NotZero(t, o.DisabledCapabilities&fuse.CAP_PASSTHROUGH, "the server does the reads and writes")
	assert.NotZero(t, o.DisabledCapabilities&fuse.CAP_WRITEBACK_CACHE, "the kernel never writes whole pages over others' bytes")
	assert.Zero(t, o.ExtraCapabilities&o.DisabledCapabilities)
	assert.NotZero(t, o.ExtraCapabilities&fuse.CAP_HANDLE_KILLPRIV_V2)
	assert.NotZero(t, o.ExtraCapabilities&fuse.CAP_DONT_MASK)
	assert.True(t, o.EnableAcl, "DONT_MASK without ACLs would be wrong in directories with a default ACL")
	assert.True(t, o.DisableSplice, "replies are copied")
	assert.True(t, o.EnableLocks)
	assert.True(t, o.DisableReadDirPlus)
	assert.False(t, new(rawFS).mountOptions(Config{Coherence: CoherenceCached, Logger: discard()}).DisableReadDirPlus)
}

func TestPolicy(t *testing.T) {
	for _, test := range []struct {
		c     Coherence
		minor uint32
		ttl   time.Duration
		keep  bool
	}{
		{CoherenceStrict, 45, 0, false},
		{CoherenceCached, 45, time.Second, false},
		{CoherenceServer, 45, time.Hour, true},
		{CoherenceServer, 43, time.Second, false}, // a kernel that cannot drop all names at once
	} {
		ttl, keep := test.c.policy(test.minor)
		assert.Equal(t, test.ttl, ttl, test)
		assert.Equal(t, test.keep, keep, test)
	}
}
