// Package seed gives tests and the race lab randomness that can be repeated.
//
// Every random decision comes from one number. A test asks [FromTest] for a
// generator: the number is URINGFS_SEED, or 1 when that is not set, so that a
// plain run is the same every time. When the test fails, the log holds one line
// that repeats it.
//
// The stream for a seed is fixed by math/rand/v2's PCG, whose output the Go
// project keeps stable; a seed from a report works on any machine.
//
// Nothing here is fit for secrets: challenges, keys and nonces come from
// crypto/rand. The package does not import testing, so programs may use it.
package seed
