package passwd

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/ntlm"
)

// maxFile bounds a password file, in bytes.
const maxFile = 4 << 20

// ErrUnknownUser is Delete's answer for a user that the file does not hold.
var ErrUnknownUser = errors.New("no such user")

// DB is the content of a password file.
type DB struct {
	users []user
	index map[string]int // folded name → position in users
}

type user struct {
	name string
	hash [16]byte
}

func fold(name string) string { return strings.ToLower(name) }

// Load reads file. An absent file is an error that wraps fs.ErrNotExist.
func Load(file string) (*DB, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("password file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("password file: %w", err)
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("password file %s has mode %#o and holds hashes as good as passwords; run: chmod 600 %s", file, mode, file)
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("password file %s: %d bytes, at most %d are read", file, st.Size(), maxFile)
	}
	db := &DB{index: map[string]int{}}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, text, ok := strings.Cut(line, ":")
		var u user
		if !ok || len(text) != 2*len(u.hash) || checkName(name) != nil {
			return nil, fmt.Errorf("password file %s, line %d: want USER:NTHASH with 32 hexadecimal digits; write it with `uringfs passwd`", file, n)
		}
		if _, err := hex.Decode(u.hash[:], []byte(text)); err != nil {
			return nil, fmt.Errorf("password file %s, line %d: the hash is not hexadecimal", file, n)
		}
		u.name = name
		db.put(u)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("password file %s: %w", file, err)
	}
	return db, nil
}

func (db *DB) put(u user) {
	if i, ok := db.index[fold(u.name)]; ok {
		db.users[i] = u
		return
	}
	db.index[fold(u.name)] = len(db.users)
	db.users = append(db.users, u)
}

// NTHash returns the hash of name; the domain does not matter to a standalone server.
func (db *DB) NTHash(name, _ string) (hash [16]byte, ok bool) {
	i, ok := db.index[fold(name)]
	if !ok {
		return hash, false
	}
	return db.users[i].hash, true
}

// Len is the number of users.
func (db *DB) Len() int { return len(db.users) }

// Set stores the hash of password for name in file, which it makes with mode 0600 where there is none.
func Set(file, name, password string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if password == "" {
		return errors.New("an empty password is refused; use --guest for a share without passwords")
	}
	return update(file, func(db *DB) error {
		db.put(user{name: name, hash: ntlm.NTHash(password)})
		return nil
	})
}

// Delete removes name from file; ErrUnknownUser where it is not in it.
func Delete(file, name string) error {
	return update(file, func(db *DB) error {
		i, ok := db.index[fold(name)]
		if !ok {
			return fmt.Errorf("%w: %s in %s", ErrUnknownUser, name, file)
		}
		db.users = slices.Delete(db.users, i, i+1)
		return nil
	})
}

func checkName(name string) error {
	if name == "" || len(name) > 256 || strings.ContainsFunc(name, func(r rune) bool {
		return r == ':' || r == '#' || r == '\\' || r == '@' || r == '/' || unicode.IsControl(r) || unicode.IsSpace(r)
	}) {
		return fmt.Errorf("user name %q: 1 to 256 bytes without space, control character or any of : # \\ @ /", name)
	}
	return nil
}

func update(file string, change func(*DB) error) error {
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("password file lock: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("password file lock: %w", err)
	}
	db, err := Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		db, err = &DB{index: map[string]int{}}, nil
	}
	if err != nil {
		return err
	}
	if err := change(db); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# uringfs users: USER:NTHASH; written by `uringfs passwd`\n")
	for _, u := range db.users {
		fmt.Fprintf(&b, "%s:%x\n", u.name, u.hash)
	}
	return replace(file, b.String())
}

func replace(file, content string) (err error) {
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.WriteString(content)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("password file directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("password file directory: %w", err)
	}
	return nil
}
