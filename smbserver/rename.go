package smbserver

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// renaming is a FileRenameInformation or a FileLinkInformation on its way, [MS-FSA] 2.1.5.15.11 and .6.
type renaming struct {
	o       *open
	modes   *shareModes
	share   Share
	user    Identity
	wire    string
	replace bool
	rooted  bool // names a directory by handle, which only a client on the same machine can do

	overOpen     bool // POSIX semantics: what is replaced may be open
	overReadonly bool
}

func newRenaming(r *request, wire string, replace bool, root uint64) *renaming {
	return &renaming{
		o: r.file, modes: r.tree.export.modes, share: r.tree.export.share, user: r.sess.identity(),
		wire: wire, replace: replace, rooted: root != 0,
	}
}

// target checks the new name and returns it as a path of the Share.
func (n *renaming) target() (string, error) {
	if n.rooted {
		return "", smb2.StatusInvalidParameter
	}
	// Some clients write the name from the root with its backslash, as programs on the same machine do.
	path, err := parsePath(strings.TrimPrefix(n.wire, `\`))
	if err != nil {
		return "", err
	}
	if path == "" {
		return "", smb2.StatusObjectNameInvalid
	}
	return path, nil
}

// rename moves the name that the open was made by.
func (n *renaming) rename(ctx context.Context) error {
	if !n.o.access.Has(smb2.Delete) {
		return smb2.StatusAccessDenied
	}
	to, err := n.target()
	if err != nil {
		return err
	}
	from := n.o.file.Path()
	switch {
	case from == "", n.modes.deletePending(n.o.grant):
		return smb2.StatusAccessDenied
	case from == to:
		return nil
	case n.o.directory && n.modes.openBelow(from):
		return smb2.StatusAccessDenied // clients know their open files by path
	case n.modes.openForDelete(parentOf(to)):
		return smb2.StatusSharingViolation
	}
	unlock := n.modes.lockName(to)
	defer unlock()
	if err := n.checkReplaced(ctx, to); err != nil {
		return err
	}
	return n.o.file.Rename(ctx, to, n.replace)
}

// link gives the file another name.
func (n *renaming) link(ctx context.Context) error {
	to, err := n.target()
	switch {
	case err != nil:
		return err
	case n.o.directory:
		return smb2.StatusFileIsADirectory
	case n.modes.deletePending(n.o.grant):
		return smb2.StatusAccessDenied
	}
	unlock := n.modes.lockName(to)
	defer unlock()
	if err := n.checkReplaced(ctx, to); err != nil {
		return err
	}
	return n.o.file.Link(ctx, to, n.replace)
}

// checkReplaced looks at what has the new name already. The lock of that name is held.
func (n *renaming) checkReplaced(ctx context.Context, to string) error {
	old, err := opener{share: n.share, user: n.user, path: to, noLink: true}.open(ctx, false, false)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return nil // the Share says whether it is the name or its directory that is missing
		}
		if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EXDEV) {
			return nil // a link that leads nowhere: a name like another to Rename
		}
		return err
	}
	a, err := old.Attr(ctx)
	if err = errors.Join(err, old.Close()); err != nil {
		return err
	}
	switch {
	case old.ID() == n.o.file.ID() && strings.EqualFold(to, n.o.file.Path()):
		return nil // only its case changes
	case !n.replace:
		return smb2.StatusObjectNameCollision
	case a.Directory || n.o.directory,
		a.Attributes&fscc.AttrReadonly != 0 && !n.overReadonly,
		!n.overOpen && n.modes.openElsewhere(old.ID(), n.o.grant):
		return smb2.StatusAccessDenied
	}
	return nil
}
