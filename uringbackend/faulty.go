//go:build linux

package uringbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Faults is a plan of errors to inject. Its text form, `seed=7,read_at=EIO:0.01,write_at=ENOSPC:0.005,short:0.01`,
// is read by ParseFaults and printed by String: seed and text are all that is needed to see the same faults again.
type Faults struct {
	Seed  uint64
	Rules []FaultRule
}

// FaultRule gives ops of one verb, or of all, a fault with a probability.
type FaultRule struct {
	Kind        Kind       // 0: every verb that the fault makes sense for
	Errno       unix.Errno // 0: a short transfer
	Probability float64    // in (0, 1]
}

// ErrFaults is wrapped by each error of ParseFaults.
var ErrFaults = errors.New("malformed fault plan")

// maxFaultRules bounds a plan; each op meets each rule.
const maxFaultRules = 256

// ParseFaults reads a plan: items separated by commas, each `seed=N`, `VERB=FAULT:P` or `FAULT:P` for every verb.
// FAULT is the name of an errno or `short`, which cuts a transfer to a part of its bytes. The empty text is the
// plan without faults.
func ParseFaults(text string) (Faults, error) {
	var f Faults
	if text == "" {
		return f, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		verb, fault, named := strings.Cut(item, "=")
		if named && verb == "seed" {
			n, err := strconv.ParseUint(fault, 10, 64)
			if err != nil {
				return Faults{}, fmt.Errorf("%w: seed %q", ErrFaults, fault)
			}
			f.Seed = n
			continue
		}
		if !named {
			verb, fault = "", item
		}
		rule, err := parseRule(verb, fault)
		if err != nil {
			return Faults{}, fmt.Errorf("%w: %q: %w", ErrFaults, item, err)
		}
		if f.Rules = append(f.Rules, rule); len(f.Rules) > maxFaultRules {
			return Faults{}, fmt.Errorf("%w: more than %d rules", ErrFaults, maxFaultRules)
		}
	}
	return f, nil
}

func parseRule(verb, fault string) (FaultRule, error) {
	var r FaultRule
	if verb != "" {
		r.Kind = kindNamed(verb)
		if r.Kind == kindInvalid {
			return r, fmt.Errorf("no verb %q", verb)
		}
	}
	name, p, ok := strings.Cut(fault, ":")
	if !ok {
		return r, errors.New("no probability")
	}
	var err error
	r.Probability, err = strconv.ParseFloat(p, 64)
	if err != nil || !(r.Probability > 0 && r.Probability <= 1) {
		return r, fmt.Errorf("probability %q is not in (0, 1]", p)
	}
	if name == "short" {
		if r.Kind != kindInvalid && !r.Kind.transfers() {
			return r, fmt.Errorf("%s transfers no bytes", verb)
		}
		return r, nil
	}
	if r.Errno = errnoNamed(name); r.Errno == 0 {
		return r, fmt.Errorf("no errno %q", name)
	}
	return r, nil
}

// String is the text that ParseFaults reads.
func (f Faults) String() string {
	items := []string{"seed=" + strconv.FormatUint(f.Seed, 10)}
	for _, r := range f.Rules {
		item := "short"
		if r.Errno != 0 {
			item = unix.ErrnoName(r.Errno)
		}
		if r.Kind != kindInvalid {
			item = r.Kind.String() + "=" + item
		}
		items = append(items, item+":"+strconv.FormatFloat(r.Probability, 'g', -1, 64))
	}
	return strings.Join(items, ",")
}

func kindNamed(name string) Kind {
	for k := kindInvalid + 1; k < kinds; k++ {
		if verbs[k].name == name {
			return k
		}
	}
	return kindInvalid
}

// maxErrno is MAX_ERRNO, include/linux/err.h.
const maxErrno = 4095

