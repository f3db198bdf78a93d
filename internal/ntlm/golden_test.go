package ntlm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/hexdump"
	"github.com/uringfs/uringfs/internal/ntlm"
)

// The messages of [MS-NLMP] 4.2.4, NTLMv2: user "User", domain "Domain", password "Password".
const (
	specChallenge = "4e544c4d53535000020000000c000c003800000033828ae20123456789abcdef" +
		"00000000000000002400240044000000060070170000000f" +
		"530065007200760065007200" +
		"02000c0044006f006d00610069006e0001000c0053006500720076006500720000000000"
	specAuthenticate = "4e544c4d5353500003000000180018006c00000054005400840000000c000c00" +
		"480000000800080054000000100010005c00000010001000d8000000358288e2" +
		"0501280a0000000f44006f006d00610069006e00550073006500720043004f00" +
		"4d005000550054004500520086c35097ac9cec102554764a57cccc19aaaaaaaa" +
		"aaaaaaaa68cd0ab851e51c96aabc927bebef6a1c010100000000000000000000" +
		"00000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e00" +
		"01000c005300650072007600650072000000000000000000c5dad2544fc97990" +
		"94ce1ce90bc9d03e"
	specSessionKey = "55555555555555555555555555555555"
)

// timeOf is the inverse of FILETIME.
func timeOf(filetime uint64) time.Time {
	return time.Unix(int64(filetime/1e7)-11644473600, int64(filetime%1e7)*100)
}

func utf16le(s string) (b []byte) {
	for _, r := range s { // ASCII
		b = append(b, byte(r), 0)
	}
	return b
}

func TestGoldenSpecHashes(t *testing.T) {
	hash := ntlm.NTHash("Password")
	assert.Equal(t, "a4f49c406510bdcab6824ee7c30fd852", hex.EncodeToString(hash[:]))
	key := ntlm.NTOWFv2(hash, "User", "Domain")
	assert.Equal(t, "0c868a403bfd7a93a3001ef22ef02e3f", hex.EncodeToString(key[:]))
	// Only the user is raised to upper case, the domain stays as sent.
	assert.Equal(t, key, ntlm.NTOWFv2(hash, "uSER", "Domain"))
	assert.NotEqual(t, key, ntlm.NTOWFv2(hash, "User", "DOMAIN"))
}

func TestGoldenSpecMessages(t *testing.T) {
	c, err := ntlm.ParseChallenge(hexdump.Bytes(t, specChallenge))
	require.NoError(t, err)
	assert.Equal(t, ntlm.Flags(0xe28a8233), c.Flags)
	assert.Equal(t, utf16le("Server"), c.TargetName)
	assert.Equal(t, hexdump.Bytes(t, "0123456789abcdef"), c.ServerChallenge[:])
	assert.Equal(t, [8]byte{6, 0, 0x70, 0x17, 0, 0, 0, 15}, c.Version)
	assert.Equal(t, specChallenge, hex.EncodeToString(c.Append(nil)))
	info, err := ntlm.ParseTargetInfo(c.TargetInfo)
	require.NoError(t, err)
	assert.Equal(t, ntlm.TargetInfo{
		{ID: ntlm.AVNbDomain, Value: utf16le("Domain")},
		{ID: ntlm.AVNbComputer, Value: utf16le("Server")},
	}, info)
	assert.Equal(t, c.TargetInfo, info.Append(nil))

	a, err := ntlm.ParseAuthenticate(hexdump.Bytes(t, specAuthenticate))
	require.NoError(t, err)
	assert.Equal(t, utf16le("User"), a.User)
	assert.Equal(t, utf16le("Domain"), a.Domain)
	assert.Equal(t, utf16le("COMPUTER"), a.Workstation)
	assert.Equal(t, "c5dad2544fc9799094ce1ce90bc9d03e", hex.EncodeToString(a.EncryptedSessionKey))
	assert.True(t, a.HasVersion)
	assert.False(t, a.HasMIC)
	assert.Equal(t, specAuthenticate, hex.EncodeToString(a.Append(nil)))

	v2, err := ntlm.ParseNTLMv2Response(a.NTResponse)
	require.NoError(t, err)
	assert.Equal(t, "68cd0ab851e51c96aabc927bebef6a1c", hex.EncodeToString(v2.Proof[:]))
	assert.Equal(t, bytes.Repeat([]byte{0xaa}, 8), v2.ClientChallenge[:])
	assert.Zero(t, v2.Timestamp)
	assert.Equal(t, a.NTResponse, v2.Append(nil))
}

