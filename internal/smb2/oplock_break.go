package smb2

// OplockBreak is the body of an oplock break notification (2.2.23.1), of its acknowledgment by the client (2.2.24.1) and of the
// answer to that (2.2.25.1): all three have one layout.
type OplockBreak struct {
	Level  OplockLevel
	FileID FileID
}

// ParseOplockBreak parses an oplock break in any of its three roles. Requests and responses of this command are told
// from lease breaks by [IsLeaseBreak].
func ParseOplockBreak(msg []byte) (OplockBreak, error) {
	b, err := fixedPart(msg, "OPLOCK_BREAK", 24, 24)
	if err != nil {
		return OplockBreak{}, err
	}
	return OplockBreak{Level: OplockLevel(b[2]), FileID: parseFileID(b[8:])}, nil
}

// Append appends the body.
func (r OplockBreak) Append(b []byte) []byte {
	b = le.AppendUint16(b, 24)
	b = append(b, uint8(r.Level), 0, 0, 0, 0, 0)
	return r.FileID.append(b)
}

// LeaseState are the caching rights of a lease.
type LeaseState uint32

// Lease states.
const (
	LeaseRead   LeaseState = 1
	LeaseHandle LeaseState = 2
	LeaseWrite  LeaseState = 4
)

// LeaseBreakAckRequired in the Flags of a notification asks for an acknowledgment.
const LeaseBreakAckRequired uint32 = 1

// IsLeaseBreak tells whether an OPLOCK_BREAK message has the StructureSize of a lease break notification (44), or of its
// acknowledgment and the answer to that (36).
func IsLeaseBreak(msg []byte) bool {
	if len(msg) < HeaderLen+2 {
		return false
	}
	size := le.Uint16(msg[HeaderLen:])
	return size == 44 || size == 36
}

// LeaseBreakNotification is [MS-SMB2] 2.2.23.2.
type LeaseBreakNotification struct {
	NewEpoch     uint16
	Flags        uint32
	LeaseKey     [16]byte
	CurrentState LeaseState
	NewState     LeaseState
}

// ParseLeaseBreakNotification parses a lease break notification.
func ParseLeaseBreakNotification(msg []byte) (LeaseBreakNotification, error) {
	b, err := fixedPart(msg, "lease break", 44, 44)
	if err != nil {
		return LeaseBreakNotification{}, err
	}
	return LeaseBreakNotification{
		NewEpoch:     le.Uint16(b[2:]),
		Flags:        le.Uint32(b[4:]),
		LeaseKey:     [16]byte(b[8:24]),
		CurrentState: LeaseState(le.Uint32(b[24:])),
		NewState:     LeaseState(le.Uint32(b[28:])),
	}, nil
}

// Append appends the body.
func (r LeaseBreakNotification) Append(b []byte) []byte {
	b = le.AppendUint16(b, 44)
	b = le.AppendUint16(b, r.NewEpoch)
	b = le.AppendUint32(b, r.Flags)
	b = append(b, r.LeaseKey[:]...)
	b = le.AppendUint32(b, uint32(r.CurrentState))
	b = le.AppendUint32(b, uint32(r.NewState))
	return appendZeros(b, 12)
}

// LeaseBreakAck is the acknowledgment of a lease break (2.2.24.2) and the answer to it (2.2.25.2): both have one layout.
type LeaseBreakAck struct {
	Flags    uint32
	LeaseKey [16]byte
	State    LeaseState
}

// ParseLeaseBreakAck parses the acknowledgment of a lease break, or the answer to it.
func ParseLeaseBreakAck(msg []byte) (LeaseBreakAck, error) {
	b, err := fixedPart(msg, "lease break ack", 36, 36)
	if err != nil {
		return LeaseBreakAck{}, err
	}
	return LeaseBreakAck{
		Flags:    le.Uint32(b[4:]),
		LeaseKey: [16]byte(b[8:24]),
		State:    LeaseState(le.Uint32(b[24:])),
	}, nil
}

// Append appends the body.
func (r LeaseBreakAck) Append(b []byte) []byte {
	b = le.AppendUint16(b, 36)
	b = append(b, 0, 0)
	b = le.AppendUint32(b, r.Flags)
	b = append(b, r.LeaseKey[:]...)
	b = le.AppendUint32(b, uint32(r.State))
	return appendZeros(b, 8)
}
