//go:build linux

// Package fusefs mounts a [uringbackend.Volume]: a FUSE server on go-fuse's raw interface with a node table of its own.
//
// What the kernel keeps, and for how long, is the subject. It caches names (dentries), attributes and pages, each until a
// time-out that we send with every reply, or until we notify it. [Coherence] chooses the time-outs; coherence.go sends the
// notifications. Node ids stand for inodes, never for paths: a node holds a *uringbackend.Ref, so renames and unlinks behind
// the mount's back lead no operation to another file.
//
// Promises
//
//   - Data is copied, once: READ fills the buffer that go-fuse lends and that buffer is written to the device. Replies are
//     never spliced and passthrough is never negotiated: both hand out page-cache pages by reference, and a page that changes
//     between reply and consumption is the very race this project studies. A test asserts that READ and WRITE reach the server.
//   - O_APPEND stays on the backing descriptor: the kernel's idea of the end of file never overwrites another writer's bytes.
//   - Names are made with the caller's credentials when the server is root, the caller's umask or the parent's default ACL
//     decide the mode, and set-uid, set-gid and file capabilities are cleared as on a local file system (KILLPRIV_V2).
//   - Permissions are the kernel's business (default_permissions is always on), so ACCESS never arrives.
//   - An operation that may wait without bound (a lock) watches the request's interruption; all others finish, as they do on
//     a local file system.
//   - Whatever fails is answered with its errno; an unknown node or handle is ESTALE or EBADF, never a panic.
//   - Unknown operations and ioctls: ENOSYS and ENOTTY.
//
// Left to others: resolution, descriptor bounds, range locks and lock tables (uringbackend); which process runs what
// (cmd/uringfs); ending a mount from outside (internal/supervise).
//
// This process must not touch the mount that it serves: a thread that waits for itself cannot be killed. So the mount point is
// checked before mounting and found again by number (mountinfo), and go-fuse's WaitMount, which looks a file up through the
// mount, is not used. (Its server answers that file's name, ".go-fuse-epoll-hack" in the root, by itself.)
//
// Ownership: the caller owns Volume and View and closes them after Wait. A node owns one Ref until the kernel forgets it, an
// open file owns its Handles until RELEASE; a mount that ends without RELEASE gives both back in Wait. Buffers of READ and
// WRITE are lent by go-fuse until the handler returns.
//
// Lock order: a shard of the node table, or the handle table; both are leaves and held over map accesses only. Nothing
// is held while the Volume is called or the kernel is notified, and notifications leave from a goroutine that serves no request.
package fusefs
