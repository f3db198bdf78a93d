package smbserver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/smbserver"
)

// sendAll sends one frame and returns the answers, whatever number of frames they come in.
func sendAll(t *testing.T, c *smbclient.Client, reqs ...smbclient.Request) []smbclient.Response {
	t.Helper()
	ids, err := c.Send(t.Context(), reqs...)
	require.NoError(t, err)
	var list []smbclient.Response
	for len(list) < len(ids) {
		answers, err := c.Recv(t.Context())
		require.NoError(t, err)
		list = append(list, answers...)
	}
	require.Len(t, list, len(ids))
	for i, a := range list {
		assert.Equal(t, ids[i], a.Header.MessageID)
		assert.Equal(t, reqs[i].Command, a.Header.Command)
	}
	return list
}

func statuses(list []smbclient.Response) []smb2.Status {
	var out []smb2.Status
	for _, a := range list {
		out = append(out, a.Header.Status)
	}
	return out
}

// step builds requests of a chain on one tree; related is set for all but the first.
type step struct{ tree *smbclient.Tree }

func (s step) request(cmd smb2.Command, body smbclient.Appender, related bool) smbclient.Request {
	return smbclient.Request{Command: cmd, TreeID: s.tree.ID(), Body: body, Related: related}
}

func (s step) create(name string, d smb2.Disposition, related bool) smbclient.Request {
	r := createRequest(name)
	r.Disposition = d
	return s.request(smb2.CommandCreate, r, related)
}

func (s step) read(id smb2.FileID, n uint32, related bool) smbclient.Request {
	r := s.request(smb2.CommandRead, smb2.ReadRequest{FileID: id, Length: n}, related)
	r.Payload = int(n)
	return r
}

func (s step) close(id smb2.FileID, related bool) smbclient.Request {
	return s.request(smb2.CommandClose, smb2.CloseRequest{FileID: id}, related)
}

func TestCompoundRelated(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("f", []byte("content")))
	c, tree := f.tree()
	s, last := step{tree}, smb2.FileIDAny()
	missing := smb2.StatusObjectNameNotFound

	answers := sendAll(t, c, s.create("f", smb2.FileOpen, false), s.read(last, 100, true), s.close(last, true))
	assert.Equal(t, []smb2.Status{0, 0, 0}, statuses(answers))
	r, err := smb2.ParseReadResponse(answers[1].Msg)
	require.NoError(t, err)
	assert.Equal(t, "content", string(r.Data))
	assert.False(t, answers[0].Header.Flags.Has(smb2.FlagRelated))
	assert.True(t, answers[1].Header.Flags.Has(smb2.FlagRelated))

	assert.Equal(t, []smb2.Status{missing, missing, missing},
		statuses(sendAll(t, c, s.create("none", smb2.FileOpen, false), s.read(last, 100, true), s.close(last, true))),
		"all members of a failing chain fail the same way")
	assert.Equal(t, []smb2.Status{0, smb2.StatusEndOfFile, 0},
		statuses(sendAll(t, c, s.create("empty", smb2.FileCreate, false), s.read(last, 100, true), s.close(last, true))),
		"a failed READ does not keep the file open")
	assert.Equal(t, []smb2.Status{0, 0, smb2.StatusFileClosed},
		statuses(sendAll(t, c, s.create("f", smb2.FileOpen, false), s.close(last, true), s.read(last, 100, true))),
		"after its CLOSE")
	assert.Equal(t, []smb2.Status{0, smb2.StatusInvalidHandle},
		statuses(sendAll(t, c, smbclient.Request{Command: smb2.CommandTreeConnect, Body: smb2.TreeConnectRequest{Path: `\\s\data`}}, s.read(last, 100, true))),
		"nothing named a file")
	assert.Equal(t, []smb2.Status{missing, 0, 0},
		statuses(sendAll(t, c, s.create("none", smb2.FileOpen, false), s.create("f", smb2.FileOpen, true), s.close(last, true))),
		"a second CREATE starts afresh")
	assert.Zero(t, f.Stats().OpenFiles)

	file := createFile(t, tree, "f")
	answers = sendAll(t, c, s.read(file.ID, 100, false), s.read(last, 3, true), s.close(last, true))
	assert.Equal(t, []smb2.Status{0, 0, 0}, statuses(answers), "a READ names the file for those after it")
}

// Each element is checked against the state as it is then, not as it was at the beginning of the chain.
func TestCompoundAfterItsTreeIsGone(t *testing.T) {
	f := start(t)
	c, tree := f.tree()
	file := createFile(t, tree, "f")
	s := step{tree}
	assert.Equal(t, []smb2.Status{0, smb2.StatusNetworkNameDeleted, smb2.StatusInvalidParameter},
		statuses(sendAll(t, c,
			s.request(smb2.CommandTreeDisconnect, smb2.TreeDisconnectRequest{}, false),
			s.read(file.ID, 1, true),
			s.read(file.ID, 1, true))))
	assert.Zero(t, f.Stats().OpenFiles)
	c, tree = f.tree()
	file = createFile(t, tree, "f")
	s = step{tree}
	assert.Equal(t, []smb2.Status{0, smb2.StatusUserSessionDeleted, smb2.StatusInvalidParameter},
		statuses(sendAll(t, c,
			s.request(smb2.CommandLogoff, smb2.LogoffRequest{}, false),
			s.read(file.ID, 1, true),
			s.read(file.ID, 1, true))))
	assert.Zero(t, f.Stats().OpenFiles)
}

