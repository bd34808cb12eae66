package supervise

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/segue-go/segue/handover"
)

const nameRule = "use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit; --name sets it"

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Check reports everything that is wrong with c, at once. It opens nothing.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !validName.MatchString(c.Name) {
		bad("cannot call a service %q: %s", c.Name, nameRule)
	}
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		bad("cannot run a service without a program: write it after --, as in `segue run -- ./shop`")
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			bad("cannot run the service in %s: %w", c.Dir, err)
		} else if !info.IsDir() {
			bad("cannot run the service in %s: it is not a directory", c.Dir)
		}
	}
	for _, kv := range c.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			bad("cannot set environment %q: write NAME=VALUE", kv)
		}
	}
	seen := map[string]string{}
	for _, l := range c.Listen {
		if err := handover.CheckName(l.Name); err != nil {
			errs = append(errs, err)
		}
		if other, twice := seen[l.Name]; twice {
			bad("cannot open two sockets called %q (%s and %s): give each a name of its own", l.Name, other, l.Addr)
		}
		seen[l.Name] = l.Addr
		if _, _, err := handover.SplitAddr(l.Addr); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range c.Probes {
		if n := count(p.Path != "", p.TCP, len(p.Command) > 0); n != 1 {
			bad("cannot probe in %d ways at once: a probe is a path, a TCP connection or a command; write several probes", n)
		}
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			bad("cannot probe %q: a path begins with /", p.Path)
		}
		if _, known := seen[p.Socket]; p.Socket != "" && len(c.Listen) > 0 && !known {
			bad("cannot probe socket %q: no --listen has that name", p.Socket)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		zero  bool // is allowed
	}{
		{"ready timeout", c.ReadyTimeout, false}, {"trial", c.Trial, true},
		{"probation", c.Probation, true}, {"drain timeout", c.DrainTimeout, true},
	} {
		if d.value < 0 || d.value == 0 && !d.zero {
			bad("cannot use %v as the %s: give it a positive duration such as 5s", d.value, d.name)
		}
	}
	for _, h := range c.Hooks {
		if count(h.URL != "", len(h.Command) > 0) != 1 {
			bad("cannot tell a hook: it has a command or a URL; write several hooks")
		}
		if u, err := url.Parse(h.URL); h.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			bad("cannot post to a hook: its URL does not begin with http:// or https:// and a host")
		}
	}
	if c.Watchdog < 0 || c.Watchdog > 0 && c.Speaks == SpeaksNothing {
		bad("cannot have a watchdog of %v: it is a positive duration, of a program that says WATCHDOG=1", c.Watchdog)
	}
	if c.Speaks == SpeaksNothing && len(c.Listen) > 0 {
		bad("cannot give sockets to a program that speaks nothing; leave them out: it opens its own")
	}
	if b := c.Backoff; b.First > 0 && b.Max > 0 && b.Max < b.First {
		bad("cannot pause for at most %v when the first pause is %v; make the first one shorter", b.Max, b.First)
	}
	return errors.Join(errs...)
}

// count is how many are true.
func count(all ...bool) (n int) {
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

// program finds the binary the way a shell in the service's directory would,
// and makes sure that it could be executed: a typing error must not cost the
// generation that serves.
func (c Config) program(name string) (string, error) {
	if strings.Trim(name, "./") == "" {
		return "", fmt.Errorf("cannot run %s: it is a directory; name the program in it", name)
	}
	path, err := lookPath(name, c.Dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot run %s: %w; build it, or correct the path", name, err)
	case info.IsDir():
		return "", fmt.Errorf("cannot run %s: it is a directory; name the program in it", path)
	case info.Mode()&0o111 == 0:
		return "", fmt.Errorf("cannot run %s: it is not executable; chmod +x it", path)
	}
	return path, nil
}

func lookPath(name, dir string) (string, error) {
	if !strings.Contains(name, "/") {
		for _, d := range filepath.SplitList(os.Getenv("PATH")) {
			path := filepath.Join(d, name)
			if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				return filepath.Abs(path)
			}
		}
		return "", fmt.Errorf("cannot run %s: it is not in PATH; write ./%s for a program in this directory", name, name)
	}
	if !filepath.IsAbs(name) && dir != "" {
		name = filepath.Join(dir, name)
	}
	return filepath.Abs(name)
}
