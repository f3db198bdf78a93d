package smbserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/uringfs/uringfs/internal/smb2"
)

// element is one request of a frame, cut out and with its header parsed.
type element struct {
	hdr smb2.Header
	msg []byte
}

// chain is what a related request inherits from those before it, [MS-SMB2] 3.3.5.2.7.2.
type chain struct {
	sessionID uint64
	treeID    uint32
	session   bool // the previous request found its session
	tree      bool // the previous request found or made its tree connection
	fileID    smb2.FileID
	file      bool        // some request before named or made an open
	failed    smb2.Status // why the last request that should have named or made one did not
	broken    bool        // the chain began with a related request
}

// handleFrame runs the requests of one frame and sends the replies. kept reports that msg now belongs to a request that
// runs beside the reader. An error ends the connection.
func (c *conn) handleFrame(ctx context.Context, msg []byte) (kept bool, err error) {
	arrived := time.Now()
	switch smb2.ProtocolOf(msg) {
	case smb2.ProtocolSMB2:
	case smb2.ProtocolSMB1:
		return false, c.negotiateSMB1(ctx, msg)
	case smb2.ProtocolTransform:
		return false, c.malformed("encrypted frame without a cipher", nil)
	case smb2.ProtocolCompressed:
		return false, c.malformed("compressed frame without an algorithm", nil)
	default:
		return false, c.malformed("unknown protocol", nil)
	}
	if err := c.split(msg); err != nil {
		return false, err
	}
	elements := c.elements
	defer func() {
		clear(c.elements)
		c.elements = c.elements[:0]
	}()
	if len(elements) == 1 {
		return c.single(ctx, elements[0], msg, arrived)
	}
	return false, c.compound(ctx, elements, arrived)
}

// malformed counts bytes that made no sense and returns the error that ends the connection.
func (c *conn) malformed(reason string, err error) error {
	c.srv.stats.malformed.Add(1)
	return &connError{reason, err}
}

// split cuts a frame into c.elements and checks what holds for every request whatever its command.
func (c *conn) split(msg []byte) error {
	for rest := msg; rest != nil; {
		if len(c.elements) == c.srv.cfg.Limits.Compound {
			return c.malformed("compound too long", nil)
		}
		var e element
		var err error
		if e.msg, rest, err = smb2.NextInCompound(rest); err != nil {
			return c.malformed("bad compound", err)
		}
		if e.hdr, err = smb2.ParseHeader(e.msg); err != nil {
			return c.malformed("bad header", err)
		}
		if e.hdr.IsResponse() {
			return c.malformed("response from a client", nil)
		}
		if len(c.elements) == 0 && !known(e.hdr.Command) {
			return c.malformed("unknown command", fmt.Errorf("%d", uint16(e.hdr.Command)))
		}
		c.elements = append(c.elements, e)
	}
	return nil
}

// known tells whether a client may send the command at all.
func known(cmd smb2.Command) bool { return cmd < smb2.CommandServerToClientNotification }

// single runs a request that came alone.
func (c *conn) single(ctx context.Context, e element, msg []byte, arrived time.Time) (kept bool, err error) {
	if e.hdr.Command == smb2.CommandCancel {
		return false, c.cancelRequest(e)
	}
	r := &c.scratch
	*r = request{hdr: e.hdr, msg: e.msg, conn: c, alone: true, arrived: arrived}
	if err := c.take(r); err != nil {
		return false, err
	}
	if e.hdr.Flags.Has(smb2.FlagRelated) { // to what?
		c.srv.stats.malformed.Add(1)
		return false, c.answer(ctx, r, nil, smb2.StatusInvalidParameter)
	}
	if commands[e.hdr.Command].beside && c.canRunBeside() {
		own := *r
		*r = request{}
		return c.startBeside(ctx, &own, msg)
	}
	r.out = newFrame(c.pool)
	r.out.begin()
	if err := c.process(ctx, r, nil); err != nil {
		r.out.release()
		*r = request{}
		return false, err
	}
	err = c.send(ctx, r.out)
	*r = request{}
	return false, err
}

