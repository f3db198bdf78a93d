// Package bench compares uringfs with what a user would pick instead, as ratios of interleaved pairs.
//
// A comparison runs side A and side B in turn, A B A B …, drops a warm-up of each, and reports the median of the ratios
// pair by pair with the smallest and largest: machines are shared and drift, and a drift hits both halves of a pair.
// Absolute figures are printed beside the ratio for orientation and claimed nowhere. Both sides do the same work with
// the same client. A peer that is not installed is a line with an error, never a line left out.
//
// Peers run with configurations of this package's own, on loopback, and are ended by their process ids. The package
// starts servers through internal/supervise and never in its own process, except for the engine rows, which time calls.
package bench
