// Command live is a service whose clients stay connected while it is replaced:
// WebSockets of five libraries, event streams, a publisher of topics, a chat,
// uploads and plain requests, on Gin, net/http and chi. See README.md.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/segue-go/segue"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// config is what the command line says.
type config struct {
	listen, std, chi string
	data             string // the directory of everything that outlives a process
	tls              bool
	refuseReplay     bool
	dropRoute        int
	trial, probation time.Duration
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("live", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8080", "address of the Gin routes")
	flags.StringVar(&c.std, "listen-std", "127.0.0.1:8081", "address of the net/http routes")
	flags.StringVar(&c.chi, "listen-chi", "127.0.0.1:8082", "address of the chi routes")
	flags.StringVar(&c.data, "data", "data", "directory for topics, tickets and the certificate")
	flags.BoolVar(&c.tls, "tls", false, "serve TLS, with a certificate that the first process makes and signs itself")
	flags.BoolVar(&c.refuseReplay, "refuse-replay", false, "accept each ?ticket= once, also from a connection that has moved")
	flags.IntVar(&c.dropRoute, "drop-route", 0, "have no /ws/gorilla from this generation on, as if an upgrade had removed it (0: never)")
	flags.DurationVar(&c.trial, "trial", 0, "for SIGUSR2: how long a successor is tried (0: Segue's default)")
	flags.DurationVar(&c.probation, "probation", 0, "for SIGUSR2: how long the way back stays open (0: Segue's default)")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, err)
	}
	return c, err
}

// run is main with everything that it depends on. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	o := segue.Options{
		Name: "live", Trial: c.trial, Probation: c.probation,
		Events: func(e segue.Event) { fmt.Fprintln(stdout, time.Now().Format("05.000"), os.Getpid(), e) },
	}
	err = segue.Run(ctx, o, func(_ context.Context, app *segue.App) error { return setup(app, c) })
	if err != nil {
		fmt.Fprintln(stderr, "live:", err)
		return 1
	}
	return 0
}

func setup(app *segue.App, c config) error {
	if err := os.MkdirAll(c.data, 0o700); err != nil {
		return err
	}
	bus, err := OpenBus(c.data)
	if err != nil {
		return err
	}
	app.Cleanup("bus", func(context.Context) error { return bus.Close() })
	app.Go("bus", bus.Follow)

	serve := func(name, addr string, h http.Handler) { app.HTTP(name, addr, h) }
	if c.tls {
		cert, err := certificate(c.data)
		if err != nil {
			return err
		}
		serve = func(name, addr string, h http.Handler) {
			app.Serve(name, addr, &http.Server{
				Handler: h, ReadHeaderTimeout: 10 * time.Second,
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
			})
		}
	}
	serve("web", c.listen, ginRoutes(c, bus, app.Generation()))
	serve("std", c.std, stdRoutes(bus))
	serve("chi", c.chi, chiRoutes(bus))
	return nil
}
