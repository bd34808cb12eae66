package main

import (
	"net/http"
	"path/filepath"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"

	"github.com/segue-go/segue/conns"
	ginsegue "github.com/segue-go/segue/contrib/gin"
)

// ginRoutes has everything. What is said to be movable is said here, once for a
// group; the handlers do not know, unless they have state to take along.
func ginRoutes(c config, bus *Bus, generation int) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	if c.refuseReplay {
		r.Use(oneTimeTickets(filepath.Join(c.data, "tickets")))
	}
	chat, deafChat := NewChat(), NewChat()

	movable := r.Group("/", ginsegue.Movable())
	movable.GET("/topics", gin.WrapF(bus.ServeTopics))
	movable.GET("/chat/:room", func(c *gin.Context) { chat.Serve(c.Writer, c.Request, c.Param("room")) })
	movable.GET("/events/movable", gin.WrapF(ticks))
	echoes(movable.Group("/ws"), c.dropRoute == 0 || generation < c.dropRoute)

	// The same, undeclared: they stay in their process until it says goodbye.
	r.GET("/undeclared/topics", gin.WrapF(bus.ServeTopics))
	r.GET("/undeclared/chat/:room", func(c *gin.Context) { deafChat.Serve(c.Writer, c.Request, c.Param("room")) })
	r.GET("/events/plain", gin.WrapF(ticks))
	echoes(r.Group("/plain"), true)

	// These move without a word: an event stream by the ids it has sent, a
	// connection between two requests because it means nothing.
	r.GET("/events", gin.WrapF(bus.ServeEvents))
	r.Any("/json", gin.WrapF(describe))
	r.POST("/upload", gin.WrapF(upload))
	r.GET("/slow", gin.WrapF(slow))
	r.POST("/publish", gin.WrapF(bus.ServePublish))
	r.GET("/version", func(c *gin.Context) { version(c.Writer, generation) })
	return r
}

func echoes(g *gin.RouterGroup, withGorilla bool) {
	if withGorilla {
		g.GET("/gorilla", gin.WrapF(gorillaEcho))
	}
	g.GET("/coder", gin.WrapF(coderEcho))
	g.GET("/gobwas", gin.WrapF(gobwasEcho))
	g.GET("/gws", gin.WrapF(gwsEcho()))
	g.GET("/melody", gin.WrapF(melodyEcho()))
}

// stdRoutes is the same idea with nothing but net/http.
func stdRoutes(bus *Bus) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws/gorilla", movable(http.HandlerFunc(gorillaEcho)))
	mux.HandleFunc("GET /events", bus.ServeEvents)
	mux.HandleFunc("/json", describe)
	return mux
}

// chiRoutes is the same idea with chi.
func chiRoutes(bus *Bus) http.Handler {
	r := chi.NewRouter()
	r.With(movable).Get("/ws/gorilla", gorillaEcho)
	r.Get("/events", bus.ServeEvents)
	r.HandleFunc("/json", describe)
	return r
}

// movable is ginsegue.Movable for everything that is not Gin.
func movable(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns.Movable(r.Context())
		next.ServeHTTP(w, r)
	})
}
