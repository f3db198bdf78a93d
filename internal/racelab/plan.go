package racelab

import (
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/uringfs/uringfs/internal/seed"
)

// Plan returns the default plan for a target on a scratch file system of kind fs, in
// the order of the report. The bare target's has its only mutator.
//
// In the receiver's queue: every path, mutation, cache state and mutator. In the
// sender's queue, which is the harder one to open: overwrite and none.
func Plan(targetName string, paths []Path, fs FS) []Case {
	mutators := []Mutator{MutatorMount, MutatorBacking, MutatorSMB}
	if targetName == targetBare {
		mutators = []Mutator{MutatorBacking}
	}
	var plan []Case
	add := func(path Path, w Window, m Mutation, cache Cache) {
		for _, mutator := range mutators {
			plan = append(plan, Case{
				Target: targetName + ":" + string(path), Path: path, FS: fs, Cache: cache,
				Window: w, Mutation: m, Mutator: mutator, Size: DefaultSize,
			})
		}
	}
	for _, path := range paths {
		for _, m := range mutations() {
			for _, cache := range []Cache{CacheLarge, CacheSmall} {
				add(path, WindowReceiver, m.name, cache)
			}
		}
		add(path, WindowSender, MutationNone, CacheLarge)
		add(path, WindowSender, MutationOverwrite, CacheLarge)
	}
	return plan
}

// DefaultPaths are the paths of the default plan: one that claims nothing, one that
// claims everything.
func DefaultPaths() []Path { return []Path{PathUnsafeSplice, PathCopy} }

// draw decides what the seed decides of a cell: where the payload lies and which
// generations its words carry. A cell gets the same whether it runs alone or in a plan.
func (c Case) draw(n uint64) layout {
	h := fnv.New64a()
	h.Write([]byte(c.String()))
	rng := seed.New(n ^ h.Sum64())
	// Inside the file, with a page before and after that belong to the same large
	// folio; never on a 64 KiB boundary, where a folio might begin.
	pages := c.Size / pageSize
	first := 1 + rng.IntN(fileSize/pageSize-pages-2)
	if first%16 == 0 {
		first++
	}
	old := 1 + rng.IntN(255)
	fresh := 1 + (old+rng.IntN(254))%255
	from := int64(first) * pageSize
	l := layout{
		payload: span{from, from + int64(c.Size)},
		old:     uint8(old),   // #nosec G115 -- 1 to 255
		new:     uint8(fresh), // #nosec G115 -- 1 to 255
		size:    fileSize,
	}
	row, ok := findMutation(c.Mutation)
	if !ok {
		panic("racelab: unchecked case " + c.String())
	}
	l.mutated, l.after = row.touches(l.payload, fileSize), row.after
	return l
}

// fileName is the name of the file that a cell uses in its n-th attempt.
func (c Case) fileName(n int) string {
	h := fnv.New64a()
	h.Write([]byte(c.String()))
	return fmt.Sprintf("cell-%016x-%d", h.Sum64(), n)
}

// selectPaths turns names into paths, all of the default ones for none.
func selectPaths(names []string) ([]Path, error) {
	if len(names) == 0 {
		return DefaultPaths(), nil
	}
	var out []Path
	for _, name := range names {
		if !slices.Contains(DefaultPaths(), Path(name)) {
			return nil, fmt.Errorf("%w: path %q; known: %v", ErrCase, name, DefaultPaths())
		}
		if !slices.Contains(out, Path(name)) {
			out = append(out, Path(name))
		}
	}
	return out, nil
}
