package fscc_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/hexdump"
)

type appender interface{ Append(b []byte) []byte }

// checkGolden requires that data parses to want and that want appends to data.
func checkGolden[T appender](t *testing.T, parse func([]byte) (T, error), data string, want T) {
	t.Helper()
	b := hexdump.Bytes(t, data)
	got, err := parse(b)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, b, want.Append(nil))
	for n := range b {
		if _, err := parse(b[:n:n]); err != nil {
			require.ErrorIs(t, err, fscc.ErrMalformed, "cut to %d", n)
		}
	}
}

// The rows marked S are what smbd 4.17.12 sent to smbclient or smbtorture, those marked C what smbclient 4.17.12 or go-smb2 sent to
// smbd; the others are written out from [MS-FSCC].
func TestGoldenFileInfo(t *testing.T) {
	t.Parallel()
	checkGolden(t, fscc.ParseBasicInfo, "1648eee7c87bdd01 1648eee7c87bdd01 1648eee7c87bdd01 1648eee7c87bdd01 20000000 00000000", fscc.BasicInfo{ // S
		CreationTime: 134399666705811478, LastAccessTime: 134399666705811478, LastWriteTime: 134399666705811478, ChangeTime: 134399666705811478,
		Attributes: fscc.AttrArchive,
	})
	checkGolden(t, fscc.ParseBasicInfo, "ffffffffffffffff ffffffffffffffff 0000000000000000 ffffffffffffffff 21000000 00000000", fscc.BasicInfo{ // C
		CreationTime: fscc.TimeFreeze, LastAccessTime: fscc.TimeFreeze, LastWriteTime: fscc.TimeUnchanged, ChangeTime: fscc.TimeFreeze,
		Attributes: fscc.AttrArchive | fscc.AttrReadonly,
	})
	checkGolden(t, fscc.ParseAllInfo, // S
		"b50623c7c87bdd01 b50623c7c87bdd01 cfac23c7c87bdd01 cfac23c7c87bdd01 20000000 00000000"+
			"0000100000000000 2c01000000000000 01000000 00 00 0000 e141980000000000 00000000 89001200 0000000000000000 20000000 00000000"+
			"0c000000 5c0061002e00740078007400", fscc.AllInfo{
			Basic: fscc.BasicInfo{
				CreationTime: 134399666155620021, LastAccessTime: 134399666155620021, LastWriteTime: 134399666155662543, ChangeTime: 134399666155662543,
				Attributes: fscc.AttrArchive,
			},
			Standard: fscc.StandardInfo{AllocationSize: 1 << 20, EndOfFile: 300, NumberOfLinks: 1},
			Internal: fscc.InternalInfo{IndexNumber: 9978337},
			Access:   fscc.AccessInfo{AccessFlags: 0x00120089},
			Mode:     fscc.ModeInfo{Mode: 0x20},
			Name:     fscc.NameInfo{Name: `\a.txt`},
		})
	checkGolden(t, fscc.ParseNameInfo, "12000000 740065007300740039002e00640061007400", fscc.NameInfo{Name: "test9.dat"}) // S
	checkGolden(t, fscc.ParseStandardInfo, "0010000000000000 0100000000000000 02000000 01 00 0000",
		fscc.StandardInfo{AllocationSize: 4096, EndOfFile: 1, NumberOfLinks: 2, DeletePending: true})
	checkGolden(t, fscc.ParseInternalInfo, "0807060504030201", fscc.InternalInfo{IndexNumber: 0x0102030405060708})
	checkGolden(t, fscc.ParseEAInfo, "04000000", fscc.EAInfo{EASize: 4})
	checkGolden(t, fscc.ParseAccessInfo, "ff011f00", fscc.AccessInfo{AccessFlags: 0x1F01FF})
	checkGolden(t, fscc.ParsePositionInfo, "ffffffffffffff7f", fscc.PositionInfo{CurrentByteOffset: math.MaxInt64})
	checkGolden(t, fscc.ParseModeInfo, "02000000", fscc.ModeInfo{Mode: 2})
	checkGolden(t, fscc.ParseAlignmentInfo, "07000000", fscc.AlignmentInfo{AlignmentRequirement: 7})
	checkGolden(t, fscc.ParseNetworkOpenInfo,
		"0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 0600000000000000 10000000 00000000",
		fscc.NetworkOpenInfo{CreationTime: 1, LastAccessTime: 2, LastWriteTime: 3, ChangeTime: 4, AllocationSize: 5, EndOfFile: 6, Attributes: fscc.AttrDirectory})
	checkGolden(t, fscc.ParseAttributeTagInfo, "00040000 0c0000a0", fscc.AttributeTagInfo{Attributes: fscc.AttrReparsePoint, ReparseTag: fscc.ReparseTagSymlink})
	checkGolden(t, fscc.ParseCompressionInfo, "0700000000000000 0200 01 02 03 000000",
		fscc.CompressionInfo{CompressedFileSize: 7, Format: 2, UnitShift: 1, ChunkShift: 2, ClusterShift: 3})
	checkGolden(t, fscc.ParseFileIDInfo, "0100000000000000 0200000000000000 0300000000000000",
		fscc.FileIDInfo{VolumeSerialNumber: 1, FileID: [16]byte{0: 2, 8: 3}})
	checkGolden(t, fscc.ParsePipeInfo, "01000000 00000000", fscc.PipeInfo{ReadMode: 1})
	checkGolden(t, fscc.ParsePipeLocalInfo, "01000000 02000000 ffffffff 01000000 00100000 00000000 00100000 00100000 03000000 01000000", fscc.PipeLocalInfo{
		Type: 1, Configuration: 2, MaximumInstances: math.MaxUint32, CurrentInstances: 1, InboundQuota: 4096, OutboundQuota: 4096,
		WriteQuotaAvailable: 4096, State: 3, End: 1,
	})
}

