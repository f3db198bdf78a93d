// Package smbclient is a raw SMB 2 and 3 client for tests and for the race lab:
// it sends what a test wants sent, in the order it wants, and receives only when
// told to.
//
// A [Client] is one connection with one session. [Client.Send] puts any number of
// requests into one frame, related or not, and returns without receiving;
// [Client.Recv] receives one frame; [Client.RoundTrip] does both for one request.
// [Tree] and [File] have the usual calls on top. Whether a reply is in flight can
// be proven from outside, because nothing here reads ahead: between two calls the
// client has no byte of the connection in its own memory beyond whole frames
// already returned or set aside.
//
// Promises: message ids and credits are kept as [MS-SMB2] 3.2.4.1.2 and 3.2.5.1.4
// demand, and a request without credits is refused here, not sent. A signed
// response is verified whenever the session has a key.
//
// Left to others: it is built on our codec and therefore never a judge of it. It
// does not encrypt, reconnect, follow referrals or break oplocks, and it asks for
// none.
//
// Ownership: Dial takes the connection; Close closes it. Byte slices that are
// passed in are borrowed; what a [Response] holds belongs to the caller. A Client
// and everything made from it is for one goroutine at a time and starts none. A
// call whose context ends closes the connection: what is left in the stream has
// no meaning for anyone.
package smbclient
