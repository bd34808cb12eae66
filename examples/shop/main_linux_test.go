package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inGroup puts the shop into a process group of its own, so that a successor
// it starts dies with it when the test fails.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// The shop replaces itself on SIGUSR2 while orders come in all the time, one by
// one, by a client that never repeats one. Every order is taken once and
// leaves the outbox once, in order, by the one generation or the other.
func TestHandover(t *testing.T) {
	t.Parallel() // it mostly waits for trial and probation
	p := startShop(t, "SHOP_LOG_LEVEL=info")
	p.waitReady()
	if err := p.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	sent, answered := 0, map[int]int{} // by pid
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	var young int
	// Until the old one is gone and the new one has delivered something.
	for deadline := time.Now().Add(time.Minute); ; <-pace.C {
		sent++
		req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/api/orders", strings.NewReader(`{"product_id":1,"quantity":1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-Id", fmt.Sprintf("h-%d", sent))
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("order %d: %v", sent, err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			t.Fatalf("order %d: %s", sent, res.Status)
		}
		var generation, pid int
		if _, err := fmt.Sscanf(res.Header.Get("X-Served-By"), "%d/%d", &generation, &pid); err != nil {
			t.Fatal(err)
		}
		answered[pid]++
		if pid != p.cmd.Process.Pid {
			young = pid
		}
		if d := p.deliveries(); young != 0 && len(d.ByGeneration) == 2 && strings.Contains(p.output(), "msg=stopped") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no handover in a minute:\n%s", p.output())
		}
	}
	for p.deliveries().Pending > 0 {
		<-pace.C
	}
	d := p.deliveries()
	if d.Delivered != sent || len(d.Twice) > 0 || d.OutOfOrder > 0 {
		t.Errorf("%d orders, %+v", sent, d)
	}
	var ledger struct{ Entries []struct{ Count int } }
	if _, body := p.get("/api/ledger?prefix=h-"); json.Unmarshal([]byte(body), &ledger) != nil || len(ledger.Entries) != sent {
		t.Errorf("%d ledger lines, want %d", len(ledger.Entries), sent)
	}
	for _, e := range ledger.Entries {
		if e.Count != 1 {
			t.Errorf("applied %d times", e.Count)
		}
	}
	if len(answered) != 2 {
		t.Errorf("answered by %v, want two processes", answered)
	}
	if err := syscall.Kill(young, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("the old process: exit code %d:\n%s", code, p.output())
	}
}

type deliveries struct {
	Pending, Delivered int
	Twice              []int
	OutOfOrder         int            `json:"out_of_order"`
	ByGeneration       map[string]int `json:"by_generation"`
}

func (p *process) deliveries() (d deliveries) {
	p.t.Helper()
	if _, body := p.get("/api/deliveries"); json.Unmarshal([]byte(body), &d) != nil {
		p.t.Fatalf("deliveries: %s", body)
	}
	return d
}
