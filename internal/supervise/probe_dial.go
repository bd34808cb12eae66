package supervise

import (
	"cmp"
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/segue-go/segue/handover"
)

type dialer func(context.Context) (net.Conn, error)

// wayTo is how a probe gets to g: through its control connection, else by the
// address of the socket, of which the supervisor may only have been told.
func (s *Service) wayTo(g *generation, name string) (dialer, error) {
	to, err := s.common.sockets.find(name)
	if err == nil && g.Steerable() {
		return func(ctx context.Context) (net.Conn, error) { return dialThrough(ctx, g, to.Name, to.addr.Network()) }, nil
	}
	var network, address string
	if err == nil {
		network, address = to.addr.Network(), to.addr.String()
	} else if network, address, err = g.recipe.Config.address(name, err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address) // an unspecified address is this machine's
	}, nil
}

// address is where a service that opens its sockets by itself is said to listen;
// otherwise it is err.
func (c Config) address(name string, err error) (network, addr string, _ error) {
	i := slices.IndexFunc(c.Listen, func(l Listen) bool { return l.Name == cmp.Or(name, "web") })
	if i < 0 && name == "" && len(c.Listen) > 0 {
		i = 0
	}
	if i < 0 {
		return "", "", err
	}
	return handover.SplitAddr(c.Listen[i].Addr)
}

// environ is where the sockets are, for commands: SEGUE_SOCKET_WEB=127.0.0.1:8080.
func (s *sockets) environ() (env []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list {
		env = append(env, "SEGUE_SOCKET_"+strings.Map(inVariable, o.Name)+"="+handover.JoinAddr(reachable(o.addr)))
	}
	return env
}

// inVariable is r as the name of a variable may have it.
func inVariable(r rune) rune {
	if r = unicode.ToUpper(r); r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

// reachable is an address that any program can connect to.
func reachable(a net.Addr) net.Addr {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: t.Port} // of [::], too: it has both
	}
	return a
}

// dialThrough makes a connection and passes its other end to the generation.
// For TCP it is a real TCP connection over loopback, since handlers look at the
// address of their client.
func dialThrough(ctx context.Context, g *generation, socket, network string) (net.Conn, error) {
	var d net.Dialer
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "segue-probe-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		address = dir + "/probe"
		d.LocalAddr = &net.UnixAddr{Name: dir + "/prober", Net: network} // clients of unix sockets have no address of their own
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	mine, err := d.DialContext(ctx, network, ln.Addr().String())
	if err != nil {
		return nil, err
	}
	g.probed.Store(mine.LocalAddr().String())
	theirs, err := acceptFrom(ln, mine.LocalAddr())
	if err == nil {
		var f *os.File
		if f, err = handover.Dup(theirs.(syscall.Conn), "probe"); err == nil {
			err = g.call(ctx, handover.Probe, handover.Fields{"SOCKET": socket}, f)
			f.Close()
		}
		theirs.Close()
	}
	if err != nil {
		mine.Close()
		return nil, err
	}
	return mine, nil
}

// acceptFrom ignores whoever else found the listener in its short life.
func acceptFrom(ln net.Listener, want net.Addr) (net.Conn, error) {
	for {
		c, err := ln.Accept()
		if err != nil || ln.Addr().Network() == "unix" || c.RemoteAddr().String() == want.String() {
			return c, err
		}
		c.Close()
	}
}
