//go:build linux

package dirshare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/uringbackend"
)

// Config says how a directory is shared. The zero value is a good default.
type Config struct {
	// Engine is "auto" (the default), "ring" or "syscall"; only [Open] reads it.
	Engine string
	// CrossDevices follows mount points beneath the root; only [Open] reads it.
	CrossDevices bool
	// FileMode and DirMode are the permission bits of new objects before the process's umask; zero: 0644 and 0755.
	FileMode, DirMode uint32
	// Label names the volume to clients.
	Label string
	// PipeBytes is the capacity asked for each pipe of the by-reference path; zero: 1 MiB, the most an unprivileged
	// process may ask for by default. What the kernel gives instead is used as it is.
	PipeBytes int
	// IdlePipes bounds the empty pipes kept for reuse; zero: 16.
	IdlePipes int
	// Logger receives what cannot be told to a client; nil discards it.
	Logger *slog.Logger
}

var (
	_ smbserver.Share      = (*Share)(nil)
	_ smbserver.LinkOpener = (*Share)(nil)
)

// Share is one directory tree behind the storage seam of smbserver. Safe for concurrent use.
type Share struct {
	view   *uringbackend.View
	engine uringbackend.Engine
	cfg    Config
	pipes  *pipes
	own    func() error // closes what Open made; nil for New
	names  names
}

