package supervise_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/internal/supervise"
)

// TestSocketsOfAnotherName: the same address under another name, with another mode,
// is the same socket.
func TestSocketsOfAnotherName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	a := tenant(t, "a", "TEST_SERVICE=admin")
	a.Probes = nil
	a.Listen = []supervise.Listen{{Name: "web", Addr: addr}, {Name: "admin", Addr: "unix:" + path}}
	h := open(t, a)
	h.becomes(client.Serving, "a")
	a.Listen = []supervise.Listen{{Name: "admin", Addr: addr}, {Name: "web", Addr: "unix:" + path, Mode: 0o660}}
	r, err := h.reload(a)
	outcome(t, r, err, client.Done)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if st := h.status("a"); len(st.Sockets) != 2 || st.Sockets[0].Addr != addr || st.Sockets[0].Name != "admin" {
		t.Errorf("%+v", st.Sockets)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// The way back is refused by a broken version: all is as it was.
	bad := a
	bad.Env = append(slices.Clone(a.Env), "TEST_SERVICE=exit")
	bad.Listen = []supervise.Listen{{Name: "web", Addr: addr}, {Name: "admin", Addr: "unix:" + path, Mode: 0o600}}
	r, err = h.reload(bad)
	outcome(t, r, err, client.RolledBack)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
}
