package manifest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/segue-go/segue/internal/supervise"
)

// example is the complete one of the reference.
func example(t *testing.T) string {
	before, _, _ := document(t)
	_, rest, _ := strings.Cut(before, "```yaml\n")
	text, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("the reference has no example")
	}
	return text
}

func unpackExample(t *testing.T) string {
	text := example(t)
	unpack(t, txtar.File{Name: "segue.yaml", Data: []byte(text)}, txtar.File{Name: "shop.env", Data: []byte("REGION=north\nMODE=test\n")},
		txtar.File{Name: "page-me"}, txtar.File{Name: "check"}, txtar.File{Name: "jobs"})
	return text
}

// TestExample reads the example of the reference, which has every key, into what it
// means.
func TestExample(t *testing.T) {
	text := unpackExample(t)
	t.Setenv("SHOP_CACHE", "")
	got, err := Read("segue.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	mask := os.FileMode(0o027)
	limits := map[string]supervise.Limit{"nofile": {Soft: 65536, Hard: 65536}, "core": {}, "nproc": {Soft: 100, Hard: 200},
		"memlock": {Soft: supervise.Infinity, Hard: supervise.Infinity}}
	hooks := []supervise.Hook{
		{On: []supervise.Occasion{supervise.OnRollback, supervise.OnCrashLoop, supervise.OnFailed}, Command: []string{in("page-me")}},
		{URL: "https://hooks.example.com/segue"},
	}
	want := supervise.Plan{Name: "shop", File: in("segue.yaml"), Readers: "daemon", Services: []supervise.Member{{
		Config: supervise.Config{
			Name: "web", Argv: []string{in("shop"), "--config", "shop.yaml"}, Dir: dir,
			Env: []string{"REGION=north", "MODE=production", "CACHE=/var/cache/shop"},
			Listen: []supervise.Listen{{Name: "web", Addr: ":8080"},
				{Name: "admin", Addr: "unix:/run/shop.sock", Mode: 0o660, Owner: "daemon", Group: "daemon"}},
			User: "daemon", Group: "daemon", Umask: &mask, Limits: limits,
			ReadyTimeout: time.Minute, Trial: 2 * time.Second, Probation: 10 * time.Second, DrainTimeout: 45 * time.Second,
			Probes: []supervise.Probe{{Socket: "web", Path: "/healthz", Timeout: 2 * time.Second}, {Socket: "admin", TCP: true, Timeout: 5 * time.Second},
				{Command: []string{in("check"), "--deep"}, Timeout: 5 * time.Second}},
			StopSignal: syscall.SIGTERM, KillAfter: 2 * time.Second,
			Restart: supervise.OnFailure, Expected: []int{3},
			Backoff:  supervise.Backoff{First: 200 * time.Millisecond, Max: 30 * time.Second, Stable: 20 * time.Second, Limit: -1},
			Watchdog: 10 * time.Second, Hooks: hooks,
			Logs: supervise.Logs{Size: 16 << 20, Age: 24 * time.Hour, Keep: 7, Plain: true},
		}, Instances: 2, DependsOn: []string{"jobs"},
	}, {
		Config: supervise.Config{
			Name: "jobs", Argv: []string{in("jobs"), "--queue", "mail and print"}, Dir: dir, Speaks: supervise.SpeaksNothing,
			User: "daemon", Limits: limits,
			ReadyTimeout: 30 * time.Second, Trial: time.Second, Probation: 5 * time.Second, DrainTimeout: supervise.DefaultDrainTimeout,
			StopSignal: syscall.SIGINT, KillAfter: 5 * time.Second, Restart: supervise.Always,
			Backoff: supervise.Backoff{First: supervise.DefaultBackoff, Max: supervise.DefaultMaxBackoff, Stable: supervise.DefaultStable, Limit: supervise.DefaultCrashLimit},
			Hooks:   hooks,
			Logs:    supervise.Logs{To: supervise.ToJournal, Size: supervise.DefaultLogSize, Keep: supervise.DefaultLogKeep},
		}, Instances: 1, Manual: true,
	}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", got, want)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	for _, s := range manifest.section().all() {
		for _, r := range s.rows {
			if !strings.Contains(text, r.name+":") {
				t.Errorf("the example does not have %s of %s", r.name, s.called)
			}
		}
	}
}

// plan reads services, which are indented by nothing and stand under services:.
func plan(t *testing.T, text string) (supervise.Plan, error) {
	t.Helper()
	p, err := Parse("segue.yaml", []byte(text))
	if err == nil && p.Check() != nil {
		t.Errorf("what was read is refused: %v", p.Check())
	}
	return p, err
}

func TestDefaults(t *testing.T) {
	unpack(t)
	p, err := plan(t, "services: {web: {command: ./shop}}")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "shop" || p.Services[0].Dir != filepath.Dir(p.File) || p.Services[0].Manual || p.Services[0].Instances != 1 {
		t.Errorf("%+v", p)
	}
	// What is left out is read as if the default were written.
	written := "services: {web: {command: ./shop"
	for _, r := range services.section().rows {
		if r.standard != "" && r.standard != required {
			written += ", " + r.name + ": " + r.standard
		}
	}
	q, err := plan(t, written+"}}")
	if err != nil || !reflect.DeepEqual(p, q) {
		t.Errorf("%+v\n%+v\n%v", p, q, err)
	}
}

func TestMerge(t *testing.T) {
	unpack(t)
	p, err := plan(t, `
x-a: &a {trial: 1s, probation: 1s, drain_timeout: 1s, env: &env {A: 1, B: 1}}
x-b: &b {<<: *a, trial: 2s, kill_after: 2s}
services:
  web:
    command: ./shop
    <<: [*b, {kill_after: 3s, ready_timeout: 3s}]
    probation: 4s
    env: {<<: *env, B: 2}
  copy: &copy {command: ./shop, exit_codes: &codes [1, 2]}
  again: *copy
  third: {command: ./shop, exit_codes: *codes}
`)
	if err != nil {
		t.Fatal(err)
	}
	web := p.Services[0]
	got := []time.Duration{web.Trial, web.Probation, web.DrainTimeout, web.KillAfter, web.ReadyTimeout}
	want := []time.Duration{2 * time.Second, 4 * time.Second, time.Second, 2 * time.Second, 3 * time.Second}
	if !slices.Equal(got, want) || !slices.Equal(web.Env, []string{"B=2", "A=1"}) {
		t.Errorf("%v %v", got, web.Env)
	}
	if !reflect.DeepEqual(p.Services[1].Argv, p.Services[2].Argv) || !slices.Equal(p.Services[3].Expected, []int{1, 2}) {
		t.Errorf("%+v", p.Services[1:])
	}
}

func TestVariables(t *testing.T) {
	unpack(t)
	t.Setenv("SEGUE_TEST", "two words 'and quotes'")
	t.Setenv("SEGUE_EMPTY", "")
	t.Setenv("SEGUE_NUMBER", "3")
	p, err := plan(t, `
services:
  web:
    command: ./shop ${SEGUE_TEST} '${SEGUE_TEST}' \${x} $$HOME x${SEGUE_EMPTY}y ${SEGUE_EMPTY:-a b}
    instances: ${SEGUE_NUMBER}
    trial: ${SEGUE_EMPTY:-3s}
    exit_codes: ["${SEGUE_NUMBER}"]
    env: {A: "$$1 $x ${SEGUE_NUMBER}$$", "$B": ""}
    backoff: {limit: "${SEGUE_UNSET:-unlimited}"}
`)
	if err != nil {
		t.Fatal(err)
	}
	web := p.Services[0]
	if got, want := web.Argv[1:], []string{"two words 'and quotes'", "two words 'and quotes'", "${x}", "$HOME", "xy", "a b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if web.Instances != 3 || web.Trial != 3*time.Second || web.Expected[0] != 3 || web.Backoff.Limit != -1 || !slices.Equal(web.Env, []string{"A=$1 $x 3$", "$B="}) {
		t.Errorf("%+v", web)
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][]string{
		"":                        nil,
		"  a  b\tc ":              {"a", "b", "c"},
		`a 'b c' "d e" f\ g`:      {"a", "b c", "d e", "f g"},
		`a '' "" b''c`:            {"a", "", "", "bc"},
		`"a\"b\\c\d" 'a\"b'`:      {`a"b\c\d`, `a\"b`},
		`a"b c"d'e f'`:            {"ab cde f"},
		`--x="a | b" 'c && d' \|`: {"--x=a | b", "c && d", "|"},
		`${A B:-c d} $$ 5$ \$x`:   {"${A B:-c d}", "$$", "5$", "$$x"},
		`'$x' "a$ b"`:             {"$x", "a$ b"},
	} {
		if got, err := split(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("split(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"a|b", "a &", "a;b", "a <b", "(a)", "a `b`", `"$(a)"`, "a $x", `"$x"`, "'a", `"a`, `a\`, "a\nb"} {
		if got, err := split(in); err == nil {
			t.Errorf("split(%q) = %q", in, got)
		}
	}
}

func TestParseEnv(t *testing.T) {
	env, problems := parseEnv("x", []byte("\ufeffA=1\r\n\n# c\n  export B = two words  # c\nC=a#b\nD='$x \\n # y'\nE=\"a\\tb\\\"c\\$\\\\\" # c\nF=\nG=a=b\nA=2"))
	want := []string{"A=1", "B=two words", "C=a#b", `D=$x \n # y`, "E=a\tb\"c$\\", "F=", "G=a=b", "A=2"}
	if len(problems) > 0 || !slices.Equal(env, want) {
		t.Errorf("got %q %v, want %q", env, problems, want)
	}
	if _, problems = parseEnv("x", []byte("A=1\xff\nB=\x00\nC")); len(problems) != 3 || problems[2].Line != 3 {
		t.Error(problems)
	}
}

// Every pair is asked both ways: who comes first does not matter.
func TestCollisions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{":80", ":80", true}, {":80", ":81", false}, {":80", "127.0.0.1:80", true}, {":80", "[::1]:80", true}, {":80", "example.com:80", true},
		{"0.0.0.0:80", "127.0.0.1:80", true}, {"0.0.0.0:80", "[::1]:80", false}, {"[::]:80", "127.0.0.1:80", true}, {"0.0.0.0:80", ":80", true},
		{"0.0.0.0:80", "[::]:80", true}, {"127.0.0.1:80", "127.0.0.2:80", false}, {"localhost:80", "127.0.0.1:80", true}, {"LOCALHOST:80", "localhost:80", true},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", true}, {"[0:0::1]:80", "[::1]:80", true}, {"example.com:80", "127.0.0.1:80", false},
		{"[::]:80", "[::1]:80", true}, {"[::]:80", "[fe80::1%eth0]:80", true}, {":http", ":80", true}, {"unix:/a", "unix:/a", true}, {"unix:/a", "unix:/b", false}, {"unix:@a", "unix:@a", true}, {"unix:/a", ":80", false},
	} {
		a, err := placeOf(c.a)
		b, err2 := placeOf(c.b)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if a.collides(b) != c.same || b.collides(a) != c.same {
			t.Errorf("%s and %s: %v and %v, want %v", c.a, c.b, a.collides(b), b.collides(a), c.same)
		}
	}
	if _, err := placeOf(":0"); err == nil {
		t.Error("any free port has a place")
	}
}

func TestBounds(t *testing.T) {
	unpack(t)
	if _, err := plan(t, strings.Repeat("# a comment\n", maxSize/10)); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Error(err)
	}
	// Aliases of aliases: ten to the tenth.
	bomb := "x-0: &x0 {command: ./shop, env: {A: b}}\n"
	for i := range 10 {
		one := fmt.Sprintf("*x%d, ", i)
		bomb += fmt.Sprintf("x-%d: &x%d [%s]\n", i+1, i+1, strings.Repeat(one, 10))
	}
	_, err := plan(t, bomb+"services: {web: {<<: *x10}}\n")
	if err == nil {
		t.Error("a bomb is read")
	}
	// Merges of merges, and one large list that many have.
	bomb = "x-0: &x0 {a: 1}\n"
	for i := range 30 {
		bomb += fmt.Sprintf("x-%d: &x%d {<<: [*x%d, *x%d]}\n", i+1, i+1, i, i)
	}
	if _, err := plan(t, bomb+"services: {web: {<<: *x30}}\n"); err == nil || !strings.Contains(err.Error(), "cannot read on") {
		t.Error(err)
	}
	list := "x-codes: &codes [" + strings.Repeat("1, ", 10_000) + "]\nservices:\n"
	for i := range 1000 {
		list += fmt.Sprintf("  web%d: {command: ./shop, exit_codes: *codes}\n", i)
	}
	if _, err := plan(t, list); err == nil || !strings.Contains(err.Error(), "cannot read on") {
		t.Error(err)
	}
	// A long chain of merges is just long.
	var chain strings.Builder
	chain.WriteString("x-0: &x0 {trial: 1s}\n")
	for i := range 20_000 {
		fmt.Fprintf(&chain, "x-%d: &x%d {<<: *x%d}\n", i+1, i+1, i)
	}
	if p, err := plan(t, chain.String()+"services: {web: {command: ./shop, <<: *x20000}}\n"); err != nil || p.Services[0].Trial != time.Second {
		t.Error(err)
	}
	// Of many problems some are told.
	for _, wrong := range []string{"{comand: ./shop}", "{command: ./shop, depends_on: nothing}", "{command: ./shop}"} {
		var many strings.Builder
		many.WriteString("services:\n  web: {command: ./shop, instances: 1000}\n")
		for i := range 3000 {
			fmt.Fprintf(&many, "  web.%d: %s\n", i, wrong)
		}
		_, err = plan(t, many.String())
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != maxProblems {
			t.Errorf("%d problems: %v", len(problems), err)
		}
	}
}

// A number that is nobody's is a user, if it is said which group.
func TestNumberedUser(t *testing.T) {
	unpack(t)
	p, err := plan(t, "services: {web: {command: ./shop, user: 3999999999, group: 3999999998}}")
	if err != nil || p.Services[0].User != "3999999999" {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = plan(t, "services: {web: {command: ./shop, user: 3999999999}}")
	if err == nil || err.Error() != `segue.yaml:1:41: cannot tell the group of user "3999999999", which has no name here; say which with group` {
		t.Error(err)
	}
	if _, err = plan(t, "services: {web: {command: ./shop, user: 4294967295, group: 1}}"); err == nil {
		t.Error("nobody at all is a user")
	}
}

func TestNotText(t *testing.T) {
	unpack(t)
	for text, where := range map[string]string{
		"a: b\n\xff": "2:1", "a\x00": "1:2", "ä\x1b": "1:2", "a: b\n  \u2028": "2:3", "\ufeffa\x01": "1:2", "a\ufeff": "1:2",
		"\xff\xfea\x00": "1:1",
	} {
		if _, err := plan(t, text); err == nil || !strings.HasPrefix(err.Error(), "segue.yaml:"+where+": cannot read a character") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := plan(t, "\ufeffservices: {web: {command: ./shop}}\r\n"); err != nil {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir); err == nil || !strings.HasSuffix(err.Error(), "; `segue init` writes one") {
		t.Error(err)
	}
	for _, name := range []string{"segue.yml", "segue.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if path, err := Find(dir); err != nil || path != filepath.Join(dir, name) {
			t.Error(path, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "other.yaml")); err == nil || errors.As(err, new(Problems)) {
		t.Error(err)
	}
	if _, err := Read(dir); err == nil || errors.As(err, new(Problems)) {
		t.Error(err)
	}
}

// FuzzParse: whatever the file has in it, there is a plan that can be run or there
// are problems that stand in the file.
func FuzzParse(f *testing.F) {
	paths, _ := filepath.Glob("testdata/problems/*.txtar")
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	f.Add([]byte(text))
	f.Add([]byte("services: {web: {command: /bin/sh}}"))
	f.Add([]byte("services: {web: &a {<<: [*a, *a], command: /bin/sh -c 'a b'}}\n? [a]\n: !!str b"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "segue.yaml")
		p, err := Parse(path, data)
		if err == nil {
			if err := p.Check(); err != nil {
				t.Fatalf("what was read is refused: %v", err)
			}
			return
		}
		problems, ok := err.(Problems)
		if !ok || len(problems) == 0 {
			t.Fatalf("%#v", err)
		}
		lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
		var alone int
		for _, l := range lines {
			alone += strings.Count(l, "\r") // a line end of its own to YAML
		}
		for _, p := range problems {
			if p.File != path { // of an env file
				continue
			}
			if p.Message == "" || p.Line < 1 || p.Line > len(lines)+alone || p.Column < 1 {
				t.Fatalf("%+v", p)
			}
			if alone == 0 && p.Column > len([]rune(lines[p.Line-1]))+1 {
				t.Fatalf("%+v: the line is %q", p, lines[p.Line-1])
			}
		}
	})
}
