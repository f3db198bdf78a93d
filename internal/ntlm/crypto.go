package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"fmt"

	"golang.org/x/crypto/md4" //nolint:staticcheck // deprecated as a hash; NTLM is defined by it
)

// NTHash is MD4 of the password in UTF-16LE: the only secret that a server needs to
// keep, and as good as the password to whoever has it. Bytes of password that are not
// UTF-8 count as U+FFFD.
func NTHash(password string) (hash [16]byte) {
	h := md4.New()
	h.Write(encodeUTF16(password))
	h.Sum(hash[:0])
	return hash
}

// Available reports whether this process may use MD4, MD5 and RC4. The error is
// [ErrUnavailable], under GODEBUG=fips140=only for one.
func Available() (err error) {
	defer func() {
		// crypto/hmac and crypto/md5 panic where policy forbids MD5: asking is the
		// only way to know for certain.
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrUnavailable, r)
		}
	}()
	key := NTHash("")
	key = hmacMD5(key[:], key[:])
	md5.Sum(key[:])
	if _, err := rc4.NewCipher(key[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func hmacMD5(key []byte, parts ...[]byte) (sum [16]byte) {
	mac := hmac.New(md5.New, key)
	for _, p := range parts {
		mac.Write(p)
	}
	mac.Sum(sum[:0])
	return sum
}

// ntowfv2 is the NTLMv2 hash: user and domain in UTF-16LE as they travelled, the user in
// upper case, [MS-NLMP] 3.3.2.
func ntowfv2(ntHash [16]byte, user, domain []byte) [16]byte {
	return hmacMD5(ntHash[:], upperUTF16(user), domain)
}

// rc4K is RC4K of [MS-NLMP] 6: one use of the cipher with a 16-byte key.
func rc4K(key, data [16]byte) (out [16]byte, err error) {
	c, err := rc4.NewCipher(key[:])
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.XORKeyStream(out[:], data[:])
	return out, nil
}
