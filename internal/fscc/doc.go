// Package fscc encodes and decodes the structures of [MS-FSCC] that SMB2 carries: file and file-system information
// classes, directory listings, FILETIME values, attributes, and the file names inside them. It also holds the
// DOS wildcard matcher of [MS-FSA] 2.1.4.4, because a listing's pattern is part of the same vocabulary.
//
// Promises:
//   - ParseX checks every bound once and never panics; each error it returns wraps [ErrMalformed].
//   - X.Append cannot fail, writes padding as zeros, and is the inverse of ParseX for whatever ParseX accepts.
//   - Reserved fields are written as zero and ignored on input; unknown flag bits and enum values survive.
//   - Results of Parse share no memory with the input, except where a comment says that they alias it.
//   - Work is linear in the input, and every list of a peer has a bound.
//
// Section numbers move between revisions of [MS-FSCC]; the names of the structures do not.
//
// Left to others: which class is allowed on which handle, what the values mean for a file, and status codes.
//
// Nothing here does I/O, keeps state or starts goroutines; all functions may be called concurrently.
package fscc
