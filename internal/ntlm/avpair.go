package ntlm

import (
	"encoding/binary"
	"fmt"
	"time"
)

// AVID is the AvId of an AV_PAIR, [MS-NLMP] 2.2.2.1.
type AVID uint16

// The pairs that this package reads or writes.
const (
	AVEOL         AVID = 0
	AVNbComputer  AVID = 1
	AVNbDomain    AVID = 2
	AVDNSComputer AVID = 3
	AVDNSDomain   AVID = 4
	AVFlags       AVID = 6
	AVTimestamp   AVID = 7
	AVTargetName  AVID = 9
)

// avFlagMIC in AVFlags says that AUTHENTICATE carries a MIC.
const avFlagMIC = 0x2

// maxAVPairs bounds a list; eleven kinds are defined and none may repeat.
const maxAVPairs = 32

// AVPair is one attribute. Strings are UTF-16LE.
type AVPair struct {
	ID    AVID
	Value []byte // at most 65535 bytes
}

// TargetInfo is an AV_PAIR list without its terminator.
type TargetInfo []AVPair

// ParseTargetInfo parses an AV_PAIR list up to and including MsvAvEOL, which must be
// there; what follows it is ignored. Pairs of fixed size must have that size. The result
// aliases b.
func ParseTargetInfo(b []byte) (TargetInfo, error) {
	var list TargetInfo
	for {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: AV_PAIR list without end", ErrMalformed)
		}
		id, size := AVID(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		if size > len(b) {
			return nil, fmt.Errorf("%w: AV_PAIR %d of %d bytes with %d left", ErrMalformed, id, size, len(b))
		}
		bad := false
		switch id {
		case AVEOL:
			if size != 0 {
				return nil, fmt.Errorf("%w: MsvAvEOL of %d bytes", ErrMalformed, size)
			}
			return list, nil
		case AVFlags:
			bad = size != 4
		case AVTimestamp:
			bad = size != 8
		}
		if bad {
			return nil, fmt.Errorf("%w: AV_PAIR %d of %d bytes", ErrMalformed, id, size)
		}
		if len(list) == maxAVPairs {
			return nil, fmt.Errorf("%w: more than %d AV_PAIRs", ErrMalformed, maxAVPairs)
		}
		list = append(list, AVPair{ID: id, Value: b[:size:size]})
		b = b[size:]
	}
}

// Append appends the list and its terminator to b.
func (l TargetInfo) Append(b []byte) []byte {
	for _, p := range l {
		if len(p.Value) > 0xffff {
			panic("ntlm: AV_PAIR over 65535 bytes") // values are bounded names or were parsed
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(p.ID))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p.Value))) // #nosec G115 -- checked above
		b = append(b, p.Value...)
	}
	return append(b, 0, 0, 0, 0)
}

// Get returns the value of the first pair with this id.
func (l TargetInfo) Get(id AVID) (value []byte, ok bool) {
	for _, p := range l {
		if p.ID == id {
			return p.Value, true
		}
	}
	return nil, false
}

// hasMIC reports whether the list promises a MIC.
func (l TargetInfo) hasMIC() bool {
	v, ok := l.Get(AVFlags)
	return ok && binary.LittleEndian.Uint32(v)&avFlagMIC != 0
}

// NTLMv2Response is NTLMv2_RESPONSE with its NTLMv2_CLIENT_CHALLENGE, [MS-NLMP] 2.2.2.7
// and 2.2.2.8.
type NTLMv2Response struct {
	Proof           [16]byte // NTProofStr
	Timestamp       uint64   // FILETIME
	ClientChallenge [8]byte
	TargetInfo      TargetInfo
}

const (
	proofLen   = 16
	blobFixed  = 28
	ntlmv1Size = 24
)

// ParseNTLMv2Response parses the NTResponse of an AUTHENTICATE_MESSAGE. The result
// aliases b.
func ParseNTLMv2Response(b []byte) (NTLMv2Response, error) {
	if len(b) < proofLen+blobFixed {
		return NTLMv2Response{}, fmt.Errorf("%w: NTLMv2 response of %d bytes", ErrMalformed, len(b))
	}
	var r NTLMv2Response
	copy(r.Proof[:], b)
	blob := b[proofLen:]
	if blob[0] != 1 || blob[1] != 1 {
		return NTLMv2Response{}, fmt.Errorf("%w: NTLMv2 response of version %d.%d", ErrMalformed, blob[0], blob[1])
	}
	r.Timestamp = binary.LittleEndian.Uint64(blob[8:])
	copy(r.ClientChallenge[:], blob[16:])
	var err error
	r.TargetInfo, err = ParseTargetInfo(blob[blobFixed:])
	return r, err
}

// Append appends the response to b, with the four zero bytes at its end that Windows
// sends.
func (r NTLMv2Response) Append(b []byte) []byte {
	b = append(b, r.Proof[:]...)
	b = append(b, 1, 1, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, r.Timestamp)
	b = append(b, r.ClientChallenge[:]...)
	b = append(b, 0, 0, 0, 0)
	b = r.TargetInfo.Append(b)
	return append(b, 0, 0, 0, 0)
}

// filetime converts to 100 ns units since 1601.
func filetime(t time.Time) uint64 {
	const unixEpoch = 116444736000000000
	return uint64(t.Unix()*1e7+int64(t.Nanosecond())/100) + unixEpoch // #nosec G115 -- wraps for years before 1601 only
}
