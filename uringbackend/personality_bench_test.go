//go:build linux

package uringbackend_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	. "github.com/uringfs/uringfs/uringbackend"
)

// BenchmarkCreds is the price of the two ways to act as another user, next to the same op without credentials: through
// the ring with a personality, and on a thread (engine=syscall). One op at a time, and as many as there are processors
// and more.
func BenchmarkCreds(b *testing.B) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	caller := &Creds{Valid: true, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if os.Geteuid() == 0 {
		caller.UID, caller.GID, caller.Groups = 1001, 1002, []uint32{1003, 1004}
	}
	for _, name := range []string{"syscall", "ring"} {
		e, err := Open(name, Probe(b.TempDir()), Config{})
		if err != nil {
			b.Logf("%s: %v", name, err)
			continue
		}
		dir := b.TempDir()
		require.NoError(b, os.Chmod(dir, 0o777))
		fd, err := e.Openat2(b.Context(), unix.AT_FDCWD, dir, unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
		require.NoError(b, err)
		for _, c := range []struct {
			name string
			e    Engine
		}{{"none", e}, {"own", e.As(caller)}} {
			run := func(b *testing.B, verb, file string) error {
				var st unix.Statx_t
				switch verb {
				case "statx":
					return c.e.Statx(b.Context(), fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
				default:
					how := unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: 0o600}
					made, err := c.e.Openat2(b.Context(), fd, file, how)
					if err != nil {
						return err
					}
					_ = unix.Close(made)
					return unix.Unlinkat(fd, file, 0)
				}
			}
			for _, verb := range []string{"create", "statx"} {
				b.Run(fmt.Sprintf("verb=%s/engine=%s/creds=%s/goroutines=1", verb, name, c.name), func(b *testing.B) {
					for b.Loop() {
						require.NoError(b, run(b, verb, "f"))
					}
				})
				b.Run(fmt.Sprintf("verb=%s/engine=%s/creds=%s/goroutines=32", verb, name, c.name), func(b *testing.B) {
					b.SetParallelism(16)
					b.RunParallel(func(pb *testing.PB) {
						file := fmt.Sprintf("f%p", pb)
						for pb.Next() {
							require.NoError(b, run(b, verb, file))
						}
					})
				})
			}
		}
		require.NoError(b, unix.Close(fd))
		require.NoError(b, e.Close())
	}
}