func TestGoldenSetFileInfo(t *testing.T) {
	t.Parallel()
	checkGolden(t, fscc.ParseRenameInfo, "00 00000000000000 0000000000000000 0a000000 62002e00740078007400", fscc.RenameInfo{Name: "b.txt"})      // C
	checkGolden(t, fscc.ParseRenameInfo, "00 00000000000000 0000000000000000 0c000000 5c0065002e00740078007400", fscc.RenameInfo{Name: `\e.txt`}) // C
	checkGolden(t, fscc.ParseRenameInfo, "01 00000000000000 0700000000000000 02000000 6100 0000",
		fscc.RenameInfo{ReplaceIfExists: true, RootDirectory: 7, Name: "a"})
	checkGolden(t, fscc.ParseRenameInfoEx, "43000000 00000000 0000000000000000 04000000 61006200", fscc.RenameInfoEx{
		Flags: fscc.RenameReplaceIfExists | fscc.RenamePosixSemantics | fscc.RenameIgnoreReadonlyAttribute, Name: "ab",
	})
	checkGolden(t, fscc.ParseDispositionInfo, "01", fscc.DispositionInfo{DeletePending: true}) // C
	checkGolden(t, fscc.ParseDispositionInfoEx, "03000000", fscc.DispositionInfoEx{Flags: fscc.DispositionDelete | fscc.DispositionPosixSemantics})
	checkGolden(t, fscc.ParseEndOfFileInfo, "0500000000000000", fscc.EndOfFileInfo{EndOfFile: 5}) // C
	checkGolden(t, fscc.ParseAllocationInfo, "ffffffffffffffff", fscc.AllocationInfo{AllocationSize: -1})
}

func TestGoldenLists(t *testing.T) {
	t.Parallel()
	checkGolden(t, fscc.ParseStreamInfo, "00000000 0e000000 0001000000000000 0001000000000000 3a003a0024004400410054004100", // S
		fscc.StreamInfo{{Name: "::$DATA", Size: 256, AllocationSize: 256}})
	checkGolden(t, fscc.ParseStreamInfo,
		"28000000 0e000000 0100000000000000 0200000000000000 3a003a0024004400410054004100 0000"+
			"00000000 06000000 0300000000000000 0400000000000000 3a0061003a00",
		fscc.StreamInfo{{Name: "::$DATA", Size: 1, AllocationSize: 2}, {Name: ":a:", Size: 3, AllocationSize: 4}})
	checkGolden(t, fscc.ParseFullEAInfo, "0c000000 80 01 0200 41 00 0102 00000000 00 02 0000 4142 00",
		fscc.FullEAInfo{{Flags: 0x80, Name: "A", Value: []byte{1, 2}}, {Name: "AB", Value: []byte{}}})

	// S; smbd pads the last entry too, which Append does not.
	const first = "30000000 02000000 22000000 73006d00620032002d006e006f007400690066007900300031002e00640061007400 0000"
	const second = "00000000 01000000 22000000 73006d00620032002d006e006f007400690066007900300031002e00640061007400"
	checkGolden(t, fscc.ParseNotifyInfo, first+second, fscc.NotifyInfo{
		{Action: fscc.NotifyRemoved, Name: "smb2-notify01.dat"}, {Action: fscc.NotifyAdded, Name: "smb2-notify01.dat"},
	})
}

