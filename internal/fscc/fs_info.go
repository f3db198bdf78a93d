package fscc

// Each type is the buffer of one file system information class, [MS-FSCC] 2.5.

// FSVolumeInfo is FileFsVolumeInformation, 2.5.9.
type FSVolumeInfo struct {
	CreationTime    Filetime
	SerialNumber    uint32
	SupportsObjects bool
	Label           string
}

// ParseFSVolumeInfo parses the class.
func ParseFSVolumeInfo(b []byte) (FSVolumeInfo, error) {
	const fixed = 18
	if err := need(b, fixed, "FileFsVolumeInformation"); err != nil {
		return FSVolumeInfo{}, err
	}
	s, err := name(b, fixed, le.Uint32(b[12:]), "FileFsVolumeInformation")
	if err != nil {
		return FSVolumeInfo{}, err
	}
	return FSVolumeInfo{CreationTime: filetime(b), SerialNumber: le.Uint32(b[8:]), SupportsObjects: b[16] != 0, Label: s}, nil
}

// Append appends the class.
func (i FSVolumeInfo) Append(b []byte) []byte {
	b = i.CreationTime.append(b)
	b = le.AppendUint32(b, i.SerialNumber)
	b = le.AppendUint32(b, uint32(min(UTF16Len(i.Label), 1<<32-2))) //nolint:gosec // bounded
	b = append(appendBool(b, i.SupportsObjects), 0)
	return EncodeUTF16(b, i.Label)
}

// FSSizeInfo is FileFsSizeInformation, 2.5.8.
type FSSizeInfo struct {
	TotalUnits     uint64 // allocation units
	AvailableUnits uint64 // allocation units
	SectorsPerUnit uint32
	BytesPerSector uint32
}

// ParseFSSizeInfo parses the class.
func ParseFSSizeInfo(b []byte) (FSSizeInfo, error) {
	if err := need(b, 24, "FileFsSizeInformation"); err != nil {
		return FSSizeInfo{}, err
	}
	return FSSizeInfo{
		TotalUnits: le.Uint64(b), AvailableUnits: le.Uint64(b[8:]), SectorsPerUnit: le.Uint32(b[16:]), BytesPerSector: le.Uint32(b[20:]),
	}, nil
}

// Append appends the 24 bytes of the class.
func (i FSSizeInfo) Append(b []byte) []byte {
	b = le.AppendUint64(b, i.TotalUnits)
	b = le.AppendUint64(b, i.AvailableUnits)
	b = le.AppendUint32(b, i.SectorsPerUnit)
	return le.AppendUint32(b, i.BytesPerSector)
}

// FSFullSizeInfo is FileFsFullSizeInformation, 2.5.4.
type FSFullSizeInfo struct {
	TotalUnits           uint64 // allocation units
	CallerAvailableUnits uint64 // allocation units, within the caller's quota
	ActualAvailableUnits uint64 // allocation units
	SectorsPerUnit       uint32
	BytesPerSector       uint32
}

// ParseFSFullSizeInfo parses the class.
func ParseFSFullSizeInfo(b []byte) (FSFullSizeInfo, error) {
	if err := need(b, 32, "FileFsFullSizeInformation"); err != nil {
		return FSFullSizeInfo{}, err
	}
	return FSFullSizeInfo{
		TotalUnits: le.Uint64(b), CallerAvailableUnits: le.Uint64(b[8:]), ActualAvailableUnits: le.Uint64(b[16:]),
		SectorsPerUnit: le.Uint32(b[24:]), BytesPerSector: le.Uint32(b[28:]),
	}, nil
}

// Append appends the 32 bytes of the class.
func (i FSFullSizeInfo) Append(b []byte) []byte {
	b = le.AppendUint64(b, i.TotalUnits)
	b = le.AppendUint64(b, i.CallerAvailableUnits)
	b = le.AppendUint64(b, i.ActualAvailableUnits)
	b = le.AppendUint32(b, i.SectorsPerUnit)
	return le.AppendUint32(b, i.BytesPerSector)
}

// FSDeviceInfo is FileFsDeviceInformation, 2.5.10.
type FSDeviceInfo struct {
	DeviceType      uint32
	Characteristics uint32
}

// ParseFSDeviceInfo parses the class.
func ParseFSDeviceInfo(b []byte) (FSDeviceInfo, error) {
	if err := need(b, 8, "FileFsDeviceInformation"); err != nil {
		return FSDeviceInfo{}, err
	}
	return FSDeviceInfo{DeviceType: le.Uint32(b), Characteristics: le.Uint32(b[4:])}, nil
}

// Append appends the 8 bytes of the class.
func (i FSDeviceInfo) Append(b []byte) []byte {
	return le.AppendUint32(le.AppendUint32(b, i.DeviceType), i.Characteristics)
}

// FSAttributeInfo is FileFsAttributeInformation, 2.5.1.
type FSAttributeInfo struct {
	Attributes    FSAttributes
	MaxNameLength uint32 // UTF-16 units in one component
	Name          string // of the file system; clients look for "NTFS"
}