func TestGoldenSpecServer(t *testing.T) {
	srv := &ntlm.Server{Rand: bytes.NewReader(hexdump.Bytes(t, "0123456789abcdef"))}
	x := srv.Accept()
	_, err := x.Challenge(ntlm.Negotiate{Flags: 0xe2888237}.Append(nil))
	require.NoError(t, err)
	r, err := x.Authenticate(hexdump.Bytes(t, specAuthenticate), func(user, domain string) ([16]byte, bool) {
		return ntlm.NTHash("Password"), user == "User" && domain == "Domain"
	})
	require.NoError(t, err)
	assert.Equal(t, specSessionKey, hex.EncodeToString(r.SessionKey))
	assert.Equal(t, "COMPUTER", r.Workstation)
	assert.True(t, r.CanSign())
}

func TestGoldenSpecClient(t *testing.T) {
	cli := &ntlm.Client{
		User: "User", Domain: "Domain", Password: "Password", Workstation: "COMPUTER",
		Rand: bytes.NewReader(append(bytes.Repeat([]byte{0xaa}, 8), hexdump.Bytes(t, specSessionKey)...)),
		Now:  func() time.Time { return timeOf(0) },
	}
	x := cli.Start()
	_, err := x.Negotiate()
	require.NoError(t, err)
	msg, r, err := x.Authenticate(hexdump.Bytes(t, specChallenge))
	require.NoError(t, err)
	assert.Equal(t, specSessionKey, hex.EncodeToString(r.SessionKey))
	want, err := ntlm.ParseAuthenticate(hexdump.Bytes(t, specAuthenticate))
	require.NoError(t, err)
	got, err := ntlm.ParseAuthenticate(msg)
	require.NoError(t, err)
	assert.Equal(t, want.NTResponse, got.NTResponse)
	assert.Equal(t, want.EncryptedSessionKey, got.EncryptedSessionKey)
	assert.Equal(t, want.User, got.User)
	assert.Equal(t, want.Domain, got.Domain)
	assert.False(t, got.HasMIC, "the server tells no time, so no MIC is expected")
}

// 4.2.4.4: one message sealed and signed; the checksum continues the RC4 stream.
func TestGoldenSpecSignature(t *testing.T) {
	r := ntlm.NewResult(hexdump.Bytes(t, specSessionKey), 0xe28a8233)
	plain := utf16le("Plaintext")
	for _, v := range []struct {
		fromClient     bool
		sealed, signed string
	}{
		{true, "54e50165bf1936dc996020c1811b0f06fb5f", "010000007fb38ec5c55d497600000000"},
		{false, "160871b730ba74e946c453d7465b54278dd0", "01000000b298b847ce7c580700000000"},
	} {
		m := r.MIC(v.fromClient)
		assert.Equal(t, v.sealed, hex.EncodeToString(m.Seal(plain)))
		sig := m.Sum(plain)
		assert.Equal(t, v.signed, hex.EncodeToString(sig[:]))
	}
}

