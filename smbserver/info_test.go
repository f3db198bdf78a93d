package smbserver_test

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

const errAccess = syscall.EACCES

func TestQueryInfoClasses(t *testing.T) {
	r := open(t)
	r.mkdir("dir")
	q := req(`dir\file`, smb2.FileCreate)
	q.Options = smb2.FileWriteThrough
	created := r.mustCreate(q)
	id := created.FileID
	_, err := r.send(smb2.CommandWrite, smb2.WriteRequest{FileID: id, Data: make([]byte, 5000)})
	require.NoError(t, err)

	basic, err := fscc.ParseBasicInfo(r.mustQuery(id, fscc.ClassBasic))
	require.NoError(t, err)
	assert.Equal(t, fscc.AttrArchive, basic.Attributes)
	assert.WithinDuration(t, time.Now(), basic.LastWriteTime.Time(), time.Minute)
	std, err := fscc.ParseStandardInfo(r.mustQuery(id, fscc.ClassStandard))
	require.NoError(t, err)
	assert.Equal(t, fscc.StandardInfo{AllocationSize: 8192, EndOfFile: 5000, NumberOfLinks: 1}, std)
	all, err := fscc.ParseAllInfo(r.mustQuery(id, fscc.ClassAll))
	require.NoError(t, err)
	assert.Equal(t, basic, all.Basic)
	assert.Equal(t, std, all.Standard)
	assert.Equal(t, `\dir\file`, all.Name.Name)
	assert.Equal(t, uint32(smb2.FileGenericRead|smb2.FileGenericWrite|smb2.Delete), all.Access.AccessFlags)
	assert.Equal(t, uint32(smb2.FileWriteThrough), all.Mode.Mode)
	assert.NotZero(t, all.Internal.IndexNumber)
	open34, err := fscc.ParseNetworkOpenInfo(r.mustQuery(id, fscc.ClassNetworkOpen))
	require.NoError(t, err)
	assert.EqualValues(t, 5000, open34.EndOfFile)
	tag, err := fscc.ParseAttributeTagInfo(r.mustQuery(id, fscc.ClassAttributeTag))
	require.NoError(t, err)
	assert.Equal(t, fscc.AttributeTagInfo{Attributes: fscc.AttrArchive}, tag)
	streams, err := fscc.ParseStreamInfo(r.mustQuery(id, fscc.ClassStream))
	require.NoError(t, err)
	assert.Equal(t, fscc.StreamInfo{{Name: "::$DATA", Size: 5000, AllocationSize: 8192}}, streams)
	name, err := fscc.ParseNameInfo(r.mustQuery(id, fscc.ClassNormalizedName))
	require.NoError(t, err)
	assert.Equal(t, `dir\file`, name.Name)
	fileID, err := fscc.ParseFileIDInfo(r.mustQuery(id, fscc.ClassFileID))
	require.NoError(t, err)
	assert.Equal(t, all.Internal.IndexNumber, binary.LittleEndian.Uint64(fileID.FileID[:]))
	assert.Zero(t, r.queryUint32(id, fscc.ClassEA))
	assert.Zero(t, r.queryUint32(id, fscc.ClassAlignment))
	assert.Zero(t, r.queryUint32(id, fscc.ClassCompression)&0xFFFF0000)

	require.NoError(t, r.set(id, fscc.ClassPosition, fscc.PositionInfo{CurrentByteOffset: 77}))
	assert.EqualValues(t, 77, r.queryUint32(id, fscc.ClassPosition))

	for class, want := range map[fscc.InfoClass]smb2.Status{
		fscc.ClassAlternateName: smb2.StatusObjectNameNotFound,
		fscc.ClassFullEA:        smb2.StatusNoEAsOnFile,
		fscc.ClassName:          smb2.StatusInvalidInfoClass,
		fscc.ClassRename:        smb2.StatusInvalidInfoClass,
		fscc.ClassDirectory:     smb2.StatusInvalidInfoClass,
		fscc.ClassPosix:         smb2.StatusInvalidInfoClass,
		0:                       smb2.StatusInvalidInfoClass,
		255:                     smb2.StatusInvalidInfoClass,
	} {
		_, err := r.query(id, smb2.InfoFile, uint8(class), 4096)
		assert.Equal(t, want, status(t, err), "class %d", class)
	}
	for kind, want := range map[smb2.InfoType]smb2.Status{
		smb2.InfoSecurity: smb2.StatusNotSupported, smb2.InfoQuota: smb2.StatusNotSupported, 0: smb2.StatusInvalidParameter, 5: smb2.StatusInvalidParameter,
	} {
		_, err := r.query(id, kind, 0, 4096)
		assert.Equal(t, want, status(t, err), "type %d", kind)
	}
	_, err = r.query(id, smb2.InfoFile, uint8(fscc.ClassBasic), 8<<20+1)
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, err))
	r.mustClose(id)
}

