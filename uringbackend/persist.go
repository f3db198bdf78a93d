//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// maxPersist bounds how often an op is carried out.
const maxPersist = 64

// persistent is the engine as a Volume uses it: what was interrupted before it did anything is carried out again, because
// a client could not make sense of it. POSIX lets a call report EINTR only when the caller caught a signal, and the
// signals of this process are none of a client's; SMB has no status for it. EAGAIN is no answer of a file either, as
// none is opened with O_NONBLOCK, except for the verbs and flags that ask not to wait. What never gets through is EIO:
// a client that hears EAGAIN from a mount may poll for ever (Go's os.File does), and one that hears EINTR try for ever.
//
// A close is not repeated: the descriptor is gone, close(2), and so EINTR is as good as success.
type persistent struct {
	next  Submitter
	calls sync.Pool // of *persistentCall, so that an op allocates nothing
}

// persistentCall takes the report of one op.
type persistentCall struct {
	n    int
	err  error
	done doneFunc
}

// persist wraps e for a Volume.
func persist(e Engine) Engine {
	return e.Wrap(func(s Submitter) Submitter {
		p := &persistent{next: s}
		p.calls.New = func() any {
			c := new(persistentCall)
			c.done = func(_, n int, _ bool, err error) { c.n, c.err = n, err } // no bounded verb reports twice
			return c
		}
		return p
	})
}

// Submit implements Submitter. Batches are passed on as they are.
func (p *persistent) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	if len(ops) != 1 || ops[0].Unbounded {
		p.next.Submit(ctx, ops, done)
		return
	}
	c := p.calls.Get().(*persistentCall)
	for try := 1; ; try++ {
		p.next.Submit(ctx, ops, c.done)
		if c.err == nil || !transient(&ops[0], c.err) {
			break
		}
		if try == maxPersist {
			c.err = unix.EIO
			break
		}
	}
	n, err := c.n, c.err
	p.calls.Put(c)
	if ops[0].Kind == KindClose && errors.Is(err, unix.EINTR) {
		err = nil
	}
	done(0, n, false, err)
}

// transient says that op did nothing, and that err is no answer to it.
func transient(op *Op, err error) bool {
	switch {
	case op.Kind == KindClose:
		return false
	case errors.Is(err, unix.EINTR):
		return true
	case !errors.Is(err, unix.EAGAIN):
		return false
	}
	switch op.Kind {
	case KindFlock, KindOFDSetlk, KindSplice, KindTee:
		return false
	case KindReadAt, KindReadvAt, KindWriteAt, KindWritevAt:
		return op.Flags&unix.RWF_NOWAIT == 0
	case KindOpenat2:
		return op.How == nil || op.How.Resolve == 0 // others: Engine.Openat2
	default:
		return true
	}
}
