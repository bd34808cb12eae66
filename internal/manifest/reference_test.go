package manifest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew, the schema and the reference among them")

const (
	schemaFile    = "../../docs/segue.schema.json"
	referenceFile = "../../docs/SEGUE_YAML.md"
	begin, end    = "<!-- begin: generated from the table in internal/manifest -->\n", "<!-- end -->\n"
)

func TestSchemaIsUpToDate(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(there, Schema()) {
		t.Errorf("%s is not what Schema says (%v): run this test with -update", schemaFile, err)
	}
}

// reference is the part of the document that comes from the table.
func reference() string {
	var b strings.Builder
	for _, s := range manifest.section().all() {
		words := strings.Split(s.called, " ")
		title := words[len(words)-1]
		fmt.Fprintf(&b, "### %s%s\n\n", strings.ToUpper(title[:1]), title[1:])
		if s.about != "" {
			fmt.Fprintf(&b, "%s\n\n", s.about)
		}
		b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
		for _, r := range s.rows {
			standard := "`" + r.standard + "`"
			switch r.standard {
			case "", "{}":
				standard = "–"
			case required:
				standard = "**required**"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.name, strings.ReplaceAll(r.called, "|", `\|`), standard, r.means)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func document(t *testing.T) (before, generated, after string) {
	t.Helper()
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	generated, after, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatalf("%s lacks the lines between which the reference stands", referenceFile)
	}
	return before, generated, after
}

func TestReferenceIsUpToDate(t *testing.T) {
	before, there, after := document(t)
	want := "\n" + reference()
	if *update {
		if err := os.WriteFile(referenceFile, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		there = want
	}
	if there != want {
		t.Errorf("%s is not what the table says: run this test with -update", filepath.Base(referenceFile))
	}
}

// Every sentence of the table is one: what is shown in three places is worth it.
func TestTableIsDescribed(t *testing.T) {
	for _, s := range manifest.section().all() {
		for _, r := range s.rows {
			if r.means == "" || r.called == "" || strings.HasSuffix(r.means, ".") || strings.ContainsAny(r.means, "|\n") {
				t.Errorf("%s: the meaning of %s is %q, its value %q", s.called, r.name, r.means, r.called)
			}
		}
	}
}
