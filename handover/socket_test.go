package handover

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestSplitAddr(t *testing.T) {
	for addr, want := range map[string][2]string{
		":8080":               {"tcp", ":8080"},
		"127.0.0.1:0":         {"tcp", "127.0.0.1:0"},
		"[::1]:80":            {"tcp", "[::1]:80"},
		"localhost:http":      {"tcp", "localhost:http"},
		"unix:/run/shop.sock": {"unix", "/run/shop.sock"},
		"unix:shop.sock":      {"unix", "shop.sock"},
		"unix:@shop":          {"unix", "@shop"},
	} {
		network, address, err := SplitAddr(addr)
		if err != nil || [2]string{network, address} != want {
			t.Errorf("SplitAddr(%q) = %q, %q, %v", addr, network, address, err)
		}
	}
	for addr, hint := range map[string]string{
		"": "host:port", "8080": "host:port", "localhost": "host:port", "::1": "host:port",
		":": "port is missing", "localhost:": "port is missing", "unix:": "add the path",
	} {
		if _, _, err := SplitAddr(addr); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("SplitAddr(%q): %v; want %q in it", addr, err, hint)
		}
	}
}

func FuzzSplitAddr(f *testing.F) {
	f.Add(":8080")
	f.Add("unix:/run/shop.sock")
	f.Add("[::1]:80")
	f.Fuzz(func(t *testing.T, addr string) {
		network, address, err := SplitAddr(addr)
		if err != nil {
			if network != "" || address != "" {
				t.Fatalf("%q, %q beside %v", network, address, err)
			}
			return
		}
		if network == "unix" {
			if got := JoinAddr(&net.UnixAddr{Name: address, Net: "unix"}); got != addr {
				t.Fatalf("%q comes back as %q", addr, got)
			}
		} else if network != "tcp" || address != addr {
			t.Fatalf("SplitAddr(%q) = %q, %q", addr, network, address)
		}
	})
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"web", "web.socket", "a-b_c/d@1", strings.Repeat("x", 255)} {
		if err := CheckName(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "a:b", "a=b", "a b", "a\n", "ø", "\x7f", strings.Repeat("x", 256)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A name that is accepted comes through the environment as it was.
func FuzzCheckName(f *testing.F) {
	f.Add("web", "admin")
	f.Add("a:b", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		if CheckName(a) != nil || CheckName(b) != nil {
			return
		}
		names, err := splitNames(a+":"+b, 2)
		if err != nil || names[0] != a || names[1] != b {
			t.Fatalf("%q, %q come back as %q, %v", a, b, names, err)
		}
	})
}

func TestListenerOfWhatDoesNotListen(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for what, conn := range map[string]any{"a connection": c, "UDP": udp, "a pipe": r} {
		f, err := Dup(conn.(syscall.Conn), "web")
		if err != nil {
			t.Fatal(err)
		}
		if ln, err := (Socket{"web", f}).Listener(); err == nil || !strings.Contains(err.Error(), `socket "web"`) {
			t.Errorf("%s makes a listener: %v, %v", what, ln, err)
		}
		f.Close()
	}
}
