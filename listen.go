package segue

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
)

// ListenAndServe serves h at addr until the process is told to leave, and then
// leaves without loss: router.Run(":8080") becomes
// segue.ListenAndServe(":8080", router). It is [Run] with one server and
// default [Options]; what happens is written to standard error, a line an
// event.
//
// A socket that was passed to this process is used instead of addr: the one
// called "web", or the only one there is. addr is host:port, :port or
// unix:/path. It returns nil after an orderly end.
func ListenAndServe(addr string, h http.Handler) error {
	return listenAndServe(addr, &http.Server{Handler: h, ReadHeaderTimeout: readHeaderTimeout})
}

// ListenAndServeTLS is [ListenAndServe] over TLS, with HTTP/2, with a
// certificate and its key from PEM files.
func ListenAndServeTLS(addr, certFile, keyFile string, h http.Handler) error {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("cannot serve %s with %s and %s: %w", addr, certFile, keyFile, err)
	}
	return listenAndServe(addr, &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
	})
}

func listenAndServe(addr string, s *http.Server) error {
	return Run(context.Background(), Options{Events: printEvent}, func(ctx context.Context, app *App) error {
		app.Serve(anySocket, addr, s)
		app.servers[0].any = true
		return nil
	})
}

// printEvent writes an event to standard error. During a handover two processes
// write there: each line says which. Steps that went well stand in the report.
func printEvent(e Event) {
	if s, ok := e.(StepEnded); ok && s.Step.Error == "" {
		return
	}
	fmt.Fprintf(os.Stderr, "segue[%d]: %v\n", os.Getpid(), e)
}
