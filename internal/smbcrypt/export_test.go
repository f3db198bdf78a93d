package smbcrypt

import "crypto/aes"

// CounterMode is the KDF without SMB's layout of the fixed input: what NIST's vectors test.
func CounterMode(key, fixed []byte, size int) []byte { return counterMode(key, fixed, size) }

// CMAC is plain AES-CMAC over pieces: RFC 4493's vectors know no SMB2 header.
func CMAC(key []byte, pieces ...[]byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	k := newCMACKey(block)
	var c cmac
	for _, p := range pieces {
		c.write(k, p)
	}
	return c.sum(k, nil)
}
