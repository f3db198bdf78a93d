package smbcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// cmacKey is AES-CMAC's key schedule with its two subkeys, RFC 4493 2.3.
type cmacKey struct {
	block  cipher.Block
	k1, k2 [aes.BlockSize]byte
}

func newCMACKey(block cipher.Block) *cmacKey {
	k := &cmacKey{block: block}
	block.Encrypt(k.k1[:], k.k1[:])
	double(&k.k1)
	k.k2 = k.k1
	double(&k.k2)
	return k
}

// double multiplies by x in GF(2^128), in constant time.
func double(b *[aes.BlockSize]byte) {
	var carry byte
	for i := len(b) - 1; i >= 0; i-- {
		next := b[i] >> 7
		b[i] = b[i]<<1 | carry
		carry = next
	}
	b[len(b)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
}

// cmac is one running computation. The last block is held back until sum, because
// it is treated differently.
type cmac struct {
	x    [aes.BlockSize]byte
	held [aes.BlockSize]byte
	n    int // bytes in held
}

func (c *cmac) reset() { *c = cmac{} }

func (c *cmac) write(k *cmacKey, p []byte) {
	if c.n > 0 {
		m := copy(c.held[c.n:], p)
		c.n += m
		p = p[m:]
		if len(p) == 0 {
			return
		}
		subtle.XORBytes(c.x[:], c.x[:], c.held[:])
		k.block.Encrypt(c.x[:], c.x[:])
		c.n = 0
	}
	for len(p) > aes.BlockSize {
		subtle.XORBytes(c.x[:], c.x[:], p[:aes.BlockSize])
		k.block.Encrypt(c.x[:], c.x[:])
		p = p[aes.BlockSize:]
	}
	c.n = copy(c.held[:], p)
}

// sum appends the 16-byte tag to b.
func (c *cmac) sum(k *cmacKey, b []byte) []byte {
	sub := &k.k1
	if c.n < aes.BlockSize {
		c.held[c.n] = 0x80
		clear(c.held[c.n+1:])
		sub = &k.k2
	}
	subtle.XORBytes(c.x[:], c.x[:], c.held[:])
	subtle.XORBytes(c.x[:], c.x[:], sub[:])
	k.block.Encrypt(c.x[:], c.x[:])
	return append(b, c.x[:]...)
}
