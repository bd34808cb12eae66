//go:build !unix

package conns

import (
	"errors"
	"net"
)

func adoptSocket(int, string, string, string) (net.Conn, error) {
	return nil, errors.New("connections cannot be adopted on this system")
}

func closeDescriptor(int) {}
