// Package config reads what the shop is told from outside: flags win over the
// environment, the environment over defaults. Everything is checked, and
// everything that is wrong is reported at once.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/fault"
)

// Config is complete and valid when Load has returned it.
type Config struct {
	Addr        string // "host:port" or "unix:/path"; a socket inherited under the name "web" wins
	DataDir     string // holds shop.db and uploads/
	Version     string
	LogLevel    slog.Level
	LogFormat   string
	ReportTime  time.Duration
	MaxUpload   int64
	KeepUploads bool
	Fault       fault.Fault
	Generation  int // from the supervisor; 0 when there is none
}

// ErrHelp is returned when help was asked for, and has been written.
var ErrHelp = flag.ErrHelp

// setting is one thing that can be set: the flag is its name, the variable SHOP_
// and the name in capitals.
type setting struct {
	name, def, usage string
	set              func(*Config, string) error
}

var settings = []setting{
	{"addr", "127.0.0.1:8080", "`address` to listen on, host:port or unix:/path; used when no socket \"web\" is inherited", setAddr},
	{"data", "data", "`directory` of the database and the uploads", func(c *Config, v string) error {
		if c.DataDir = v; v == "" {
			return errors.New("name a directory")
		}
		return nil
	}},
	{"version", "", "`text` that /version shows in place of the built-in version", func(c *Config, v string) error {
		if v != "" {
			c.Version = v
		}
		return nil
	}},
	{"log-level", "info", "debug, info, warn or error", func(c *Config, v string) error {
		if c.LogLevel.UnmarshalText([]byte(v)) != nil {
			return errors.New("use debug, info, warn or error")
		}
		return nil
	}},
	{"log-format", "text", "text or json", func(c *Config, v string) error {
		if c.LogFormat = v; v != "text" && v != "json" {
			return errors.New("use text or json")
		}
		return nil
	}},
	{"report-time", "3s", "`time` the report takes unless it is asked for with ?ms=", func(c *Config, v string) (err error) {
		if c.ReportTime, err = time.ParseDuration(v); err != nil || c.ReportTime < 0 || c.ReportTime > time.Minute {
			return errors.New("use a time between 0s and 1m, such as 3s")
		}
		return nil
	}},
	{"max-upload", "64MiB", "largest upload, in `bytes` or with KiB, MiB, GiB", func(c *Config, v string) (err error) {
		c.MaxUpload, err = parseSize(v)
		return err
	}},
	{"keep-uploads", "true", "`true` keeps uploaded files, false only hashes them", func(c *Config, v string) (err error) {
		if c.KeepUploads, err = strconv.ParseBool(v); err != nil {
			return errors.New("use true or false")
		}
		return nil
	}},
	{"fault", "", "go wrong in this `way`, for demonstrations: crash, hang, sick, slow:2s, die:400ms", func(c *Config, v string) (err error) {
		c.Fault, err = fault.Parse(v)
		return err
	}},
}

// Load reads args (without the program's name) and the environment. builtin is
// the version the program was built with. Help goes to out.
func Load(args []string, getenv func(string) string, builtin string, out io.Writer) (Config, error) {
	cfg := Config{Version: builtin}
	fs := flag.NewFlagSet("shop", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller reports errors, once
	values := make([]*string, len(settings))
	for i, s := range settings {
		values[i] = fs.String(s.name, s.def, s.usage+" ("+envName(s.name)+")")
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "Usage: shop [flags]\n\nEach flag can be set in the environment, by the name in parentheses.\n ")
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return cfg, err
	}
	var errs []error
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("argument %q is not understood: shop takes flags only, see -help", fs.Arg(0)))
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for i, s := range settings {
		value, source := *values[i], "-"+s.name
		if env := getenv(envName(s.name)); env != "" && !given[s.name] {
			value, source = env, envName(s.name)
		}
		if err := s.set(&cfg, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q cannot be used: %w", source, value, err))
		}
	}
	if v := getenv("SEGUE_GENERATION"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("SEGUE_GENERATION=%q cannot be used: it is set by the supervisor, to a number", v))
		}
		cfg.Generation = n
	}
	return cfg, errors.Join(errs...)
}

func envName(flag string) string {
	return "SHOP_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func setAddr(c *Config, v string) error {
	c.Addr = v
	if path, ok := strings.CutPrefix(v, "unix:"); ok {
		if path == "" {
			return errors.New("name a path, unix:/path")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return errors.New("use host:port, such as 127.0.0.1:8080, or unix:/path")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q is not a number up to 65535", port)
	}
	return nil
}

func parseSize(v string) (int64, error) {
	digits, unit := v, int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if d, ok := strings.CutSuffix(v, suffix); ok {
			digits, unit = d, n
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > (1<<40)/unit {
		return 0, errors.New("use a size between 1 and 1024GiB, such as 64MiB")
	}
	return n * unit, nil
}
