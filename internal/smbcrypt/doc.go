// Package smbcrypt is the cryptography of SMB 2 and 3 that lies above the
// standard library: the preauthentication integrity hash, the key derivation
// and the message signatures of [MS-SMB2] 3.1.4 and 3.3.5.5.
//
// It knows four things about a message, all from its 64-byte header: where the
// signature lies, and for AES-GMAC the command, the direction and the
// MessageId, which make the nonce. Everything else is the caller's:
//
//   - to set SMB2_FLAGS_SIGNED, NextCommand, credits and padding before [Signer.Sign];
//   - never to sign two different messages with the same MessageId and direction
//     under AES-GMAC (an interim STATUS_PENDING reply and its final reply share
//     one: the interim reply stays unsigned, [MS-SMB2] 3.3.4.2), because a repeated
//     nonce gives the key away;
//   - to decide what an invalid signature means.
//
// Ownership: functions borrow their arguments. Keys are copied. A [Signer] may be
// used from any number of goroutines; each message must be exclusively the
// caller's during Sign, SignParts and Verify.
//
// Lock order: a Signer's free list has a lock of its own, held for a few
// instructions and never while anything else is called.
//
// Sealing (AES-CCM, AES-GCM) is not in this package yet; the keys for it are
// derived here.
package smbcrypt
