package grpcsegue

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/segue-go/segue"
)

const patience = 20 * time.Second

// envService makes this test binary the service; its value is the address.
// envLedger is the file in which it notes the calls that it has applied.
const (
	envService = "GRPCSEGUE_TEST_SERVICE"
	envLedger  = "GRPCSEGUE_TEST_LEDGER"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(envService); addr != "" {
		os.Exit(child(addr))
	}
	goleak.VerifyTestMain(m)
}

// child is a gRPC service that says on standard output what happens.
func child(addr string) int {
	var mu sync.Mutex
	o := segue.Options{
		Trial: 50 * time.Millisecond, Probation: 300 * time.Millisecond, DrainTimeout: patience,
		Events: func(e segue.Event) {
			mu.Lock()
			defer mu.Unlock()
			os.Stdout.WriteString(fmt.Sprintf("%d %T %s\n", os.Getpid(), e, strings.ReplaceAll(e.String(), "\n", " ")))
		},
	}
	// Every process appends to the same file, each call with one write(2).
	ledger, err := os.OpenFile(os.Getenv(envLedger), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ledger.Close()
	err = segue.Run(context.Background(), o, func(_ context.Context, app *segue.App) error {
		s := New()
		pb.RegisterTestServiceServer(s, service{ledger: ledger})
		app.Serve("grpc", addr, s)
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// service answers with the pid of the process that has served the call.
type service struct {
	pb.UnimplementedTestServiceServer
	ledger *os.File // nil: none is kept
}

func payload() *pb.Payload { return &pb.Payload{Body: []byte(strconv.Itoa(os.Getpid()))} }

// apply notes the call whose id a request carries.
func (s service) apply(id *pb.Payload) error {
	if s.ledger == nil {
		return nil
	}
	_, err := s.ledger.Write(append(id.GetBody(), '\n'))
	return err
}

// work is the key in a call's metadata for how long UnaryCall takes.
const work = "work"

func (s service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	for _, d := range metadata.ValueFromIncomingContext(ctx, work) {
		long, err := time.ParseDuration(d)
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(long):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := s.apply(r.GetPayload()); err != nil {
		return nil, err
	}
	return &pb.SimpleResponse{Payload: payload()}, nil
}

// StreamingOutputCall sends what it is asked for, at the pace it is asked for.
func (s service) StreamingOutputCall(r *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	if err := s.apply(r.GetPayload()); err != nil {
		return err
	}
	for _, p := range r.ResponseParameters {
		select {
		case <-time.After(time.Duration(p.IntervalUs) * time.Microsecond):
		case <-out.Context().Done():
			return out.Context().Err()
		}
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: payload()}); err != nil {
			return err
		}
	}
	return nil
}

// FullDuplexCall echoes until the client says that it is done.
func (service) FullDuplexCall(s pb.TestService_FullDuplexCallServer) error {
	for {
		if _, err := s.Recv(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: payload()}); err != nil {
			return err
		}
	}
}

// newClient never retries a call: what gRPC calls transparent retry, of streams
// that no server has begun, is all that is left.
func newClient(t testing.TB, addr string) pb.TestServiceClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return pb.NewTestServiceClient(cc)
}

func budget(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}
