//go:build linux

package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
)

const (
	journalNames = 12
	journalBlock = 4096
	journalMost  = 24 // blocks of a file
	journalOwn   = "j"
)

// journal is what the clients of a tree were told about it: what must be there, what must not, and what may.
type journal struct {
	r            *rand.Rand
	files        map[string]*told // those that exist, or may
	version      byte
	done, failed int
}

// told is a file. Each byte has the version of one write, 0 is a hole.
type told struct {
	maybe    bool // it may not exist
	min, max int  // its length, bytes
	blocks   [journalMost]versions
}

// versions are those that a byte of a block may have.
type versions []byte

func newJournal(r *rand.Rand) *journal { return &journal{r: r, files: map[string]*told{}} }

// step does one random thing, and fails if the answer is a lie or one that nobody can explain.
func (j *journal) step(d door) error {
	name := fmt.Sprintf("%s%d", journalOwn, j.r.IntN(journalNames))
	switch j.r.IntN(12) {
	case 0, 1:
		return j.create(d, name)
	case 2:
		return j.remove(d, name)
	case 3:
		return j.rename(d, name, fmt.Sprintf("%s%d", journalOwn, j.r.IntN(journalNames)))
	case 4:
		return j.list(d)
	case 5:
		return j.truncate(d, name)
	case 6, 7, 8:
		return j.read(d, name)
	default:
		return j.write(d, name)
	}
}

// judge sorts an answer: success, the file is not there, it is already, or a fault. Anything else is an error.
func (j *journal) judge(d door, what, name string, err error, absent, present bool) (ok bool, _ error) {
	f := j.files[name]
	switch {
	case err == nil:
		j.done++
		return true, nil
	case d.injected(err):
		j.failed++
		return false, nil
	case absent && errors.Is(err, fs.ErrNotExist):
		if f != nil && !f.maybe {
			return false, fmt.Errorf("%T %s %s, which exists: %w", d, what, name, err)
		}
		delete(j.files, name)
		return false, nil
	case present && errors.Is(err, fs.ErrExist):
		if f == nil {
			return false, fmt.Errorf("%T %s %s, which does not exist: %w", d, what, name, err)
		}
		f.maybe = false
		return false, nil
	}
	return false, fmt.Errorf("%T %s %s: %w", d, what, name, err)
}

// exists notes that an operation found name, which it may do only where it may be.
func (j *journal) exists(what, name string) (*told, error) {
	f := j.files[name]
	if f == nil {
		return nil, fmt.Errorf("%s found %s, which does not exist", what, name)
	}
	f.maybe = false
	return f, nil
}

func (j *journal) create(d door, name string) error {
	ok, err := j.judge(d, "create", name, d.create(name), false, true)
	switch {
	case err != nil:
		return err
	case ok && j.files[name] != nil && !j.files[name].maybe:
		return fmt.Errorf("%T made %s, which exists", d, name)
	case ok:
		j.files[name] = &told{}
	case j.files[name] == nil:
		j.files[name] = &told{maybe: true} // made before the fault, or not
	}
	return nil
}

func (j *journal) remove(d door, name string) error {
	ok, err := j.judge(d, "remove", name, d.remove(name), true, false)
	if err != nil {
		return err
	}
	f := j.files[name]
	switch {
	case ok && f == nil:
		return fmt.Errorf("%T removed %s, which does not exist", d, name)
	case ok:
		delete(j.files, name)
	case f != nil:
		f.maybe = true
	}
	return nil
}

// rename moves only where it is known what there is, so that the journal stays simple.
func (j *journal) rename(d door, from, to string) error {
	f := j.files[from]
	if f == nil || f.maybe || j.files[to] != nil || from == to {
		return nil
	}
	ok, err := j.judge(d, "rename", from, d.rename(from, to), false, false)
	if err != nil {
		return err
	}
	moved := *f
	if ok {
		delete(j.files, from)
	} else {
		f.maybe, moved.maybe = true, true
	}
	j.files[to] = &moved
	return nil
}

func (j *journal) list(d door) error {
	names, err := d.list()
	ok, err := j.judge(d, "list", "", err, false, false)
	if !ok || err != nil {
		return err
	}
	return j.compareNames(fmt.Sprintf("%T", d), names)
}

