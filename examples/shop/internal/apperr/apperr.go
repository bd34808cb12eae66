// Package apperr holds the kinds of failure the shop distinguishes. Every layer
// may return one; exactly one place, middleware.Errors, turns a kind into a
// status code.
//
// An error that is none of these kinds is a defect or an outage. Its text goes
// to the log and never to the client.
package apperr

import "fmt"

// Kind says who has to do something about a failure.
type Kind int

const (
	Invalid     Kind = iota + 1 // the client must change the request
	NotFound                    // the thing named does not exist
	NotAllowed                  // the thing exists and cannot be used in this way
	Conflict                    // the request contradicts what is stored
	TooLarge                    // the body exceeds the configured limit
	Unavailable                 // nothing is wrong with the request; later it may work
)

func (k Kind) String() string {
	switch k {
	case Invalid:
		return "invalid"
	case NotFound:
		return "not_found"
	case NotAllowed:
		return "not_allowed"
	case Conflict:
		return "conflict"
	case TooLarge:
		return "too_large"
	case Unavailable:
		return "unavailable"
	}
	return "internal"
}

// Error carries a kind and a message meant for the client. Err, when set, is
// the cause: it is logged and not shown.
type Error struct {
	Kind    Kind
	Message string
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an *Error of kind k whose message is shown to the client.
func New(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap is New with a cause.
func Wrap(k Kind, cause error, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Err: cause}
}