func TestQueryInfoBufferTooSmall(t *testing.T) {
	r := open(t)
	r.put("a file with a name", "x")
	id := r.mustCreate(req("a file with a name", smb2.FileOpen)).FileID
	for _, c := range []struct {
		kind  smb2.InfoType
		class uint8
		fixed uint32
	}{
		{smb2.InfoFile, 4, 40},
		{smb2.InfoFile, 5, 24},
		{smb2.InfoFile, 6, 8},
		{smb2.InfoFile, 7, 4},
		{smb2.InfoFile, 8, 4},
		{smb2.InfoFile, 14, 8},
		{smb2.InfoFile, 16, 4},
		{smb2.InfoFile, 17, 4},
		{smb2.InfoFile, 18, 100},
		{smb2.InfoFile, 22, 32},
		{smb2.InfoFile, 28, 16},
		{smb2.InfoFile, 34, 56},
		{smb2.InfoFile, 35, 8},
		{smb2.InfoFile, 48, 8},
		{smb2.InfoFile, 59, 24},
		{smb2.InfoFileSystem, 1, 24},
		{smb2.InfoFileSystem, 3, 24},
		{smb2.InfoFileSystem, 4, 8},
		{smb2.InfoFileSystem, 5, 16},
		{smb2.InfoFileSystem, 7, 32},
		{smb2.InfoFileSystem, 8, 64},
		{smb2.InfoFileSystem, 11, 28},
	} {
		name := fmt.Sprintf("type %d, class %d", c.kind, c.class)
		whole, err := r.query(id, c.kind, c.class, 4096)
		require.NoError(t, err, name)
		_, err = r.query(id, c.kind, c.class, c.fixed-1)
		assert.Equal(t, smb2.StatusInfoLengthMismatch, status(t, err), name)
		exact, err := r.query(id, c.kind, c.class, uint32(len(whole)))
		require.NoError(t, err, name)
		assert.Len(t, exact, len(whole), name)
		if int(c.fixed) < len(whole) {
			part, err := r.query(id, c.kind, c.class, uint32(len(whole)-1))
			assert.Equal(t, smb2.StatusBufferOverflow, status(t, err), name)
			assert.Equal(t, whole[:len(whole)-1], part, name)
		}
	}
	r.mustClose(id)
}

func TestQueryInfoNeedsReadAttributes(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	q := req("file", smb2.FileOpen)
	q.DesiredAccess = smb2.FileReadData
	id := r.mustCreate(q).FileID
	for class, want := range map[fscc.InfoClass]smb2.Status{
		fscc.ClassBasic: smb2.StatusAccessDenied, fscc.ClassAll: smb2.StatusAccessDenied, fscc.ClassNetworkOpen: smb2.StatusAccessDenied,
		fscc.ClassAttributeTag: smb2.StatusAccessDenied, fscc.ClassStandard: smb2.StatusSuccess, fscc.ClassInternal: smb2.StatusSuccess,
	} {
		_, err := r.query(id, smb2.InfoFile, uint8(class), 4096)
		assert.Equal(t, want, status(t, err), "class %d", class)
	}
	r.mustClose(id)
}

