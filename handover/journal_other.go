//go:build !linux

package handover

import "os"

// NewJournal needs Linux; elsewhere the error wraps [errors.ErrUnsupported].
func NewJournal() (*os.File, error) { return nil, unsupported("keep a journal") }

// OpenJournal returns an error wrapping [errors.ErrUnsupported].
func OpenJournal(*os.File) (*Journal, error) { return nil, unsupported("keep a journal") }

// Discard does nothing here.
func (j *Journal) Discard() error { return nil }
