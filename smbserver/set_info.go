package smbserver

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// handleSetInfo handles SET_INFO, [MS-SMB2] 3.3.5.21. Besides files there is nothing that can be set.
func handleSetInfo(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseSetInfoRequest(r.msg)
	if err != nil {
		return nil, err
	}
	switch {
	case q.Type < smb2.InfoFile || q.Type > smb2.InfoQuota:
		err = smb2.StatusInvalidParameter
	case q.Type != smb2.InfoFile || r.file.pipe != nil:
		err = smb2.StatusNotSupported
	default:
		err = setFileInfo(ctx, r, fscc.InfoClass(q.Class), q.Buffer)
	}
	if err != nil {
		return nil, err
	}
	return smb2.SetInfoResponse{}, nil
}

// shortBuffer says INFO_LENGTH_MISMATCH for a buffer that a class does not fit in: [MS-FSA] 2.1.5.15 has it for every class.
func shortBuffer(err error) error {
	if errors.Is(err, fscc.ErrMalformed) {
		return smb2.StatusInfoLengthMismatch
	}
	return err
}

// setFileInfo sets the classes of 3.3.5.21.1. Any class that is not here is INVALID_INFO_CLASS.
func setFileInfo(ctx context.Context, r *request, class fscc.InfoClass, buf []byte) error {
	o := r.file
	switch class {
	case fscc.ClassBasic:
		i, err := fscc.ParseBasicInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return o.setBasic(ctx, i)
	case fscc.ClassRename:
		i, err := fscc.ParseRenameInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return newRenaming(r, i.Name, i.ReplaceIfExists, i.RootDirectory).rename(ctx)
	case fscc.ClassRenameEx:
		i, err := fscc.ParseRenameInfoEx(buf)
		if err != nil {
			return shortBuffer(err)
		}
		n := newRenaming(r, i.Name, i.Flags&fscc.RenameReplaceIfExists != 0, i.RootDirectory)
		n.overOpen = i.Flags&fscc.RenamePosixSemantics != 0
		n.overReadonly = i.Flags&fscc.RenameIgnoreReadonlyAttribute != 0
		return n.rename(ctx)
	case fscc.ClassLink:
		i, err := fscc.ParseRenameInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return newRenaming(r, i.Name, i.ReplaceIfExists, i.RootDirectory).link(ctx)
	case fscc.ClassDisposition:
		i, err := fscc.ParseDispositionInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return setDisposition(ctx, r, i.DeletePending, false)
	case fscc.ClassDispositionEx:
		i, err := fscc.ParseDispositionInfoEx(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return setDispositionEx(ctx, r, i.Flags)
	case fscc.ClassEndOfFile:
		i, err := fscc.ParseEndOfFileInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return o.setSize(ctx, i.EndOfFile, func(n int64) SetAttr { return SetAttr{Size: &n} })
	case fscc.ClassAllocation:
		i, err := fscc.ParseAllocationInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		return setAllocation(ctx, r, i.AllocationSize)
	case fscc.ClassPosition:
		i, err := fscc.ParsePositionInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		if i.CurrentByteOffset < 0 {
			return smb2.StatusInvalidParameter
		}
		o.position.Store(i.CurrentByteOffset)
		return nil
	case fscc.ClassMode:
		i, err := fscc.ParseModeInfo(buf)
		if err != nil {
			return shortBuffer(err)
		}
		if i.Mode != o.mode() { // nothing of it can change after CREATE here
			return smb2.StatusInvalidParameter
		}
		return nil
	case fscc.ClassFullEA:
		return statusEAsNotSupported
	default:
		return smb2.StatusInvalidInfoClass
	}
}

// setBasic sets times and attributes, [MS-FSA] 2.1.5.15.2. What a Share cannot keep is dropped: every copy that Windows makes
// sets a creation time and the archive bit, and none must fail for that. A time of -1 or -2 is taken as "leave".
func (o *open) setBasic(ctx context.Context, i fscc.BasicInfo) error {
	if !o.access.Has(smb2.FileWriteAttributes) {
		return smb2.StatusAccessDenied
	}
	for _, t := range []fscc.Filetime{i.CreationTime, i.LastAccessTime, i.LastWriteTime, i.ChangeTime} {
		if t < fscc.TimeThaw {
			return smb2.StatusInvalidParameter
		}
	}
	switch {
	case i.Attributes&^(createAttributes|fscc.AttrReparsePoint|fscc.AttrSparseFile|fscc.AttrCompressed) != 0,
		i.Attributes&fscc.AttrDirectory != 0 && !o.directory,
		i.Attributes&fscc.AttrTemporary != 0 && o.directory:
		return smb2.StatusInvalidParameter
	}
	// What a POSIX file system always keeps goes first and must work; the rest one by one.
	times := SetAttr{Accessed: timeOf(i.LastAccessTime), Written: timeOf(i.LastWriteTime)}
	if times.Accessed != nil || times.Written != nil {
		if err := o.file.SetAttr(ctx, times); err != nil {
			return err
		}
	}
	var others []SetAttr
	if t := timeOf(i.CreationTime); t != nil {
		others = append(others, SetAttr{Created: t})
	}
	if i.Attributes != 0 {
		attributes := i.Attributes & settableAttributes
		others = append(others, SetAttr{Attributes: &attributes})
	}
	if t := timeOf(i.ChangeTime); t != nil {
		others = append(others, SetAttr{Changed: t}) // last: any change sets it
	}
	for _, set := range others {
		if err := o.file.SetAttr(ctx, set); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

func timeOf(t fscc.Filetime) *time.Time {
	if !t.IsTime() {
		return nil
	}
	v := t.Time()
	return &v
}

// setSize sets one of the two sizes of a file.
func (o *open) setSize(ctx context.Context, n int64, set func(int64) SetAttr) error {
	switch {
	case n < 0, o.directory:
		return smb2.StatusInvalidParameter
	case !o.access.Has(smb2.FileWriteData):
		return smb2.StatusAccessDenied
	}
	return o.file.SetAttr(ctx, set(n))
}

// setAllocation rounds up to whole blocks first, so that an allocation of the file's own size does not cut it,
// [MS-FSA] 2.1.5.15.1.
func setAllocation(ctx context.Context, r *request, n int64) error {
	v, err := r.tree.export.share.Statfs(ctx)
	if err != nil {
		return err
	}
	if block := int64(v.BlockSize); block > 0 && n > 0 && n <= 1<<62 {
		n = (n + block - 1) / block * block
	}
	return r.file.setSize(ctx, n, func(n int64) SetAttr { return SetAttr{Allocation: &n} })
}

// setDisposition makes the name delete pending or takes that back, [MS-FSA] 2.1.5.15.3. The last close of the name removes it.
func setDisposition(ctx context.Context, r *request, on, overReadonly bool) error {
	o, modes := r.file, r.tree.export.modes
	if !o.access.Has(smb2.Delete) {
		return smb2.StatusAccessDenied
	}
	if !on {
		modes.setDelete(o.grant, false)
		return nil
	}
	if o.file.Path() == "" {
		return smb2.StatusCannotDelete
	}
	a, err := o.file.Attr(ctx)
	if err != nil {
		return err
	}
	if !a.Directory && a.Attributes&fscc.AttrReadonly != 0 && !overReadonly {
		return smb2.StatusCannotDelete
	}
	if a.Directory {
		if err := checkEmpty(ctx, r); err != nil {
			return err
		}
	}
	modes.setDelete(o.grant, true)
	return nil
}

// setDispositionEx is setDisposition with flags, [MS-FSA] 2.1.5.15.4.
func setDispositionEx(ctx context.Context, r *request, flags uint32) error {
	const known = fscc.DispositionDelete | fscc.DispositionPosixSemantics | fscc.DispositionForceImageSectionCheck |
		fscc.DispositionOnClose | fscc.DispositionIgnoreReadonlyAttribute
	on := flags&fscc.DispositionDelete != 0
	switch {
	case flags&^known != 0:
		return smb2.StatusInvalidParameter
	case flags&fscc.DispositionOnClose != 0:
		if !r.file.access.Has(smb2.Delete) {
			return smb2.StatusAccessDenied
		}
		if !r.tree.export.modes.setDeleteOnClose(r.file.grant, on) {
			return smb2.StatusNotSupported // only an open made with FILE_DELETE_ON_CLOSE has that to change
		}
		return nil
	}
	if err := setDisposition(ctx, r, on, flags&fscc.DispositionIgnoreReadonlyAttribute != 0); err != nil {
		return err
	}
	if on && flags&fscc.DispositionPosixSemantics != 0 {
		r.tree.export.modes.setPosixDelete(r.file.grant)
	}
	return nil
}

// checkEmpty says whether the directory may be deleted as it stands. The open may lack the right to list, so another one does.
func checkEmpty(ctx context.Context, r *request) error {
	f, err := r.tree.export.share.Open(ctx, OpenParams{Path: r.file.file.Path(), Read: true, User: r.sess.identity()})
	if err != nil {
		if refusedForAccess(err) {
			return nil // the removal itself will tell
		}
		return err
	}
	empty := true
	err = f.ReadDir(ctx, 0, func(DirEntry) bool {
		empty = false
		return false
	})
	switch err = errors.Join(err, f.Close()); {
	case err != nil:
		return err
	case !empty:
		return smb2.StatusDirectoryNotEmpty
	}
	return nil
}