func TestQueryFileSystem(t *testing.T) {
	r := open(t)
	id := r.mustCreate(req("", smb2.FileOpen)).FileID
	query := func(class fscc.FSClass) []byte {
		b, err := r.query(id, smb2.InfoFileSystem, uint8(class), 4096)
		require.NoError(t, err)
		return b
	}
	attr, err := fscc.ParseFSAttributeInfo(query(fscc.FSClassAttribute))
	require.NoError(t, err)
	assert.Equal(t, "NTFS", attr.Name)
	assert.EqualValues(t, 255, attr.MaxNameLength)
	assert.NotZero(t, attr.Attributes&fscc.FSSupportsSparseFiles)
	assert.Zero(t, attr.Attributes&(fscc.FSNamedStreams|fscc.FSPersistentACLs|fscc.FSSupportsEAs|fscc.FSReadOnlyVolume))
	size, err := fscc.ParseFSFullSizeInfo(query(fscc.FSClassFullSize))
	require.NoError(t, err)
	assert.EqualValues(t, 4096, size.SectorsPerUnit*size.BytesPerSector)
	assert.Positive(t, size.CallerAvailableUnits)
	volume, err := fscc.ParseFSVolumeInfo(query(fscc.FSClassVolume))
	require.NoError(t, err)
	assert.Equal(t, shareName, volume.Label, "a volume without a name has the share's")
	device, err := fscc.ParseFSDeviceInfo(query(fscc.FSClassDevice))
	require.NoError(t, err)
	assert.Equal(t, fscc.DeviceDisk, device.DeviceType)
	for _, class := range []fscc.FSClass{0, fscc.FSClassLabel, fscc.FSClassControl, fscc.FSClassPosix} {
		_, err := r.query(id, smb2.InfoFileSystem, uint8(class), 4096)
		assert.Equal(t, smb2.StatusInvalidInfoClass, status(t, err), "class %d", class)
	}
	r.mustClose(id)
}

func TestSetBasic(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	basic := func() fscc.BasicInfo {
		b, err := fscc.ParseBasicInfo(r.mustQuery(id, fscc.ClassBasic))
		require.NoError(t, err)
		return b
	}
	at := func(year int) fscc.Filetime {
		return fscc.NewFiletime(time.Date(year, 1, 2, 3, 4, 5, 678_901_200, time.UTC))
	}
	set := fscc.BasicInfo{
		CreationTime: at(1961), LastAccessTime: at(2001), LastWriteTime: at(1969), ChangeTime: at(2003), Attributes: fscc.AttrHidden,
	}
	require.NoError(t, r.set(id, fscc.ClassBasic, set))
	assert.Equal(t, set, basic())

	require.NoError(t, r.set(id, fscc.ClassBasic, fscc.BasicInfo{CreationTime: fscc.TimeFreeze, LastWriteTime: fscc.TimeThaw}))
	got := basic()
	assert.Equal(t, set, got, "0, -1 and -2 leave what there is")
	require.NoError(t, r.set(id, fscc.ClassBasic, fscc.BasicInfo{Attributes: fscc.AttrNormal}))
	assert.Equal(t, fscc.AttrNormal, basic().Attributes, "NORMAL takes all others away")

	for _, bad := range []fscc.BasicInfo{
		{LastWriteTime: -3}, {Attributes: fscc.AttrDirectory}, {Attributes: 0x80000000},
	} {
		assert.Equal(t, smb2.StatusInvalidParameter, status(t, r.set(id, fscc.ClassBasic, bad)), "%+v", bad)
	}
	r.mustClose(id)

	q := req("file", smb2.FileOpen)
	q.DesiredAccess = smb2.GenericRead
	id = r.mustCreate(q).FileID
	assert.Equal(t, smb2.StatusAccessDenied, status(t, r.set(id, fscc.ClassBasic, set)))
	r.mustClose(id)
}

