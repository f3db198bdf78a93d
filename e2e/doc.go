// Package e2e tests the built binary from outside: real mounts, real SMB clients, the race table. It holds tests only.
//
// Every server here is a child process built with the race detector. What a machine lacks is said first, by name, and fails:
// nothing is skipped in silence. Most of it needs root.
package e2e
