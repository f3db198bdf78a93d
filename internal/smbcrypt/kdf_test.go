package smbcrypt_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/smbcrypt"
)

// NIST CAVP, KDFCTR_gen: HMAC-SHA256, counter before the fixed data, 32-bit counter.
func TestCounterModeNIST(t *testing.T) {
	for name, v := range map[string]struct{ key, fixed, want string }{
		"one block": {
			"dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0",
			"01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e46b864a145fab25e517b08f8683d0315bb2911d80a0e8aba17f3b413faac",
			"10621342bfb0fd40046c0e29f2cfdbf0",
		},
		"256 bits": {
			"e204d6d466aad507ffaf6d6dab0a5b26152c9e21e764370464e360c8fbc765c6",
			"7b03b98d9f94b899e591f3ef264b71b193fba7043c7e953cde23bc5384bc1a6293580115fae3495fd845dadbd02bd6455cf48d0f62b33e62364a3a80",
			"770dfab6a6a4a4bee0257ff335213f78d8287b4fd537d5c1fffa956910e7c779",
		},
		"two blocks": {
			"c4bedbddb66493e7c7259a3bbbc25f8c7e0ca7fe284d92d431d9cd99a0d214ac",
			"1c69c54766791e315c2cc5c47ecd3ffab87d0d273dd920e70955814c220eacace6a5946542da3dfe24ff626b4897898cafb7db83bdff3c14fa46fd4b",
			"1da47638d6c9c4d04d74d4640bbd42ab814d9e8cc22f4326695239f96b0693f12d0dd1152cf44430",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := smbcrypt.CounterMode(hexdump.Bytes(t, v.key), hexdump.Bytes(t, v.fixed), len(v.want)/2)
			assert.Equal(t, v.want, hex.EncodeToString(got))
		})
	}
}

// The examples that Microsoft published with its description of SMB's keys. Its "encryption
// key" is the client's in the 3.0 example and in the 3.1.1 example alike.
func TestGoldenDeriveKeysMicrosoft(t *testing.T) {
	preauth := hexdump.Bytes(t, "0dd13628cc3ed218ef9df9772d436d0887ab9814bfae63a80aa845f36909db79"+
		"28622dddad522d9751640a459762c5a9d6bb084cbb3ce6bdadef5d5bce3c6c01")
	for name, v := range map[string]struct {
		dialect, cipher                      uint16
		session, signing, c2s, s2c, applying string
	}{
		"3.0": {
			smbcrypt.Dialect300, smbcrypt.CipherAES128CCM, "7cd451825d0450d235424e44ba6e78cc",
			"0b7e9c5cac36c0f6ea9ab275298cedce", "fad27796665b313ebb578f388632b4f7",
			"b0f0427f7ceb416d1d9dcc0cd4f99447", "bb23a4575aa26c721af525af15a87b4f",
		},
		"3.1.1": {
			smbcrypt.Dialect311, smbcrypt.CipherAES128GCM, "270e1ba896585eeb7af3472d3b4c75a7",
			"73fe7a9a77bef0bde49c650d8ccb5f76", "629bcbc54422a0f572b97f45989b6073",
			"e2af0dcefac68da71a0dfbd0d1350d74", "6d7ad7954e9ec61e907b4d473dc178ff",
		},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := smbcrypt.DeriveKeys(v.dialect, v.cipher, hexdump.Bytes(t, v.session), smbcrypt.PreauthHash(preauth))
			require.NoError(t, err)
			assert.Equal(t, v.signing, hex.EncodeToString(keys.Signing), "signing")
			assert.Equal(t, v.c2s, hex.EncodeToString(keys.ClientToServer), "client to server")
			assert.Equal(t, v.s2c, hex.EncodeToString(keys.ServerToClient), "server to client")
			assert.Equal(t, v.applying, hex.EncodeToString(keys.Application), "application")
		})
	}
}

