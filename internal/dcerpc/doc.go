// Package dcerpc encodes and decodes what little of connection-oriented DCE/RPC ([C706], [MS-RPCE]) a file server needs: bind,
// request, response and fault in one fragment each, and the srvsvc calls ([MS-SRVS]) by which clients list shares.
//
// Promises: ParseX checks every bound, never panics, and wraps [ErrMalformed]; X.Append is its inverse. Only the little-endian
// data representation with NDR 32 is understood; others are malformed. Counts that a peer gives are bounded by the bytes
// that are there.
//
// Ownership: byte slices in a parsed value alias the PDU; strings do not.
//
// Left to others: the pipe that carries the PDUs, reassembly of several fragments, authentication, which calls are allowed.
//
// Nothing here does I/O, keeps state or starts goroutines; all functions may be called concurrently.
package dcerpc
