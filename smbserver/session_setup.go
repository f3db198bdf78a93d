package smbserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uringfs/uringfs/internal/ntlm"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/internal/spnego"
)

// setup is one logon in progress: the first of a session, or a later one that renews it. Its preauth hash is its own, because
// several sessions of a connection may log on at once.
type setup struct {
	acceptor *spnego.Acceptor
	preauth  smbcrypt.PreauthHash
	raw      bool // NTLM without SPNEGO around it

	// What the Authenticator was asked.
	asked        bool
	known        bool
	user, domain string
}

func (c *conn) newSetup(token []byte) *setup {
	x := &setup{preauth: c.preauth, raw: strings.HasPrefix(string(token[:min(len(token), len(ntlm.Signature))]), ntlm.Signature)}
	x.acceptor = spnego.NewAcceptor(c.srv.ntlm, func(user, domain string) (hash [16]byte, ok bool) {
		x.asked, x.user, x.domain = true, user, domain
		if c.srv.cfg.Auth != nil {
			hash, ok = c.srv.cfg.Auth.NTHash(user, domain)
		}
		x.known = ok
		return hash, ok
	})
	return x
}

// handleSessionSetup handles SESSION_SETUP, [MS-SMB2] 3.3.5.5.
func handleSessionSetup(ctx context.Context, r *request) (reply, error) {
	c := r.conn
	q, err := smb2.ParseSessionSetupRequest(r.msg)
	if err != nil {
		return nil, err
	}
	if q.Flags&smb2.SessionSetupBinding != 0 {
		return nil, smb2.StatusRequestNotAccepted // one channel a session
	}
	s := c.session(r.hdr.SessionID)
	switch {
	case s == nil && r.hdr.SessionID != 0:
		return nil, smb2.StatusUserSessionDeleted
	case s == nil:
		if len(c.sessions) >= c.srv.cfg.Limits.Sessions {
			return nil, smb2.StatusInsufficientResources
		}
		if s, err = c.srv.newSession(c); err != nil {
			return nil, err
		}
		c.sessions[s.id] = s
	case s.valid.Load() && s.guest:
		return nil, smb2.StatusRequestNotAccepted // nothing that could be renewed
	}
	if s.setup == nil {
		s.setup = c.newSetup(q.SecurityBuffer)
	}
	r.hdr.SessionID = s.id
	x := s.setup
	if c.neg.dialect == Dialect311 {
		x.preauth.Update(r.msg)
	}
	token, done, err := x.acceptor.Step(q.SecurityBuffer)
	switch {
	case err != nil && c.admitsGuest(x, s, err):
		return c.welcome(ctx, r, s, Identity{User: x.user, Domain: x.domain, Guest: true}, q, x.guestToken())
	case err != nil:
		return nil, c.refuseLogon(ctx, s, err)
	case done == nil:
		if c.neg.dialect == Dialect311 {
			r.hash = &x.preauth
			// The hash covers final bytes, and a signature would come after it; renewals do not use the hash.
			if s.valid.Load() {
				r.hash = nil
			}
		}
		return smb2.SessionSetupResponse{SecurityBuffer: token}, smb2.StatusMoreProcessingRequired
	case s.valid.Load():
		return c.renew(ctx, s, done, token)
	case done.Anonymous:
		if !c.srv.cfg.Guest || c.srv.cfg.RequireSigning {
			return nil, c.refuseLogon(ctx, s, smb2.StatusAccessDenied)
		}
		return c.welcome(ctx, r, s, Identity{Guest: true, Anonymous: true}, q, token)
	}
	if err := c.deriveSigner(s, done.SessionKey); err != nil {
		return nil, errors.Join(err, c.refuseLogon(ctx, s, smb2.StatusInternalError))
	}
	return c.welcome(ctx, r, s, Identity{User: done.User, Domain: done.Domain}, q, token)
}

