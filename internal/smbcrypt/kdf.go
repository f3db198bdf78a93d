package smbcrypt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrUnsupported reports a dialect, cipher or signing algorithm that the package
// does not know, or a key of the wrong size for one that it does.
var ErrUnsupported = errors.New("smbcrypt: unsupported")

// Dialects as DialectRevision carries them, [MS-SMB2] 2.2.4.
const (
	Dialect202 uint16 = 0x0202
	Dialect210 uint16 = 0x0210
	Dialect300 uint16 = 0x0300
	Dialect302 uint16 = 0x0302
	Dialect311 uint16 = 0x0311
)

// Ciphers as SMB2_ENCRYPTION_CAPABILITIES carries them, [MS-SMB2] 2.2.3.1.2.
const (
	CipherNone      uint16 = 0
	CipherAES128CCM uint16 = 1
	CipherAES128GCM uint16 = 2
	CipherAES256CCM uint16 = 3
	CipherAES256GCM uint16 = 4
)

// Keys holds what a session derives from its session key, [MS-SMB2] 3.3.5.5.3.
// A field is nil where the dialect has no such key.
type Keys struct {
	Signing        []byte // 16 bytes
	Application    []byte // 16 bytes: for protocols above, such as MS-RPC
	ClientToServer []byte // 16 or 32 bytes: seals requests
	ServerToClient []byte // 16 or 32 bytes: seals responses
}

// KDF is the key derivation function of NIST SP 800-108 in counter mode with
// HMAC-SHA256, r = 32 and L = bits, as [MS-SMB2] 3.1.4.2 uses it. label and
// context are taken as they are: a trailing NUL that SMB counts as part of them
// must be there. bits must be a positive multiple of 8.
func KDF(key, label, context []byte, bits uint32) []byte {
	fixed := append([]byte(nil), label...)
	fixed = append(fixed, 0)
	fixed = append(fixed, context...)
	fixed = binary.BigEndian.AppendUint32(fixed, bits)
	return counterMode(key, fixed, int(bits/8))
}

// counterMode is the part of SP 800-108 that NIST publishes vectors for: fixed input
// data in, size bytes out.
func counterMode(key, fixed []byte, size int) []byte {
	out := make([]byte, 0, size+sha256.Size)
	mac := hmac.New(sha256.New, key)
	var counter [4]byte
	for i := uint32(1); len(out) < size; i++ {
		mac.Reset()
		binary.BigEndian.PutUint32(counter[:], i)
		mac.Write(counter[:])
		mac.Write(fixed)
		out = mac.Sum(out)
	}
	return out[:size:size]
}

// labels of one family of dialects; each includes its terminating NUL.
type labels struct {
	signing, application, clientToServer, serverToClient [2]string
}

// labels30 pairs label and context for 3.0 and 3.0.2. Seen from the server:
// requests arrive under "ServerIn ", with a space that makes it as long as "ServerOut".
func labels30() labels {
	return labels{
		signing:        [2]string{"SMB2AESCMAC\x00", "SmbSign\x00"},
		application:    [2]string{"SMB2APP\x00", "SmbRpc\x00"},
		clientToServer: [2]string{"SMB2AESCCM\x00", "ServerIn \x00"},
		serverToClient: [2]string{"SMB2AESCCM\x00", "ServerOut\x00"},
	}
}

// labels311 is the same for 3.1.1, where every context is the preauth hash.
func labels311(preauth *PreauthHash) labels {
	context := string(preauth[:])
	return labels{
		signing:        [2]string{"SMBSigningKey\x00", context},
		application:    [2]string{"SMBAppKey\x00", context},
		clientToServer: [2]string{"SMBC2SCipherKey\x00", context},
		serverToClient: [2]string{"SMBS2CCipherKey\x00", context},
	}
}

// DeriveKeys derives the keys of a session, or of one channel of it.
//
// sessionKey is what authentication produced; its first 16 bytes, padded with
// zeros if it is shorter, make every 128-bit key, and all of it makes a 256-bit
// key. cipher is the negotiated one ([CipherNone] if none: the sealing keys are
// then nil; 3.0 and 3.0.2 know only [CipherAES128CCM]). preauth is the hash of this
// session setup up to the last request and is used by 3.1.1 only.
//
// It fails with [ErrUnsupported] for an unknown dialect or cipher and for an
// empty session key: anonymous and guest sessions have no keys.
func DeriveKeys(dialect, cipher uint16, sessionKey []byte, preauth PreauthHash) (Keys, error) {
	if len(sessionKey) == 0 {
		return Keys{}, fmt.Errorf("%w: empty session key", ErrUnsupported)
	}
	key16 := make([]byte, 16)
	copy(key16, sessionKey)

	var l labels
	switch dialect {
	case Dialect202, Dialect210:
		if cipher != CipherNone {
			return Keys{}, fmt.Errorf("%w: cipher %d in dialect %#x", ErrUnsupported, cipher, dialect)
		}
		return Keys{Signing: key16, Application: append([]byte(nil), key16...)}, nil
	case Dialect300, Dialect302:
		if cipher != CipherNone && cipher != CipherAES128CCM {
			return Keys{}, fmt.Errorf("%w: cipher %d in dialect %#x", ErrUnsupported, cipher, dialect)
		}
		l = labels30()
	case Dialect311:
		l = labels311(&preauth)
	default:
		return Keys{}, fmt.Errorf("%w: dialect %#x", ErrUnsupported, dialect)
	}

	derive := func(key []byte, pair [2]string, bits uint32) []byte {
		return KDF(key, []byte(pair[0]), []byte(pair[1]), bits)
	}
	keys := Keys{
		Signing:     derive(key16, l.signing, 128),
		Application: derive(key16, l.application, 128),
	}
	switch cipher {
	case CipherNone:
	case CipherAES128CCM, CipherAES128GCM:
		keys.ClientToServer = derive(key16, l.clientToServer, 128)
		keys.ServerToClient = derive(key16, l.serverToClient, 128)
	case CipherAES256CCM, CipherAES256GCM:
		full := sessionKey
		if len(full) < len(key16) {
			full = key16
		}
		keys.ClientToServer = derive(full, l.clientToServer, 256)
		keys.ServerToClient = derive(full, l.serverToClient, 256)
	default:
		return Keys{}, fmt.Errorf("%w: cipher %d", ErrUnsupported, cipher)
	}
	return keys, nil
}
