package smbserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
)

func TestReadEdges(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("ten", []byte("0123456789")))
	c, tree := f.tree()
	file := createFile(t, tree, "ten")
	for _, q := range []struct {
		name string
		req  smb2.ReadRequest
		want smb2.Status
		data string
	}{
		{"all", smb2.ReadRequest{Length: 10}, 0, "0123456789"},
		{"more than there is", smb2.ReadRequest{Length: 4096, Offset: 4}, 0, "456789"},
		{"more than there is, as the least", smb2.ReadRequest{Length: 100, Offset: 4, MinimumCount: 7}, smb2.StatusEndOfFile, ""},
		{"just enough", smb2.ReadRequest{Length: 100, Offset: 4, MinimumCount: 6}, 0, "456789"},
		{"nothing", smb2.ReadRequest{Length: 0}, 0, ""},
		{"nothing beyond the end", smb2.ReadRequest{Length: 0, Offset: 1000}, 0, ""},
		{"nothing, but at least one", smb2.ReadRequest{Length: 0, MinimumCount: 1}, smb2.StatusEndOfFile, ""},
		{"at the end", smb2.ReadRequest{Length: 1, Offset: 10}, smb2.StatusEndOfFile, ""},
		{"up to the largest offset", smb2.ReadRequest{Length: 1, Offset: math.MaxInt64 - 1}, smb2.StatusEndOfFile, ""},
		{"past the largest offset", smb2.ReadRequest{Length: 1, Offset: math.MaxInt64}, smb2.StatusInvalidParameter, ""},
		{"nothing at the largest offset", smb2.ReadRequest{Offset: math.MaxInt64}, 0, ""},
		{"nothing at a negative offset", smb2.ReadRequest{Offset: math.MaxInt64 + 1}, smb2.StatusInvalidParameter, ""},
		{"a negative offset", smb2.ReadRequest{Length: 1, Offset: math.MaxUint64}, smb2.StatusInvalidParameter, ""},
		{"unbuffered", smb2.ReadRequest{Length: 3, Flags: smb2.ReadUnbuffered}, 0, "012"},
		{"a channel", smb2.ReadRequest{Length: 3, Channel: 1}, smb2.StatusInvalidParameter, ""},
		{"a huge minimum", smb2.ReadRequest{Length: 3, MinimumCount: math.MaxUint32}, smb2.StatusEndOfFile, ""},
	} {
		q.req.FileID = file.ID
		answer, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandRead, TreeID: tree.ID(), Body: q.req, Payload: int(q.req.Length)})
		require.Equal(t, q.want, status(t, err), q.name)
		if err == nil {
			r, err := smb2.ParseReadResponse(answer.Msg)
			require.NoError(t, err)
			assert.Equal(t, q.data, string(r.Data), q.name)
		}
	}
}

func TestTransferLimits(t *testing.T) {
	for _, d := range []smb2.Dialect{smb2.Dialect202, smb2.Dialect311} {
		t.Run(d.String(), func(t *testing.T) {
			f := start(t)
			most := 64 << 10
			if d != smb2.Dialect202 {
				most = 8 << 20
			}
			c, tree := f.tree(dialects(d), func(c *smbclient.Config) { c.CreditRequest = 8192 })
			file := createFile(t, tree, "big")
			data := make([]byte, most)
			r := seed.FromTest(t)
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			n, err := file.Write(t.Context(), 0, data)
			require.NoError(t, err)
			require.Equal(t, most, n)
			got, err := file.Read(t.Context(), 0, uint32(most))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			_, err = file.Read(t.Context(), 0, uint32(most)+1)
			assert.Equal(t, smb2.StatusInvalidParameter, status(t, err), "one byte more")
			if d == smb2.Dialect202 {
				_, err = file.Write(t.Context(), 0, append(data, 0))
				assert.Equal(t, smb2.StatusInvalidParameter, status(t, err), "one byte more")
			}
			require.NoError(t, c.Echo(t.Context()))
		})
	}
}

