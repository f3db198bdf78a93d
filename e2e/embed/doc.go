// Command embed is a program outside of the module that uses its engine: what another Go program writes to have it.
//
// It is called as embed ENGINE DIR, makes and removes files in DIR, and prints a line for each thing that worked. The
// tests of e2e build and run it; it has a module of its own, so that the product's tests alone cannot hide an import
// that an outsider may not have.
package main
