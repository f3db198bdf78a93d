//go:build linux

package e2e_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/seed"
)

// roles are the helper processes: clients of a mount that must be processes of their own, because they are killed, run as
// other users, or hold locks. Each prints a ready line with what it has to say.
func play(role string, args []string) int {
	err := fmt.Errorf("unknown role %q", role)
	switch role {
	case "touch":
		touch(args[0])
		return 0
	case "append":
		appendByte(args[0])
		return 0
	case "lock":
		err = lock(args[0], args[1], args[2] == "wait")
	case "hold":
		err = hold(args[0])
	case "load":
		load(args[0])
		return 0
	case "without-ring":
		err = execWithoutRing(args)
	case "stress":
		err = stress(args[0], args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// touch tries to make, write and read back a file, and says what came of it.
func touch(path string) {
	err := os.WriteFile(path, []byte("hello"), 0o644)
	if err == nil {
		var b []byte
		if b, err = os.ReadFile(path); err == nil && string(b) != "hello" {
			err = unix.EIO
		}
	}
	sayReady(errnoName(err))
}

// appendByte writes one byte into an existing file.
func appendByte(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.Write([]byte("!"))
		f.Close()
	}
	sayReady(errnoName(err))
}

// lock sets a POSIX write lock on the first byte ("read": a read lock), and holds it until it is killed. With wait it says
// so before it starts waiting, and exits with 0 once it has the lock.
func lock(path, kind string, wait bool) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	typ := int16(unix.F_WRLCK)
	if kind == "read" {
		typ = unix.F_RDLCK
	}
	lk := unix.Flock_t{Type: typ, Whence: io.SeekStart, Len: 1}
	if wait {
		sayReady("waiting")
		return unix.FcntlFlock(f.Fd(), unix.F_SETLKW, &lk)
	}
	sayReady(errnoName(unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk)))
	select {}
}

// hold opens path, dirties a shared mapping of it, and waits to be killed.
func hold(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, "mapped")
	sayReady("holding")
	select {}
}

// load reads, writes, lists and stats until it is killed or the mount goes away.
func load(dir string) {
	sayReady("loading")
	block := make([]byte, 64<<10)
	for i := 0; ; i++ {
		name := filepath.Join(dir, strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(i%16))
		if err := os.WriteFile(name, block, 0o644); err != nil {
			return // the mount is gone: what this helper is for
		}
		if _, err := os.ReadFile(name); err != nil {
			return
		}
		if _, err := os.ReadDir(dir); err != nil {
			return
		}
	}
}

// stressTime is how long one helper works.
const stressTime = 4 * time.Second

// stress makes, renames, links, removes and reads names in a directory of its own, which must at any time be what a model
// says, and in one that all helpers share, where anything may be gone already but nothing may be wrong.
func stress(dir, seedText string) error {
	n, err := strconv.ParseUint(seedText, 10, 64)
	if err != nil {
		return err
	}
	r := seed.New(n)
	own := filepath.Join(dir, "own-"+seedText)
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	model := map[string]string{} // name → content
	shared := filepath.Join(dir, "shared")
	ops := 0
	for end := time.Now().Add(stressTime); time.Now().Before(end); ops++ {
		if err := stressOwn(r, own, model); err != nil {
			return fmt.Errorf("own directory, operation %d: %w", ops, err)
		}
		if err := stressShared(r, shared); err != nil {
			return fmt.Errorf("shared directory, operation %d: %w", ops, err)
		}
		if ops%64 == 0 {
			if err := compare(own, model); err != nil {
				return fmt.Errorf("operation %d: %w", ops, err)
			}
		}
	}
	if err := compare(own, model); err != nil {
		return err
	}
	sayReady(strconv.Itoa(ops))
	return nil
}

func stressOwn(r *rand.Rand, own string, model map[string]string) error {
	name, to := "n"+strconv.Itoa(r.IntN(20)), "n"+strconv.Itoa(r.IntN(20))
	path, toPath := filepath.Join(own, name), filepath.Join(own, to)
	_, exists := model[name]
	switch r.IntN(5) {
	case 0:
		model[name] = strconv.Itoa(r.Int())
		return os.WriteFile(path, []byte(model[name]), 0o644)
	case 1:
		if err := os.Remove(path); (err == nil) != exists {
			return fmt.Errorf("remove %s, which exists: %v: %w", name, exists, err)
		}
		delete(model, name)
	case 2:
		if err := os.Rename(path, toPath); (err == nil) != exists {
			return fmt.Errorf("rename %s, which exists: %v: %w", name, exists, err)
		}
		if exists && name != to {
			model[to] = model[name]
			delete(model, name)
		}
	case 3:
		b, err := os.ReadFile(path)
		if (err == nil) != exists || string(b) != model[name] {
			return fmt.Errorf("read %s: %q, %w; want %q", name, b, err, model[name])
		}
	case 4:
		st, err := os.Lstat(path)
		if (err == nil) != exists || exists && st.Size() != int64(len(model[name])) {
			return fmt.Errorf("stat %s: %v, %w", name, st, err)
		}
	}
	return nil
}

// stressShared accepts the errors that other processes' operations explain, and no others.
func stressShared(r *rand.Rand, dir string) error {
	path := filepath.Join(dir, "s"+strconv.Itoa(r.IntN(8)))
	to := filepath.Join(dir, "s"+strconv.Itoa(r.IntN(8)))
	var err error
	switch r.IntN(7) {
	case 0:
		err = os.Mkdir(path, 0o755)
	case 1:
		err = os.Remove(path)
	case 2:
		err = os.Rename(path, to)
	case 3:
		err = os.Link(path, to)
	case 4:
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644); err == nil {
			f.Close()
		}
	case 5:
		_, err = os.ReadDir(dir)
	case 6:
		err = os.Symlink("nowhere", path)
	}
	for _, allowed := range []error{
		nil, unix.ENOENT, unix.EEXIST, unix.ENOTEMPTY, unix.EISDIR, unix.ENOTDIR, unix.EPERM, unix.ELOOP, unix.EINVAL,
	} {
		if errorIs(err, allowed) {
			return nil
		}
	}
	return err
}

// compare checks a directory against the model: every name once, with its content.
func compare(dir string, model map[string]string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var got, want []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	for name, content := range model {
		want = append(want, name)
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(b) != content {
			return fmt.Errorf("%s: %q, %w; want %q", name, b, err, content)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("names %v, want %v", got, want)
	}
	return nil
}
