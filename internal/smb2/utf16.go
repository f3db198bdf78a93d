package smb2

import "github.com/uringfs/uringfs/internal/fscc"

// EncodeUTF16 appends s as UTF-16LE; bytes of s that are not valid UTF-8 are escaped reversibly, see fscc.EncodeUTF16.
func EncodeUTF16(b []byte, s string) []byte { return fscc.EncodeUTF16(b, s) }

// DecodeUTF16 is the inverse of [EncodeUTF16]; what EncodeUTF16 cannot produce is refused with [ErrMalformed].
func DecodeUTF16(b []byte) (string, error) { return fscc.DecodeUTF16(b) }