func TestSetSizes(t *testing.T) {
	r := open(t)
	r.put("file", "0123456789")
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	std := func() fscc.StandardInfo {
		i, err := fscc.ParseStandardInfo(r.mustQuery(id, fscc.ClassStandard))
		require.NoError(t, err)
		return i
	}
	require.NoError(t, r.set(id, fscc.ClassEndOfFile, fscc.EndOfFileInfo{EndOfFile: 100_000}))
	assert.EqualValues(t, 100_000, std().EndOfFile)
	require.NoError(t, r.set(id, fscc.ClassEndOfFile, fscc.EndOfFileInfo{EndOfFile: 5}))
	require.NoError(t, r.set(id, fscc.ClassAllocation, fscc.AllocationInfo{AllocationSize: 1 << 20}))
	assert.Equal(t, int64(1<<20), std().AllocationSize)
	assert.EqualValues(t, 5, std().EndOfFile)
	require.NoError(t, r.set(id, fscc.ClassAllocation, fscc.AllocationInfo{AllocationSize: 3}))
	assert.EqualValues(t, 5, std().EndOfFile, "rounded up to a block first")
	require.NoError(t, r.set(id, fscc.ClassAllocation, fscc.AllocationInfo{}))
	assert.Zero(t, std().EndOfFile)
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, r.set(id, fscc.ClassEndOfFile, fscc.EndOfFileInfo{EndOfFile: -1})))
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, r.set(id, fscc.ClassAllocation, fscc.AllocationInfo{AllocationSize: -1})))
	r.mustClose(id)
	q := req("file", smb2.FileOpen)
	q.DesiredAccess = smb2.GenericRead | smb2.FileAppendData
	id = r.mustCreate(q).FileID
	assert.Equal(t, smb2.StatusAccessDenied, status(t, r.set(id, fscc.ClassEndOfFile, fscc.EndOfFileInfo{EndOfFile: 1})))
	r.mustClose(id)
	id = r.mustCreate(req("", smb2.FileOpen)).FileID
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, r.set(id, fscc.ClassEndOfFile, fscc.EndOfFileInfo{})))
	r.mustClose(id)
}

func TestSetInfoRefuses(t *testing.T) {
	r := open(t)
	r.put("file", "x")
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	raw := func(kind smb2.InfoType, class fscc.InfoClass, n int) smb2.Status {
		_, err := r.send(smb2.CommandSetInfo, smb2.SetInfoRequest{Type: kind, Class: uint8(class), FileID: id, Buffer: make([]byte, n)})
		return status(t, err)
	}
	for _, class := range []fscc.InfoClass{
		fscc.ClassBasic, fscc.ClassRename, fscc.ClassRenameEx, fscc.ClassLink, fscc.ClassDisposition, fscc.ClassDispositionEx,
		fscc.ClassEndOfFile, fscc.ClassAllocation, fscc.ClassPosition, fscc.ClassMode,
	} {
		assert.Equal(t, smb2.StatusInfoLengthMismatch, raw(smb2.InfoFile, class, 0), "class %d", class)
	}
	assert.Equal(t, smb2.StatusInvalidInfoClass, raw(smb2.InfoFile, fscc.ClassStandard, 24))
	assert.Equal(t, smb2.StatusInvalidInfoClass, raw(smb2.InfoFile, 200, 24))
	assert.Equal(t, smb2.Status(0xC000004F), raw(smb2.InfoFile, fscc.ClassFullEA, 24))
	assert.Equal(t, smb2.StatusNotSupported, raw(smb2.InfoSecurity, 0, 24))
	assert.Equal(t, smb2.StatusNotSupported, raw(smb2.InfoFileSystem, 2, 24))
	assert.Equal(t, smb2.StatusNotSupported, raw(smb2.InfoQuota, 0, 24))
	assert.Equal(t, smb2.StatusInvalidParameter, raw(9, 4, 40))
	r.mustClose(id)
}

