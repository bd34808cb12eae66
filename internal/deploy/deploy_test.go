package deploy

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// supervised is segue with a file of two services.
func supervised() Job {
	return Job{
		Name: "shop", Command: []string{"/bin/true", "run", "--file", "/tmp/segue.yaml"}, Restart: []string{"/bin/true", "restart", "--name", "shop"},
		Services: []string{"shop", "mail"}, Dir: "/tmp", User: "daemon", Stop: 94*time.Second + 1,
		Sockets: []Socket{
			{Service: "shop", Name: "web", Addr: ":8080"},
			{Service: "shop", Name: "admin", Addr: "unix:/run/shop.sock", Mode: 0o660, Owner: "daemon", Group: "daemon"},
			{Service: "mail", Name: "in", Addr: "[::1]:2525"},
		},
	}
}

// library is a program of its own, and hard to write.
func library() Job {
	return Job{
		Name: "till", Command: []string{"/bin/true", "--greeting", `100% "free" $HOME\`, "", "a;b"}, Dir: "/tmp", Stop: time.Minute,
		Sockets: []Socket{{Name: "web", Addr: "127.0.0.1:8081"}},
	}
}

// TestGolden compares what is written with testdata, and has systemd-analyze look
// at it.
func TestGolden(t *testing.T) {
	for name, write := range map[string]func() ([]File, error){
		"supervised":            func() ([]File, error) { return Systemd(supervised(), 254, false) },
		"sockets":               func() ([]File, error) { return Systemd(supervised(), 252, true) },
		"library-252":           func() ([]File, error) { return Systemd(library(), 252, false) },
		"library-notify-reload": func() ([]File, error) { return Systemd(library(), NotifyReload, true) },
		"supervisord": func() ([]File, error) {
			f, err := Supervisord(supervised())
			return []File{f}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := write()
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, f := range files {
				text.WriteString("-- " + f.Name + " --\n" + f.Text)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != text.String() {
				t.Errorf("not as in %s (-update writes it anew):\n%s", golden, text.String())
			}
			if name != "supervisord" && name != "library-notify-reload" { // of which 252 knows nothing
				analyze(t, files)
			}
		})
	}
}

// analyze has systemd's own reader look for mistakes.
func analyze(t *testing.T, files []File) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("SKIPPED: systemd-analyze is not installed (apt-get install systemd): nobody but us has read the unit")
		return
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no", "--recursive-errors=no"}
	for _, f := range files {
		file := filepath.Join(dir, f.Name)
		if err := os.WriteFile(file, []byte(f.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) {
			t.Error(line)
		}
	}
}

// TestRefused: what could not be read back as it was meant.
func TestRefused(t *testing.T) {
	for want, f := range map[string]func() error{
		"cannot call a unit":       func() error { j := library(); j.Name = "a b"; _, err := Systemd(j, 252, false); return err },
		"absolute path":            func() error { j := library(); j.Command[0] = "true"; _, err := Systemd(j, 252, false); return err },
		"no argument has a NUL":    func() error { j := library(); j.Command[1] = "a\x00"; _, err := Systemd(j, 252, false); return err },
		"cannot write \"/tmp\\n\"": func() error { j := library(); j.Dir = "/tmp\n"; _, err := Systemd(j, 252, false); return err },
		"no socket is known":       func() error { j := library(); j.Sockets = nil; _, err := Systemd(j, 252, true); return err },
		"takes any free port":      func() error { j := library(); j.Sockets[0].Addr = ":0"; _, err := Systemd(j, 252, true); return err },
		"looks up no names": func() error {
			j := library()
			j.Sockets[0].Addr = "localhost:80"
			_, err := Systemd(j, 252, true)
			return err
		},
		"is a relative path": func() error {
			j := library()
			j.Sockets[0].Addr = "unix:x"
			_, err := Systemd(j, 252, true)
			return err
		},
		"start a second copy":        func() error { _, err := Supervisord(library()); return err },
		"an argument has one line":   func() error { j := supervised(); j.Command[1] = "a\nb"; _, err := Supervisord(j); return err },
		"takes a part for a comment": func() error { j := supervised(); j.Command[1] = "a ;b"; _, err := Supervisord(j); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
