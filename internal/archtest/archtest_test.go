package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "github.com/segue-go/segue"
	rootName = "segue" // what the table calls the package of the root directory
	document = "docs/ARCHITECTURE.md"
)

// file is one Go file that is not a test, whatever it is built for.
type file struct {
	path       string // from the root, with slashes
	pkg        string // as the table calls it; "" in another module
	imports    []string
	documented bool
	goroutines bool
}

// sources are all files of the repository. A directory with a go.mod of its own
// is another module.
func sources(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []file
	foreign := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			base := d.Name()
			if rel != "." && (base == "testdata" || base[0] == '.' || base[0] == '_') {
				return filepath.SkipDir
			}
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			foreign[rel] = rel != "." && (err == nil || foreign[path.Dir(rel)])
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		f, err := parse(name)
		if err != nil {
			return err
		}
		f.path = rel
		if f.pkg = path.Dir(rel); f.pkg == "." {
			f.pkg = rootName
		}
		if foreign[path.Dir(rel)] {
			f.pkg = ""
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parse(name string) (file, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	f := file{documented: tree.Doc != nil && strings.TrimSpace(tree.Doc.Text()) != ""}
	for _, i := range tree.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, p)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			f.goroutines = true
		case *ast.CallExpr: // sync.WaitGroup.Go
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
				f.goroutines = true
			}
		}
		return true
	})
	return f, nil
}

// row is one package of the layer table.
type row struct {
	layer       int
	own, others []string
	because     string
}

// table reads the cells of the table in a section of the document.
func table(t *testing.T, section string) [][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(document)))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", document, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var rows [][]string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("section %q of %s has no table", section, document)
	}
	return rows[2:] // without the head and the line below it
}

var quoted = regexp.MustCompile("`([^`]+)`")

func names(cell string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

func layers(t *testing.T) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for _, cells := range table(t, "Layers") {
		if len(cells) != 5 || len(names(cells[1])) != 1 || cells[4] == "" {
			t.Fatalf("%s: cannot read the row %q: layer, one package, imports of this repository, imports of others, reason", document, cells)
		}
		layer, err := strconv.Atoi(cells[0])
		if err != nil {
			t.Fatalf("%s: %q is not a layer", document, cells[0])
		}
		rows[names(cells[1])[0]] = row{layer: layer, own: names(cells[2]), others: names(cells[3]), because: cells[4]}
	}
	return rows
}

func TestImports(t *testing.T) {
	rows := layers(t)
	for _, f := range sources(t) {
		if f.pkg == "" {
			continue
		}
		r, ok := rows[f.pkg]
		if !ok {
			t.Errorf("package %s (%s) has no row in the layer table of %s: add one that says what it may import, and why", f.pkg, f.path, document)
			continue
		}
		for _, i := range f.imports {
			first, _, _ := strings.Cut(i, "/")
			switch own, inside := strings.CutPrefix(i, module); {
			case inside && (own == "" || own[0] == '/'):
				if own = strings.TrimPrefix(own, "/"); own == "" {
					own = rootName
				}
				if !slices.Contains(r.own, own) {
					t.Errorf("%s imports %s: package %s may import %q of this repository only, because %s (%s)", f.path, own, f.pkg, r.own, r.because, document)
				}
			case strings.Contains(first, "."): // not the standard library
				if !slices.ContainsFunc(r.others, func(o string) bool { return i == o || strings.HasPrefix(i, o+"/") }) {
					t.Errorf("%s imports %s: package %s may import %q of others only, because %s (%s)", f.path, i, f.pkg, r.others, r.because, document)
				}
			}
		}
	}
}

func TestLayerTable(t *testing.T) {
	rows := layers(t)
	there := map[string]bool{}
	for _, f := range sources(t) {
		there[f.pkg] = true
	}
	for pkg, r := range rows {
		if !there[pkg] {
			t.Errorf("%s has a row for %s, which is not there: remove it", document, pkg)
		}
		for _, o := range r.own {
			lower, ok := rows[o]
			if !ok || lower.layer >= r.layer {
				t.Errorf("%s lets %s (layer %d) import %s (layer %d): only lower layers may be imported, so that there is one direction", document, pkg, r.layer, o, lower.layer)
			}
		}
	}
}

func TestOtherModulesImportPublicPackages(t *testing.T) {
	for _, f := range sources(t) {
		if f.pkg != "" {
			continue
		}
		for _, i := range f.imports {
			if strings.HasPrefix(i, module+"/internal/") {
				t.Errorf("%s imports %s: examples, bench and contrib use public packages only, because they show what users can do", f.path, i)
			}
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	for _, f := range sources(t) {
		dir := path.Dir(f.path)
		if comments[dir] == nil {
			comments[dir] = []string{}
		}
		if f.documented {
			comments[dir] = append(comments[dir], path.Base(f.path))
		}
	}
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, %q: exactly one, because a reader looks for the guarantees in one place", dir, len(files), files)
		}
	}
}

func TestGoroutines(t *testing.T) {
	listed := map[string]bool{}
	for _, cells := range table(t, "Goroutines") {
		for _, name := range names(cells[0]) {
			listed[name] = true
		}
	}
	outside := []string{"internal/testnet", "internal/verify", "internal/demo", ""} // tools of tests, other modules
	for _, f := range sources(t) {
		if f.goroutines && !listed[f.path] && !slices.Contains(outside, f.pkg) {
			t.Errorf("%s starts a goroutine that the goroutine table of %s does not name: every one has an owner who ends it", f.path, document)
		}
		if f.goroutines {
			delete(listed, f.path)
		}
	}
	for name := range listed {
		t.Errorf("%s names %s, which starts no goroutine", document, name)
	}
}
