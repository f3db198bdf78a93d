package racelab

import (
	"context"
	"io"
)

// holds says what a mutated range holds afterwards.
type holds uint8

const (
	holdsOld  holds = iota + 1 // nothing was mutated
	holdsNew                   // words of the new generation
	holdsZero                  // zeros, or nothing because the file ends before
)

// span is a range of file offsets in bytes, a multiple of 8 at both ends.
type span struct{ from, to int64 }

func (s span) contains(off int64) bool { return off >= s.from && off < s.to }

// change is one mutation to be made.
type change struct {
	span span
	gen  uint8 // generation of new words
}

// smbFile is a file opened by the second SMB client, as far as mutations need it.
type smbFile interface {
	io.WriterAt
	Truncate(size int64) error
}

// mutationRow is everything the lab knows about one mutation.
type mutationRow struct {
	name Mutation
	// touches returns the range changed, given payload and file size.
	touches func(payload span, size int64) span
	after   holds
	fuseOp  string // the FUSE request by which a mount's server learns of it; "" for none
	// file makes the change through a path, on the mount or on the backing directory.
	file func(path string, c change) error
	// smb makes the change through the second client.
	smb func(ctx context.Context, s *second, name string, c change) error
}

// mutations is the table that plan, verdict, expect and the tests read.
func mutations() []mutationRow {
	return []mutationRow{
		{
			name:    MutationNone,
			touches: func(p span, _ int64) span { return span{p.from, p.from} },
			after:   holdsOld,
			file:    func(string, change) error { return nil },
			smb:     func(context.Context, *second, string, change) error { return nil },
		},
		{
			name:    MutationOverwrite,
			touches: func(p span, _ int64) span { return p },
			after:   holdsNew,
			fuseOp:  "WRITE",
			file:    overwriteFile,
			smb:     overwriteSMB,
		},
		{
			name:    MutationTruncate,
			touches: func(p span, size int64) span { return span{p.from, size} },
			after:   holdsZero,
			fuseOp:  "SETATTR",
			file:    truncateFile,
			smb:     truncateSMB,
		},
		{
			name: MutationTruncateMid,
			// In the sixth page, off any sector boundary: the kernel keeps that
			// page and clears its tail in place.
			touches: func(p span, size int64) span { return span{p.from + 5*pageSize + 1000, size} },
			after:   holdsZero,
			fuseOp:  "SETATTR",
			file:    truncateFile,
			smb:     truncateSMB,
		},
		{
			name: MutationPunch,
			// Whole pages in the middle, so that pages beside them must stay old.
			touches: func(p span, _ int64) span { return span{p.from + 2*pageSize, p.from + 6*pageSize} },
			after:   holdsZero,
			fuseOp:  "FALLOCATE",
			file:    punchFile,
			smb:     punchSMB,
		},
		{
			name: MutationPunchInside,
			// Inside one page: words on both sides must stay old.
			touches: func(p span, _ int64) span { return span{p.from + 3*pageSize + 1024, p.from + 3*pageSize + 3072} },
			after:   holdsZero,
			fuseOp:  "FALLOCATE",
			file:    punchFile,
			smb:     punchSMB,
		},
	}
}

func findMutation(name Mutation) (mutationRow, bool) {
	for _, row := range mutations() {
		if row.name == name {
			return row, true
		}
	}
	return mutationRow{}, false
}
