// Package smbtest holds what tests of an SMB server and of its storage need.
//
//   - [Mem] is a [smbserver.Share] in memory, complete down to holes, hard links and stable directory cookies. It is
//     the reference that the conformance suite is checked against, and a storage for servers under test.
//   - [ShareSuite] is the conformance suite for shares: what smbserver relies on, one behaviour a subtest. Every Share
//     runs it, also one wrapped in noise or faults.
//   - [Noise] wraps a connection so that its bytes arrive in other pieces and at other moments than they were sent.
//     TCP promises no more, so everything must work through it.
//
// Ownership: a Mem owns all its contents; files handed out by Open belong to the caller until Close. Nothing here starts
// goroutines of its own, except inside the tests of ShareSuite, which wait for theirs.
//
// Lock order of Mem: the tree lock, then the lock of one node. No two nodes are locked together, and no callback is
// called with a lock held.
//
// Left to others: permissions beyond [Options.Access], extended attributes, persistence.
package smbtest
