package conns

// Carrier takes connections to another process. Send, Go, Late and Stop may be
// called while Await blocks.
type Carrier interface {
	// Send sends a batch of connections. When whole is set the other side takes all
	// of them or none. The descriptors remain the caller's.
	Send(batch uint64, whole bool, parcels [][]byte, fds []int) error
	// Await returns the next verdict: for each connection of a batch the reason why
	// it is refused, or "" if the other side serves it as soon as it may.
	Await() (batch uint64, refusals []string, err error)
	// Go lets the other side serve what it has not refused. late is what was written
	// to each connection since it was sent.
	Go(batch uint64, late [][]byte) error
	// Late forwards what was written to connection i of a batch after Go. end says
	// that it was closed.
	Late(batch uint64, i int, data []byte, end bool) error
	// Stop gives the other side up: a verdict that it has not sent by now it cannot
	// send any more. Await returns those that it has sent, and then an error.
	Stop()
}
