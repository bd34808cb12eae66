package subject

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
	"github.com/segue-go/segue/conns"
)

// The routes.
const (
	PathItem   = "/items/1"
	PathEcho   = "/echo" // a WebSocket that may move
	PathFacts  = "/facts"
	PathMemory = "/facts?collect=1" // after collecting garbage
)

type item struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Price int    `json:"price_cents"`
	Stock int    `json:"stock"`
}

// Router is the service: a bare Gin JSON route, no middleware.
func Router() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/items/:id", func(c *gin.Context) {
		c.JSON(http.StatusOK, item{ID: 1, Name: "teapot", Price: 1995, Stock: 12})
	})
	r.GET(PathEcho, echo)
	r.GET("/facts", func(c *gin.Context) { c.JSON(http.StatusOK, facts(c.Query("collect") != "")) })
	return r
}

var upgrader = websocket.Upgrader{}

func echo(c *gin.Context) {
	conns.Movable(c.Request.Context())
	ws, err := upgrader.Upgrade(c.Writer, c.Request, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	for {
		kind, message, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// Facts is what a process says of itself.
type Facts struct {
	PID        int
	Generation int
	Main       time.Time // main was reached
	SetupBegan time.Time // of a Lineage
	SetupEnded time.Time
	CPU        time.Duration // user and system time so far
	Mallocs    uint64        // objects allocated so far
	Heap       uint64        // bytes in use
	Stack      uint64
}

// self is what this process knows of itself before it serves.
var self = Facts{PID: os.Getpid()}

func facts(collect bool) Facts {
	if collect {
		// Twice empties the sync.Pools; the third sweeps and shrinks what the
		// goroutines of the first two requests left.
		for range 3 {
			runtime.GC()
		}
	}
	f := self
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.CPU, f.Mallocs, f.Heap, f.Stack = cpuTime(), m.Mallocs, m.HeapAlloc, m.StackInuse
	return f
}

// Ask gets the facts over a connection of its own, once.
func Ask(addr, path string) (Facts, error) {
	var f Facts
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := c.Get("http://" + addr + path)
	if err != nil {
		return f, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return f, fmt.Errorf("%s answered %s", path, resp.Status)
	}
	return f, json.NewDecoder(resp.Body).Decode(&f)
}
