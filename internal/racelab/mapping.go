//go:build linux

package racelab

import (
	"runtime"
	"unsafe"
)

// touch faults the page at byte at of a mapping in.
func touch(m []byte, at int) { runtime.KeepAlive(m[at]) }

// mappingAddress is where a mapping lies in this process: the index of pagemap.
func mappingAddress(m []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m))) }
