package handler

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/apperr"
	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

// Orders answers /api/orders, their stream and their export.
type Orders struct {
	orders  *service.Orders
	leaving Leaving
	log     *slog.Logger
}

// NewOrders returns the handlers of orders.
func NewOrders(orders *service.Orders, leaving Leaving, log *slog.Logger) *Orders {
	return &Orders{orders, leaving, log}
}

// List answers GET /api/orders?after=&limit=.
func (h *Orders) List(c *gin.Context) {
	after, limit, err := page(c, 100, 1000)
	if err != nil {
		fail(c, err)
		return
	}
	orders, err := h.orders.List(c.Request.Context(), after, limit)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"orders": orders})
}

// Get answers GET /api/orders/:id.
func (h *Orders) Get(c *gin.Context) {
	id, err := intParam("id", c.Param("id"), 0, 1, 1<<62)
	if err != nil {
		// What is not an id cannot name an order: that is the same answer.
		fail(c, apperr.New(apperr.NotFound, "there is no order %q", c.Param("id")))
		return
	}
	order, err := h.orders.Get(c.Request.Context(), id)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, order)
}

// Create answers POST /api/orders.
func (h *Orders) Create(c *gin.Context) {
	var n model.NewOrder
	if err := decode(c, &n); err != nil {
		fail(c, err)
		return
	}
	order, err := h.orders.Place(c.Request.Context(), n)
	if err != nil {
		fail(c, err)
		return
	}
	c.Header("Location", fmt.Sprintf("/api/orders/%d", order.ID))
	c.JSON(http.StatusCreated, order)
}
