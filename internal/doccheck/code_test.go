package doccheck

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGoExamples has the complete programs of all documents compiled as packages
// of examples/shop, which has Gin and this library. They are there in an overlay
// only: nothing is written to the tree. (-export compiles without linking; vet
// wants the directories to be there.) What is not a complete file must parse
// as declarations or statements.
func TestGoExamples(t *testing.T) {
	host, err := filepath.Abs(filepath.Join(root, "examples", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := map[string]string{}
	args := []string{"list", "-export", "-f", "{{.ImportPath}}", "-overlay=" + filepath.Join(dir, "overlay.json")}
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language != "go" || d.path == "README.zh-CN.md" { // which is compared with README.md
				continue
			}
			where := fmt.Sprintf("%s:%d", d.path, b.line)
			if !strings.HasPrefix(b.text, "package ") {
				if err := fragment(b.text); err != nil {
					t.Errorf("%s: %v", where, err)
				}
				continue
			}
			n := fmt.Sprintf("readme%d", len(overlay))
			file := filepath.Join(dir, n+".go")
			// Errors then name the place in the document.
			text := fmt.Sprintf("//line %s:%d\n%s", d.path, b.line+1, b.text)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay[filepath.Join(host, n, "main.go")] = file
			args = append(args, "./"+n)
		}
	}
	if len(overlay) == 0 {
		t.Fatal("there are no examples")
	}
	data, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = host
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// fragment parses declarations or, failing that, statements.
func fragment(text string) error {
	declarations := func(text string) error {
		_, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, 0)
		return err
	}
	if declarations(text) == nil {
		return nil
	}
	return declarations("func _() {\n" + text + "\n}")
}

var (
	testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`")
	flagName = regexp.MustCompile("`--([a-z][a-z-]+)`")
)

// TestNames: tests that documents call their proof exist, and so do the flags
// they name.
func TestNames(t *testing.T) {
	tests, flags := names(t)
	for _, d := range documents(t) {
		for _, m := range testName.FindAllStringSubmatch(d.prose, -1) {
			if !tests[m[1]] && m[1] != "TestMain" {
				t.Errorf("%s: there is no test %s", d.path, m[1])
			}
		}
		for _, m := range flagName.FindAllStringSubmatch(d.prose, -1) {
			if !flags[m[1]] {
				t.Errorf("%s: there is no flag --%s", d.path, m[1])
			}
		}
	}
}

// names are the test functions of the repository, and every string in the
// sources of the command, among which its flags are.
func names(t *testing.T) (tests, words map[string]bool) {
	t.Helper()
	tests, words = map[string]bool{}, map[string]bool{"help": true}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		cli := filepath.Base(filepath.Dir(path)) == "cli"
		if !cli && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for n := range ast.Preorder(file) {
			switch n := n.(type) {
			case *ast.FuncDecl:
				tests[n.Name.Name] = true
			case *ast.BasicLit:
				if cli && n.Kind == token.STRING {
					words[strings.Trim(n.Value, "\"`")] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, words
}
