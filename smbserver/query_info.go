package smbserver

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

// answer is the buffer of a QUERY_INFO. Of a class with a name at its end, a client with too little room gets as much as
// fits and BUFFER_OVERFLOW, if at least the fixed part does.
type answer struct {
	buf   []byte
	fixed int // bytes that must fit; all of buf for a class of fixed size
}

func whole(buf []byte) answer { return answer{buf: buf, fixed: len(buf)} }

// handleQueryInfo handles QUERY_INFO, [MS-SMB2] 3.3.5.20.
func handleQueryInfo(ctx context.Context, r *request) (reply, error) {
	q, err := smb2.ParseQueryInfoRequest(r.msg)
	if err != nil {
		return nil, err
	}
	if q.OutputBufferLength > r.conn.neg.maxTransact {
		return nil, fmt.Errorf("%w: QUERY_INFO of %d bytes", smb2.ErrMalformed, q.OutputBufferLength)
	}
	var a answer
	switch {
	case q.Type == smb2.InfoFile && r.file.pipe != nil:
		a, err = queryPipeInfo(r.file, fscc.InfoClass(q.Class))
	case q.Type == smb2.InfoFile:
		a, err = queryFileInfo(ctx, r, fscc.InfoClass(q.Class))
	case q.Type == smb2.InfoFileSystem && r.file.pipe == nil:
		a, err = queryFSInfo(ctx, r, fscc.FSClass(q.Class))
	case q.Type == smb2.InfoFileSystem, q.Type == smb2.InfoSecurity, q.Type == smb2.InfoQuota:
		err = smb2.StatusNotSupported // no file system, no security descriptors, no quotas: 3.3.5.20.2 to .4
	default:
		err = smb2.StatusInvalidParameter
	}
	if err != nil {
		return nil, err
	}
	room := int(q.OutputBufferLength)
	switch {
	case room < a.fixed:
		return nil, smb2.StatusInfoLengthMismatch
	case room < len(a.buf):
		return smb2.QueryInfoResponse{Buffer: a.buf[:room]}, smb2.StatusBufferOverflow
	}
	return smb2.QueryInfoResponse{Buffer: a.buf}, nil
}