func errnoNamed(name string) unix.Errno {
	switch name {
	case "":
		return 0
	case "EOPNOTSUPP": // two names, one number; String prints the other
		return unix.EOPNOTSUPP
	case "EWOULDBLOCK":
		return unix.EWOULDBLOCK
	case "EDEADLOCK":
		return unix.EDEADLOCK
	}
	for e := unix.Errno(1); e <= maxErrno; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	return 0
}

// transfers says that the verb moves bytes of Buf, Bufs or Length, so that it may be cut short.
func (k Kind) transfers() bool {
	switch k {
	case KindReadAt, KindWriteAt, KindReadvAt, KindWritevAt, KindCopyFileRange, KindSplice:
		return true
	default:
		return false
	}
}

// Faulty wraps e in an engine that injects the faults of f, and is otherwise e. The n-th op of a verb always meets
// the same fault for the same plan; with concurrent callers, which of them is the n-th is theirs.
//
// An op with an error is not carried out. The exception is KindClose: it is, and then reports the error, since a
// descriptor is gone whatever close(2) says.
func Faulty(e Engine, f Faults) Engine {
	f.Rules = slices.Clone(f.Rules)
	return e.Wrap(func(s Submitter) Submitter { return &faulty{next: s, plan: f} })
}

type faulty struct {
	// Immutable after Faulty.
	next Submitter
	plan Faults

	// Atomic: ops seen of each verb.
	seen [kinds]atomic.Uint64
}

// Submit implements Submitter.
func (f *faulty) Submit(ctx context.Context, ops []Op, done func(i, n int, more bool, err error)) {
	if len(f.plan.Rules) == 0 {
		f.next.Submit(ctx, ops, done)
		return
	}
	var pass []Op
	var index []int // of pass, in ops
	var closeErr []unix.Errno
	for i := range ops {
		op := ops[i] // a copy: a short transfer changes it
		errno := f.meet(&op)
		if errno != 0 && op.Kind != KindClose {
			done(i, 0, false, errno)
			continue
		}
		pass, index, closeErr = append(pass, op), append(index, i), append(closeErr, errno)
	}
	if len(pass) == 0 {
		return
	}
	f.next.Submit(ctx, pass, func(i, n int, more bool, err error) {
		if err == nil && closeErr[i] != 0 {
			n, err = 0, closeErr[i]
		}
		done(index[i], n, more, err)
	})
}

// meet applies the plan to one op: an errno, or a shorter op.
func (f *faulty) meet(op *Op) unix.Errno {
	if !op.Kind.valid() {
		return 0
	}
	turn := f.seen[op.Kind].Add(1)
	for i, r := range f.plan.Rules {
		if r.Kind != kindInvalid && r.Kind != op.Kind || r.Errno == 0 && !op.Kind.transfers() {
			continue
		}
		dice := mix(f.plan.Seed ^ mix(uint64(op.Kind)<<32|uint64(i)) ^ mix(turn))
		if float64(dice>>11)/(1<<53) >= r.Probability {
			continue
		}
		if r.Errno != 0 {
			return r.Errno
		}
		op.shorten(mix(dice))
	}
	return 0
}

// mix is the finaliser of SplitMix64: every bit of the result depends on every bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// shorten cuts a transfer to at least 1 byte and less than it was; transfers of one byte stay.
func (op *Op) shorten(dice uint64) {
	switch op.Kind {
	case KindReadAt, KindWriteAt:
		if n := len(op.Buf); n > 1 {
			op.Buf = op.Buf[:1+int(dice%uint64(n-1))]
		}
	case KindReadvAt, KindWritevAt:
		total := 0
		for _, b := range op.Bufs {
			total += len(b)
		}
		if total <= 1 {
			return
		}
		left := 1 + int(dice%uint64(total-1))
		var cut [][]byte
		for _, b := range op.Bufs {
			b = b[:min(len(b), left)]
			cut = append(cut, b)
			if left -= len(b); left == 0 {
				break
			}
		}
		op.Bufs = cut
	case KindCopyFileRange, KindSplice:
		if op.Length > 1 {
			op.Length = 1 + int64(dice%uint64(op.Length-1))
		}
	}
}
