package smbserver

import (
	"strings"
	"unicode/utf8"

	"github.com/uringfs/uringfs/internal/smb2"
)

// Names on the wire and names on disk.
//
// A disk name is any bytes but NUL and '/'; a wire name is UTF-16 without control characters and " * / : < > ? \ |.
// Every disk name has a wire name, different ones have different ones, and the way back gives the same bytes:
//
//   - What the wire forbids travels in the private range that macOS and the Linux client use (Services for Macintosh):
//     0x01…0x1F as U+F001…F01F, then " * : < > ? \ | as U+F020…F027, a space or dot at the end as U+F028, U+F029.
//   - A disk name that holds one of those private characters itself carries privateEscape before it; so does
//     privateEscape.
//   - Bytes that are not UTF-8 travel as unpaired surrogates, see fscc.EncodeUTF16.
//
// A space or dot at the end is accepted from clients as it is, too: it names the same file as its private form, and
// clients that do not know the mapping could not name such files otherwise.
const (
	privateControl     = 0xF000 // + the control character, 1…31
	privateFirst       = 0xF001
	privateTrailSpace  = 0xF028
	privateTrailDot    = 0xF029
	privateEscape      = 0xF02A // free in the mapping of macOS and Linux
	privateSpecial     = 0xF020
	privateSpecialSet  = `"*:<>?\|` // in the order of U+F020…F027
	maxComponentUnits  = 255        // UTF-16 units of a component, [MS-FSCC] 2.1.5.2
	maxPathDepth       = 1024       // components; a deeper path cannot be opened on Linux in one call anyway (PATH_MAX)
	maxPathUnits       = 32767      // UTF-16 units of a path: what its 16-bit byte length can say
	defaultStreamTypes = "::$DATA"
)

func isPrivate(r rune) bool { return r >= privateFirst && r <= privateEscape }

// toWire returns the wire form of one disk name.
func toWire(name string) string {
	if plainOnDisk(name) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		last := i+n == len(name)
		switch at := strings.IndexRune(privateSpecialSet, r); {
		case r == utf8.RuneError && n == 1:
			b.WriteByte(name[i]) // not UTF-8: the codec escapes it
		case r < 0x20:
			b.WriteRune(privateControl + r)
		case at >= 0:
			b.WriteRune(privateSpecial + rune(at))
		case last && r == ' ':
			b.WriteRune(privateTrailSpace)
		case last && r == '.' && name != "." && name != "..":
			b.WriteRune(privateTrailDot)
		case isPrivate(r):
			b.WriteRune(privateEscape)
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// plainOnDisk tells quickly that name is its own wire form. It may say no for a name that is.
func plainOnDisk(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c < 0x20, c == 0xEF: // 0xEF begins the encoding of U+F000…FFFF
			return false
		case strings.IndexByte(privateSpecialSet, c) >= 0:
			return false
		}
	}
	return name != "" && name[len(name)-1] != ' ' && name[len(name)-1] != '.'
}

// fromWire returns the disk name of one wire component, or OBJECT_NAME_INVALID. The result is never empty, "." or "..",
// and holds neither NUL nor '/': this is checked on the result, not only on the input, because U+F029 becomes a dot.
func fromWire(component string) (string, error) {
	if component == "" || utf16Units(component) > maxComponentUnits {
		return "", smb2.StatusObjectNameInvalid
	}
	var b strings.Builder
	for i := 0; i < len(component); {
		r, n := utf8.DecodeRuneInString(component[i:])
		last := i+n == len(component)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteByte(component[i])
		case r < 0x20, r == '/', strings.ContainsRune(privateSpecialSet, r):
			return "", smb2.StatusObjectNameInvalid
		case r == privateEscape:
			next, m := utf8.DecodeRuneInString(component[i+n:])
			if !isPrivate(next) {
				return "", smb2.StatusObjectNameInvalid
			}
			b.WriteRune(next)
			n += m
		case r >= privateFirst && r < privateSpecial:
			b.WriteRune(r - privateControl)
		case r >= privateSpecial && r < privateTrailSpace:
			b.WriteByte(privateSpecialSet[r-privateSpecial])
		case r == privateTrailSpace && last:
			b.WriteByte(' ')
		case r == privateTrailDot && last:
			b.WriteByte('.')
		default:
			b.WriteRune(r)
		}
		i += n
	}
	name := b.String()
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", smb2.StatusObjectNameInvalid
	}
	return name, nil
}

// utf16Units counts the UTF-16 units of s as the codec would write them.
func utf16Units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}

// parsePath turns the name of a CREATE, a rename or a link into a path of the Share: '/' between components, "" for the root.
//
// The statuses are those of [MS-SMB2] 3.3.5.9 and [MS-FSA] 2.1.5.1: INVALID_PARAMETER for a leading backslash,
// OBJECT_NAME_INVALID for characters that no name may hold and for a stream's name, OBJECT_PATH_SYNTAX_BAD for "." and
// ".." (a relative step is never resolved here: the client has done that).
func parsePath(wire string) (path string, err error) {
	switch {
	case wire == "":
		return "", nil
	case wire[0] == '\\':
		return "", smb2.StatusInvalidParameter
	case utf16Units(wire) > maxPathUnits:
		return "", smb2.StatusObjectNameInvalid
	}
	wire, err = mainStream(wire)
	if err != nil {
		return "", err
	}
	components := strings.Split(wire, `\`)
	// One backslash at the end is a habit of directory paths; [MS-FSA] 2.1.5.1 refuses it only for non-directories.
	if last := len(components) - 1; last > 0 && components[last] == "" {
		components = components[:last]
	}
	if len(components) > maxPathDepth {
		return "", smb2.StatusObjectNameInvalid
	}
	for i, c := range components {
		if c == "." || c == ".." {
			return "", smb2.StatusObjectPathSyntaxBad
		}
		if components[i], err = fromWire(c); err != nil {
			return "", err
		}
	}
	return strings.Join(components, "/"), nil
}

// endsInSeparator tells whether a client wrote a path as that of a directory.
func endsInSeparator(wire string) bool { return strings.HasSuffix(wire, `\`) }

// mainStream strips the type of the main stream. Another stream's name is OBJECT_NAME_INVALID, which is what [MS-FSA]
// 2.1.5.1 answers on a file system without streams ([MS-FSCC] 2.1.5.3 gives the syntax).
func mainStream(wire string) (string, error) {
	slash := strings.LastIndexByte(wire, '\\')
	colon := strings.IndexByte(wire[slash+1:], ':')
	if colon < 0 {
		return wire, nil
	}
	colon += slash + 1
	if colon == slash+1 || !strings.EqualFold(wire[colon:], defaultStreamTypes) {
		return "", smb2.StatusObjectNameInvalid
	}
	return wire[:colon], nil
}

// wirePath returns the wire form of a Share's path.
func wirePath(path string) string {
	if path == "" {
		return ""
	}
	components := strings.Split(path, "/")
	for i, c := range components {
		components[i] = toWire(c)
	}
	return strings.Join(components, `\`)
}

// parentOf returns the path of the directory that holds path.
func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}
