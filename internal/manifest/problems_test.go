package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes the files of an archive to a new directory called shop, with a
// program ./shop among them, and makes it the current one.
func unpack(t *testing.T, files ...txtar.File) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for _, f := range append(files, txtar.File{Name: "shop", Data: []byte("#!/bin/sh\n")}) {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if filepath.Ext(f.Name) == "" {
			mode = 0o755
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// TestProblems reads the bad files of testdata/problems. Each has all that is wrong
// with it at its end.
func TestProblems(t *testing.T) {
	paths, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	t.Setenv("SEGUE_TEST_SET", "secret")
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if last := len(archive.Files) - 1; archive.Files[last].Name == "problems" {
				want = string(archive.Files[last].Data)
				archive.Files = archive.Files[:last]
			}
			unpack(t, archive.Files...)
			plan, err := Read("segue.yaml")
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%+v, %v", plan, err)
			}
			got := problems.Error() + "\n"
			if strings.Contains(got, "secret") && path != "" {
				t.Errorf("a value is told: %s", got)
			}
			if *update {
				archive.Files = append(archive.Files, txtar.File{Name: "problems", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
