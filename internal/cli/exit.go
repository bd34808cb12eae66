package cli

import (
	"errors"
	"fmt"

	"github.com/segue-go/segue/client"
)

// Exit codes.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitRolledBack = 3 // the old generation serves, as before
	exitForced     = 4 // it ended, but not in order
)

// said is an exit code whose reason is on the screen already.
type said int

func (s said) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// usage makes a usageError.
func usage(message, hint string) error {
	return usageError{&client.Error{Message: message, Hint: hint}}
}

// exitCode is what err is worth.
func exitCode(err error) int {
	var s said
	var u usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &s):
		return int(s)
	case errors.As(err, &u):
		return exitUsage
	}
	return exitFailed
}

// outcome is the exit code of a report, as an error to return.
func outcome(o client.Outcome) error {
	switch o {
	case client.Done:
		return nil
	case client.RolledBack:
		return said(exitRolledBack)
	case client.Forced:
		return said(exitForced)
	}
	return said(exitFailed)
}
