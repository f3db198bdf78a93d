package racelab

import (
	"encoding/binary"
	"fmt"
)

// fileSize is the size in bytes of a cell's file: room for a payload in the
// middle of one 2 MiB folio, the largest that page tables map at once.
const fileSize = 2 << 20

// offsetBits is the part of a word that holds the file offset.
const offsetBits = 56

// word is the content of the 8 bytes at file offset off in generation gen.
// No generation is 0, so that no word is zero.
func word(gen uint8, off int64) uint64 {
	return uint64(gen)<<offsetBits | uint64(off)&(1<<offsetBits-1) // #nosec G115 -- offsets are not negative
}

// fill writes the words of generation gen for file offset off over b. off and
// len(b) are multiples of 8.
func fill(b []byte, gen uint8, off int64) {
	if len(b)%8 != 0 || off%8 != 0 {
		panic(fmt.Sprintf("racelab: fill of %d bytes at %d", len(b), off))
	}
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], word(gen, off+int64(i)))
	}
}
