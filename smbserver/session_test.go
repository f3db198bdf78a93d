package smbserver_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbclient"
	"github.com/uringfs/uringfs/internal/spnego"
	"github.com/uringfs/uringfs/smbserver"
)

func allDialects() []smb2.Dialect {
	return []smb2.Dialect{smb2.Dialect202, smb2.Dialect210, smb2.Dialect300, smb2.Dialect302, smb2.Dialect311}
}

func guests(c *smbserver.Config) { c.Guest = true }

func mustSign(c *smbserver.Config) { c.RequireSigning = true }

func TestLogonInEveryDialectAndWrapping(t *testing.T) {
	f := start(t)
	for _, d := range allDialects() {
		for _, sign := range []bool{false, true} {
			for name, login := range map[string]spnego.Options{
				"SPNEGO with MIC": {}, "SPNEGO without MIC": {NoMIC: true}, "raw NTLM": {Raw: true}, "no MIC in NTLM": {NoNTLMMIC: true},
			} {
				t.Run(d.String()+"/"+name, func(t *testing.T) {
					c, tree := f.tree(dialects(d), func(cfg *smbclient.Config) { cfg.Sign, cfg.Login = sign, login })
					assert.Equal(t, d, c.Dialect())
					assert.Zero(t, c.SessionFlags())
					assert.Equal(t, smb2.ShareDisk, tree.Connected().ShareType)
					require.NoError(t, c.Echo(t.Context()))
					require.NoError(t, tree.Disconnect(t.Context()))
					require.NoError(t, c.Logoff(t.Context()))
				})
			}
		}
	}
	assert.Zero(t, f.Stats().FailedLogons)
	assert.Equal(t, int64(40), f.Stats().Logons)
}

func TestLogonRefused(t *testing.T) {
	as := func(user, pass string) func(*smbclient.Config) {
		return func(c *smbclient.Config) { c.User, c.Password = user, pass }
	}
	for _, c := range []struct {
		name   string
		server func(*smbserver.Config)
		user   string
		pass   string
		raw    bool
		want   smb2.Status
		flags  smb2.SessionFlags
	}{
		{"a wrong password", func(*smbserver.Config) {}, userName, "wrong", false, smb2.StatusLogonFailure, 0},
		{"a wrong password where guests may in", guests, userName, "wrong", false, smb2.StatusLogonFailure, 0},
		{"an unknown user", func(*smbserver.Config) {}, "mallory", "x", false, smb2.StatusLogonFailure, 0},
		{"an unknown user as guest", guests, "mallory", "x", false, 0, smb2.SessionIsGuest},
		{"an unknown user as guest, raw", guests, "mallory", "x", true, 0, smb2.SessionIsGuest},
		{"nobody", func(*smbserver.Config) {}, "", "", false, smb2.StatusAccessDenied, 0},
		{"nobody as guest", guests, "", "", false, 0, smb2.SessionIsNull},
		{"nobody as guest, raw", guests, "", "", true, 0, smb2.SessionIsNull},
		{"a known user where guests may in", guests, userName, password, false, 0, 0},
		{"a guest where signing is required", func(c *smbserver.Config) { guests(c); mustSign(c) }, "mallory", "x", false, smb2.StatusLogonFailure, 0},
		{"nobody where signing is required", func(c *smbserver.Config) { guests(c); mustSign(c) }, "", "", false, smb2.StatusAccessDenied, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, c.server)
			client, err := f.tryClient(as(c.user, c.pass), func(cfg *smbclient.Config) {
				cfg.Login = spnego.Options{Raw: c.raw, NoMIC: c.flags != 0}
			})
			require.Equal(t, c.want, status(t, err))
			if err != nil {
				assert.Equal(t, int64(1), f.Stats().FailedLogons)
				assert.Zero(t, f.Stats().OpenSessions, "nothing is left of a failed logon")
				assert.NotContains(t, f.log.String(), "wrong")
				return
			}
			defer client.Close()
			assert.Equal(t, c.flags, client.SessionFlags())
			_, err = client.TreeConnect(t.Context(), shareName)
			require.NoError(t, err)
		})
	}
}

func TestGuessingPasswordsIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		f := startOn(t, l, func(c *smbserver.Config) { c.Limits.FailedLogons = 3 })
		c, err := smbclient.Dial(t.Context(), l.dial(), smbclient.Config{User: userName, Password: password})
		require.NoError(t, err)
		for i := range 6 {
			began := time.Now()
			require.Equal(t, smb2.StatusLogonFailure, status(t, rawLogon(t, c, userName, "guess", nil)))
			if i < 3 {
				assert.Zero(t, time.Since(began))
			} else {
				assert.Equal(t, 500*time.Millisecond, time.Since(began))
			}
		}
		assert.Equal(t, int64(6), f.Stats().FailedLogons)
		require.NoError(t, c.Echo(t.Context()))
		require.NoError(t, c.Close())
	})
}