// compound runs the requests of one frame in order and sends their replies in one frame, or in several where they are
// long: so the memory they take has a bound. Chains of related requests may follow each other and unrelated ones in one
// frame, as Windows and smbd allow; only the first request of a frame cannot be related to anything.
func (c *conn) compound(ctx context.Context, elements []element, arrived time.Time) error {
	f := newFrame(c.pool)
	defer func() {
		if f != nil {
			f.release()
		}
		c.scratch = request{}
	}()
	var previous chain
	for i, e := range elements {
		if e.hdr.Command == smb2.CommandCancel {
			if err := c.cancelRequest(e); err != nil {
				return err
			}
			continue
		}
		if f.count > 0 && len(f.b) > compoundFlush {
			full := f
			f = newFrame(c.pool)
			if err := c.send(ctx, full); err != nil {
				return err
			}
		}
		r := &c.scratch
		*r = request{hdr: e.hdr, msg: e.msg, conn: c, arrived: arrived, out: f}
		if err := c.take(r); err != nil {
			return err
		}
		f.begin()
		related := e.hdr.Flags.Has(smb2.FlagRelated)
		if !related {
			previous = chain{}
		}
		previous.broken = previous.broken || related && i == 0
		if previous.broken || !known(e.hdr.Command) {
			c.srv.stats.malformed.Add(1)
			_ = c.finish(r, nil, smb2.StatusInvalidParameter) // known already
			continue
		}
		if err := c.process(ctx, r, &previous); err != nil {
			return err
		}
	}
	if f.count == 0 { // nothing but CANCEL
		return nil
	}
	last := f
	f = nil
	return c.send(ctx, last)
}

// take spends the request's MessageIds and grants the credits of its reply.
func (c *conn) take(r *request) error {
	charge := 1
	if c.neg.multiCredit {
		charge = max(1, int(r.hdr.CreditCharge))
	}
	if !c.window.spend(r.hdr.MessageID, charge) {
		return c.malformed("MessageId outside the window", fmt.Errorf("%d, charge %d", r.hdr.MessageID, charge))
	}
	r.credits = c.window.grant(r.hdr.Credits)
	if known(r.hdr.Command) {
		c.srv.stats.requests[r.hdr.Command].Add(1)
	}
	return nil
}

// process runs one request and builds its reply. previous is nil for a request that came alone. An error ends the
// connection. It is the request boundary: a panic stops here, is counted, and ends this connection only.
func (c *conn) process(ctx context.Context, r *request, previous *chain) (err error) {
	defer c.recovered(r, &err)
	defer c.drop(ctx, r)
	if r.hdr.Flags.Has(smb2.FlagRelated) && previous != nil {
		r.hdr.SessionID, r.hdr.TreeID = previous.sessionID, previous.treeID
	}
	var answer reply
	if err = c.prepare(r, previous); err == nil {
		answer, err = commands[r.hdr.Command].handle(ctx, r)
	}
	if fatal := (*connError)(nil); err != nil && errors.As(err, &fatal) {
		return err
	}
	status := c.finish(r, answer, err)
	if previous != nil {
		previous.update(r, status)
	}
	return nil
}

// drop gives the request's reference to its open back.
func (c *conn) drop(ctx context.Context, r *request) {
	if o := r.file; o != nil {
		r.file = nil
		o.release(ctx)
	}
}

// recovered is deferred around everything that a request makes run.
func (c *conn) recovered(r *request, err *error) {
	v := recover()
	if v == nil {
		return
	}
	c.srv.stats.panics.Add(1)
	c.log.Error("panic", "command", r.hdr.Command.String(), "message_id", r.hdr.MessageID, "value", fmt.Sprint(v),
		"stack", string(debug.Stack()))
	*err = &connError{"panic", fmt.Errorf("%v", v)}
}

