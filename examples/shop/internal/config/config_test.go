package config_test

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/examples/shop/internal/config"
	"github.com/segue-go/segue/examples/shop/internal/fault"
)

func load(args []string, env map[string]string) (config.Config, error) {
	return config.Load(args, func(k string) string { return env[k] }, "built", io.Discard)
}

func TestDefaults(t *testing.T) {
	got, err := load(nil, nil)
	want := config.Config{
		Addr: "127.0.0.1:8080", DataDir: "data", Version: "built", LogLevel: slog.LevelInfo, LogFormat: "text",
		ReportTime: 3 * time.Second, MaxUpload: 64 << 20, KeepUploads: true,
	}
	if err != nil || got != want {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	got, err := load(
		[]string{"-addr", "unix:/tmp/x", "-fault=die:1s", "-max-upload", "1KiB"},
		map[string]string{
			"SHOP_ADDR": ":1", "SHOP_DATA": "/d", "SHOP_VERSION": "v2", "SHOP_LOG_LEVEL": "warn", "SHOP_LOG_FORMAT": "json",
			"SHOP_REPORT_TIME": "1s", "SHOP_KEEP_UPLOADS": "false", "SHOP_FAULT": "crash", "SEGUE_GENERATION": "7",
		})
	want := config.Config{
		Addr: "unix:/tmp/x", DataDir: "/d", Version: "v2", LogLevel: slog.LevelWarn, LogFormat: "json",
		ReportTime: time.Second, MaxUpload: 1024, Fault: fault.Fault{Kind: fault.Die, After: time.Second}, Generation: 7,
	}
	if err != nil || got != want {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
}

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	_, err := load(
		[]string{"-addr", "nowhere", "-report-time", "2h", "-data", "", "extra"},
		map[string]string{
			"SHOP_LOG_LEVEL": "loud", "SHOP_LOG_FORMAT": "xml", "SHOP_MAX_UPLOAD": "-1", "SHOP_KEEP_UPLOADS": "perhaps",
			"SHOP_FAULT": "explode", "SEGUE_GENERATION": "x",
		})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`-addr="nowhere"`, `-report-time="2h"`, `-data=""`, `"extra"`, `SHOP_LOG_LEVEL="loud"`, `SHOP_LOG_FORMAT="xml"`,
		`SHOP_MAX_UPLOAD="-1"`, `SHOP_KEEP_UPLOADS="perhaps"`, `SHOP_FAULT="explode"`, `SEGUE_GENERATION="x"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %s:\n%v", want, err)
		}
	}
}

func TestAddr(t *testing.T) {
	for addr, ok := range map[string]bool{
		":8080": true, "127.0.0.1:0": true, "[::1]:80": true, "unix:/run/shop.sock": true,
		"8080": false, "unix:": false, ":http-alt-nonsense": false, ":70000": false, "": false,
	} {
		if _, err := load([]string{"-addr", addr}, nil); (err == nil) != ok {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	_, err := config.Load([]string{"-help"}, func(string) string { return "" }, "", &out)
	if !errors.Is(err, config.ErrHelp) || !strings.Contains(out.String(), "SHOP_REPORT_TIME") {
		t.Errorf("%v: %s", err, out.String())
	}
}
