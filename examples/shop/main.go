// Command shop is a small web shop that is restarted without anybody noticing:
// the demonstration of segue, the subject of its tests, and a layout to start
// from. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/examples/shop/internal/config"
	"github.com/segue-go/segue/examples/shop/internal/fault"
	"github.com/segue-go/segue/examples/shop/internal/logging"
	"github.com/segue-go/segue/examples/shop/internal/shop"
)

// version is set when building: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stderr))
}

// run is main with everything it depends on. It returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	cfg, err := config.Load(args, getenv, version, stderr)
	if errors.Is(err, config.ErrHelp) {
		return 0
	}
	var log *slog.Logger
	if err == nil {
		log, err = logging.New(stderr, cfg.LogFormat, cfg.LogLevel)
	}
	if err != nil {
		fmt.Fprintf(stderr, "shop: cannot start:\n%v\n", err)
		return 2
	}
	log = log.With("version", cfg.Version, "generation", cfg.Generation, "pid", os.Getpid())

	events := func(e segue.Event) { log.Info(e.String()) }
	err = segue.Run(ctx, segue.Options{Name: "shop", Events: events}, func(ctx context.Context, app *segue.App) error {
		return setup(ctx, app, cfg, log)
	})
	if err != nil {
		log.Error("shop failed", "err", err)
		return 1
	}
	return 0
}

func setup(ctx context.Context, app *segue.App, cfg config.Config, log *slog.Logger) error {
	if err := cfg.Fault.Start(ctx); err != nil {
		return err
	}
	ready := func(ctx context.Context) error { return errors.Join(cfg.Fault.Ready(), app.Readiness(ctx)) }
	s, err := shop.Open(ctx, cfg, shop.Host{Ready: ready, Leaving: conns.Leaving}, log)
	if err != nil {
		return err
	}
	app.Cleanup("database", func(context.Context) error { return s.Close() })
	app.Check("database", s.Ping)
	app.HTTP("web", cfg.Addr, s.Handler)
	app.Go("orders", s.Orders.Follow)
	app.Go("chat", s.Chat.Follow)
	app.Solo("outbox", s.Relay.Run)
	if cfg.Fault.Kind == fault.Die {
		app.Go("fault", cfg.Fault.Run)
	}
	return nil
}
