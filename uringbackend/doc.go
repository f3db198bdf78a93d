// Package uringbackend is the storage of uringfs: an Engine that carries out file operations by io_uring or by
// plain system calls, and a Volume, a directory tree on top of it.
//
// # Engine
//
// Every operation is an Op handed to one method, Submitter.Submit; Engine.Do is its blocking form and the typed
// functions are one line over Do. The verb table says per verb how the ring and how a system call carry it out;
// engines and wrappers work on Ops and know no verb by name. Features, found by Probe, say what the kernel can do;
// nothing else asks.
//
// It promises: each op reports exactly once with more == false, whatever happens. Errors are bare syscall.Errno,
// short transfers are returned as they are, and both engines behave alike (package enginetest). A cancelled op
// reports only when the kernel is done with its memory. The ring engine never falls back silently: a verb that has
// a ring half whose opcode the kernel lacks is counted in Fallbacks.
//
// Ways to use it: Do and the typed functions, for one op; Submit, for a batch, with Link, Drain and Timeout; Queue,
// for many in flight by one goroutine; SendZC and the multishot verbs, with more reports than one.
//
// It leaves to its caller: what to do about short counts, which op is Unbounded (it must be set for whatever may
// wait for a peer: an op that waits holds a ring and a thread), and not to close a descriptor that a bounded op in
// flight uses. Ops that wait are given up by the engine's own close before the number is free.
//
// Inside: a ring's requests (requests.go, slot.go) have one of three owners, and so have the rings: pooledRing, a
// caller for one batch; loop, a goroutine for what waits; Queue, a goroutine for good. policy.go says which ops take
// a ring at all. A syscall half stands in wherever a ring cannot, and poller waits for what those would wait for.
//
// # Ownership
//
// Buffers and out-structures of an op are taken at Submit and given back by its last done call; the kernel may
// write them until then, also after a cancellation. They are on the heap: an Op goes through an interface, so the
// compiler moves there whatever it points at, and stacks may grow while an op is in flight. A ring's slot keeps
// the op, and the kernel gets a slot number with a generation, never a pointer. The slice of ops is borrowed.
//
// Descriptors that an op returns are the caller's; FD is an owner for one. Descriptors passed in are borrowed
// until the last done call. KindClose takes its descriptor, is never cancelled, and works on a closed engine.
//
// Registered memory is an Arena, whose Buffers are counted; what a multishot receive fills is a BufRing, one stream's.
//
// Goroutines and threads: a bounded op runs on its caller's, from submission to completion, with the credentials
// of the caller's thread. An unbounded one runs on the engine's, with the credentials of the process. An op with
// Creds runs with those: as a personality of its ring, else on a thread of the engine that puts them on. done runs
// on either; it may not block and may not Submit. Engine.Close waits for all of them.
//
// Locks: each type of the engine has one lock and holds no other's while it has it; done may run under a ring's
// lock, which is why it may not call back.
//
// # Volume
//
// There is one door for changes: whatever changes a file's bytes or length passes BeginChange and End, whoever
// asks, and by-reference reads pass BeginShare. See Volume for its promises.
package uringbackend
