package smb2

import "fmt"

// ErrorResponse is the body of an answer that reports a failure, [MS-SMB2] 2.2.2.
//
// Data is the bare error data. In 3.1.1 it is wrapped in error contexts (ContextCount above 0): they then sit in Contexts, and
// Data is empty.
type ErrorResponse struct {
	Data     []byte
	Contexts []ErrorContext // at most 16
}

// ErrorContext is one entry of 2.2.2.1.
type ErrorContext struct {
	ID   uint32 // 0, or ErrorIDShareRedirect
	Data []byte
}

// ErrorIDShareRedirect is SMB2_ERROR_ID_SHARE_REDIRECT.
const ErrorIDShareRedirect uint32 = 0x72645253

const (
	maxErrorContexts  = 16
	errorContextFixed = 8
)

// ParseErrorResponse parses the body of a failure. Both forms of an empty body are accepted: 8 bytes, and 9 with the byte that
// StructureSize counts. Data and context data alias msg.
func ParseErrorResponse(msg []byte) (ErrorResponse, error) {
	const fixed = 8
	b, err := fixedPart(msg, "ERROR response", fixed, 9)
	if err != nil {
		return ErrorResponse{}, err
	}
	data, err := region(msg, "ERROR data", HeaderLen+fixed, HeaderLen+fixed, le.Uint32(b[4:]))
	if err != nil {
		return ErrorResponse{}, err
	}
	count := int(b[2])
	if count == 0 {
		return ErrorResponse{Data: data}, nil
	}
	if count > maxErrorContexts {
		return ErrorResponse{}, malformed("%d error contexts", count)
	}
	r := ErrorResponse{Contexts: make([]ErrorContext, 0, count)}
	for b := data; ; {
		if len(b) < errorContextFixed {
			return ErrorResponse{}, malformed("error context %d in %d bytes", len(r.Contexts), len(b))
		}
		n := uint64(le.Uint32(b))
		if n > uint64(len(b)-errorContextFixed) { //nolint:gosec // not negative: checked above
			return ErrorResponse{}, malformed("error context of %d bytes in %d", n, len(b))
		}
		end := errorContextFixed + int(n) //nolint:gosec // not above len(b)
		r.Contexts = append(r.Contexts, ErrorContext{ID: le.Uint32(b[4:]), Data: b[errorContextFixed:end:end]})
		if len(r.Contexts) == count {
			return r, nil
		}
		end = (end + 7) &^ 7
		if end > len(b) {
			return ErrorResponse{}, malformed("error context %d beyond the end", len(r.Contexts))
		}
		b = b[end:]
	}
}

// Append appends the body. Contexts win over Data; an empty body has the ninth byte.
func (r ErrorResponse) Append(b []byte) []byte {
	contexts := r.Contexts[:min(len(r.Contexts), maxErrorContexts)]
	b = le.AppendUint16(b, 9)
	b = append(b, uint8(len(contexts)), 0) //nolint:gosec // at most maxErrorContexts
	at := len(b)
	b = appendZeros(b, 4)
	if len(contexts) == 0 {
		le.PutUint32(b[at:], len32(len(r.Data)))
		return appendBuffer(b, r.Data)
	}
	start := len(b)
	for i, c := range contexts {
		if i > 0 {
			b = alignFrom(b, start)
		}
		b = le.AppendUint32(b, len32(len(c.Data)))
		b = le.AppendUint32(b, c.ID)
		b = append(b, c.Data...)
	}
	le.PutUint32(b[at:], len32(len(b)-start))
	return b
}

// SymlinkRelative in the Flags of a [SymlinkError] says that SubstituteName is relative to the link's directory.
const SymlinkRelative uint32 = 1

// SymlinkError is the error data of StatusStoppedOnSymlink, [MS-SMB2] 2.2.2.2.1.
type SymlinkError struct {
	UnparsedPathLength uint16 // bytes of the UTF-16 path that follow the link
	Flags              uint32
	SubstituteName     string // at most 16377 UTF-16 units
	PrintName          string // at most 16377 UTF-16 units
}

const (
	symlinkErrorTag   = 0x4C4D5953 // "SYML"
	symlinkReparseTag = 0xA000000C
	symlinkFixed      = 28
	// maxSymlinkName keeps ReparseDataLength, 12 bytes of fields and both names, within 16 bits.
	maxSymlinkName = 32754
)

// ParseSymlinkError parses the error data, without an error context around it.
func ParseSymlinkError(data []byte) (SymlinkError, error) {
	if len(data) < symlinkFixed {
		return SymlinkError{}, malformed("symlink error of %d bytes", len(data))
	}
	if tag, reparse := le.Uint32(data[4:]), le.Uint32(data[8:]); tag != symlinkErrorTag || reparse != symlinkReparseTag {
		return SymlinkError{}, malformed("symlink error tags %#x, %#x", tag, reparse)
	}
	names := data[symlinkFixed:]
	part := func(at int) (string, error) {
		off, n := int(le.Uint16(data[at:])), int(le.Uint16(data[at+2:]))
		if off+n > len(names) || n > maxSymlinkName {
			return "", malformed("symlink error name at %d+%d of %d bytes", off, n, len(names))
		}
		s, err := DecodeUTF16(names[off:][:n])
		if err != nil {
			return "", fmt.Errorf("symlink error name: %w", err)
		}
		return s, nil
	}
	e := SymlinkError{UnparsedPathLength: le.Uint16(data[14:]), Flags: le.Uint32(data[24:])}
	var err error
	if e.SubstituteName, err = part(16); err != nil {
		return SymlinkError{}, err
	}
	if e.PrintName, err = part(20); err != nil {
		return SymlinkError{}, err
	}
	return e, nil
}

// Append appends the error data.
func (e SymlinkError) Append(b []byte) []byte {
	substitute, printed := EncodeUTF16(nil, e.SubstituteName), EncodeUTF16(nil, e.PrintName)
	substitute, printed = substitute[:min(len(substitute), maxSymlinkName)], printed[:min(len(printed), maxSymlinkName)]
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint32(b, symlinkErrorTag)
	b = le.AppendUint32(b, symlinkReparseTag)
	b = le.AppendUint16(b, 12+len16(substitute)+len16(printed))
	b = le.AppendUint16(b, e.UnparsedPathLength)
	b = append(b, 0, 0)
	b = le.AppendUint16(b, len16(substitute))
	b = le.AppendUint16(b, len16(substitute))
	b = le.AppendUint16(b, len16(printed))
	b = le.AppendUint32(b, e.Flags)
	b = append(b, substitute...)
	b = append(b, printed...)
	le.PutUint32(b[start:], len32(len(b)-start-4)) // SymLinkLength does not count itself
	return b
}
