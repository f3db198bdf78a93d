// Package bench compares uringfs with what a user would pick instead, as ratios of interleaved pairs.
//
// A comparison runs side A and side B in turn, A B A B …, drops a warm-up of each, and reports the median of the ratios
// pair by pair with the smallest and largest: machines are shared and drift, and a drift hits both halves of a pair.
// Absolute figures are printed beside the ratio for orientation and claimed nowhere. Both sides do the same work with
// the same client. A peer that is not installed is a line with an error, never a line left out.
//
// Rows of the engine that need a file system of their own make it in an image behind a loop device, which takes root;
// what the loop device does is noted in the line. A line without a goal is reported and judged by nobody.
//
// The peer of ring/vs-go-lib is a program that the user builds with the Go module of his choice and names: no such module
// is a dependency here. It is called as PROGRAM FILE BLOCK DEPTH MILLISECONDS, reads random blocks of FILE past the page
// cache with DEPTH of them in flight for that long, and prints one line,
// {"module":"name and version","reads":N,"seconds":S,"cpu_seconds":S}.
//
// Peers run with configurations of this package's own, on loopback, and are ended by their process ids. The package
// starts servers through internal/supervise and never in its own process, except for the engine rows, which time calls.
package bench
