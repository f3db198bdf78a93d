package ntlm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/ntlm"
)

// seedAll adds one kind of message from every capture, whole and cut.
func seedAll(f *testing.F, kind string) {
	f.Helper()
	for _, file := range []string{"smbclient.hex", "go-smb2.hex", "anonymous.hex"} {
		msg := hexdump.ReadMap(f, file)[kind]
		f.Add(msg)
		f.Add(msg[:len(msg)/2])
	}
}

// roundTrip checks what every codec promises: errors are ErrMalformed, and parse → append →
// parse is stable.
func roundTrip[T interface{ Append(b []byte) []byte }](t *testing.T, parse func([]byte) (T, error), msg []byte) {
	t.Helper()
	first, err := parse(msg)
	if err != nil {
		require.ErrorIs(t, err, ntlm.ErrMalformed)
		return
	}
	prefix := []byte("prefix")
	wire := first.Append(prefix)
	require.True(t, bytes.HasPrefix(wire, prefix))
	wire = wire[len(prefix):]
	if len(wire) > ntlm.MaxMessage {
		return // overlapping fields of the input lie side by side here
	}
	second, err := parse(wire)
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func FuzzNTLMNegotiate(f *testing.F) {
	seedAll(f, "negotiate")
	f.Add(ntlm.Negotiate{Flags: ^ntlm.Flags(0), Domain: []byte("D"), Workstation: []byte("W")}.Append(nil))
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, ntlm.ParseNegotiate, msg)
		_, err := new(ntlm.Server).Accept().Challenge(msg)
		if err != nil {
			require.ErrorIs(t, err, ntlm.ErrMalformed)
		}
	})
}

func FuzzNTLMChallenge(f *testing.F) {
	seedAll(f, "challenge")
	f.Add(hexdump.Bytes(f, specChallenge))
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, ntlm.ParseChallenge, msg)
		x := (&ntlm.Client{User: "u", Password: "p"}).Start()
		_, err := x.Negotiate()
		require.NoError(t, err)
		if _, _, err := x.Authenticate(msg); err != nil {
			require.ErrorIs(t, err, ntlm.ErrMalformed)
		}
	})
}

func FuzzNTLMAuthenticate(f *testing.F) {
	seedAll(f, "authenticate")
	f.Add(hexdump.Bytes(f, specAuthenticate))
	negotiate := ntlm.Negotiate{Flags: ^ntlm.Flags(0)}.Append(nil)
	f.Fuzz(func(t *testing.T, msg []byte) {
		roundTrip(t, ntlm.ParseAuthenticate, msg)
		x := (&ntlm.Server{Rand: bytes.NewReader(hexdump.Bytes(t, "0123456789abcdef"))}).Accept()
		_, err := x.Challenge(negotiate)
		require.NoError(t, err)
		r, err := x.Authenticate(msg, func(string, string) ([16]byte, bool) { return ntlm.NTHash("Password"), true })
		switch err {
		case nil:
			require.True(t, r.Anonymous || len(r.SessionKey) == 16)
		default:
			require.True(t, isEither(err), "%v", err)
			require.Nil(t, r)
		}
	})
}

func FuzzNTLMTargetInfo(f *testing.F) {
	f.Add(hexdump.Bytes(f, "02000c0044006f006d00610069006e0001000c0053006500720076006500720000000000"))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{6, 0, 4, 0, 2, 0, 0, 0, 7, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) { roundTrip(t, ntlm.ParseTargetInfo, b) })
}

func FuzzNTLMv2Response(f *testing.F) {
	for _, file := range []string{"smbclient.hex", "go-smb2.hex"} {
		a, err := ntlm.ParseAuthenticate(hexdump.ReadMap(f, file)["authenticate"])
		require.NoError(f, err)
		f.Add(a.NTResponse)
	}
	f.Fuzz(func(t *testing.T, b []byte) { roundTrip(t, ntlm.ParseNTLMv2Response, b) })
}

func isEither(err error) bool {
	return errors.Is(err, ntlm.ErrMalformed) || errors.Is(err, ntlm.ErrLogonFailure)
}

// Every truncation of every captured message is malformed, or the login fails; none panics.
func TestTruncations(t *testing.T) {
	for _, file := range []string{"smbclient.hex", "go-smb2.hex"} {
		dump := hexdump.ReadMap(t, file)
		for n := range dump["authenticate"] {
			x := new(ntlm.Server).Accept()
			_, err := x.Challenge(dump["negotiate"])
			require.NoError(t, err)
			_, err = x.Authenticate(dump["authenticate"][:n], accounts("daemon", "secret"))
			require.True(t, isEither(err), "%s cut to %d: %v", file, n, err)
		}
		for n := range 16 {
			_, err := new(ntlm.Server).Accept().Challenge(dump["negotiate"][:n])
			require.ErrorIs(t, err, ntlm.ErrMalformed)
		}
	}
}

// Descriptors whose offset and length wrap around 32 bits, or point into the header.
func TestFieldBounds(t *testing.T) {
	for _, at := range []int{12, 20, 28, 36, 44, 52} {
		for _, v := range []struct {
			size   uint16
			offset uint32
		}{
			{1, 0xffffffff}, {0xffff, 0xffff0001}, {0xffff, 0xfffffffe}, {1, 0}, {8, 63}, {0xffff, 64}, {16, 0x7ffffff0},
		} {
			msg := hexdump.Bytes(t, specAuthenticate)
			binary.LittleEndian.PutUint16(msg[at:], v.size)
			binary.LittleEndian.PutUint32(msg[at+4:], v.offset)
			_, err := ntlm.ParseAuthenticate(msg)
			assert.ErrorIs(t, err, ntlm.ErrMalformed, "field at %d, %d bytes at %#x", at, v.size, v.offset)
		}
	}
	_, err := ntlm.ParseAuthenticate(append(hexdump.Bytes(t, specAuthenticate), make([]byte, ntlm.MaxMessage)...))
	assert.ErrorIs(t, err, ntlm.ErrMalformed, "over MaxMessage")
}

func TestTargetInfoBounds(t *testing.T) {
	one := []byte{99, 0, 0, 0}
	end := []byte{0, 0, 0, 0}
	_, err := ntlm.ParseTargetInfo(append(bytes.Repeat(one, 32), end...))
	assert.NoError(t, err)
	for name, b := range map[string][]byte{
		"33 pairs":               append(bytes.Repeat(one, 33), end...),
		"empty":                  {},
		"no end":                 one,
		"value past the end":     {99, 0, 1, 0},
		"an end with a value":    {0, 0, 1, 0, 9, 0, 0, 0, 0},
		"flags of 2 bytes":       {6, 0, 2, 0, 2, 0, 0, 0, 0, 0},
		"timestamp of no bytes":  {7, 0, 0, 0, 0, 0, 0, 0},
		"length 65535, one left": {1, 0, 0xff, 0xff, 1},
	} {
		_, err := ntlm.ParseTargetInfo(b)
		assert.ErrorIs(t, err, ntlm.ErrMalformed, name)
	}
}