func TestDeriveKeysShapes(t *testing.T) {
	key := hexdump.Bytes(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	var preauth smbcrypt.PreauthHash

	t.Run("2.x signs with the session key itself, cut or padded to 16 bytes", func(t *testing.T) {
		for _, dialect := range []uint16{smbcrypt.Dialect202, smbcrypt.Dialect210} {
			keys, err := smbcrypt.DeriveKeys(dialect, smbcrypt.CipherNone, key, preauth)
			require.NoError(t, err)
			assert.Equal(t, key[:16], keys.Signing)
			assert.Nil(t, keys.ClientToServer)
			keys, err = smbcrypt.DeriveKeys(dialect, smbcrypt.CipherNone, key[1:9], preauth)
			require.NoError(t, err)
			assert.Equal(t, append(append([]byte(nil), key[1:9]...), make([]byte, 8)...), keys.Signing)
		}
	})
	t.Run("the signing key of 3.x uses 16 bytes, a 256-bit cipher uses all", func(t *testing.T) {
		long, err := smbcrypt.DeriveKeys(smbcrypt.Dialect311, smbcrypt.CipherAES256GCM, key, preauth)
		require.NoError(t, err)
		short, err := smbcrypt.DeriveKeys(smbcrypt.Dialect311, smbcrypt.CipherAES256GCM, key[:16], preauth)
		require.NoError(t, err)
		assert.Equal(t, short.Signing, long.Signing)
		assert.Len(t, long.Signing, 16)
		assert.NotEqual(t, short.ClientToServer, long.ClientToServer)
		assert.Len(t, long.ClientToServer, 32)
		assert.Len(t, long.ServerToClient, 32)
		assert.NotEqual(t, long.ClientToServer, long.ServerToClient)
	})
	t.Run("the preauth hash matters in 3.1.1 only", func(t *testing.T) {
		other := preauth
		other.Update([]byte("message"))
		for _, dialect := range []uint16{smbcrypt.Dialect300, smbcrypt.Dialect302, smbcrypt.Dialect311} {
			a, err := smbcrypt.DeriveKeys(dialect, smbcrypt.CipherNone, key, preauth)
			require.NoError(t, err)
			b, err := smbcrypt.DeriveKeys(dialect, smbcrypt.CipherNone, key, other)
			require.NoError(t, err)
			assert.Equal(t, dialect != smbcrypt.Dialect311, assert.ObjectsAreEqual(a, b), "dialect %#x", dialect)
			assert.Nil(t, a.ServerToClient)
		}
	})
	for name, bad := range map[string]struct {
		dialect, cipher uint16
		key             []byte
	}{
		"unknown dialect":           {0x0312, smbcrypt.CipherNone, key},
		"SMB1's wildcard dialect":   {0x02ff, smbcrypt.CipherNone, key},
		"unknown cipher":            {smbcrypt.Dialect311, 5, key},
		"GCM before 3.1.1":          {smbcrypt.Dialect302, smbcrypt.CipherAES128GCM, key},
		"a cipher in 2.1":           {smbcrypt.Dialect210, smbcrypt.CipherAES128CCM, key},
		"no session key: anonymous": {smbcrypt.Dialect311, smbcrypt.CipherNone, nil},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			_, err := smbcrypt.DeriveKeys(bad.dialect, bad.cipher, bad.key, preauth)
			require.ErrorIs(t, err, smbcrypt.ErrUnsupported)
		})
	}
}

func TestPreauthHash(t *testing.T) {
	var whole, pieces smbcrypt.PreauthHash
	whole.Update([]byte("negotiate"))
	before := whole
	pieces.Update([]byte("nego"), nil, []byte("tiate"))
	assert.Equal(t, whole, pieces, "pieces are one message")

	setup := whole // a copy is a new chain
	setup.Update([]byte("session setup"))
	assert.Equal(t, before, whole)
	assert.NotEqual(t, whole, setup)
}
