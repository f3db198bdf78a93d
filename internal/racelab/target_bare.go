//go:build linux

package racelab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bare is the smallest server that can lose this race: no SMB, no FUSE, one request
// format, a payload by splice(2) or by pread and send. It answers two questions: is
// the kernel, the link or our server the reason for what a cell shows; and can the
// lab see a change at all. It serves inside this process, which is safe because it
// mounts nothing.
type bare struct {
	path     Path
	dir      string
	listener net.Listener
	pdus     atomic.Int64

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // guarded by mu
	closed  bool                  // guarded by mu
	serving sync.WaitGroup
}

// A bare request is a name length, the offset and length of the range, and the name.
// A bare reply has SMB's framing with zeros for a header.
const bareRequestLen = 2 + 8 + 4

func startBare(path Path, dir string) (*bare, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("bare target: %w", err)
	}
	b := &bare{path: path, dir: dir, listener: listener, conns: make(map[net.Conn]struct{})}
	b.serving.Add(1)
	// ends when the listener is closed; waited by close.
	go b.accept()
	return b, nil
}

func (b *bare) accept() {
	defer b.serving.Done()
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			conn.Close()
			return
		}
		b.conns[conn] = struct{}{}
		b.serving.Add(1)
		b.mu.Unlock()
		// ends when the peer or close closes the connection; waited by close.
		go b.serve(conn)
	}
}

func (b *bare) serve(conn net.Conn) {
	defer b.serving.Done()
	defer func() {
		b.mu.Lock()
		delete(b.conns, conn)
		b.mu.Unlock()
		conn.Close()
	}()
	for b.answer(conn) == nil {
	}
}

// answer serves one request. Any error ends the connection: there is no status here.
func (b *bare) answer(conn net.Conn) error {
	head := make([]byte, bareRequestLen)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	be := binary.BigEndian
	name := make([]byte, be.Uint16(head))
	off, size := int64(be.Uint64(head[2:])), int(be.Uint32(head[10:])) // #nosec G115 -- our own client's
	if _, err := io.ReadFull(conn, name); err != nil {
		return err
	}
	if size > MaxSize {
		return fmt.Errorf("%d bytes", size)
	}
	f, err := os.OpenInRoot(b.dir, filepath.Clean(string(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	reply := make([]byte, replyHead)
	be.PutUint32(reply, uint32(replyHead-frameLen+size)) // #nosec G115 -- bounded above
	if b.path == PathUnsafeSplice {
		err = b.splice(conn, reply, f, off, size)
	} else {
		err = b.copy(conn, reply, f, off, size)
	}
	if err == nil {
		b.pdus.Add(1)
	}
	return err
}

func (b *bare) copy(conn net.Conn, reply []byte, f *os.File, off int64, size int) error {
	reply = append(reply, make([]byte, size)...)
	if _, err := f.ReadAt(reply[replyHead:], off); err != nil {
		return err
	}
	_, err := conn.Write(reply)
	return err
}

// splice takes the whole payload into the pipe before the header leaves, so that the
// announced length is true.
func (b *bare) splice(conn net.Conn, reply []byte, f *os.File, off int64, size int) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("%T is no TCP connection", conn)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0]) // an emptied pipe
	defer unix.Close(pipe[1]) // as above
	if _, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_SETPIPE_SZ, size+pageSize); err != nil {
		return fmt.Errorf("pipe of %d bytes: %w", size, err)
	}
	for left := size; left > 0; {
		n, err := unix.Splice(int(f.Fd()), &off, pipe[1], nil, left, unix.SPLICE_F_NONBLOCK)
		if err != nil || n == 0 {
			return fmt.Errorf("splice in, %d bytes left: %w", left, errors.Join(err, io.ErrUnexpectedEOF))
		}
		left -= int(n)
	}
	if _, err := conn.Write(reply); err != nil {
		return err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	left := size
	var inner error
	err = raw.Write(func(fd uintptr) bool {
		for left > 0 {
			n, err := unix.Splice(pipe[0], nil, int(fd), nil, left, unix.SPLICE_F_NONBLOCK)
			if errors.Is(err, unix.EAGAIN) {
				return false
			}
			if err != nil {
				inner = err
				return true
			}
			left -= int(n)
		}
		return true
	})
	return errors.Join(err, inner)
}

func (b *bare) backing() string { return b.dir }
func (b *bare) mount() string   { return "" }
func (b *bare) fault() string   { return "" }

func (b *bare) served(context.Context) (map[string]int64, error) {
	return map[string]int64{string(b.path): b.pdus.Load()}, nil
}

func (b *bare) mountOps(context.Context) (map[string]int64, error) { return nil, errors.ErrUnsupported }

func (b *bare) second(context.Context) (*second, error) { return nil, errors.ErrUnsupported }

func (b *bare) close(context.Context) error {
	b.mu.Lock()
	b.closed = true
	err := b.listener.Close()
	for conn := range b.conns {
		conn.Close()
	}
	b.mu.Unlock()
	b.serving.Wait()
	return err
}

func (b *bare) connect(ctx context.Context, w Window, diag *sockDiag) (reader, error) {
	wire, err := dialWire(ctx, b.listener.Addr().String(), w.receiveBuffer(), diag)
	if err != nil {
		return nil, err
	}
	return &bareReader{wire: wire, gate: NewGate(wire.conn)}, nil
}

// bareReader is the bare target's client.
type bareReader struct {
	wire *wire
	gate *Gate
	name string
}

func (r *bareReader) stall() *Gate    { return r.gate }
func (r *bareReader) observed() *wire { return r.wire }
func (r *bareReader) close() error    { return r.gate.Close() }

func (r *bareReader) open(_ context.Context, name string) error {
	r.name = name
	return nil
}

func (r *bareReader) read(b []byte, off int64) (int, error) {
	be := binary.BigEndian
	req := be.AppendUint16(nil, uint16(len(r.name))) // #nosec G115 -- a scratch file's name
	req = be.AppendUint64(req, uint64(off))          // #nosec G115 -- not negative
	req = be.AppendUint32(req, uint32(len(b)))       // #nosec G115 -- at most MaxSize
	if _, err := r.gate.Write(append(req, r.name...)); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(r.gate, make([]byte, replyHead)); err != nil {
		return 0, err
	}
	return io.ReadFull(r.gate, b)
}

func (r *bareReader) reply(head []byte, size int) (int, error) {
	length := int(binary.BigEndian.Uint32(head))
	if length != replyHead-frameLen+size {
		return 0, fmt.Errorf("the request for %d bytes was answered by %d", size, length)
	}
	return frameLen + length, nil
}
