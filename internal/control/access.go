package control

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
)

// access is what somebody may do.
type access int

const (
	nothing access = iota
	read           // look
	change         // and act
)

// peer is who has connected.
type peer struct {
	uid    int
	groups []int // all of them
}

// peerKey is where the context of a connection says who has made it: a [peer],
// or an error.
type peerKey struct{}

// greet looks at who has connected. It runs in the loop that accepts, so what
// that person may do is decided later.
func (s *Server) greet(ctx context.Context, c net.Conn) context.Context {
	who, err := s.peer(c)
	if err != nil {
		return context.WithValue(ctx, peerKey{}, fmt.Errorf("cannot tell who is asking: %w", err))
	}
	return context.WithValue(ctx, peerKey{}, who)
}

// allow refuses who may not do as much as the route needs.
func (s *Server) allow(r *http.Request, needs access) error {
	who, ok := r.Context().Value(peerKey{}).(peer)
	if !ok {
		return newRefusal(http.StatusForbidden, fmt.Sprint(r.Context().Value(peerKey{})), "run this command as the supervisor's user, or as root")
	}
	switch may := s.access(who); {
	case may >= needs:
		return nil
	case may == read:
		return newRefusal(http.StatusForbidden,
			fmt.Sprintf("user %d may look at this supervisor, which runs as user %d, but not change anything", who.uid, os.Geteuid()),
			"run this command as the supervisor's user, or as root")
	}
	return newRefusal(http.StatusForbidden,
		fmt.Sprintf("user %d may not control this supervisor, which runs as user %d", who.uid, os.Geteuid()),
		"run this command as the supervisor's user, or as root")
}

func (s *Server) access(who peer) access {
	switch {
	case who.uid == 0 || who.uid == os.Geteuid():
		return change
	case s.backend.Reader(who.uid, who.groups):
		return read
	}
	return nothing
}
