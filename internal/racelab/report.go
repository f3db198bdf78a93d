package racelab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Outcome is what a run says as a whole.
type Outcome uint8

// Outcomes, in the order of the exit codes 0, 1 and 3 that stand for them.
const (
	// Held: every claim held and, if the plan had a path that claims nothing, that
	// path was seen to change.
	Held Outcome = iota + 1
	// Broken: a claim broke, or nothing changed where something must, or a cell showed
	// what is not in its expectation.
	Broken
	// Undecided: no claim broke, but a cell stayed INCONCLUSIVE.
	Undecided
)

// String returns the outcome as one word.
func (o Outcome) String() string {
	switch o {
	case Held:
		return "held"
	case Broken:
		return "broken"
	case Undecided:
		return "undecided"
	default:
		return "invalid"
	}
}

// Summary is a run's result.
type Summary struct {
	Results []Result
	Outcome Outcome
	Reasons []string // why the outcome is not Held, a sentence each
	Seed    uint64
	Took    time.Duration
}

// fallback reports whether another path served the cell than the one asked for: it
// is then no evidence for the path.
func (r Result) fallback() bool { return r.Plan != "" && r.Plan != string(r.Path) }

// expected reports whether the verdict is one that the cell may show.
func (r Result) expected() bool { return r.Expect == nil || slices.Contains(r.Expect, r.Verdict) }

// changed reports whether the client got bytes that did not exist when the reply was
// put in flight.
func (r Result) changed() bool {
	at := slices.Index(worstFirst(), r.Verdict)
	return r.Proof.Open && at >= 0 && at < slices.Index(worstFirst(), Stale)
}

func summarize(results []Result, seed uint64) Summary {
	s := Summary{Results: results, Outcome: Held, Seed: seed}
	undecided := false
	type tally struct{ cells, fallbacks, must, changed int }
	unstable := make(map[Path]*tally)
	for _, r := range results {
		t := &tally{}
		if r.Claim == claimUnstable {
			if unstable[r.Path] == nil {
				unstable[r.Path] = t
			}
			t = unstable[r.Path]
		}
		t.cells++
		switch {
		case r.Verdict == Inconclusive:
			undecided = true
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s: INCONCLUSIVE after %d attempts: %s", r.Case, r.Attempts, r.Note))
		case r.Verdict == Unsupported:
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s: UNSUPPORTED: %s", r.Case, r.Note))
		case r.Verdict == Error:
			s.Outcome = Broken
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s: ERROR: %s", r.Case, r.Note))
		case r.fallback():
			t.fallbacks++
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s: served by %s, so it says nothing about %s", r.Case, r.Plan, r.Path))
		default:
			if r.Expect != nil && !slices.Contains(r.Expect, Old) {
				t.must++
			}
			if r.changed() {
				t.changed++
			}
			if !r.expected() {
				s.Outcome = Broken
				s.Reasons = append(s.Reasons, fmt.Sprintf("%s: %s, expected %s (pages %s)", r.Case, r.Verdict, verdictSet(r.Expect), r.Pages))
			}
		}
	}
	for path, t := range unstable {
		switch {
		case t.fallbacks == t.cells:
			s.Outcome = Broken
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s never served a READ", path))
		case t.must > 0 && t.changed == 0:
			s.Outcome = Broken
			s.Reasons = append(s.Reasons, fmt.Sprintf("%s never showed a change: the lab, the link or the path is not what it seems", path))
		}
	}
	if s.Outcome == Held && undecided {
		s.Outcome = Undecided
	}
	return s
}

// maxReasons bounds what the table says beneath itself: when everything fails, it
// fails for one reason.
const maxReasons = 12

func verdictSet(set []Verdict) string {
	if set == nil {
		return "unknown"
	}
	names := make([]string, len(set))
	for i, v := range set {
		names[i] = string(v)
	}
	return strings.Join(names, " or ")
}

// rowKey is what a row of the table has in common; mutators are its columns.
type rowKey struct {
	target   string
	mutation Mutation
	cache    Cache
	window   Window
	fs       FS
	size     int
}

