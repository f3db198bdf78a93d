//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/uringfs/uringfs/internal/ctl"
	"github.com/uringfs/uringfs/internal/supervise"
)

// copyVersusSmbd reads 1 GiB with smbclient, unsigned, from our copy path and from stock smbd as Debian configures it.
var copyVersusSmbd = bench{
	name:  "smb/copy-vs-smbd",
	about: "smbclient get of 1 GiB, unsigned: read path copy over smbd's default",
	metrics: []metric{
		{name: "throughput", unit: "GB/s", goal: 0.8, better: More},
		{name: "cpu_s_per_gib", unit: "s", goal: 1.0, better: Less},
	},
	run: runCopyVersusSmbd,
}

const getBytes = 1 << 30

func runCopyVersusSmbd(ctx context.Context, o Options, pair func(a, b side) ([]Line, error)) ([]Line, error) {
	for _, tool := range []string{"smbclient", "smbd"} {
		if _, err := find(tool); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(o.Dir, "uringfs-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "data")
	if err := os.Chmod(dir, 0o755); err != nil { // smbd's guest is another user
		return nil, err
	}
	if err := os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}
	big := filepath.Join(data, "big")
	if err := fill(big, getBytes); err != nil {
		return nil, err
	}

	ours, err := startServer(ctx, o, data, "copy")
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := startSmbd(ctx, filepath.Join(dir, "smbd"), data)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()

	before, err := ctl.Get(ctx, ours.ctl)
	if err != nil {
		return nil, err
	}
	lines, err := pair(get(ours.server), get(theirs.server))
	if err != nil {
		return nil, err
	}
	after, err := ctl.Get(ctx, ours.ctl)
	if err != nil {
		return nil, err
	}
	share := planShare(before, after, "copy")
	if share < 0.95 {
		return nil, fmt.Errorf("only %.0f %% of the bytes went by the path copy", share*100)
	}
	for i := range lines {
		lines[i].PlanShare = &share
		lines[i].Peers = map[string]string{"smbd": theirs.version + ", one share with `guest ok = yes`, all else default"}
	}
	return described(lines, big, "hot"), nil
}

// planShare is the part of the bytes read between two statuses that path served.
func planShare(before, after ctl.Status, path string) float64 {
	var named, all int64
	for name, c := range after.Reads {
		n := c.Bytes - before.Reads[name].Bytes
		all += n
		if name == path {
			named = n
		}
	}
	if all == 0 {
		return 0
	}
	return float64(named) / float64(all)
}

// server is one side: a process that answers smbclient.
type server struct {
	child *supervise.Child
	port  int
	share string
}

func (s server) stop() { _ = s.child.Stop(context.Background()) } // it has been measured; how it ends changes nothing

type ourServer struct {
	server
	ctl string
}

func startServer(ctx context.Context, o Options, dir, readPath string) (ourServer, error) {
	child, err := supervise.Start(ctx, supervise.Command{
		Path: o.Executable,
		Args: []string{"smb", dir, "--listen", "127.0.0.1:0", "--share", "bench", "--guest", "--read-path", readPath, "--engine", o.Engine},
	})
	if err != nil {
		return ourServer{}, err
	}
	var ready struct {
		Listen string `json:"listen"`
		Ctl    string `json:"ctl"`
	}
	if err := json.Unmarshal(child.Ready(), &ready); err != nil {
		return ourServer{}, fmt.Errorf("ready line: %w", err)
	}
	_, text, err := net.SplitHostPort(ready.Listen)
	if err != nil {
		return ourServer{}, fmt.Errorf("ready line: %w", err)
	}
	port, err := strconv.Atoi(text)
	return ourServer{server{child, port, "bench"}, ready.Ctl}, err
}

type smbd struct {
	server
	version string
}

// startSmbd runs stock smbd with state folders of its own. It forks a process per connection, whose CPU time its parent
// inherits when it has reaped it.
func startSmbd(ctx context.Context, dir, data string) (smbd, error) {
	path, err := find("smbd")
	if err != nil {
		return smbd{}, err
	}
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return smbd{}, fmt.Errorf("smbd --version: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return smbd{}, err
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "[global]\nserver role = standalone server\ndisable netbios = yes\nload printers = no\n"+
		"interfaces = 127.0.0.1/8\nbind interfaces only = yes\nsmb ports = %d\nmap to guest = Bad User\nlog file = %s/log\n", port, dir)
	for name, option := range map[string]string{
		"lock": "lock directory", "state": "state directory", "cache": "cache directory",
		"private": "private dir", "pid": "pid directory", "ncalrpc": "ncalrpc dir",
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return smbd{}, err
		}
		fmt.Fprintf(&conf, "%s = %s/%s\n", option, dir, name)
	}
	fmt.Fprintf(&conf, "[bench]\npath = %s\nguest ok = yes\nread only = no\n", data)
	file := filepath.Join(dir, "smb.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return smbd{}, err
	}
	// supervise gives it a process group of its own: when it ends, smbd signals its whole group.
	child, err := supervise.Start(ctx, supervise.Command{Path: path, Args: []string{"-s", file, "-F", "--no-process-group"}, NoReady: true})
	if err != nil {
		return smbd{}, err
	}
	s := smbd{server{child, port, "bench"}, strings.TrimSpace(string(version))}
	err = within(ctx, 20*time.Second, "smbd on its port", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	if err != nil {
		s.stop()
		return smbd{}, fmt.Errorf("%w: %s", err, child.Stderr())
	}
	return s, nil
}

// get is one smbclient that reads the file and throws it away: its wall time and the server's CPU time.
func get(s server) side {
	return func(ctx context.Context) (sample, error) {
		client, err := find("smbclient")
		if err != nil {
			return nil, err
		}
		cpu, err := cpuSeconds(s.child.Pid())
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, client, "//127.0.0.1/"+s.share, "-s", "/dev/null", "-p", strconv.Itoa(s.port), "-N",
			"-c", "get big /dev/null")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("smbclient: %w: %s", err, bytes.TrimSpace(out.Bytes()))
		}
		wall := time.Since(start).Seconds()
		var used float64
		// smbd's child for the connection counts once it is reaped; 20 ms is the clock's grain twice.
		err = within(ctx, 10*time.Second, "the server's CPU time", func() bool {
			now, err := cpuSeconds(s.child.Pid())
			used = now - cpu
			return err == nil && used > 0.02
		})
		return sample{"throughput": getBytes / 1e9 / wall, "cpu_s_per_gib": used}, err
	}
}

// cpuSeconds is the user and system time of a process, its threads (io-wq workers are among them) and its reaped
// children, proc_pid_stat(5).
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var ticks float64
	for _, i := range []int{11, 12, 13, 14} { // utime stime cutime cstime, counted from the state
		if i >= len(fields) {
			return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
		}
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += v
	}
	return ticks / 100, nil // USER_HZ
}

func find(tool string) (string, error) {
	if p, err := exec.LookPath(tool); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} { // an ordinary user's PATH lacks them
		if p := filepath.Join(dir, tool); exec.Command(p, "--version").Run() == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: %s; run ./setup", ErrPrerequisite, tool)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// fill writes n bytes that do not compress and leaves them in the page cache.
func fill(name string, n int) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	x := uint64(0x9e3779b97f4a7c15)
	for i := range block {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		block[i] = byte(x >> 32)
	}
	for done := 0; done < n; done += len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Sync()
}
