package handover

import "context"

// Borrow asks a generation for its listening sockets (LEND). The caller owns them.
func (l *Link) Borrow(ctx context.Context) ([]Socket, error) {
	return nil, ErrLinkClosed
}
