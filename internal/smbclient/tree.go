package smbclient

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// Tree is a connected share.
type Tree struct {
	c       *Client
	id      uint32
	connect smb2.TreeConnectResponse
}

// TreeConnect connects the share of that name. The server's name in the path is
// the address that the connection leads to.
func (c *Client) TreeConnect(ctx context.Context, share string) (*Tree, error) {
	answer, err := c.RoundTrip(ctx, Request{Command: smb2.CommandTreeConnect, Body: smb2.TreeConnectRequest{
		Path: `\\` + c.conn.RemoteAddr().String() + `\` + share,
	}})
	if err != nil {
		return nil, err
	}
	resp, err := smb2.ParseTreeConnectResponse(answer.Msg)
	if err != nil {
		return nil, fmt.Errorf("TREE_CONNECT response: %w", err)
	}
	return &Tree{c: c, id: answer.Header.TreeID, connect: resp}, nil
}

// ID returns the tree's identifier, for requests built by hand.
func (t *Tree) ID() uint32 { return t.id }

// Connected returns the server's TREE_CONNECT response.
func (t *Tree) Connected() smb2.TreeConnectResponse { return t.connect }

// Disconnect ends the tree.
func (t *Tree) Disconnect(ctx context.Context) error {
	_, err := t.roundTrip(ctx, smb2.CommandTreeDisconnect, smb2.TreeDisconnectRequest{}, 0)
	return err
}

// Create opens or makes what req names. Zero values of Impersonation, ShareAccess
// and DesiredAccess stand for impersonation, all sharing and all access.
func (t *Tree) Create(ctx context.Context, req smb2.CreateRequest) (*File, error) {
	if req.Impersonation == 0 {
		req.Impersonation = smb2.ImpersonationImpersonation
	}
	if req.ShareAccess == 0 {
		req.ShareAccess = smb2.ShareRead | smb2.ShareWrite | smb2.ShareDelete
	}
	if req.DesiredAccess == 0 {
		req.DesiredAccess = smb2.FileAllAccess
	}
	answer, err := t.roundTrip(ctx, smb2.CommandCreate, req, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.Name, err)
	}
	resp, err := smb2.ParseCreateResponse(answer.Msg)
	if err != nil {
		return nil, fmt.Errorf("CREATE response: %w", err)
	}
	return &File{tree: t, ID: resp.FileID, Created: resp}, nil
}

// Open opens an existing file with the given access.
func (t *Tree) Open(ctx context.Context, name string, access smb2.AccessMask) (*File, error) {
	return t.Create(ctx, smb2.CreateRequest{
		DesiredAccess: access,
		Disposition:   smb2.FileOpen,
		Options:       smb2.FileNonDirectoryFile,
		Name:          name,
	})
}

func (t *Tree) roundTrip(ctx context.Context, cmd smb2.Command, body Appender, payload int) (Response, error) {
	return t.c.RoundTrip(ctx, Request{Command: cmd, Body: body, TreeID: t.id, Payload: payload})
}

// File is an open file. Close it.
type File struct {
	tree    *Tree
	ID      smb2.FileID
	Created smb2.CreateResponse
}

// Close closes the file.
func (f *File) Close(ctx context.Context) error {
	_, err := f.tree.roundTrip(ctx, smb2.CommandClose, smb2.CloseRequest{FileID: f.ID}, 0)
	return err
}

// ReadRequest is the request that Read sends, for [Client.Send].
func (f *File) ReadRequest(off int64, length uint32) Request {
	return Request{
		Command: smb2.CommandRead,
		Body:    smb2.ReadRequest{Length: length, Offset: uint64(off), FileID: f.ID}, // #nosec G115 -- file offsets are not negative
		TreeID:  f.tree.id,
		Payload: int(length),
	}
}

// Read reads up to length bytes at off in one request. At the end of the file the
// error is StatusEndOfFile.
func (f *File) Read(ctx context.Context, off int64, length uint32) ([]byte, error) {
	answer, err := f.tree.c.RoundTrip(ctx, f.ReadRequest(off, length))
	if err != nil {
		return nil, err
	}
	resp, err := smb2.ParseReadResponse(answer.Msg)
	if err != nil {
		return nil, fmt.Errorf("READ response: %w", err)
	}
	return resp.Data, nil
}

// Write writes b at off in one request and returns the count that the server gave.
func (f *File) Write(ctx context.Context, off int64, b []byte) (int, error) {
	req := smb2.WriteRequest{Offset: uint64(off), FileID: f.ID, Data: b} // #nosec G115 -- as above
	answer, err := f.tree.roundTrip(ctx, smb2.CommandWrite, req, len(b))
	if err != nil {
		return 0, err
	}
	resp, err := smb2.ParseWriteResponse(answer.Msg)
	if err != nil {
		return 0, fmt.Errorf("WRITE response: %w", err)
	}
	return int(resp.Count), nil
}

// Flush asks the server to make the file's data durable.
func (f *File) Flush(ctx context.Context) error {
	_, err := f.tree.roundTrip(ctx, smb2.CommandFlush, smb2.FlushRequest{FileID: f.ID}, 0)
	return err
}

// QueryInfo returns the buffer of an information class, at most limit bytes.
func (f *File) QueryInfo(ctx context.Context, kind smb2.InfoType, class uint8, limit uint32) ([]byte, error) {
	req := smb2.QueryInfoRequest{Type: kind, Class: class, OutputBufferLength: limit, FileID: f.ID}
	answer, err := f.tree.roundTrip(ctx, smb2.CommandQueryInfo, req, int(limit))
	if err != nil {
		return nil, err
	}
	resp, err := smb2.ParseQueryInfoResponse(answer.Msg)
	if err != nil {
		return nil, fmt.Errorf("QUERY_INFO response: %w", err)
	}
	return resp.Buffer, nil
}

// SetInfo sets an information class.
func (f *File) SetInfo(ctx context.Context, kind smb2.InfoType, class uint8, buffer []byte) error {
	req := smb2.SetInfoRequest{Type: kind, Class: class, FileID: f.ID, Buffer: buffer}
	_, err := f.tree.roundTrip(ctx, smb2.CommandSetInfo, req, len(buffer))
	return err
}

// SetEndOfFile cuts or extends the file to size bytes: FileEndOfFileInformation,
// [MS-FSCC] 2.4.14.
func (f *File) SetEndOfFile(ctx context.Context, size int64) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(size)) // #nosec G115 -- the wire has 64 bits, signed
	return f.SetInfo(ctx, smb2.InfoFile, uint8(fscc.ClassEndOfFile), b)
}

// Ioctl sends a control code and returns its output, at most limit bytes.
func (f *File) Ioctl(ctx context.Context, code smb2.FSCTL, input []byte, limit uint32) ([]byte, error) {
	req := smb2.IoctlRequest{
		Code: code, FileID: f.ID, Input: input, MaxOutputResponse: limit, Flags: smb2.IoctlIsFsctl,
	}
	answer, err := f.tree.roundTrip(ctx, smb2.CommandIoctl, req, max(len(input), int(limit)))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", code, err)
	}
	resp, err := smb2.ParseIoctlResponse(answer.Msg)
	if err != nil {
		return nil, fmt.Errorf("IOCTL response: %w", err)
	}
	return resp.Output, nil
}

// SetSparse marks the file sparse or not, [MS-FSCC] 2.3.64.
func (f *File) SetSparse(ctx context.Context, on bool) error {
	input := []byte{0}
	if on {
		input[0] = 1
	}
	_, err := f.Ioctl(ctx, smb2.FsctlSetSparse, input, 0)
	return err
}

// SetZeroData makes the bytes from off to beyond (exclusive) read as zeros,
// [MS-FSCC] 2.3.67.
func (f *File) SetZeroData(ctx context.Context, off, beyond int64) error {
	input := binary.LittleEndian.AppendUint64(nil, uint64(off))     // #nosec G115 -- the wire has 64 bits, signed
	input = binary.LittleEndian.AppendUint64(input, uint64(beyond)) // #nosec G115 -- as above
	_, err := f.Ioctl(ctx, smb2.FsctlSetZeroData, input, 0)
	return err
}
