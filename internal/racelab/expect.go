package racelab

import "slices"

// Folio is the size of the page-cache folios under a payload. It decides what a
// truncation or a hole does to pages in flight: a folio wholly inside the dropped
// range is unlinked and stays as it was, one partly inside is cleared in place and
// cannot be split while the pipe or the socket buffer holds references.
type Folio uint8

// Folio states. FolioUnknown is what an unprivileged run has: it cannot look.
const (
	FolioUnknown Folio = iota
	FolioLarge         // the payload lies inside one folio that begins before it
	FolioSmall         // every page of the payload is a folio of its own
)

// observed is one row of measured behaviour of pages held by reference.
type observed struct {
	fs           FS
	mutation     Mutation
	large, small []Verdict
}

// byReference is the table of what happens to page-cache pages in flight, measured
// on Linux 6.18 (x86-64, 4 KiB pages; loop-mounted ext4, xfs with reflink, btrfs
// with checksums, tmpfs without huge pages) over the windows pipe and receiver's
// queue. btrfs and tmpfs have 4 KiB folios only, so both columns agree there.
func byReference() []observed {
	only := func(v ...Verdict) []Verdict { return v }
	return []observed{
		{FSExt4, MutationOverwrite, only(New), only(New)},
		{FSExt4, MutationTruncate, only(Zero), only(Old)},
		{FSExt4, MutationTruncateMid, only(Zero), only(Torn)},
		{FSExt4, MutationPunch, only(Zero), only(Old)},
		{FSExt4, MutationPunchInside, only(Zero), only(Zero)},

		{FSXFS, MutationOverwrite, only(New), only(New)},
		{FSXFS, MutationTruncate, only(Zero), only(Old)},
		{FSXFS, MutationTruncateMid, only(Zero), only(Torn)},
		{FSXFS, MutationPunch, only(Zero), only(Old)},
		// xfs drops whole pages around the hole: bytes beside it become zeros too.
		{FSXFS, MutationPunchInside, only(Ghost), only(Old)},

		{FSBtrfs, MutationOverwrite, only(New), only(New)},
		{FSBtrfs, MutationTruncate, only(Old), only(Old)},
		{FSBtrfs, MutationTruncateMid, only(Torn), only(Torn)},
		{FSBtrfs, MutationPunch, only(Old), only(Old)},
		{FSBtrfs, MutationPunchInside, only(Zero), only(Zero)},

		{FSTmpfs, MutationOverwrite, only(New), only(New)},
		{FSTmpfs, MutationTruncate, only(Old), only(Old)},
		{FSTmpfs, MutationTruncateMid, only(Torn), only(Torn)},
		{FSTmpfs, MutationPunch, only(Old), only(Old)},
		{FSTmpfs, MutationPunchInside, only(Zero), only(Zero)},
	}
}

// Expect returns the verdicts that case c may show on a path that serves what it
// claims, over folios of the given state; nil where nothing is known.
func Expect(c Case, folio Folio) []Verdict {
	if c.claim() == claimStable || c.Mutation == MutationNone {
		return []Verdict{Old}
	}
	for _, row := range byReference() {
		if row.fs != c.FS || row.mutation != c.Mutation {
			continue
		}
		switch folio {
		case FolioLarge:
			return row.large
		case FolioSmall:
			return row.small
		default:
			both := append(slices.Clone(row.small), row.large...)
			slices.Sort(both)
			return slices.Compact(both)
		}
	}
	return nil
}