func TestSessionsPerConnectionAreBounded(t *testing.T) {
	f := start(t, func(c *smbserver.Config) { c.Limits.Sessions = 4 })
	conn := f.dial()
	defer conn.Close()
	exchangeRaw(t, conn, negotiateWith([]smb2.Dialect{smb2.Dialect210}))
	token, _, _, err := spnego.NewInitiator(userName, "", password, spnego.Options{}).Step(nil)
	require.NoError(t, err)
	for i := range uint64(6) {
		msg := message(smb2.Header{Command: smb2.CommandSessionSetup, MessageID: 1 + i, Credits: 1}, smb2.SessionSetupRequest{SecurityBuffer: token})
		want := smb2.StatusMoreProcessingRequired
		if i >= 4 {
			want = smb2.StatusInsufficientResources
		}
		require.Equal(t, want, header(t, exchangeRaw(t, conn, msg)[0]).Status, "logon %d", i)
	}
	assert.Equal(t, int64(4), f.Stats().OpenSessions)
}

// rawLogon runs one logon over SESSION_SETUP requests of its own on a connection that has a session already.
func rawLogon(t *testing.T, c *smbclient.Client, user, pass string, body func(*smb2.SessionSetupRequest)) error {
	t.Helper()
	initiator := spnego.NewInitiator(user, "", pass, spnego.Options{})
	var token []byte
	for range 3 {
		reply, _, _, err := initiator.Step(token)
		require.NoError(t, err)
		req := smb2.SessionSetupRequest{SecurityMode: smb2.SigningEnabled, SecurityBuffer: reply}
		if body != nil {
			body(&req)
		}
		answer, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandSessionSetup, Body: req})
		if answer.Header.Status != smb2.StatusMoreProcessingRequired {
			return err
		}
		setup, err := smb2.ParseSessionSetupResponse(answer.Msg)
		require.NoError(t, err)
		token = setup.SecurityBuffer
	}
	require.Fail(t, "the logon does not end")
	return nil
}

func TestRenewedLogon(t *testing.T) {
	for _, d := range allDialects() {
		for _, sign := range []bool{false, true} {
			t.Run(d.String(), func(t *testing.T) {
				f := start(t)
				c, tree := f.tree(dialects(d), func(cfg *smbclient.Config) { cfg.Sign = sign })
				file := createFile(t, tree, "kept")
				require.NoError(t, rawLogon(t, c, userName, password, nil))
				_, err := file.Write(t.Context(), 0, []byte("still open"))
				require.NoError(t, err, "keys and files stay")

				assert.Equal(t, smb2.StatusLogonFailure, status(t, rawLogon(t, c, userName, "wrong", nil)))
				assert.Equal(t, smb2.StatusAccessDenied, status(t, rawLogon(t, c, "bob", "builder", nil)), "another user")
				got, err := file.Read(t.Context(), 0, 100)
				require.NoError(t, err, "a failed renewal changes nothing")
				assert.Equal(t, "still open", string(got))
				require.NoError(t, file.Close(t.Context()))
			})
		}
	}
}

func TestGuestsDoNotRenewAndAreNotDowngraded(t *testing.T) {
	f := start(t, guests)
	c := f.client(func(cfg *smbclient.Config) { cfg.User, cfg.Login.NoMIC = "mallory", true })
	assert.Equal(t, smb2.StatusRequestNotAccepted, status(t, rawLogon(t, c, userName, password, nil)))
	c = f.client()
	assert.Equal(t, smb2.StatusLogonFailure, status(t, rawLogon(t, c, "mallory", "x", nil)))
	require.NoError(t, c.Echo(t.Context()))
}

func TestBindingIsRefused(t *testing.T) {
	f := start(t)
	c := f.client(signed)
	err := rawLogon(t, c, userName, password, func(r *smb2.SessionSetupRequest) { r.Flags = smb2.SessionSetupBinding })
	assert.Equal(t, smb2.StatusRequestNotAccepted, status(t, err))
}

func TestPreviousSession(t *testing.T) {
	for _, c := range []struct {
		name       string
		user, pass string
		want       smb2.Status // of the old session afterwards
	}{
		{"the same user replaces it", "ALICE", password, smb2.StatusUserSessionDeleted},
		{"another user does not", "bob", "builder", smb2.StatusSuccess},
		{"a wrong password does not", userName, "wrong", smb2.StatusSuccess},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t)
			old, tree := f.tree()
			createFile(t, tree, "open on the old session")
			conn := f.dial()
			defer conn.Close()
			exchangeRaw(t, conn, negotiateWith([]smb2.Dialect{smb2.Dialect210}))
			logonRaw(t, conn, c.user, c.pass, old.SessionID())
			_, err := tree.Create(t.Context(), createRequest("another"))
			require.Equal(t, c.want, status(t, err))
			if c.want != smb2.StatusSuccess {
				assert.Zero(t, f.Stats().OpenFiles)
			}
		})
	}
}