// ParseFSAttributeInfo parses the class.
func ParseFSAttributeInfo(b []byte) (FSAttributeInfo, error) {
	const fixed = 12
	if err := need(b, fixed, "FileFsAttributeInformation"); err != nil {
		return FSAttributeInfo{}, err
	}
	s, err := name(b, fixed, le.Uint32(b[8:]), "FileFsAttributeInformation")
	if err != nil {
		return FSAttributeInfo{}, err
	}
	return FSAttributeInfo{Attributes: FSAttributes(le.Uint32(b)), MaxNameLength: le.Uint32(b[4:]), Name: s}, nil
}

// Append appends the class.
func (i FSAttributeInfo) Append(b []byte) []byte {
	b = le.AppendUint32(b, uint32(i.Attributes))
	b = le.AppendUint32(b, i.MaxNameLength)
	return appendName32(b, i.Name)
}

// FSControlInfo is FileFsControlInformation, 2.5.2.
type FSControlInfo struct {
	FreeSpaceStartFiltering int64
	FreeSpaceThreshold      int64
	FreeSpaceStopFiltering  int64
	DefaultQuotaThreshold   uint64 // bytes; all ones: none
	DefaultQuotaLimit       uint64 // bytes; all ones: none
	Flags                   uint32
}

// ParseFSControlInfo parses the class. The four bytes of padding at the end may be missing.
func ParseFSControlInfo(b []byte) (FSControlInfo, error) {
	if err := need(b, 44, "FileFsControlInformation"); err != nil {
		return FSControlInfo{}, err
	}
	return FSControlInfo{
		FreeSpaceStartFiltering: size(b), FreeSpaceThreshold: size(b[8:]), FreeSpaceStopFiltering: size(b[16:]),
		DefaultQuotaThreshold: le.Uint64(b[24:]), DefaultQuotaLimit: le.Uint64(b[32:]), Flags: le.Uint32(b[40:]),
	}, nil
}

// Append appends the 48 bytes of the class.
func (i FSControlInfo) Append(b []byte) []byte {
	b = appendSize(b, i.FreeSpaceStartFiltering)
	b = appendSize(b, i.FreeSpaceThreshold)
	b = appendSize(b, i.FreeSpaceStopFiltering)
	b = le.AppendUint64(b, i.DefaultQuotaThreshold)
	b = le.AppendUint64(b, i.DefaultQuotaLimit)
	b = le.AppendUint32(b, i.Flags)
	return append(b, 0, 0, 0, 0)
}

// FSObjectIDInfo is FileFsObjectIdInformation, 2.5.6.
type FSObjectIDInfo struct {
	ObjectID [16]byte
	Extended [48]byte
}

// ParseFSObjectIDInfo parses the class.
func ParseFSObjectIDInfo(b []byte) (FSObjectIDInfo, error) {
	if err := need(b, 64, "FileFsObjectIdInformation"); err != nil {
		return FSObjectIDInfo{}, err
	}
	return FSObjectIDInfo{ObjectID: [16]byte(b[:16]), Extended: [48]byte(b[16:64])}, nil
}

// Append appends the 64 bytes of the class.
func (i FSObjectIDInfo) Append(b []byte) []byte {
	return append(append(b, i.ObjectID[:]...), i.Extended[:]...)
}

// FSSectorSizeInfo is FileFsSectorSizeInformation, 2.5.7. Sizes and offsets are bytes.
type FSSectorSizeInfo struct {
	LogicalBytesPerSector           uint32
	PhysicalBytesPerSectorAtomicity uint32
	PhysicalBytesPerSectorPerf      uint32
	EffectivePhysicalBytesPerSector uint32
	Flags                           uint32
	ByteOffsetForSectorAlignment    uint32
	ByteOffsetForPartitionAlignment uint32
}

func sectorSizeFields(i *FSSectorSizeInfo) [7]*uint32 {
	return [...]*uint32{
		&i.LogicalBytesPerSector, &i.PhysicalBytesPerSectorAtomicity, &i.PhysicalBytesPerSectorPerf, &i.EffectivePhysicalBytesPerSector,
		&i.Flags, &i.ByteOffsetForSectorAlignment, &i.ByteOffsetForPartitionAlignment,
	}
}

// ParseFSSectorSizeInfo parses the class.
func ParseFSSectorSizeInfo(b []byte) (FSSectorSizeInfo, error) {
	if err := need(b, 28, "FileFsSectorSizeInformation"); err != nil {
		return FSSectorSizeInfo{}, err
	}
	var i FSSectorSizeInfo
	for n, f := range sectorSizeFields(&i) {
		*f = le.Uint32(b[4*n:])
	}
	return i, nil
}

// Append appends the 28 bytes of the class.
func (i FSSectorSizeInfo) Append(b []byte) []byte {
	for _, f := range sectorSizeFields(&i) {
		b = le.AppendUint32(b, *f)
	}
	return b
}
