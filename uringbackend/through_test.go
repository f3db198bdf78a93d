//go:build linux

package uringbackend_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
	"github.com/uringfs/uringfs/uringbackend/enginetest"
)

// opened is a file "f" of a Volume in dir on e, opened with flags.
func opened(t *testing.T, e Engine, dir string, content []byte, flags int) *Handle {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), content, 0o600))
	v, err := OpenVolume(t.Context(), dir, VolumeConfig{Engine: e})
	require.NoError(t, err)
	w := v.View(OriginLab)
	r, _, err := w.Resolve(t.Context(), "f", false)
	require.NoError(t, err)
	h, err := w.Open(t.Context(), r, flags)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil {
			assert.ErrorIs(t, err, unix.ECANCELED) // the test's context has ended, and the close goes on
		}
		r.Release()
		assert.NoError(t, v.CheckForTest())
		assert.NoError(t, v.Close())
		assert.NoError(t, e.Close())
	})
	return h
}

func engineFor(t *testing.T, name, dir string) Engine {
	t.Helper()
	f := Probe(dir)
	if name == "ring" {
		enginetest.Require(t, f.Ring)
	}
	e, err := Open(name, f, Config{Strict: true})
	require.NoError(t, err)
	return e
}

func ops(e Engine, verb string) int { c := e.Counts()[verb]; return int(c.Ring + c.Syscall) }

// TestDurableChanges: through a handle with O_DSYNC a change of length is followed by an fsync in the same Submit, which
// runs only if the change was made, and whose error is the outcome.
func TestDurableChanges(t *testing.T) {
	for _, engine := range []string{"ring", "syscall"} {
		for _, c := range []struct {
			name  string
			flags int
			rules []FaultRule
			want  error
			syncs int // carried out, of two changes
		}{
			{"durable", unix.O_RDWR | unix.O_DSYNC, nil, nil, 2},
			{"sync", unix.O_RDWR | unix.O_SYNC, nil, nil, 2},
			{"plain", unix.O_RDWR, nil, nil, 0},
			{"fsync_fails", unix.O_RDWR | unix.O_DSYNC, []FaultRule{{Kind: KindFsync, Fault: FaultErrno, Errno: unix.EIO, Probability: 1}}, unix.EIO, 0},
			{
				"change_fails", unix.O_RDWR | unix.O_DSYNC, []FaultRule{
					{Kind: KindFtruncate, Fault: FaultErrno, Errno: unix.EDQUOT, Probability: 1},
					{Kind: KindFallocate, Fault: FaultErrno, Errno: unix.EDQUOT, Probability: 1},
				}, unix.EDQUOT, 0,
			},
		} {
			t.Run(engine+"/"+c.name, func(t *testing.T) {
				dir := t.TempDir()
				e := Faulty(engineFor(t, engine, dir), Faults{Rules: c.rules})
				h := opened(t, e, dir, []byte("0123456789"), c.flags)
				require.ErrorIs(t, h.Truncate(t.Context(), 5), c.want)
				require.ErrorIs(t, h.Allocate(t.Context(), unix.FALLOC_FL_KEEP_SIZE, 0, 8192), c.want)
				assert.Equal(t, c.syncs, ops(e, "fsync"))
				if c.want == nil {
					st, err := h.Stat(t.Context())
					require.NoError(t, err)
					assert.EqualValues(t, 5, st.Size)
				}
			})
		}
	}
}

// TestDurableWrites: the write waits for the disk itself, also where the engine cuts it short, and no small one of those
// is taken for one that does not wait.
func TestDurableWrites(t *testing.T) {
	data := bytes.Repeat([]byte("durable"), 3000)
	for name, c := range map[string]struct {
		flags int
		o     WriteOptions
	}{
		"asked": {unix.O_RDWR, WriteOptions{DataSync: true}}, "handle": {unix.O_RDWR | unix.O_SYNC, WriteOptions{}},
		"appended": {unix.O_RDWR | unix.O_APPEND | unix.O_DSYNC, WriteOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			short := Faults{Seed: 7, Rules: []FaultRule{{Kind: KindWriteAt, Fault: FaultShort, Probability: 0.6}}}
			e := Faulty(engineFor(t, "ring", dir), short)
			h := opened(t, e, dir, nil, c.flags)
			n, err := h.WriteAt(t.Context(), data, 0, c.o)
			require.NoError(t, err)
			assert.Equal(t, len(data), n)
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			require.NoError(t, err)
			assert.Equal(t, data, got)
			assert.Zero(t, e.Counts()["write_at"].Syscall, "a small write that waits was made inline")
		})
	}
}

