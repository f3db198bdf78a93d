package smbserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
	"github.com/uringfs/uringfs/internal/smbcrypt"
	"github.com/uringfs/uringfs/internal/spnego"
)

// saltLen is the length of the salt in our preauth integrity context, as Windows sends it.
const saltLen = 32

// negotiateSMB1 answers the SMB1 NEGOTIATE with which multi-protocol clients begin, [MS-SMB2] 3.3.5.3. It is the only message
// of SMB1 that is understood, and only as the first of a connection.
func (c *conn) negotiateSMB1(ctx context.Context, msg []byte) error {
	if c.neg.done || !c.window.spend(0, 1) {
		return c.malformed("SMB1 message", nil)
	}
	q, err := smb2.ParseSMB1Negotiate(msg)
	if err != nil {
		return c.malformed("bad SMB1 NEGOTIATE", err)
	}
	r := request{hdr: smb2.Header{Command: smb2.CommandNegotiate}, conn: c, alone: true}
	r.credits = c.window.grant(1)
	c.srv.stats.requests[smb2.CommandNegotiate].Add(1)
	only202, wildcard := q.OffersSMB2()
	switch {
	case wildcard && c.srv.cfg.MaxDialect > Dialect202:
		// The client asks again, in SMB2, with MessageId 1.
		return c.answer(ctx, &r, c.negotiateResponse(smb2.Dialect2FF, nil), nil)
	case only202 && c.srv.cfg.MinDialect == Dialect202:
		c.settle(Dialect202, smb2.NegotiateRequest{Dialects: []smb2.Dialect{smb2.Dialect202}})
		return c.answer(ctx, &r, c.negotiateResponse(smb2.Dialect202, nil), nil)
	}
	return &connError{"no common dialect", errors.New("SMB1 NEGOTIATE")}
}

// handleNegotiate handles NEGOTIATE, [MS-SMB2] 3.3.5.4.
func handleNegotiate(_ context.Context, r *request) (reply, error) {
	c := r.conn
	q, err := smb2.ParseNegotiateRequest(r.msg)
	if err != nil {
		return nil, err
	}
	if len(q.Dialects) == 0 {
		return nil, fmt.Errorf("%w: NEGOTIATE without dialects", smb2.ErrMalformed)
	}
	var dialect Dialect
	for _, d := range q.Dialects {
		d := Dialect(d)
		if dialectIndex(d) >= 0 && d >= c.srv.cfg.MinDialect && d <= c.srv.cfg.MaxDialect {
			dialect = max(dialect, d)
		}
	}
	if dialect == 0 {
		return nil, smb2.StatusNotSupported
	}
	signing := smbcrypt.DefaultSigningAlg(uint16(dialect))
	var contexts []smb2.NegotiateContext
	if dialect == Dialect311 {
		if contexts, err = c.negotiateContexts(q.Contexts, &signing); err != nil {
			return nil, err
		}
	}
	c.settle(dialect, q)
	c.neg.signing = signing
	if dialect == Dialect311 {
		c.preauth.Update(r.msg)
		r.hash = &c.preauth
	}
	return c.negotiateResponse(smb2.Dialect(dialect), contexts), nil
}

// settle records what was negotiated.
func (c *conn) settle(d Dialect, q smb2.NegotiateRequest) {
	l := &c.srv.cfg.Limits
	n := negotiation{
		done: true, dialect: d,
		clientGUID: q.ClientGUID, clientMode: q.SecurityMode, clientCaps: q.Capabilities,
		clientDialects: slices.Clone(q.Dialects),
		mode:           c.securityMode(),
		signing:        smbcrypt.DefaultSigningAlg(uint16(d)),
		maxRead:        size202, maxWrite: size202, maxTransact: size202,
	}
	if d > Dialect202 {
		n.multiCredit = true
		n.caps = smb2.CapLargeMTU
		n.maxRead, n.maxWrite, n.maxTransact = l.MaxRead, l.MaxWrite, l.MaxTransact
	}
	c.neg = n
}

func (c *conn) securityMode() smb2.SecurityMode {
	if c.srv.cfg.RequireSigning {
		return smb2.SigningEnabled | smb2.SigningRequired
	}
	return smb2.SigningEnabled
}