// write prints the table, what was not as expected, and a closing sentence.
func (s Summary) write(w io.Writer) error {
	mutators := []Mutator{MutatorMount, MutatorBacking, MutatorSMB}
	var keys []rowKey
	rows := make(map[rowKey]map[Mutator]Result)
	used := make(map[Mutator]bool)
	for _, r := range s.Results {
		k := rowKey{r.Target, r.Mutation, r.Cache, r.Window, r.FS, r.Size}
		if rows[k] == nil {
			rows[k] = make(map[Mutator]Result)
			keys = append(keys, k)
		}
		rows[k][r.Mutator] = r
		used[r.Mutator] = true
	}
	mutators = slices.DeleteFunc(mutators, func(m Mutator) bool { return !used[m] })

	s.legend(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := []string{"TARGET", "CHANGE", "CACHE", "WINDOW"}
	for _, m := range mutators {
		head = append(head, "BY "+strings.ToUpper(string(m)))
	}
	fmt.Fprintln(table, strings.Join(append(head, "EXPECTED", "PROOF, BEFORE AND AFTER THE CHANGE"), "\t"))
	for _, k := range keys {
		line := []string{k.target, string(k.mutation), string(k.cache), string(k.window)}
		var first *Result
		for _, m := range mutators {
			r, ok := rows[k][m]
			line = append(line, r.cell(ok))
			if ok && (first == nil || !r.Proof.Open) {
				first = &r
			}
		}
		fmt.Fprintln(table, strings.Join(append(line, verdictSet(first.Expect), first.Proof.String()), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for i, reason := range s.Reasons {
		if i == maxReasons {
			fmt.Fprintf(w, "* and %d more; --json has a line for each cell\n", len(s.Reasons)-i)
			break
		}
		fmt.Fprintf(w, "* %s\n", reason)
	}
	_, err := fmt.Fprintln(w, s.closing())
	return err
}

// legend says what the table is about and what the words in it mean.
func (s Summary) legend(w io.Writer) {
	if len(s.Results) == 0 {
		return
	}
	var kinds []FS
	shown := make(map[Verdict]bool)
	for _, r := range s.Results {
		if !slices.Contains(kinds, r.FS) {
			kinds = append(kinds, r.FS)
		}
		shown[r.Verdict] = true
	}
	fmt.Fprintf(w, "What a client received of its READ when the file (%s) changed while the reply was in flight:\n", strings.Trim(fmt.Sprint(kinds), "[]"))
	words := []struct {
		v    Verdict
		text string
	}{
		{Old, "as it was when the READ was answered"},
		{New, "written after that"},
		{Zero, "cut or punched after that"},
		{Torn, "partly changed after that"},
		{Stale, "old, and the file does not show the change either"},
		{Ghost, "bytes that the file never held there"},
		{Shifted, "bytes from another place in the file"},
		{Foreign, "bytes of another file, or of none"},
		{Short, "fewer bytes than announced"},
	}
	var parts []string
	for _, word := range words {
		if shown[word.v] {
			parts = append(parts, string(word.v)+" "+word.text)
		}
	}
	fmt.Fprintf(w, "%s.\n\n", strings.Join(parts, "; "))
}

// cell is what a column says; a verdict outside its expectation is marked.
func (r Result) cell(ran bool) string {
	switch {
	case !ran:
		return "·"
	case r.fallback():
		return string(r.Verdict) + " (" + r.Plan + ")"
	case r.Verdict != Inconclusive && r.Verdict != Unsupported && !r.expected():
		return string(r.Verdict) + " !"
	default:
		return string(r.Verdict)
	}
}

// String says a proof in words.
func (p Proof) String() string {
	if !p.Open {
		return "not proven"
	}
	text := thousands(p.After.FIONREAD) + " B in client's queue, "
	if p.After.SIOCOUTQ == 0 {
		return text + "0 unsent"
	}
	return text + thousands(p.After.SIOCOUTQ) + " not acknowledged"
}

func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// closing says in plain words what the run has shown.
func (s Summary) closing() string {
	type tally struct{ cells, proven, changed, overwrites, overwritten int }
	var targets []string
	counts := make(map[string]*tally)
	for _, r := range s.Results {
		if counts[r.Target] == nil {
			counts[r.Target] = &tally{}
			targets = append(targets, r.Target)
		}
		t := counts[r.Target]
		t.cells++
		if !r.Proof.Open || r.fallback() {
			continue
		}
		t.proven++
		if r.changed() {
			t.changed++
		}
		if r.Mutation == MutationOverwrite {
			t.overwrites++
			if r.Verdict == New {
				t.overwritten++
			}
		}
	}
	var out strings.Builder
	for _, name := range targets {
		t := counts[name]
		if t.changed > 0 {
			fmt.Fprintf(&out, "%s: in %d of %d proven cells the client received bytes that did not exist when its READ was answered (overwrites: %d of %d).\n",
				name, t.changed, t.proven, t.overwritten, t.overwrites)
		} else {
			fmt.Fprintf(&out, "%s: in none of %d proven cells did a byte change after its READ was answered.\n", name, t.proven)
		}
	}
	switch s.Outcome {
	case Held:
		out.WriteString("Every claim held")
	case Broken:
		out.WriteString("A CLAIM BROKE, or nothing changed where something must")
	default:
		out.WriteString("UNDECIDED: a cell stayed inconclusive")
	}
	fmt.Fprintf(&out, ". %d cells, seed %d, %.1f s.", len(s.Results), s.Seed, s.Took.Seconds())
	return out.String()
}
