package manifest

import (
	"errors"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestTemplate: what is written for a project names its program, and has at most
// the problem that the program is not built.
func TestTemplate(t *testing.T) {
	const segue = "module example.com/store\n\nrequire github.com/segue-go/segue v1.0.0\n"
	file := func(name, data string) txtar.File { return txtar.File{Name: name, Data: []byte(data)} }
	for name, c := range map[string]struct {
		files []txtar.File
		want  []string
		built bool
	}{
		"an executable":      {nil, []string{"name: shop", "  shop:", "command: [./shop]\n", "      web: \":8080\""}, true},
		"a module":           {[]txtar.File{file("go.mod", segue), file("main.go", "package main")}, []string{"  store:", "[./store]   # go build -o store .\n", "    sockets:"}, false},
		"a version":          {[]txtar.File{file("go.mod", "module example.com/store/v2\nrequire (\n\tgithub.com/segue-go/segue v1.0.0\n)"), file("main.go", "package main")}, []string{"[./store]   # go build -o store .\n", "    sockets:"}, false},
		"commands":           {[]txtar.File{file("go.mod", segue), file("cmd/admin/a.go", "package main"), file("cmd/store/a.go", "package main"), file("cmd/z/a.go", "package main")}, []string{"[./store]   # go build -o store ./cmd/store\n"}, false},
		"one command":        {[]txtar.File{file("go.mod", segue), file("cmd/lib/a.go", "package lib"), file("cmd/zoo/a.go", "package main")}, []string{"  zoo:", "[./zoo]   # go build -o zoo ./cmd/zoo\n"}, false},
		"a directory":        {[]txtar.File{file("go.mod", segue), file("main.go", "package main"), file("store/a.go", "package store")}, []string{"[./bin/store]   # go build -o bin/store .\n"}, false},
		"another's contract": {[]txtar.File{file("go.mod", "module example.com/store"), file("main.go", "package main"), file("store", "")}, []string{"    speaks: nothing\n", "    # sockets:"}, true},
		"strange names":      {[]txtar.File{file("go.mod", "module \"example.com/Stör$e's\"\n"), file("main.go", "package main")}, []string{"  st-r-e-s:", "command: ['./Stör$$e''s']"}, false},
		"a reserved name":    {[]txtar.File{file("go.mod", "module example.com/lock"), file("lock", "")}, []string{"  web:", "[./lock]"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			unpack(t, c.files...)
			text := Template(".")
			for _, w := range c.want {
				if !strings.Contains(string(text), w) {
					t.Errorf("%q is not in\n%s", w, text)
				}
			}
			_, err := plan(t, string(text))
			var problems Problems
			if c.built && err != nil || !c.built && (!errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(problems[0].Hint, "build it")) {
				t.Errorf("%v\n%s", err, text)
			}
			// What is suggested in comments is right as well.
			uncommented := strings.ReplaceAll(string(text), "\n    # ", "\n    ")
			uncommented = strings.NewReplacer("[.env]", "[]", "./page-me", "./shop").Replace(uncommented)
			if c.built && !strings.Contains(uncommented, "speaks: nothing") {
				if _, err := plan(t, uncommented); err != nil {
					t.Errorf("%v\n%s", err, uncommented)
				}
			}
		})
	}
}
