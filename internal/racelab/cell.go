//go:build linux

package racelab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// maxAttempts is how often an inconclusive cell is tried.
	maxAttempts = 3
	// cellLimit bounds one attempt; an ordinary one takes a few dozen milliseconds.
	cellLimit = 15 * time.Second
	// arriveWait bounds how long the target's counters may take to show what has
	// already happened.
	arriveWait = 2 * time.Second
	arrivePoll = time.Millisecond
)

// Times are the durations of a cell's last attempt, in microseconds.
type Times struct {
	PrepareUS int64 `json:"prepare_us"` // file, cache, connection
	WindowUS  int64 `json:"window_us"`  // from the request until the window was proven open
	MutateUS  int64 `json:"mutate_us"`
	TotalUS   int64 `json:"total_us"`
}

// Result is one cell's row. Its JSON form is a published interface.
type Result struct {
	Case     string    `json:"case"`
	Target   string    `json:"target"`
	Path     Path      `json:"path"`
	Plan     string    `json:"plan"` // the path that served, by the target's count; "" if it told none
	FS       FS        `json:"fs"`
	Cache    Cache     `json:"cache"`
	Size     int       `json:"size"`
	Mutator  Mutator   `json:"mutator"`
	Mutation Mutation  `json:"mutation"`
	Window   Window    `json:"window"`
	Claim    string    `json:"claim"`
	Verdict  Verdict   `json:"verdict"`
	Expect   []Verdict `json:"expect"`
	Pages    string    `json:"pages"`
	Proof    Proof     `json:"proof"`
	Attempts int       `json:"attempts"`
	Seed     uint64    `json:"seed"`
	Times    Times     `json:"times"`
	Folio    string    `json:"folio"`          // what the kernel said of the payload's folios: large, 4k, unknown
	Note     string    `json:"note,omitempty"` // why a verdict is not about bytes
}

// lab runs cells against one target.
type lab struct {
	target target
	diag   *sockDiag
	seed   uint64
	// hung counts mutations that did not return in time. They end with the target,
	// so they are waited for after it.
	hung *sync.WaitGroup
}

// run tries a cell until it is conclusive.
func (l *lab) run(ctx context.Context, c Case) Result {
	var r Result
	for n := 1; n <= maxAttempts; n++ {
		r = l.attempt(ctx, c, n)
		r.Attempts = n
		if r.Verdict != Inconclusive || ctx.Err() != nil {
			break
		}
	}
	return r
}

// attempt runs a cell once, on a fresh file over a fresh connection.
func (l *lab) attempt(ctx context.Context, c Case, n int) Result {
	r := Result{
		Case: c.String(), Target: c.Target, Path: c.Path, FS: c.FS, Cache: c.Cache, Size: c.Size,
		Mutator: c.Mutator, Mutation: c.Mutation, Window: c.Window, Claim: c.claim(), Seed: l.seed,
	}
	ctx, cancel := context.WithTimeout(ctx, cellLimit)
	defer cancel()
	start := time.Now()
	err := l.experiment(ctx, c, n, &r)
	r.Times.TotalUS = time.Since(start).Microseconds()
	switch {
	case err == nil:
		return r
	case errors.Is(err, errWindow), errors.Is(err, errCache), errors.Is(err, errNotArrived):
		r.Verdict = Inconclusive
	case errors.Is(err, syscall.EOPNOTSUPP):
		r.Verdict = Unsupported
	default:
		r.Verdict = Error
	}
	r.Note = err.Error()
	if fault := l.target.fault(); fault != "" {
		r.Note += "; " + fault
	}
	return r
}

var errNotArrived = errors.New("the change was not seen to arrive")

// experiment is the order of events that package doc describes. An error means that
// the bytes were not judged, or do not count.
func (l *lab) experiment(ctx context.Context, c Case, n int, r *Result) error {
	truth := c.draw(l.seed)
	name := c.fileName(n)
	path := filepath.Join(l.target.backing(), name)
	defer os.Remove(path) // the scratch file system goes away with it

	start := time.Now()
	folio, err := prime(path, c.Cache, c.FS, truth.old, truth.payload)
	r.Folio, r.Expect = folio.String(), Expect(c, folio)
	if err != nil {
		return err
	}
	client, err := l.target.connect(ctx, c.Window, l.diag)
	if err != nil {
		return err
	}
	defer client.close() //nolint:errcheck // nothing is expected of it any more
	if err := client.open(ctx, name); err != nil {
		return fmt.Errorf("open over SMB: %w", err)
	}
	act, err := l.prepare(ctx, c, name, truth)
	if err != nil {
		return err
	}
	served, err := l.target.served(ctx)
	if err != nil {
		return err
	}
	r.Times.PrepareUS = time.Since(start).Microseconds()

	start = time.Now()
	if err := client.stall().Shut(); err != nil {
		return fmt.Errorf("stop receiving: %w", err)
	}
	if err := client.observed().mark(); err != nil {
		return err
	}
	payload := make([]byte, c.Size)
	answer := make(chan error, 1)
	// ends when the answer is in or the connection is closed; waited by the receive below or the deferred one.
	go func() {
		n, err := client.read(payload, truth.payload.from)
		payload = payload[:n]
		answer <- err
	}()
	received := false
	defer func() {
		if !received {
			client.close() //nolint:errcheck // ends the read
			<-answer       //nolint:errcheck // whatever it says: nobody asks any more
		}
	}()
	look := func() (Reading, error) {
		return client.observed().look(func(head []byte) (int, error) { return client.reply(head, c.Size) })
	}
	if r.Proof.Before, err = c.Window.await(ctx, look); err != nil {
		return err
	}
	r.Times.WindowUS = time.Since(start).Microseconds()

	start = time.Now()
	if err := act(); err != nil {
		return err
	}
	r.Times.MutateUS = time.Since(start).Microseconds()
	// Only the client could close the window, and for good: waiting here lets nothing
	// pass, it lets the kernel settle.
	if r.Proof.After, err = c.Window.await(ctx, look); err != nil {
		return fmt.Errorf("after the change: %w", err)
	}
	r.Proof.Open = true

	if c.Window == WindowSender {
		if err := client.observed().widen(); err != nil {
			return err
		}
	}
	if err := client.stall().Open(); err != nil {
		return fmt.Errorf("receive again: %w", err)
	}
	select {
	case err = <-answer:
		received = true
	case <-ctx.Done():
		return fmt.Errorf("the rest of the reply did not arrive: %w", ctx.Err())
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read: %w", err)
	}
	if r.Plan, err = l.servedBy(ctx, served); err != nil {
		return err
	}
	applied, err := fresh(path, truth)
	if err != nil {
		return err
	}
	r.Pages, r.Verdict = truth.judge(payload, applied)
	return nil
}

