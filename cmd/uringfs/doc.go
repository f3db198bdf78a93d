// Command uringfs mounts a directory through FUSE with io_uring behind it, serves it over SMB, and shows where a server
// that answers by splice sends bytes that were written after its answer.
//
// The package parses flags, wires rooms together and prints; it decides nothing. Exit codes are in exit.go.
package main