// update records what the next related request inherits.
func (p *chain) update(r *request, status smb2.Status) {
	p.sessionID, p.treeID = r.hdr.SessionID, r.hdr.TreeID
	p.session, p.tree = r.sess != nil, r.tree != nil
	create := r.hdr.Command == smb2.CommandCreate
	switch {
	case r.file != nil && (!create || !status.IsError()):
		p.fileID, p.file, p.failed = r.file.id, true, smb2.StatusSuccess
	case status.IsError() && (create || commands[r.hdr.Command].fileID != 0):
		p.file, p.failed = false, status
	}
}

// prepare checks what the command's row demands and finds what the handler works on. Reader goroutine only.
func (c *conn) prepare(r *request, previous *chain) error {
	row := &commands[r.hdr.Command]
	if err := c.checkState(r); err != nil {
		return err
	}
	if row.alone && !r.alone {
		return smb2.StatusInvalidParameter
	}
	if err := c.findSession(r, row, previous); err != nil {
		return err
	}
	body := r.msg[smb2.HeaderLen:]
	if row.size != 0 && (len(body) < int(row.size&^1) || binary.LittleEndian.Uint16(body) != row.size) {
		return fmt.Errorf("%w: %s body of %d bytes, StructureSize %d", smb2.ErrMalformed, r.hdr.Command, len(body),
			binary.LittleEndian.Uint16(body))
	}
	if row.tree {
		if previous != nil && r.hdr.Flags.Has(smb2.FlagRelated) && !previous.tree {
			return smb2.StatusInvalidParameter
		}
		t, ok := r.sess.tree(r.hdr.TreeID)
		if !ok {
			return smb2.StatusNetworkNameDeleted
		}
		r.tree = t
	}
	if row.fileID != 0 {
		if err := findFile(r, row, body, previous); err != nil {
			return err
		}
	}
	if row.charge != nil && c.neg.multiCredit {
		if n := row.charge(body); chargeFor(n) > max(1, uint64(r.hdr.CreditCharge)) {
			return fmt.Errorf("%w: %s of %d bytes with a credit charge of %d", smb2.ErrMalformed, r.hdr.Command, n,
				r.hdr.CreditCharge)
		}
	}
	return nil
}

// checkState checks the order of commands and the header's flags, [MS-SMB2] 3.3.5.2.
func (c *conn) checkState(r *request) error {
	isNegotiate := r.hdr.Command == smb2.CommandNegotiate
	switch {
	case c.neg.done && isNegotiate:
		return &connError{"second NEGOTIATE", nil}
	case !c.neg.done && !isNegotiate:
		return &connError{"request before NEGOTIATE", nil}
	}
	allowed := smb2.FlagRelated | smb2.FlagDFS
	if !isNegotiate {
		allowed |= smb2.FlagSigned
	}
	if c.neg.dialect >= Dialect300 {
		allowed |= smb2.FlagReplay
	}
	if c.neg.dialect >= Dialect311 {
		allowed |= smb2.FlagPriorityMask
	}
	if extra := r.hdr.Flags &^ allowed; extra != 0 {
		return fmt.Errorf("%w: header flags %#x", smb2.ErrMalformed, uint32(extra))
	}
	return nil
}

// findSession finds the request's session and checks its signature.
func (c *conn) findSession(r *request, row *command, previous *chain) error {
	related := previous != nil && r.hdr.Flags.Has(smb2.FlagRelated)
	if row.session && related && !previous.session {
		return smb2.StatusInvalidParameter
	}
	s := c.session(r.hdr.SessionID)
	if s == nil {
		if row.session || r.hdr.Flags.Has(smb2.FlagSigned) && r.hdr.SessionID != 0 {
			return smb2.StatusUserSessionDeleted
		}
		return nil
	}
	if !s.valid.Load() {
		// Still logging on: there is no key to check with, and nothing but SESSION_SETUP has a business here.
		if row.session {
			return smb2.StatusUserSessionDeleted
		}
		return nil
	}
	r.sess = s
	if err := c.checkSignature(r, s); err != nil {
		return err
	}
	if r.hdr.Command == smb2.CommandTreeConnect && c.neg.dialect == Dialect311 && !r.signed && s.signer != nil {
		return &connError{"unsigned TREE_CONNECT in 3.1.1", nil} // [MS-SMB2] 3.3.5.7
	}
	return nil
}

