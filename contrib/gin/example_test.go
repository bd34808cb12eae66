package ginsegue_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/conns"
	ginsegue "github.com/segue-go/segue/contrib/gin"
)

func Example() {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.GET("/prices", stream) // has ids, and moves without a word
	live := router.Group("/ws", ginsegue.Movable())
	live.GET("/echo", stream)

	ctx, leave := context.WithCancel(context.Background())
	o := segue.Options{NoSignals: true, Events: func(e segue.Event) {
		if e, ok := e.(segue.PhaseChanged); ok {
			fmt.Println(e.To)
			if e.To == segue.Ready {
				leave() // a service would wait for a signal
			}
		}
	}}
	err := segue.Run(ctx, o, func(_ context.Context, app *segue.App) error {
		app.HTTP("web", "127.0.0.1:0", router)
		return nil
	})
	fmt.Println(err)
	// Output:
	// ready
	// draining
	// closing
	// stopped
	// <nil>
}

// stream stands for a handler of a WebSocket library.
func stream(c *gin.Context) {
	if _, resumed := conns.Resumed(c.Request.Context()); !resumed {
		c.Header("X-Welcome", "new here")
	}
	c.Status(http.StatusSwitchingProtocols)
}
