// Package racelab shows, with proof, which bytes an SMB client receives when a
// file changes while the server's answer is in flight.
//
// A [Case] names one experiment: a target and the path it must serve the READ
// by, a scratch file system and the state of its page cache, a window, a
// mutation and who makes it. [Run] works through a plan of cases and gives each
// a verdict.
//
// One cell, in order: a fresh file whose every 8-byte word says which
// generation and offset it belongs to; a client that asks for a range and then
// stops receiving; the kernel's word (FIONREAD of the client's socket, the send
// queue of the server's socket from sock_diag) that the whole reply is in
// flight; the mutation; the kernel's word again; only then does the client
// receive. Every word of the payload is then old, new, zero or something the
// file never held, and that is the verdict. A cell whose window was not proven
// open on both sides of the mutation is INCONCLUSIVE, whatever its bytes say.
//
// Promises: proof is read by this process from the kernel, never taken from the
// target. The path that really served is the target's own counter, never the
// request. Scratch mounts, loop devices, directories and children are gone when
// Run returns, on error and on cancellation too; what a killed run left behind
// is removed by the next. With one seed two runs agree in every field but
// times, proof and attempts.
//
// Left to others: the target is uringfs itself, started as a child through
// internal/supervise, because a process must never touch a mount it serves.
// The receiving client is cloudsoda/go-smb2, so that the lab does not judge our
// codec with our codec; internal/smbclient only sends what go-smb2 cannot.
//
// Ownership: a cell owns its connection and its file; the run owns targets and
// scratch. Goroutines: one that waits for the READ and one for the mutation,
// both waited for by the cell; the bare target has one per connection, waited
// for by its close.
package racelab
