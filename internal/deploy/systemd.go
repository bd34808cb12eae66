package deploy

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"
)

// NotifyReload is the first version of systemd that has Type=notify-reload.
const NotifyReload = 253

var (
	//go:embed systemd.service.tmpl
	serviceText string
	//go:embed systemd.socket.tmpl
	socketText string

	systemdText = template.Must(template.Must(template.New("service").Funcs(template.FuncMap{
		"words": systemdWords, "word": systemdWord, "plain": systemdPlain, "seconds": seconds,
	}).Parse(serviceText)).New("socket").Parse(socketText))
)

// Systemd writes the unit of a job for this version of systemd, and with sockets a
// socket unit for each of the job's sockets.
func Systemd(j Job, version int, sockets bool) ([]File, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	var units []socketUnit
	var errs []error
	if sockets {
		if len(j.Sockets) == 0 {
			return nil, errors.New("cannot write socket units: no socket is known; name them in segue.yaml, or with --listen")
		}
		for _, s := range j.Sockets {
			u, err := j.socketUnit(s)
			units, errs = append(units, u), append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	service, err := execute(systemdText, "service", struct {
		Job
		Unit         string
		NotifyReload bool
		Units        []socketUnit
		Store        int
	}{j, j.Name + ".service", version >= NotifyReload, units, storeRoom + len(j.Sockets)})
	if err != nil {
		return nil, err
	}
	files := []File{{j.Name + ".service", service}}
	for _, u := range units {
		text, err := execute(systemdText, "socket", u)
		if err != nil {
			return nil, err
		}
		files = append(files, File{u.Unit, text})
	}
	return files, nil
}

// storeRoom is for the sockets that services open by themselves: how many is not
// known, and a descriptor more or less costs nothing.
const storeRoom = 64

// socketUnit is a socket as systemd opens it.
type socketUnit struct {
	Socket
	Unit    string // its own name
	For     string // the service's
	Listen  string // ListenStream=
	FDName  string
	ForName string
}

func (j Job) socketUnit(s Socket) (socketUnit, error) {
	u := socketUnit{Socket: s, For: j.Name + ".service", ForName: j.Name, FDName: s.Name}
	parts := []string{j.Name}
	if s.Service != "" {
		u.FDName = s.Service + "/" + s.Name // as internal/supervise looks for it
		if s.Service != j.Name {
			parts = append(parts, s.Service)
		}
	}
	u.Unit = notInUnits.ReplaceAllString(strings.Join(append(parts, s.Name), "-"), "-") + ".socket"
	path, unix := strings.CutPrefix(s.Addr, "unix:")
	if unix {
		if !filepath.IsAbs(path) {
			return u, fmt.Errorf("cannot write a socket unit for %q: %s is a relative path, of which systemd knows none; write it out", s.Name, s.Addr)
		}
		u.Listen = path
		return u, nil
	}
	host, port, err := net.SplitHostPort(s.Addr)
	switch {
	case err != nil:
		return u, fmt.Errorf("cannot write a socket unit for %q: %w", s.Name, err)
	case port == "0":
		return u, fmt.Errorf("cannot write a socket unit for %q: %s takes any free port, which systemd cannot; give it one", s.Name, s.Addr)
	case host == "":
		u.Listen = port
	case net.ParseIP(host) == nil:
		return u, fmt.Errorf("cannot write a socket unit for %q: systemd looks up no names such as %s; write the IP address", s.Name, host)
	default:
		u.Listen = s.Addr
	}
	return u, nil
}

var notInUnits = regexp.MustCompile(`[^A-Za-z0-9:_.-]`)

func (j Job) check() error {
	switch {
	case notInUnits.MatchString(j.Name) || j.Name == "":
		return fmt.Errorf("cannot call a unit %q: use letters, digits, '.', '_' and '-'; --name sets it", j.Name)
	case len(j.Command) == 0 || !filepath.IsAbs(j.Command[0]):
		return fmt.Errorf("cannot write a unit for %q: it needs a program with an absolute path", j.Command)
	}
	return nil
}

// plainWord needs no quotes in a unit file: neither % nor $ nor anything that
// begins a quotation, a comment or another command.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@+=:,./-]+$`)

// systemdWord quotes a word of a command line for systemd.service(5) ("Command
// lines") with specifiers (systemd.unit(5)) doubled.
func systemdWord(s string) (string, error) {
	if strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("cannot write %q into a unit: no argument has a NUL", s)
	}
	if plainWord.MatchString(s) {
		return s, nil
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "%", "%%", "$", "$$").Replace(s) + `"`, nil
}

func systemdWords(all []string) (string, error) {
	words := make([]string, len(all))
	for i, s := range all {
		var err error
		if words[i], err = systemdWord(s); err != nil {
			return "", err
		}
	}
	return strings.Join(words, " "), nil
}

// systemdPlain is for values that are no command line: systemd takes them as they
// stand, but for specifiers.
func systemdPlain(s string) (string, error) {
	if strings.ContainsAny(s, "\n\r\x00") || strings.TrimSpace(s) != s || strings.HasSuffix(s, `\`) {
		return "", fmt.Errorf("cannot write %q into a unit: rename it", s)
	}
	return strings.ReplaceAll(s, "%", "%%"), nil
}

// seconds rounds up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func execute(t *template.Template, name string, data any) (string, error) {
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		var cause template.ExecError
		if errors.As(err, &cause) {
			err = errors.Unwrap(cause.Err)
		}
		return "", err
	}
	return b.String(), nil
}
