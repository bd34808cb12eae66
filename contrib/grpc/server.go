package grpcsegue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/segue-go/segue"
)

// stopGrace is how long handlers have to return once their calls were cut.
const stopGrace = 500 * time.Millisecond

// Server is a gRPC server as [segue.App.Serve] takes it. Services are registered
// with it as with the *grpc.Server that it contains.
type Server struct {
	*grpc.Server
	count   counter
	leaving chan struct{}
	once    sync.Once
}

var _ segue.Server = (*Server)(nil)

// New is grpc.NewServer for a service under Segue: the server counts its calls.
func New(options ...grpc.ServerOption) *Server {
	s := &Server{leaving: make(chan struct{})}
	s.Server = grpc.NewServer(append(options, grpc.StatsHandler(&s.count))...)
	return s
}

// Wrap is New for a server that exists. Its calls are not counted: Stats stays
// zero.
func Wrap(s *grpc.Server) *Server { return &Server{Server: s, leaving: make(chan struct{})} }

// Serve serves ln until Shutdown, and then returns nil, also when Shutdown was
// there first.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.Server.Serve(ln); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Leaving is closed when Shutdown begins, for handlers of streams that would
// otherwise never end.
func (s *Server) Leaving() <-chan struct{} { return s.leaving }

// Shutdown says goodbye with GOAWAY, closes this process's descriptor of the
// socket and waits for every call that was begun. When ctx ends before, it cuts
// what is left, waits a moment for the handlers, and returns an error that says
// how many calls that were and wraps ctx's. It cannot be undone.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(func() { close(s.leaving) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	left := s.Stats().InFlight
	s.Stop()
	// GracefulStop returns when the last handler has: one that ignores the end of
	// its context would hold it for ever.
	late := time.NewTimer(stopGrace)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
	return fmt.Errorf("%d calls were cut: %w", left, context.Cause(ctx))
}

// Stats counts calls.
type Stats struct {
	InFlight int64  // begun, and not ended
	Served   uint64 // ended, well or not
}

// Stats is the count of this moment.
func (s *Server) Stats() Stats {
	return Stats{s.count.inFlight.Load(), s.count.served.Load()}
}

// counter is told by gRPC of every call.
type counter struct {
	inFlight atomic.Int64
	served   atomic.Uint64
}

func (c *counter) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.Begin:
		c.inFlight.Add(1)
	case *stats.End:
		c.inFlight.Add(-1)
		c.served.Add(1)
	}
}

func (c *counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *counter) HandleConn(context.Context, stats.ConnStats)                       {}
