package main

import (
	"regexp"
	"strconv"
	"strings"
)

// samples are the values of each metric, one a count, by benchmark and unit:
// "Layer/handler=gin added-ns/req".
type samples map[string][]float64

var processors = regexp.MustCompile(`-\d+$`) // GOMAXPROCS, at the end of a name

// parse reads the benchmark format
// (https://go.dev/design/14313-benchmark-format); other lines are passed over.
func parse(raw string) samples {
	s := samples{}
	for line := range strings.Lines(raw) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				key := name + " " + f[i+1]
				s[key] = append(s[key], v)
			}
		}
	}
	return s
}
