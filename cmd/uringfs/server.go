//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/uringfs/uringfs/fusefs"
	"github.com/uringfs/uringfs/internal/ctl"
	"github.com/uringfs/uringfs/internal/passwd"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/dirshare"
	"github.com/uringfs/uringfs/uringbackend"
)

// shutdownLimit is how long requests in flight may take to end after SIGINT or SIGTERM.
const shutdownLimit = 10 * time.Second

// smbOptions are the flags of commands that serve SMB.
type smbOptions struct {
	listen, share, passwdFile, readPath, writePath string
	guest, signing                                 bool
}

func (o *smbOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "127.0.0.1:4450", "address and port; port 0 takes a free one")
	f.StringVar(&o.share, "share", "share", "name of the share")
	f.StringVar(&o.passwdFile, "passwd-file", "", "users, written by `uringfs passwd`")
	f.BoolVar(&o.guest, "guest", false, "let anybody in without a password")
	f.StringVar(&o.readPath, "read-path", "auto", "how READ is answered: auto, copy or unsafe-splice")
	f.StringVar(&o.writePath, "write-path", "auto", "how WRITE is taken: auto or copy")
	f.BoolVar(&o.signing, "require-signing", false, "refuse sessions that do not sign")
}

// mountOptions are the flags of commands that mount.
type mountOptions struct {
	options     []string
	coherence   string
	transport   string
	passthrough bool
}

func (o *mountOptions) register(f *pflag.FlagSet) {
	f.StringSliceVarP(&o.options, "options", "o", nil, "mount options: allow_other, ro, …")
	f.StringVar(&o.coherence, "coherence", "strict", "strict, server or cached: how soon the mount shows changes made elsewhere")
	f.StringVar(&o.transport, "transport", "auto", "auto or dev")
	f.BoolVar(&o.passthrough, "passthrough", false, "let the kernel read and write the backing files itself")
}

// service is what serve, mount and smb build, in the order it comes up; down takes it apart in reverse.
type service struct {
	engineOptions
	smb *smbOptions   // nil: no SMB
	fs  *mountOptions // nil: no mount

	backing, mnt string
	out, errs    io.Writer
	log          *slog.Logger

	engine   uringbackend.Engine
	volume   *uringbackend.Volume
	mount    *fusefs.Server
	share    *dirshare.Share
	server   *smbserver.Server
	listener net.Listener
	control  *ctl.Server
	started  time.Time

	tracer    *traceFile               // nil: no --trace
	latencies *uringbackend.Histograms // nil: no --metrics
	page      *metricsServer           // as latencies
}

// run serves until ctx ends, which is a success, or something fails.
func (s *service) run(ctx context.Context) error {
	s.started = time.Now()
	if err := s.check(); err != nil {
		return err
	}
	err := s.up(ctx)
	if err == nil {
		err = s.serve(ctx)
	}
	return errors.Join(err, s.down())
}

