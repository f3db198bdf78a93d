package fscc

// Classes that are lists of entries chained by NextEntryOffset.

// maxListEntries bounds every list here; an entry has at least 12 bytes, so it is what fits 768 KiB.
const maxListEntries = 65536

// nextEntry cuts the first entry off b: NextEntryOffset (its first four bytes) must be a multiple of align, not below
// fixed, and inside. rest is nil after the last entry.
func nextEntry(b []byte, fixed, align int, what string) (entry, rest []byte, err error) {
	if err := need(b, fixed, what); err != nil {
		return nil, nil, err
	}
	next := le.Uint32(b)
	if next == 0 {
		return b, nil, nil
	}
	if uint64(next) < uint64(fixed) || uint64(next) > uint64(len(b)-fixed) || next%uint32(align) != 0 { //nolint:gosec // small positive constants
		return nil, nil, malformed("%s NextEntryOffset %d of %d bytes", what, next, len(b))
	}
	return b[:next:next], b[next:], nil
}

// closeEntry pads the entry that starts at b[start:] to align and writes its NextEntryOffset.
func closeEntry(b []byte, start, align int) []byte {
	b = appendZeros(b, -(len(b)-start)&(align-1))
	le.PutUint32(b[start:], uint32(min(len(b)-start, 1<<32-1))) //nolint:gosec // bounded
	return b
}

// StreamEntry is one entry of FileStreamInformation, 2.4.49.
type StreamEntry struct {
	Name           string // ":name:$DATA"; the main stream is "::$DATA"
	Size           int64  // bytes
	AllocationSize int64  // bytes
}

// StreamInfo is FileStreamInformation, 2.4.49. An empty one is an empty buffer.
type StreamInfo []StreamEntry

const streamFixed = 24

// ParseStreamInfo parses the class.
func ParseStreamInfo(b []byte) (StreamInfo, error) {
	var list StreamInfo
	for len(b) > 0 {
		entry, rest, err := nextEntry(b, streamFixed, 8, "FileStreamInformation")
		if err != nil {
			return nil, err
		}
		if len(list) == maxListEntries {
			return nil, malformed("more than %d streams", maxListEntries)
		}
		s, err := name(entry, streamFixed, le.Uint32(entry[4:]), "FileStreamInformation")
		if err != nil {
			return nil, err
		}
		list = append(list, StreamEntry{Name: s, Size: size(entry[8:]), AllocationSize: size(entry[16:])})
		b = rest
	}
	return list, nil
}

// Append appends the class; entries are aligned to 8 from the start of the list.
func (i StreamInfo) Append(b []byte) []byte {
	list := i[:min(len(i), maxListEntries)]
	for n, s := range list {
		start := len(b)
		b = appendZeros(b, 4)
		at := len(b)
		b = appendZeros(b, 4)
		b = appendSize(b, s.Size)
		b = appendSize(b, s.AllocationSize)
		b = EncodeUTF16(b, s.Name)
		le.PutUint32(b[at:], uint32(min(len(b)-start-streamFixed, 1<<32-2))) //nolint:gosec // bounded
		if n < len(list)-1 {
			b = closeEntry(b, start, 8)
		}
	}
	return b
}

// EAEntry is one extended attribute.
type EAEntry struct {
	Flags uint8  // 0x80: the file needs it
	Name  string // bytes without NUL; at most 255
	Value []byte // at most 65535 bytes
}

// FullEAInfo is FileFullEaInformation, 2.4.16. An empty one is an empty buffer.
type FullEAInfo []EAEntry

const eaFixed = 8

// ParseFullEAInfo parses the class. Values alias b.
func ParseFullEAInfo(b []byte) (FullEAInfo, error) {
	var list FullEAInfo
	for len(b) > 0 {
		entry, rest, err := nextEntry(b, eaFixed, 4, "FileFullEaInformation")
		if err != nil {
			return nil, err
		}
		if len(list) == maxListEntries {
			return nil, malformed("more than %d EAs", maxListEntries)
		}
		nameLen, valueLen := int(entry[5]), int(le.Uint16(entry[6:]))
		end := eaFixed + nameLen + 1 + valueLen
		if end > len(entry) {
			return nil, malformed("EA of %d+%d bytes in %d", nameLen, valueLen, len(entry))
		}
		if entry[eaFixed+nameLen] != 0 {
			return nil, malformed("EA name without NUL")
		}
		list = append(list, EAEntry{
			Flags: entry[4],
			Name:  string(entry[eaFixed:][:nameLen]),
			Value: entry[eaFixed+nameLen+1 : end : end],
		})
		b = rest
	}
	return list, nil
}

// Append appends the class; entries are aligned to 4 from the start of the list.
func (i FullEAInfo) Append(b []byte) []byte {
	list := i[:min(len(i), maxListEntries)]
	for n, ea := range list {
		start := len(b)
		eaName, value := ea.Name[:min(len(ea.Name), 255)], ea.Value[:min(len(ea.Value), 65535)]
		b = append(b, 0, 0, 0, 0, ea.Flags, byte(len(eaName))) //nolint:gosec // bounded above
		b = le.AppendUint16(b, uint16(len(value)))             //nolint:gosec // bounded above
		b = append(b, eaName...)
		b = append(b, 0)
		b = append(b, value...)
		if n < len(list)-1 {
			b = closeEntry(b, start, 4)
		}
	}
	return b
}

// Actions of a [NotifyEntry], 2.7.1.
const (
	NotifyAdded          uint32 = 1
	NotifyRemoved        uint32 = 2
	NotifyModified       uint32 = 3
	NotifyRenamedOldName uint32 = 4
	NotifyRenamedNewName uint32 = 5
)

// NotifyEntry is one FILE_NOTIFY_INFORMATION, 2.7.1.
type NotifyEntry struct {
	Action uint32
	Name   string // relative to the watched directory
}

// NotifyInfo is the buffer of CHANGE_NOTIFY.
type NotifyInfo []NotifyEntry

const notifyFixed = 12

// ParseNotifyInfo parses the buffer.
func ParseNotifyInfo(b []byte) (NotifyInfo, error) {
	var list NotifyInfo
	for len(b) > 0 {
		entry, rest, err := nextEntry(b, notifyFixed, 4, "FILE_NOTIFY_INFORMATION")
		if err != nil {
			return nil, err
		}
		if len(list) == maxListEntries {
			return nil, malformed("more than %d notifications", maxListEntries)
		}
		s, err := name(entry, notifyFixed, le.Uint32(entry[8:]), "FILE_NOTIFY_INFORMATION")
		if err != nil {
			return nil, err
		}
		list = append(list, NotifyEntry{Action: le.Uint32(entry[4:]), Name: s})
		b = rest
	}
	return list, nil
}

// Append appends the buffer; entries are aligned to 4.
func (i NotifyInfo) Append(b []byte) []byte {
	list := i[:min(len(i), maxListEntries)]
	for n, e := range list {
		start := len(b)
		b = appendZeros(b, 4)
		b = le.AppendUint32(b, e.Action)
		b = appendName32(b, e.Name)
		if n < len(list)-1 {
			b = closeEntry(b, start, 4)
		}
	}
	return b
}
