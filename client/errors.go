package client

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// ErrNotRunning matches the error of a call when no supervisor listens at the
// socket.
var ErrNotRunning = errors.New("no supervisor listens")

// Error is what could not be done, and what to do: a refusal by the supervisor,
// or why it could not be reached.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	cause   error
}

// Error is the message, and the hint if there is one.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// Unwrap is why the supervisor could not be reached; nil for a refusal.
func (e *Error) Unwrap() error { return e.cause }

// explainDial says what a failed connect(2) to the socket of a supervisor means.
func explainDial(socket string, err error) error {
	service := serviceOf(socket)
	start := fmt.Sprintf("start one: segue run --name %s -- ./%s", service, service)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{
			Message: fmt.Sprintf("no supervisor named %q runs: there is no socket %s", service, socket),
			Hint:    start, cause: errors.Join(ErrNotRunning, err),
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{
			Message: fmt.Sprintf("no supervisor named %q runs: the one that made %s ended without removing it", service, socket),
			Hint:    start, cause: errors.Join(ErrNotRunning, err),
		}
	case errors.Is(err, fs.ErrPermission):
		return &Error{
			Message: fmt.Sprintf("cannot reach the supervisor of %s: %s belongs to another user", service, socket),
			Hint:    "run this command as that user, or as root", cause: err,
		}
	}
	return fmt.Errorf("cannot reach the supervisor of %s at %s: %w", service, socket, err)
}

// serviceOf is the name in <runtime directory>/<name>/api.sock.
func serviceOf(socket string) string { return filepath.Base(filepath.Dir(socket)) }
