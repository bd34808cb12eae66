//go:build !unix

package conns

import (
	"errors"
	"os"
)

// File always fails here: a listening socket can be passed to another process on
// unix systems only.
func (g *Gate) File() (*os.File, error) {
	return nil, errors.New("conns: pass on the socket: not possible on this system; start the successor on another port")
}
