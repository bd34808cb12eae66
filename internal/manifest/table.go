package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/handover"
	"github.com/segue-go/segue/internal/supervise"
)

// The table: every key with its kind, its default and its meaning. What is read
// into other types than those of package supervise is put into those by build.go.

// file is the whole of it.
type file struct {
	version  int
	name     at[string]
	readers  string
	services at[[]entry[service]]
}

// service is one of them, with what is still to be put into its Member.
type service struct {
	supervise.Member
	command   at[[]string]
	envFiles  []at[[]string]
	env       []entry[string]
	user      at[string]
	limits    []entry[supervise.Limit]
	sockets   at[[]entry[socket]]
	instances at[int]
	dependsOn []at[string]
	probes    []at[probe]
}

// socket is a [supervise.Listen] without its name.
type socket struct{ supervise.Listen }

// probe is a [supervise.Probe] as it is written.
type probe struct {
	http, tcp, socket at[string]
	command           at[[]string]
	timeout           time.Duration
}

// hook is a [supervise.Hook] with its places.
type hook struct {
	on      []supervise.Occasion
	command at[[]string]
	url     at[string]
}

var manifest = object[file]{
	called: "the file", extra: "x-",
	check: checkFile,
	about: "Keys that begin with `x-` are passed over: they can hold what is used with anchors and `<<`.",
	keys: []key[file]{
		field("version", integer(1, 1), "1", "of this format", func(f *file) *int { return &f.version }),
		field("name", placed(nameOf("a name: "+nameRule)), "", "of the supervisor; without it the name of the directory of the file", func(f *file) *at[string] { return &f.name }),
		field("readers", groupName, "", "group whose members may read the control API; only the owner and root may change anything", func(f *file) *string { return &f.readers }),
		field("services", placed(named("services by name", nameOf("a name: "+nameRule), services.kind())), required, "what is supervised, by name", func(f *file) *at[[]entry[service]] { return &f.services }),
	},
}

var services = object[service]{
	called: "a service",
	check:  checkService,
	keys: []key[service]{
		field("command", placed(command), required, "the program and its arguments. A path is relative to the file, a name without `/` is looked for in PATH. A string is split as a shell does, without expansion", func(s *service) *at[[]string] { return &s.command }),
		field("dir", directory, ".", "the directory it runs in", func(s *service) *string { return &s.Dir }),
		field("env", named("variables by name", variableName, text("a text")), "", "variables that are added to the supervisor's environment", func(s *service) *[]entry[string] { return &s.env }),
		field("env_files", oneOrMore(placed(envFile)), "", "files of lines `NAME=value`, read in order, before `env`", func(s *service) *[]at[[]string] { return &s.envFiles }),
		field("user", placed(userName), "", "who it runs as; without it the supervisor's user. A number that is nobody's needs `group` beside it", func(s *service) *at[string] { return &s.user }),
		field("group", groupName, "", "which it runs as; without it the user's", func(s *service) *string { return &s.Group }),
		field("umask", convert(octal, umask), "", "bits that the files it makes do not have; without it the supervisor's", func(s *service) **fs.FileMode { return &s.Umask }),
		field("limits", named("limits by name", limitName, either(limit, checked(limits.kind(), softBelowHard))), "", "resource limits (setrlimit(2)): "+enumerate(limitNames, "and")+". A single value is both the soft and the hard one", func(s *service) *[]entry[supervise.Limit] { return &s.limits }),
		field("speaks", speaks, "segue", "what the program understands: `segue` is package segue or the control wire; `systemd` is LISTEN_FDS with LISTEN_PID, and NOTIFY_SOCKET; `nothing` opens its sockets itself, so that the old one is stopped before the new one starts", func(s *service) *supervise.Language { return &s.Speaks }),
		field("sockets", placed(named("sockets by name", socketName, either(listen, sockets.kind()))), "", "what the supervisor listens on for the service", func(s *service) *at[[]entry[socket]] { return &s.sockets }),
		field("instances", placed(integer(1, 1000)), "1", "how many of it run, on the same sockets; the others are called web.2, web.3, …", func(s *service) *at[int] { return &s.instances }),
		field("depends_on", oneOrMore(placed(text("the name of a service"))), "", "services that must be ready before this one is started; it is stopped before them", func(s *service) *[]at[string] { return &s.dependsOn }),
		field("autostart", convert(boolean, not), "true", "`false`: it is started by `segue start` only", func(s *service) *bool { return &s.Manual }),
		field("ready_timeout", duration(false), short(handover.DefaultReadyTimeout), "how long a new generation may take to become ready", func(s *service) *time.Duration { return &s.ReadyTimeout }),
		field("trial", duration(true), short(handover.DefaultTrial), "for how long a new generation is tried while the old one serves", func(s *service) *time.Duration { return &s.Trial }),
		field("probation", duration(true), short(handover.DefaultProbation), "for how long the old generation can take the service back", func(s *service) *time.Duration { return &s.Probation }),
		field("drain_timeout", duration(true), short(supervise.DefaultDrainTimeout), "how long the old generation may take to finish what it has", func(s *service) *time.Duration { return &s.DrainTimeout }),
		field("probes", list(placed(probes.kind())), "", "what a new generation must stand on trial and on probation, all of them", func(s *service) *[]at[probe] { return &s.probes }),
		field("stop_signal", stopSignal, "TERM", "what asks a program to stop that does not speak the control wire", func(s *service) *syscall.Signal { return &s.StopSignal }),
		field("kill_after", duration(false), short(supervise.DefaultKillAfter), "the time between the second stop signal and SIGKILL", func(s *service) *time.Duration { return &s.KillAfter }),
		field("restart", restart, string(supervise.OnFailure), "after which ends that nobody asked for it is started again", func(s *service) *supervise.Policy { return &s.Restart }),
		field("exit_codes", oneOrMore(integer(0, 255)), "", "exit codes that are no failure, beside 0", func(s *service) *[]int { return &s.Expected }),
		field("backoff", backoff.kind(), "{}", "how it is started again after a crash", func(s *service) *supervise.Backoff { return &s.Backoff }),
		field("watchdog", duration(false), "", "a generation that has not said WATCHDOG=1 for as long is killed", func(s *service) *time.Duration { return &s.Watchdog }),
		field("notify", list(convert(hooks.kind(), hook.built)), "", "who is told of what must not go unnoticed", func(s *service) *[]supervise.Hook { return &s.Hooks }),
		field("logs", logs.kind(), "{}", "what becomes of its output", func(s *service) *supervise.Logs { return &s.Logs }),
	},
}