// TestAppendLooksOnce: from the second on, an append asks for the size once, under its hold; and it is right when the
// file became shorter or longer meanwhile.
func TestAppendLooksOnce(t *testing.T) {
	dir := t.TempDir()
	e := engineFor(t, "ring", dir)
	h := opened(t, e, dir, []byte("start "), unix.O_RDWR|unix.O_APPEND)
	add := func(s string) {
		t.Helper()
		n, err := h.WriteAt(t.Context(), []byte(s), 0, WriteOptions{})
		require.NoError(t, err)
		require.Equal(t, len(s), n)
	}
	add("one ")
	before := ops(e, "statx")
	add("two ")
	add("three ")
	assert.Equal(t, before+2, ops(e, "statx"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("short "), 0o600))
	add("four ")
	require.NoError(t, os.Truncate(filepath.Join(dir, "f"), 20))
	add("five")
	got, err := os.ReadFile(filepath.Join(dir, "f"))
	require.NoError(t, err)
	assert.Equal(t, "short four \x00\x00\x00\x00\x00\x00\x00\x00\x00five", string(got))
}

// TestDirectHandle: a handle with O_DIRECT reads any range into any memory, and writes whole blocks from any memory. No
// read tries the page cache first.
func TestDirectHandle(t *testing.T) {
	for _, engine := range []string{"ring", "syscall"} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			e := engineFor(t, engine, dir)
			content := make([]byte, 1<<20+777)
			for i := range content {
				content[i] = byte(i * 7 >> 3)
			}
			h := opened(t, e, dir, content, unix.O_RDWR|unix.O_DIRECT)
			for _, c := range []struct{ off, n int }{
				{0, 4096}, {1, 1}, {4095, 2}, {511, 70_000}, {1 << 20, 4096}, {len(content) - 3, 100}, {len(content) + 5000, 10}, {3, len(content)},
			} {
				p := make([]byte, c.n+1)[1:]
				n, err := h.ReadAt(t.Context(), p, int64(c.off))
				require.NoError(t, err)
				from := min(c.off, len(content))
				require.Equal(t, content[from:min(from+c.n, len(content))], p[:n], "%d bytes at %d", c.n, c.off)
			}
			if engine == "ring" {
				assert.Zero(t, e.Counts()["read_at"].Syscall, "the page cache was asked")
			}
			odd := bytes.Repeat([]byte{0xAB}, 8193)[1:]
			n, err := h.WriteAt(t.Context(), odd, 8192, WriteOptions{})
			require.NoError(t, err)
			assert.Equal(t, 8192, n)
			got := make([]byte, 8192)
			_, err = h.ReadAt(t.Context(), got, 8192)
			require.NoError(t, err)
			assert.Equal(t, odd, got)
			_, err = h.WriteAt(t.Context(), odd[:100], 1, WriteOptions{})
			require.ErrorIs(t, err, unix.EINVAL)
		})
	}
}

