// Package ctl is the control socket of a running server: HTTP over a unix socket that only the server's user can open.
//
// GET /status answers one JSON object, Status: which engine runs, how often each verb took which road, how many PDUs and
// bytes each read path served, how many requests of each opcode the mount answered. The race lab and the benchmarks
// take the name of the path that really served from here. Fields are added, never renamed.
//
// The package knows none of the rooms it reports on: a server hands in a function that fills Status.
package ctl