var sockets = object[socket]{
	called: "a socket",
	about:  "A TCP socket is just its address, as in `web: :8080`; port 0 takes any free one. A unix socket is `unix:/path`, or these keys.",
	keys: []key[socket]{
		field("unix", unixPath, required, "path of the socket; `@name` for an abstract one", func(s *socket) *string { return &s.Addr }),
		field("mode", convert(octal, fileMode), `"0600"`, "who may connect", func(s *socket) *fs.FileMode { return &s.Mode }),
		field("owner", userName, "", "without it the service's user", func(s *socket) *string { return &s.Owner }),
		field("group", groupName, "", "without it the service's group", func(s *socket) *string { return &s.Group }),
	},
}

var limits = object[supervise.Limit]{
	called: "a limit",
	keys: []key[supervise.Limit]{
		field("soft", limitValue, required, "what holds", func(l *supervise.Limit) *uint64 { return &l.Soft }),
		field("hard", limitValue, required, "up to what the service may raise it", func(l *supervise.Limit) *uint64 { return &l.Hard }),
	},
}

var probes = object[probe]{
	called: "a probe", check: checkProbe,
	about: "Exactly one of `http`, `tcp` and `command`.",
	keys: []key[probe]{
		field("http", placed(matching("a path that begins with /", regexp.MustCompile(`^/[!-~]*$`))), "", "GET must be answered with a status below 400", func(p *probe) *at[string] { return &p.http }),
		field("tcp", placed(text("the name of a socket")), "", "socket on which a connection must be accepted", func(p *probe) *at[string] { return &p.tcp }),
		field("command", placed(command), "", "must exit with status 0; it is run as the service is, with SEGUE_PROBE_PID", func(p *probe) *at[[]string] { return &p.command }),
		field("socket", placed(text("the name of a socket")), "", "for `http`; without it the socket `web`, or the first", func(p *probe) *at[string] { return &p.socket }),
		field("timeout", duration(false), short(supervise.DefaultProbeTimeout), "the most one try may take", func(p *probe) *time.Duration { return &p.timeout }),
	},
}

var backoff = object[supervise.Backoff]{
	called: "backoff",
	about:  "The pause is doubled from crash to crash, each 20% more or less.",
	keys: []key[supervise.Backoff]{
		field("first", duration(false), short(supervise.DefaultBackoff), "the first pause", func(b *supervise.Backoff) *time.Duration { return &b.First }),
		field("max", duration(false), short(supervise.DefaultMaxBackoff), "the longest", func(b *supervise.Backoff) *time.Duration { return &b.Max }),
		field("limit", orUnlimited(integer(1, 1_000_000), -1), fmt.Sprint(supervise.DefaultCrashLimit), "crashes in a row after which the service has failed", func(b *supervise.Backoff) *int { return &b.Limit }),
		field("stable", duration(false), short(supervise.DefaultStable), "a generation that has served for as long begins a new row", func(b *supervise.Backoff) *time.Duration { return &b.Stable }),
	},
}

