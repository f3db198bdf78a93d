//go:build linux

package racelab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errNoSocket says that the kernel knows no TCP socket of that 4-tuple.
var errNoSocket = errors.New("no such socket")

// queues of a TCP socket, in bytes. Send is what SIOCOUTQ says: written and not yet
// acknowledged, sent or not. Receive is received and not yet read. Written is all that
// was ever put into Send; 0 where the kernel's answer does not tell.
type queues struct {
	send, receive int
	written       uint64
}

// sockDiag asks the kernel about other processes' sockets, sock_diag(7). It is
// for one goroutine. Close it.
type sockDiag struct {
	fd  int // -1: the kernel has no sock_diag for TCP, /proc/net/tcp is read instead
	seq uint32
}

func newSockDiag() *sockDiag {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return &sockDiag{fd: -1}
	}
	return &sockDiag{fd: fd}
}

func (d *sockDiag) Close() error {
	if d.fd < 0 {
		return nil
	}
	return unix.Close(d.fd)
}

// queues returns the queues of the socket whose own address is local.
func (d *sockDiag) queues(local, remote netip.AddrPort) (queues, error) {
	if d.fd >= 0 {
		q, err := d.ask(local, remote)
		if err == nil {
			return q, nil
		}
		// No inet_diag module, or netlink is filtered: the text says the same.
	}
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return queues{}, err
	}
	defer f.Close()
	return procQueues(f, local, remote)
}

// Sizes of struct inet_diag_req_v2 and inet_diag_msg, and offsets in the latter,
// linux/inet_diag.h.
const (
	diagRequestLen = 56
	diagMessageLen = 72
	diagReceiveAt  = 56
	diagSendAt     = 60
	inetDiagInfo   = 2 // INET_DIAG_INFO: attribute with a struct tcp_info
)

// ask sends one exact inet_diag_req_v2. An exact request has no NLM_F_DUMP and is
// answered by one message or by an errno.
func (d *sockDiag) ask(local, remote netip.AddrPort) (queues, error) {
	if !local.Addr().Is4() || !remote.Addr().Is4() {
		return queues{}, fmt.Errorf("sock_diag of %v: not IPv4", local)
	}
	d.seq++
	ne, be := binary.NativeEndian, binary.BigEndian
	msg := make([]byte, unix.NLMSG_HDRLEN+diagRequestLen)
	ne.PutUint32(msg[0:], uint32(len(msg))) // #nosec G115 -- a constant
	ne.PutUint16(msg[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	ne.PutUint32(msg[8:], d.seq)
	req := msg[unix.NLMSG_HDRLEN:]
	req[0], req[1], req[2] = unix.AF_INET, unix.IPPROTO_TCP, 1<<(inetDiagInfo-1)
	ne.PutUint32(req[4:], ^uint32(0)) // every state
	be.PutUint16(req[8:], local.Port())
	be.PutUint16(req[10:], remote.Port())
	src, dst := local.Addr().As4(), remote.Addr().As4()
	copy(req[12:], src[:])
	copy(req[28:], dst[:])
	ne.PutUint64(req[48:], ^uint64(0)) // INET_DIAG_NOCOOKIE, twice
	if err := unix.Sendto(d.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return queues{}, fmt.Errorf("sock_diag request: %w", err)
	}
	buf := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(d.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return queues{}, fmt.Errorf("sock_diag answer: %w", err)
		}
		if n < unix.NLMSG_HDRLEN+4 {
			return queues{}, fmt.Errorf("sock_diag answer of %d bytes", n)
		}
		if ne.Uint32(buf[8:]) != d.seq {
			continue // of a request given up before
		}
		body := buf[unix.NLMSG_HDRLEN:n]
		switch ne.Uint16(buf[4:]) {
		case unix.NLMSG_ERROR:
			errno := unix.Errno(-int32(ne.Uint32(body))) // #nosec G115 -- a negative errno
			// ENOENT means "no such socket" and "no handler for TCP" alike: the text
			// of /proc tells them apart.
			return queues{}, fmt.Errorf("sock_diag %v to %v: %w", local, remote, errno)
		case unix.SOCK_DIAG_BY_FAMILY:
			if len(body) < diagMessageLen {
				return queues{}, fmt.Errorf("sock_diag message of %d bytes", len(body))
			}
			q := queues{receive: int(ne.Uint32(body[diagReceiveAt:])), send: int(ne.Uint32(body[diagSendAt:]))}
			if acked, ok := bytesAcked(body[diagMessageLen:]); ok {
				q.written = acked + uint64(q.send) // #nosec G115 -- 32 bits
			}
			return q, nil
		default:
			return queues{}, fmt.Errorf("sock_diag message of type %d", ne.Uint16(buf[4:]))
		}
	}
}

// bytesAcked finds tcpi_bytes_acked among the attributes of an inet_diag_msg.
func bytesAcked(attributes []byte) (uint64, bool) {
	ne := binary.NativeEndian
	const at = int(unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked))
	for len(attributes) >= unix.SizeofRtAttr {
		size, kind := int(ne.Uint16(attributes)), ne.Uint16(attributes[2:])
		if size < unix.SizeofRtAttr || size > len(attributes) {
			return 0, false
		}
		if value := attributes[unix.SizeofRtAttr:size]; kind == inetDiagInfo && len(value) >= at+8 {
			return ne.Uint64(value[at:]), true
		}
		attributes = attributes[min((size+3)&^3, len(attributes)):]
	}
	return 0, false
}

// procQueues reads the text form, proc_pid_net(5): "sl local rem st tx:rx …", where
// an address is its four bytes as one native integer.
func procQueues(r io.Reader, local, remote netip.AddrPort) (queues, error) {
	want := [2]string{procAddr(local), procAddr(remote)}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[1] != want[0] || fields[2] != want[1] {
			continue
		}
		tx, rx, ok := strings.Cut(fields[4], ":")
		send, errSend := strconv.ParseUint(tx, 16, 31)
		receive, errReceive := strconv.ParseUint(rx, 16, 31)
		if !ok || errSend != nil || errReceive != nil {
			return queues{}, fmt.Errorf("/proc/net/tcp queues %q", fields[4])
		}
		return queues{send: int(send), receive: int(receive)}, nil // #nosec G115 -- 31 bits
	}
	if err := lines.Err(); err != nil {
		return queues{}, fmt.Errorf("/proc/net/tcp: %w", err)
	}
	return queues{}, fmt.Errorf("%v to %v: %w", local, remote, errNoSocket)
}

func procAddr(a netip.AddrPort) string {
	ip := a.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}