func TestWriteEdges(t *testing.T) {
	f := start(t)
	c, tree := f.tree()
	file := createFile(t, tree, "w")
	for _, q := range []struct {
		name string
		req  smb2.WriteRequest
		want smb2.Status
		file string
	}{
		{"plain", smb2.WriteRequest{Data: []byte("hello")}, 0, "hello"},
		{"through", smb2.WriteRequest{Data: []byte("J"), Flags: smb2.WriteThrough}, 0, "Jello"},
		{"unbuffered", smb2.WriteRequest{Data: []byte("H"), Flags: smb2.WriteUnbuffered}, 0, "Hello"},
		{"nothing", smb2.WriteRequest{Offset: 500}, 0, "Hello"},
		{"behind the end", smb2.WriteRequest{Offset: 5, Data: []byte(" world")}, 0, "Hello world"},
		{"offset -1", smb2.WriteRequest{Offset: math.MaxUint64, Data: []byte("x")}, smb2.StatusInvalidParameter, "Hello world"},
		{"a negative offset", smb2.WriteRequest{Offset: math.MaxInt64 + 1}, smb2.StatusInvalidParameter, "Hello world"},
		{"nothing at the largest offset", smb2.WriteRequest{Offset: math.MaxInt64}, 0, "Hello world"},
		{"past the largest offset", smb2.WriteRequest{Offset: math.MaxInt64, Data: []byte("xx")}, smb2.StatusInvalidParameter, "Hello world"},
		{"a channel", smb2.WriteRequest{Channel: 1, Data: []byte("x")}, smb2.StatusInvalidParameter, "Hello world"},
		{"channel info", smb2.WriteRequest{ChannelInfo: make([]byte, 16), Data: []byte("x")}, smb2.StatusInvalidParameter, "Hello world"},
	} {
		q.req.FileID = file.ID
		answer, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandWrite, TreeID: tree.ID(), Body: q.req})
		require.Equal(t, q.want, status(t, err), q.name)
		if err == nil {
			r, err := smb2.ParseWriteResponse(answer.Msg)
			require.NoError(t, err)
			assert.Equal(t, len(q.req.Data), int(r.Count), q.name)
		}
		got, err := f.mem.ReadFile("w")
		require.NoError(t, err)
		assert.Equal(t, q.file, string(got), q.name)
	}
}

func TestDataNeedsAccess(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("f", []byte("0123456789")))
	_, tree := f.tree()
	open := func(access smb2.AccessMask) *smbclient.File {
		file, err := tree.Open(t.Context(), "f", access)
		require.NoError(t, err)
		return file
	}
	for _, c := range []struct {
		name               string
		access             smb2.AccessMask
		read, write, flush smb2.Status
	}{
		{"attributes", smb2.FileReadAttributes, smb2.StatusAccessDenied, smb2.StatusAccessDenied, smb2.StatusAccessDenied},
		{"read", smb2.FileReadData, 0, smb2.StatusAccessDenied, smb2.StatusAccessDenied},
		{"execute", smb2.FileExecute, 0, smb2.StatusAccessDenied, smb2.StatusAccessDenied},
		{"write", smb2.FileWriteData, smb2.StatusAccessDenied, 0, 0},
		{"append", smb2.FileAppendData, smb2.StatusAccessDenied, 0, 0},
	} {
		file := open(c.access)
		_, err := file.Read(t.Context(), 0, 1)
		assert.Equal(t, c.read, status(t, err), c.name)
		_, err = file.Write(t.Context(), 0, []byte("x"))
		assert.Equal(t, c.write, status(t, err), c.name)
		assert.Equal(t, c.flush, status(t, file.Flush(t.Context())), c.name)
		require.NoError(t, file.Close(t.Context()))
		assert.Equal(t, smb2.StatusFileClosed, status(t, file.Close(t.Context())), "twice")
	}
	got, err := f.mem.ReadFile("f")
	require.NoError(t, err)
	assert.Equal(t, "x123456789x", string(got), "append-only handles cannot overwrite")
}

func TestDirectoriesHaveNoData(t *testing.T) {
	f := start(t)
	c, tree := f.tree()
	req := createRequest("dir")
	req.Options = smb2.FileDirectoryFile
	dir, err := tree.Create(t.Context(), req)
	require.NoError(t, err)
	_, err = dir.Read(t.Context(), 0, 10)
	assert.Equal(t, smb2.StatusInvalidDeviceRequest, status(t, err))
	_, err = dir.Write(t.Context(), 0, []byte("x"))
	assert.Equal(t, smb2.StatusInvalidDeviceRequest, status(t, err))
	require.NoError(t, c.Echo(t.Context()))
}

