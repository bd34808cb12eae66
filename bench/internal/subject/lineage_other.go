//go:build !linux

package subject

import "errors"

func lineage() error { return errors.ErrUnsupported }
