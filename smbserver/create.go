package smbserver

import (
	"context"
	"errors"
	"syscall"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

const (
	statusBadImpersonationLevel smb2.Status = 0xC00000A5 // STATUS_BAD_IMPERSONATION_LEVEL

	// createAttributes are the attributes a CREATE may name, settableAttributes those that a client decides about.
	createAttributes   fscc.FileAttributes = 0x00007FB7
	settableAttributes                     = fscc.AttrReadonly | fscc.AttrHidden | fscc.AttrSystem | fscc.AttrArchive |
		fscc.AttrTemporary | fscc.AttrOffline | fscc.AttrNotContentIndexed

	createOptionsInvalid     smb2.CreateOptions = 0xFF000000
	createOptionsUnsupported                    = smb2.FileOpenByFileID | smb2.FileReserveOpfilter | createTreeConnection
	createTreeConnection     smb2.CreateOptions = 0x00000080 // FILE_CREATE_TREE_CONNECTION
	shareAccessAll                              = smb2.ShareRead | smb2.ShareWrite | smb2.ShareDelete

	// createRounds bounds how often a CREATE starts again because somebody outside makes and removes its name.
	createRounds = 16
)

// creation is one CREATE on its way, in the order of [MS-SMB2] 3.3.5.9 and [MS-FSA] 2.1.5.1: contexts, path, parent, share
// mode, access, make, grant.
type creation struct {
	req      smb2.CreateRequest
	contexts createContexts
	modes    *shareModes
	opener   opener
	share    Share
	volume   VolumeInfo
	path     string

	desired smb2.AccessMask // expanded; without MAXIMUM_ALLOWED
	most    bool            // MAXIMUM_ALLOWED

	// Filled in by lookup.
	file   File
	attr   Attr
	access smb2.AccessMask // granted
	action smb2.CreateAction
}

func handleCreate(ctx context.Context, r *request) (reply, error) {
	req, err := smb2.ParseCreateRequest(r.msg)
	if err != nil {
		return nil, err
	}
	if r.tree.export.ipc() {
		return createPipe(r, req)
	}
	if err := checkCreate(req); err != nil {
		return nil, err
	}
	c := &creation{
		req: req, modes: r.tree.export.modes, share: r.tree.export.share,
		desired: req.DesiredAccess.Expand() &^ smb2.MaximumAllowed, most: req.DesiredAccess.Has(smb2.MaximumAllowed),
	}
	if c.contexts, err = parseCreateContexts(req.Contexts); err != nil {
		return nil, err
	}
	if c.path, err = parsePath(req.Name); err != nil {
		return nil, err
	}
	if endsInSeparator(req.Name) && req.Options&smb2.FileNonDirectoryFile != 0 {
		return nil, smb2.StatusObjectNameInvalid
	}
	if c.readsVolume() {
		if c.volume, err = c.share.Statfs(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.modes.learnHome(ctx, c.share, r.sess.identity()); err != nil {
		return nil, err
	}
	c.opener = opener{
		share: c.share, user: r.sess.identity(), path: c.path,
		noLink:  req.Options&smb2.FileOpenReparsePoint != 0,
		through: req.Options&smb2.FileWriteThrough != 0, pattern: patternOf(req.Options),
	}
	return c.run(ctx, r)
}

// patternOf reads the two hints of CREATE, of which a client gives one.
func patternOf(o smb2.CreateOptions) AccessPattern {
	switch o & (smb2.FileSequentialOnly | smb2.FileRandomAccess) {
	case smb2.FileSequentialOnly:
		return PatternSequential
	case smb2.FileRandomAccess:
		return PatternRandom
	default:
		return PatternUnknown
	}
}

// checkCreate refuses what no file can make right.
func checkCreate(req smb2.CreateRequest) error {
	o := req.Options
	directory := o&smb2.FileDirectoryFile != 0
	overwrites := req.Disposition == smb2.FileSupersede || req.Disposition == smb2.FileOverwrite || req.Disposition == smb2.FileOverwriteIf
	switch {
	case req.Impersonation > smb2.ImpersonationDelegate:
		return statusBadImpersonationLevel
	case req.DesiredAccess&^smb2.Synchronize == 0, // nothing can be done with such an open, and Windows refuses it
		req.DesiredAccess.HasAny(accessReserved):
		return smb2.StatusAccessDenied
	case req.DesiredAccess.Has(smb2.AccessSystemSecurity):
		return smb2.StatusPrivilegeNotHeld // a system ACL, which only a privileged user of Windows may see
	case req.Disposition > smb2.FileOverwriteIf,
		req.ShareAccess&^shareAccessAll != 0,
		req.FileAttributes&^createAttributes != 0,
		o&createOptionsInvalid != 0,
		directory && o&smb2.FileNonDirectoryFile != 0,
		directory && overwrites:
		return smb2.StatusInvalidParameter
	case o&createOptionsUnsupported != 0:
		return smb2.StatusNotSupported
	}
	return nil
}

// readsVolume tells that the answer depends on whether the volume is read-only: plain reading does not ask.
func (c *creation) readsVolume() bool {
	return c.most || c.contexts.maximal || c.req.Disposition != smb2.FileOpen || c.desired.HasAny(accessWrite)
}

// run finds or makes the file, admits it and answers.
func (c *creation) run(ctx context.Context, r *request) (reply, error) {
	g, err := c.acquire(ctx)
	if err != nil {
		return nil, err
	}
	// From here on the grant counts: whoever fails below gives it back, and with it a file just made.
	err = c.prepare(ctx)
	var contexts []smb2.CreateContext
	if err == nil {
		contexts = c.answers(ctx)
		o := &open{
			file: c.file, directory: c.attr.Directory, access: c.access, share: c.req.ShareAccess, options: c.req.Options,
			action: c.action, grant: g,
		}
		if c.attr.Directory {
			o.enum = new(dirEnum)
		}
		modes, log := c.modes, r.conn.log // not r, which is another request by then
		o.onClose = func(ctx context.Context) error {
			err := modes.release(ctx, g)
			if err != nil { // a CLOSE answers it; the end of a connection has nobody to tell
				log.Info("delete on close", "err", err)
			}
			return err
		}
		if err = r.sess.addOpen(r.tree, o); err == nil {
			r.file = o
			return c.response(o, contexts), nil
		}
	}
	c.modes.abandon(g, c.action == smb2.ActionCreated)
	return nil, errors.Join(err, c.modes.release(ctx, g), c.file.Close())
}

// acquire opens or makes the file and admits it to the share-mode table, as one step against other CREATEs of that name.
func (c *creation) acquire(ctx context.Context) (*grant, error) {
	unlock := c.modes.lockName(c.path)
	defer unlock()
	if err := c.lookup(ctx); err != nil {
		return nil, err
	}
	g := &grant{
		file: c.file, id: c.file.ID(), access: c.access, check: c.access, shareAccess: c.req.ShareAccess,
		madeToDelete: c.req.Options&smb2.FileDeleteOnClose != 0, deleteOnClose: c.req.Options&smb2.FileDeleteOnClose != 0,
	}
	if c.action == smb2.ActionOverwritten || c.action == smb2.ActionSuperseded {
		g.check |= smb2.FileWriteData
	}
	if err := c.modes.admit(g); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	return g, nil
}

// lookup fills in file, attr, access and action. The lock of the name is held, so only changes from outside the server
// make it start again.
func (c *creation) lookup(ctx context.Context) error {
	mayMake := c.req.Disposition != smb2.FileOpen && c.req.Disposition != smb2.FileOverwrite
	var err error
	for range createRounds {
		if c.req.Disposition != smb2.FileCreate {
			if err = c.openExisting(ctx); err == nil || !mayMake || !missing(err) {
				return err
			}
		}
		if err = c.makeNew(ctx); !errors.Is(err, syscall.EEXIST) {
			return err
		}
		if c.req.Disposition == smb2.FileCreate {
			if c.modes.namePending(c.path) {
				return smb2.StatusDeletePending
			}
			return smb2.StatusObjectNameCollision
		}
	}
	return err
}

// missing tells that the object itself is not there, while its directory is.
func missing(err error) bool {
	var pe *PathError
	return errors.Is(err, syscall.ENOENT) && (!errors.As(err, &pe) || pe.Component == Last)
}

// openExisting opens what the path names and checks what the request says against it.
func (c *creation) openExisting(ctx context.Context) (err error) {
	overwrites := c.req.Disposition != smb2.FileOpen && c.req.Disposition != smb2.FileOpenIf
	read, write := dataAccess(c.desired)
	switch {
	case c.most:
		c.file, read, write, err = c.openMost(ctx, read, write || overwrites)
	default:
		c.file, err = c.opener.openExact(ctx, read, write || overwrites)
		if err != nil && c.linkItself(err) {
			c.opener.noLink = true
			c.file, err = c.opener.openExact(ctx, read, write)
		}
	}
	if err != nil {
		return err
	}
	if err = c.checkExisting(ctx, overwrites, read, write); err != nil {
		return errors.Join(err, c.file.Close())
	}
	return nil
}

// openMost opens for MAXIMUM_ALLOWED, beside which the request may name rights that it must have.
func (c *creation) openMost(ctx context.Context, read, write bool) (File, bool, bool, error) {
	f, gotRead, gotWrite, err := c.opener.openMost(ctx)
	if err != nil || (gotRead || !read) && (gotWrite || !write) {
		return f, gotRead, gotWrite, err
	}
	if err := f.Close(); err != nil {
		return nil, false, false, err
	}
	f, err = c.opener.openExact(ctx, read, write) // says why not
	return f, read, write, err
}

// linkItself tells that a link which leads nowhere is to be opened itself: for renaming and deleting it, as POSIX does,
// when no data is asked for.
func (c *creation) linkItself(err error) bool {
	read, write := dataAccess(c.desired)
	return c.desired.Has(smb2.Delete) && !read && !write && c.req.Disposition == smb2.FileOpen &&
		(missing(err) || errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.ELOOP))
}

func (c *creation) checkExisting(ctx context.Context, overwrites, read, write bool) error {
	a, err := c.file.Attr(ctx)
	if err != nil {
		return err
	}
	c.attr = a
	o := c.req.Options
	readonly := !a.Directory && a.Attributes&fscc.AttrReadonly != 0
	_, writes := dataAccess(c.desired)
	hidden := a.Attributes & (fscc.AttrHidden | fscc.AttrSystem)
	switch {
	case a.Directory && o&smb2.FileNonDirectoryFile != 0, a.Directory && overwrites:
		return smb2.StatusFileIsADirectory
	case !a.Directory && o&smb2.FileDirectoryFile != 0:
		return smb2.StatusNotADirectory
	case readonly && (writes || overwrites):
		return smb2.StatusAccessDenied
	case overwrites && c.req.FileAttributes&hidden != hidden:
		return smb2.StatusAccessDenied // [MS-FSA] 2.1.5.1.2: hidden and system stay so
	case c.volume.ReadOnly && (overwrites || c.desired.HasAny(accessWrite&^smb2.FileWriteAttributes)):
		return smb2.StatusMediaWriteProtected
	}
	c.access = c.desired
	if c.most {
		c.access |= rightsOf(a, read, write)
		if c.volume.ReadOnly {
			c.access &^= accessWrite
		}
	}
	if o&smb2.FileDeleteOnClose != 0 {
		switch {
		case !c.access.Has(smb2.Delete), c.path == "":
			return smb2.StatusAccessDenied
		case readonly:
			return smb2.StatusCannotDelete
		}
	}
	switch c.req.Disposition {
	case smb2.FileSupersede:
		c.action = smb2.ActionSuperseded
	case smb2.FileOverwrite, smb2.FileOverwriteIf:
		c.action = smb2.ActionOverwritten
	default:
		c.action = smb2.ActionOpened
	}
	return nil
}

// makeNew makes the file or directory. EEXIST means that there is one by now.
func (c *creation) makeNew(ctx context.Context) error {
	o := c.req.Options
	directory := o&smb2.FileDirectoryFile != 0
	c.access = c.desired
	if c.most {
		c.access |= smb2.FileAllAccess
	}
	readonly := c.req.FileAttributes&fscc.AttrReadonly != 0
	switch {
	case c.volume.ReadOnly:
		return smb2.StatusMediaWriteProtected
	case o&smb2.FileDeleteOnClose != 0 && !c.access.Has(smb2.Delete):
		return smb2.StatusAccessDenied
	case o&smb2.FileDeleteOnClose != 0 && readonly && !directory:
		return smb2.StatusCannotDelete
	case c.contexts.hasEAs:
		return statusEAsNotSupported
	case directory && c.req.FileAttributes&fscc.AttrTemporary != 0:
		return smb2.StatusInvalidParameter
	case !directory && endsInSeparator(c.req.Name):
		return smb2.StatusObjectNameInvalid
	case c.path != "" && c.modes.namePending(parentOf(c.path)):
		return smb2.StatusDeletePending // nothing is made in a directory that is about to go
	}
	read, write := dataAccess(c.access)
	p := OpenParams{
		Path: c.path, Read: read, Write: write || c.contexts.allocation > 0, Create: true, Directory: directory,
		Attributes: c.req.FileAttributes & settableAttributes, User: c.opener.user,
		Through: c.opener.through, Pattern: c.opener.pattern,
	}
	if directory {
		p.Write = false
	} else {
		p.Attributes |= fscc.AttrArchive
	}
	f, err := c.share.Open(ctx, p)
	if err != nil {
		return err
	}
	a, err := f.Attr(ctx)
	if err != nil {
		return errors.Join(err, f.Remove(ctx), f.Close())
	}
	c.file, c.attr, c.action = f, a, smb2.ActionCreated
	return nil
}

// prepare does what changes the file after it has been admitted: cutting it to nothing, new attributes, the allocation.
func (c *creation) prepare(ctx context.Context) error {
	fresh := c.action == smb2.ActionCreated
	if c.action == smb2.ActionOverwritten || c.action == smb2.ActionSuperseded {
		fresh = true
		zero := int64(0)
		if err := c.file.SetAttr(ctx, SetAttr{Size: &zero}); err != nil {
			return err
		}
		attributes := c.req.FileAttributes&settableAttributes | fscc.AttrArchive
		if err := c.file.SetAttr(ctx, SetAttr{Attributes: &attributes}); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return err
		}
	}
	if fresh && c.contexts.allocation > 0 && !c.attr.Directory {
		// A hint where the share cannot reserve; without space it is an error, [MS-FSA] 2.1.5.1.1.
		if err := c.file.SetAttr(ctx, SetAttr{Allocation: &c.contexts.allocation}); err != nil &&
			!errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.EBADF) {
			return err
		}
	}
	if !fresh || c.action == smb2.ActionCreated && c.contexts.allocation <= 0 {
		return nil
	}
	a, err := c.file.Attr(ctx)
	if err == nil {
		c.attr = a
	}
	return err
}

