//go:build linux

package uringbackend

import (
	"context"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DIOAlign is what direct I/O on a file asks for, in bytes, each a power of two. The zero value: no direct I/O.
type DIOAlign struct {
	Memory     int // of the address of a buffer
	Offset     int // of a write's offset and length
	ReadOffset int // of a read's; not larger than Offset
}

// defaultDIOAlign is what every file system with direct I/O is content with: a page, and the largest sector.
const defaultDIOAlign = 4096

// DIOAlign says what direct I/O on fd, which may be O_PATH, asks for. Where the kernel (before 6.1) or the file system
// does not tell, it is 4096 for all, which does not say that the file can be opened with O_DIRECT.
func (e Engine) DIOAlign(ctx context.Context, fd int) (DIOAlign, error) {
	st := new(unix.Statx_t)
	err := e.Statx(ctx, fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN|unix.STATX_DIO_READ_ALIGN, st)
	if err != nil {
		return DIOAlign{}, err
	}
	return dioAlign(e.core.features.StatxDIOAlign, st), nil
}

func dioAlign(tells Ability, st *unix.Statx_t) DIOAlign {
	if tells.Answer != Yes || st.Mask&unix.STATX_DIOALIGN == 0 {
		return DIOAlign{Memory: defaultDIOAlign, Offset: defaultDIOAlign, ReadOffset: defaultDIOAlign}
	}
	if st.Dio_mem_align == 0 || st.Dio_offset_align == 0 {
		return DIOAlign{}
	}
	a := DIOAlign{Memory: int(st.Dio_mem_align), Offset: int(st.Dio_offset_align), ReadOffset: int(st.Dio_offset_align)}
	// A field of its own since 6.14, for file systems that read in smaller pieces than they write (xfs reflink).
	if st.Mask&unix.STATX_DIO_READ_ALIGN != 0 && st.Dio_read_offset_align != 0 {
		a.ReadOffset = int(st.Dio_read_offset_align)
	}
	return a
}

// AlignedBuffer returns n bytes of zeros whose address is a multiple of align, a power of two. They are ordinary
// memory of the collector's, which does not move it.
func AlignedBuffer(n, align int) []byte {
	if align <= 1 {
		return make([]byte, n)
	}
	b := make([]byte, n+align-1)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (align - 1)
	return b[skip : skip+n : skip+n]
}

// bounceSize is how much is read at a time into memory that is aligned, when the caller's is not.
const bounceSize = 256 << 10

// ReadDirect reads from fd, which is open with O_DIRECT, into p at off. What is aligned as a says is read where it
// belongs, as by ReadAt; otherwise whole blocks are read into a buffer and copied. The count is short only at the end
// of the file, or when a read in between was short. EINVAL: a is zero, since there is no direct I/O.
func (e Engine) ReadDirect(ctx context.Context, fd int, a DIOAlign, p []byte, off int64) (int, error) {
	if !a.valid() || off < 0 {
		return 0, unix.EINVAL
	}
	if a.fitsMemory(p) && (off|int64(len(p)))&int64(a.ReadOffset-1) == 0 {
		return e.Do(ctx, Op{Kind: KindReadAt, FD: fd, Buf: p, Offset: off, Uncached: true})
	}
	block := int64(a.ReadOffset)
	buf := AlignedBuffer(int(min(max(bounceSize, block), (int64(len(p))+2*block-1)&^(block-1))), max(a.Memory, a.ReadOffset))
	total := 0
	for total < len(p) {
		at := off + int64(total)
		start := at &^ (block - 1)
		skip := int(at - start)
		want := min(len(buf), int((int64(skip+len(p)-total)+block-1)&^(block-1)))
		n, err := e.Do(ctx, Op{Kind: KindReadAt, FD: fd, Buf: buf[:want], Offset: start, Uncached: true})
		if n > skip {
			total += copy(p[total:], buf[skip:n])
		}
		if err != nil || n < want {
			return total, unlessPartial(total, err)
		}
	}
	return total, nil
}

// WriteDirect writes p to fd, which is open with O_DIRECT, at off; flags RWF_*. Memory that is not aligned as a says is
// copied into a buffer first. An offset or a length that is not aligned reports EINVAL: to write a part of a block the
// rest of it would have to be read and written back, and what another writer put there in the meantime would be lost.
// Such edges go through a descriptor without O_DIRECT. The count may be short.
func (e Engine) WriteDirect(ctx context.Context, fd int, a DIOAlign, p []byte, off int64, flags int) (int, error) {
	if !a.valid() || off < 0 || (off|int64(len(p)))&int64(a.Offset-1) != 0 {
		return 0, unix.EINVAL
	}
	if a.fitsMemory(p) {
		return e.WriteAt(ctx, fd, p, off, flags)
	}
	buf := AlignedBuffer(min(len(p), max(bounceSize, a.Offset)), max(a.Memory, a.Offset))
	total := 0
	for total < len(p) {
		want := copy(buf, p[total:])
		n, err := e.WriteAt(ctx, fd, buf[:want], off+int64(total), flags)
		total += n
		if err != nil || n < want {
			return total, unlessPartial(total, err)
		}
	}
	return total, nil
}

// unlessPartial is the error of a transfer made in pieces: one that has moved something is short instead, and the next
// one meets the error.
func unlessPartial(moved int, err error) error {
	if moved > 0 {
		return nil
	}
	return err
}

func (a DIOAlign) valid() bool {
	for _, n := range []int{a.Memory, a.Offset, a.ReadOffset} {
		if n <= 0 || bits.OnesCount(uint(n)) != 1 {
			return false
		}
	}
	return true
}

func (a DIOAlign) fitsMemory(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))&uintptr(a.Memory-1) == 0
}
