package smbcrypt_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/seed"
	"github.com/uringfs/uringfs/internal/smbcrypt"
)

// RFC 4493, section 4.
func TestCMACRFC4493(t *testing.T) {
	key := hexdump.Bytes(t, "2b7e151628aed2a6abf7158809cf4f3c")
	msg := hexdump.Bytes(t, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"+
		"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	for n, want := range map[int]string{
		0:  "bb1d6929e95937287fa37d129b756746",
		16: "070a16b46b4d4144f79bdd9dd04a287c",
		40: "dfa66747de9ae63030ca32611497c827",
		64: "51f0bebf7e3b9d92fc49741779363cfe",
	} {
		assert.Equal(t, want, hex.EncodeToString(smbcrypt.CMAC(key, msg[:n])), "%d bytes", n)
		for piece := 1; piece < n; piece++ {
			var pieces [][]byte
			for rest := msg[:n]; len(rest) > 0; {
				m := min(piece, len(rest))
				pieces, rest = append(pieces, rest[:m], nil), rest[m:]
			}
			assert.Equal(t, want, hex.EncodeToString(smbcrypt.CMAC(key, pieces...)), "%d bytes by %d", n, piece)
		}
	}
}

// reference computes a signature with other means: the standard library over a copy.
func reference(alg smbcrypt.SigningAlg, key, msg []byte) []byte {
	zeroed := append([]byte(nil), msg...)
	clear(zeroed[48:64])
	switch alg {
	case smbcrypt.HMACSHA256:
		mac := hmac.New(sha256.New, key)
		mac.Write(zeroed)
		return mac.Sum(nil)[:16]
	case smbcrypt.AESCMAC:
		return smbcrypt.CMAC(key, zeroed) // checked against RFC 4493 above
	default:
		block, err := aes.NewCipher(key)
		if err != nil {
			panic(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			panic(err)
		}
		nonce := append([]byte(nil), msg[24:32]...)
		bits := msg[16] & 1
		if msg[12] == 0x0c && msg[13] == 0 {
			bits |= 2
		}
		return gcm.Seal(nil, append(nonce, bits, 0, 0, 0), nil, zeroed)
	}
}

func algorithms() []smbcrypt.SigningAlg {
	return []smbcrypt.SigningAlg{smbcrypt.HMACSHA256, smbcrypt.AESCMAC, smbcrypt.AESGMAC}
}

func newSigner(tb testing.TB, alg smbcrypt.SigningAlg, key []byte) *smbcrypt.Signer {
	tb.Helper()
	s, err := smbcrypt.NewSigner(alg, key)
	require.NoError(tb, err)
	require.Equal(tb, alg, s.Alg())
	return s
}

// message makes a random message with a MessageId that may be signed.
func message(rng *rand.Rand, size int) []byte {
	msg := make([]byte, size)
	for i := range msg {
		msg[i] = byte(rng.Uint32())
	}
	copy(msg, "\xfeSMB")
	binary.LittleEndian.PutUint64(msg[24:], 1+rng.Uint64N(1<<40))
	return msg
}

func TestSignAgainstReference(t *testing.T) {
	rng := seed.FromTest(t)
	key := message(rng, 64)[:16]
	for _, alg := range algorithms() {
		t.Run(alg.String(), func(t *testing.T) {
			s := newSigner(t, alg, key)
			for range 300 {
				msg := message(rng, 64+rng.IntN(300))
				if rng.IntN(4) == 0 {
					msg[12], msg[13] = 0x0c, 0 // CANCEL
				}
				want := append([]byte(nil), msg...)
				copy(want[48:], reference(alg, key, msg))

				signed := append([]byte(nil), msg...)
				s.Sign(signed)
				require.Equal(t, want, signed, "the signature, and nothing else, is written")
				require.True(t, s.Verify(signed))
				require.Equal(t, want, signed, "Verify puts the signature back")

				var parts [][]byte
				parted := append([]byte(nil), msg...)
				for rest, first := parted, 64+rng.IntN(len(msg)-63); len(rest) > 0; first = 1 + rng.IntN(40) {
					n := min(first, len(rest))
					parts, rest = append(parts, rest[:n]), rest[n:]
				}
				s.SignParts(parts...)
				require.Equal(t, want, parted, "%d parts", len(parts))
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	rng := seed.FromTest(t)
	key := message(rng, 64)[:16]
	other := message(rng, 64)[:16]
	for _, alg := range algorithms() {
		t.Run(alg.String(), func(t *testing.T) {
			s := newSigner(t, alg, key)
			msg := message(rng, 200)
			s.Sign(msg)
			require.True(t, s.Verify(msg))
			for bit := range len(msg) * 8 {
				msg[bit/8] ^= 1 << (bit % 8)
				require.False(t, s.Verify(msg), "bit %d", bit)
				msg[bit/8] ^= 1 << (bit % 8)
			}
			require.True(t, s.Verify(msg))
			for n := range len(msg) {
				require.False(t, s.Verify(msg[:n]), "cut to %d", n)
			}
			assert.False(t, s.Verify(append(slices.Clip(msg), 0)), "one byte more")
			assert.False(t, newSigner(t, alg, other).Verify(msg), "another key")
			for _, wrong := range algorithms() {
				assert.Equal(t, wrong == alg, newSigner(t, wrong, key).Verify(msg), "checked as %v", wrong)
			}
			clear(msg[48:64])
			assert.False(t, s.Verify(msg), "zeros for a signature")
		})
	}
}

func TestGMACNeverAcceptsReservedMessageIDs(t *testing.T) {
	rng := seed.FromTest(t)
	s := newSigner(t, smbcrypt.AESGMAC, message(rng, 64)[:16])
	for _, id := range []uint64{0, ^uint64(0)} {
		msg := message(rng, 100)
		binary.LittleEndian.PutUint64(msg[24:], id)
		s.Sign(msg)
		assert.False(t, s.Verify(msg), "MessageId %#x", id)
	}
}

func TestNewSignerRefuses(t *testing.T) {
	for _, size := range []int{0, 8, 15, 17, 24, 32} {
		for _, alg := range algorithms() {
			_, err := smbcrypt.NewSigner(alg, make([]byte, size))
			require.ErrorIs(t, err, smbcrypt.ErrUnsupported, "%v with %d bytes", alg, size)
		}
	}
	_, err := smbcrypt.NewSigner(3, make([]byte, 16))
	require.ErrorIs(t, err, smbcrypt.ErrUnsupported)
	assert.Equal(t, "SigningAlg(3)", smbcrypt.SigningAlg(3).String())
}

func TestNewSignerCopiesKey(t *testing.T) {
	for _, alg := range algorithms() {
		key := bytes.Repeat([]byte{7}, 16)
		s := newSigner(t, alg, key)
		msg := message(seed.New(1), 80)
		want := reference(alg, key, msg)
		clear(key)
		s.Sign(msg)
		assert.Equal(t, want, msg[48:64], "%v", alg)
	}
}

func TestDefaultSigningAlg(t *testing.T) {
	for dialect, want := range map[uint16]smbcrypt.SigningAlg{
		smbcrypt.Dialect202: smbcrypt.HMACSHA256, smbcrypt.Dialect210: smbcrypt.HMACSHA256,
		smbcrypt.Dialect300: smbcrypt.AESCMAC, smbcrypt.Dialect302: smbcrypt.AESCMAC, smbcrypt.Dialect311: smbcrypt.AESCMAC,
	} {
		assert.Equal(t, want, smbcrypt.DefaultSigningAlg(dialect), "dialect %#x", dialect)
	}
}

// One Signer, many goroutines, each with messages of its own: the race detector and the
// signatures both watch.
func TestSignerConcurrent(t *testing.T) {
	rng := seed.FromTest(t)
	key := message(rng, 64)[:16]
	for _, alg := range algorithms() {
		s := newSigner(t, alg, key)
		var wg sync.WaitGroup
		for range 16 {
			own := seed.New(rng.Uint64())
			// ends when its 50 messages are done; waited by wg.Wait
			wg.Go(func() {
				for range 50 {
					msg := message(own, 64+own.IntN(5000))
					s.SignParts(msg[:64], msg[64:])
					assert.Equal(t, reference(alg, key, msg), msg[48:64], "%v", alg)
					assert.True(t, s.Verify(msg), "%v", alg)
				}
			})
		}
		wg.Wait()
	}
}

func TestSigningDoesNotAllocate(t *testing.T) {
	key := make([]byte, 16)
	for _, alg := range algorithms() {
		s := newSigner(t, alg, key)
		msg := message(seed.New(1), 4096)
		parts := [][]byte{msg[:64], msg[64:80], msg[80:]}
		assert.Zero(t, testing.AllocsPerRun(100, func() { s.Sign(msg) }), "%v Sign", alg)
		assert.Zero(t, testing.AllocsPerRun(100, func() { s.SignParts(parts...) }), "%v SignParts", alg)
		assert.Zero(t, testing.AllocsPerRun(100, func() { s.Verify(msg) }), "%v Verify", alg)
	}
}

// The captured sessions hold whole logins of a real client at a real server: from the bytes of
// the login follow the preauth hash and the keys, and from those every signature after it.
func TestGoldenSessions(t *testing.T) {
	for _, v := range []struct {
		file    string
		dialect uint16
		alg     smbcrypt.SigningAlg
		signed  int // messages with SMB2_FLAGS_SIGNED in the capture
	}{
		{"hmac210", smbcrypt.Dialect210, smbcrypt.HMACSHA256, 5},
		{"cmac300", smbcrypt.Dialect300, smbcrypt.AESCMAC, 5},
		{"cmac311", smbcrypt.Dialect311, smbcrypt.AESCMAC, 5},
		{"gmac311", smbcrypt.Dialect311, smbcrypt.AESGMAC, 5},
	} {
		t.Run(v.file, func(t *testing.T) {
			var preauth smbcrypt.PreauthHash
			var sessionKey []byte
			var signer *smbcrypt.Signer
			signed := 0
			for _, e := range hexdump.Read(t, v.file+".hex") {
				if e.Name == "session-key" {
					sessionKey = e.Data
					continue
				}
				msg := e.Data
				final := e.Name == "session-setup-response" && binary.LittleEndian.Uint32(msg[8:]) == 0
				if strings.HasPrefix(e.Name, "negotiate") || strings.HasPrefix(e.Name, "session-setup") && !final {
					preauth.Update(msg)
				}
				if final {
					keys, err := smbcrypt.DeriveKeys(v.dialect, smbcrypt.CipherNone, sessionKey, preauth)
					require.NoError(t, err)
					signer = newSigner(t, v.alg, keys.Signing)
				}
				if msg[16]&8 == 0 {
					continue
				}
				require.NotNil(t, signer, "%s is signed before the login ends", e.Name)
				assert.True(t, signer.Verify(msg), "%s", e.Name)
				signed++
			}
			assert.Equal(t, v.signed, signed)
		})
	}
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range algorithms() {
		for _, size := range []int{200, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("alg=%v/size=%d", alg, size), func(b *testing.B) {
				s := newSigner(b, alg, make([]byte, 16))
				msg := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s.Sign(msg)
				}
			})
		}
	}
}