// queryFileInfo answers the classes of [MS-SMB2] 3.3.5.20.1. Any class that is not here is INVALID_INFO_CLASS.
func queryFileInfo(ctx context.Context, r *request, class fscc.InfoClass) (answer, error) {
	o := r.file
	switch class { // what the open itself knows
	case fscc.ClassInternal:
		return whole(fscc.InternalInfo{IndexNumber: o.index()}.Append(nil)), nil
	case fscc.ClassEA:
		return whole(fscc.EAInfo{}.Append(nil)), nil
	case fscc.ClassAccess:
		return whole(fscc.AccessInfo{AccessFlags: uint32(o.access)}.Append(nil)), nil
	case fscc.ClassPosition:
		return whole(fscc.PositionInfo{CurrentByteOffset: o.position.Load()}.Append(nil)), nil
	case fscc.ClassMode:
		return whole(fscc.ModeInfo{Mode: o.mode()}.Append(nil)), nil
	case fscc.ClassAlignment:
		return whole(fscc.AlignmentInfo{}.Append(nil)), nil
	case fscc.ClassFileID:
		id := o.file.ID()
		info := fscc.FileIDInfo{VolumeSerialNumber: id.Volume}
		binary.LittleEndian.PutUint64(info.FileID[:], o.index())
		return whole(info.Append(nil)), nil
	case fscc.ClassFullEA:
		return answer{}, smb2.StatusNoEAsOnFile
	case fscc.ClassAlternateName:
		return answer{}, smb2.StatusObjectNameNotFound // no 8.3 names, [MS-FSA] 2.1.5.12.4
	case fscc.ClassNormalizedName:
		if r.conn.neg.dialect < Dialect311 {
			return answer{}, smb2.StatusNotSupported
		}
		return answer{buf: fscc.NameInfo{Name: wirePath(o.file.Path())}.Append(nil), fixed: 8}, nil
	case fscc.ClassBasic, fscc.ClassStandard, fscc.ClassAll, fscc.ClassStream, fscc.ClassCompression, fscc.ClassNetworkOpen,
		fscc.ClassAttributeTag:
	default:
		return answer{}, smb2.StatusInvalidInfoClass
	}
	switch class {
	case fscc.ClassBasic, fscc.ClassAll, fscc.ClassNetworkOpen, fscc.ClassAttributeTag:
		if !o.access.Has(smb2.FileReadAttributes) {
			return answer{}, smb2.StatusAccessDenied
		}
	}
	a, err := o.file.Attr(ctx)
	if err != nil {
		return answer{}, err
	}
	switch class {
	case fscc.ClassBasic:
		return whole(basicInfo(a).Append(nil)), nil
	case fscc.ClassStandard:
		return whole(o.standardInfo(a).Append(nil)), nil
	case fscc.ClassStream:
		return streamInfo(a), nil
	case fscc.ClassCompression:
		return whole(fscc.CompressionInfo{CompressedFileSize: allocationOf(a)}.Append(nil)), nil
	case fscc.ClassNetworkOpen:
		b := basicInfo(a)
		return whole(fscc.NetworkOpenInfo{
			CreationTime: b.CreationTime, LastAccessTime: b.LastAccessTime, LastWriteTime: b.LastWriteTime, ChangeTime: b.ChangeTime,
			AllocationSize: allocationOf(a), EndOfFile: endOf(a), Attributes: b.Attributes,
		}.Append(nil)), nil
	case fscc.ClassAttributeTag:
		return whole(fscc.AttributeTagInfo{Attributes: attributesOf(a), ReparseTag: reparseTagOf(a)}.Append(nil)), nil
	default: // ClassAll
		return answer{buf: fscc.AllInfo{
			Basic: basicInfo(a), Standard: o.standardInfo(a), Internal: fscc.InternalInfo{IndexNumber: o.index()},
			Access: fscc.AccessInfo{AccessFlags: uint32(o.access)}, Position: fscc.PositionInfo{CurrentByteOffset: o.position.Load()},
			Mode: fscc.ModeInfo{Mode: o.mode()}, Name: fscc.NameInfo{Name: `\` + wirePath(o.file.Path())},
		}.Append(nil), fixed: 100}, nil
	}
}

func basicInfo(a Attr) fscc.BasicInfo {
	return fscc.BasicInfo{
		CreationTime: fscc.NewFiletime(a.Created), LastAccessTime: fscc.NewFiletime(a.Accessed),
		LastWriteTime: fscc.NewFiletime(a.Written), ChangeTime: fscc.NewFiletime(a.Changed), Attributes: attributesOf(a),
	}
}

// standardInfo does not count a name that is delete pending among the links, as NTFS does not.
func (o *open) standardInfo(a Attr) fscc.StandardInfo {
	pending := o.tree.export.modes.deletePending(o.grant)
	links := a.Links
	if a.Directory {
		links = 1
	}
	if pending && links > 0 {
		links--
	}
	return fscc.StandardInfo{
		AllocationSize: allocationOf(a), EndOfFile: endOf(a), NumberOfLinks: links, DeletePending: pending, Directory: a.Directory,
	}
}

// streamInfo lists the one stream that a file has; a directory has none.
func streamInfo(a Attr) answer {
	if a.Directory {
		return answer{}
	}
	list := fscc.StreamInfo{{Name: "::$DATA", Size: endOf(a), AllocationSize: allocationOf(a)}}
	return answer{buf: list.Append(nil), fixed: 32}
}

func (o *open) index() uint64 { return o.tree.export.modes.index(o.file.ID()) }

// modeOptions are the create options that FileModeInformation shows, [MS-FSCC] 2.4.31.
const modeOptions = smb2.FileWriteThrough | smb2.FileSequentialOnly | smb2.FileNoIntermediateBuffering |
	smb2.FileSynchronousIOAlert | smb2.FileSynchronousIONonalert | smb2.FileDeleteOnClose

func (o *open) mode() uint32 { return uint32(o.options & modeOptions) }

// volumeInfoLen is FileFsVolumeInformation as a C structure with its padding; smbclient takes less for a broken answer.
const volumeInfoLen = 24

// attributeInfoLen is FileFsAttributeInformation in the same way.
const attributeInfoLen = 16

// sectorSize is what every volume claims; 512 is what old programs expect and divides every block size.
const sectorSize = 512

// queryFSInfo answers the classes of 3.3.5.20.2. Any class that is not here is INVALID_INFO_CLASS.
func queryFSInfo(ctx context.Context, r *request, class fscc.FSClass) (answer, error) {
	v, err := r.tree.export.share.Statfs(ctx)
	if err != nil {
		return answer{}, err
	}
	unit := max(v.BlockSize/sectorSize, 1)
	switch class {
	case fscc.FSClassVolume:
		buf := fscc.FSVolumeInfo{
			CreationTime: fscc.NewFiletime(v.Created), SerialNumber: v.Serial, Label: cmp.Or(v.Label, r.tree.export.name),
		}.Append(nil)
		for len(buf) < volumeInfoLen {
			buf = append(buf, 0)
		}
		return answer{buf: buf, fixed: volumeInfoLen}, nil
	case fscc.FSClassSize:
		return whole(fscc.FSSizeInfo{
			TotalUnits: v.TotalBlocks, AvailableUnits: v.AvailBlocks, SectorsPerUnit: unit, BytesPerSector: sectorSize,
		}.Append(nil)), nil
	case fscc.FSClassDevice:
		flags := fscc.DeviceIsMounted
		if v.ReadOnly {
			flags |= fscc.DeviceReadOnly
		}
		return whole(fscc.FSDeviceInfo{DeviceType: fscc.DeviceDisk, Characteristics: flags}.Append(nil)), nil
	case fscc.FSClassAttribute:
		buf := fscc.FSAttributeInfo{Attributes: fsAttributes(v), MaxNameLength: v.MaxComponent, Name: v.FileSystem}.Append(nil)
		return answer{buf: buf, fixed: min(len(buf), attributeInfoLen)}, nil
	case fscc.FSClassFullSize:
		return whole(fscc.FSFullSizeInfo{
			TotalUnits: v.TotalBlocks, CallerAvailableUnits: v.AvailBlocks, ActualAvailableUnits: v.FreeBlocks,
			SectorsPerUnit: unit, BytesPerSector: sectorSize,
		}.Append(nil)), nil
	case fscc.FSClassObjectID:
		// A volume without an id of its own is named by its serial, so that clients can tell two shares apart.
		var info fscc.FSObjectIDInfo
		binary.LittleEndian.PutUint32(info.ObjectID[:], v.Serial)
		guid := r.conn.srv.cfg.GUID
		copy(info.ObjectID[4:], guid[:12])
		return whole(info.Append(nil)), nil
	case fscc.FSClassSectorSize:
		return whole(fscc.FSSectorSizeInfo{
			LogicalBytesPerSector: sectorSize, PhysicalBytesPerSectorAtomicity: sectorSize,
			PhysicalBytesPerSectorPerf: max(v.BlockSize, sectorSize), EffectivePhysicalBytesPerSector: max(v.BlockSize, sectorSize),
			Flags: fscc.SectorFlagAligned | fscc.SectorFlagPartitionFit,
		}.Append(nil)), nil
	default:
		return answer{}, smb2.StatusInvalidInfoClass
	}
}

// fsAttributes claims only what this server does: no streams, no EAs, no security descriptors, no object ids, no quotas.
func fsAttributes(v VolumeInfo) fscc.FSAttributes {
	out := fscc.FSCasePreservedNames | fscc.FSUnicodeOnDisk | fscc.FSSupportsHardLinks
	for _, f := range []struct {
		on   bool
		flag fscc.FSAttributes
	}{{v.CaseSensitive, fscc.FSCaseSensitiveSearch}, {v.Sparse, fscc.FSSupportsSparseFiles}, {v.ReadOnly, fscc.FSReadOnlyVolume}} {
		if f.on {
			out |= f.flag
		}
	}
	return out
}

// queryPipeInfo answers what clients ask of a named pipe, [MS-FSCC] 2.4.37 to 2.4.39.
func queryPipeInfo(o *open, class fscc.InfoClass) (answer, error) {
	switch class {
	case fscc.ClassStandard:
		return whole(fscc.StandardInfo{AllocationSize: pipeQuota, NumberOfLinks: 1, DeletePending: true}.Append(nil)), nil
	case fscc.ClassInternal:
		return whole(fscc.InternalInfo{IndexNumber: o.id.Volatile}.Append(nil)), nil
	case fscc.ClassEA:
		return whole(fscc.EAInfo{}.Append(nil)), nil
	case fscc.ClassAccess:
		return whole(fscc.AccessInfo{AccessFlags: uint32(o.access)}.Append(nil)), nil
	case fscc.ClassPipe:
		return whole(fscc.PipeInfo{ReadMode: pipeMessageMode}.Append(nil)), nil
	default:
		return answer{}, smb2.StatusInvalidInfoClass
	}
}