func (c *conn) negotiateResponse(d smb2.Dialect, contexts []smb2.NegotiateContext) smb2.NegotiateResponse {
	l := &c.srv.cfg.Limits
	r := smb2.NegotiateResponse{
		SecurityMode: c.securityMode(), Dialect: d, ServerGUID: c.srv.cfg.GUID,
		Capabilities:    c.neg.caps,
		MaxTransactSize: c.neg.maxTransact, MaxReadSize: c.neg.maxRead, MaxWriteSize: c.neg.maxWrite,
		SystemTime:     fscc.NewFiletime(time.Now()),
		SecurityBuffer: spnego.HintToken(),
		Contexts:       contexts,
	}
	if d == smb2.Dialect2FF { // nothing is settled yet
		r.Capabilities = smb2.CapLargeMTU
		r.MaxTransactSize, r.MaxReadSize, r.MaxWriteSize = l.MaxTransact, l.MaxRead, l.MaxWrite
	}
	return r
}

// negotiateContexts answers the contexts of 3.1.1, [MS-SMB2] 2.2.3.1 and 3.3.5.4: one PREAUTH context is a must; of the others only
// those that the client sent are answered, and unknown ones are passed over.
func (c *conn) negotiateContexts(list []smb2.NegotiateContext, signing *smbcrypt.SigningAlg) ([]smb2.NegotiateContext, error) {
	var out []smb2.NegotiateContext
	seen := make(map[smb2.NegotiateContextType]bool)
	for _, x := range list {
		switch x.Type {
		case smb2.ContextPreauthIntegrity, smb2.ContextEncryption, smb2.ContextSigning:
			if seen[x.Type] {
				return nil, fmt.Errorf("%w: negotiate context %d twice", smb2.ErrMalformed, x.Type)
			}
			seen[x.Type] = true
		default:
			continue
		}
		var data []byte
		var err error
		switch x.Type {
		case smb2.ContextPreauthIntegrity:
			data, err = preauthContext(x.Data)
		case smb2.ContextEncryption:
			err = checkEncryptionContext(x.Data)
		default:
			data, err = c.signingContext(x.Data, signing)
		}
		if err != nil {
			return nil, err
		}
		if data != nil {
			out = append(out, smb2.NegotiateContext{Type: x.Type, Data: data})
		}
	}
	if !seen[smb2.ContextPreauthIntegrity] {
		return nil, fmt.Errorf("%w: 3.1.1 without preauth integrity", smb2.ErrMalformed)
	}
	return out, nil
}

func preauthContext(data []byte) ([]byte, error) {
	p, err := smb2.ParsePreauthIntegrity(data)
	if err != nil {
		return nil, err
	}
	if len(p.HashAlgorithms) == 0 {
		return nil, fmt.Errorf("%w: no preauth hash algorithm", smb2.ErrMalformed)
	}
	if !slices.Contains(p.HashAlgorithms, smb2.HashSHA512) {
		return nil, smb2.StatusSMBNoPreauthHashOverlap
	}
	salt := make([]byte, saltLen)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("preauth salt: %w", err)
	}
	return smb2.PreauthIntegrity{HashAlgorithms: []uint16{smb2.HashSHA512}, Salt: salt}.Append(nil), nil
}

// checkEncryptionContext checks a context that is not answered: this server does not encrypt. [MS-SMB2] would also allow an answer
// with cipher 0, but go-smb2 takes that for an error.
func checkEncryptionContext(data []byte) error {
	ciphers, err := smb2.ParseAlgorithmList(data)
	if err != nil {
		return err
	}
	if len(ciphers) == 0 {
		return fmt.Errorf("%w: no cipher in encryption context", smb2.ErrMalformed)
	}
	return nil
}

// signingContext picks the fastest algorithm that both sides have. Without a common one the context is left out and
// AES-CMAC stays.
func (c *conn) signingContext(data []byte, signing *smbcrypt.SigningAlg) ([]byte, error) {
	offered, err := smb2.ParseAlgorithmList(data)
	if err != nil {
		return nil, err
	}
	if len(offered) == 0 {
		return nil, fmt.Errorf("%w: no algorithm in signing context", smb2.ErrMalformed)
	}
	for _, alg := range [...]smbcrypt.SigningAlg{smbcrypt.AESGMAC, smbcrypt.AESCMAC, smbcrypt.HMACSHA256} {
		if alg == smbcrypt.AESGMAC && !c.srv.gmac || !slices.Contains(offered, uint16(alg)) {
			continue
		}
		*signing = alg
		return smb2.AlgorithmList{uint16(alg)}.Append(nil), nil
	}
	return nil, nil
}
