package fscc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/hexdump"
)

// What smbd 4.17.12 answered to `ls` of smbclient 4.17.12: FileIdBothDirectoryInformation.
func recordedIDBoth() string {
	return strings.Join([]string{
		"7000000000000000b0fc24c7c87bdd01b0fc24c7c87bdd01b0fc24c7c87bdd01b0fc24c7c87bdd010000000000000000000000000000000010000000020000000000000000000000000000000000000000000000000000000000000000000000a4499800000000002e00000000000000",
		"7000000000000000b5206ab8c87bdd01b5206ab8c87bdd01b5bde1c6c87bdd01b5bde1c6c87bdd01000000000000000000000000000000001000000004000000000000000000000000000000000000000000000000000000000000000000000094499800000000002e002e0000000000",
		"7800000000000000b50623c7c87bdd01ecea23c7c87bdd01cfac23c7c87bdd01cfac23c7c87bdd012c010000000000000010000000000000200000000a0000000000000000000000000000000000000000000000000000000000000000000000e14198000000000062002e00740078007400000000000000",
		"7800000000000000f54424c7c87bdd01f54424c7c87bdd01b0fc24c7c87bdd01b0fc24c7c87bdd012c010000000000000010000000000000200000000a0000000000000000000000000000000000000000000000000000000000000000000000e14498000000000063002e00740078007400000000000000",
		"0000000000000000b0fc24c7c87bdd01b0fc24c7c87bdd01b0fc24c7c87bdd01b0fc24c7c87bdd01000000000000000000000000000000001000000002000000000000000000000000000000000000000000000000000000000000000000000091459800000000006400",
	}, "")
}

// What it answered to smbtorture: FileNamesInformation.
const recordedNames = "1000000000000000020000002e000000" +
	"1000000000000000040000002e002e00" +
	"000000000000000014000000630061006e00630065006c002e00740078007400"

func directoryClasses() []fscc.InfoClass {
	return []fscc.InfoClass{
		fscc.ClassDirectory, fscc.ClassFullDirectory, fscc.ClassBothDirectory, fscc.ClassNames, fscc.ClassIDBothDirectory, fscc.ClassIDFullDirectory,
	}
}

func listing(tb testing.TB, class fscc.InfoClass, entries []fscc.DirEntry) []byte {
	tb.Helper()
	w, err := fscc.NewDirWriter(nil, class, 1<<24, false)
	require.NoError(tb, err)
	for i := range entries {
		require.True(tb, w.Add(&entries[i]))
	}
	return w.Bytes()
}

func TestGoldenDirEntries(t *testing.T) {
	t.Parallel()
	data := hexdump.Bytes(t, recordedIDBoth())
	list, err := fscc.ParseDirEntries(fscc.ClassIDBothDirectory, data)
	require.NoError(t, err)
	require.Len(t, list, 5)
	assert.Equal(t, fscc.DirEntry{
		CreationTime: 134399666155620021, LastAccessTime: 134399666155678444, LastWriteTime: 134399666155662543, ChangeTime: 134399666155662543,
		EndOfFile: 300, AllocationSize: 4096, Attributes: fscc.AttrArchive, FileID: 9978337, Name: "b.txt",
	}, list[2])
	for i, want := range []string{".", "..", "b.txt", "c.txt", "d"} {
		assert.Equal(t, want, list[i].Name)
	}
	assert.Equal(t, fscc.AttrDirectory, list[4].Attributes)
	assert.Equal(t, data, listing(t, fscc.ClassIDBothDirectory, list))

	data = hexdump.Bytes(t, recordedNames)
	list, err = fscc.ParseDirEntries(fscc.ClassNames, data)
	require.NoError(t, err)
	assert.Equal(t, []fscc.DirEntry{{Name: "."}, {Name: ".."}, {Name: "cancel.txt"}}, list)
	assert.Equal(t, data, listing(t, fscc.ClassNames, list))
}

func fullEntry(name string) fscc.DirEntry {
	return fscc.DirEntry{
		FileIndex: 9, CreationTime: 1, LastAccessTime: 2, LastWriteTime: 3, ChangeTime: 4, EndOfFile: 5, AllocationSize: 6,
		Attributes: fscc.AttrReparsePoint, EASize: fscc.ReparseTagSymlink, ShortName: "SHORT~1.TXT", FileID: 7, Name: name,
	}
}

