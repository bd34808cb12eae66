package handler

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/reqid"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

const maxReport = 60 * time.Second

// Reports answers /api/report.
type Reports struct {
	reports *service.Reports
	usual   time.Duration
}

// NewReports returns the handler of a report that usually takes usual.
func NewReports(reports *service.Reports, usual time.Duration) *Reports {
	return &Reports{reports, usual}
}

// Sales answers GET /api/report?ms=.
func (h *Reports) Sales(c *gin.Context) {
	ms, err := intQuery(c, "ms", h.usual.Milliseconds(), 0, maxReport.Milliseconds())
	if err != nil {
		fail(c, err)
		return
	}
	r, err := h.reports.Sales(c.Request.Context(), time.Duration(ms)*time.Millisecond)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, r)
}

// Proof answers the questions asked after a restart: what took effect, how
// often, and what left the outbox.
type Proof struct {
	ledger *service.Ledger
	relay  *service.Relay
}

// NewProof returns the handlers of the ledger and the delivery log.
func NewProof(ledger *service.Ledger, relay *service.Relay) *Proof { return &Proof{ledger, relay} }

// Count answers GET /api/ledger/:id. An id that was never applied has count 0.
func (h *Proof) Count(c *gin.Context) {
	if err := reqid.Check(c.Param("id")); err != nil {
		fail(c, err)
		return
	}
	a, err := h.ledger.Count(c.Request.Context(), c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, a)
}

// List answers GET /api/ledger?prefix=&after=&limit=. "next" is the after of
// the next page, absent on the last one.
func (h *Proof) List(c *gin.Context) {
	limit, err := intQuery(c, "limit", 10_000, 1, 100_000)
	if err != nil {
		fail(c, err)
		return
	}
	prefix := c.Query("prefix")
	if prefix != "" {
		if err := reqid.Check(prefix); err != nil {
			fail(c, err)
			return
		}
	}
	entries, err := h.ledger.List(c.Request.Context(), prefix, strings.ToValidUTF8(c.Query("after"), ""), int(limit))
	if err != nil {
		fail(c, err)
		return
	}
	body := gin.H{"entries": entries}
	if len(entries) == int(limit) {
		body["next"] = entries[len(entries)-1].ID
	}
	c.JSON(http.StatusOK, body)
}

// Deliveries answers GET /api/deliveries.
func (h *Proof) Deliveries(c *gin.Context) {
	d, err := h.relay.Deliveries(c.Request.Context())
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, d)
}
