package datapath

import "context"

// Reader is the part of a file that the copy path uses. It borrows p; it is short only at the end of file.
type Reader interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
}

// Referencer is the ability of a file to hand out content by reference: page-cache pages in a pipe, not their bytes. What the
// file holds when the receiver drains them is what the receiver gets; nothing keeps it still meanwhile.
type Referencer interface {
	// Reference takes up to n bytes at off. The Payload's length is what was really taken: less at the end of file, or
	// where the pipe is smaller. The caller takes the Payload and releases it.
	Reference(ctx context.Context, off int64, n int) (Payload, error)
}

// Payload is file content held by reference.
type Payload interface {
	// Len is the number of bytes held.
	Len() int
	// Release drops what has not been sent and gives the pipe back. Call it exactly once, after SendPayload too.
	Release()
}

// PayloadSender is the ability of a transport to send a header and a Payload as one unit, in order, nothing between them.
type PayloadSender interface {
	// SendPayload borrows both; the caller still releases p. After an error the stream may have been cut anywhere: the
	// connection is lost.
	SendPayload(ctx context.Context, header []byte, p Payload) error
}
