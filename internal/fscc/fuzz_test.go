package fscc_test

import (
	"testing"

	"github.com/uringfs/uringfs/internal/fscc"
)

func FuzzBasicInfo(f *testing.F) { fuzz(f, fscc.ParseBasicInfo) }

func FuzzStandardInfo(f *testing.F) { fuzz(f, fscc.ParseStandardInfo) }

func FuzzInternalInfo(f *testing.F) { fuzz(f, fscc.ParseInternalInfo) }

func FuzzEAInfo(f *testing.F) { fuzz(f, fscc.ParseEAInfo) }

func FuzzAccessInfo(f *testing.F) { fuzz(f, fscc.ParseAccessInfo) }

func FuzzPositionInfo(f *testing.F) { fuzz(f, fscc.ParsePositionInfo) }

func FuzzModeInfo(f *testing.F) { fuzz(f, fscc.ParseModeInfo) }

func FuzzAlignmentInfo(f *testing.F) { fuzz(f, fscc.ParseAlignmentInfo) }

func FuzzNetworkOpenInfo(f *testing.F) { fuzz(f, fscc.ParseNetworkOpenInfo) }

func FuzzAttributeTagInfo(f *testing.F) { fuzz(f, fscc.ParseAttributeTagInfo) }

func FuzzCompressionInfo(f *testing.F) { fuzz(f, fscc.ParseCompressionInfo) }

func FuzzFileIDInfo(f *testing.F) { fuzz(f, fscc.ParseFileIDInfo) }

func FuzzPipeInfo(f *testing.F) { fuzz(f, fscc.ParsePipeInfo) }

func FuzzPipeLocalInfo(f *testing.F) { fuzz(f, fscc.ParsePipeLocalInfo) }

func FuzzDispositionInfo(f *testing.F) { fuzz(f, fscc.ParseDispositionInfo) }

func FuzzDispositionInfoEx(f *testing.F) { fuzz(f, fscc.ParseDispositionInfoEx) }

func FuzzEndOfFileInfo(f *testing.F) { fuzz(f, fscc.ParseEndOfFileInfo) }

func FuzzAllocationInfo(f *testing.F) { fuzz(f, fscc.ParseAllocationInfo) }

func FuzzFSSizeInfo(f *testing.F) { fuzz(f, fscc.ParseFSSizeInfo) }

func FuzzFSFullSizeInfo(f *testing.F) { fuzz(f, fscc.ParseFSFullSizeInfo) }

func FuzzFSDeviceInfo(f *testing.F) { fuzz(f, fscc.ParseFSDeviceInfo) }

func FuzzFSControlInfo(f *testing.F) { fuzz(f, fscc.ParseFSControlInfo) }

func FuzzFSObjectIDInfo(f *testing.F) { fuzz(f, fscc.ParseFSObjectIDInfo) }

func FuzzFSSectorSizeInfo(f *testing.F) { fuzz(f, fscc.ParseFSSectorSizeInfo) }

func FuzzNameInfo(f *testing.F) {
	fuzz(f, fscc.ParseNameInfo, "12000000 740065007300740039002e00640061007400")
}

func FuzzAllInfo(f *testing.F) {
	fuzz(f, fscc.ParseAllInfo, "b50623c7c87bdd01b50623c7c87bdd01cfac23c7c87bdd01cfac23c7c87bdd01200000000000000000100000000000002c010000000000000100000000000000e1419800000000000000000089001200000000000000000020000000000000000c0000005c0061002e00740078007400")
}

func FuzzRenameInfo(f *testing.F) {
	fuzz(f, fscc.ParseRenameInfo, "000000000000000000000000000000000a00000062002e00740078007400")
}

func FuzzRenameInfoEx(f *testing.F) {
	fuzz(f, fscc.ParseRenameInfoEx, "000000000000000000000000000000000a00000062002e00740078007400")
}

func FuzzStreamInfo(f *testing.F) {
	fuzz(f, fscc.ParseStreamInfo, "000000000e000000000001000000000000000100000000003a003a0024004400410054004100")
}

func FuzzFullEAInfo(f *testing.F) {
	fuzz(f, fscc.ParseFullEAInfo, "0c00000080010200410001020000000000020000414200")
}

func FuzzNotifyInfo(f *testing.F) {
	fuzz(f, fscc.ParseNotifyInfo, "30000000020000002200000073006d00620032002d006e006f007400690066007900300031002e00640061007400000000000000010000002200000073006d00620032002d006e006f007400690066007900300031002e006400610074000000")
}

func FuzzFSVolumeInfo(f *testing.F) {
	fuzz(f, fscc.ParseFSVolumeInfo, "6d0ed6e8c87bdd013d3cbec00a000000000073006800610072006500")
}

func FuzzFSAttributeInfo(f *testing.F) {
	fuzz(f, fscc.ParseFSAttributeInfo, "6f000100ff000000080000004e00540046005300")
}
