package smb2

// Flags of one element of LOCK.
const (
	LockShared          uint32 = 0x01
	LockExclusive       uint32 = 0x02
	LockUnlock          uint32 = 0x04
	LockFailImmediately uint32 = 0x10
)

// MaxLockElements bounds LOCK. LockCount has 16 bits; Windows clients send a handful.
const MaxLockElements = 4096

const lockElementLen = 24

// LockElement is one range, [MS-SMB2] 2.2.26.1.
type LockElement struct {
	Offset uint64 // bytes
	Length uint64 // bytes
	Flags  uint32
}

// LockRequest is SMB2 LOCK, [MS-SMB2] 2.2.26.
type LockRequest struct {
	// LockSequence is the number in the low 4 bits and the index in the high 28; 2.0.2 has it reserved.
	LockSequence uint32
	FileID       FileID
	Locks        []LockElement // at most MaxLockElements
}

// ParseLockRequest parses SMB2 LOCK. LockCount 0 parses; refusing it is the handler's part.
func ParseLockRequest(msg []byte) (LockRequest, error) {
	const fixed = 24
	b, err := fixedPart(msg, "LOCK request", fixed, 48)
	if err != nil {
		return LockRequest{}, err
	}
	n := int(le.Uint16(b[2:]))
	elements := msg[HeaderLen+fixed:]
	if n > MaxLockElements || n*lockElementLen > len(elements) {
		return LockRequest{}, malformed("LOCK of %d ranges in %d bytes", n, len(msg))
	}
	r := LockRequest{LockSequence: le.Uint32(b[4:]), FileID: parseFileID(b[8:]), Locks: make([]LockElement, n)}
	for i := range r.Locks {
		e := elements[i*lockElementLen:]
		r.Locks[i] = LockElement{Offset: le.Uint64(e), Length: le.Uint64(e[8:]), Flags: le.Uint32(e[16:])}
	}
	return r, nil
}

// Append appends the body.
func (r LockRequest) Append(b []byte) []byte {
	locks := r.Locks[:min(len(r.Locks), MaxLockElements)]
	b = le.AppendUint16(b, 48)
	b = le.AppendUint16(b, uint16(len(locks))) //nolint:gosec // at most MaxLockElements
	b = le.AppendUint32(b, r.LockSequence)
	b = r.FileID.append(b)
	for _, l := range locks {
		b = le.AppendUint64(b, l.Offset)
		b = le.AppendUint64(b, l.Length)
		b = le.AppendUint32(b, l.Flags)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// LockResponse is the answer to SMB2 LOCK, [MS-SMB2] 2.2.27. Its body holds nothing.
type LockResponse struct{}

// ParseLockResponse checks the body of the answer to SMB2 LOCK.
func ParseLockResponse(msg []byte) (LockResponse, error) {
	_, err := fixedPart(msg, "LOCK response", 4, 4)
	return LockResponse{}, err
}

// Append appends the body.
func (LockResponse) Append(b []byte) []byte { return append(b, 4, 0, 0, 0) }
