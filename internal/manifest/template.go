package manifest

import (
	"fmt"
	"go/build"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Template is a file to begin with for the project in dir: its program is a guess
// from go.mod and the main packages, or what is executable there.
func Template(dir string) []byte {
	p := guess(dir)
	var b strings.Builder
	fmt.Fprintf(&b, "# yaml-language-server: $schema=%s\n", SchemaURL)
	b.WriteString("# `segue check` reads this file and says what is wrong with it; `segue run` runs it.\n")
	fmt.Fprintf(&b, "version: 1\nname: %s\n\nservices:\n  %s:\n", p.name, p.service)
	comment := ""
	if p.build != "" {
		comment = "   # " + p.build
	}
	fmt.Fprintf(&b, "    command: [%s]%s\n", quoteYAML("./"+p.program), comment)
	if p.speaks {
		b.WriteString("    sockets:\n      web: \":8080\"   # the supervisor listens, the program is given the socket by name\n")
	} else {
		b.WriteString("    # It opens its sockets itself, so a restart has a gap. Once it uses package segue, or takes\n" +
			"    # LISTEN_FDS and sends READY=1, remove the next line and declare the sockets here.\n    speaks: nothing\n" +
			"    # sockets:\n    #   web: \":8080\"\n")
	}
	b.WriteString(`    # env:
    #   MODE: production
    # env_files: [.env]
`)
	if p.speaks {
		b.WriteString(`    # probes:                  # what a new generation must answer before it serves
    #   - {http: /healthz, socket: web}
`)
	}
	b.WriteString(`    # drain_timeout: 30s       # the old generation may take to finish what it has
    # restart: on-failure      # always | on-failure | never
    # notify:
    #   - {on: [rollback, failed], command: [./page-me]}
`)
	return []byte(b.String())
}

// project is what is guessed of one.
type project struct {
	name, service string
	program       string // in the directory
	build         string // the command that makes it; "" when it is there
	speaks        bool   // segue's contract
}

var (
	moduleLine = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)"?`)
	usesSegue  = regexp.MustCompile(`(?m)^\s*(require\s+)?github\.com/segue-go/segue\s`)
	version    = regexp.MustCompile(`^v[0-9]+$`)
)

// guess never fails: what it cannot tell is "shop", which is there to be corrected.
func guess(dir string) project {
	p := project{program: "shop", speaks: true, build: "build it, or correct the path"}
	absolute, err := filepath.Abs(dir)
	if err == nil {
		p.name = NameFrom(filepath.Base(absolute))
	}
	if data, err := readFile(filepath.Join(dir, "go.mod")); err == nil {
		if m := moduleLine.FindSubmatch(data); m != nil {
			p.program = moduleName(string(m[1]))
		}
		p.speaks = usesSegue.Match(data)
		p.fromPackages(dir)
	} else if found := executable(dir); found != "" {
		p.program, p.build = found, ""
	}
	p.service = NameFrom(strings.TrimSuffix(p.program, filepath.Ext(p.program)))
	if !nameForm.MatchString(p.service) || slices.Contains(reserved, p.service) {
		p.service = "web"
	}
	if !nameForm.MatchString(p.name) {
		p.name = p.service
	}
	return p
}

// moduleName is what `go build` calls the program of a module.
func moduleName(module string) string {
	base := path.Base(module)
	if version.MatchString(base) {
		base = path.Base(path.Dir(module))
	}
	return base
}

// fromPackages looks for a main package: in dir, else under cmd, of which the one
// that is called like the module is taken, else the first.
func (p *project) fromPackages(dir string) {
	p.build = "go build -o " + p.program + " ."
	if !isMain(dir) {
		commands, _ := os.ReadDir(filepath.Join(dir, "cmd"))
		best := ""
		for _, c := range commands {
			if c.IsDir() && isMain(filepath.Join(dir, "cmd", c.Name())) && (best == "" || c.Name() == p.program) {
				best = c.Name()
			}
		}
		if best != "" {
			p.program, p.build = best, "go build -o "+best+" ./cmd/"+best
		}
	}
	if info, err := os.Stat(filepath.Join(dir, p.program)); err == nil && !info.IsDir() {
		return
	} else if err == nil { // a directory of that name is in the way
		p.program, p.build = "bin/"+p.program, strings.Replace(p.build, "-o ", "-o bin/", 1)
	}
}

func isMain(dir string) bool {
	pkg, err := build.Default.ImportDir(dir, 0)
	return err == nil && pkg.Name == "main"
}

// executable is the first program in dir.
func executable(dir string) string {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !strings.HasPrefix(e.Name(), ".") {
			return e.Name()
		}
	}
	return ""
}

// quoteYAML quotes s if it would be something else in a list of YAML.
func quoteYAML(s string) string {
	if regexp.MustCompile(`^[A-Za-z0-9./_-]+$`).MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "$", "$$"), "'", "''") + "'"
}
