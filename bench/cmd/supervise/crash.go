package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// settled is for how long a service serves before it crashes: longer than the second
// within which supervisord takes a start for one that has failed (startsecs).
const settled = 1500 * time.Millisecond

// patience is how long anything may take.
const patience = 30 * time.Second

// peer is a supervisor with the service in its care.
type peer struct {
	name string
	how  string // it is set up
	addr string // of the service
	stop func()

	again   []time.Duration // from a death to the next answer
	waited  []time.Duration // of clients that came right after a death and were answered
	refused int             // of clients that came right after a death
	broken  int             // likewise: their connection was cut
}

// crash measures time from a death to the next answer.
func (b *bench) crash() error {
	var peers []*peer
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	for _, start := range []func() (*peer, error){b.underSegue, b.underSupervisord, b.underSystemdSocket, b.underSystemd, b.underSystemdAtOnce} {
		p, err := start()
		var left skipped
		if errors.As(err, &left) {
			b.note("%v", err)
			continue
		}
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	for _, p := range peers {
		if err := p.answers(""); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for n := range b.n {
		for _, p := range peers {
			if b.ctx.Err() != nil {
				return b.ctx.Err()
			}
			time.Sleep(settled) // for this one; the others have served for longer
			if err := p.round(n%2 == 0); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	best := time.Duration(0)
	for _, p := range peers[1:] {
		if m := quantile(p.again, 0.5); best == 0 || m < best {
			best = m
		}
	}
	for n, p := range peers {
		target, met := "", false
		if n == 0 {
			target, met = "no slower than the others", best == 0 || quantile(p.again, 0.5) <= best
		}
		b.row("Crash to serving again, "+p.name, target, met, "median %s, p95 %s of %d", ms(quantile(p.again, 0.5)), ms(quantile(p.again, 0.95)), len(p.again))
	}
	for n, p := range peers {
		target, met := "", false
		if n == 0 {
			target, met = "0 refused, 0 cut", p.refused == 0 && p.broken == 0
		}
		b.row("– a client right after the crash, "+p.name, target, met, "%d refused, %d cut, %d answered after %s in the median, %s at most",
			p.refused, p.broken, len(p.waited), ms(quantile(p.waited, 0.5)), ms(quantile(p.waited, 1)))
	}
	for _, p := range peers {
		b.note("%s: %s", p.name, p.how)
	}
	return nil
}

// round is one death. In every other one a client asks that never retries, else one
// that does until it is answered.
func (p *peer) round(patientClient bool) error {
	before, err := ask(p.addr, "/")
	if err != nil {
		return err
	}
	if _, err := ask(p.addr, "/die"); err == nil {
		return errors.New("it does not die")
	}
	died := time.Now()
	if patientClient {
		if err := p.answers(before); err != nil {
			return err
		}
		p.again = append(p.again, time.Since(died))
		return nil
	}
	switch now, err := ask(p.addr, "/"); {
	case errors.Is(err, syscall.ECONNREFUSED):
		p.refused++
	case err != nil || now == before:
		p.broken++
	default:
		p.waited = append(p.waited, time.Since(died))
		p.again = append(p.again, time.Since(died))
		return nil
	}
	if err := p.answers(before); err != nil {
		return err
	}
	p.again = append(p.again, time.Since(died))
	return nil
}

// answers waits until another process than before does.
func (p *peer) answers(before string) error {
	for began := time.Now(); ; time.Sleep(500 * time.Microsecond) {
		now, err := ask(p.addr, "/")
		if err == nil && now != before {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("it does not serve (again): %v", err)
		}
	}
}

// ask makes one request over a connection of its own, once.
func ask(addr, path string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	head, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	if !ok || !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		return "", fmt.Errorf("answered %q", answer)
	}
	return body, nil
}
