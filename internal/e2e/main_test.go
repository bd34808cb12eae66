//go:build linux

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/internal/testnet"
	"github.com/segue-go/segue/internal/verify"
	"go.uber.org/goleak"
)

// The test binary is the service as well, when E2E_DIR is set: the directory
// with its ledger, its certificate and the fault that new generations have.
func TestMain(m *testing.M) {
	if dir := os.Getenv("E2E_DIR"); dir != "" {
		os.Exit(service(dir))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { remove(); os.Exit(code) }))
}

func service(dir string) int {
	data, _ := os.ReadFile(filepath.Join(dir, "fault"))
	fault := strings.TrimSpace(string(data))
	switch fault {
	case "exit":
		return 3
	case "closefds":
		for fd := 3; fd < 30; fd++ {
			os.NewFile(uintptr(fd), "").Close()
		}
	}
	err := segue.Run(context.Background(), segue.Options{
		Name: "e2e", Events: func(e segue.Event) { said(dir, e) },
		StartTimeout: 3 * time.Second, DrainTimeout: 20 * time.Second,
		Trial: 200 * time.Millisecond, Probation: probation(),
	}, func(ctx context.Context, app *segue.App) error { return setup(ctx, app, dir, fault) })
	if err != nil {
		fmt.Println("main:", err)
		return 1
	}
	return 0
}

// said writes what happens to the output, and the end of a handover to a file of
// its own, as JSON.
func said(dir string, e segue.Event) {
	fmt.Println(time.Now().Format("05.000"), os.Getpid(), e)
	if h, ok := e.(segue.HandoverEnded); ok {
		data, err := json.Marshal(h.Report)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "handover.new"), data, 0o600)
		}
		if err == nil {
			err = os.Rename(filepath.Join(dir, "handover.new"), filepath.Join(dir, "handover"))
		}
		if err != nil {
			fmt.Println("the report of the handover is lost:", err)
		}
	}
}

// probation is short, unless the test needs time to do something in it.
func probation() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("E2E_PROBATION")); err == nil {
		return d
	}
	return 600 * time.Millisecond
}

func setup(ctx context.Context, app *segue.App, dir, fault string) error {
	switch fault {
	case "hang":
		select {}
	case "late":
		<-ctx.Done()
		return ctx.Err()
	case "disk":
		// As on a full disk: /dev/full answers every write with ENOSPC.
		if err := os.WriteFile("/dev/full", []byte("state"), 0); err != nil {
			return err
		}
	case "full":
		// A directory of its own, whose disk is full.
		if err := os.WriteFile(filepath.Join(dir, "full", "state"), []byte("state"), 0o600); err != nil {
			return err
		}
	}
	applied, err := verify.OpenApplied(filepath.Join(dir, "applied"), fmt.Sprint(app.Generation()))
	if err != nil {
		return err
	}
	app.Cleanup("ledger", func(context.Context) error { return applied.Close() })
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	handler := &verify.Handler{Applied: applied, Generation: fmt.Sprint(app.Generation()), Leaving: conns.Leaving}
	mux := http.NewServeMux()
	var used atomic.Bool // by somebody else than the probe: it is open
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		used.Store(true)
		handler.ServeHTTP(w, req)
	})
	mux.HandleFunc("/probe", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case fault == "sick", fault == "sickonprobation" && used.Load():
			http.Error(w, "sick", http.StatusInternalServerError)
		case fault == "diesintrial":
			os.Exit(5)
		}
	})
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	app.Serve("web", "127.0.0.1:0", &http.Server{Handler: mux, Protocols: &both})
	app.Serve("tls", "127.0.0.1:0", &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}})
	app.HTTP("local", "unix:"+filepath.Join(dir, "local.sock"), mux)
	app.Go("fault", func(ctx context.Context) error {
		if fault != "exits" {
			return nil
		}
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGUSR1)
		select {
		case <-told:
			os.Exit(7)
		case <-ctx.Done():
		}
		return nil
	})
	if fault == "check" {
		app.Check("mood", func(context.Context) error { return errors.New("bad") })
	}
	return nil
}

// certificate writes a certificate for localhost into dir, and returns what
// trusts it.
func certificate(t *testing.T, dir string) *tls.Config {
	t.Helper()
	cert, pool, err := testnet.Certificate("localhost")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", "CERTIFICATE", cert.Certificate[0])
	write("key.pem", "EC PRIVATE KEY", secret)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}
