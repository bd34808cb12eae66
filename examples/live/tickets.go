package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gin-gonic/gin"
)

// oneTimeTickets accepts a request with ?ticket= once: tickets that were used are
// files in dir, which the next process sees as well.
//
// It is the middleware that a moved connection cannot pass: its request is served
// once more in the new process, and its ticket has been used. The move then stops
// after the first few, and the others are told to come back. One that wants its
// connections to move asks conns.Resumed first, and lets those in.
func oneTimeTickets(dir string) gin.HandlerFunc {
	return func(c *gin.Context) {
		ticket := c.Query("ticket")
		if ticket == "" {
			return
		}
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			name := fmt.Sprintf("%x", sha256.Sum256([]byte(ticket)))
			err = os.Mkdir(filepath.Join(dir, name), 0o700) // succeeds once, in whatever process
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			c.String(http.StatusForbidden, "this ticket was used\n")
			c.Abort()
		case err != nil:
			c.String(http.StatusInternalServerError, "no tickets today\n")
			c.Abort()
		}
	}
}
