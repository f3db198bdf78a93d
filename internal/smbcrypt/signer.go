package smbcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// SigningAlg is a signing algorithm as SMB2_SIGNING_CAPABILITIES carries it,
// [MS-SMB2] 2.2.3.1.7.
type SigningAlg uint16

// The three signing algorithms. HMAC-SHA256 is for 2.0.2 and 2.1, AES-CMAC for 3.x,
// AES-GMAC for 3.1.1 where both sides offered it.
const (
	HMACSHA256 SigningAlg = 0
	AESCMAC    SigningAlg = 1
	AESGMAC    SigningAlg = 2
)

// String names the algorithm as Microsoft's and Samba's settings do.
func (a SigningAlg) String() string {
	switch a {
	case HMACSHA256:
		return "HMAC-SHA256"
	case AESCMAC:
		return "AES-CMAC"
	case AESGMAC:
		return "AES-GMAC"
	default:
		return fmt.Sprintf("SigningAlg(%d)", uint16(a))
	}
}

// DefaultSigningAlg is the algorithm of a dialect when none was negotiated.
func DefaultSigningAlg(dialect uint16) SigningAlg {
	if dialect >= Dialect300 {
		return AESCMAC
	}
	return HMACSHA256
}

// The SMB2 header as far as signing needs it, [MS-SMB2] 2.2.1.2.
const (
	// HeaderLen is the size of an SMB2 header; a message shorter than this
	// cannot be signed.
	HeaderLen = 64

	commandAt   = 12
	flagsAt     = 16
	messageIDAt = 24
	sigAt       = 48
	sigLen      = 16

	flagServerToRedir = 1
	commandCancel     = 0x000c
)

// maxFreeStates bounds the scratch states that an idle Signer keeps; more than
// this many messages of one session are rarely signed at once.
const maxFreeStates = 8

// maxKeptGather bounds the copy that SignParts makes for AES-GMAC and keeps: one
// 1 MiB read with its headers. A larger copy is dropped after use.
const maxKeptGather = 1<<20 + 4096

// Signer signs and verifies the messages of one session or channel with one key.
// It is safe for concurrent use.
type Signer struct {
	// Immutable after NewSigner.
	alg SigningAlg
	key []byte      // HMAC
	cm  *cmacKey    // CMAC
	gcm cipher.AEAD // GMAC

	mu sync.Mutex
	// Guarded by mu.
	free []*signState // +checklocks:mu
}

// signState is the scratch of one computation. It lives on the heap because its
// parts are passed through interfaces; reuse keeps signing free of allocations.
type signState struct {
	mac    hash.Hash
	cmac   cmac
	sum    [sha256.Size]byte
	saved  [sigLen]byte
	nonce  [12]byte
	gather []byte
}

// NewSigner returns a Signer that uses alg with a copy of key. The key must have 16
// bytes. It fails with [ErrUnsupported] for another algorithm or size, or where the
// platform refuses the primitive (AES-GMAC under GODEBUG=fips140=only).
func NewSigner(alg SigningAlg, key []byte) (*Signer, error) {
	if len(key) != 16 {
		return nil, fmt.Errorf("%w: signing key of %d bytes", ErrUnsupported, len(key))
	}
	s := &Signer{alg: alg}
	switch alg {
	case HMACSHA256:
		s.key = append([]byte(nil), key...)
	case AESCMAC:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("%w: AES: %w", ErrUnsupported, err)
		}
		s.cm = newCMACKey(block)
	case AESGMAC:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("%w: AES: %w", ErrUnsupported, err)
		}
		if s.gcm, err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("%w: AES-GMAC: %w", ErrUnsupported, err)
		}
	default:
		return nil, fmt.Errorf("%w: signing algorithm %d", ErrUnsupported, uint16(alg))
	}
	return s, nil
}

// Alg returns the Signer's algorithm.
func (s *Signer) Alg() SigningAlg { return s.alg }

// Sign computes the signature of msg, one message of a compound including its
// padding, and writes it into the header's Signature field. Nothing else in msg
// changes. It panics if msg is shorter than [HeaderLen].
func (s *Signer) Sign(msg []byte) {
	header := msg[:HeaderLen:HeaderLen]
	st := s.take()
	defer s.put(st)
	copy(header[sigAt:], s.sumZeroed(st, header, msg))
}

// SignParts is Sign for a message in pieces; the first holds at least the header.
// AES-GMAC has no incremental form, so there more than one piece costs a copy.
func (s *Signer) SignParts(parts ...[]byte) {
	header := parts[0][:HeaderLen:HeaderLen]
	st := s.take()
	defer s.put(st)
	copy(header[sigAt:], s.sumZeroed(st, header, parts...))
}

// Verify reports whether msg carries its correct signature, in time that does not
// depend on how much of it is correct. A message too short for a header is not
// correct, nor is one that AES-GMAC may not sign (MessageId 0 or all ones).
// msg is unchanged on return, but its Signature field is cleared meanwhile.
func (s *Signer) Verify(msg []byte) bool {
	if len(msg) < HeaderLen {
		return false
	}
	header := msg[:HeaderLen:HeaderLen]
	if s.alg == AESGMAC {
		if id := binary.LittleEndian.Uint64(header[messageIDAt:]); id == 0 || id == ^uint64(0) {
			return false
		}
	}
	st := s.take()
	defer s.put(st)
	copy(st.saved[:], header[sigAt:])
	sum := s.sumZeroed(st, header, msg)
	copy(header[sigAt:], st.saved[:])
	return hmac.Equal(sum, st.saved[:])
}

// sumZeroed clears the signature field and returns the signature; the result
// aliases st.
func (s *Signer) sumZeroed(st *signState, header []byte, parts ...[]byte) []byte {
	clear(header[sigAt : sigAt+sigLen])
	switch s.alg {
	case HMACSHA256:
		st.mac.Reset()
		for _, p := range parts {
			st.mac.Write(p)
		}
		return st.mac.Sum(st.sum[:0])[:sigLen]
	case AESCMAC:
		st.cmac.reset()
		for _, p := range parts {
			st.cmac.write(s.cm, p)
		}
		return st.cmac.sum(s.cm, st.sum[:0])
	default:
		gmacNonce(&st.nonce, header)
		whole := parts[0]
		if len(parts) > 1 {
			st.gather = st.gather[:0]
			for _, p := range parts {
				st.gather = append(st.gather, p...)
			}
			whole = st.gather
		}
		return s.gcm.Seal(st.sum[:0], st.nonce[:], nil, whole)
	}
}

// gmacNonce fills in the nonce of [MS-SMB2] 3.1.4.1: MessageId, then one bit for
// the sender being the server and one for CANCEL.
func gmacNonce(nonce *[12]byte, header []byte) {
	copy(nonce[:8], header[messageIDAt:messageIDAt+8])
	var bits uint32
	if binary.LittleEndian.Uint32(header[flagsAt:])&flagServerToRedir != 0 {
		bits |= 1
	}
	if binary.LittleEndian.Uint16(header[commandAt:]) == commandCancel {
		bits |= 2
	}
	binary.LittleEndian.PutUint32(nonce[8:], bits)
}

func (s *Signer) take() *signState {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		st := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return st
	}
	s.mu.Unlock()
	st := new(signState)
	if s.alg == HMACSHA256 {
		st.mac = hmac.New(sha256.New, s.key)
	}
	return st
}

func (s *Signer) put(st *signState) {
	if cap(st.gather) > maxKeptGather {
		st.gather = nil
	}
	s.mu.Lock()
	if len(s.free) < maxFreeStates {
		s.free = append(s.free, st)
	}
	s.mu.Unlock()
}
