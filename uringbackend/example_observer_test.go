//go:build linux

package uringbackend_test

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/uringbackend"
)

// How long do the operations of a program take?
func ExampleHistograms() {
	var h uringbackend.Histograms
	e, err := uringbackend.Open("auto", uringbackend.Probe(""), uringbackend.Config{Observer: &h})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer e.Close()
	for range 3 {
		var st unix.Statx_t
		if err := e.Statx(context.Background(), unix.AT_FDCWD, "/", 0, unix.STATX_BASIC_STATS, &st); err != nil {
			fmt.Println(err)
		}
	}
	for _, l := range h.Snapshot() {
		fmt.Println(l.Verb, l.Ops, l.Errors, l.Quantile(0.5) > 0)
	}
	// Output: statx 3 0 true
}
