package racelab

import (
	"errors"
	"fmt"
)

// ErrPrerequisite says that the machine lacks what a run needs; the error's text
// names it and what to do. It is exit code 4.
var ErrPrerequisite = errors.New("a prerequisite is missing")

// missing returns an error that is ErrPrerequisite and what args wrap.
func missing(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPrerequisite, fmt.Errorf(format, args...))
}
