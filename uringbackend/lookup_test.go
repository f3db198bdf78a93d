//go:build linux

package uringbackend_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

const listedXattr = "user.listed"

// TestLookupMany holds the batch against single calls, over names of each kind, on each engine and without openat2.
func TestLookupMany(t *testing.T) {
	features := Probe(t.TempDir())
	old := features
	old.Openat2Beneath = Ability{Answer: No}
	for name, c := range map[string]struct {
		engine   string
		features Features
		refuse   bool
	}{
		"ring": {"ring", features, false}, "syscall": {"syscall", features, false},
		"no_openat2": {"syscall", old, false}, "refusing": {"ring", features, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e, err := Open(c.engine, c.features, Config{Strict: true})
			require.NoError(t, err)
			cfg := VolumeConfig{Engine: e}
			if c.refuse {
				var proc unix.Stat_t
				require.NoError(t, unix.Stat("/proc", &proc))
				cfg.RefuseDevices = []uint64{proc.Dev}
			}
			v, err := OpenVolume(t.Context(), dir, cfg)
			require.NoError(t, err)
			defer func() {
				require.NoError(t, v.CheckForTest())
				require.NoError(t, v.Close())
				require.NoError(t, e.Close())
			}()
			names := []string{"missing", "..", "", "a/b", "link", "dir"}
			require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "dir"), 0o700))
			for i := range 40 {
				name := fmt.Sprintf("file-%d", i)
				path := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(path, make([]byte, i), 0o600))
				if i%3 == 0 {
					require.NoError(t, unix.Setxattr(path, listedXattr, []byte(strconv.Itoa(i)), 0))
				}
				names = append(names, name)
			}
			names = append(names, "file-3", "file-3") // twice in one batch
			w := v.View(OriginLab)
			root := w.Root()
			defer root.Release()
			held, _, err := w.Lookup(t.Context(), root, "file-5") // one that is known already
			require.NoError(t, err)
			defer held.Release()
			for _, size := range []int{len(names), 8, 3, 1} {
				for some := range slices.Chunk(names, size) {
					var refs []*Ref
					for i, f := range w.LookupMany(t.Context(), root, some, LookupOptions{Xattr: listedXattr, Size: 16}) {
						r, st, err := w.Lookup(t.Context(), root, some[i])
						require.Equal(t, err, f.Err, some[i])
						if err != nil {
							assert.Nil(t, f.Ref)
							continue
						}
						assert.Same(t, r, f.Ref, some[i])
						assert.Equal(t, st, f.Stat, some[i])
						buf := make([]byte, 16)
						n, err := w.Getxattr(t.Context(), r, listedXattr, buf)
						assert.Equal(t, err, f.XattrErr, some[i])
						assert.Equal(t, string(buf[:n]), string(f.Xattr))
						refs = append(refs, f.Ref)
						r.Release()
					}
					require.NoError(t, v.CheckForTest())
					w.ReleaseMany(refs)
				}
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			gone := w.LookupMany(ended, root, names, LookupOptions{})
			for i, f := range gone {
				if checked := w.LookupMany(t.Context(), root, names[i:i+1], LookupOptions{})[0]; checked.Err == nil {
					checked.Ref.Release()
					assert.Equal(t, unix.ECANCELED, f.Err, names[i])
				}
			}
		})
	}
}

// TestReadDirRewinds: a caller who has looked ahead goes on where it likes, and sees each name once.
func TestReadDirRewinds(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 { // several reads of the directory
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("a-rather-long-name-of-a-file-%d", i)), nil, 0o600))
	}
	e, err := Open("auto", Probe(dir), Config{Strict: true})
	require.NoError(t, err)
	v, err := OpenVolume(t.Context(), dir, VolumeConfig{Engine: e})
	require.NoError(t, err)
	w := v.View(OriginLab)
	root := w.Root()
	h, err := w.Open(t.Context(), root, unix.O_RDONLY|unix.O_DIRECTORY)
	require.NoError(t, err)
	seen := make(map[string]int)
	for cookie := int64(0); ; {
		n := 0
		require.NoError(t, h.ReadDir(t.Context(), cookie, func(d Dirent) bool {
			if n++; n <= 50 { // and 14 looked at in vain
				seen[d.Name]++
				cookie = d.Cookie
			}
			return n < 64
		}))
		if n == 0 {
			break
		}
	}
	assert.Len(t, seen, 3000+2)
	for name, times := range seen {
		assert.Equal(t, 1, times, name)
	}
	require.NoError(t, h.Close(t.Context()))
	root.Release()
	require.NoError(t, v.Close())
	require.NoError(t, e.Close())
}

// BenchmarkListing is a directory with attributes and an extended attribute of each entry: one by one, and by batches.
// On ext4 (root); "cold" after the inodes were dropped.
func BenchmarkListing(b *testing.B) {
	dir := policyDir(b, "ext4")
	if dir == "" {
		return
	}
	{
		e, err := Open("ring", Probe(dir), Config{})
		require.NoError(b, err)
		for _, count := range []int{1000, 10000} {
			top := filepath.Join(dir, strconv.Itoa(count))
			require.NoError(b, os.Mkdir(top, 0o700))
			names := make([]string, count)
			for i := range names {
				names[i] = fmt.Sprintf("file-%d", i)
				path := filepath.Join(top, names[i])
				require.NoError(b, os.WriteFile(path, nil, 0o600))
				require.NoError(b, unix.Setxattr(path, listedXattr, []byte("1 20 0"), 0))
			}
			v, err := OpenVolume(b.Context(), top, VolumeConfig{Engine: e})
			require.NoError(b, err)
			w := v.View(OriginLab)
			root := w.Root()
			single := func() {
				buf := make([]byte, 64)
				for _, name := range names {
					r, _, err := w.Lookup(b.Context(), root, name)
					require.NoError(b, err)
					_, err = w.Getxattr(b.Context(), r, listedXattr, buf)
					require.NoError(b, err)
					r.Release()
				}
			}
			batches := func(size int) func() {
				return func() {
					for some := range slices.Chunk(names, size) {
						found := w.LookupMany(b.Context(), root, some, LookupOptions{Xattr: listedXattr, Size: 64})
						refs := make([]*Ref, len(found))
						for i, f := range found {
							require.NoError(b, f.Err)
							require.NoError(b, f.XattrErr)
							refs[i] = f.Ref
						}
						w.ReleaseMany(refs)
					}
				}
			}
			ways := []struct {
				name string
				run  func()
			}{{"single", single}, {"batch8", batches(8)}, {"batch32", batches(32)}, {"batch64", batches(64)}}
			for _, cache := range []string{"hot", "cold"} {
				b.Run(fmt.Sprintf("entries=%d/cache=%s", count, cache), func(b *testing.B) {
					for b.Loop() {
						samples := make([][]float64, len(ways))
						for round := range policyRounds + 1 {
							for i, way := range ways {
								if cache == "cold" {
									unix.Sync()
									require.NoError(b, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0))
								}
								start := time.Now()
								way.run()
								if round > 0 {
									samples[i] = append(samples[i], float64(time.Since(start).Nanoseconds())/float64(count))
								}
							}
						}
						for i, way := range ways {
							slices.Sort(samples[i])
							b.ReportMetric(samples[i][policyRounds/2], way.name+"-ns")
						}
					}
				})
			}
			root.Release()
			require.NoError(b, v.Close())
		}
		require.NoError(b, e.Close())
	}
}