// logonRaw logs in on a raw connection after NEGOTIATE, without judging how it ends, and returns the session's id.
func logonRaw(t *testing.T, conn net.Conn, user, pass string, previous uint64) (sessionID uint64) {
	t.Helper()
	initiator := spnego.NewInitiator(user, "", pass, spnego.Options{})
	var token []byte
	for i := range uint64(2) {
		reply, _, _, err := initiator.Step(token)
		require.NoError(t, err)
		answer := exchangeRaw(t, conn, message(
			smb2.Header{Command: smb2.CommandSessionSetup, MessageID: 1 + i, Credits: 64, SessionID: sessionID},
			smb2.SessionSetupRequest{SecurityMode: smb2.SigningEnabled, PreviousSessionID: previous, SecurityBuffer: reply}))
		h := header(t, answer[0])
		sessionID = h.SessionID
		if h.Status != smb2.StatusMoreProcessingRequired {
			return sessionID
		}
		r, err := smb2.ParseSessionSetupResponse(answer[0])
		require.NoError(t, err)
		token = r.SecurityBuffer
	}
	return sessionID
}

func TestTreeConnect(t *testing.T) {
	f := start(t, func(c *smbserver.Config) { c.Limits.Trees = 8 })
	c := f.client()
	for path, want := range map[string]smb2.Status{
		`\\127.0.0.1:4450\` + shareName: smb2.StatusSuccess,
		`\\server\DATA`:                 smb2.StatusSuccess,
		`\\[::1]:445\Data`:              smb2.StatusSuccess,
		`\\server\IPC$`:                 smb2.StatusSuccess,
		`\\server\ipc$`:                 smb2.StatusSuccess,
		`\\server\othere`:               smb2.StatusBadNetworkName,
		`\\server`:                      smb2.StatusBadNetworkName,
		`data`:                          smb2.StatusBadNetworkName,
		``:                              smb2.StatusBadNetworkName,
	} {
		answer, err := c.RoundTrip(t.Context(), smbclient.Request{Command: smb2.CommandTreeConnect, Body: smb2.TreeConnectRequest{Path: path}})
		require.Equal(t, want, status(t, err), path)
		if err != nil {
			continue
		}
		tree, err := smb2.ParseTreeConnectResponse(answer.Msg)
		require.NoError(t, err)
		kind := smb2.ShareDisk
		if strings.HasSuffix(path, "$") {
			kind = smb2.SharePipe
		}
		assert.Equal(t, kind, tree.ShareType)
		assert.NotZero(t, answer.Header.TreeID)
	}
	for {
		_, err := c.TreeConnect(t.Context(), shareName)
		if err != nil {
			assert.Equal(t, smb2.StatusInsufficientResources, status(t, err))
			break
		}
	}
}

func TestIdsOfOthersAreRefused(t *testing.T) {
	f := start(t)
	_, mine := f.tree()
	other, theirs := f.tree()
	file := createFile(t, mine, "mine")
	own := createFile(t, theirs, "theirs")
	second, err := other.TreeConnect(t.Context(), shareName)
	require.NoError(t, err)

	read := file.ReadRequest(0, 10)
	read.TreeID = theirs.ID()
	_, err = other.RoundTrip(t.Context(), read)
	assert.Equal(t, smb2.StatusFileClosed, status(t, err), "another session's file")
	read = own.ReadRequest(0, 10)
	read.TreeID = second.ID()
	_, err = other.RoundTrip(t.Context(), read)
	assert.Equal(t, smb2.StatusFileClosed, status(t, err), "another tree's file")
	read.TreeID = 0xBAD
	_, err = other.RoundTrip(t.Context(), read)
	assert.Equal(t, smb2.StatusNetworkNameDeleted, status(t, err), "no tree")
	require.NoError(t, theirs.Disconnect(t.Context()))
	_, err = own.Read(t.Context(), 0, 10)
	assert.Equal(t, smb2.StatusNetworkNameDeleted, status(t, err), "a tree that has gone")
	assert.Equal(t, int64(1), f.Stats().OpenFiles)
}

func TestRequestsOfASessionThatIsNotLoggedOn(t *testing.T) {
	f := start(t)
	conn := f.dial()
	defer conn.Close()
	exchangeRaw(t, conn, negotiateWith([]smb2.Dialect{smb2.Dialect210}))
	token, _, _, err := spnego.NewInitiator(userName, "", password, spnego.Options{}).Step(nil)
	require.NoError(t, err)
	half := header(t, exchangeRaw(t, conn, message(smb2.Header{Command: smb2.CommandSessionSetup, MessageID: 1, Credits: 10},
		smb2.SessionSetupRequest{SecurityBuffer: token}))[0])
	require.Equal(t, smb2.StatusMoreProcessingRequired, half.Status)
	for i, id := range []uint64{0, half.SessionID, half.SessionID + 1} {
		answer := exchangeRaw(t, conn, message(smb2.Header{Command: smb2.CommandTreeConnect, MessageID: uint64(2 + i), Credits: 10, SessionID: id},
			smb2.TreeConnectRequest{Path: `\\s\` + shareName}))
		assert.Equal(t, smb2.StatusUserSessionDeleted, header(t, answer[0]).Status)
	}
}
