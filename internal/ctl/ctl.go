package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Status is what a running server says about itself.
type Status struct {
	PID     int              `json:"pid"`
	Started time.Time        `json:"started"`
	Backing string           `json:"backing"`
	Mount   string           `json:"mnt,omitempty"`
	Listen  string           `json:"listen,omitempty"`
	Share   string           `json:"share,omitempty"`
	Engine  Engine           `json:"engine"`
	Reads   map[string]Count `json:"reads,omitempty"`   // by read path
	Refused map[string]int64 `json:"refused,omitempty"` // reads that asked for a path and got another, by reason
	SMB     *SMB             `json:"smb,omitempty"`
	Fuse    *Fuse            `json:"fuse,omitempty"`
}

// Engine counts the operations of the backing engine.
type Engine struct {
	Name      string           `json:"name"`      // ring or syscall
	Reason    string           `json:"reason"`    // why it is not the one that was asked for; empty where it is
	Ring      map[string]int64 `json:"ring"`      // operations through io_uring, by verb
	Syscall   map[string]int64 `json:"syscall"`   // operations by system call, by verb
	Fallbacks map[string]int64 `json:"fallbacks"` // operations that belong on the ring and took a system call, by verb
}

// Count is a number of PDUs and the payload bytes in them.
type Count struct {
	PDUs  int64 `json:"pdus"`
	Bytes int64 `json:"bytes"`
}

// SMB counts what the SMB server did.
type SMB struct {
	Connections int64            `json:"connections"` // open now
	Sessions    int64            `json:"sessions"`    // open now
	Opens       int64            `json:"opens"`       // open now
	Requests    map[string]int64 `json:"requests"`    // by command
	Malformed   int64            `json:"malformed"`   // requests or connections ended for bad framing or fields
	Panics      int64            `json:"panics"`      // requests that hit a bug of the server
}

// Fuse counts the requests of the mount by opcode.
type Fuse struct {
	Ops map[string]int64 `json:"ops"`
}

// Server answers on one socket until Close.
type Server struct {
	path string
	http *http.Server
	done chan struct{}
}

// Path is where a server of this process listens by default: a directory of its user, never shared.
func Path(pid int) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("uringfs-%d", os.Getuid()))
	} else {
		dir = filepath.Join(dir, "uringfs")
	}
	return filepath.Join(dir, fmt.Sprintf("%d.sock", pid))
}

// Listen serves status on a unix socket at path, which it makes with mode 0600 in a directory of mode 0700. Close
// removes it. A stale socket of a dead server is replaced.
func Listen(path string, status func() Status) (*Server, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := listen(path)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status()) // the peer hung up: nobody is left to tell
	})
	s := &Server{path: path, http: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, done: make(chan struct{})}
	// ends when the listener closes; waited by Close
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // always http.ErrServerClosed after Close
	}()
	return s, nil
}

func listen(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if errors.Is(err, unix.EADDRINUSE) {
		if !removeStale(path) {
			return nil, fmt.Errorf("control socket %s belongs to a running server", path)
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// removeStale removes the socket at path if nobody listens there any more, as a killed server leaves it.
func removeStale(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED) && os.Remove(path) == nil
}

// Running returns the sockets of this user's servers. What killed servers left behind is removed.
func Running() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(Path(0)), "*.sock"))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, removeStale), nil
}

// Path is the socket's path.
func (s *Server) Path() string { return s.path }

// Close stops answering and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

// Get asks the server behind the socket at path for its status.
func Get(ctx context.Context, path string) (Status, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://uringfs/status", nil)
	if err != nil {
		return Status{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Status{}, fmt.Errorf("control socket %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Status{}, fmt.Errorf("control socket %s: %s", path, resp.Status)
	}
	var st Status
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		return Status{}, fmt.Errorf("control socket %s: %w", path, err)
	}
	if st.PID == 0 {
		return Status{}, errors.New("control socket " + path + ": not a uringfs server")
	}
	return st, nil
}
