package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"syscall"
)

func main() {
	if os.Getenv(envService) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "service:", err)
			os.Exit(1)
		}
		return
	}
	o := options{}
	flag.IntVar(&o.conns, "conns", 9500, "WebSockets at a time; the hard limit of open files may allow fewer")
	flag.IntVar(&o.restarts, "restarts", 100, "restarts of the WebSockets; the other rows take a fifth of that")
	flag.StringVar(&o.only, "only", "", "one of: websocket, total, idle, tls, events, http2, undeclared, killed (default: all)")
	flag.StringVar(&o.out, "out", "", "file for the report, beside the terminal")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "move:", err)
		os.Exit(1)
	}
}

type options struct {
	conns, restarts int
	only, out       string
	rows            []row
}

// reserve is what a process needs besides its clients.
const reserve = 300

func (o *options) run() error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if most := int(min(lim.Max, math.MaxInt32)) - reserve; o.conns > most {
		fmt.Fprintf(os.Stderr, "%d connections in place of %d: the hard limit of open files is %d\n", most, o.conns, lim.Max)
		o.conns = most
	}
	for _, s := range []struct {
		name string
		run  func() error
	}{
		{"websocket", func() error { return o.websockets(o.conns, o.restarts, false) }},
		{"total", o.total},
		{"idle", o.idle},
		{"tls", func() error { return o.websockets(min(o.conns, 5300), max(1, o.restarts/5), true) }},
		{"events", o.events},
		{"http2", o.http2},
		{"undeclared", o.undeclared},
		{"killed", o.killed},
	} {
		if o.only != "" && o.only != s.name {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", s.name)
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return o.write()
}
