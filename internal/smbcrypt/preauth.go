package smbcrypt

import "crypto/sha512"

// PreauthHash is the preauthentication integrity hash value of a connection or of
// one session setup, [MS-SMB2] 3.3.5.4 and 3.3.5.5. The zero value is the start
// value. It is a plain value: a session setup starts from a copy of its
// connection's.
type PreauthHash [sha512.Size]byte

// Update replaces h by SHA-512(h ‖ msg). msg is a whole SMB2 message from its
// protocol id on, without the 4-byte transport header; it may come in pieces.
func (h *PreauthHash) Update(msg ...[]byte) {
	d := sha512.New()
	d.Write(h[:])
	for _, piece := range msg {
		d.Write(piece)
	}
	d.Sum(h[:0])
}
