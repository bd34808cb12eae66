package handler

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/examples/shop/internal/model"
	"github.com/segue-go/segue/examples/shop/internal/service"
)

// Products answers /api/products.
type Products struct{ catalog *service.Catalog }

// NewProducts returns the handlers of the catalogue.
func NewProducts(catalog *service.Catalog) *Products { return &Products{catalog} }

// List answers GET /api/products?after=&limit=.
func (h *Products) List(c *gin.Context) {
	after, limit, err := page(c, 100, 1000)
	if err != nil {
		fail(c, err)
		return
	}
	products, err := h.catalog.List(c.Request.Context(), after, limit)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"products": products})
}

// Create answers POST /api/products.
func (h *Products) Create(c *gin.Context) {
	var n model.NewProduct
	if err := decode(c, &n); err != nil {
		fail(c, err)
		return
	}
	p, err := h.catalog.Create(c.Request.Context(), n)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusCreated, p)
}
