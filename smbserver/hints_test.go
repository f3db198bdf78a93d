package smbserver_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
	"github.com/uringfs/uringfs/smbserver/smbtest"
)

// hintShare notes what the server passes on of a client's hints.
type hintShare struct {
	*smbtest.Mem

	mu       sync.Mutex
	opens    []smbserver.OpenParams
	writes   []smbserver.WriteOptions
	uncached int // reads
}

type hintFile struct {
	smbserver.File
	s *hintShare
}

func (s *hintShare) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	f, err := s.Mem.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Path != "" {
		s.opens = append(s.opens, p)
	}
	return &hintFile{f, s}, nil
}

func (f *hintFile) WriteAt(ctx context.Context, p []byte, off int64, o smbserver.WriteOptions) (int, error) {
	f.s.mu.Lock()
	f.s.writes = append(f.s.writes, o)
	f.s.mu.Unlock()
	return f.File.WriteAt(ctx, p, off, o)
}

func (f *hintFile) ReadUncached(ctx context.Context, p []byte, off int64) (int, error) {
	f.s.mu.Lock()
	f.s.uncached++
	f.s.mu.Unlock()
	return f.ReadAt(ctx, p, off)
}

// TestHints: what a client says about durability, caching and its way through a file reaches the share, and changes no byte.
func TestHints(t *testing.T) {
	for _, q := range []struct {
		name      string
		options   smb2.CreateOptions
		dialect   smb2.Dialect
		read      uint8
		write     uint32
		through   bool // of the open
		pattern   smbserver.AccessPattern
		wantWrite smbserver.WriteOptions
		uncached  bool
	}{
		{name: "none", dialect: smb2.Dialect311},
		{name: "sequential", options: smb2.FileSequentialOnly, dialect: smb2.Dialect311, pattern: smbserver.PatternSequential},
		{name: "random", options: smb2.FileRandomAccess, dialect: smb2.Dialect202, pattern: smbserver.PatternRandom},
		{name: "both", options: smb2.FileSequentialOnly | smb2.FileRandomAccess, dialect: smb2.Dialect311},
		{
			name: "through", options: smb2.FileWriteThrough, dialect: smb2.Dialect202, through: true,
			wantWrite: smbserver.WriteOptions{Through: true},
		},
		{name: "write through", write: smb2.WriteThrough, dialect: smb2.Dialect311, wantWrite: smbserver.WriteOptions{Through: true}},
		{
			name: "unbuffered open", options: smb2.FileNoIntermediateBuffering, dialect: smb2.Dialect210,
			wantWrite: smbserver.WriteOptions{Uncached: true}, uncached: true,
		},
		{
			name: "unbuffered requests", read: smb2.ReadUnbuffered, write: smb2.WriteUnbuffered, dialect: smb2.Dialect302,
			wantWrite: smbserver.WriteOptions{Uncached: true}, uncached: true,
		},
		{name: "before there were", read: smb2.ReadUnbuffered, write: smb2.WriteUnbuffered, dialect: smb2.Dialect300},
	} {
		t.Run(q.name, func(t *testing.T) {
			s := &hintShare{Mem: smbtest.NewMem(smbtest.Options{})}
			f := start(t, func(c *smbserver.Config) { c.Shares[shareName] = s })
			c, tree := f.tree(dialects(q.dialect))
			for range 2 { // made, then found
				req := createRequest("f")
				req.Options = q.options
				file, err := tree.Create(t.Context(), req)
				require.NoError(t, err)
				s.mu.Lock()
				s.writes, s.uncached = nil, 0
				last := s.opens[len(s.opens)-1]
				s.mu.Unlock()
				assert.Equal(t, q.through, last.Through)
				assert.Equal(t, q.pattern, last.Pattern)
				_, err = c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandWrite, TreeID: tree.ID(), Body: smb2.WriteRequest{
					FileID: file.ID, Data: []byte("hello"), Flags: q.write,
				}})
				require.NoError(t, err)
				answer, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandRead, TreeID: tree.ID(), Body: smb2.ReadRequest{
					FileID: file.ID, Length: 100, Flags: q.read,
				}})
				require.NoError(t, err)
				r, err := smb2.ParseReadResponse(answer.Msg)
				require.NoError(t, err)
				assert.Equal(t, "hello", string(r.Data))
				require.NoError(t, file.Close(t.Context()))
				s.mu.Lock()
				assert.Equal(t, []smbserver.WriteOptions{q.wantWrite}, s.writes)
				assert.Equal(t, q.uncached, s.uncached > 0)
				s.mu.Unlock()
			}
		})
	}
}
