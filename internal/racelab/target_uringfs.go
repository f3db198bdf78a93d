//go:build linux

package racelab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	smb "github.com/cloudsoda/go-smb2"

	"github.com/uringfs/uringfs/internal/ctl"
	"github.com/uringfs/uringfs/internal/supervise"
)

// uringfs is a child that serves a backing directory by mount and by SMB at once.
type uringfs struct {
	cfg   targetConfig
	child *supervise.Child
	ready readyLine
	other *second
}

// readyLine is the part of the server's first line that the lab uses.
type readyLine struct {
	Listen string `json:"listen"`
	Share  string `json:"share"`
	Mnt    string `json:"mnt"`
	Ctl    string `json:"ctl"`
}

// exitMissing is the exit code by which a uringfs command says that the machine lacks
// something.
const exitMissing = 4

func startUringfs(ctx context.Context, path Path, cfg targetConfig) (*uringfs, error) {
	args := []string{
		"serve", cfg.backing, cfg.mount,
		"--listen", "127.0.0.1:0", "--share", targetShare,
		"--passwd-file", cfg.passwdFile,
		"--read-path", string(path),
	}
	for _, flag := range [][2]string{{"--engine", cfg.engine}, {"--engine-policy", cfg.policy}, {"--loop", cfg.loop}} {
		if flag[1] != "" {
			args = append(args, flag[0], flag[1])
		}
	}
	// The mount helper opens the device as the user, too.
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, missing("the target mounts, and that needs %w; run as root or make the device accessible", err)
	}
	fuse.Close()
	child, err := supervise.Start(ctx, supervise.Command{Path: cfg.executable, Args: args, Dir: "/"})
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitMissing {
		return nil, missing("start the target: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("start the target: %w", err)
	}
	u := &uringfs{cfg: cfg, child: child}
	if err := json.Unmarshal(child.Ready(), &u.ready); err != nil {
		return nil, errors.Join(fmt.Errorf("ready line of the target: %w", err), u.close(ctx))
	}
	for name, value := range map[string]string{"listen": u.ready.Listen, "share": u.ready.Share, "mnt": u.ready.Mnt, "ctl": u.ready.Ctl} {
		if value == "" {
			return nil, errors.Join(fmt.Errorf("ready line of the target lacks %q", name), u.close(ctx))
		}
	}
	return u, nil
}

func (u *uringfs) backing() string { return u.cfg.backing }
func (u *uringfs) mount() string   { return u.ready.Mnt }

func (u *uringfs) served(ctx context.Context) (map[string]int64, error) {
	st, err := ctl.Get(ctx, u.ready.Ctl)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(st.Reads))
	for path, count := range st.Reads {
		out[path] = count.PDUs
	}
	return out, nil
}

func (u *uringfs) mountOps(ctx context.Context) (map[string]int64, error) {
	st, err := ctl.Get(ctx, u.ready.Ctl)
	if err != nil {
		return nil, err
	}
	if st.Fuse == nil {
		return nil, errors.New("the target reports no mount")
	}
	return st.Fuse.Ops, nil
}

func (u *uringfs) second(ctx context.Context) (*second, error) {
	if u.other != nil && u.other.broken {
		// Its connection is in an unknown state; the next cell gets a new one.
		u.other.close() //nolint:errcheck // nobody waits for it
		u.other = nil
	}
	if u.other == nil {
		other, err := newSecond(ctx, u.ready.Listen, u.ready.Share)
		if err != nil {
			return nil, err
		}
		u.other = other
	}
	return u.other, nil
}

func (u *uringfs) fault() string {
	select {
	case <-u.child.Done():
		if said := strings.TrimSpace(u.child.Stderr()); said != "" {
			return "the target has ended, saying: " + said
		}
		return "the target has ended"
	default:
		return ""
	}
}

// close stops the child, which unmounts. The caller's context may have ended, so it
// bounds nothing here: supervise has a limit of its own.
func (u *uringfs) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	if u.other != nil {
		errs = append(errs, u.other.close())
	}
	err := u.child.Stop(ctx)
	if errors.Is(err, supervise.ErrStuck) {
		errs = append(errs, supervise.AbortMount(u.cfg.mount))
		err = u.child.Kill()
	}
	if said := strings.TrimSpace(u.child.Stderr()); err != nil && said != "" {
		err = fmt.Errorf("the target ended with %w, saying: %s", err, said)
	} else if err != nil {
		err = fmt.Errorf("the target ended with %w", err)
	}
	// A child that was killed leaves its mount behind; one that ended well does not.
	return errors.Join(append(errs, err, supervise.Clear(u.cfg.mount))...)
}

func (u *uringfs) connect(ctx context.Context, w Window, diag *sockDiag) (reader, error) {
	wire, err := dialWire(ctx, u.ready.Listen, w.receiveBuffer(), diag)
	if err != nil {
		return nil, err
	}
	gate := NewGate(wire.conn)
	share, err := login(ctx, gate, u.ready.Listen, u.ready.Share)
	if err != nil {
		return nil, errors.Join(err, gate.Close())
	}
	return &smbReader{wire: wire, gate: gate, share: share}, nil
}

// login connects go-smb2 over conn, which stays the caller's.
func login(ctx context.Context, conn *Gate, addr, share string) (*smb.Share, error) {
	dialer := smb.Dialer{Initiator: &smb.NTLMInitiator{User: targetUser, Password: targetPassword}}
	session, err := dialer.DialConn(ctx, conn, addr)
	if err != nil {
		return nil, fmt.Errorf("SMB login: %w", err)
	}
	tree, err := session.WithContext(ctx).Mount(share)
	if err != nil {
		return nil, fmt.Errorf("SMB share %s: %w", share, err)
	}
	return tree, nil
}

// smbReader is go-smb2 behind a gate.
type smbReader struct {
	wire  *wire
	gate  *Gate
	share *smb.Share
	file  *smb.File
}

func (r *smbReader) open(ctx context.Context, name string) (err error) {
	r.file, err = r.share.WithContext(ctx).Open(name)
	return err
}

func (r *smbReader) read(b []byte, off int64) (int, error) { return r.file.ReadAt(b, off) }
func (r *smbReader) stall() *Gate                          { return r.gate }
func (r *smbReader) observed() *wire                       { return r.wire }

// reply checks the answer's own framing: length prefix, status, data offset and length.
func (r *smbReader) reply(head []byte, size int) (int, error) {
	le := binary.LittleEndian
	length := int(binary.BigEndian.Uint32(head))
	if status := le.Uint32(head[offStatus:]); status != statusSuccess {
		return 0, fmt.Errorf("the READ was answered with status %#08x", status)
	}
	offset, data := int(head[offDataOffset]), int(le.Uint32(head[offDataLength:]))
	if offset != smbHeaderLen+readFixed || data != size || length != smbHeaderLen+readFixed+size {
		return 0, fmt.Errorf("the READ of %d bytes was answered by %d bytes, %d of them data at %d", size, length, data, offset)
	}
	return frameLen + length, nil
}

func (r *smbReader) close() error {
	// The connection goes away without a word: a CLOSE or LOGOFF could hang behind a
	// reply that nobody received.
	return r.gate.Close()
}