func TestCompoundUnrelated(t *testing.T) {
	f := start(t)
	c, tree := f.tree()
	file := createFile(t, tree, "f")
	s := step{tree}
	other := s.close(file.ID, false)
	other.TreeID = 999
	assert.Equal(t, []smb2.Status{smb2.StatusObjectNameNotFound, smb2.StatusFileClosed, 0, smb2.StatusNetworkNameDeleted, 0, 0},
		statuses(sendAll(t, c,
			s.create("none", smb2.FileOpen, false),
			s.read(smb2.FileIDAny(), 10, false),
			s.request(smb2.CommandEcho, smb2.EchoRequest{}, false),
			other,
			s.request(smb2.CommandFlush, smb2.FlushRequest{FileID: file.ID}, false),
			s.close(file.ID, false),
		)))
}

// What Windows and smbd do with chains that follow each other, and with what should not be there: smbtorture's
// smb2.compound.invalid1 to invalid4 and related5, without the encryption that some of them want.
func TestCompoundChainsInOneFrame(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("f", []byte("content")))
	c, tree := f.tree()
	s, last, bad, closed := step{tree}, smb2.FileIDAny(), smb2.StatusInvalidParameter, smb2.StatusFileClosed
	echo := func(related bool) smbclient.Request { return s.request(smb2.CommandEcho, smb2.EchoRequest{}, related) }
	elsewhere := s.close(last, false)
	elsewhere.TreeID = 0xFFFFFFFF
	for _, q := range []struct {
		name string
		reqs []smbclient.Request
		want []smb2.Status
	}{
		{
			"the first is related",
			[]smbclient.Request{s.create("f", smb2.FileOpen, true), s.close(last, true), s.close(last, false)},
			[]smb2.Status{bad, bad, closed},
		},
		{"so is all that follows", []smbclient.Request{echo(true), echo(true), echo(false), echo(true)}, []smb2.Status{bad, bad, 0, 0}},
		{
			"an unrelated one ends the chain",
			[]smbclient.Request{s.create("f", smb2.FileOpen, false), s.close(last, true), s.read(last, 1, false), s.read(last, 1, true)},
			[]smb2.Status{0, 0, closed, closed},
		},
		{
			"no file to begin with",
			[]smbclient.Request{s.request(smb2.CommandIoctl, smb2.IoctlRequest{Code: 0x900C0, FileID: last, Flags: smb2.IoctlIsFsctl}, false), s.close(last, true)},
			[]smb2.Status{closed, closed},
		},
		{
			"no tree to begin with",
			[]smbclient.Request{elsewhere, s.close(last, true)},
			[]smb2.Status{smb2.StatusNetworkNameDeleted, bad},
		},
		{
			"two chains",
			[]smbclient.Request{s.create("f", smb2.FileOpen, false), s.close(last, true), s.create("f", smb2.FileOpen, false), s.read(last, 1, true), s.close(last, true)},
			[]smb2.Status{0, 0, 0, 0, 0},
		},
		{
			"an unknown command behind a known one",
			[]smbclient.Request{s.create("f", smb2.FileOpen, false), s.request(0xFF, smb2.EchoRequest{}, true), s.close(last, true)},
			[]smb2.Status{0, bad, 0},
		},
		{
			"SESSION_SETUP, which comes alone",
			[]smbclient.Request{echo(false), s.request(smb2.CommandSessionSetup, smb2.SessionSetupRequest{}, false)},
			[]smb2.Status{0, bad},
		},
	} {
		assert.Equal(t, q.want, statuses(sendAll(t, c, q.reqs...)), q.name)
		assert.Zero(t, f.Stats().OpenFiles, q.name)
	}
}

func TestCompoundLength(t *testing.T) {
	f := start(t, func(c *smbserver.Config) { c.Limits.Compound = 16 })
	c, tree := f.tree()
	s := step{tree}
	var reqs []smbclient.Request
	for range 16 {
		reqs = append(reqs, s.request(smb2.CommandEcho, smb2.EchoRequest{}, false))
	}
	for _, st := range statuses(sendAll(t, c, reqs...)) {
		assert.Equal(t, smb2.StatusSuccess, st)
	}
	_, err := c.Send(t.Context(), append(reqs, reqs[0])...)
	require.NoError(t, err)
	_, err = c.Recv(t.Context())
	require.Error(t, err, "one more ends the connection")
	assert.Equal(t, int64(1), f.Stats().Lost)
}

// Long replies go out in several frames, so that a chain of large READs does not pile up in memory.
func TestCompoundOfLargeReads(t *testing.T) {
	f := start(t)
	require.NoError(t, f.mem.WriteFile("f", make([]byte, 1<<20)))
	c, tree := f.tree(func(c *smbclient.Config) { c.CreditRequest = 1000 })
	file := createFile(t, tree, "f")
	s := step{tree}
	_, err := c.Send(t.Context(), s.read(file.ID, 1<<20, false), s.read(file.ID, 1<<20, false), s.read(file.ID, 1<<20, false), s.close(file.ID, false))
	require.NoError(t, err)
	var sizes []int
	for total := 0; total < 4; total += sizes[len(sizes)-1] {
		answers, err := c.Recv(t.Context())
		require.NoError(t, err)
		sizes = append(sizes, len(answers))
		for _, a := range answers {
			require.NoError(t, a.Err())
		}
	}
	assert.Equal(t, []int{1, 1, 1, 1}, sizes)
}
