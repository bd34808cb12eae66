package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
)

// listenFlag is --listen NAME=ADDR, repeatable.
type listenFlag []supervise.Listen

func (l *listenFlag) String() string { return "" }
func (l *listenFlag) Type() string   { return "NAME=ADDR" }

func (l *listenFlag) Set(s string) error {
	name, addr, ok := strings.Cut(s, "=")
	if !ok || name == "" || addr == "" {
		return errors.New("write NAME=ADDR, as in web=:8080 or admin=unix:/run/shop.sock")
	}
	if err := handover.CheckName(name); err != nil {
		return err
	}
	if _, _, err := handover.SplitAddr(addr); err != nil {
		return err
	}
	for _, other := range *l {
		if other.Name == name {
			return fmt.Errorf("%s is %s already: give each socket a name of its own", name, other.Addr)
		}
	}
	*l = append(*l, supervise.Listen{Name: name, Addr: addr})
	return nil
}

// envFlag is --env K=V, repeatable.
type envFlag []string

func (e *envFlag) String() string { return "" }
func (e *envFlag) Type() string   { return "K=V" }

func (e *envFlag) Set(s string) error {
	if k, _, ok := strings.Cut(s, "="); !ok || k == "" || strings.ContainsAny(s, "\x00") || strings.ContainsAny(k, " \t\n") {
		return errors.New("write NAME=VALUE, as in MODE=production")
	}
	*e = append(*e, s)
	return nil
}

// probeFlag is --probe [NAME=]PATH.
type probeFlag struct{ probe *supervise.Probe }

func (p *probeFlag) String() string { return "" }
func (p *probeFlag) Type() string   { return "[NAME=]PATH" }

func (p *probeFlag) Set(s string) error {
	name, path := "", s
	if !strings.HasPrefix(s, "/") { // a query may have a = of its own
		name, path, _ = strings.Cut(s, "=")
		if name == "" || !strings.HasPrefix(path, "/") {
			return errors.New("write a path, as in /healthz, or with the name of its socket, as in web=/healthz")
		}
	}
	if strings.ContainsAny(path, " \t\r\n\x00") {
		return errors.New("a path has no spaces: write %20")
	}
	p.probe = &supervise.Probe{Socket: name, Path: path}
	return nil
}
