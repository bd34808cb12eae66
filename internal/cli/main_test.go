package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/segue-go/segue"
	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/launch"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write golden files anew")

// programs are what this test binary is for the scripts: the command, a service in
// several states of health, a client.
var programs = map[string]func(){
	"segue":   func() { os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	"shop":    func() { serve("v1", nil) },
	"shop-v2": func() { serve("v2", nil) },
	"shop-crashes": func() {
		fmt.Println("panic: no such table: orders")
		os.Exit(7)
	},
	"shop-sick": func() { serve("sick", errors.New("the database is not there")) },
	"stubborn":  stubborn,
	"get":       get,
}

func TestMain(m *testing.M) {
	launch.Main()
	testscript.Main(leakChecked{m}, programs)
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// serve is a service under supervision.
func serve(version string, sick error) {
	err := segue.Run(context.Background(), segue.Options{Name: "shop"}, func(_ context.Context, app *segue.App) error {
		fmt.Println("this is", version, strings.Join(os.Args[1:], " "), os.Getenv("MODE"))
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
		mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
			if sick != nil {
				http.Error(w, sick.Error(), http.StatusServiceUnavailable)
			}
		})
		app.HTTP("web", "127.0.0.1:0", mux)
		app.Reload("settings", func(context.Context) error { fmt.Println("settings were read"); return nil })
		return nil
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// stubborn is ready at once, speaks no control wire and ignores SIGTERM.
func stubborn() {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("here to stay")
	if err := handover.NewNotifier(os.Getenv(handover.EnvNotifySocket)).Send("READY=1"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-make(chan struct{})
}

// get SOCKET PATH prints the status and the body of what the service answers at
// its unix socket.
func get() {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", os.Args[1])
	}}}
	resp, err := client.Get("http://shop" + os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(resp.Status)
	io.Copy(os.Stdout, resp.Body)
}
