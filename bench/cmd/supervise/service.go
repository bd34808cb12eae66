package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue"
)

// What this program is told when it is the service: what to be, and where to serve when
// it is not given a socket.
const (
	envService = "SEGUE_BENCH_SERVICE"
	envAddr    = "SEGUE_BENCH_ADDR"
)

// written is how much the service of the output row writes.
const written = 100 << 20

func serve(what string) error {
	switch what {
	case "idle":
		return sleep()
	case "write":
		return talk()
	}
	id := fmt.Sprint(os.Getpid(), ".", time.Now().UnixNano())
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, id) })
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	})
	return segue.Run(context.Background(), segue.Options{Name: "bench", Events: func(segue.Event) {}}, func(_ context.Context, app *segue.App) error {
		app.HTTP("web", os.Getenv(envAddr), mux)
		return nil
	})
}

// sleep says that it is ready and does nothing, with as little as possible.
func sleep() error {
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	if err := ready(); err != nil {
		return err
	}
	<-leave
	return nil
}

func ready() error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
}

// talk writes lines, as fast as they can be written, when it is told to with SIGUSR1,
// and says in a file how long that took.
func talk() error {
	leave, begin := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	signal.Notify(begin, syscall.SIGUSR1)
	if err := ready(); err != nil {
		return err
	}
	select {
	case <-leave:
		return nil
	case <-begin:
	}
	line := strings.Repeat("0123456789abcdef ", 7) // and a number: compressible as a log is
	began := time.Now()
	out := bufio.NewWriterSize(os.Stdout, 4096)
	for n, size := 0, 0; size < written; n++ {
		k, err := fmt.Fprintf(out, "%d %s\n", n, line)
		if err != nil {
			return err
		}
		size += k
	}
	if err := out.Flush(); err != nil {
		return err
	}
	took := time.Since(began)
	if err := os.WriteFile(os.Getenv(envAddr), []byte(took.String()), 0o600); err != nil {
		return err
	}
	<-leave
	return nil
}
