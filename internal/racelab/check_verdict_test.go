package racelab

// Inside the package because layout, the ground truth that bytes are judged by, is
// not for anyone else.

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	oldGen, newGen = 7, 9
	from           = 5 * pageSize
)

// eight is a payload of eight pages of which the third and fourth are mutated.
func eight(after holds) layout {
	l := layout{
		payload: span{from, from + 8*pageSize},
		mutated: span{from + 2*pageSize, from + 4*pageSize},
		after:   after, old: oldGen, new: newGen, size: fileSize,
	}
	if after == holdsOld {
		l.mutated = span{from, from}
	}
	return l
}

func content() []byte {
	b := make([]byte, 8*pageSize)
	fill(b, oldGen, from)
	return b
}

// put writes generation gen, as for file offset off, at byte at.
func put(b []byte, at, n int, gen uint8, off int64) { fill(b[at:at+n], gen, off) }

func TestJudge(t *testing.T) {
	for _, row := range []struct {
		name    string
		after   holds
		edit    func(b []byte) []byte
		stale   bool // a fresh read does not show the mutation
		pages   string
		verdict Verdict
	}{
		{"untouched", holdsOld, same, false, "OOOOOOOO", Old},
		{"the mutation did not reach the bytes", holdsNew, same, false, "OOOOOOOO", Old},
		{"nor the file", holdsNew, same, true, "OOLLOOOO", Stale},
		{"all mutated words are new", holdsNew, func(b []byte) []byte {
			put(b, 2*pageSize, 2*pageSize, newGen, from+2*pageSize)
			return b
		}, false, "OONNOOOO", New},
		{"one mutated page is new, the other old", holdsNew, func(b []byte) []byte {
			put(b, 2*pageSize, pageSize, newGen, from+2*pageSize)
			return b
		}, false, "OONOOOOO", Torn},
		{"one mutated page is half new", holdsNew, func(b []byte) []byte {
			put(b, 2*pageSize, pageSize+2048, newGen, from+2*pageSize)
			return b
		}, false, "OONTOOOO", Torn},
		{"the hole shows", holdsZero, func(b []byte) []byte {
			clear(b[2*pageSize : 4*pageSize])
			return b
		}, false, "OOZZOOOO", Zero},
		{"the hole shows in part", holdsZero, func(b []byte) []byte {
			clear(b[2*pageSize : 3*pageSize])
			return b
		}, false, "OOZOOOOO", Torn},
		{"zeros where an overwrite was: never in the file", holdsNew, func(b []byte) []byte {
			clear(b[2*pageSize : 4*pageSize])
			return b
		}, false, "OOGGOOOO", Ghost},
		{"zeros beside the hole", holdsZero, func(b []byte) []byte {
			clear(b[2*pageSize : 4*pageSize+8])
			return b
		}, false, "OOZZGOOO", Ghost},
		{"new words beside the mutated range", holdsNew, func(b []byte) []byte {
			put(b, 7*pageSize, 8, newGen, from+7*pageSize)
			return b
		}, false, "OOOOOOOG", Ghost},
		{"zeros although nothing was mutated", holdsOld, func(b []byte) []byte {
			clear(b[:8])
			return b
		}, false, "GOOOOOOO", Ghost},
		{"a page of this file from another place", holdsOld, func(b []byte) []byte {
			put(b, pageSize, pageSize, oldGen, from)
			return b
		}, false, "OHOOOOOO", Shifted},
		{"the stream lost three bytes", holdsOld, func(b []byte) []byte {
			return append(append(b[:pageSize:pageSize], b[pageSize+3:]...), 0, 0, 0)
		}, false, "OHHHHHHH", Shifted},
		{"a page of another file", holdsOld, func(b []byte) []byte {
			put(b, pageSize, pageSize, 200, from+pageSize)
			return b
		}, false, "OFOOOOOO", Foreign},
		{"garbage", holdsOld, func(b []byte) []byte {
			copy(b[pageSize:], "not a word of any generation")
			return b
		}, false, "O?OOOOOO", Foreign},
		{"fewer bytes than announced", holdsNew, func(b []byte) []byte {
			return b[:5*pageSize+100]
		}, false, "OOOOO---", Short},
		{"nothing", holdsNew, func(b []byte) []byte { return nil }, false, "--------", Short},
	} {
		t.Run(row.name, func(t *testing.T) {
			pages, verdict := eight(row.after).judge(row.edit(content()), !row.stale)
			assert.Equal(t, row.pages, pages)
			assert.Equal(t, row.verdict, verdict)
		})
	}
}