// Where each field lies, from [MS-FSCC] 2.4.8, .10, .15, .19, .20, .33.
func TestGoldenDirectoryLayouts(t *testing.T) {
	t.Parallel()
	const common = "00000000 09000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 0600000000000000 00040000 02000000"
	const short = "16 00 530048004f00520054007e0031002e00540058005400 0000"
	for class, want := range map[fscc.InfoClass]string{
		fscc.ClassDirectory:       common + "6100",
		fscc.ClassFullDirectory:   common + "0c0000a0" + "6100",
		fscc.ClassBothDirectory:   common + "0c0000a0" + short + "6100",
		fscc.ClassIDBothDirectory: common + "0c0000a0" + short + "0000" + "0700000000000000" + "6100",
		fscc.ClassIDFullDirectory: common + "0c0000a0" + "00000000" + "0700000000000000" + "6100",
		fscc.ClassNames:           "00000000 09000000 02000000 6100",
	} {
		assert.Equal(t, hexdump.Bytes(t, want), listing(t, class, []fscc.DirEntry{fullEntry("a")}), "class %s", class)
		assert.Equal(t, len(hexdump.Bytes(t, want))-2, fscc.DirEntryFixedLen(class))
		assert.True(t, fscc.IsDirectoryClass(class))
	}
	_, err := fscc.NewDirWriter(nil, fscc.ClassBasic, 100, false)
	require.Error(t, err)
	_, err = fscc.ParseDirEntries(fscc.ClassBasic, nil)
	require.ErrorIs(t, err, fscc.ErrMalformed)
	assert.False(t, fscc.IsDirectoryClass(fscc.ClassBasic))
	assert.Zero(t, fscc.DirEntryFixedLen(fscc.ClassBasic))
}

// TestDirWriterBounds fills every limit up to the whole listing: what fits is exactly what the limit holds.
func TestDirWriterBounds(t *testing.T) {
	t.Parallel()
	entries := []fscc.DirEntry{fullEntry("a"), fullEntry("four"), fullEntry("\xff\U0001F600"), fullEntry(strings.Repeat("n", 255))}
	for _, class := range directoryClasses() {
		whole := listing(t, class, entries)
		prefix := []byte{1, 2, 3}
		last := -1
		for limit := range len(whole) + 9 {
			w, err := fscc.NewDirWriter(prefix[:3:3], class, limit, false)
			require.NoError(t, err)
			n := 0
			for n < len(entries) && w.Add(&entries[n]) {
				n++
			}
			require.LessOrEqual(t, w.Len(), limit)
			require.Equal(t, n, w.Count())
			require.Equal(t, prefix, w.Bytes()[:3])
			list, err := fscc.ParseDirEntries(class, w.Bytes()[3:])
			require.NoError(t, err)
			require.Len(t, list, n)
			require.GreaterOrEqual(t, n, last)
			last = n
			require.Equal(t, limit >= len(whole), n == len(entries))
			require.Equal(t, limit >= fscc.DirEntryFixedLen(class)+2, n > 0)
		}
	}
}

func TestDirWriterSingle(t *testing.T) {
	t.Parallel()
	a, b := fullEntry("a"), fullEntry("b")
	w, err := fscc.NewDirWriter(nil, fscc.ClassIDFullDirectory, 4096, true)
	require.NoError(t, err)
	assert.False(t, w.Full())
	assert.True(t, w.Add(&a))
	assert.True(t, w.Full())
	assert.False(t, w.Add(&b))
	assert.Equal(t, 1, w.Count())

	long := fullEntry(strings.Repeat("n", 32768))
	w, err = fscc.NewDirWriter(nil, fscc.ClassNames, 1<<20, false)
	require.NoError(t, err)
	assert.False(t, w.Add(&long), "a name beyond 65534 bytes")
	tooShort := fullEntry("a")
	tooShort.ShortName = "THIRTEENCHARS"
	assert.Zero(t, listing(t, fscc.ClassBothDirectory, []fscc.DirEntry{tooShort})[68])
}

func FuzzDirEntries(f *testing.F) {
	f.Add(uint8(fscc.ClassIDBothDirectory), hexdump.Bytes(f, recordedIDBoth()))
	f.Add(uint8(fscc.ClassNames), hexdump.Bytes(f, recordedNames))
	for _, class := range directoryClasses() {
		f.Add(uint8(class), listing(f, class, []fscc.DirEntry{fullEntry("a"), fullEntry("bcd")}))
	}
	f.Fuzz(func(t *testing.T, class uint8, data []byte) {
		list, err := fscc.ParseDirEntries(fscc.InfoClass(class), data)
		if err != nil {
			require.ErrorIs(t, err, fscc.ErrMalformed)
			return
		}
		again, err := fscc.ParseDirEntries(fscc.InfoClass(class), listing(t, fscc.InfoClass(class), list))
		require.NoError(t, err)
		require.Equal(t, list, again)
	})
}

func BenchmarkDirWriter(b *testing.B) {
	entries := make([]fscc.DirEntry, 1000)
	for i := range entries {
		entries[i] = fullEntry(fmt.Sprintf("file%06d.txt", i))
	}
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		w, err := fscc.NewDirWriter(buf, fscc.ClassIDBothDirectory, 1<<20, false)
		require.NoError(b, err)
		for i := range entries {
			if !w.Add(&entries[i]) {
				b.Fatal("full")
			}
		}
	}
}
