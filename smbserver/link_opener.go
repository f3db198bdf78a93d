package smbserver

import "context"

// LinkOpener is an optional ability of a [Share]: opening a symbolic link itself. Without it every link is followed, and
// one that leads nowhere cannot be opened, listed or deleted.
type LinkOpener interface {
	// OpenLink opens as [Share.Open] does, except that a link at the end of the path is opened itself; it then has no
	// data access (ELOOP if p.Read or p.Write), and its Attr says Symlink.
	OpenLink(ctx context.Context, p OpenParams) (File, error)
}
