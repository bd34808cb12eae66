package handover_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/segue-go/segue/handover"
)

// docs/PROTOCOL.md has every verb and every variable of the code in its tables,
// and no others.
func TestProtocolDocument(t *testing.T) {
	data, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(data), "\n## ")[1:] {
		title, body, _ := strings.Cut(s, "\n")
		sections[title] = body
	}
	verbs, env := constants(t)
	for title, want := range map[string][]string{"Verbs": verbs, "Environment": env} {
		var got []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(sections[title], -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the table of %q has\n%q\nand the code\n%q", title, got, want)
		}
	}
	if first := fmt.Sprintf("version %d\n", handover.ProtocolVersion); !strings.Contains(string(data[:200]), first) {
		t.Errorf("the title does not say %q", first)
	}
}

// constants are the values of the constants of type Verb, and of those called
// Env..., sorted.
func constants(t *testing.T) (verbs, env []string) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				if len(v.Values) != 1 {
					continue
				}
				lit, ok := v.Values[0].(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				value, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Verb" {
					verbs = append(verbs, value)
				} else if strings.HasPrefix(v.Names[0].Name, "Env") {
					env = append(env, value)
				}
			}
		}
	}
	slices.Sort(verbs)
	slices.Sort(env)
	if len(verbs) == 0 || len(env) == 0 {
		t.Fatal("no constants found")
	}
	return verbs, env
}
