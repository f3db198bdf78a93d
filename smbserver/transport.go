package smbserver

import (
	"net"

	"github.com/uringfs/uringfs/smbserver/datapath"
)

// Transport is the socket seam: a connection to one client, a TCP socket or anything like it. The server reads from one
// goroutine and writes from one goroutine at a time, sets deadlines, and closes it once. Close must end a blocked Read
// and Write.
type Transport interface{ net.Conn }

// PayloadSender is an optional ability of a Transport; see [datapath.PayloadSender].
type PayloadSender = datapath.PayloadSender