var hooks = object[hook]{
	called: "a hook", check: checkHook,
	about: "Exactly one of `command` and `url`.",
	keys: []key[hook]{
		field("on", oneOrMore(occasion), "", "what it is told of; without it everything", func(h *hook) *[]supervise.Occasion { return &h.on }),
		field("command", placed(command), "", "gets the event as JSON on its standard input", func(h *hook) *at[[]string] { return &h.command }),
		field("url", placed(webhook), "", "gets it with POST", func(h *hook) *at[string] { return &h.url }),
	},
}

var logs = object[supervise.Logs]{
	called: "logs",
	about:  "All but `to` is for files.",
	keys: []key[supervise.Logs]{
		field("to", output, "file", "`file`: one for each generation, which `segue logs` shows; `inherit`: the supervisor's own output, unlabelled; `journald`", func(l *supervise.Logs) *supervise.Output { return &l.To }),
		field("size", convert(orUnlimited(size(1), supervise.Infinity), signed), fmt.Sprintf("%dMB", supervise.DefaultLogSize>>20), "of one generation's log, after which it is archived", func(l *supervise.Logs) *int64 { return &l.Size }),
		field("age", duration(false), "", "of one generation's log, after which it is archived; without it only the size counts", func(l *supervise.Logs) *time.Duration { return &l.Age }),
		field("keep", integer(1, 10_000), fmt.Sprint(supervise.DefaultLogKeep), "how many archives of a generation, and how many generations", func(l *supervise.Logs) *int { return &l.Keep }),
		field("compress", convert(boolean, not), "true", "archives are compressed", func(l *supervise.Logs) *bool { return &l.Plain }),
	},
}

// The kinds that only one key has.

const nameRule = "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func nameOf(called string) kind[string] { return matching(called, nameForm) }

var (
	socketName   = matching("a name of printable characters other than ':' and '='", regexp.MustCompile(`^[!-9;<>-~]{1,255}$`))
	variableName = matching("a name of printable characters other than '='", regexp.MustCompile(`^[!-<>-~]+$`))

	limitNames = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
	limitName  = choice(same(limitNames...)...)
	limitValue = orUnlimited(size(0), supervise.Infinity)
	limit      = convert(limitValue, func(n uint64) supervise.Limit { return supervise.Limit{Soft: n, Hard: n} })

	listen = convert(address, func(a string) socket { return socket{supervise.Listen{Addr: a}} })

	speaks = choice(word[supervise.Language]{"segue", supervise.SpeaksSegue},
		word[supervise.Language]{"systemd", supervise.SpeaksSystemd}, word[supervise.Language]{"nothing", supervise.SpeaksNothing})
	restart  = choice(same(supervise.Always, supervise.OnFailure, supervise.Never)...)
	occasion = choice(same(supervise.OnRollback, supervise.OnCrash, supervise.OnCrashLoop, supervise.OnFailed)...)
	output   = choice(word[supervise.Output]{"file", supervise.ToFile},
		word[supervise.Output]{"inherit", supervise.ToParent}, word[supervise.Output]{"journald", supervise.ToJournal})
	stopSignal = signalKind()
)

// same is words that stand for themselves.
func same[T ~string](all ...T) (words []word[T]) {
	for _, w := range all {
		words = append(words, word[T]{string(w), w})
	}
	return words
}

// signalKind takes SIGTERM for TERM.
func signalKind() kind[syscall.Signal] {
	names := []string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"}
	form := "^(SIG)?(" + strings.Join(names, "|") + ")$"
	return scalar(enumerate(names, "or"), schema{"type": "string", "pattern": form}, func(text string) (syscall.Signal, error) {
		name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
		switch n := signals[name]; {
		case !slices.Contains(names, name):
			return 0, errors.New("")
		case strings.ToUpper(text) != text:
			return 0, fmt.Errorf("did you mean %s?", name)
		case n == 0:
			return 0, errors.New("this system does not have it")
		default:
			return n, nil
		}
	})
}

// signed makes -1 of what is unlimited.
func signed(n uint64) int64 { return int64(n) }

func not(b bool) bool               { return !b }
func fileMode(n uint32) fs.FileMode { return fs.FileMode(n) }

func umask(n uint32) *fs.FileMode {
	m := fs.FileMode(n)
	return &m
}

// short is d without what is zero: 1m0s is 1m.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
