// Package smb2 encodes and decodes the messages of [MS-SMB2], requests and responses alike, because the server and the
// test client share it. It is layout only.
//
// A message is [Header] then body:
//
//	b = hdr.Append(b)
//	b = body.Append(b) // the message starts at len(b)-HeaderLen as it was before this call; offsets count from there
//
// ParseXRequest and ParseXResponse take the whole message, header included, where the message is exactly one element of
// a compound ([NextInCompound] cuts it out). They look at the body only; the header is [ParseHeader]'s.
//
// Promises:
//   - Parse checks every bound once and never panics; each error wraps [ErrMalformed]. Lists of a peer move forward,
//     stay inside, and have a bound on their count.
//   - Append cannot fail. A value that is too long for its length field is cut at the field's limit, never wrapped,
//     so that what is written always says its true length. Whoever takes names and tokens from outside bounds them there.
//     Padding is written as zeros, never skipped. A variable part of length 0 whose StructureSize counts a byte for it
//     is written with that byte, except where smbd, the peer of the recordings, writes none.
//   - parse → append → parse gives an equal value. Reserved fields are written 0 and ignored on input; unknown flags and
//     enum values survive: refusing them is the handler's policy.
//   - A variable part of length 0 may claim any offset. Any other part must lie behind the fixed part.
//   - Names are Go strings; see [EncodeUTF16] for names that are not valid UTF-8 and for what is refused.
//
// Ownership: byte slices in a parsed value alias the message; strings do not. Append copies what it is given.
//
// Left to others: credits, signing and encryption (internal/smbcrypt), security tokens (internal/spnego), the bodies of
// information classes (internal/fscc), and every decision about what is allowed.
//
// Nothing here does I/O, keeps state or starts goroutines; all functions may be called concurrently.
package smb2