func TestGoldenFSInfo(t *testing.T) {
	t.Parallel() // all but the first of control and sector size are S
	checkGolden(t, fscc.ParseFSVolumeInfo, "6d0ed6e8c87bdd01 3d3cbec0 0a000000 00 00 73006800610072006500",
		fscc.FSVolumeInfo{CreationTime: 134399666721001069, SerialNumber: 0xC0BE3C3D, Label: "share"})
	checkGolden(t, fscc.ParseFSSizeInfo, "748ebf0f00000000 bc69e50400000000 02000000 00020000",
		fscc.FSSizeInfo{TotalUnits: 264212084, AvailableUnits: 82143676, SectorsPerUnit: 2, BytesPerSector: 512})
	checkGolden(t, fscc.ParseFSDeviceInfo, "07000000 20000000", fscc.FSDeviceInfo{DeviceType: fscc.DeviceDisk, Characteristics: fscc.DeviceIsMounted})
	checkGolden(t, fscc.ParseFSAttributeInfo, "6f000100 ff000000 08000000 4e00540046005300", fscc.FSAttributeInfo{
		Attributes: fscc.FSCaseSensitiveSearch | fscc.FSCasePreservedNames | fscc.FSUnicodeOnDisk | fscc.FSPersistentACLs |
			fscc.FSVolumeQuotas | fscc.FSSupportsSparseFiles | fscc.FSSupportsObjectIDs,
		MaxNameLength: 255, Name: "NTFS",
	})
	checkGolden(t, fscc.ParseFSControlInfo, strings.Repeat("00", 48), fscc.FSControlInfo{})
	checkGolden(t, fscc.ParseFSControlInfo, "0100000000000000 0200000000000000 0300000000000000 ffffffffffffffff 0500000000000000 06000000 00000000", fscc.FSControlInfo{
		FreeSpaceStartFiltering: 1, FreeSpaceThreshold: 2, FreeSpaceStopFiltering: 3, DefaultQuotaThreshold: math.MaxUint64, DefaultQuotaLimit: 5, Flags: 6,
	})
	checkGolden(t, fscc.ParseFSFullSizeInfo, "748ebf0f00000000 9c69e50400000000 9c69e50400000000 02000000 00020000",
		fscc.FSFullSizeInfo{TotalUnits: 264212084, CallerAvailableUnits: 82143644, ActualAvailableUnits: 82143644, SectorsPerUnit: 2, BytesPerSector: 512})
	id := fscc.FSObjectIDInfo{ObjectID: [16]byte(hexdump.Bytes(t, "51369273fde54eff91ccd50f13310bfc"))}
	copy(id.Extended[:], hexdump.Bytes(t, "61426d53000c1104000000000000000000000000"))
	copy(id.Extended[20:], "4.17.12-Debian")
	checkGolden(t, fscc.ParseFSObjectIDInfo, "51369273fde54eff91ccd50f13310bfc 61426d53000c1104000000000000000000000000"+
		"342e31372e31322d44656269616e 0000000000000000000000000000", id)
	checkGolden(t, fscc.ParseFSSectorSizeInfo, "00020000 00020000 00020000 00020000 03000000 00000000 00000000", fscc.FSSectorSizeInfo{
		LogicalBytesPerSector: 512, PhysicalBytesPerSectorAtomicity: 512, PhysicalBytesPerSectorPerf: 512, EffectivePhysicalBytesPerSector: 512,
		Flags: fscc.SectorFlagAligned | fscc.SectorFlagPartitionFit,
	})
}

