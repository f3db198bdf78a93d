// Package ntlm is NTLMv2 authentication, [MS-NLMP], from both ends: the three
// messages, the proofs, the session key, and the message signature that SPNEGO uses
// for its mechListMIC.
//
// What it accepts is the modern protocol only. LM, NTLMv1 and "NTLM2 session"
// responses are refused whatever the password, OEM character sets are malformed, and a
// client that says its AUTHENTICATE is protected by a MIC (MsvAvFlags 0x2, inside the
// part that the password proves) must have sent a correct one, so that nobody on the
// way can have changed the flags of any of the three messages.
//
// Two errors matter to a server: [ErrMalformed] (answered INVALID_PARAMETER) and
// [ErrLogonFailure] (answered LOGON_FAILURE). An unknown user costs the same work as a
// wrong password. No error text and no String method holds a key, hash or response.
//
// A server challenge is random, belongs to one [ServerExchange] and is good for one
// AUTHENTICATE. What the package cannot see is a relay: a genuine login forwarded by a
// man in the middle is correct here, and only signing with the session key, which the
// middle does not learn, makes it worthless.
//
// The timestamp in the client's response is not compared with the clock: freshness
// comes from the challenge, and machines whose clock is wrong must be able to log in.
//
// Ownership: functions borrow their arguments; Parse results alias the message. A
// [Server] and a [Client] are read-only after construction and shared freely; a
// ServerExchange, a ClientExchange and a [MIC] belong to one goroutine at a time. There are
// no locks.
//
// MD4, MD5 and RC4 are what the protocol is made of. Under GODEBUG=fips140=only they
// panic or fail; [Available] says so in advance, and exchanges then fail with
// [ErrUnavailable].
package ntlm
