//go:build linux

package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue"
	"github.com/segue-go/segue/conns"
	"github.com/segue-go/segue/internal/launch"
	"github.com/segue-go/segue/internal/testnet"
	"go.uber.org/goleak"
)

// The test binary is the service as well: TEST_SERVICE says how it behaves, one
// fault in generations above FAULT_AFTER, or in FAULT_ONLY.
func TestMain(m *testing.M) {
	launch.Main()
	if dir := os.Getenv("TEST_SUPERVISOR"); dir != "" {
		os.Exit(supervisor(dir))
	}
	if dir := os.Getenv("TEST_OUTPOST"); dir != "" {
		os.Exit(supervises(dir))
	}
	if duty := os.Getenv("TEST_DUTY"); duty != "" {
		os.Exit(onDuty(duty))
	}
	if os.Getenv("TEST_SERVICE") != "" {
		os.Exit(service())
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { removeIdle(); os.Exit(code) }))
}

func service() int {
	generation, _ := strconv.Atoi(os.Getenv("SEGUE_GENERATION"))
	after, _ := strconv.Atoi(os.Getenv("FAULT_AFTER"))
	fault, arg, _ := strings.Cut(os.Getenv("TEST_SERVICE"), ":")
	only, _ := strconv.Atoi(os.Getenv("FAULT_ONLY"))
	if in := os.Getenv("FAULT_INSTANCE"); in != "" && in != filepath.Base(filepath.Dir(os.Getenv("SEGUE_CONTROL"))) {
		fault = "none"
	}
	if generation <= after || only != 0 && generation != only {
		fault = "none"
	}
	if fault == "exit" {
		fmt.Println("this version is broken")
		return 3
	}
	if fault == "impostor" {
		return impostor()
	}
	if fault == "oldfashioned" {
		return oldFashioned()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		time.Sleep(d)
		fmt.Fprint(w, os.Getpid())
	})
	var replays, saves atomic.Int64
	last, _ := strconv.ParseInt(arg, 10, 64)
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if _, moved := conns.Resumed(r.Context()); moved && strings.HasSuffix(fault, "inreplay") && replays.Add(1) == last {
			end(fault)
		}
		if r.URL.RawQuery != "stays" {
			conns.Movable(r.Context())
			conns.Save(r.Context(), func() []byte {
				if strings.HasSuffix(fault, "insave") && saves.Add(1) == last {
					end(fault)
				}
				return nil
			})
		}
		c, err := testnet.UpgradeWebSocket(w)
		if err != nil {
			return
		}
		defer c.Close()
		for text, err := c.Receive(); err == nil; text, err = c.Receive() {
			c.Send(fmt.Sprint(os.Getpid(), " ", text))
		}
	})
	var sick atomic.Bool
	mux.HandleFunc("/sicken", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("/hold/", func(w http.ResponseWriter, r *http.Request) { // until its client goes
		http.NewResponseController(w).EnableFullDuplex()
		http.NewResponseController(w).Flush()
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	mux.HandleFunc("/probe", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case fault == "probe":
			http.Error(w, "not well", http.StatusInternalServerError)
		case fault == "diesintrial":
			os.Exit(5)
		}
		if r.RemoteAddr == "" || !strings.Contains(r.RemoteAddr, ":") {
			http.Error(w, "no address: "+r.RemoteAddr, http.StatusInternalServerError)
		}
	})
	err := segue.Run(context.Background(), segue.Options{Events: func(e segue.Event) { fmt.Println(e) }},
		func(ctx context.Context, app *segue.App) error {
			switch fault {
			case "hang":
				select {}
			case "late":
				<-ctx.Done()
				return ctx.Err()
			case "setup":
				return errors.New("the database is not there")
			case "closefds":
				for fd := 3; fd < 20; fd++ {
					os.NewFile(uintptr(fd), "").Close()
				}
			case "check":
				began := time.Now()
				app.Check("mood", func(context.Context) error {
					if time.Since(began) > 300*time.Millisecond {
						return errors.New("bad")
					}
					return nil
				})
			}
			app.Check("health", func(context.Context) error {
				if sick.Load() {
					return errors.New("sick")
				}
				return nil
			})
			app.HTTP("web", "127.0.0.1:0", mux)
			if strings.HasPrefix(fault, "admin") {
				app.HTTP("admin", "127.0.0.1:0", mux)
			}
			app.Go("fault", func(ctx context.Context) error {
				d, _ := time.ParseDuration(arg)
				switch fault {
				case "die", "adminthendies": // a while after it was ready
					select {
					case <-time.After(d):
						os.Exit(7)
					case <-ctx.Done():
					}
				}
				return nil
			})
			return nil
		})
	if err != nil {
		fmt.Println("main:", err)
		return 1
	}
	return 0
}

// end kills this process, or its supervisor if the fault is to be orphaned.
func end(fault string) {
	if strings.HasPrefix(fault, "orphaned") {
		syscall.Kill(os.Getppid(), syscall.SIGKILL)
		return
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
