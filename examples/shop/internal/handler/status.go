package handler

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
)

// Version says which program answers.
type Version struct {
	Version    string `json:"version"`
	PID        int    `json:"pid"`
	Generation int    `json:"generation"` // 0: nobody counts
	Go         string `json:"go"`
}

// Status answers /healthz, /readyz and /version.
type Status struct {
	version Version
	ready   func(context.Context) error
	leaving Leaving
}

// NewStatus returns the handlers; ready says whether requests can be served.
func NewStatus(v Version, ready func(context.Context) error, leaving Leaving) *Status {
	return &Status{v, ready, leaving}
}

// Health answers GET /healthz: the process is alive and its HTTP server runs.
// It asks nothing else, because whoever reads it kills what does not answer.
func (h *Status) Health(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) }

// Ready answers GET /readyz: 503 while a dependency is missing and from the
// moment this process is leaving.
func (h *Status) Ready(c *gin.Context) {
	ctx := c.Request.Context()
	select {
	case <-h.leaving(ctx):
		fail(c, apperr.New(apperr.Unavailable, "this process is leaving"))
		return
	default:
	}
	if err := h.ready(ctx); err != nil {
		fail(c, apperr.New(apperr.Unavailable, "not ready: %v", err))
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready"})
}

// Show answers GET /version.
func (h *Status) Show(c *gin.Context) { c.JSON(http.StatusOK, h.version) }
