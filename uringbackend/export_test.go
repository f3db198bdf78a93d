//go:build linux

package uringbackend

import (
	"context"

	"golang.org/x/sys/unix"
)

// CheckForTest verifies the invariants of references, descriptors and ranges.
func (v *Volume) CheckForTest() error {
	if err := v.checkRefs(); err != nil {
		return err
	}
	return v.ranges.check()
}

// TryBeginShareForTest is BeginShare that does not wait.
func (v *Volume) TryBeginShareForTest(id FileID, r Range) (*ByRef, bool) {
	s := &ByRef{v: v}
	s.claim.init(id, r, v.ranges.page, false)
	return s, v.ranges.try(&s.claim)
}

// LocksForTest counts the inodes with locks.
func (v *Volume) LocksForTest() int {
	v.locks.mu.Lock()
	defer v.locks.mu.Unlock()
	return len(v.locks.inodes)
}

// LendForTest runs call on a thread of the engine with c put on.
func (e Engine) LendForTest(ctx context.Context, c *Creds, call func()) error {
	return e.core.threads.run(ctx, c, call)
}

// WithoutOpcodeForTest plays a kernel that lacks the opcode of k.
func (f Features) WithoutOpcodeForTest(k Kind) Features {
	for _, o := range opcodeAbilities {
		if o.op == verbs[k].ring.opcode {
			*o.of(&f) = Ability{Answer: No, Why: unix.EOPNOTSUPP}
		}
	}
	return f
}
