//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	smb "github.com/cloudsoda/go-smb2"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/uringfs/uringfs/internal/passwd"
)

const patience = 20 * time.Second

// running is a service of this process.
type running struct {
	ready struct {
		Listen  string `json:"listen"`
		Metrics string `json:"metrics"`
	}
	stop   context.CancelFunc
	ended  chan error
	stderr *bytes.Buffer
}

// start runs `uringfs smb` over dir with a user "u" whose password is "p".
func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	users := filepath.Join(t.TempDir(), "users")
	require.NoError(t, passwd.Set(users, "u", "p"))
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel, ended: make(chan error, 1), stderr: &bytes.Buffer{}}
	out, in := io.Pipe()
	cmd := root()
	cmd.SetArgs(append([]string{"smb", dir, "--listen", "127.0.0.1:0", "--passwd-file", users}, args...))
	cmd.SetOut(in)
	cmd.SetErr(r.stderr)
	go func() {
		err := cmd.ExecuteContext(ctx)
		in.CloseWithError(io.EOF)
		r.ended <- err
	}()
	t.Cleanup(cancel)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		require.NoError(t, <-r.ended)
	}
	text, ok := strings.CutPrefix(line, "ready ")
	require.True(t, ok, "%q", line)
	require.NoError(t, json.Unmarshal([]byte(text), &r.ready))
	return r
}

// end stops the service and returns what it said.
func (r *running) end(t *testing.T) error {
	t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		require.Fail(t, "the service does not end", "%s", r.stderr)
		return nil
	}
}

// use writes a file of size bytes over SMB and reads it back.
func (r *running) use(t *testing.T, size int) {
	t.Helper()
	conn, err := net.Dial("tcp", r.ready.Listen)
	require.NoError(t, err)
	defer conn.Close()
	d := &smb.Dialer{Initiator: &smb.NTLMInitiator{User: "u", Password: "p"}}
	s, err := d.DialConn(t.Context(), conn, r.ready.Listen)
	require.NoError(t, err)
	defer s.Logoff()
	share, err := s.Mount("share")
	require.NoError(t, err)
	want := bytes.Repeat([]byte("observed"), size/8)
	require.NoError(t, share.WriteFile("f", want, 0o644))
	got, err := share.ReadFile("f")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	_, err = share.Stat("none")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, share.Umount())
}

// value is the sum over the metrics of a family that have the label.
func value(t *testing.T, families map[string]*dto.MetricFamily, name, label, is string) float64 {
	t.Helper()
	require.Contains(t, families, name)
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label && l.GetValue() == is {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// TestServiceIsObserved: what clients do is on the page and in the trace, the two agree, and nothing stays behind.
func TestServiceIsObserved(t *testing.T) {
	const size = 1 << 20
	before := runtime.NumGoroutine()
	trace := filepath.Join(t.TempDir(), "t.json")
	r := start(t, t.TempDir(), "--metrics", ":0", "--trace", trace)
	r.use(t, size)

	families := scrape(t, r.ready.Metrics)
	for _, name := range []string{"uringfs_engine_ops_total", "uringfs_engine_op_duration_seconds"} {
		assert.Positive(t, value(t, families, name, "verb", "openat2"), name)
	}
	var read, written float64
	for _, m := range families["uringfs_engine_bytes_total"].GetMetric() {
		switch verb := m.GetLabel()[0].GetValue(); {
		case strings.HasPrefix(verb, "read"):
			read += m.GetCounter().GetValue()
		case strings.HasPrefix(verb, "write"):
			written += m.GetCounter().GetValue()
		}
	}
	assert.GreaterOrEqual(t, read, float64(size))
	assert.GreaterOrEqual(t, written, float64(size))
	assert.Positive(t, value(t, families, "uringfs_smb_requests_total", "command", "READ"))
	assert.InDelta(t, size, value(t, families, "uringfs_smb_read_bytes_total", "path", "copy"), 0)
	assert.InDelta(t, 0, families["uringfs_engine_stale_completions_total"].GetMetric()[0].GetCounter().GetValue(), 0)
	assert.NotContains(t, families, "uringfs_fuse_requests_total", "there is no mount")
	require.NoError(t, r.end(t))

	f, err := os.Open(trace)
	require.NoError(t, err)
	defer f.Close()
	var tracedRead, tracedWritten, lines uint64
	var end struct {
		Verb, Errno   string
		Bytes         uint64
		Written, Lost uint64
		End           bool
	}
	enoent := false
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		end.Verb, end.Errno, end.Bytes = "", "", 0
		require.NoError(t, json.Unmarshal(s.Bytes(), &end), "%s", s.Text())
		switch {
		case strings.HasPrefix(end.Verb, "read"):
			tracedRead += end.Bytes
		case strings.HasPrefix(end.Verb, "write"):
			tracedWritten += end.Bytes
		}
		enoent = enoent || end.Errno == "ENOENT"
	}
	assert.True(t, end.End, "the last line says that the trace is whole")
	assert.Equal(t, lines, end.Written+1)
	assert.Zero(t, end.Lost)
	assert.InDelta(t, read, float64(tracedRead), 0, "metrics and trace agree")
	assert.InDelta(t, written, float64(tracedWritten), 0)
	assert.True(t, enoent)
	st, err := os.Stat(trace)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), st.Mode().Perm())

	http.DefaultClient.CloseIdleConnections() // the scraper's goroutines are not the service's
	// Not Eventually: its condition is a goroutine too.
	for limit, tick := time.After(patience), time.Tick(time.Millisecond); runtime.NumGoroutine() > before; <-tick {
		select {
		case <-limit:
			stacks := make([]byte, 1<<20)
			require.Fail(t, "goroutines are left", "%s", stacks[:runtime.Stack(stacks, true)])
		default:
		}
	}
}