func same(b []byte) []byte { return b }

func TestWorstOfLetters(t *testing.T) {
	order := worstFirst()
	letters := "FGH-TNZLO" // in the order of worstFirst
	require.Len(t, order, len(letters))
	for i, a := range letters {
		assert.Equal(t, order[i], letterVerdict(a))
		for j, b := range letters {
			assert.Equal(t, order[min(i, j)], worst(string([]rune{a, b}), ""), "%c and %c", a, b)
		}
	}
}

func TestFreshRead(t *testing.T) {
	l := eight(holdsNew)
	after := make([]byte, 2*pageSize)
	fill(after, newGen, l.mutated.from)
	assert.True(t, l.fresh(after))
	assert.False(t, l.fresh(after[:pageSize]), "cut short")
	binary.LittleEndian.PutUint64(after[8:], word(oldGen, l.mutated.from+8))
	assert.False(t, l.fresh(after))

	l = eight(holdsZero)
	assert.True(t, l.fresh(make([]byte, 2*pageSize)))
	assert.True(t, l.fresh(nil), "the file ends before")
	fill(after, oldGen, l.mutated.from)
	assert.False(t, l.fresh(after))
}

func TestDraw(t *testing.T) {
	plan := Plan(targetUringfs, DefaultPaths(), FSExt4)
	for _, c := range plan {
		l := c.draw(1)
		assert.Equal(t, l, c.draw(1), "the same seed draws the same")
		assert.Equal(t, int64(c.Size), l.payload.to-l.payload.from)
		assert.GreaterOrEqual(t, l.payload.from, int64(pageSize), "a page before")
		assert.LessOrEqual(t, l.payload.to, int64(fileSize-pageSize), "a page after")
		assert.Zero(t, l.payload.from%pageSize)
		assert.NotZero(t, l.payload.from%(16*pageSize), "a folio may begin there")
		assert.NotEqual(t, l.old, l.new)
		assert.NotZero(t, l.old)
		assert.NotZero(t, l.new)
		assert.Zero(t, l.mutated.from%8)
		assert.Zero(t, l.mutated.to%8)
	}
	different := false
	for _, c := range plan {
		different = different || c.draw(1) != c.draw(2)
	}
	assert.True(t, different, "another seed draws something else")
}

func TestMutationTable(t *testing.T) {
	payload := span{16 * pageSize, 32 * pageSize}
	for _, row := range mutations() {
		require.NotNil(t, row.file, row.name)
		require.NotNil(t, row.smb, row.name)
		s := row.touches(payload, fileSize)
		if row.name == MutationNone {
			assert.Equal(t, s.from, s.to)
			assert.Empty(t, row.fuseOp)
			continue
		}
		assert.NotEmpty(t, row.fuseOp, row.name)
		assert.Less(t, s.from, min(s.to, payload.to), "%s touches the payload", row.name)
		assert.GreaterOrEqual(t, s.from, payload.from, row.name)
	}
}

func TestProofInWords(t *testing.T) {
	open := Proof{After: Reading{65620, 0, 65620, 65620}, Open: true}
	assert.Equal(t, "65,620 B in client's queue, 0 unsent", open.String())
	assert.Equal(t, "2,048 B in client's queue, 65,620 not acknowledged",
		Proof{After: Reading{2048, 65620, 65620, 65620}, Open: true}.String())
	assert.Equal(t, "not proven", Proof{}.String())
	for n, text := range map[int]string{0: "0", 12: "12", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		assert.Equal(t, text, thousands(n))
	}
}

