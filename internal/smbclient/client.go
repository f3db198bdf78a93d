package smbclient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"

	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/internal/spnego"
)

// ErrCredits says that a request was not sent because the server has not granted
// enough credits for it.
var ErrCredits = errors.New("not enough credits")

// ErrProtocol says that the server answered with something that no request asked
// for, or that a signature is wrong.
var ErrProtocol = errors.New("SMB2 protocol error")

// StatusError is an answer with a status other than success.
type StatusError struct {
	Command smb2.Command
	Status  smb2.Status
}

// Error names the command and the status.
func (e *StatusError) Error() string { return fmt.Sprintf("%v: %v", e.Command, e.Status) }

// Unwrap returns the [smb2.Status], so that errors.Is finds it.
func (e *StatusError) Unwrap() error { return e.Status }

// Config says how to negotiate and log in. The zero value offers every dialect and
// logs in anonymously.
type Config struct {
	Dialects               []smb2.Dialect // nil: 2.0.2, 2.1, 3.0, 3.0.2 and 3.1.1
	User, Domain, Password string
	Login                  spnego.Options
	// Sign signs every request of the session and demands signed answers. Without it
	// only TREE_CONNECT is signed, as [MS-SMB2] 3.2.4.1.1 demands of 3.1.1.
	Sign bool
	// CreditRequest is asked for with every request; 0 means 128.
	CreditRequest uint16
}

// Client is one connection with one session.
type Client struct {
	conn net.Conn
	cfg  Config

	// From NEGOTIATE.
	dialect    smb2.Dialect
	negotiated smb2.NegotiateResponse
	signingAlg smbcrypt.SigningAlg
	preauth    smbcrypt.PreauthHash

	// From SESSION_SETUP.
	sessionID    uint64
	sessionFlags smb2.SessionFlags
	signer       *smbcrypt.Signer // nil before login and in sessions without a key

	nextID  uint64
	credits int
	aside   []Response // received while a round trip waited for another answer
}

