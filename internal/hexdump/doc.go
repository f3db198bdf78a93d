// Package hexdump reads the bytes of real peers that tests keep as text: commented dumps under testdata, and literals.
//
// A dump has `name:` lines with lines of hexadecimal below each; what follows a # is comment. Only tests import this
// package; it does nothing but read files and fail the test that asked.
package hexdump
