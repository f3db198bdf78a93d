// Package enginetest is the conformance suite of uringbackend's engines: cases as data, run over every engine and
// every wrapper.
//
// It promises that an engine which passes it carries out every verb as the system call would, reports each op once,
// gives memory back only when the kernel is done with it, keeps hot file I/O going while other ops wait for peers,
// loses nothing on Close, and leaks neither descriptor nor goroutine. Ordered has the cases about links, drains and
// timeouts; Model holds an engine against a model of a file system, op by op, and shrinks what it finds; StressCancel
// and StressClose count bytes and reports while contexts end and engines close.
//
// It leaves to others: speed (benchmarks), abilities of old kernels (the engines' own tests), what a fault plan does
// (Faulty's tests).
//
// Ownership: a case owns the engine it opens and closes it; descriptors are closed by the case's cleanup. Cases
// count the descriptors of the process, so they do not run in parallel with anything.
package enginetest