// Dial negotiates and logs in over conn, which it takes: on error it is closed.
func Dial(ctx context.Context, conn net.Conn, cfg Config) (*Client, error) {
	c := &Client{conn: conn, cfg: cfg, credits: 1}
	err := c.negotiate(ctx)
	if err == nil {
		err = c.login(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Dialect returns the negotiated dialect.
func (c *Client) Dialect() smb2.Dialect { return c.dialect }

// Negotiated returns the server's NEGOTIATE response.
func (c *Client) Negotiated() smb2.NegotiateResponse { return c.negotiated }

// SessionFlags returns the flags of the session: guest, anonymous, encrypted.
func (c *Client) SessionFlags() smb2.SessionFlags { return c.sessionFlags }

// SessionID returns the session's identifier.
func (c *Client) SessionID() uint64 { return c.sessionID }

// Credits returns how many credits are left.
func (c *Client) Credits() int { return c.credits }

// Close closes the connection without a LOGOFF.
func (c *Client) Close() error { return c.conn.Close() }

// Logoff ends the session and closes the connection.
func (c *Client) Logoff(ctx context.Context) error {
	_, err := c.RoundTrip(ctx, Request{Command: smb2.CommandLogoff, Body: smb2.LogoffRequest{}})
	return errors.Join(err, c.conn.Close())
}

// Echo sends ECHO and waits for the answer.
func (c *Client) Echo(ctx context.Context) error {
	_, err := c.RoundTrip(ctx, Request{Command: smb2.CommandEcho, Body: smb2.EchoRequest{}})
	return err
}

func (c *Client) negotiate(ctx context.Context) error {
	req := smb2.NegotiateRequest{
		SecurityMode: smb2.SigningEnabled,
		Capabilities: smb2.CapLargeMTU,
		Dialects:     c.cfg.Dialects,
	}
	if c.cfg.Sign {
		req.SecurityMode = smb2.SigningRequired
	}
	if len(req.Dialects) == 0 {
		req.Dialects = []smb2.Dialect{smb2.Dialect202, smb2.Dialect210, smb2.Dialect300, smb2.Dialect302, smb2.Dialect311}
	}
	if _, err := rand.Read(req.ClientGUID[:]); err != nil {
		return fmt.Errorf("client GUID: %w", err)
	}
	if req.Offers(smb2.Dialect311) {
		salt := make([]byte, 32)
		if _, err := rand.Read(salt); err != nil {
			return fmt.Errorf("preauth salt: %w", err)
		}
		req.Contexts = []smb2.NegotiateContext{
			{Type: smb2.ContextPreauthIntegrity, Data: smb2.PreauthIntegrity{
				HashAlgorithms: []uint16{smb2.HashSHA512}, Salt: salt,
			}.Append(nil)},
			{Type: smb2.ContextSigning, Data: smb2.AlgorithmList{
				smb2.SigningAESCMAC, smb2.SigningAESGMAC, smb2.SigningHMACSHA256,
			}.Append(nil)},
		}
	}
	sent, answer, err := c.exchange(ctx, Request{Command: smb2.CommandNegotiate, Body: req})
	if err != nil {
		return err
	}
	if answer.Header.Status != smb2.StatusSuccess {
		return answer.Err()
	}
	if c.negotiated, err = smb2.ParseNegotiateResponse(answer.Msg); err != nil {
		return fmt.Errorf("NEGOTIATE response: %w", err)
	}
	c.dialect = c.negotiated.Dialect
	if !req.Offers(c.dialect) {
		return fmt.Errorf("%w: server chose dialect %v, which was not offered", ErrProtocol, c.dialect)
	}
	c.signingAlg = smbcrypt.DefaultSigningAlg(uint16(c.dialect))
	if c.dialect != smb2.Dialect311 {
		return nil
	}
	c.preauth.Update(sent)
	c.preauth.Update(answer.Msg)
	for _, nc := range c.negotiated.Contexts {
		if nc.Type != smb2.ContextSigning {
			continue
		}
		algs, err := smb2.ParseAlgorithmList(nc.Data)
		if err != nil || len(algs) != 1 {
			return fmt.Errorf("%w: signing context %x", ErrProtocol, nc.Data)
		}
		c.signingAlg = smbcrypt.SigningAlg(algs[0])
	}
	return nil
}

// login runs SESSION_SETUP. The last answer of a session with a key is signed with
// that key, so the key is made before the answer is looked at.
func (c *Client) login(ctx context.Context) error {
	initiator := spnego.NewInitiator(c.cfg.User, c.cfg.Domain, c.cfg.Password, c.cfg.Login)
	token := c.negotiated.SecurityBuffer
	preauth := c.preauth
	for {
		reply, _, _, err := initiator.Step(token)
		if err != nil {
			return fmt.Errorf("login: %w", err)
		}
		req := smb2.SessionSetupRequest{SecurityMode: smb2.SigningEnabled, SecurityBuffer: reply}
		if c.cfg.Sign {
			req.SecurityMode = smb2.SigningRequired
		}
		sent, answer, err := c.exchange(ctx, Request{Command: smb2.CommandSessionSetup, Body: req})
		if err != nil {
			return err
		}
		preauth.Update(sent)
		status := answer.Header.Status
		if status != smb2.StatusSuccess && status != smb2.StatusMoreProcessingRequired {
			return answer.Err()
		}
		c.sessionID = answer.Header.SessionID
		setup, err := smb2.ParseSessionSetupResponse(answer.Msg)
		if err != nil {
			return fmt.Errorf("SESSION_SETUP response: %w", err)
		}
		token = setup.SecurityBuffer
		if status == smb2.StatusMoreProcessingRequired {
			preauth.Update(answer.Msg)
			continue
		}
		c.sessionFlags = setup.Flags
		if err := c.deriveKeys(initiator.Key(), preauth); err != nil {
			return err
		}
		if c.signer != nil && answer.Header.Flags.Has(smb2.FlagSigned) && !c.signer.Verify(answer.Msg) {
			return fmt.Errorf("%w: signature of the last SESSION_SETUP", ErrProtocol)
		}
		if len(token) == 0 && c.signer == nil {
			return nil // a guest or anonymous login may end without a token
		}
		if _, _, _, err := initiator.Step(token); err != nil {
			return fmt.Errorf("login: %w", err)
		}
		return nil
	}
}

func (c *Client) deriveKeys(sessionKey []byte, preauth smbcrypt.PreauthHash) error {
	if len(sessionKey) == 0 || c.sessionFlags&(smb2.SessionIsGuest|smb2.SessionIsNull) != 0 {
		if c.cfg.Sign {
			return fmt.Errorf("%w: a session without a key cannot sign", ErrProtocol)
		}
		return nil
	}
	keys, err := smbcrypt.DeriveKeys(uint16(c.dialect), smbcrypt.CipherNone, sessionKey, preauth)
	if err != nil {
		return fmt.Errorf("session keys: %w", err)
	}
	if c.signer, err = smbcrypt.NewSigner(c.signingAlg, keys.Signing); err != nil {
		return fmt.Errorf("session keys: %w", err)
	}
	return nil
}
