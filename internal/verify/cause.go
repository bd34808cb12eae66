package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Cause is why a request was lost.
type Cause string

const (
	Refused   Cause = "refused"      // no connection could be made
	Reset     Cause = "reset"        // RST before the first byte of the answer
	EOF       Cause = "eof"          // FIN before the first byte of the answer
	Timeout   Cause = "timeout"      // no complete answer within Options.Timeout
	Truncated Cause = "truncated"    // the connection ended within the answer
	Server    Cause = "5xx"          // answered, but with 5xx
	Status    Cause = "status"       // answered with another unexpected status
	Wrong     Cause = "wrong answer" // complete, but not the answer to this request
	Malformed Cause = "malformed"    // not an answer in the protocol at all
	Stream    Cause = "stream reset" // the HTTP/2 stream was reset
	Gap       Cause = "gap"          // an event of a stream was skipped or repeated
	Aborted   Cause = "aborted"      // the run's own context ended
	Other     Cause = "other"        // see the detail
)

// Loss is the error a Sender returns when it knows why a request was lost.
type Loss struct {
	Cause  Cause
	Detail string
	Err    error // may be nil
}

func (l *Loss) Error() string {
	s := string(l.Cause)
	if l.Detail != "" {
		s += ": " + l.Detail
	}
	if l.Err != nil {
		s += ": " + l.Err.Error()
	}
	return s
}

func (l *Loss) Unwrap() error { return l.Err }

func lossf(c Cause, format string, args ...any) *Loss {
	return &Loss{Cause: c, Detail: fmt.Sprintf(format, args...)}
}

// dialLoss names what made a connection impossible. A unix socket answers
// ENOENT when its path is gone and EAGAIN when its backlog is full: to the
// client both are a refusal.
func dialLoss(err error) *Loss {
	c := Other
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN):
		c = Refused
	case isTimeout(err):
		c = Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		c = Reset
	case errors.Is(err, io.EOF): // within a TLS handshake
		c = EOF
	}
	return &Loss{Cause: c, Detail: "connect", Err: err}
}

// wireLoss names what ended an exchange on a connection; answered is whether
// any byte of the answer had arrived.
func wireLoss(err error, answered bool) *Loss {
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
	c := Malformed
	switch {
	case isTimeout(err):
		c = Timeout
	case errors.Is(err, context.Canceled):
		c = Aborted
	case answered && (ended || reset):
		c = Truncated
	case reset:
		c = Reset
	case ended:
		c = EOF
	}
	return &Loss{Cause: c, Err: err}
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ETIMEDOUT)
}