// admitsGuest tells whether a failed first logon becomes a guest's: only for a user that nobody knows. A wrong password
// stays wrong, and a session that exists is never downgraded.
func (c *conn) admitsGuest(x *setup, s *session, err error) bool {
	return c.srv.cfg.Guest && !c.srv.cfg.RequireSigning && !s.valid.Load() && x.asked && !x.known && errors.Is(err, ntlm.ErrLogonFailure)
}

// guestToken is the last token to a guest: success without a mechListMIC, for which there is no key.
func (x *setup) guestToken() []byte {
	if x.raw {
		return nil
	}
	return spnego.Resp{State: spnego.StateAcceptCompleted}.Append(nil)
}

// deriveSigner sets what the session signs with, [MS-SMB2] 3.3.5.5.3.
func (c *conn) deriveSigner(s *session, key []byte) error {
	keys, err := smbcrypt.DeriveKeys(uint16(c.neg.dialect), smbcrypt.CipherNone, key, s.setup.preauth)
	if err != nil {
		return fmt.Errorf("session keys: %w", err)
	}
	s.signer, err = smbcrypt.NewSigner(c.neg.signing, keys.Signing)
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	return nil
}

// welcome completes a session's first logon.
func (c *conn) welcome(
	ctx context.Context, r *request, s *session, user Identity, q smb2.SessionSetupRequest, token []byte,
) (reply, error) {
	s.setup = nil
	s.guest = user.Guest
	s.signRequired = s.signer != nil && (c.srv.cfg.RequireSigning || q.SecurityMode&smb2.SigningRequired != 0)
	s.user.Store(&user)
	s.valid.Store(true)
	if err := c.logOn(); err != nil {
		return nil, &connError{"log on", err}
	}
	c.srv.stats.logons.Add(1)
	if q.PreviousSessionID != 0 {
		c.srv.replace(ctx, q.PreviousSessionID, s)
	}
	r.sess = s
	r.signReply = s.signer != nil // 3.1.1 clients insist, [MS-SMB2] 3.2.5.3.1
	answer := smb2.SessionSetupResponse{SecurityBuffer: token}
	switch {
	case user.Anonymous:
		answer.Flags = smb2.SessionIsNull
	case user.Guest:
		answer.Flags = smb2.SessionIsGuest
	}
	c.log.Debug("logged on", "guest", user.Guest, "dialect", c.neg.dialect.String())
	return answer, nil
}

// renew completes a later logon on a session: it stays who it was, and its keys stay, [MS-SMB2] 3.3.5.5.2. Only the same
// user can renew, because open files were granted to that user.
func (c *conn) renew(ctx context.Context, s *session, done *ntlm.Result, token []byte) (reply, error) {
	user := Identity{User: done.User, Domain: done.Domain}
	if done.Anonymous || !sameUser(user, s.identity()) {
		return nil, c.refuseLogon(ctx, s, smb2.StatusAccessDenied)
	}
	s.setup = nil
	s.user.Store(&user)
	c.srv.stats.logons.Add(1)
	return smb2.SessionSetupResponse{SecurityBuffer: token}, nil
}

// refuseLogon ends a logon that failed with err and returns what answers it. A session that was valid before stays so.
func (c *conn) refuseLogon(ctx context.Context, s *session, err error) error {
	s.setup = nil
	if !s.valid.Load() {
		delete(c.sessions, s.id)
		s.end(ctx)
	}
	c.srv.stats.failedLogons.Add(1)
	if errors.Is(err, ntlm.ErrLogonFailure) {
		c.failedLogons++
		if c.failedLogons > c.srv.cfg.Limits.FailedLogons {
			pause(ctx, failedLogonPause)
		}
	}
	switch {
	case errors.Is(err, ntlm.ErrLogonFailure):
		return smb2.StatusLogonFailure
	case errors.Is(err, ntlm.ErrUnavailable):
		return smb2.StatusNotSupported
	case errors.Is(err, ntlm.ErrMalformed):
		return fmt.Errorf("%w: %w", smb2.ErrMalformed, err)
	default:
		return err
	}
}

// pause lets d pass, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