// Open shares the directory root with an engine and a Volume of its own. Close releases them.
func Open(ctx context.Context, root string, cfg Config) (*Share, error) {
	name := cfg.Engine
	if name == "" {
		name = "auto"
	}
	engine, err := uringbackend.Open(name, uringbackend.Probe(root), uringbackend.Config{})
	if err != nil {
		return nil, err
	}
	volume, err := uringbackend.OpenVolume(ctx, root, uringbackend.VolumeConfig{
		Engine: engine, CrossDevices: cfg.CrossDevices, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	s := New(volume.View(uringbackend.OriginServer), engine, cfg)
	s.own = func() error { return errors.Join(volume.Close(), engine.Close()) }
	return s, nil
}

// New shares a Volume that somebody else owns, through view; engine is the Volume's. Close releases only the pipes.
func New(view *uringbackend.View, engine uringbackend.Engine, cfg Config) *Share {
	if cfg.FileMode == 0 {
		cfg.FileMode = 0o644
	}
	if cfg.DirMode == 0 {
		cfg.DirMode = 0o755
	}
	if cfg.PipeBytes == 0 {
		cfg.PipeBytes = 1 << 20
	}
	if cfg.IdlePipes == 0 {
		cfg.IdlePipes = 16
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Share{view: view, engine: engine, cfg: cfg, pipes: newPipes(engine, cfg.PipeBytes, cfg.IdlePipes)}
}

// Close releases the pipes, and the Volume and engine where Open made them.
func (s *Share) Close() error {
	err := s.pipes.close()
	if s.own != nil {
		err = errors.Join(err, s.own())
	}
	return err
}

// inParent and last translate an error of the Volume into the seam's, with the component that the caller looked at.
func inParent(err error) error {
	return &smbserver.PathError{Component: smbserver.Parent, Err: cause(err)}
}

// last is nil for nil.
func last(err error) error {
	if err == nil {
		return nil
	}
	return &smbserver.PathError{Component: smbserver.Last, Err: cause(err)}
}

// cause is what the Volume wraps with a path of its own.
func cause(err error) error {
	if pe, ok := errors.AsType[*uringbackend.PathError](err); ok {
		return pe.Err
	}
	return err
}

// outside says of a link that leads outside what a client is told: there is nothing.
func outside(err error) error {
	if errors.Is(err, unix.EXDEV) {
		return unix.ENOENT
	}
	return err
}

// locate resolves the directory of name, which may be "" for the root.
func (s *Share) locate(ctx context.Context, name string) (place, error) {
	if name == "" {
		return place{}, nil
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if dir == "" {
		return place{dir: s.view.Root(), name: base, path: name}, nil
	}
	ref, st, err := s.view.Resolve(ctx, dir, true)
	if err != nil {
		return place{}, inParent(outside(err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		ref.Release()
		return place{}, inParent(unix.ENOTDIR)
	}
	return place{dir: ref, name: base, path: name}, nil
}

// Open implements smbserver.Share.
func (s *Share) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	return s.find(ctx, p, true)
}

// OpenLink implements smbserver.LinkOpener.
func (s *Share) OpenLink(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	return s.find(ctx, p, false)
}

func (s *Share) find(ctx context.Context, p smbserver.OpenParams, follow bool) (smbserver.File, error) {
	at, err := s.locate(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	var f *file
	if p.Create {
		f, err = s.create(ctx, at, p)
	} else {
		f, err = s.open(ctx, at, p, follow)
	}
	if err != nil {
		at.release()
		return nil, err
	}
	return f, nil
}

// open takes at where it succeeds.
func (s *Share) open(ctx context.Context, at place, p smbserver.OpenParams, follow bool) (*file, error) {
	if at.dir == nil {
		ref := s.view.Root()
		return s.attach(ctx, at, ref, ref.ID(), p)
	}
	ref, st, err := s.view.Lookup(ctx, at.dir, at.name)
	if err != nil {
		return nil, last(err)
	}
	linked := ref.ID() // what the name itself names: a link, where it is one
	if follow && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		ref.Release()
		if ref, _, err = s.view.Resolve(ctx, at.path, true); err != nil {
			return nil, last(outside(err))
		}
	}
	return s.attach(ctx, at, ref, linked, p)
}

// attach makes the open file of ref. It takes ref, and at where it succeeds.
func (s *Share) attach(ctx context.Context, at place, ref *uringbackend.Ref, linked uringbackend.FileID, p smbserver.OpenParams) (*file, error) {
	f := &file{share: s, ref: ref, id: fileID(ref.ID())}
	if (p.Read || p.Write) && ref.Type() != unix.S_IFDIR { // a directory's descriptor is opened when it is listed
		h, err := s.data(ctx, ref, p)
		if err != nil {
			ref.Release()
			return nil, last(err)
		}
		f.handle = h
	}
	f.name = s.names.hold(at, linked)
	return f, nil
}

// data opens ref for reading, writing or both.
func (s *Share) data(ctx context.Context, ref *uringbackend.Ref, p smbserver.OpenParams) (*uringbackend.Handle, error) {
	switch ref.Type() {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	default: // an open of a FIFO or device could wait, or do something
		return nil, unix.EOPNOTSUPP
	}
	flags := unix.O_RDONLY
	switch {
	case p.Read && p.Write:
		flags = unix.O_RDWR
	case p.Write:
		flags = unix.O_WRONLY
	}
	h, err := s.view.Open(ctx, ref, flags|through(p))
	if err == nil {
		s.advise(ctx, h, p.Pattern)
	}
	return h, err
}

// through is the open flag of a file whose changes are durable before they are answered.
func through(p smbserver.OpenParams) int {
	if p.Through {
		return unix.O_DSYNC
	}
	return 0
}

// advise hands the client's hint on: it sets how far the kernel reads ahead. What cannot be taken is dropped.
func (s *Share) advise(ctx context.Context, h *uringbackend.Handle, p smbserver.AccessPattern) {
	advice := unix.FADV_SEQUENTIAL
	switch p {
	case smbserver.PatternSequential:
	case smbserver.PatternRandom:
		advice = unix.FADV_RANDOM
	default:
		return
	}
	if err := h.Advise(ctx, advice); err != nil {
		s.cfg.Logger.Debug("access pattern", "err", err)
	}
}

// create takes at where it succeeds.
func (s *Share) create(ctx context.Context, at place, p smbserver.OpenParams) (*file, error) {
	if at.dir == nil {
		return nil, last(unix.EEXIST)
	}
	dos := stored{attributes: p.Attributes & storable}
	f := &file{share: s}
	if p.Directory {
		ref, _, err := s.view.Mkdir(ctx, at.dir, at.name, s.cfg.DirMode, uringbackend.Creds{})
		if err != nil {
			return nil, last(err)
		}
		f.ref = ref
	} else {
		mode := s.cfg.FileMode
		if p.Attributes&attributeReadOnly != 0 {
			mode &^= 0o222
		}
		h, ref, _, err := s.view.Create(ctx, at.dir, at.name, unix.O_RDWR|unix.O_EXCL|through(p), mode, uringbackend.Creds{})
		if err != nil {
			return nil, last(err)
		}
		s.advise(ctx, h, p.Pattern)
		f.ref, f.handle = ref, h
	}
	f.id, f.name = fileID(f.ref.ID()), s.names.hold(at, f.ref.ID())
	if dos.attributes != 0 {
		// What the store cannot keep is dropped, as the seam says: the file itself is there.
		if err := s.store(ctx, f.ref, dos); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			s.cfg.Logger.Warn("attributes of a new file", "err", err)
		}
	}
	return f, nil
}

// Statfs implements smbserver.Share.
func (s *Share) Statfs(ctx context.Context) (smbserver.VolumeInfo, error) {
	root := s.view.Root()
	defer root.Release()
	fs, err := s.view.Statfs(ctx, root)
	if err != nil {
		return smbserver.VolumeInfo{}, fmt.Errorf("file system of the share: %w", err)
	}
	st, err := s.view.Stat(ctx, root)
	if err != nil {
		return smbserver.VolumeInfo{}, fmt.Errorf("root of the share: %w", err)
	}
	unit := fs.Frsize
	if unit <= 0 || unit > 1<<20 {
		unit = 4096
	}
	created := st.Btime
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	return smbserver.VolumeInfo{
		Label: s.cfg.Label, Serial: uint32(st.ID.Dev) ^ uint32(st.ID.Ino), Created: created,
		BlockSize: uint32(unit), TotalBlocks: fs.Blocks, FreeBlocks: fs.Bfree, AvailBlocks: fs.Bavail,
		MaxComponent: uint32(min(max(fs.Namelen, 1), 255)), FileSystem: "NTFS",
		CaseSensitive: true, Sparse: true, ReadOnly: fs.Flags&unix.ST_RDONLY != 0,
	}, nil
}

func fileID(id uringbackend.FileID) smbserver.FileID {
	return smbserver.FileID{Volume: id.Dev, Inode: id.Ino, Generation: id.Gen}
}