// TestUncached: data that is not to stay in the page cache does not, where the file system can; otherwise, and where
// only the volume's root could, reads and writes are the ordinary ones.
func TestUncached(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "uncached") //nolint:usetesting // of that file system
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(shm)) })
	dir := t.TempDir()
	probed := Probe(dir)
	without, claimed := probed, probed
	without.RWFDontCache = Ability{Answer: No}
	claimed.RWFDontCache = Ability{Answer: Yes}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for name, c := range map[string]struct {
		dir      string
		features Features
		drops    bool
	}{
		"as_it_is": {dir, probed, probed.RWFDontCache.Answer == Yes && probed.Cachestat.Answer == Yes}, "without": {dir, without, false},
		"tmpfs_cannot": {shm, claimed, false},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Open("auto", c.features, Config{Strict: true})
			require.NoError(t, err)
			h := opened(t, e, c.dir, content, unix.O_RDWR)
			require.NoError(t, h.Sync(t.Context(), false))
			require.NoError(t, h.Advise(t.Context(), unix.FADV_DONTNEED))
			got := make([]byte, len(content))
			n, err := h.ReadUncached(t.Context(), got, 0)
			require.NoError(t, err)
			assert.Equal(t, content, got[:n])
			if c.drops {
				st, err := e.Cachestat(t.Context(), h.Fd(), 0, 0)
				require.NoError(t, err)
				assert.Less(t, int(st.Cache), len(content)/4096, "what was read is still cached")
			}
			n, err = h.WriteAt(t.Context(), []byte("changed"), 5, WriteOptions{Uncached: true})
			require.NoError(t, err)
			assert.Equal(t, 7, n)
			_, err = h.ReadAt(t.Context(), got[:16], 0)
			require.NoError(t, err)
			assert.Equal(t, "01234changedcdef", string(got[:16]))
		})
	}
}

// TestPolicyRows: the policy says for each verb how it goes and why, on each engine.
func TestPolicyRows(t *testing.T) {
	features := Probe(t.TempDir())
	for name, c := range map[string]struct {
		engine, policy string
		features       Features
		want           map[string]Road
	}{
		"auto": {"ring", "auto", features, map[string]Road{
			"read_at": RoadCached, "write_at": RoadSmall, "fsync": RoadRing, "openat2": RoadBatch, "getdents": RoadInline,
		}},
		"forced":     {"ring", "ring", features, map[string]Road{"read_at": RoadRing, "statx": RoadRing, "getdents": RoadInline}},
		"old_kernel": {"ring", "auto", features.WithoutOpcodeForTest(KindFtruncate), map[string]Road{"ftruncate": RoadInline}},
		"syscall":    {"syscall", "auto", features, map[string]Road{"read_at": RoadInline, "fsync": RoadInline}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.engine == "ring" {
				enginetest.Require(t, features.Ring)
			}
			e, err := Open(c.engine, c.features, Config{Policy: c.policy})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			got := make(map[string]Road)
			for _, row := range e.Policy() {
				assert.NotEmpty(t, row.Why, row.Verb)
				got[row.Verb] = row.Road
			}
			assert.Len(t, got, len(Kinds()))
			for verb, road := range c.want {
				assert.Equal(t, road, got[verb], verb)
			}
		})
	}
}

// TestSmallWrites: a small write alone is a system call, a large one, a durable one, and many at once go by the ring.
func TestSmallWrites(t *testing.T) {
	dir := t.TempDir()
	e := engineFor(t, "ring", dir)
	h := opened(t, e, dir, nil, unix.O_RDWR)
	counted := func(write func()) (ring, syscall uint64) {
		before := e.Counts()["write_at"]
		write()
		after := e.Counts()["write_at"]
		return after.Ring - before.Ring, after.Syscall - before.Syscall
	}
	for _, c := range []struct {
		name          string
		n, ops        int
		flags         int
		ring, syscall uint64
	}{
		{"small", 4096, 1, 0, 0, 1},
		{"large", 1 << 20, 1, 0, 1, 0},
		{"durable", 4096, 1, unix.RWF_DSYNC, 1, 0},
		{"a few", 4096, 3, 0, 0, 3},
		{"many", 4096, 8, 0, 8, 0},
	} {
		batch := make([]Op, c.ops)
		for i := range batch {
			batch[i] = Op{Kind: KindWriteAt, FD: h.Fd(), Buf: make([]byte, c.n), Flags: c.flags}
		}
		ring, syscall := counted(func() {
			e.Submit(t.Context(), batch, func(_, n int, _ bool, err error) {
				assert.NoError(t, err, c.name)
				assert.Equal(t, c.n, n, c.name)
			})
		})
		assert.Equal(t, []uint64{c.ring, c.syscall}, []uint64{ring, syscall}, c.name)
	}
}
