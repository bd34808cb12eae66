package handover

import (
	"net"
)

// Peer is a connection to the other side of the control wire before it is a
// [Link], with what the kernel says about who is there (SO_PEERCRED).
type Peer struct {
	PID, UID int
	conn     *net.UnixConn
}

// Close refuses the peer.
func (p *Peer) Close() error { return p.conn.Close() }
