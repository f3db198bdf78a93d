// Package passwd keeps the users of an SMB share: one line `USER:NTHASH` each, in a file of mode 0600.
//
// An NT hash is MD4 over the UTF-16LE password ([MS-NLMP] 3.3.1). It is as good as the password to whoever reads it,
// so a file that group or others may read is refused. Names compare without case, as NTLM does.
//
// Writes replace the file in one step (temporary file, fsync, rename, fsync of the directory): a crash leaves the old
// file or the new one. Two writers at once are serialised by a lock on a file beside it. A DB is an immutable snapshot,
// safe for concurrent use; it owns no descriptor.
package passwd
