//go:build !unix

package conns

import "errors"

func (c *Conn) peekEnd() error { return errors.ErrUnsupported }
