//go:build linux

package racelab

import (
	"context"
	"fmt"
)

// target is a server under test, started for one path.
type target interface {
	// connect opens a connection whose receiving end fits the window.
	connect(ctx context.Context, w Window, diag *sockDiag) (reader, error)
	// served returns how many PDUs each path has answered so far, by the target's own count.
	served(ctx context.Context) (map[string]int64, error)
	// backing is the directory whose files it serves.
	backing() string
	// mount is where a FUSE mount of the same files is, "" for none.
	mount() string
	// mountOps returns how many requests of each opcode the mount's server has answered.
	mountOps(ctx context.Context) (map[string]int64, error)
	// second returns the other SMB client, connected on first use.
	second(ctx context.Context) (*second, error)
	// fault explains a failure, if the target has something to say; "" otherwise.
	fault() string
	// close ends the target; mounts and processes are gone when it returns.
	close(ctx context.Context) error
}

// reader is the client that receives late. It asks for one range at a time.
type reader interface {
	open(ctx context.Context, name string) error
	// read sends one request for b and waits for the answer.
	read(b []byte, off int64) (int, error)
	// reply checks the first replyHead bytes of an answer that must carry size bytes
	// of payload, and returns its whole length.
	reply(head []byte, size int) (int, error)
	stall() *Gate
	observed() *wire
	close() error
}

const (
	frameLen       = 4  // length prefix, [MS-SMB2] 2.1
	smbHeaderLen   = 64 // [MS-SMB2] 2.2.1
	readFixed      = 16 // READ response up to its Buffer, [MS-SMB2] 2.2.20
	replyHead      = frameLen + smbHeaderLen + readFixed
	offStatus      = frameLen + 8
	offDataOffset  = frameLen + smbHeaderLen + 2
	offDataLength  = frameLen + smbHeaderLen + 4
	statusSuccess  = 0
	targetShare    = "race"
	targetUser     = "race"
	targetPassword = "race-lab"
)

// newTarget starts the target that a case names.
func newTarget(ctx context.Context, c Case, cfg targetConfig) (target, error) {
	switch c.targetName() {
	case targetUringfs:
		return startUringfs(ctx, c.Path, cfg)
	case targetBare:
		return startBare(c.Path, cfg.backing)
	default:
		return nil, fmt.Errorf("%w: target %q", ErrCase, c.Target)
	}
}

// targetConfig is what a run gives every target.
type targetConfig struct {
	executable string
	engine     string
	policy     string
	loop       string
	backing    string // an existing empty directory on the scratch file system
	mount      string // an existing empty directory
	passwdFile string
}