func TestFiletime(t *testing.T) {
	t.Parallel()
	assert.Equal(t, fscc.Filetime(116444736000000000), fscc.NewFiletime(time.Unix(0, 0)))
	assert.Equal(t, fscc.Filetime(116444735999999999), fscc.NewFiletime(time.Unix(0, -100)))
	at := time.Date(2026, 11, 24, 4, 3, 35, 562002100, time.UTC)
	assert.Equal(t, fscc.Filetime(134399666155620021), fscc.NewFiletime(at), "the creation time of a.txt in the recordings")
	assert.Equal(t, at, fscc.Filetime(134399666155620021).Time())

	assert.Equal(t, fscc.TimeUnchanged, fscc.NewFiletime(time.Time{}))
	assert.Equal(t, fscc.Filetime(1), fscc.NewFiletime(time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)))
	assert.Equal(t, fscc.Filetime(1), fscc.NewFiletime(time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)), "0 would be no time")
	assert.Equal(t, fscc.Filetime(math.MaxInt64), fscc.NewFiletime(time.Date(40000, 1, 1, 0, 0, 0, 0, time.UTC)))
	for _, f := range []fscc.Filetime{fscc.TimeUnchanged, fscc.TimeFreeze, fscc.TimeThaw, math.MinInt64} {
		assert.False(t, f.IsTime())
		assert.True(t, f.Time().IsZero())
	}
	for _, f := range []fscc.Filetime{1, 9_999_999, 10_000_000, 116444735999999999, 134399666155620021, math.MaxInt64 - 10_000_000} {
		assert.Equal(t, f, fscc.NewFiletime(f.Time()))
	}
	assert.Equal(t, 30828, fscc.Filetime(math.MaxInt64).Time().Year())
}

func TestUTF16(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s   string
		hex string
	}{
		{"", ""},
		{"aß€", "6100 df00 ac20"},
		{"\U0001F600", "3dd8 00de"},
		{"\uFFFD", "fdff"},
		{"a\xff", "6100 ffdc"},             // a byte that is no UTF-8
		{"\xed\xa0\x80", "eddc a0dc 80dc"}, // a surrogate in UTF-8 is none
		{"\xc3é", "c3dc e900"},
		{"\U0001F600\x80", "3dd8 00de 80dc"},
	} {
		b := hexdump.Bytes(t, tt.hex)
		assert.Equal(t, b, append([]byte{}, fscc.EncodeUTF16(nil, tt.s)...), "%q", tt.s)
		assert.Equal(t, len(b), fscc.UTF16Len(tt.s))
		s, err := fscc.DecodeUTF16(b)
		require.NoError(t, err)
		assert.Equal(t, tt.s, s)
	}
	for why, h := range map[string]string{
		"odd length":                   "610062",
		"high surrogate at the end":    "3dd8",
		"high surrogate, then a":       "3dd8 6100",
		"two high surrogates":          "3dd8 3dd8",
		"low surrogate below escapes":  "00dc",
		"low surrogate above escapes":  "00dd",
		"escapes of a valid character": "c3dc a9dc",
	} {
		_, err := fscc.DecodeUTF16(hexdump.Bytes(t, h))
		assert.ErrorIs(t, err, fscc.ErrMalformed, why)
	}
}

// FuzzUTF16 checks that DecodeUTF16 accepts exactly what EncodeUTF16 produces, in both directions.
func FuzzUTF16(f *testing.F) {
	f.Add([]byte("a\x00b\x00"))
	f.Add([]byte{0xC3, 0xDC, 0xA9, 0xDC})
	f.Add([]byte{0x3D, 0xD8, 0x00, 0xDE})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := fscc.DecodeUTF16(b)
		if err != nil {
			require.ErrorIs(t, err, fscc.ErrMalformed)
		} else {
			require.Equal(t, string(b), string(fscc.EncodeUTF16(nil, s)))
		}
		name := string(b)
		wire := fscc.EncodeUTF16(nil, name)
		require.Len(t, wire, fscc.UTF16Len(name))
		back, err := fscc.DecodeUTF16(wire)
		require.NoError(t, err)
		require.Equal(t, name, back)
		if utf8.ValidString(name) {
			require.True(t, fscc.EqualFold(name, name))
		}
	})
}

func checkRoundTrip[T appender](t *testing.T, parse func([]byte) (T, error), data []byte) {
	t.Helper()
	v, err := parse(data)
	if err != nil {
		require.ErrorIs(t, err, fscc.ErrMalformed)
		return
	}
	again := v.Append(nil)
	w, err := parse(again)
	require.NoError(t, err)
	require.Equal(t, v, w)
	dirty := slices.Repeat([]byte{0xA5}, 24+len(again)+64)
	require.Equal(t, append([]byte(nil), again...), append([]byte(nil), v.Append(dirty[:24])[24:]...))
}

func fuzz[T appender](f *testing.F, parse func([]byte) (T, error), seeds ...string) {
	f.Helper()
	for _, s := range seeds {
		f.Add(hexdump.Bytes(f, s))
	}
	f.Add(make([]byte, 128))
	f.Fuzz(func(t *testing.T, data []byte) { checkRoundTrip(t, parse, data) })
}