// prepare returns the function that makes the change, with all that can be done
// before the window opens already done.
func (l *lab) prepare(ctx context.Context, c Case, name string, truth layout) (func() error, error) {
	row, ok := findMutation(c.Mutation)
	if !ok {
		return nil, fmt.Errorf("%w: mutation %q", ErrCase, c.Mutation)
	}
	change := change{span: truth.mutated, gen: truth.new}
	switch c.Mutator {
	case MutatorBacking:
		path := filepath.Join(l.target.backing(), name)
		return func() error { return row.file(path, change) }, nil
	case MutatorSMB:
		other, err := l.target.second(ctx)
		if err != nil {
			return nil, err
		}
		return func() error { return row.smb(ctx, other, name, change) }, nil
	case MutatorMount:
		if l.target.mount() == "" {
			return nil, fmt.Errorf("%w: the target has no mount", ErrCase)
		}
		path := filepath.Join(l.target.mount(), name)
		ops, err := l.target.mountOps(ctx)
		if err != nil {
			return nil, err
		}
		return func() error {
			if err := l.bounded(ctx, func() error { return row.file(path, change) }); err != nil || row.fuseOp == "" {
				return err
			}
			return l.arrived(ctx, row.fuseOp, ops[row.fuseOp])
		}, nil
	default:
		return nil, fmt.Errorf("%w: mutator %q", ErrCase, c.Mutator)
	}
}

// bounded runs f, which may hang in a mount that does not answer. Then it returns and
// leaves f to end with the target.
func (l *lab) bounded(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	// ends when f does, at the latest when the target is gone; waited by Run through hung.
	l.hung.Go(func() {
		done <- f()
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the mount does not answer: %w", ctx.Err())
	}
}

// arrived waits until the mount's server has counted more requests of op than before.
// A change that the kernel kept to itself (passthrough, a cache) never arrives.
func (l *lab) arrived(ctx context.Context, op string, before int64) error {
	return poll(ctx, func() (bool, error) {
		ops, err := l.target.mountOps(ctx)
		return ops[op] > before, err
	}, fmt.Errorf("%w: the mount's server counts no more %s than before", errNotArrived, op))
}

// servedBy names the only path whose count of PDUs has grown.
func (l *lab) servedBy(ctx context.Context, before map[string]int64) (string, error) {
	var plan string
	err := poll(ctx, func() (bool, error) {
		now, err := l.target.served(ctx)
		if err != nil {
			return false, err
		}
		var grown []string
		for path, count := range now {
			if count > before[path] {
				grown = append(grown, path)
			}
		}
		switch len(grown) {
		case 0:
			return false, nil
		case 1:
			plan = grown[0]
			return true, nil
		default:
			return false, fmt.Errorf("the target counts the reply on several paths: %v", grown)
		}
	}, errors.New("the target counts the reply on no path"))
	return plan, err
}

// poll calls f until it says true, errs, or arriveWait has passed.
func poll(ctx context.Context, f func() (bool, error), late error) error {
	ctx, cancel := context.WithTimeout(ctx, arriveWait)
	defer cancel()
	tick := time.NewTicker(arrivePoll)
	defer tick.Stop()
	for {
		ok, err := f()
		if ok {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return late
		case <-tick.C:
		}
	}
}

// fresh reads the mutated part of the payload's range from the backing file through a
// new descriptor, and reports whether the mutation shows there.
func fresh(path string, truth layout) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("fresh read: %w", err)
	}
	defer f.Close()
	from, to := max(truth.mutated.from, truth.payload.from), min(truth.mutated.to, truth.payload.to)
	content := make([]byte, max(to-from, 0))
	n, err := f.ReadAt(content, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("fresh read: %w", err)
	}
	return truth.fresh(content[:n]), nil
}
