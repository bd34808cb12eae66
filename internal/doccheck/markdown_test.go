package doccheck

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// root of the repository, from here.
const root = "../.."

// document is what the tests want to know of a Markdown file.
type document struct {
	path     string // from the root
	headings []heading
	blocks   []block
	prose    string // everything outside of blocks
}

type heading struct {
	level int
	text  string
}

// block is a fenced piece of code.
type block struct {
	language, text string
	line           int // of the fence
}

// parse reads the Markdown of this repository: headings with #, fences with
// three backquotes.
func parse(path, text string) document {
	d := document{path: path}
	var prose strings.Builder
	var open *block
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{language: language, line: i + 1}
		case fence:
			d.blocks = append(d.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			prose.WriteString(line + "\n")
			if text := strings.TrimLeft(line, "#"); len(text) < len(line) && strings.HasPrefix(text, " ") {
				d.headings = append(d.headings, heading{len(line) - len(text), strings.TrimSpace(text)})
			}
		}
	}
	d.prose = prose.String()
	return d
}

// documents are the Markdown files of the repository, by path.
func documents(t *testing.T) map[string]document {
	t.Helper()
	all := map[string]document{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != root && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "bin" || e.Name() == "build") {
			return fs.SkipDir
		}
		if e.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		all[rel] = parse(rel, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("there are no documents")
	}
	return all
}

// anchor is the fragment by which GitHub links to a heading.
func anchor(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinks(t *testing.T) {
	all := documents(t)
	for _, d := range all {
		for _, m := range link.FindAllStringSubmatch(d.prose, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := d.path
			if target != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(d.path), target))
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s: the link to %s leads nowhere", d.path, m[1])
					continue
				}
			}
			if fragment == "" {
				continue
			}
			found := false
			for _, h := range all[to].headings {
				found = found || anchor(h.text) == fragment
			}
			if !found {
				t.Errorf("%s: the link to %s leads to a heading that is not there", d.path, m[1])
			}
		}
	}
}

// TestTranslation: both READMEs are changed together.
func TestTranslation(t *testing.T) {
	all := documents(t)
	en, zh := all["README.md"], all["README.zh-CN.md"]
	if len(en.headings) != len(zh.headings) {
		t.Fatalf("README.md has %d headings, README.zh-CN.md %d", len(en.headings), len(zh.headings))
	}
	for i, h := range en.headings {
		if zh.headings[i].level != h.level {
			t.Errorf("heading %q has level %d, its translation %q %d", h.text, h.level, zh.headings[i].text, zh.headings[i].level)
		}
	}
	if len(en.blocks) != len(zh.blocks) {
		t.Fatalf("README.md has %d pieces of code, README.zh-CN.md %d", len(en.blocks), len(zh.blocks))
	}
	for i, b := range en.blocks {
		if other := zh.blocks[i]; b.language != other.language || b.text != other.text {
			t.Errorf("the code at line %d of README.md is not that at line %d of README.zh-CN.md", b.line, other.line)
		}
	}
	if a, b := strings.Count(en.prose, "\n|"), strings.Count(zh.prose, "\n|"); a != b {
		t.Errorf("README.md has %d rows in tables, README.zh-CN.md %d", a, b)
	}
}