func TestCloseReportsAttributes(t *testing.T) {
	f := start(t)
	c, tree := f.tree()
	for _, flags := range []uint16{0, smb2.ClosePostQueryAttrib} {
		file := createFile(t, tree, "f")
		_, err := file.Write(t.Context(), 0, []byte("12345"))
		require.NoError(t, err)
		answer, err := c.RoundTrip(t.Context(), smbclient.Request{
			Command: smb2.CommandClose, TreeID: tree.ID(), Body: smb2.CloseRequest{Flags: flags, FileID: file.ID},
		})
		require.NoError(t, err)
		r, err := smb2.ParseCloseResponse(answer.Msg)
		require.NoError(t, err)
		assert.Equal(t, flags, r.Flags)
		assert.Equal(t, int64(5)*int64(flags), r.EndOfFile)
		assert.Equal(t, flags != 0, r.LastWriteTime != 0)
	}
	assert.Zero(t, f.Stats().OpenFiles)
	assert.Zero(t, f.mem.Opens())
}

// lender is a share whose files lend their content by reference: the payload reads the file when it is sent, not
// before, so that a test can tell the paths apart.
type lender struct {
	smbserver.Share

	released atomic.Int64
	refuse   atomic.Bool
}

func (l *lender) Open(ctx context.Context, p smbserver.OpenParams) (smbserver.File, error) {
	f, err := l.Share.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return &lent{f, l}, nil
}

type lent struct {
	smbserver.File
	l *lender
}

func (f *lent) Reference(ctx context.Context, off int64, n int) (smbserver.Payload, error) {
	if f.l.refuse.Load() {
		return nil, syscall.EMFILE
	}
	a, err := f.Attr(ctx)
	if err != nil {
		return nil, err
	}
	return &loan{f: f, off: off, n: int(max(0, min(int64(n), a.Size-off)))}, nil
}

type loan struct {
	f   *lent
	off int64
	n   int
}

func (p *loan) Len() int { return p.n }
func (p *loan) Release() { p.f.l.released.Add(1) }

// sender sends loans.
type sender struct{ net.Conn }

func (s sender) SendPayload(ctx context.Context, head []byte, p smbserver.Payload) error {
	l, ok := p.(*loan)
	if !ok {
		return errors.New("payload of another share")
	}
	b := append(bytes.Clone(head), make([]byte, l.n)...)
	if _, err := l.f.ReadAt(ctx, b[len(head):], l.off); err != nil {
		return err
	}
	_, err := s.Write(b)
	return err
}

func lending(l *lender) func(*smbserver.Config) {
	return func(c *smbserver.Config) {
		l.Share = c.Shares[shareName]
		c.Shares = map[string]smbserver.Share{shareName: l}
		c.ReadPath = "unsafe-splice"
		c.Transport = func(conn net.Conn) smbserver.Transport { return sender{conn} }
	}
}

func TestReadPaths(t *testing.T) {
	data := bytes.Repeat([]byte("uringfs "), 1<<13)
	compound := func(c *smbclient.Client, tree *smbclient.Tree) (smbclient.Response, error) {
		_, err := c.Send(t.Context(),
			smbclient.Request{Command: smb2.CommandCreate, TreeID: tree.ID(), Body: createRequest("f")},
			smbclient.Request{Command: smb2.CommandRead, TreeID: tree.ID(), Related: true, Body: smb2.ReadRequest{FileID: smb2.FileIDAny(), Length: 65536}, Payload: 65536})
		if err != nil {
			return smbclient.Response{}, err
		}
		answers, err := c.Recv(t.Context())
		if err != nil {
			return smbclient.Response{}, err
		}
		if len(answers) != 2 {
			return smbclient.Response{}, fmt.Errorf("%d answers", len(answers))
		}
		return answers[1], nil
	}
	plain := func(n uint32) func(*smbclient.Client, *smbclient.Tree) (smbclient.Response, error) {
		return func(c *smbclient.Client, tree *smbclient.Tree) (smbclient.Response, error) {
			file, err := tree.Open(t.Context(), "f", smb2.FileReadData)
			if err != nil {
				return smbclient.Response{}, err
			}
			return c.RoundTrip(t.Context(), file.ReadRequest(0, n))
		}
	}
	for _, c := range []struct {
		name   string
		server []func(*smbserver.Config)
		sign   bool
		refuse bool
		read   func(*smbclient.Client, *smbclient.Tree) (smbclient.Response, error)
		path   string
		reason string
	}{
		{"unsigned and alone", nil, false, false, plain(65536), "unsafe-splice", ""},
		{"signed", nil, true, false, plain(65536), "copy", "signed"},
		{"in a compound", nil, false, false, compound, "copy", "compound"},
		{"small", nil, false, false, plain(4095), "copy", "small"},
		{"a file that cannot lend now", nil, false, true, plain(65536), "copy", "reference"},
		{"a transport that cannot", []func(*smbserver.Config){func(c *smbserver.Config) { c.Transport = nil }}, false, false, plain(65536), "copy", "transport"},
		{"by policy copy", []func(*smbserver.Config){readPath("copy")}, false, false, plain(65536), "copy", ""},
		{"by policy auto", []func(*smbserver.Config){readPath("auto")}, false, false, plain(65536), "copy", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lender{}
			f := start(t, append([]func(*smbserver.Config){lending(l)}, c.server...)...)
			l.refuse.Store(c.refuse)
			require.NoError(t, f.mem.WriteFile("f", data))
			client, tree := f.tree(func(cfg *smbclient.Config) { cfg.Sign = c.sign })
			for range 3 {
				answer, err := c.read(client, tree)
				require.NoError(t, err)
				r, err := smb2.ParseReadResponse(answer.Msg)
				require.NoError(t, err)
				require.True(t, bytes.HasPrefix(data, r.Data))
				require.NotEmpty(t, r.Data)
			}
			s := f.Stats()
			assert.Equal(t, int64(3), s.Paths[c.path].PDUs)
			if c.reason == "" {
				assert.Empty(t, s.Refusals)
			} else {
				assert.Equal(t, map[string]int64{c.reason: 3}, s.Refusals)
				assert.Equal(t, 1, bytes.Count([]byte(f.log.String()), []byte("read path refused")), "logged once")
			}
			if c.path == "unsafe-splice" {
				assert.Equal(t, int64(3), l.released.Load())
				assert.Equal(t, int64(3*65536), s.Paths[c.path].Bytes)
			}
		})
	}
}

