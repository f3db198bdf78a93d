//go:build linux

// Package supervise starts, pauses, stops and reaps child processes, and detects, aborts and detaches FUSE mounts.
//
// It exists because a FUSE server must never be touched by its own process: a thread that waits for an answer of a
// server in the same process can not be killed, not even by SIGKILL, until the connection is aborted. So every mount is
// served by a child, and one place knows how to end a child and its mount in the right order, whatever state they are in.
//
// Promises
//
//   - Start returns a child that has announced itself with a line `ready {json}` on its standard output, or an error that
//     quotes the end of its standard error; in the second case nothing is left running.
//   - A child dies with its parent. The kernel sends the parent-death signal when the *thread* that forked ends, and the
//     Go runtime may end a thread early; so the forking thread is locked to a goroutine that lives until the child has
//     been reaped. The default is SIGTERM, upon which our servers unmount; a child that ignores it outlives us.
//   - A child has a process group of its own: a ^C on the terminal reaches the parent alone, which stops children in order.
//   - Signals go by pidfd or to a child that is not yet reaped: never to a stranger that inherited the number.
//   - Nothing here stats, opens or lists a mount of which it does not know that it answers, except [Stale], which does so
//     to find out, on a thread of its own.
//
// Left to others: what a child does, what its ready line says, and which mount belongs to which child.
//
// Ownership: a [Child] owns its process until Wait, Stop or Kill has returned nil or an exit error; [Command.Stdout] and
// [Command.Stderr] are borrowed until then and written by one goroutine each.
//
// There is one lock, in the tail buffer of standard error; it is a leaf.
package supervise
