package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/segue-go/segue/handover"
	"go.yaml.in/yaml/v3"
)

// What must be there outside of the file: programs, directories, users, groups.

// program finds what is executed, written as raw. A path becomes absolute; a name
// is left to be found in PATH.
func (r *reader) program(n *yaml.Node, raw, name string) (string, bool) {
	path := name
	if strings.ContainsAny(name, `/`+string(filepath.Separator)) || strings.Trim(name, ".") == "" {
		path = r.file(name)
		name = path
	}
	_, err := exec.LookPath(path)
	if err == nil {
		return name, true
	}
	why, hint := "it is not executable", "chmod +x it"
	switch info, found := os.Stat(path); {
	case !filepath.IsAbs(path):
		why, hint = "it is not in PATH", "install it, or write ./ before it for a program beside this file"
	case errors.Is(found, fs.ErrNotExist):
		why, hint = "there is no such file", "build it, or correct the path"
	case found != nil:
		why, hint = errors.Unwrap(found).Error(), "let this user read the directory"
	case info.IsDir():
		why, hint = "it is a directory", "name the program in it"
	}
	r.bad(n, hint, "cannot run %s: %s", quote(raw), why)
	return name, false
}

var directory = checked(text("a directory"), func(r *reader, v *string) error {
	path := r.file(*v)
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot use the directory %s: it is not there; make it, or correct the path", r.raw)
	case err != nil:
		return fmt.Errorf("cannot use the directory %s: %w", r.raw, errors.Unwrap(err))
	case !info.IsDir():
		return fmt.Errorf("cannot use the directory %s: it is a file; name a directory", r.raw)
	}
	*v = path
	return nil
})

var userName = checked(text("a user, by name or number"), func(r *reader, v *string) error {
	if number(*v) {
		return nil
	}
	if _, err := user.Lookup(*v); err != nil {
		return fmt.Errorf("cannot find the user %s; add it, or correct the name", r.raw)
	}
	return nil
})

var groupName = checked(text("a group, by name or number"), func(r *reader, v *string) error {
	if number(*v) {
		return nil
	}
	if _, err := user.LookupGroup(*v); err != nil {
		return fmt.Errorf("cannot find the group %s; add it, or correct the name", r.raw)
	}
	return nil
})

// checkGrouped: a user without a name has no group either.
func checkGrouped(r *reader, name at[string], group string) {
	if group != "" || !number(name.value) {
		return
	}
	_, byName := user.Lookup(name.value)
	if _, err := user.LookupId(name.value); err != nil && byName != nil {
		r.bad(name.node, "say which with group", "cannot tell the group of user %s, which has no name here", shown(r.deref(name.node)))
	}
}

// number says whether a user or group is given by number: it need not have a name.
// The largest means "none" to the kernel.
func number(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n != 1<<32-1
}

var webhook = checked(text("a URL that begins with https:// or http://"), func(r *reader, v *string) error {
	u, err := url.Parse(*v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("cannot use this as %s: it is no URL of the web; write https://host/path", r.key)
	}
	return nil
})

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// maxSocketPath is what fits into sockaddr_un with the NUL at the end (unix(7)).
const maxSocketPath = 107

// address is where a socket listens. A path becomes absolute.
var address = checked(text("host:port, :port or unix:/path"), func(r *reader, v *string) error {
	network, addr, err := handover.SplitAddr(*v)
	if err != nil {
		hint := "write host:port, :port or unix:/path"
		if _, e := strconv.ParseUint(*v, 10, 16); e == nil {
			hint = `did you mean ":` + strings.Trim(r.raw, `"`) + `"?`
		} else if strings.HasPrefix(*v, "/") {
			hint = "did you mean unix:" + strings.Trim(r.raw, `"`) + "?"
		}
		return fmt.Errorf("cannot listen on %s; %s", r.raw, hint)
	}
	if network == "unix" {
		return r.socketPath(v, addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("cannot listen on %s: there is no such port; write one from 0 to 65535", r.raw)
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostName.MatchString(host) {
		return fmt.Errorf("cannot listen on %s: that is no host; write an IP address, or none for all", r.raw)
	}
	return nil
})

// socketPath makes a unix address of path.
func (r *reader) socketPath(v *string, path string) error {
	if !strings.HasPrefix(path, "@") { // an abstract one has no path
		path = r.file(path)
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("cannot listen on %s: the path has %d bytes, at most %d are possible; choose a shorter one", r.raw, len(path), maxSocketPath)
	}
	*v = "unix:" + path
	return nil
}

var unixPath = checked(text("the path of a unix socket"), func(r *reader, v *string) error {
	if *v == "" {
		return errors.New("cannot listen on no path; write one, as in /run/shop.sock")
	}
	return r.socketPath(v, *v)
})
