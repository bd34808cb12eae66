package handover

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	ln, err := Listen("unix:" + dead)
	if err != nil {
		t.Fatal(err)
	}
	if got := JoinAddr(ln.Addr()); got != "unix:"+dead {
		t.Errorf("JoinAddr: %q", got)
	}
	ln.Close()
	if _, err := os.Lstat(dead); err != nil {
		t.Fatalf("closing a listener has removed its path: %v", err)
	}
	if ln, err = Listen("unix:" + dead); err != nil {
		t.Fatalf("the socket of a dead process is in the way: %v", err)
	}
	defer ln.Close()

	tcp, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	datagrams := filepath.Join(dir, "datagrams")
	gram, err := net.ListenPacket("unixgram", datagrams)
	if err != nil {
		t.Fatal(err)
	}
	defer gram.Close()
	for addr, hint := range map[string]string{
		"unix:" + dead:                      "it is in use; stop what listens there",
		"unix:" + datagrams:                 "wrong type",
		"unix:" + file:                      "not a socket is in the way; move it away",
		"unix:" + dir + "/no/such":          "make the directory first",
		"unix:/" + strings.Repeat("x", 107): "at most 107",
		JoinAddr(tcp.Addr()):                "stop what listens there, or choose another address",
		"192.0.2.1:0":                       "no interface of this machine",
		"8080":                              "host:port",
	} {
		ln, err := Listen(addr)
		if err == nil {
			ln.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "cannot listen on") || !strings.Contains(err.Error(), hint) {
			t.Errorf("Listen(%q): %v; want %q in it", addr, err, hint)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("the file in the way: %q, %v", data, err)
	}
	if c, err := net.Dial("unix", dead); err != nil {
		t.Errorf("the live socket was harmed: %v", err)
	} else {
		c.Close()
	}
}