func (j *journal) compareNames(who string, names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, journalOwn) {
			if _, err := j.exists(who+" list", name); err != nil {
				return err
			}
		}
	}
	for name, f := range j.files {
		switch {
		case slices.Contains(names, name):
		case !f.maybe:
			return fmt.Errorf("%s lists %v: %s is missing", who, names, name)
		default:
			delete(j.files, name)
		}
	}
	return nil
}

func (j *journal) truncate(d door, name string) error {
	blocks := j.r.IntN(journalMost)
	size := blocks * journalBlock
	ok, err := j.judge(d, "truncate", name, d.truncate(name, int64(size)), true, false)
	f := j.files[name]
	if err != nil || !ok && f == nil {
		return err
	}
	if ok {
		if f, err = j.exists("truncate", name); err != nil {
			return err
		}
		f.cut(size)
		f.min, f.max = size, size
		return nil
	}
	for i := blocks; i < journalMost; i++ { // cut and grown again they would be holes
		f.blocks[i] = f.blocks[i].or(0)
	}
	f.min, f.max = min(f.min, size), max(f.max, size)
	return nil
}

// cut makes holes of the blocks from size on.
func (f *told) cut(size int) {
	for i := size / journalBlock; i < journalMost; i++ {
		f.blocks[i] = nil
	}
}

func (j *journal) write(d door, name string) error {
	first := j.r.IntN(journalMost - 1)
	count := 1 + j.r.IntN(min(4, journalMost-first))
	if j.version++; j.version == 0 {
		j.version = 1
	}
	b := make([]byte, count*journalBlock)
	for i := range b {
		b[i] = j.version
	}
	off := first * journalBlock
	n, werr := d.write(name, b, int64(off))
	ok, err := j.judge(d, "write", name, werr, true, false)
	f := j.files[name]
	if err != nil || !ok && f == nil {
		return err
	}
	if ok && n != len(b) {
		return fmt.Errorf("%T wrote %d bytes of %d to %s without an error", d, n, len(b), name)
	}
	if ok || n > 0 {
		if f, err = j.exists("write", name); err != nil {
			return err
		}
		f.min, f.max = max(f.min, off+n), max(f.max, off+n)
	}
	for i := range count {
		if (i+1)*journalBlock <= n {
			f.blocks[first+i] = versions{j.version}
		} else { // a part of it, or nothing
			f.blocks[first+i] = f.blocks[first+i].or(j.version)
		}
	}
	if !ok {
		f.max = max(f.max, off+len(b))
	}
	return nil
}

func (j *journal) read(d door, name string) error {
	b := make([]byte, journalMost*journalBlock)
	n, rerr := d.read(name, b, 0)
	ok, err := j.judge(d, "read", name, rerr, true, false)
	if err != nil || !ok {
		return err
	}
	f, err := j.exists("read", name)
	if err != nil {
		return err
	}
	return f.compare(fmt.Sprintf("%T %s", d, name), b[:n])
}

// check compares a tree that has no faults.
func (j *journal) check(d door) error {
	names, err := d.list()
	if err != nil {
		return err
	}
	if err := j.compareNames(fmt.Sprintf("%T", d), names); err != nil {
		return err
	}
	for name, f := range j.files {
		b := make([]byte, journalMost*journalBlock)
		n, err := d.read(name, b, 0)
		if err != nil {
			return err
		}
		if err := f.compare(fmt.Sprintf("%T %s", d, name), b[:n]); err != nil {
			return err
		}
	}
	return nil
}

// compare checks the content of the whole file.
func (f *told) compare(who string, b []byte) error {
	if len(b) < f.min || len(b) > f.max {
		return fmt.Errorf("%s has %d bytes, not %d to %d", who, len(b), f.min, f.max)
	}
	for i, got := range b {
		if may := f.blocks[i/journalBlock]; got != 0 && len(may) == 0 || len(may) > 0 && !slices.Contains(may, got) {
			return fmt.Errorf("%s has version %d at %d, not one of %v", who, got, i, may)
		}
	}
	return nil
}

// or adds what a byte may be too. None means a hole.
func (v versions) or(more byte) versions {
	if len(v) == 0 {
		v = versions{0}
	}
	if slices.Contains(v, more) {
		return v
	}
	return append(slices.Clone(v), more)
}
