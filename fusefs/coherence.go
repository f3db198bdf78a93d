//go:build linux

package fusefs

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/uringfs/uringfs/uringbackend"
)

// Coherence says how changes that do not come through the mount reach the kernel's caches.
type Coherence string

const (
	// CoherenceStrict means that names and attributes are asked for again at each use, pages when size or time have changed. Whatever happens
	// on the backing directory shows at once, except through mappings that exist already. The default.
	CoherenceStrict Coherence = "strict"
	// CoherenceServer means that everything is cached until the Volume reports a change by another room of this process (SMB), which is
	// then passed on. Changes that other programs make on the backing directory may stay unseen.
	CoherenceServer Coherence = "server"
	// CoherenceCached means that names and attributes are believed for a second.
	CoherenceCached Coherence = "cached"
)

// ParseCoherence reads the value of --coherence; empty is CoherenceStrict.
func ParseCoherence(s string) (Coherence, error) {
	switch c := Coherence(s); c {
	case "":
		return CoherenceStrict, nil
	case CoherenceStrict, CoherenceServer, CoherenceCached:
		return c, nil
	}
	return "", fmt.Errorf("coherence %q: want strict, server or cached", s)
}

const (
	cachedTTL = time.Second
	serverTTL = time.Hour
	// epochMinor is the first protocol minor with NOTIFY_INC_EPOCH, Linux 6.16. Without it names cannot be dropped all at
	// once when events were lost, so CoherenceServer may not hold them for long.
	epochMinor = 44
)

// policy gives the time-out of names and attributes, and whether pages survive an open.
func (c Coherence) policy(minor uint32) (ttl time.Duration, keepPages bool) {
	switch {
	case c == CoherenceStrict:
		return 0, false
	case c == CoherenceServer && minor >= epochMinor:
		return serverTTL, true
	}
	return cachedTTL, false
}

// notifyQueue is how many changes may wait for the kernel to take their invalidations before all caches are dropped.
const notifyQueue = 4096

// notifier passes changes made by others on to the kernel. It runs on a goroutine of its own and holds no lock: the kernel
// may wait for pages under I/O, or for a directory that an operation of the mount holds locked, and both need answers from
// the goroutines that serve requests. Changes are passed on in order, so one that waits delays those behind it.
type notifier struct {
	// Immutable after start.
	fs     *rawFS
	sub    *uringbackend.Subscription
	server *fuse.Server
	dev    *os.File // a copy of /dev/fuse, for what go-fuse cannot send; owned
	names  bool     // names and attributes are cached at all
	log    *slog.Logger
	done   chan struct{} // closed when the goroutine has ended

	// Atomic.
	sent atomic.Uint64
}

// start takes sub and dev.
func startNotifier(n *notifier) *notifier {
	n.done = make(chan struct{})
	// ends when close has closed the subscription; waited by close.
	go func() {
		defer close(n.done)
		var lost uint64
		for e := range n.sub.C {
			if now := n.sub.Lost(); now != lost {
				lost = now
				n.dropAll()
			}
			if e.Origin != uringbackend.OriginMount {
				n.pass(e)
			}
		}
	}()
	return n
}

// close ends the goroutine. The connection must be gone, or served by others until close returns.
func (n *notifier) close() {
	n.sub.Close()
	<-n.done
	n.dev.Close()
}

// pass tells the kernel of one change.
func (n *notifier) pass(e uringbackend.Event) {
	node := n.fs.nodes.known(e.ID)
	switch e.Kind {
	case uringbackend.ChangeCreate, uringbackend.ChangeLink, uringbackend.ChangeUnlink, uringbackend.ChangeRename:
		if !n.names {
			return
		}
		n.name(e.Dir, e.Name)
		n.name(e.NewDir, e.NewName)
		n.inode(node, attributesOnly, 0)
	case uringbackend.ChangeAttr, uringbackend.ChangeXattr:
		if n.names {
			n.inode(node, attributesOnly, 0)
		}
	default: // content: pages too, which outlive a time-out of 0 in mappings
		// A length of 0 is "to the end", as a negative one is ours.
		n.inode(node, e.Range.Offset, max(e.Range.Length, 0))
	}
}

const attributesOnly = -1 // as an offset

func (n *notifier) inode(node uint64, offset, length int64) {
	if node != 0 {
		n.report("inode", n.server.InodeNotify(node, offset, length))
	}
}

// name drops one name and the attributes of its directory.
func (n *notifier) name(dir uringbackend.FileID, name string) {
	node := n.fs.nodes.known(dir)
	if node == 0 || name == "" {
		return
	}
	n.report("name", n.server.EntryNotify(node, name))
	n.inode(node, attributesOnly, 0)
}

// report counts. ENOENT means that the kernel did not have it, ENODEV and EBADF that the mount is going.
func (n *notifier) report(what string, code fuse.Status) {
	switch code {
	case fuse.OK:
		n.sent.Add(1)
	case fuse.ENOENT, fuse.ENODEV, fuse.EBADF:
	default:
		n.log.Warn("invalidation refused", "what", what, "status", code)
	}
}

// dropAll forgets everything that the kernel may have cached: some changes are unknown.
func (n *notifier) dropAll() {
	n.log.Warn("changes outran the kernel's invalidation: dropping all its caches of this mount", "lost", n.sub.Lost())
	if n.names {
		// struct fuse_out_header: length, FUSE_NOTIFY_INC_EPOCH, and 0 for "a notification". It ages every name at once.
		var msg [16]byte
		binary.NativeEndian.PutUint32(msg[0:], uint32(len(msg)))
		binary.NativeEndian.PutUint32(msg[4:], 8)
		if _, err := n.dev.Write(msg[:]); err != nil {
			n.log.Debug("epoch", "err", err) // before Linux 6.16: names then live for a second only
		}
	}
	for _, id := range n.fs.nodes.ids() {
		n.inode(id, 0, 0)
	}
}
