//go:build unix

// Command demo is `make demo`: it puts the example shop under `segue run`,
// drives real mixed traffic against it with clients that never retry, upgrades
// it five times, two of them to a version that does not work, and shows what
// the clients noticed. It exits with 0 only if they noticed nothing.
//
// Usage: demo SEGUE SHOP, the two programs to use. It needs no network but
// loopback, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/segue-go/segue/internal/verify"
)

// limit ends a demo that has gone wrong.
const limit = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo SEGUE SHOP (run it with `make demo`)")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1], os.Args[2], os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// upgrade is one act of the play.
type upgrade struct {
	version string
	says    string
	env     string // of the new version
	bad     bool   // it must be rolled back
}

var upgrades = []upgrade{
	{version: "v2", says: "a better version"},
	{version: "v3", says: "this one crashes on start", env: "SHOP_FAULT=crash", bad: true},
	{version: "v4", says: "a better version again"},
	{version: "v5", says: "this one never becomes ready", env: "SHOP_FAULT=hang", bad: true},
	{version: "v6", says: "the last one"},
}

func run(ctx context.Context, segue, shop string, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
	defer cancel()
	stage, err := open(segue, shop, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.close()) }()
	if err := stage.start(ctx); err != nil {
		return err
	}
	traffic, err := stage.traffic(ctx)
	if err != nil {
		return err
	}
	defer traffic.Stop()
	if err := traffic.Await(ctx, verify.EachSent(1, nil)); err != nil {
		return fmt.Errorf("the traffic does not flow: %w", err)
	}
	fmt.Fprintf(out, "\n%s\n", flow(traffic))
	var done, rolledBack int
	for _, u := range upgrades {
		if err := stage.upgrade(ctx, traffic, u); err != nil {
			return err
		}
		if u.bad {
			rolledBack++
		} else {
			done++
		}
	}
	result := traffic.Stop()
	if result.Service, err = stage.compare(ctx, traffic); err != nil {
		return err
	}
	if err := stage.stop(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := result.Table(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nrestarts: %d done, %d rolled back\n", done, rolledBack)
	if err := result.Err(); err != nil {
		return fmt.Errorf("clients noticed: %w", err)
	}
	fmt.Fprintf(out, "%d requests, %d lost: no client noticed.\n", result.Total.Sent, result.Total.Lost)
	return nil
}

// flow is the traffic so far, on one line.
func flow(r *verify.Run) string {
	var sent, lost, inFlight int
	for _, c := range r.Counts() {
		sent, lost, inFlight = sent+c.Sent, lost+c.Lost, inFlight+c.InFlight
	}
	return fmt.Sprintf("   traffic: %d requests sent, %d in flight, %d lost", sent, inFlight, lost)
}