// checkSignature checks the request's signature and decides whether the reply has one, [MS-SMB2] 3.3.5.2.4.
func (c *conn) checkSignature(r *request, s *session) error {
	if s.signer == nil { // a guest has no key: its signature means nothing
		return nil
	}
	has := r.hdr.Flags.Has(smb2.FlagSigned)
	r.signReply = has || s.signRequired
	switch {
	case has && s.signer.Verify(r.msg):
		r.signed = true
		return nil
	case !has && !s.signRequired:
		return nil
	}
	c.srv.stats.badSig.Add(1)
	c.badSigs++
	if c.badSigs >= c.srv.cfg.Limits.BadSignatures {
		return &connError{"bad signatures", fmt.Errorf("the last on %s", r.hdr.Command)}
	}
	return smb2.StatusAccessDenied
}

// findFile finds the open that FileId names and takes a reference for the request.
func findFile(r *request, row *command, body []byte, previous *chain) error {
	id := smb2.FileID{
		Persistent: binary.LittleEndian.Uint64(body[row.fileID:]),
		Volatile:   binary.LittleEndian.Uint64(body[row.fileID+8:]),
	}
	if id.IsAny() {
		switch {
		case previous != nil && r.hdr.Flags.Has(smb2.FlagRelated):
			switch {
			case previous.failed != smb2.StatusSuccess:
				return previous.failed
			case !previous.file:
				if row.anyFile {
					return nil
				}
				return smb2.StatusInvalidHandle
			}
			id = previous.fileID
		case row.anyFile:
			return nil
		}
	}
	o, ok := r.sess.findOpen(r.tree, id)
	if !ok {
		return smb2.StatusFileClosed
	}
	r.file = o
	return nil
}

// finish turns a handler's result into the reply in r.out and returns its status.
func (c *conn) finish(r *request, answer reply, err error) smb2.Status {
	status, known := statusOf(err)
	if !known {
		c.srv.stats.internal.Add(1)
		c.log.Error("internal error", "command", r.hdr.Command.String(), "message_id", r.hdr.MessageID, "err", err)
	}
	if errors.Is(err, smb2.ErrMalformed) {
		c.srv.stats.malformed.Add(1)
		c.log.Debug("malformed request", "command", r.hdr.Command.String(), "err", err)
	}
	if r.hdr.Command == smb2.CommandCreate && status == smb2.StatusNotSameDevice {
		status = smb2.StatusObjectPathNotFound // a path that leaves the share, not a rename
	}
	if answer == nil {
		answer = smb2.ErrorResponse{}
		if status == smb2.StatusSuccess {
			status = smb2.StatusInternalError
		}
	}
	r.out.body(answer)
	if p, ok := answer.(payloadReply); ok {
		r.out.payload = p.payload()
	}
	h := smb2.Header{
		CreditCharge: r.hdr.CreditCharge,
		Status:       status,
		Command:      r.hdr.Command,
		Credits:      r.credits,
		Flags:        smb2.FlagServerToRedir | r.hdr.Flags&(smb2.FlagRelated|smb2.FlagPriorityMask),
		MessageID:    r.hdr.MessageID,
		ProcessID:    r.hdr.ProcessID,
		TreeID:       r.hdr.TreeID,
		SessionID:    r.hdr.SessionID,
	}
	if c.neg.dialect < Dialect311 {
		h.Flags &^= smb2.FlagPriorityMask
	}
	if r.signReply && r.sess != nil {
		r.out.end(h, r.sess.signer)
	} else {
		r.out.end(h, nil)
	}
	if r.hash != nil {
		r.hash.Update(r.out.element()) // such a reply is alone and unsigned: these are its final bytes
	}
	return status
}
