package verify_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/internal/testnet"
	"github.com/segue-go/segue/internal/verify"
)

func Example() {
	// The service's side: a ledger, and a handler that keeps it.
	dir, err := os.MkdirTemp("", "verify")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "applied")
	applied, err := verify.OpenApplied(path, "1")
	if err != nil {
		log.Fatal(err)
	}
	defer applied.Close()
	service := httptest.NewServer(&verify.Handler{Applied: applied, Generation: "1"})
	defer service.Close()

	// The client's side, ten milliseconds away.
	proxy, err := testnet.Start(testnet.Options{OneWay: 5 * time.Millisecond, Target: service.Listener.Addr().String()})
	if err != nil {
		log.Fatal(err)
	}
	defer proxy.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	run, err := verify.Start(ctx, verify.Options{
		Target: verify.Target{Addr: proxy.Addr()},
		Loads: []verify.Load{
			{Kind: verify.KeepAlive(), Workers: 4, Rate: 200},
			{Kind: verify.OneShot(), Workers: 2, Rate: 50},
			{Kind: verify.Slow(300 * time.Millisecond), Workers: 2},
			{Kind: verify.SSE{Every: 20 * time.Millisecond}, Workers: 2},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	run.Await(ctx, verify.EachSent(1, nil))

	began := time.Now() // the restart would be here
	run.Await(ctx, verify.EachSent(2, run.Counts()))
	run.Mark("restart 1", began, time.Now())
	for kind, n := range run.InFlightDuring(began, time.Now()) {
		if n == 0 {
			fmt.Println("the restart has met no", kind)
		}
	}

	result := run.Stop()
	if result.Service, err = run.Compare(path); err != nil {
		log.Fatal(err)
	}
	result.Table(os.Stderr)
	fmt.Println(result.Err())
	// Output: <nil>
}
