//go:build linux

package uringbackend

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Faults is a plan of what to inject. Its text form,
// `seed=7,read_at=EIO:0.01,short:0.01,delay(200us):0.05,late(5ms):0.1,reorder:0.2`, is read by ParseFaults and printed
// by String: seed and text are all that is needed to see the same faults again.
type Faults struct {
	Seed  uint64
	Rules []FaultRule
}

// FaultRule gives ops of one verb, or of all, a fault with a probability.
type FaultRule struct {
	Kind        Kind // 0: every verb that the fault makes sense for
	Fault       Fault
	Errno       unix.Errno    // of FaultErrno
	Delay       time.Duration // of FaultDelay, and the most of FaultLate
	Probability float64       // in (0, 1]
}

// Fault is what a rule does to an op.
type Fault uint8

// The faults. A rule with another value does nothing.
const (
	_ Fault = iota
	// FaultErrno makes the op report Errno without being carried out. KindClose is carried out and then reports it,
	// since a descriptor is gone whatever close(2) says.
	FaultErrno
	// FaultShort cuts a transfer to a part of its bytes, one at least.
	FaultShort
	// FaultDelay holds the report back for Delay, or until the op's context ends.
	FaultDelay
	// FaultLate is a completion just after cancellation: when the op's context can end, the report, which is the real
	// result, is held back until it has, but no longer than Delay.
	FaultLate
	// FaultReorder makes the bounded ops of a Submit start and report in another order; chains stay whole, and drains
	// wait. It belongs to the call, not to a verb.
	FaultReorder
)

// ErrFaults is wrapped by each error of ParseFaults.
var ErrFaults = errors.New("malformed fault plan")

const (
	maxFaultRules = 256              // of a plan; each op meets each rule
	maxFaultDelay = 10 * time.Second // a longer one is a hang
	defaultLate   = 5 * time.Millisecond
)

// ParseFaults reads a plan: items separated by commas, each `seed=N`, `VERB=FAULT:P` or `FAULT:P` for every verb.
// FAULT is the name of an errno, `short`, `delay(D)`, `late(D)` (`late` is `late(5ms)`), or, without a verb, `reorder`.
// D is a duration such as 2ms or 200us, at most 10s. The empty text is the plan without faults.
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
	if held, d, ok := strings.Cut(strings.TrimSuffix(name, ")"), "("); ok && strings.HasSuffix(name, ")") {
		if r.Delay, err = time.ParseDuration(d); err != nil || r.Delay <= 0 || r.Delay > maxFaultDelay {
			return r, fmt.Errorf("delay %q is not in (0, %s]", d, maxFaultDelay)
		}
		switch held {
		case "delay":
			r.Fault = FaultDelay
		case "late":
			r.Fault = FaultLate
		default:
			return r, fmt.Errorf("%q takes no time", held)
		}
		return r, nil
	}
	switch name {
	case "short":
		if r.Kind != kindInvalid && !r.Kind.transfers() {
			return r, fmt.Errorf("%s transfers no bytes", verb)
		}
		r.Fault = FaultShort
	case "late":
		r.Fault, r.Delay = FaultLate, defaultLate
	case "reorder":
		if r.Kind != kindInvalid {
			return r, errors.New("reorder takes no verb")
		}
		r.Fault = FaultReorder
	default:
		if r.Errno = errnoNamed(name); r.Errno == 0 {
			return r, fmt.Errorf("no fault or errno %q", name)
		}
		r.Fault = FaultErrno
	}
	return r, nil
}

// String is the text that ParseFaults reads.
func (f Faults) String() string {
	items := []string{"seed=" + strconv.FormatUint(f.Seed, 10)}
	for _, r := range f.Rules {
		item := r.fault() + ":" + strconv.FormatFloat(r.Probability, 'g', -1, 64)
		if r.Kind != kindInvalid {
			item = r.Kind.String() + "=" + item
		}
		items = append(items, item)
	}
	return strings.Join(items, ",")
}

func (r FaultRule) fault() string {
	delay := "(" + strings.Replace(r.Delay.String(), "\u00b5s", "us", 1) + ")" // plain ASCII, for command lines
	switch r.Fault {
	case FaultShort:
		return "short"
	case FaultDelay:
		return "delay" + delay
	case FaultLate:
		return "late" + delay
	case FaultReorder:
		return "reorder"
	default:
		return unix.ErrnoName(r.Errno)
	}
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
	_, ok := (&Op{Kind: k}).wanted()
	return ok
}

// meets says whether the rule may happen to an op of verb k.
func (r FaultRule) meets(k Kind) bool {
	return (r.Kind == kindInvalid || r.Kind == k) && (r.Fault != FaultShort || k.transfers())
}

// draw decides whether rule number i happens at a turn: the dice, and whether they say so.
func (f Faults) draw(i int, k Kind, turn uint64) (dice uint64, hit bool) {
	dice = mix(f.Seed ^ mix(uint64(k)<<32|uint64(i)) ^ mix(turn))
	return mix(dice), float64(dice>>11)/(1<<53) < f.Rules[i].Probability
}

// mix is the finaliser of SplitMix64: every bit of the result depends on every bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// shorten cuts a transfer to at least 1 byte and less than it was, and says whether it did; transfers of one byte stay.
func (op *Op) shorten(dice uint64) bool {
	total, ok := op.wanted()
	if !ok || total <= 1 {
		return false
	}
	left := 1 + int64(dice%uint64(total-1))
	switch op.Kind {
	case KindReadAt, KindWriteAt, KindSend, KindRecv:
		op.Buf = op.Buf[:left]
	case KindReadvAt, KindWritevAt, KindSendmsg, KindRecvmsg:
		var cut [][]byte
		for _, b := range op.Bufs {
			b = b[:min(int64(len(b)), left)]
			cut = append(cut, b)
			if left -= int64(len(b)); left == 0 {
				break
			}
		}
		op.Bufs = cut
	default:
		op.Length = left
	}
	return true
}
