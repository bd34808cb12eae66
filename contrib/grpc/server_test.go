package grpcsegue

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/segue-go/segue"
)

// serve serves s in this process and returns where.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func open(t testing.TB, c pb.TestServiceClient) pb.TestService_FullDuplexCallClient {
	t.Helper()
	stream, err := c.FullDuplexCall(budget(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.StreamingOutputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestShutdownFinishes: what was begun ends as it would have; then it returns.
func TestShutdownFinishes(t *testing.T) {
	s := New()
	pb.RegisterTestServiceServer(s, service{})
	c := newClient(t, serve(t, s))
	stream := open(t, c)
	if n := s.Stats(); n != (Stats{InFlight: 1}) {
		t.Errorf("%+v", n)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(budget(t)) }()
	<-s.Leaving()
	if err := stream.Send(&pb.StreamingOutputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Errorf("the stream in flight: %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown returned %v with a call in flight", err)
	default:
	}
	stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := s.Stats(); n != (Stats{Served: 1}) {
		t.Errorf("%+v", n)
	}
	if _, err := c.UnaryCall(budget(t), &pb.SimpleRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a server that has left answered %v", err)
	}
}

// TestShutdownCuts at the end of its budget, says how many, and does not wait for
// a handler that is deaf.
func TestShutdownCuts(t *testing.T) {
	letGo := make(chan struct{})
	entered := make(chan struct{})
	s := New(grpc.ChainUnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		close(entered)
		<-letGo
		return nil, errors.New("late")
	}))
	pb.RegisterTestServiceServer(s, service{})
	c := newClient(t, serve(t, s))
	open(t, c)
	failed := make(chan error, 1)
	go func() {
		_, err := c.UnaryCall(budget(t), &pb.SimpleRequest{})
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 calls were cut") {
		t.Errorf("Shutdown returned %v", err)
	}
	if err := <-failed; status.Code(err) != codes.Unavailable {
		t.Errorf("the call that was cut got %v", err)
	}
	close(letGo)
}

func TestShutdownIdle(t *testing.T) {
	s := Wrap(grpc.NewServer())
	newClient(t, serve(t, s))
	if err := s.Shutdown(budget(t)); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(budget(t)); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestReported: calls that were cut are in the report of the service.
func TestReported(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	addr, report := make(chan string, 1), make(chan segue.Report, 1)
	done := make(chan error, 1)
	go func() {
		o := segue.Options{NoSignals: true, DrainTimeout: 50 * time.Millisecond, Events: func(e segue.Event) {
			switch e := e.(type) {
			case segue.Listening:
				addr <- e.Addr
			case segue.Reported:
				report <- e.Report
			}
		}}
		done <- segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
			s := New()
			pb.RegisterTestServiceServer(s, service{})
			app.Serve("grpc", "127.0.0.1:0", s)
			return nil
		})
	}()
	stream := open(t, newClient(t, <-addr))
	leave()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r := <-report; len(r.Cut) != 1 {
		t.Errorf("cut %+v, want one connection", r.Cut)
	}
}
