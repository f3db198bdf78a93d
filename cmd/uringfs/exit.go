package main

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes. They stay: scripts depend on them.
const (
	exitOK           = 0   // claims held, and a path that claims nothing was seen to change
	exitBroken       = 1   // a claim broke, or nothing changed where something must; any other failure
	exitUsage        = 2   // the command line is wrong
	exitInconclusive = 3   // a window could not be proven open
	exitMissing      = 4   // a prerequisite is missing; standard error names it
	exitInterrupted  = 130 // ^C before the work was done
)

// exitError carries an exit code with what to say. A nil err says nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func missing(err error) error { return &exitError{exitMissing, err} }

// code maps what a command returned to an exit code.
func code(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	default:
		return exitBroken
	}
}