func TestLentReadsAtTheEnd(t *testing.T) {
	l := &lender{}
	f := start(t, lending(l))
	require.NoError(t, f.mem.WriteFile("f", make([]byte, 5000)))
	c, tree := f.tree()
	file := createFile(t, tree, "f")
	got, err := file.Read(t.Context(), 0, 65536)
	require.NoError(t, err)
	assert.Len(t, got, 5000)
	_, err = file.Read(t.Context(), 5000, 65536)
	assert.Equal(t, smb2.StatusEndOfFile, status(t, err))
	answer, err := c.RoundTrip(t.Context(), smbclient.Request{
		Command: smb2.CommandRead, TreeID: tree.ID(), Body: smb2.ReadRequest{FileID: file.ID, Length: 65536, MinimumCount: 5001}, Payload: 65536,
	})
	assert.Equal(t, smb2.StatusEndOfFile, status(t, err), "%+v", answer.Header)
	assert.Equal(t, int64(3), l.released.Load(), "each loan is given back, empty and refused ones too")
}

// The independent client: files of many sizes, in every dialect, signed and not.
func TestIndependentClient(t *testing.T) {
	for _, d := range allDialects() {
		for _, sign := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/sign=%t", d, sign), func(t *testing.T) {
				f := start(t)
				s, share := f.mount(sign, uint16(d))
				r := seed.FromTest(t)
				require.NoError(t, share.Mkdir("dir", 0o755))
				for _, n := range []int{0, 1, 4095, 65536, 65537, 1<<20 + 3, 3 << 20} {
					name := fmt.Sprintf(`dir\%d`, n)
					data := make([]byte, n)
					for i := 0; i < n; i += 7 {
						data[i] = byte(r.Uint32())
					}
					require.NoError(t, share.WriteFile(name, data, 0o644))
					got, err := share.ReadFile(name)
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, got), "%d bytes", n)
					at, err := share.Open(name)
					require.NoError(t, err)
					part := make([]byte, 1000)
					m, err := at.ReadAt(part, int64(n/2))
					if !errors.Is(err, io.EOF) {
						require.NoError(t, err)
						require.True(t, m == len(part) || m == n-n/2, "%d bytes of %d", m, n)
					}
					require.True(t, bytes.Equal(data[n/2:][:m], part[:m]))
					require.NoError(t, at.Close())
				}
				list, err := share.ReadDir("dir")
				require.NoError(t, err)
				assert.Len(t, list, 7)
				require.NoError(t, share.Rename(`dir\1`, `dir\one`))
				require.NoError(t, share.Remove(`dir\one`))
				_, err = share.Stat(`dir\one`)
				require.ErrorIs(t, err, os.ErrNotExist)
				require.NoError(t, share.Umount())
				require.NoError(t, s.Logoff())
			})
		}
	}
}
