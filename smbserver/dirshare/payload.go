//go:build linux

package dirshare

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// pipe carries page-cache pages from a file to a socket. A pipe is slots, not bytes: what fits depends on how the pages
// lie, so its capacity is only tried, never computed.
type pipe struct {
	r, w *uringbackend.FD
	held int // bytes in it
}

// pipes keeps empty pipes for reuse, the last used first.
type pipes struct {
	// Immutable after newPipes.
	engine uringbackend.Engine
	bytes  int // capacity asked for
	limit  int // most idle pipes

	mu sync.Mutex
	// +checklocks:mu
	idle []*pipe
	// +checklocks:mu
	closed bool
}

func newPipes(engine uringbackend.Engine, bytes, limit int) *pipes {
	return &pipes{engine: engine, bytes: bytes, limit: limit}
}

func (p *pipes) get() (*pipe, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		q := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return q, nil
	}
	p.mu.Unlock()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	// Refused beyond fs.pipe-max-size or fs.pipe-user-pages-soft, even to root in a container: the pipe is then smaller
	// and a payload takes more of them.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, p.bytes)
	return &pipe{r: p.engine.Own(fds[0]), w: p.engine.Own(fds[1])}, nil
}

// put takes q back: to the pool when it is empty, else away, with what it held.
func (p *pipes) put(q *pipe) {
	if q.held == 0 {
		p.mu.Lock()
		if !p.closed && len(p.idle) < p.limit {
			p.idle = append(p.idle, q)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
	_ = q.close() // pipes have nothing to report
}

func (q *pipe) close() error {
	return errors.Join(q.r.Close(context.Background()), q.w.Close(context.Background()))
}

func (p *pipes) close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var err error
	for _, q := range idle {
		err = errors.Join(err, q.close())
	}
	return err
}

// payload is a range of a file, held in pipes in order.
type payload struct {
	pool  *pipes
	pipes []*pipe
	n     int // bytes when it was made
}

// maxPayloadPipes bounds the pipes of one payload: 8 MiB in pipes of 64 KiB, the size a process gets when the kernel
// refuses more.
const maxPayloadPipes = 128

// Reference implements smbserver.Referencer: page-cache pages of the range in pipes, by reference. They stay shared with
// the file: see the package comment.
func (f *file) Reference(ctx context.Context, off int64, n int) (smbserver.Payload, error) {
	if f.handle == nil {
		return nil, unix.EISDIR
	}
	p := &payload{pool: f.share.pipes}
	for n > 0 && len(p.pipes) < maxPayloadPipes {
		q, err := p.pool.get()
		if err != nil {
			p.Release()
			return nil, err
		}
		p.pipes = append(p.pipes, q)
		for n > 0 {
			m, err := f.handle.SpliceTo(ctx, q.w.Num(), off, n)
			if errors.Is(err, unix.EAGAIN) && q.held > 0 {
				break // full: the next pipe
			}
			if err != nil {
				p.Release()
				return nil, fmt.Errorf("splice from the file: %w", err)
			}
			if m == 0 {
				return p, nil // end of file
			}
			q.held += m
			p.n += m
			off, n = off+int64(m), n-m
		}
	}
	return p, nil
}

// Len implements smbserver.Payload.
func (p *payload) Len() int { return p.n }

// Release implements smbserver.Payload.
func (p *payload) Release() {
	for _, q := range p.pipes {
		p.pool.put(q)
	}
	p.pipes = nil
}
