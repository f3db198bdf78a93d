// Package datapath decides how the payload of a READ travels from file to socket, and holds the pieces of each way.
//
// [Make] turns what is known about a READ into a [Plan], a plain value: path and reason. The server logs it, counts it and
// reports it; tests ask for it directly. There are two paths:
//
//   - copy: read into a private buffer at its final place behind the headers, sign over that very memory, one send. What the
//     client receives is what the file held at some moment during the read.
//   - unsafe-splice: page-cache pages by reference. Cheaper, and wrong whenever the file changes before the client has taken the
//     bytes off its socket. Only for those who ask for it by name; refused for anything signed, encrypted or compounded.
//
// Promises: a plan never takes the by-reference path unless the policy names it and no fact forbids it. A [Pool] hands out the
// buffer that was returned last.
//
// Left to others: what a file or a transport can do (the interfaces here are implemented outside), the SMB messages, and
// sending.
//
// Ownership: Take gives a buffer, Put takes it back exactly once; a [Payload] is released exactly once, sent or not. Nothing
// here starts goroutines. A Pool has one lock, taken last and held for a few instructions.
package datapath