func (s *service) check() error {
	var err error
	if s.log, err = s.logger(s.errs); err != nil {
		return err
	}
	if err := s.engineOptions.check(); err != nil {
		return err
	}
	if st, err := os.Stat(s.backing); err != nil {
		return missing(err)
	} else if !st.IsDir() {
		return missing(fmt.Errorf("%s is not a directory", s.backing))
	}
	if s.backing, err = filepath.Abs(s.backing); err != nil {
		return err
	}
	if s.smb != nil {
		if s.smb.passwdFile == "" && !s.smb.guest {
			return usage("nobody could log on: make a user with `uringfs passwd --file FILE set USER` and give --passwd-file FILE, or take --guest")
		}
		if s.smb.writePath != "auto" && s.smb.writePath != "copy" {
			return usage("--write-path %q: auto or copy", s.smb.writePath)
		}
	}
	if s.fs != nil {
		if s.fs.transport != "auto" && s.fs.transport != "dev" {
			return usage("--transport %q: auto or dev", s.fs.transport)
		}
		if s.mnt, err = filepath.Abs(s.mnt); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) up(ctx context.Context) error {
	observer, err := s.observer()
	if err != nil {
		return err
	}
	if s.engine, err = s.engineOptions.open(s.backing, observer); err != nil {
		return err
	}
	if r := s.engine.Reason(); r != "" {
		s.log.Warn("no io_uring, using system calls", "why", r)
	}
	s.volume, err = uringbackend.OpenVolume(ctx, s.backing, uringbackend.VolumeConfig{Engine: s.engine, Logger: s.log})
	if err != nil {
		return fmt.Errorf("backing directory: %w", err)
	}
	if s.fs != nil {
		if err := s.upMount(ctx); err != nil {
			return err
		}
	}
	if s.smb != nil {
		if err := s.upSMB(); err != nil {
			return err
		}
	}
	if s.latencies != nil {
		if s.page, err = listenMetrics(s.metrics, s, s.log); err != nil {
			return err
		}
	}
	s.control, err = ctl.Listen(ctl.Path(os.Getpid()), s.status)
	return err
}

// observer is who sees the engine's operations: nobody, unless the flags ask for it.
func (s *service) observer() (uringbackend.Observer, error) {
	var all []uringbackend.Observer
	if s.trace != "" {
		var err error
		if s.tracer, err = openTrace(s.trace); err != nil {
			return nil, err
		}
		all = append(all, s.tracer)
	}
	if s.metrics != "" {
		s.latencies = new(uringbackend.Histograms)
		all = append(all, s.latencies)
	}
	return uringbackend.Observers(all...), nil
}

func (s *service) upMount(ctx context.Context) error {
	coherence, err := fusefs.ParseCoherence(s.fs.coherence)
	if err != nil {
		return usage("--coherence: %w", err)
	}
	if s.fs.passthrough {
		return missing(errors.New("--passthrough is not built yet: the kernel would read and write behind the server's back"))
	}
	s.mount, err = fusefs.Mount(ctx, s.mnt, fusefs.Config{
		Volume: s.volume, Coherence: coherence, Options: s.fs.options, Logger: s.log,
	})
	if err != nil {
		return missing(err)
	}
	return nil
}

func (s *service) upSMB() error {
	cfg := smbserver.Config{
		Guest: s.smb.guest, RequireSigning: s.smb.signing, ReadPath: s.smb.readPath, Logger: s.log,
	}
	if s.smb.passwdFile != "" {
		users, err := passwd.Load(s.smb.passwdFile)
		if err != nil {
			return missing(err)
		}
		cfg.Auth = users
	}
	s.share = dirshare.New(s.volume.View(uringbackend.OriginServer), s.engine, dirshare.Config{Label: s.smb.share, Logger: s.log})
	cfg.Shares = map[string]smbserver.Share{s.smb.share: s.share}
	cfg.Transport = s.share.Transport
	var err error
	if s.server, err = smbserver.New(cfg); err != nil {
		return usage("%w", err)
	}
	s.listener, err = net.Listen("tcp", s.smb.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", s.smb.listen, err)
	}
	return nil
}

// serve announces itself and waits for the end.
func (s *service) serve(ctx context.Context) error {
	failed, unmounted := make(chan error, 1), make(chan error, 1)
	if s.server != nil {
		// ends when Shutdown closes the listener; waited by Shutdown in down
		go func() { failed <- s.server.Serve(s.listener) }()
	}
	if s.mount != nil {
		// ends when the mount is gone; waited by Unmount in down
		go func() { unmounted <- s.mount.Wait() }()
	}
	if err := s.announce(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-unmounted:
		s.log.Info("unmounted from outside, ending", "mnt", s.mnt)
		return err
	case err := <-failed:
		return fmt.Errorf("SMB server: %w", err)
	}
}

// announce writes the ready line: the first on standard output, once everything is served.
func (s *service) announce() error {
	line := struct {
		PID     int    `json:"pid"`
		Listen  string `json:"listen,omitempty"`
		Share   string `json:"share,omitempty"`
		Mnt     string `json:"mnt,omitempty"`
		Ctl     string `json:"ctl"`
		Metrics string `json:"metrics,omitempty"`
		Try     string `json:"try"`
	}{PID: os.Getpid(), Mnt: s.mnt, Ctl: s.control.Path(), Try: "ls " + s.mnt}
	if s.server != nil {
		line.Listen, line.Share = s.listener.Addr().String(), s.smb.share
		host, port, err := net.SplitHostPort(line.Listen)
		if err != nil {
			return err
		}
		who := "-U USER"
		if s.smb.guest {
			who = "-N"
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		line.Try = fmt.Sprintf("smbclient //%s/%s -p %s %s", host, line.Share, port, who)
	}
	if s.page != nil {
		line.Metrics = s.page.URL()
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "ready %s\n", b)
	return err
}

// down takes apart what up has built, in reverse. What is still in flight gets shutdownLimit to end.
func (s *service) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	var errs []error
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	if s.page != nil {
		errs = append(errs, s.page.Close(ctx))
	}
	if s.server != nil {
		errs = append(errs, s.server.Shutdown(ctx))
	}
	if s.listener != nil {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.share != nil {
		errs = append(errs, s.share.Close())
	}
	if s.mount != nil {
		errs = append(errs, s.mount.Unmount(ctx))
	}
	if s.volume != nil {
		errs = append(errs, s.volume.Close())
	}
	if s.engine.Submitter != nil {
		reportFallbacks(s.errs, s.engine)
		errs = append(errs, s.engine.Close())
	}
	if s.tracer != nil { // last: closing the rest is traced too
		if lost := s.tracer.Lost(); lost > 0 {
			s.log.Warn("the trace is not whole: its writer did not keep up", "lost", lost)
		}
		errs = append(errs, s.tracer.close())
	}
	return errors.Join(errs...)
}

// Engine implements Stats, as do SMB, Fuse and TraceLost.
func (s *service) Engine() EngineStats { return engineStats(s.engine, s.latencies) }

// SMB implements Stats.
func (s *service) SMB() (smbserver.Stats, bool) {
	if s.server == nil {
		return smbserver.Stats{}, false
	}
	return s.server.Stats(), true
}

// Fuse implements Stats.
func (s *service) Fuse() (fusefs.Stats, bool) {
	if s.mount == nil {
		return fusefs.Stats{}, false
	}
	return s.mount.Stats(), true
}

// TraceLost implements Stats.
func (s *service) TraceLost() (uint64, bool) {
	if s.tracer == nil {
		return 0, false
	}
	return s.tracer.Lost(), true
}

// status fills the answer of the control socket.
func (s *service) status() ctl.Status {
	st := ctl.Status{
		PID: os.Getpid(), Started: s.started, Backing: s.backing, Mount: s.mnt,
		Engine: ctl.Engine{
			Name: s.engine.Name(), Reason: s.engine.Reason(), Ring: map[string]int64{}, Syscall: map[string]int64{}, Fallbacks: map[string]int64{},
		},
	}
	for verb, c := range s.engine.Counts() {
		if c.Ring > 0 {
			st.Engine.Ring[verb] = int64(c.Ring)
		}
		if c.Syscall > 0 {
			st.Engine.Syscall[verb] = int64(c.Syscall)
		}
	}
	for verb, n := range s.engine.Fallbacks() {
		st.Engine.Fallbacks[verb] = int64(n)
	}
	if s.server != nil {
		x := s.server.Stats()
		st.Listen, st.Share = s.listener.Addr().String(), s.smb.share
		st.Reads, st.Refused = map[string]ctl.Count{}, x.Refusals
		for path, c := range x.Paths {
			st.Reads[path] = ctl.Count{PDUs: c.PDUs, Bytes: c.Bytes}
		}
		st.SMB = &ctl.SMB{
			Connections: x.OpenConnections, Sessions: x.OpenSessions, Opens: x.OpenFiles,
			Requests: x.Requests, Malformed: x.Malformed, Panics: x.Panics,
		}
	}
	if s.mount != nil {
		st.Fuse = &ctl.Fuse{Ops: map[string]int64{}}
		for op, n := range s.mount.Stats().Requests {
			st.Fuse.Ops[op] = int64(n)
		}
	}
	return st
}
