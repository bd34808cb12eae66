package grpcsegue_test

import (
	"context"
	"fmt"

	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/segue-go/segue"
	grpcsegue "github.com/segue-go/segue/contrib/grpc"
)

type orders struct {
	pb.UnimplementedTestServiceServer
}

func Example() {
	ctx, leave := context.WithCancel(context.Background())
	o := segue.Options{NoSignals: true, Events: func(e segue.Event) {
		if e, ok := e.(segue.PhaseChanged); ok {
			fmt.Println(e.To)
			if e.To == segue.Ready {
				leave() // a service would wait for a signal
			}
		}
	}}
	err := segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
		server := grpcsegue.New()
		pb.RegisterTestServiceServer(server, orders{})
		app.Serve("grpc", "127.0.0.1:0", server)
		return nil
	})
	fmt.Println(err)
	// Output:
	// ready
	// draining
	// closing
	// stopped
	// <nil>
}
