// Package shop puts the layers together. It knows nothing of processes and
// restarts: main tells segue what of a Shop to run, and when.
package shop

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"

	"github.com/segue-go/segue/examples/shop/internal/config"
	"github.com/segue-go/segue/examples/shop/internal/handler"
	"github.com/segue-go/segue/examples/shop/internal/repository"
	"github.com/segue-go/segue/examples/shop/internal/router"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

// Host is what the shop asks of whatever runs it.
type Host struct {
	Ready   func(context.Context) error // for /readyz
	Leaving handler.Leaving             // for streams
}

// Shop is one generation of the shop, wired and not yet running.
type Shop struct {
	Handler http.Handler
	Orders  *service.Orders // Follow has to run while Handler serves
	Chat    *service.Chat   // likewise
	Relay   *service.Relay  // Run has to run in one generation at a time
	db      *repository.DB
}

// Open opens the data in cfg.DataDir, which another generation may have open,
// and builds everything on top. Close has to be called.
func Open(ctx context.Context, cfg config.Config, host Host, log *slog.Logger) (*Shop, error) {
	uploads := filepath.Join(cfg.DataDir, "uploads")
	if err := os.MkdirAll(uploads, 0o700); err != nil {
		return nil, fmt.Errorf("cannot use the data directory, name another with -data: %w", err)
	}
	db, err := repository.Open(ctx, filepath.Join(cfg.DataDir, "shop.db"))
	if err != nil {
		return nil, err
	}
	relay := service.NewRelay(db, cfg.Generation, os.Getpid(), log)
	s := &Shop{
		Orders: service.NewOrders(db, relay, log),
		Chat:   service.NewChat(db, log),
		Relay:  relay,
		db:     db,
	}
	version := handler.Version{Version: cfg.Version, PID: os.Getpid(), Generation: cfg.Generation, Go: runtime.Version()}
	s.Handler = router.New(router.Handlers{
		Version:  version,
		Status:   handler.NewStatus(version, host.Ready, host.Leaving),
		Products: handler.NewProducts(service.NewCatalog(db)),
		Orders:   handler.NewOrders(s.Orders, host.Leaving, log),
		Chat:     handler.NewChat(s.Chat, host.Leaving, log),
		Reports:  handler.NewReports(service.NewReports(db), cfg.ReportTime),
		Uploads:  handler.NewUploads(service.NewUploads(db, uploads, cfg.KeepUploads), cfg.MaxUpload),
		Proof:    handler.NewProof(service.NewLedger(db), relay),
	}, log)
	return s, nil
}

// Ping reports whether the data can be read.
func (s *Shop) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Close closes the data. Nothing of the shop may be running any more.
func (s *Shop) Close() error { return s.db.Close() }
