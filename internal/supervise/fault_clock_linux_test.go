package supervise

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/client"
	"github.com/segue-go/segue/handover"
)

// The wall clock may be set at any moment: nothing waits on it. A time.Time of this
// process carries the monotonic clock (package time), which Sub, Since, Until and
// timers go by, unless somebody takes that off, or has it from elsewhere. Both is
// what these tests are about: nobody takes it off, and what is read from elsewhere is
// shown, and not gone by.

// TestNobodyTakesTheMonotonicClockOff in the packages that wait.
func TestNobodyTakesTheMonotonicClockOff(t *testing.T) {
	allowed := []string{ // for reports, and a deadline that is over in any case
		"handover/journal.go: time.Unix", "handover/journal.go: since.UnixNano", "handover/link.go: time.Unix", "handover/notify_linux.go: time.Unix",
		"recipe.go: info.ModTime", "recipe.go: ….UnixNano", // tells files apart
	}
	off := []string{"Date", "Unix", "UnixMilli", "UnixMicro", "UnixNano", "Parse", "ParseInLocation", "UTC", "Local", "In", "ModTime"}
	met := 0
	for _, dir := range []string{".", "../../handover", "../launch", "../control"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				s, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || !slices.Contains(off, s.Sel.Name) {
					return true
				}
				of := "…"
				if x, ok := s.X.(*ast.Ident); ok {
					of = x.Name
				}
				if of == "url" {
					return true
				}
				here := strings.TrimPrefix(filepath.ToSlash(name), "../../") + ": " + of + "." + s.Sel.Name
				if met++; !slices.Contains(allowed, here) {
					t.Errorf("%s takes a time apart, at %s: is it waited for?", here, set.Position(call.Pos()))
				}
				return true
			})
		}
	}
	if met == 0 {
		t.Error("nothing was looked at")
	}
}

// TestTimesFromElsewhere are those of the state that is written down: for people, or
// by uptime.
func TestTimesFromElsewhere(t *testing.T) {
	var found []string
	var look func(path string, of reflect.Type)
	look = func(path string, of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice:
			look(path, of.Elem())
		case reflect.Struct:
			if of == reflect.TypeFor[time.Time]() {
				found = append(found, path)
				return
			}
			if of == reflect.TypeFor[client.Report]() || of == reflect.TypeFor[client.Status]() || of == reflect.TypeFor[client.Generation]() {
				return // they are shown
			}
			for i := range of.NumField() {
				look(path+"."+of.Field(i).Name, of.Field(i).Type)
			}
		}
	}
	look("memory", reflect.TypeFor[memory]())
	if want := []string{"memory.Generations.Started", "memory.Generations.Served"}; !slices.Equal(found, want) {
		t.Errorf("read are %v, want %v: whatever else is read may not be gone by", found, want)
	}
}

// TestClockThatJumps: for how long a generation has served, which decides whether a
// crash is one of a row, is the same for the next supervisor, whatever was done to
// the clock.
func TestClockThatJumps(t *testing.T) {
	const served = 7 * time.Second
	g := newGeneration(1, recipe{}, 0, time.Now().Add(-time.Minute))
	g.process = processOf(&handover.Process{PID: 1})
	g.role, g.served = client.RoleServing, time.Now().Add(-served)
	before := time.Now()
	data, err := json.Marshal(g.relic())
	if err != nil {
		t.Fatal(err)
	}
	for _, jump := range []time.Duration{0, time.Hour, -time.Hour, 1000 * time.Hour} {
		var r relic
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		r.Served = r.Served.Add(jump)
		if got, most := r.generation(&handover.Process{PID: 1}).servedFor(), served+time.Since(before); got < served-time.Millisecond || got > most+time.Millisecond {
			t.Errorf("after a jump of %v it has served for %v, want %v to %v", jump, got, served, most)
		}
	}
}
