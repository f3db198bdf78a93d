package smbtest

import (
	"slices"

	"github.com/uringfs/uringfs/smbserver"
)

// extents is the content of a file: the blocks that hold data, and a size. A block that is not there reads as zeros.
//
// INVARIANT: no block lies wholly at or past size, and bytes of the last block past size are zero.
type extents struct {
	size     int64
	reserved int64 // bytes allocated ahead; may lie past size
	blocks   map[int64]*[blockSize]byte
}

// allocated returns the bytes of blocks that the content takes, reservations included.
func (x *extents) allocated() int64 {
	return max(int64(len(x.blocks))*blockSize, roundUp(x.reserved))
}

func roundUp(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

func (x *extents) readAt(p []byte, off int64) int {
	if off >= x.size {
		return 0
	}
	p = p[:min(int64(len(p)), x.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		part := p[done:min(len(p), done+int(blockSize-at%blockSize))]
		if b := x.blocks[at/blockSize]; b != nil {
			copy(part, b[at%blockSize:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(p)
}

// missing returns by how much a write of n bytes at off may grow the allocation.
func (x *extents) missing(off, n int64) int64 {
	if n == 0 {
		return 0
	}
	count := int64(len(x.blocks))
	for i := off / blockSize; i <= (off+n-1)/blockSize; i++ {
		if x.blocks[i] == nil {
			count++
		}
	}
	return max(count*blockSize-x.allocated(), 0)
}

func (x *extents) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	if x.blocks == nil {
		x.blocks = make(map[int64]*[blockSize]byte)
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		b := x.blocks[at/blockSize]
		if b == nil {
			b = new([blockSize]byte)
			x.blocks[at/blockSize] = b
		}
		done += copy(b[at%blockSize:], p[done:])
	}
	x.size = max(x.size, off+int64(len(p)))
}

func (x *extents) truncate(size int64) {
	if size < x.size {
		for i := range x.blocks {
			if i*blockSize >= size {
				delete(x.blocks, i)
			}
		}
		if b := x.blocks[size/blockSize]; b != nil {
			clear(b[size%blockSize:])
		}
		x.reserved = min(x.reserved, size)
	}
	x.size = size
}

// reserve allocates ahead, or gives back what was reserved past n.
func (x *extents) reserve(n int64) { x.reserved = n }

func (x *extents) zero(off, n int64) {
	end := min(off+n, x.size)
	if off+n < off { // past the largest offset
		end = x.size
	}
	for i, b := range x.blocks {
		from, to := max(off-i*blockSize, 0), min(end-i*blockSize, blockSize)
		switch {
		case from >= to:
		case from == 0 && (to == blockSize || end == x.size):
			delete(x.blocks, i)
		default:
			clear(b[from:to])
		}
	}
	x.reserved = min(x.reserved, off)
}

// ranges returns the parts of [off, off+n) that hold data, ascending, neighbours joined, cut to that range and to the size.
func (x *extents) ranges(off, n int64) []smbserver.ByteRange {
	end := min(off+n, x.size)
	if off+n < off {
		end = x.size
	}
	indexes := make([]int64, 0, len(x.blocks))
	for i := range x.blocks {
		if i*blockSize < end && (i+1)*blockSize > off {
			indexes = append(indexes, i)
		}
	}
	slices.Sort(indexes)
	var out []smbserver.ByteRange
	for _, i := range indexes {
		from, to := max(i*blockSize, off), min((i+1)*blockSize, end)
		if last := len(out) - 1; last >= 0 && out[last].Offset+out[last].Length == from {
			out[last].Length += to - from
		} else {
			out = append(out, smbserver.ByteRange{Offset: from, Length: to - from})
		}
	}
	return out
}
