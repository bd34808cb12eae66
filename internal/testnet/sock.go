package testnet

import "net"

// abort closes c with an RST where there is such a thing (SO_LINGER 0, see
// socket(7)), and simply closes it otherwise.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// closeWrite sends a FIN.
func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		h.CloseWrite()
	}
}