// Captured logins at smbd: from the client's NEGOTIATE our server, given smbd's names, time and
// challenge, must make smbd's CHALLENGE byte for byte, and accept the client's AUTHENTICATE,
// whose MIC covers all three.
func TestGoldenCapturedLogins(t *testing.T) {
	mechList := hexdump.Bytes(t, "300c060a2b06010401823702020a")
	for _, v := range []struct {
		file                         string
		domain, workstation, target  string
		clientMechMIC, serverMechMIC string
	}{
		{
			"smbclient.hex", "WORKGROUP", "VM", "cifs/127.0.0.1",
			"010000008a6e061c5ddc209f00000000", "010000007ece5f714eb99fe300000000",
		},
		{
			"go-smb2.hex", "LAB", "", "",
			"01000000a4a9421ad1fc9ceb00000000", "010000001f9371b5c8d28ea000000000",
		},
	} {
		t.Run(v.file, func(t *testing.T) {
			dump := hexdump.ReadMap(t, v.file)
			n, err := ntlm.ParseNegotiate(dump["negotiate"])
			require.NoError(t, err)
			assert.NotZero(t, n.Flags&ntlm.FlagSign)
			c, err := ntlm.ParseChallenge(dump["challenge"])
			require.NoError(t, err)
			info, err := ntlm.ParseTargetInfo(c.TargetInfo)
			require.NoError(t, err)
			stamp, ok := info.Get(ntlm.AVTimestamp)
			require.True(t, ok)

			srv := &ntlm.Server{
				NetBIOSComputer: "LAB", DNSComputer: "vm",
				Rand: bytes.NewReader(c.ServerChallenge[:]),
				Now:  func() time.Time { return timeOf(binary.LittleEndian.Uint64(stamp)) },
			}
			x := srv.Accept()
			challenge, err := x.Challenge(dump["negotiate"])
			require.NoError(t, err)
			assert.Equal(t, hex.EncodeToString(dump["challenge"]), hex.EncodeToString(challenge))

			a, err := ntlm.ParseAuthenticate(dump["authenticate"])
			require.NoError(t, err)
			assert.True(t, a.HasMIC)
			v2, err := ntlm.ParseNTLMv2Response(a.NTResponse)
			require.NoError(t, err)
			flags, ok := v2.TargetInfo.Get(ntlm.AVFlags)
			assert.True(t, ok)
			assert.Equal(t, []byte{2, 0, 0, 0}, flags)

			r, err := x.Authenticate(dump["authenticate"], func(user, domain string) ([16]byte, bool) {
				return ntlm.NTHash("secret"), user == "daemon" && domain == v.domain
			})
			require.NoError(t, err)
			assert.Equal(t, dump["session-key"], r.SessionKey)
			assert.Equal(t, v.workstation, r.Workstation)
			assert.Equal(t, v.target, r.TargetName)
			assert.True(t, r.MIC(true).Verify(mechList, hexdump.Bytes(t, v.clientMechMIC)))
			sig := r.MIC(false).Sum(mechList)
			assert.Equal(t, v.serverMechMIC, hex.EncodeToString(sig[:]))
		})
	}
}

func TestGoldenCapturedAnonymous(t *testing.T) {
	dump := hexdump.ReadMap(t, "anonymous.hex")
	a, err := ntlm.ParseAuthenticate(dump["authenticate"])
	require.NoError(t, err)
	assert.NotZero(t, a.Flags&ntlm.FlagAnonymous)
	x := new(ntlm.Server).Accept()
	_, err = x.Challenge(dump["negotiate"])
	require.NoError(t, err)
	r, err := x.Authenticate(dump["authenticate"], noLookup(t))
	require.NoError(t, err)
	assert.True(t, r.Anonymous)
	assert.Nil(t, r.SessionKey)
	assert.False(t, r.CanSign())
	assert.Nil(t, r.MIC(true))
}

// noLookup is for logins that must not get as far as an account.
func noLookup(tb testing.TB) ntlm.Lookup {
	tb.Helper()
	return func(user, domain string) ([16]byte, bool) {
		tb.Errorf("lookup of %q in %q", user, domain)
		return [16]byte{}, false
	}
}