func TestWindowPredicates(t *testing.T) {
	for _, row := range []struct {
		window Window
		r      Reading
		open   bool
	}{
		{WindowReceiver, Reading{100, 0, 100, 100}, true},
		{WindowReceiver, Reading{100, 1, 100, 100}, false},
		{WindowReceiver, Reading{99, 0, 100, 100}, false},
		{WindowReceiver, Reading{101, 0, 100, 100}, false},
		{WindowReceiver, Reading{0, 0, 0, 0}, false},
		{WindowSender, Reading{40, 60, 100, 100}, true},
		{WindowSender, Reading{50, 60, 100, 100}, true}, // ten are received and not yet acknowledged
		{WindowSender, Reading{50, 50, 100, 90}, false}, // the same ten, and ten are still in the server
		{WindowSender, Reading{100, 0, 100, 100}, false},
		{WindowSender, Reading{40, 50, 100, 90}, false},
		{WindowSender, Reading{0, 0, 0, 0}, false},
		{WindowSender, Reading{40, 60, 100, -1}, true},
		{WindowSender, Reading{50, 60, 100, -1}, false},
		{"", Reading{100, 0, 100, 100}, false},
	} {
		assert.Equal(t, row.open, row.window.open(row.r), "%s %+v", row.window, row.r)
	}
}

func TestSummary(t *testing.T) {
	good := func(path Path, m Mutation, v Verdict, expect ...Verdict) Result {
		claim := claimStable
		if path == PathUnsafeSplice {
			claim = claimUnstable
		}
		return Result{
			Case: string(path), Target: "uringfs:" + string(path), Path: path, Plan: string(path), Mutation: m,
			Mutator: MutatorMount, Claim: claim, Verdict: v, Expect: expect, Proof: Proof{Open: true}, Attempts: 1,
		}
	}
	with := func(r Result, f func(*Result)) Result { f(&r); return r }
	copyOld := good(PathCopy, MutationOverwrite, Old, Old)
	spliceNew := good(PathUnsafeSplice, MutationOverwrite, New, New)
	for _, row := range []struct {
		name    string
		results []Result
		outcome Outcome
		says    string
	}{
		{"claims held and splice changed", []Result{copyOld, spliceNew}, Held, "Every claim held"},
		{"copy alone", []Result{copyOld}, Held, "in none of 1 proven cells"},
		{"copy changed", []Result{good(PathCopy, MutationOverwrite, New, Old), spliceNew}, Broken, "A CLAIM BROKE"},
		{"splice did not change", []Result{copyOld, good(PathUnsafeSplice, MutationOverwrite, Old, New)}, Broken, "never showed a change"},
		{"splice changed where it should not", []Result{copyOld, spliceNew, good(PathUnsafeSplice, MutationTruncate, Zero, Old)}, Broken, "expected OLD"},
		{"splice never ran", []Result{copyOld, with(spliceNew, func(r *Result) { r.Plan, r.Verdict = "copy", Old })}, Broken, "never served"},
		{"a fallback beside evidence", []Result{copyOld, spliceNew, with(spliceNew, func(r *Result) { r.Plan, r.Verdict = "copy", Old })}, Held, "served by copy"},
		{"a cell undecided", []Result{spliceNew, with(copyOld, func(r *Result) { r.Verdict, r.Proof.Open = Inconclusive, false })}, Undecided, "INCONCLUSIVE"},
		{"undecided does not hide a broken claim", []Result{good(PathCopy, MutationOverwrite, New, Old), with(copyOld, func(r *Result) { r.Verdict = Inconclusive })}, Broken, "A CLAIM BROKE"},
		{"an error", []Result{copyOld, with(spliceNew, func(r *Result) { r.Verdict, r.Note = Error, "the target has ended" })}, Broken, "the target has ended"},
		{"nothing known", []Result{good(PathUnsafeSplice, MutationOverwrite, Ghost)}, Held, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := summarize(row.results, 1)
			var out strings.Builder
			require.NoError(t, s.write(&out))
			assert.Equal(t, row.outcome, s.Outcome, out.String())
			assert.Contains(t, out.String(), row.says)
		})
	}
}
