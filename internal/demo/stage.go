//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/verify"
)

// Exit codes of the command that the demo relies on.
const exitRolledBack = 3

// stage is the shop under `segue run`, in a directory of its own.
type stage struct {
	segue, shop string
	dir         string
	out         io.Writer
	run         *exec.Cmd
	log         bytes.Buffer // what `segue run` says
	ended       chan struct{}
	addr        string // of the shop
	product     int64
	pids        []int         // of the generations that live; watch's until watched is closed
	watched     chan struct{} // nil before the shop serves
}

func open(segue, shop string, out io.Writer) (*stage, error) {
	dir, err := os.MkdirTemp("", "segue-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, out: out, ended: make(chan struct{})}
	s.segue, err = filepath.Abs(segue)
	if err == nil {
		s.shop, err = filepath.Abs(shop)
	}
	return s, err
}

// program writes a version of the shop: the same binary, under its own name and
// with its own environment. exec keeps the process what the supervisor started.
func (s *stage) program(version, env string) (string, error) {
	path := filepath.Join(s.dir, "shop-"+version)
	script := fmt.Sprintf("#!/bin/sh\nexport SHOP_VERSION=%s %s\nexec %s \"$@\"\n", version, env, quote(s.shop))
	return path, os.WriteFile(path, []byte(script), 0o755)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (s *stage) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.segue, args...)
	c.Env = append(os.Environ(), "SEGUE_RUNTIME_DIR="+s.dir)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which ends them in order
	return c
}

func (s *stage) start(ctx context.Context) error {
	v1, err := s.program("v1", "")
	if err != nil {
		return err
	}
	args := []string{"run", "--name", "shop", "--listen", "web=127.0.0.1:0", "--probe", "/readyz",
		"--ready-timeout", "3s", "--trial", "500ms", "--probation", "2s", "--drain-timeout", drainTimeout.String(),
		"--", v1, "-data", filepath.Join(s.dir, "data"), "-log-level", "warn", "-keep-uploads=false"}
	fmt.Fprintf(s.out, "$ segue %s\n", strings.Join(args[:15], " ")+" -- ./shop")
	s.run = s.command(context.WithoutCancel(ctx), args...)
	s.run.Stdout, s.run.Stderr = &s.log, &s.log
	if err := s.run.Start(); err != nil {
		return err
	}
	go func() { s.run.Wait(); close(s.ended) }()
	return s.awaitServing(ctx)
}

// awaitServing asks until the shop serves; there is nothing to listen to before
// the supervisor has made its socket.
func (s *stage) awaitServing(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := client.New(s.api()).Overview(ctx)
		if err == nil && all.Services[0].State == client.Serving {
			st := all.Services[0]
			s.addr = st.Sockets[0].Addr
			s.watched = make(chan struct{})
			go s.watch(st.Generations)
			fmt.Fprintf(s.out, "   shop v1 serves http://%s, supervised by process %d\n", s.addr, all.PID)
			return s.stock(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("`segue run` ended:\n%s", s.log.String())
		case <-ctx.Done():
			return fmt.Errorf("the shop does not start: %w\n%s", context.Cause(ctx), s.log.String())
		case <-tick.C:
		}
	}
}

// stock puts something on the shelves, to be ordered.
func (s *stage) stock(ctx context.Context) error {
	var p struct {
		ID int64 `json:"id"`
	}
	body := strings.NewReader(`{"sku":"metronome","name":"Metronome","price_cents":2990}`)
	if err := s.call(ctx, http.MethodPost, "/api/products", body, http.StatusCreated, &p); err != nil {
		return err
	}
	s.product = p.ID
	return nil
}

func (s *stage) call(ctx context.Context, method, path string, body io.Reader, want int, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // an idle connection of the demo's own would be waited for
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// upgrade is `segue restart` into another version, while requests of every kind
// that takes its time are in flight, and the others flow.
func (s *stage) upgrade(ctx context.Context, traffic *verify.Run, u upgrade) error {
	path, err := s.program(u.version, u.env)
	if err != nil {
		return err
	}
	err = traffic.Await(ctx, verify.EachSent(1, traffic.Counts()))
	if err == nil {
		err = traffic.Await(ctx, verify.UnderWay("report", "upload", "download", "sse", "websocket"))
	}
	if err != nil {
		return fmt.Errorf("the traffic does not flow: %w", err)
	}
	fmt.Fprintf(s.out, "\n$ segue restart --binary ./shop-%s    # %s\n", u.version, u.says)
	c := s.command(ctx, "restart", "--name", "shop", "--binary", path)
	c.Stdout, c.Stderr = s.out, s.out
	began := time.Now()
	err = c.Run()
	traffic.Mark("to "+u.version, began, time.Now())
	var exit *exec.ExitError
	switch {
	case u.bad && errors.As(err, &exit) && exit.ExitCode() == exitRolledBack:
	case u.bad && err == nil:
		return fmt.Errorf("version %s does not work and was not rolled back", u.version)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("segue restart: %w\n%s", err, s.log.String())
	}
	var v struct {
		Version string `json:"version"`
		PID     int    `json:"pid"`
	}
	if err := s.call(ctx, http.MethodGet, "/version", nil, http.StatusOK, &v); err != nil {
		return err
	}
	if (v.Version == u.version) == u.bad {
		return fmt.Errorf("version %s serves after the upgrade to %s", v.Version, u.version)
	}
	fmt.Fprintf(s.out, "   shop %s serves, as process %d\n%s\n", v.Version, v.PID, flow(traffic))
	return nil
}

// compare asks the shop which orders it has committed, and how often.
func (s *stage) compare(ctx context.Context, traffic *verify.Run) (*verify.Comparison, error) {
	return traffic.CompareWith(func(yield func(verify.Entry)) (int, error) {
		query := url.Values{"prefix": {traffic.Name()}, "limit": {"10000"}}
		for {
			var page struct {
				Entries []struct {
					ID    string `json:"id"`
					Count int    `json:"count"`
				} `json:"entries"`
				Next string `json:"next"`
			}
			if err := s.call(ctx, http.MethodGet, "/api/ledger?"+query.Encode(), nil, http.StatusOK, &page); err != nil {
				return 0, err
			}
			for _, e := range page.Entries {
				for range e.Count {
					yield(verify.Entry{ID: e.ID})
				}
			}
			if page.Next == "" {
				return 0, nil
			}
			query.Set("after", page.Next)
		}
	})
}

func (s *stage) stop(ctx context.Context) error {
	fmt.Fprintf(s.out, "\n$ segue stop\n")
	c := s.command(ctx, "stop", "--name", "shop")
	c.Stdout, c.Stderr = s.out, s.out
	if err := c.Run(); err != nil {
		return fmt.Errorf("segue stop: %w", err)
	}
	<-s.ended
	return nil
}
