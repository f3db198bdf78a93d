// Package dirshare serves a directory over SMB: it implements both seams of smbserver, Share over an
// uringbackend.Volume and Transport over a TCP connection, from one engine.
//
// It is what a Go program imports to embed a share:
//
//	share, err := dirshare.Open(ctx, "/srv/data", dirshare.Config{})
//	server, err := smbserver.New(smbserver.Config{
//		Shares:    map[string]smbserver.Share{"data": share},
//		Auth:      users, // NTHash(user, domain)
//		Transport: share.Transport,
//	})
//	err = server.Serve(listener)
//
// Promises: every path is resolved beneath the root by the kernel, symbolic links that stay beneath are followed, all
// others are as if they were not there; names compare with case, as the file system does. What a file's Reference hands
// out are page-cache pages: a later change of the file reaches whoever has not received them yet. Only the read path
// that says so in its name uses it.
//
// DOS attributes and the creation time, which POSIX has no place for, are kept in the extended attribute
// user.uringfs.dos; where the file system has none, setting them is refused. READONLY is the absence of all write
// permission bits. ChangeTime is the kernel's and cannot be set.
//
// Ownership: a Share owns its Volume and engine only when Open made them. A Payload owns its pipes until Release. A pipe
// goes back to the pool only when it is empty; one that is not is closed, or the next reply would start with another
// file's bytes.
//
// Locks: openName.mu is held over one rename or removal, and names.mu within it; file.mu, names.mu and pipes.mu are leaves.
package dirshare