func TestRename(t *testing.T) {
	r := open(t)
	r.put("file", "file")
	r.put("other", "other")
	r.mkdir("dir")
	r.mkdir("dir2")
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	rename := func(to string, replace bool) smb2.Status {
		return status(t, r.set(id, fscc.ClassRename, fscc.RenameInfo{Name: to, ReplaceIfExists: replace}))
	}
	assert.Equal(t, smb2.StatusObjectNameCollision, rename("other", false))
	assert.Equal(t, smb2.StatusAccessDenied, rename("dir", true), "a directory is not replaced")
	assert.Equal(t, smb2.StatusObjectPathNotFound, rename(`missing\file`, false))
	assert.Equal(t, smb2.StatusObjectNameInvalid, rename("a*b", false))
	assert.Equal(t, smb2.StatusObjectNameInvalid, rename("file:stream", false))
	assert.Equal(t, smb2.StatusObjectPathSyntaxBad, rename(`..\file`, false))
	assert.Equal(t, smb2.StatusObjectNameInvalid, rename("", false))
	assert.Equal(t, smb2.StatusSuccess, rename("file", false), "to its own name")
	assert.Equal(t, smb2.StatusSuccess, rename("FILE", false), "a change of case")
	assert.Equal(t, smb2.StatusSuccess, rename(`dir\moved`, false))
	all, err := fscc.ParseAllInfo(r.mustQuery(id, fscc.ClassAll))
	require.NoError(t, err)
	assert.Equal(t, `\dir\moved`, all.Name.Name)

	target := r.mustCreate(req("other", smb2.FileOpen)).FileID
	assert.Equal(t, smb2.StatusAccessDenied, rename("other", true), "the target is open")
	ex := fscc.RenameInfoEx{Name: "other", Flags: fscc.RenameReplaceIfExists | fscc.RenamePosixSemantics}
	require.NoError(t, r.set(id, fscc.ClassRenameEx, ex), "POSIX semantics replace it all the same")
	r.mustClose(target)
	r.put("third", "third")
	assert.Equal(t, smb2.StatusSuccess, rename("third", true))
	got, err := r.mem.ReadFile("third")
	require.NoError(t, err)
	assert.Equal(t, "file", string(got))
	assert.Equal(t, smb2.StatusInvalidParameter, status(t, r.set(id, fscc.ClassRename, fscc.RenameInfo{Name: "x", RootDirectory: 5})))

	dir := req("dir", smb2.FileOpen)
	dirID := r.mustCreate(dir).FileID
	assert.Equal(t, smb2.StatusSharingViolation, rename(`dir\x`, false), "the new directory is open for DELETE")
	r.mustClose(dirID)
	assert.Equal(t, smb2.StatusSuccess, rename(`dir\x`, false))
	dirID = r.mustCreate(dir).FileID
	assert.Equal(t, smb2.StatusAccessDenied, status(t, r.set(dirID, fscc.ClassRename, fscc.RenameInfo{Name: "renamed"})), "a file is open below")
	r.mustClose(id)
	require.NoError(t, r.set(dirID, fscc.ClassRename, fscc.RenameInfo{Name: "renamed"}))
	r.mustClose(dirID)
	assert.True(t, r.exists("renamed/x"))

	q := req("third", smb2.FileOpenIf)
	q.DesiredAccess = smb2.GenericRead | smb2.GenericWrite
	id = r.mustCreate(q).FileID
	assert.Equal(t, smb2.StatusAccessDenied, rename("fourth", false), "renaming needs DELETE")
	r.mustClose(id)
	id = r.mustCreate(req("", smb2.FileOpen)).FileID
	assert.Equal(t, smb2.StatusAccessDenied, rename("root", false))
	r.mustClose(id)
}

func TestLink(t *testing.T) {
	r := open(t)
	r.put("file", "file")
	r.put("other", "other")
	r.mkdir("dir")
	id := r.mustCreate(req("file", smb2.FileOpen)).FileID
	link := func(to string, replace bool) smb2.Status {
		return status(t, r.set(id, fscc.ClassLink, fscc.RenameInfo{Name: to, ReplaceIfExists: replace}))
	}
	assert.Equal(t, smb2.StatusSuccess, link(`dir\link`, false))
	assert.Equal(t, smb2.StatusObjectNameCollision, link("other", false))
	assert.Equal(t, smb2.StatusSuccess, link("other", true))
	std, err := fscc.ParseStandardInfo(r.mustQuery(id, fscc.ClassStandard))
	require.NoError(t, err)
	assert.EqualValues(t, 3, std.NumberOfLinks)
	r.mustClose(id)
	got, err := r.mem.ReadFile("dir/link")
	require.NoError(t, err)
	assert.Equal(t, "file", string(got))
	id = r.mustCreate(req("dir", smb2.FileOpen)).FileID
	assert.Equal(t, smb2.StatusFileIsADirectory, link("again", false))
	r.mustClose(id)
}
