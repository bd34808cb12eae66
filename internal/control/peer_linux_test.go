package control

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/segue-go/segue/client"
)

// TestPeerGroups: the kernel says which groups a process of another user has. The
// test binary connects as that user (TestMain).
func TestPeerGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	// More groups than fit into the first try.
	want := []int{4000}
	var groups []uint32
	for g := range 40 {
		groups = append(groups, uint32(5000+g))
		want = append(want, 5000+g)
	}
	seen := make(chan peer, 1)
	f := &fake{reader: func(uid int, groups []int) bool {
		seen <- peer{uid, groups}
		return slices.Contains(groups, 5007)
	}}
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "api.sock")
	s, err := Listen(socket, 5007, f)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
	}()
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 || info.Sys().(*syscall.Stat_t).Gid != 5007 {
		t.Fatalf("socket %v, %v", info, err)
	}
	self, err := os.ReadFile("/proc/self/exe") // the directory of the real one may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "ask")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	ask := func(groups []uint32) ([]byte, error) {
		cmd := exec.Command(binary)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), askEnv+"="+socket)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 3000, Gid: 4000, Groups: groups}}
		return cmd.CombinedOutput()
	}
	if out, err := ask(groups); err != nil {
		t.Errorf("a reader: %v\n%s", err, out)
	}
	who := <-seen
	slices.Sort(who.groups)
	if who.uid != 3000 || !slices.Equal(who.groups, want) {
		t.Errorf("got %+v", who)
	}
	if out, err := ask(groups[:3]); err == nil {
		t.Errorf("somebody else got %s", out)
	}
}

// TestGoesOn: a socket is served by the next command, and nobody who connects in
// between is lost.
func TestGoesOn(t *testing.T) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "api.sock")
	first, err := Listen(path, -1, &fake{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 2)
	go func() { served <- first.Serve() }()
	f, err := first.File()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Dial(t.Context(), path); err != nil {
		t.Errorf("File ended it: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	waiting, err := net.Dial("unix", path) // nobody serves
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	second, err := ListenFrom(f, path, &fake{all: &client.Overview{Version: "v2"}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { served <- second.Serve() }()
	if _, err := waiting.Write([]byte("GET /v1/version HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := waiting.Read(make([]byte, 100)); n == 0 {
		t.Errorf("whoever was there in between got %v", err)
	}
	if v, err := client.New(path).Version(t.Context()); err != nil || v.Version != "v2" {
		t.Errorf("got %+v, %v", v, err)
	}
	waiting.Close()
	if err := second.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is there after the end")
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := ListenFrom(r, path, &fake{}); err == nil {
		t.Error("a pipe was taken")
	}
}
