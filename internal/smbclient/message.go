package smbclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/uringfs/uringfs/internal/smb2"
)

// Appender is a request body: any XRequest of internal/smb2.
type Appender interface{ Append(b []byte) []byte }

// Raw is a body given as bytes, for messages that no codec would make.
type Raw []byte

// Append appends the bytes.
func (r Raw) Append(b []byte) []byte { return append(b, r...) }

// Request is one element of a frame.
type Request struct {
	Command smb2.Command
	Body    Appender
	TreeID  uint32
	// Related makes the element use the session, tree and file of the one before it.
	Related bool
	// Payload is the larger of what the request carries and what its answer may
	// carry, in bytes: it decides the credit charge, [MS-SMB2] 3.2.4.1.5.
	Payload int
	// MessageID is used by CANCEL only: the id of the request to be cancelled.
	MessageID uint64
}

// Response is one element of a received frame.
type Response struct {
	Header smb2.Header
	Msg    []byte // header and body; the Parse functions of internal/smb2 take it
}

// Err returns a [StatusError], or nil for success.
func (r Response) Err() error {
	if r.Header.Status == smb2.StatusSuccess {
		return nil
	}
	return &StatusError{Command: r.Header.Command, Status: r.Header.Status}
}

// interim reports whether a final answer follows.
func (r Response) interim() bool {
	return r.Header.Status == smb2.StatusPending && r.Header.Flags.Has(smb2.FlagAsync)
}

// Send sends the requests as one frame, a compound if there are several, and does
// not wait. It returns their message ids. ErrCredits: nothing was sent.
func (c *Client) Send(ctx context.Context, reqs ...Request) ([]uint64, error) {
	frame, ids, err := c.encode(reqs)
	if err != nil {
		return nil, err
	}
	return ids, c.write(ctx, frame)
}

// SendBytes sends a frame as it is, framing included, and keeps no books about it:
// for packets that are meant to be wrong.
func (c *Client) SendBytes(ctx context.Context, frame []byte) error { return c.write(ctx, frame) }

// Recv returns the elements of the next frame. Answers that a round trip set aside
// come first. Interim answers (STATUS_PENDING) are returned as they are.
func (c *Client) Recv(ctx context.Context) ([]Response, error) {
	if len(c.aside) > 0 {
		first := c.aside
		c.aside = nil
		return first, nil
	}
	return c.receive(ctx)
}

// RoundTrip sends one request and waits for its final answer; other answers are set
// aside for Recv. An answer that is not a success is returned with a [StatusError].
func (c *Client) RoundTrip(ctx context.Context, req Request) (Response, error) {
	_, answer, err := c.exchange(ctx, req)
	if err != nil {
		return Response{}, err
	}
	return answer, answer.Err()
}

// exchange is RoundTrip that also returns the bytes sent and does not judge the
// status: SESSION_SETUP needs both.
func (c *Client) exchange(ctx context.Context, req Request) (sent []byte, answer Response, err error) {
	frame, ids, err := c.encode([]Request{req})
	if err != nil {
		return nil, Response{}, err
	}
	if err := c.write(ctx, frame); err != nil {
		return nil, Response{}, err
	}
	for {
		got, err := c.receive(ctx)
		if err != nil {
			return nil, Response{}, err
		}
		var found *Response
		for i, r := range got {
			switch {
			case r.Header.MessageID != ids[0]:
				c.aside = append(c.aside, r)
			case !r.interim():
				found = &got[i]
			}
		}
		if found != nil {
			return frame[smb2.FrameLen:], *found, nil
		}
	}
}

// charge is the credit charge of a request; dialect 2.0.2 and the request that
// finds the dialect have none in the header but use one id.
func (c *Client) charge(r Request) (field uint16, ids int) {
	if c.dialect == 0 || c.dialect == smb2.Dialect202 {
		return 0, 1
	}
	n := (max(r.Payload, 1)-1)/(64<<10) + 1
	return uint16(min(n, 1<<16-1)), n
}