func TestServiceWritesPerfetto(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "t.perfetto")
	r := start(t, t.TempDir(), "--trace", trace, "--engine", "syscall")
	assert.Empty(t, r.ready.Metrics)
	r.use(t, 8192)
	require.NoError(t, r.end(t))
	b, err := os.ReadFile(trace)
	require.NoError(t, err)
	packets := 0
	for ; len(b) > 0; packets++ {
		num, typ, n := protowire.ConsumeField(b)
		require.Equal(t, []any{protowire.Number(1), protowire.BytesType}, []any{num, typ})
		require.Positive(t, n)
		b = b[n:]
	}
	assert.Greater(t, packets, 20)
}

// killedEnv makes the test binary uringfs, to be killed.
const killedEnv = "URINGFS_TEST_ARGS"

// TestKilledServiceLeavesAReadableTrace: who is killed has written what it did, up to the last.
func TestKilledServiceLeavesAReadableTrace(t *testing.T) {
	if args := os.Getenv(killedEnv); args != "" {
		cmd := root()
		cmd.SetArgs(strings.Split(args, "\n"))
		assert.NoError(t, cmd.ExecuteContext(t.Context()))
		return
	}
	for _, suffix := range []string{".json", ".perfetto"} {
		t.Run(suffix, func(t *testing.T) {
			trace, users := filepath.Join(t.TempDir(), "t"+suffix), filepath.Join(t.TempDir(), "users")
			require.NoError(t, passwd.Set(users, "u", "p"))
			args := []string{"smb", t.TempDir(), "--listen", "127.0.0.1:0", "--passwd-file", users, "--trace", trace}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()[:strings.Index(t.Name(), "/")]+"$")
			cmd.Env = append(os.Environ(), killedEnv+"="+strings.Join(args, "\n"), "XDG_RUNTIME_DIR="+t.TempDir())
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			kill := func() { _ = cmd.Process.Kill() } // its own child; an error says that it is gone
			t.Cleanup(kill)
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			r := &running{}
			require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(line, "ready ")), &r.ready), line)
			r.use(t, 64<<10)
			// What the client has seen is in the file, as soon as the writer gets to it.
			require.Eventually(t, func() bool { return traced(t, trace) > 10 }, patience, time.Millisecond)
			kill()
			require.Error(t, cmd.Wait())
			b, err := os.ReadFile(trace)
			require.NoError(t, err)
			assert.NotContains(t, string(b), `"end"`)
			assert.Greater(t, traced(t, trace), 10)
		})
	}
}

// traced counts the whole records of a trace. The kernel may cut the last one: while it writes, or when it kills.
func traced(t *testing.T, name string) (records int) {
	b, err := os.ReadFile(name)
	if !assert.NoError(t, err) {
		return 0
	}
	for len(b) > 0 {
		var n int
		if filepath.Ext(name) == ".perfetto" {
			var typ protowire.Type
			_, typ, n = protowire.ConsumeField(b)
			assert.True(t, n < 0 || typ == protowire.BytesType)
		} else if n = bytes.IndexByte(b, '\n') + 1; n > 0 {
			assert.True(t, json.Valid(b[:n]))
		}
		if n <= 0 {
			return records
		}
		b = b[n:]
		records++
	}
	return records
}

func TestServiceReportsATraceThatFails(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "full.json")
	require.NoError(t, os.Symlink("/dev/full", trace))
	r := start(t, t.TempDir(), "--trace", trace)
	r.use(t, 8192)
	err := r.end(t)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, "--trace "+trace)
	assert.Equal(t, exitBroken, code(err))
	assert.Contains(t, r.stderr.String(), "not whole")
}

func TestObserveFlagsThatMeanNothing(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"smb", dir, "--guest", "--trace", "x.txt"}, ".perfetto"},
		{[]string{"smb", dir, "--guest", "--trace", "perfetto"}, ".json"},
		{[]string{"smb", dir, "--guest", "--metrics", "9100"}, "HOST:PORT"},
		{[]string{"smb", dir, "--guest", "--engine-policy", "syscall"}, "auto or ring"},
		{[]string{"smb", dir, "--guest", "--loop", "epoll"}, "ring or netpoll"},
		{[]string{"smb", dir, "--guest", "--faults", "x"}, "--faults"},
		{[]string{"race", "--loop", "epoll"}, "ring or netpoll"},
		{[]string{"race", "--engine-policy", "all"}, "auto or ring"},
	} {
		cmd := root()
		cmd.SetArgs(c.args)
		cmd.SetOut(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		assert.Equal(t, exitUsage, code(err), "%v: %v", c.args, err)
		require.ErrorContains(t, err, c.says)
	}
	cmd := root()
	cmd.SetArgs([]string{"smb", dir, "--guest", "--trace", filepath.Join(dir, "none", "t.json")})
	err := cmd.ExecuteContext(t.Context())
	assert.Equal(t, exitMissing, code(err))
	require.ErrorIs(t, err, os.ErrNotExist)
}
