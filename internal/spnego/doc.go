// Package spnego wraps an NTLM login in SPNEGO, RFC 4178 with the extensions of
// [MS-SPNG], for an SMB server ([Acceptor]) and a client ([Initiator]).
//
// NTLM is the only mechanism. An Acceptor also takes raw NTLM messages, as the Linux kernel
// client sends them, and answers in kind. Where a client prefers another mechanism, its
// optimistic token is ignored and its list of mechanisms must then be proven by a
// mechListMIC, so that nobody on the way can have put NTLM in front. A mechListMIC that is
// there must be right, required or not, and is answered with the server's; it is checked over
// the bytes of the client's list as they came.
//
// Parsing is strict DER of a fixed shape, without recursion: no nesting that a peer could
// deepen, at most [MaxToken] bytes and 32 mechanisms, one pass.
//
// Errors are those of package ntlm: [ntlm.ErrMalformed], also for a bad token and for no
// common mechanism, and [ntlm.ErrLogonFailure], also for a wrong or missing mechListMIC.
//
// Ownership: functions borrow their arguments; Parse results alias the token. An Acceptor or
// Initiator serves one login and one goroutine at a time. There are no locks.
package spnego