// encode builds the frame and, when it succeeds, books ids and credits.
func (c *Client) encode(reqs []Request) (frame []byte, ids []uint64, err error) {
	if len(reqs) == 0 {
		return nil, nil, errors.New("smbclient: a frame needs a request")
	}
	nextID, credits := c.nextID, c.credits
	ask := c.cfg.CreditRequest
	if ask == 0 {
		ask = 128
	}
	frame = make([]byte, smb2.FrameLen)
	type element struct {
		start int
		sign  bool
	}
	elements := make([]element, len(reqs))
	for i, r := range reqs {
		if i > 0 {
			frame = smb2.PadCompound(frame, elements[i-1].start)
		}
		h := smb2.Header{Command: r.Command, Credits: ask, ProcessID: 0xFEFF, TreeID: r.TreeID, SessionID: c.sessionID}
		if r.Command == smb2.CommandCancel {
			h.MessageID, h.Credits = r.MessageID, 0 // has no id of its own, [MS-SMB2] 3.2.4.24
		} else {
			field, n := c.charge(r)
			h.CreditCharge, h.MessageID = field, nextID
			nextID += uint64(n) // #nosec G115 -- small and positive
			credits -= n
		}
		if r.Related {
			h.Flags |= smb2.FlagRelated
		}
		sign := c.signs(r.Command)
		if sign {
			h.Flags |= smb2.FlagSigned
		}
		elements[i] = element{len(frame), sign}
		ids = append(ids, h.MessageID)
		frame = r.Body.Append(h.Append(frame))
	}
	if credits < 0 {
		return nil, nil, fmt.Errorf("%w: %d for a frame of %d requests", ErrCredits, c.credits, len(reqs))
	}
	// A signature covers the padding and NextCommand of its element, so signing comes last.
	for i, e := range elements {
		end := len(frame)
		if i+1 < len(elements) {
			end = elements[i+1].start
		}
		if e.sign {
			c.signer.Sign(frame[e.start:end])
		}
	}
	if err := smb2.PutFrame(frame, len(frame)-smb2.FrameLen); err != nil {
		return nil, nil, err
	}
	c.nextID, c.credits = nextID, credits
	return frame, ids, nil
}

// signs reports whether a request of this command is signed.
func (c *Client) signs(cmd smb2.Command) bool {
	return c.signer != nil && (c.cfg.Sign || cmd == smb2.CommandTreeConnect)
}

func (c *Client) write(ctx context.Context, frame []byte) error {
	return c.guarded(ctx, func() error {
		if _, err := c.conn.Write(frame); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return nil
	})
}

// receive reads one frame, verifies and books it.
func (c *Client) receive(ctx context.Context) ([]Response, error) {
	var msg []byte
	err := c.guarded(ctx, func() error {
		var head [smb2.FrameLen]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		length, err := smb2.ParseFrame(head[:])
		if err != nil {
			return err
		}
		msg = make([]byte, length)
		if _, err := io.ReadFull(c.conn, msg); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []Response
	for rest := msg; rest != nil; {
		var element []byte
		if element, rest, err = smb2.NextInCompound(rest); err != nil {
			return nil, err
		}
		h, err := smb2.ParseHeader(element)
		if err != nil {
			return nil, err
		}
		if err := c.verify(h, element); err != nil {
			return nil, err
		}
		c.credits += int(h.Credits)
		out = append(out, Response{Header: h, Msg: element})
	}
	return out, nil
}

// verify checks a signature where there is one or must be one, [MS-SMB2] 3.2.5.1.3.
func (c *Client) verify(h smb2.Header, element []byte) error {
	if !h.IsResponse() {
		return fmt.Errorf("%w: %v without the response flag", ErrProtocol, h.Command)
	}
	if c.signer == nil || h.MessageID == smb2.MessageIDUnsolicited || h.Status == smb2.StatusPending {
		return nil
	}
	if !h.Flags.Has(smb2.FlagSigned) {
		if c.cfg.Sign {
			return fmt.Errorf("%w: unsigned answer to %v", ErrProtocol, h.Command)
		}
		return nil
	}
	if !c.signer.Verify(bytes.Clone(element)) {
		return fmt.Errorf("%w: signature of the answer to %v", ErrProtocol, h.Command)
	}
	return nil
}

// guarded runs f, whose I/O ends when ctx does, by closing the connection.
func (c *Client) guarded(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	err := f()
	if !stop() && err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}
