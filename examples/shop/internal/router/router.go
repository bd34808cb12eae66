// Package router is the shop's map: which path is answered by which handler,
// and what happens around all of them.
package router

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/handler"
	"github.com/segue-go/segue/examples/shop/internal/middleware"
)

// Handlers is everything that answers.
type Handlers struct {
	Version  handler.Version
	Status   *handler.Status
	Products *handler.Products
	Orders   *handler.Orders
	Chat     *handler.Chat
	Reports  *handler.Reports
	Uploads  *handler.Uploads
	Proof    *handler.Proof
}

// New returns the shop's HTTP handler.
func New(h Handlers, log *slog.Logger) http.Handler {
	gin.SetMode(gin.ReleaseMode) // debug mode prints routes to stdout, past the logger
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.ContextWithFallback = true
	_ = r.SetTrustedProxies(nil) // nil is always valid: the peer's address is the peer's address

	r.Use(
		middleware.ServedBy(strconv.Itoa(h.Version.Generation)+"/"+strconv.Itoa(h.Version.PID)),
		middleware.AccessLog(log, "/healthz", "/readyz", "/version"), // outside of Errors: it logs the final status
		middleware.Errors,       // outside of Recover: a panic is an error like any other
		middleware.Recover(log), // outside of everything that may panic
		middleware.RequestID,
	)
	r.NoRoute(func(c *gin.Context) { refuse(c, apperr.NotFound, "there is nothing at %s") })
	r.NoMethod(func(c *gin.Context) { refuse(c, apperr.NotAllowed, c.Request.Method+" is not possible at %s") })

	r.GET("/healthz", h.Status.Health)
	r.GET("/readyz", h.Status.Ready)
	r.GET("/version", h.Status.Show)

	api := r.Group("/api")
	api.GET("/products", h.Products.List)
	api.POST("/products", h.Products.Create)
	api.GET("/orders", h.Orders.List)
	api.POST("/orders", h.Orders.Create)
	api.GET("/orders/stream", h.Orders.Stream)
	api.GET("/orders/:id", h.Orders.Get)
	api.GET("/export", h.Orders.Export)
	api.GET("/report", h.Reports.Sales)
	api.POST("/upload", h.Uploads.Create)
	api.GET("/chat", h.Chat.Serve)
	api.GET("/ledger", h.Proof.List)
	api.GET("/ledger/:id", h.Proof.Count)
	api.GET("/deliveries", h.Proof.Deliveries)
	return r
}

func refuse(c *gin.Context, k apperr.Kind, format string) {
	_ = c.Error(apperr.New(k, format, c.Request.URL.Path))
}
