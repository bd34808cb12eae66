package ginsegue

import (
	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue/conns"
)

// Movable declares the connections of a group of routes, or of a single one, as
// movable: it calls [conns.Movable] for each request. It must come before the
// handler that upgrades; where it stands among other middleware does not matter.
func Movable() gin.HandlerFunc {
	return func(c *gin.Context) { conns.Movable(c.Request.Context()) }
}
