//go:build linux

package uringbackend

import (
	"context"
	"slices"

	"github.com/uringfs/uringfs/uringbackend/uring"
)

// personalities are the credentials that one ring knows, by number: IORING_REGISTER_PERSONALITY keeps those of the
// registering thread, and an op whose SQE.Personality names them runs with them, inline or on a worker
// (io_uring/io_uring.c io_issue_sqe). It covers user, groups and capabilities, not the umask or the working directory. The
// registering thread is one of threads with the credentials put on, so the ring must be one that any thread may
// register with: not SINGLE_ISSUER, whose owner alone may (EEXIST for others).
//
// Used by whoever has the ring to himself. INVARIANT: an entry that the batch under way has used stays until its end,
// because the batch may submit an op again; so a batch with more users than limit has them all.
type personalities struct {
	core *core // immutable

	// Owned by the ring's user.
	batch   uint64
	entries []personality
	groups  []uint32 // scratch
}

// personality is one entry; the fields of Creds, with the groups sorted, are its key.
type personality struct {
	uid, gid uint32
	checked  bool
	id       uint16
	groups   []uint32
	used     uint64 // the last batch that used it
}

// next begins a batch: entries that the one before has used may go.
func (p *personalities) next() { p.batch++ }

// id returns the number of c in r, which is valid until next. It registers c if r does not know it, on a thread for which
// it waits: ECANCELED, EPERM as threads.run, or an errno of io_uring_register(2).
func (p *personalities) id(ctx context.Context, r *uring.Ring, c *Creds) (uint16, error) {
	p.groups = groupSet(p.groups[:0], c.Groups)
	checked := c.Checked && c.UID != 0 // root has the capability as it is
	for i := range p.entries {
		e := &p.entries[i]
		if e.uid == c.UID && e.gid == c.GID && e.checked == checked && slices.Equal(e.groups, p.groups) {
			e.used = p.batch
			return e.id, nil
		}
	}
	p.evict(r)
	var id uint16
	var err error
	put := p.core.threads.run(ctx, c, func() { id, err = r.RegisterPersonality() })
	if put != nil {
		return 0, put
	}
	if err != nil {
		return 0, err
	}
	p.core.stats.personalities.Add(1)
	p.entries = append(p.entries, personality{
		uid: c.UID, gid: c.GID, checked: checked, id: id, groups: slices.Clone(p.groups), used: p.batch,
	})
	return id, nil
}

// evict makes room for one entry, beginning with those not used for longest.
func (p *personalities) evict(r *uring.Ring) {
	for len(p.entries) >= p.core.persons {
		oldest := -1
		for i := range p.entries {
			if used := p.entries[i].used; used != p.batch && (oldest < 0 || used < p.entries[oldest].used) {
				oldest = i
			}
		}
		if oldest < 0 {
			return // all are of this batch
		}
		// The kernel lets go of the credentials; only a ring that does not know the number answers EINVAL.
		if err := r.UnregisterPersonality(p.entries[oldest].id); err != nil {
			p.core.stats.bug(false, "personality %d is unknown to its ring: %v", p.entries[oldest].id, err)
		}
		p.entries = slices.Delete(p.entries, oldest, oldest+1)
	}
}

// byThread says that an op of a verb with a ring half goes to a thread with its credentials all the same: without
// personalities, where the umask of the process would narrow a mode, and where it may wait without bound, because the
// ring for those has one thread that alone may register.
//
// Else the ring has it, whatever it costs without credentials, because a thread costs two switches: BenchmarkCreds on
// Linux 6.18, 2 processors, best of 6, µs by personality and by thread: statx 7.7 and 45, creation and removal of a file
// on tmpfs 15 and 87, on ext4 26 and 130; with 32 goroutines 4.1 and 39, 16 and 50, 28 and 78. The same through the ring
// without credentials: 7.6, 16, 22; by a system call: 4.6, 14, 28.
func (e *ringEngine) byThread(op *Op) bool {
	t := &e.core.threads
	return t.needed(op) && (!op.Creds.Valid || op.Unbounded || e.lacksPersonality(op) || t.masks(op))
}
