package verify

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestIdent(t *testing.T) {
	for _, s := range []string{"r1-keep-alive-0-12", "rff-a-1-0", "r-x.y_z-3-4"} {
		if i, ok := parseIdent(s); !ok || i.String() != s {
			t.Errorf("%q: %+v, %v", s, i, ok)
		}
	}
	for _, s := range []string{"", "-", "r1-a-1", "r1--1-1", "-a-1-1", "r1-a-01-1", "r1-a-1-+1", "r1-a-1--1", "r1-a b-1-1", "r1-a-1-1\n", "r1-a-1-99999999999999999999"} {
		if i, ok := parseIdent(s); ok {
			t.Errorf("%q is taken for %+v", s, i)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add("r1-keep-alive-0-12 42 1\n")
	f.Add("r1-a-0-0 1 2")
	f.Fuzz(func(t *testing.T, in string) {
		lines := 0
		torn, err := readApplied(strings.NewReader(in), func(e Entry) {
			lines++
			if line := fmt.Sprintf("%s %d %s\n", e.ID, e.PID, e.Generation); len(line) > len(in) {
				t.Errorf("entry %+v out of %q", e, in)
			}
			if i, ok := parseIdent(e.ID); !ok || i.String() != e.ID {
				t.Errorf("id %q", e.ID)
			}
		})
		if want := strings.Count(strings.TrimSuffix(in, "\n"), "\n") + 1; err != nil || in != "" && lines+torn != want {
			t.Errorf("%d entries and %d torn of %d lines, %v", lines, torn, want, err)
		}
	})
}

// Two generations append at the same time: every line must come out whole.
func TestAppliedIsSharedByGenerations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "applied")
	const each, writers = 2000, 4
	var wg sync.WaitGroup
	for w := range writers {
		a, err := OpenApplied(path, fmt.Sprint("g", w))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		wg.Go(func() {
			for i := range each {
				if err := a.Record(fmt.Sprintf("r1-k-%d-%d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[string]string)
	torn, err := ReadApplied(path, func(e Entry) {
		seen[e.ID] = e.Generation
		if e.PID != os.Getpid() {
			t.Errorf("pid %d", e.PID)
		}
	})
	if err != nil || torn != 0 || len(seen) != each*writers || seen["r1-k-3-7"] != "g3" {
		t.Errorf("%d ids, %d torn, %v", len(seen), torn, err)
	}
}

func TestAppliedRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenApplied(filepath.Join(dir, "no", "such"), "1"); err == nil {
		t.Error("opened a file in a directory that is not there")
	}
	if _, err := OpenApplied(filepath.Join(dir, "a"), "1 2"); err == nil {
		t.Error("a generation with a space")
	}
	a, err := OpenApplied(filepath.Join(dir, "a"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Record("r1-a-1-1 forged\n"); err == nil {
		t.Error("recorded what is not an id")
	}
}

func TestTornLinesAreReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte("r1-a-0-0 7 1\nr1-a-0-1 7\nr1-a-0-2 7 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	if torn, err := ReadApplied(path, func(Entry) { n++ }); n != 1 || torn != 2 || err != nil {
		t.Errorf("%d entries, %d torn, %v", n, torn, err)
	}
}

// recorder makes the test binary a service that applies as fast as it can, and
// acknowledges each id on its standard output.
const recorder = "VERIFY_TEST_RECORDER"

func runRecorder(path string) {
	a, err := OpenApplied(path, "child")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("r1-k-0-%d", i)
		if err := a.Record(id); err != nil {
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

func TestRecordsSurviveSIGKILL(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "applied")
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), recorder+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []string
	for in := bufio.NewScanner(out); in.Scan(); {
		if acked = append(acked, in.Text()); len(acked) == 500 {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	recorded := make(map[string]bool)
	torn, err := ReadApplied(path, func(e Entry) { recorded[e.ID] = true })
	if err != nil || torn != 0 || len(acked) < 500 {
		t.Fatalf("%d acknowledged, %d torn, %v", len(acked), torn, err)
	}
	for _, id := range acked[:len(acked)-1] { // the last line may have been cut by the kill
		if !recorded[id] {
			t.Errorf("%s was acknowledged and is not in the ledger", id)
		}
	}
}
