package segue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/segue-go/segue"
)

var router = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })

// A service with everything that a service has. Here it is told to leave as soon
// as it is ready; a real one waits for SIGTERM.
func ExampleRun() {
	ctx, leave := context.WithCancel(context.Background())
	options := segue.Options{
		Name: "shop", NoSignals: true,
		Events: func(e segue.Event) {
			if e, ok := e.(segue.PhaseChanged); ok && e.To == segue.Ready {
				leave()
			}
		},
	}
	err := segue.Run(ctx, options, func(ctx context.Context, app *segue.App) error {
		fmt.Println("open the database")
		app.Cleanup("database", func(context.Context) error { fmt.Println("close the database"); return nil })
		app.Check("database", func(context.Context) error { return nil })
		app.HTTP("web", "127.0.0.1:0", router)
		return nil
	})
	fmt.Println(err)
	// Output:
	// open the database
	// close the database
	// <nil>
}

// In place of router.Run(":8080").
func ExampleListenAndServe() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	if err := segue.ListenAndServe(":8080", http.DefaultServeMux); err != nil {
		log.Fatal(err)
	}
}

// Certificates in files; HTTP/2 comes with them.
func ExampleListenAndServeTLS() {
	if err := segue.ListenAndServeTLS(":8443", "cert.pem", "key.pem", router); err != nil {
		log.Fatal(err)
	}
}

// serve runs a service until its first answer, which it prints.
func serve(path string, setup func(*segue.App)) {
	ctx, leave := context.WithCancel(context.Background())
	address := make(chan string, 1)
	go func() {
		defer leave()
		defer http.DefaultClient.CloseIdleConnections()
		resp, err := http.Get("http://" + <-address + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		fmt.Println(resp.StatusCode, strings.TrimSpace(string(body)))
	}()
	o := segue.Options{NoSignals: true, Events: func(e segue.Event) {
		if e, ok := e.(segue.Listening); ok {
			address <- e.Addr
		}
	}}
	if err := segue.Run(ctx, o, func(_ context.Context, app *segue.App) error { setup(app); return nil }); err != nil {
		fmt.Println(err)
	}
}

func ExampleApp_HTTP() {
	serve("/", func(app *segue.App) { app.HTTP("web", "127.0.0.1:0", router) })
	// Output: 200 hello
}

// A server of one's own: its time-outs, its TLS, its protocols.
func ExampleApp_Serve() {
	serve("/", func(app *segue.App) {
		server := &http.Server{Handler: router, ReadTimeout: time.Minute, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		app.Serve("web", "127.0.0.1:0", server)
	})
	// Output: 200 hello
}

func ExampleApp_Readiness() {
	serve("/readyz", func(app *segue.App) {
		app.Check("database", func(context.Context) error { return nil })
		app.HTTP("web", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := app.Readiness(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ready")
		}))
	})
	// Output: 200 ready
}

// live runs a service from its start until it is told to leave.
func live(setup func(app *segue.App, leave func())) {
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	err := segue.Run(ctx, segue.Options{NoSignals: true}, func(_ context.Context, app *segue.App) error {
		setup(app, leave)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
}

func ExampleApp_Check() {
	tries := 0
	live(func(app *segue.App, leave func()) {
		app.Check("database", func(context.Context) error {
			if tries++; tries < 3 {
				return errors.New("connection refused")
			}
			return nil
		})
		app.Go("first", func(ctx context.Context) error {
			fmt.Println("ready after", tries, "tries")
			leave()
			<-ctx.Done()
			return nil
		})
	})
	// Output: ready after 3 tries
}

func ExampleApp_Go() {
	live(func(app *segue.App, leave func()) {
		app.Go("metrics", func(ctx context.Context) error {
			fmt.Println("push metrics")
			leave()
			<-ctx.Done()
			fmt.Println("push the last ones")
			return nil
		})
	})
	// Output:
	// push metrics
	// push the last ones
}

// Of all generations, one runs it.
func ExampleApp_Solo() {
	live(func(app *segue.App, leave func()) {
		app.Solo("outbox", func(ctx context.Context) error {
			fmt.Println("relay messages")
			leave()
			<-ctx.Done()
			return nil
		})
	})
	// Output: relay messages
}

func ExampleApp_Cleanup() {
	live(func(app *segue.App, leave func()) {
		app.Cleanup("database", func(context.Context) error { fmt.Println("close the database"); return nil })
		app.Cleanup("cache", func(context.Context) error { fmt.Println("flush the cache into it"); return nil })
		leave()
	})
	// Output:
	// flush the cache into it
	// close the database
}

// SIGHUP, to the service or to `segue run`, has it read its configuration again.
func ExampleApp_Reload() {
	level := "info"
	setup := func(_ context.Context, app *segue.App) error {
		app.HTTP("web", ":8080", router)
		app.Reload("log level", func(context.Context) error {
			text, err := os.ReadFile("level")
			if err != nil {
				return err // nothing has changed
			}
			level = strings.TrimSpace(string(text))
			return nil
		})
		return nil
	}
	if err := segue.Run(context.Background(), segue.Options{}, setup); err != nil {
		log.Fatal(err)
	}
	fmt.Println(level)
}
