//go:build !linux

package control

import (
	"net"
	"os"
)

const canTellPeers = false

// peerOf takes whoever could open the socket, which has mode 0600, for this
// user.
func peerOf(net.Conn) (peer, error) { return peer{uid: os.Geteuid()}, nil }
