package racelab

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrCase says that a case's text, or a combination it names, means nothing.
var ErrCase = errors.New("bad race case")

// Path names the way a server takes to answer a READ.
type Path string

// The read paths that the lab has claims for.
const (
	PathCopy         Path = "copy"
	PathUnsafeSplice Path = "unsafe-splice"
)

// FS names a file system as the fact tables do.
type FS string

// The file systems that a scratch area can be made of.
const (
	FSExt4  FS = "ext4"
	FSXFS   FS = "xfs"
	FSBtrfs FS = "btrfs"
	FSTmpfs FS = "tmpfs"
)

// Cache names the page-cache state of the file when the READ arrives.
type Cache string

// Cache states: Large is one large write, written back; Small was faulted page
// by page with read-ahead off; Dirty is one large write not written back.
const (
	CacheLarge Cache = "large"
	CacheSmall Cache = "4k"
	CacheDirty Cache = "dirty"
)

// Window names where the reply's bytes wait while the file changes.
type Window string

// Windows: everything in the receiver's queue and acknowledged, or the
// receiver's window closed and the rest in the sender's queue.
const (
	WindowReceiver Window = "receiver-queue"
	WindowSender   Window = "sender-queue"
)

// Mutation names the change made while the window is open.
type Mutation string

// The mutations. Their ranges are in the table of mutation.go.
const (
	MutationNone        Mutation = "none"
	MutationOverwrite   Mutation = "overwrite"
	MutationTruncate    Mutation = "truncate"
	MutationTruncateMid Mutation = "truncate-mid"
	MutationPunch       Mutation = "punch"
	MutationPunchInside Mutation = "punch-inside"
)

// Mutator names who makes the change.
type Mutator string

// The mutators: a program on the FUSE mount, a program on the backing
// directory, a second SMB client.
const (
	MutatorMount   Mutator = "mount"
	MutatorBacking Mutator = "backing"
	MutatorSMB     Mutator = "smb"
)

// DefaultSize is the payload of a cell in bytes: the largest READ that costs
// one credit, [MS-SMB2] 3.3.5.2.5.
const DefaultSize = 64 << 10

// MaxSize bounds the payload of a cell in bytes. The file around it is
// fileSize, and a reply must fit a receive queue.
const MaxSize = 1 << 20

// Case is the identity of a cell. Its text form is what --case takes and what
// every report prints.
type Case struct {
	Target   string // NAME:PATH; the name is "uringfs" or "bare"
	Path     Path
	FS       FS
	Cache    Cache
	Window   Window
	Mutation Mutation
	Mutator  Mutator
	Size     int // bytes of payload, a multiple of 4096
}

// String returns the text form; [ParseCase] reads it back.
func (c Case) String() string {
	return fmt.Sprintf("target=%s,path=%s,fs=%s,cache=%s,window=%s,mutation=%s,mutator=%s,size=%d",
		c.Target, c.Path, c.FS, c.Cache, c.Window, c.Mutation, c.Mutator, c.Size)
}

// ParseCase reads the text form of a case and checks it. path and mutation must
// be there; the rest defaults to target uringfs, fs ext4, cache large, window
// receiver-queue, mutator mount (backing for the bare target) and
// [DefaultSize]. Errors are ErrCase.
func ParseCase(text string) (Case, error) {
	c := Case{FS: FSExt4, Cache: CacheLarge, Window: WindowReceiver, Size: DefaultSize}
	seen := make(map[string]bool)
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok || value == "" {
			return Case{}, fmt.Errorf("%w: %q is not key=value", ErrCase, field)
		}
		if seen[key] {
			return Case{}, fmt.Errorf("%w: %s is given twice", ErrCase, key)
		}
		seen[key] = true
		switch key {
		case "target":
			c.Target = value
		case "path":
			c.Path = Path(value)
		case "fs":
			c.FS = FS(value)
		case "cache":
			c.Cache = Cache(value)
		case "window":
			c.Window = Window(value)
		case "mutation":
			c.Mutation = Mutation(value)
		case "mutator":
			c.Mutator = Mutator(value)
		case "size":
			n, err := strconv.Atoi(value)
			if err != nil {
				return Case{}, fmt.Errorf("%w: size %q", ErrCase, value)
			}
			c.Size = n
		default:
			return Case{}, fmt.Errorf("%w: no field is called %q", ErrCase, key)
		}
	}
	if c.Target == "" {
		c.Target = targetUringfs
	}
	if !strings.Contains(c.Target, ":") {
		c.Target += ":" + string(c.Path)
	}
	if c.Mutator == "" {
		c.Mutator = MutatorMount
		if c.targetName() == targetBare {
			c.Mutator = MutatorBacking
		}
	}
	return c, c.Check()
}

// Check rejects values and combinations that no cell can have. It is the one
// place that knows them. Errors are ErrCase.
func (c Case) Check() error {
	name, path, _ := strings.Cut(c.Target, ":")
	switch {
	case !slices.Contains([]string{targetUringfs, targetBare}, name):
		return fmt.Errorf("%w: target %q; known: %s, %s", ErrCase, name, targetUringfs, targetBare)
	case path != string(c.Path):
		return fmt.Errorf("%w: target %q is asked for path %q", ErrCase, c.Target, c.Path)
	case !slices.Contains([]Path{PathCopy, PathUnsafeSplice}, c.Path):
		return fmt.Errorf("%w: path %q", ErrCase, c.Path)
	case c.FS == "" || strings.ContainsAny(string(c.FS), ",= "):
		return fmt.Errorf("%w: fs %q", ErrCase, c.FS)
	case !slices.Contains([]Cache{CacheLarge, CacheSmall, CacheDirty}, c.Cache):
		return fmt.Errorf("%w: cache %q", ErrCase, c.Cache)
	case !slices.Contains([]Window{WindowReceiver, WindowSender}, c.Window):
		return fmt.Errorf("%w: window %q", ErrCase, c.Window)
	case !slices.Contains([]Mutator{MutatorMount, MutatorBacking, MutatorSMB}, c.Mutator):
		return fmt.Errorf("%w: mutator %q", ErrCase, c.Mutator)
	case name == targetBare && c.Mutator != MutatorBacking:
		return fmt.Errorf("%w: the bare target has no mount and no second client, so its mutator is %s", ErrCase, MutatorBacking)
	case c.Size < 8*pageSize || c.Size > MaxSize || c.Size%pageSize != 0:
		return fmt.Errorf("%w: size %d is not a multiple of %d from %d to %d", ErrCase, c.Size, pageSize, 8*pageSize, MaxSize)
	}
	if _, ok := findMutation(c.Mutation); !ok {
		return fmt.Errorf("%w: mutation %q", ErrCase, c.Mutation)
	}
	return nil
}

func (c Case) targetName() string {
	name, _, _ := strings.Cut(c.Target, ":")
	return name
}

// claim is what the path promises of every byte it sends.
func (c Case) claim() string {
	if c.Path == PathUnsafeSplice {
		return claimUnstable
	}
	return claimStable
}

const (
	claimStable   = "stable"
	claimUnstable = "unstable"

	targetUringfs = "uringfs"
	targetBare    = "bare"

	// pageSize is the unit of the pages column in bytes, whatever the machine's page.
	pageSize = 4096
)
