// Package e2e tests the built binary from outside: real mounts, real SMB clients, the race table. It holds tests only.
//
// Every server here is a child process built with the race detector. What a machine lacks is said first, by name, and fails:
// nothing is skipped in silence. Most of it needs root.
//
// URINGFS_E2E_FLAGS="--engine-policy ring --loop netpoll" gives these flags to every server and lab, as far as its command has
// them; make e2e-ring and make e2e-netpoll do. URINGFS_SEED repeats what the fault tests did.
package e2e
