// Package smbserver is an embeddable SMB 2 and 3 server: dialects 2.0.2 to 3.1.1, NTLMv2, signing. A program gives it a
// [Config] with shares and users and a listener:
//
//	srv, err := smbserver.New(smbserver.Config{Shares: map[string]smbserver.Share{"data": share}, Auth: users})
//	go srv.Serve(listener)
//
// Promises:
//   - A request that makes no sense is answered with the status that [MS-SMB2] names; broken framing, signatures or MessageIds
//     end the connection, with one line in the log. Neither ends the server, and what a peer can make it hold is bounded
//     by [Limits].
//   - What is not supported is refused, never answered with a success that does nothing: byte-range locks, oplocks and leases,
//     change notification, encryption, multichannel.
//   - The bytes of a READ are those that the file held between the request's arrival and its answer, unless
//     [Config.ReadPath] says "unsafe-splice"; the signature is computed over the very memory that is sent.
//   - WRITE data is whole, and its signature checked, before the file sees any of it.
//   - A file is closed after the last request that uses it, however session, tree and connection end.
//
// Left to others: storage ([Share]; dirshare has one over a directory) and the socket ([Transport]); what users exist
// ([Authenticator]); paths that lead out of a share by symbolic links, which only the storage can see.
//
// Ownership: a connection has one reader goroutine, which runs its requests itself and owns sessions, MessageIds and negotiation;
// FLUSH runs on a goroutine of its own. A request is lent to its handler. Buffers come from the connection's pool: the
// frame received belongs to its requests until they are answered, the reply's to the frame under construction until it is
// sent. [Server.Serve] takes its listener; shares, users and logger are borrowed until [Server.Shutdown] has returned.
//
// Lock order, outermost first; a lock is never held while storage or a socket is waited for, except conn.wmu and nameLock, whose
// purpose that is:
//
//	nameLock                 CREATE, removal and rename of one name (share_mode.go)
//	  session.mu             trees and opens of a session
//	    open.mu              references of an open
//	  shareModes.mu          who has which file open
//	conn.wmu                 one reply at a time on the socket
//	conn.mu                  requests beside the reader
//	Server.mu                connections, sessions by id
//	datapath.Pool            innermost everywhere
package smbserver