// answers builds the contexts of the reply.
func (c *creation) answers(ctx context.Context) (list []smb2.CreateContext) {
	if c.contexts.maximal {
		mask := c.opener.maximal(ctx, c.attr, c.volume)
		list = append(list, answerMaximal(c.attr, c.contexts.unchanged, mask))
	}
	if c.contexts.queryID {
		id := c.file.ID()
		list = append(list, answerQueryID(c.modes.index(id), id))
	}
	return list
}

func (c *creation) response(o *open, contexts []smb2.CreateContext) reply {
	a := c.attr
	return smb2.CreateResponse{
		Oplock: smb2.OplockNone, Action: c.action, FileID: o.id,
		CreationTime: fscc.NewFiletime(a.Created), LastAccessTime: fscc.NewFiletime(a.Accessed),
		LastWriteTime: fscc.NewFiletime(a.Written), ChangeTime: fscc.NewFiletime(a.Changed),
		AllocationSize: allocationOf(a), EndOfFile: endOf(a), FileAttributes: attributesOf(a),
		Contexts: contexts,
	}
}

// attributesOf returns what clients are told: NORMAL stands alone, for none.
func attributesOf(a Attr) fscc.FileAttributes {
	out := a.Attributes &^ fscc.AttrNormal
	if a.Directory {
		out |= fscc.AttrDirectory
	}
	if a.Symlink {
		out |= fscc.AttrReparsePoint
	}
	if out == 0 {
		return fscc.AttrNormal
	}
	return out
}

// endOf and allocationOf return the sizes that clients are told; directories have none.
func endOf(a Attr) int64 {
	if a.Directory {
		return 0
	}
	return a.Size
}

func allocationOf(a Attr) int64 {
	if a.Directory {
		return 0
	}
	return max(a.Allocation, 0)
}

// reparseTagOf returns the tag that belongs to the REPARSE_POINT attribute, or 0.
func reparseTagOf(a Attr) uint32 {
	if a.Symlink {
		return fscc.ReparseTagSymlink
	}
	return 0
}
