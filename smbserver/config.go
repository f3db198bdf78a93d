package smbserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/uringfs/uringfs/smbserver/datapath"
)

// Dialect is an SMB2 dialect revision, [MS-SMB2] 2.2.4.
type Dialect uint16

// The dialects this server speaks.
const (
	Dialect202 Dialect = 0x0202
	Dialect210 Dialect = 0x0210
	Dialect300 Dialect = 0x0300
	Dialect302 Dialect = 0x0302
	Dialect311 Dialect = 0x0311
)

// String writes the dialect as people do: "3.1.1".
func (d Dialect) String() string {
	switch d {
	case Dialect202:
		return "2.0.2"
	case Dialect210:
		return "2.1"
	case Dialect300:
		return "3.0"
	case Dialect302:
		return "3.0.2"
	case Dialect311:
		return "3.1.1"
	default:
		return fmt.Sprintf("Dialect(%#04x)", uint16(d))
	}
}

// Authenticator knows the users.
type Authenticator interface {
	// NTHash returns the NT hash of a user's password (MD4 of its UTF-16LE form). user and domain are as the client sent
	// them; comparing without regard to case is the Authenticator's choice. ok is false for an unknown user. It may be
	// called from several goroutines.
	NTHash(user, domain string) (hash [16]byte, ok bool)
}

// Config says what a Server serves and how. [New] copies it; the maps and the values behind interfaces are borrowed
// until Shutdown has returned.
type Config struct {
	// ServerName is the NetBIOS-like name given to clients; "URINGFS" if empty.
	ServerName string
	// Shares are the exported trees by name. Names are matched without regard to case; "IPC$" is the server's own.
	Shares map[string]Share
	// Auth knows the users. Without it only guests can log on.
	Auth Authenticator
	// Guest lets unknown users and anonymous clients in, without signing. A wrong password of a known user stays wrong.
	Guest bool
	// MinDialect and MaxDialect bound what is negotiated; zero: 2.0.2 and 3.1.1.
	MinDialect, MaxDialect Dialect
	// RequireSigning makes every session sign, and so keeps guests out.
	RequireSigning bool
	// ReadPath says how READ answers travel: "copy", "unsafe-splice", or "auto" (the default), which is copy.
	ReadPath string
	// Transport wraps an accepted connection to add abilities such as [PayloadSender]; nil takes it as it is.
	Transport func(net.Conn) Transport
	// Logger receives one line per event; nil discards them.
	Logger *slog.Logger
	// GUID identifies the server to clients ([MS-SMB2] 2.2.4 ServerGuid); zero: a random one.
	GUID [16]byte
	// PoisonBuffers overwrites every pooled buffer with 0xDB when it is returned, so that a use after that shows. For
	// tests and debugging.
	PoisonBuffers bool
	// Limits bounds what peers can make the server hold; zero fields mean the defaults of [DefaultLimits].
	Limits Limits
}

// DefaultServerName is told to clients when the configuration names none.
const DefaultServerName = "URINGFS"

// ErrConfig is wrapped by every error that [New] returns for a configuration that cannot be served.
var ErrConfig = errors.New("smbserver: configuration")

// maxShareName is the longest share name in bytes; longer ones break older clients, [MS-SRVS] 2.2.2.6.
const maxShareName = 80

// ipcName is the share that the server provides itself.
const ipcName = "IPC$"

// normalize returns a copy with the defaults filled in, or says what is wrong.
func (c Config) normalize() (Config, datapath.Policy, error) {
	fail := func(format string, args ...any) (Config, datapath.Policy, error) {
		return Config{}, datapath.PolicyInvalid, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	if c.ServerName == "" {
		c.ServerName = DefaultServerName
	}
	if len(c.ServerName) > 15 {
		return fail("server name %q is longer than 15 bytes", c.ServerName)
	}
	if c.MinDialect == 0 {
		c.MinDialect = Dialect202
	}
	if c.MaxDialect == 0 {
		c.MaxDialect = Dialect311
	}
	for _, d := range []Dialect{c.MinDialect, c.MaxDialect} {
		if dialectIndex(d) < 0 {
			return fail("unknown dialect %s", d)
		}
	}
	if c.MinDialect > c.MaxDialect {
		return fail("dialects from %s to %s", c.MinDialect, c.MaxDialect)
	}
	if c.Auth == nil && !c.Guest {
		return fail("neither users nor guests can log on")
	}
	if c.Guest && c.RequireSigning && c.Auth == nil {
		return fail("guests cannot sign, and signing is required")
	}
	if len(c.Shares) == 0 {
		return fail("no share")
	}
	seen := make(map[string]bool, len(c.Shares))
	for name, share := range c.Shares {
		folded := strings.ToUpper(name)
		switch {
		case share == nil:
			return fail("share %q is nil", name)
		case name == "" || len(name) > maxShareName || strings.ContainsAny(name, `\/:*?"<>|`+"\x00"):
			return fail("share name %q", name)
		case folded == ipcName:
			return fail("share name %q is the server's own", name)
		case seen[folded]:
			return fail("share name %q differs from another only in case", name)
		}
		seen[folded] = true
	}
	policy, err := datapath.ParsePolicy(c.ReadPath)
	if err != nil {
		return fail("%w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.GUID == ([16]byte{}) {
		if _, err := rand.Read(c.GUID[:]); err != nil {
			return fail("server GUID: %w", err)
		}
	}
	c.Limits = c.Limits.withDefaults()
	if err := c.Limits.check(); err != nil {
		return fail("%w", err)
	}
	return c, policy, nil
}

// dialectIndex orders the dialects; -1: not one we speak.
func dialectIndex(d Dialect) int {
	for i, known := range [...]Dialect{Dialect202, Dialect210, Dialect300, Dialect302, Dialect311} {
		if d == known {
			return i
		}
	}
	return -1
}

// Limits bounds everything a peer can make the server hold or wait for. Counts are per server unless they say otherwise.
type Limits struct {
	MaxRead, MaxWrite, MaxTransact uint32 // bytes of one request, at least 65536; told to clients at NEGOTIATE

	Connections      int // open connections
	ConnectionsPerIP int // open connections from one address
	HalfOpen         int // connections without a session that is logged on
	HalfOpenPerIP    int // the same from one address
	Sessions         int // per connection, those still logging on included
	Trees            int // per session
	Opens            int // per session
	Credits          int // per connection: MessageIds that a client may hold
	Pending          int // per connection: requests that run beside the reader
	Compound         int // elements of one compound request
	BadSignatures    int // per connection, before it is closed
	FailedLogons     int // per connection, before each further one is answered late

	LogonTimeout time.Duration // from accept until the first logon has succeeded
	WriteTimeout time.Duration // until the client must have taken a reply
}
